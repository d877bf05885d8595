"""Shared Signals and Standard Webhooks, judged by others: `joserfc` and `standardwebhooks`."""

import base64
import json
import signal
import threading
import time
import unittest
import urllib.parse
import urllib.request
import uuid
import zlib

from joserfc import jws
from joserfc.jwk import ECKey, KeySet
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from holders import Installation, until
from ssf_receiver import CAEP, POLL, PUSH, RISC, SSF, Door, Receiver, Transmitter, ask, send

CONFIG = """[signals]
push_allow_addresses = ["127.0.0.1/32"]
danger_push_plaintext = true
"""
WANTED = [CAEP + name for name in ("session-revoked", "credential-change", "risk-level-change", "token-claims-change")]


class Told(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.installation = Installation(CONFIG)
        cls.made = 0

    @classmethod
    def tearDownClass(cls):
        cls.installation.close()

    def name(self, what):
        type(self).made += 1
        return f"{what}-{type(self).made}"

    def at(self, path):
        return f"{self.installation.url}/t/acme/ssf/{path}"

    def receiver(self, scope="ssf:manage"):
        """An identity with a token, and the program that verifies for it."""
        identity = self.installation.worker(self.name("receiver"))
        token = self.token(identity, scope)
        return identity, token, Receiver(self.installation.url, "acme", identity)

    def token(self, identity, scope="ssf:manage"):
        opened = self.installation.run(
            "task", "open", "--identity", identity, "--purpose", "signals", "--for", "30m", "--can", scope,
        )
        return opened["token"]["access_token"]

    def stream(self, token, delivery=None, **others):
        body = {"events_requested": WANTED + ["https://example.com/unknown"], **others}
        if delivery:
            body["delivery"] = delivery
        status, _, stream = ask("POST", self.at("stream"), token, body)
        self.assertEqual(status, 201, stream)
        return stream

    def poll(self, token, stream, **asked):
        asked = {"returnImmediately": True, **asked}
        status, _, answer = ask("POST", stream["delivery"]["endpoint_url"], token, asked)
        self.assertEqual(status, 200, answer)
        return answer

    def waiting(self, verifier, token, stream):
        """Everything that waits, verified, without acknowledging it."""
        return [verifier.verify(text) for text in self.poll(token, stream)["sets"].values()]

    def again(self, claims):
        """What is the same however often a SET is issued: everything but the time at which it was (`iat`)."""
        return [{name: value for name, value in one.items() if name != "iat"} for one in claims]

    def kinds(self, claims):
        return [next(iter(one["events"])).rsplit("/", 1)[1] for one in claims]

    def door(self, answer):
        door = Door(answer)
        self.addCleanup(door.close)
        return door


class Transmits(Told):
    def test_the_metadata_says_what_the_profile_asks_for(self):
        for path in ("/.well-known/ssf-configuration/t/acme", "/t/acme/.well-known/ssf-configuration"):
            status, _, metadata = ask("GET", self.installation.url + path)
            self.assertEqual(status, 200)
            self.assertEqual(metadata["spec_version"], "1_0")
            self.assertEqual(metadata["issuer"], f"{self.installation.url}/t/acme")
            self.assertEqual(set(metadata["delivery_methods_supported"]), {PUSH, POLL})
            self.assertEqual(metadata["authorization_schemes"], [{"spec_urn": "urn:ietf:rfc:6749"}])
            self.assertEqual(metadata["default_subjects"], "ALL")
            for name in ("configuration", "status", "add_subject", "remove_subject", "verification"):
                self.assertTrue(metadata[f"{name}_endpoint"].startswith(metadata["issuer"]), name)
        self.assertEqual(ask("GET", f"{self.installation.url}/.well-known/ssf-configuration/t/other")[0], 404)

    def test_every_revocation_and_change_is_pushed_once_and_verifies(self):
        identity, token, verifier = self.receiver()

        def taken(request, body):
            assert request.headers["authorization"] == "Bearer for-the-receiver", "authorization"
            assert request.headers["content-type"] == "application/secevent+jwt", "content type"
            verifier.verify(body.decode())
            return 202, ""

        door = self.door(taken)
        stream = self.stream(token, {
            "method": PUSH, "endpoint_url": door.url, "authorization_header": "Bearer for-the-receiver",
        })
        self.assertNotIn("authorization_header", stream["delivery"])
        self.assertEqual(sorted(stream["events_delivered"]), sorted(WANTED))
        self.assertIn("https://example.com/unknown", stream["events_requested"])
        agent = self.installation.worker(self.name("agent"))
        mine = {"format": "iss_sub", "iss": verifier.issuer, "sub": agent}
        self.installation.run("suspend", "identity", agent, "--reason", "looked odd")
        self.installation.run("resume", "identity", agent)
        self.installation.run("kill", "identity", agent, "--yes", "--reason", "drill")
        task = self.installation.run(
            "task", "open", "--identity", identity, "--purpose", "to be closed", "--for", "5m", "--can", "ssf:read",
        )["task"]["id"]
        self.installation.run("kill", "task", task, "--yes", "--reason", "drill")
        made_of = self.installation.worker(self.name("agent"))
        self.installation.run("id", "compose", made_of, "--model", "m 1")
        self.installation.run("id", "activate", made_of)
        self.installation.run("id", "compose", made_of, "--model", "m 2")
        self.installation.run("keys", "rotate", "--now", "--reason", "drill")
        status, _, _ = ask("POST", self.at("verify"), self.token(identity), {"stream_id": stream["stream_id"], "state": "s-1"})
        self.assertEqual(status, 204)
        until(lambda: verifier.of("verification"))
        self.assertEqual(door.failures, [])
        self.assertEqual([c["events"][SSF + "verification"] for c in verifier.of("verification")], [{"state": "s-1"}])
        revoked = verifier.of("session-revoked")
        self.assertEqual(len([c for c in revoked if c["sub_id"] == mine]), 2)
        said = [c["events"][CAEP + "session-revoked"]["reason_admin"]["en"] for c in revoked if c["sub_id"] == mine]
        self.assertEqual(said, ["looked odd", "drill"])
        self.assertTrue(any(c["sub_id"].get("session", {}).get("id") == task for c in revoked))
        levels = [c["events"][CAEP + "risk-level-change"]["current_level"] for c in verifier.of("risk-level-change") if c["sub_id"] == mine]
        self.assertEqual(levels, ["HIGH", "LOW"])
        self.assertIn("revoke", [c["events"][CAEP + "credential-change"]["change_type"] for c in verifier.of("credential-change")])
        claims = [c["events"][CAEP + "token-claims-change"]["claims"] for c in verifier.of("token-claims-change")]
        self.assertEqual(len({json.dumps(claim["composition"]) for claim in claims}), 2, claims)
        levels = [c["events"][CAEP + "risk-level-change"]["current_level"] for c in verifier.of("risk-level-change") if c["sub_id"].get("sub") == made_of]
        self.assertEqual(levels, ["LOW", "MEDIUM"])
        # In the order in which it happened, each once.
        self.assertEqual(door.calls - door.withdrawn, len(verifier.seen))

    def test_a_stream_is_read_changed_replaced_and_removed_by_its_receiver_alone(self):
        identity, token, _ = self.receiver()
        self.assertEqual(ask("GET", self.at("stream"), token)[2], [])
        stream = self.stream(token, description="first")
        own = f"{self.at('stream')}?stream_id={stream['stream_id']}"
        self.assertEqual(stream["delivery"]["method"], POLL)
        self.assertEqual(ask("POST", self.at("stream"), token, {"events_requested": WANTED})[0], 409)
        self.assertEqual(ask("GET", own, token)[2], stream)
        self.assertEqual(ask("GET", self.at("stream"), token)[2], [stream])
        status, _, changed = ask("PATCH", self.at("stream"), token, {"stream_id": stream["stream_id"], "events_requested": WANTED[:1]})
        self.assertEqual((status, changed["events_delivered"], changed["description"]), (200, WANTED[:1], "first"))
        status, _, replaced = ask("PUT", self.at("stream"), token, {"stream_id": stream["stream_id"], "events_requested": WANTED[1:2]})
        self.assertEqual((status, replaced["events_delivered"]), (200, WANTED[1:2]))
        self.assertNotIn("description", replaced)
        # Nobody else's, without a token, without the right, with the wrong one.
        _, other, _ = self.receiver()
        _, reads, _ = self.receiver("ssf:read")
        _, _, _ = self.receiver("token:introspect")
        self.assertEqual(ask("GET", own, other)[0], 404)
        self.assertEqual(ask("DELETE", own, other)[0], 404)
        self.assertEqual(ask("POST", stream["delivery"]["endpoint_url"], other, {"returnImmediately": True})[0], 404)
        self.assertEqual(ask("GET", own)[0], 401)
        self.assertEqual(ask("POST", self.at("stream"), reads, {"events_requested": WANTED})[0], 403)
        self.assertEqual(ask("DELETE", own, token)[0], 204)
        self.assertEqual(ask("GET", own, token)[0], 404)
        # A receiver that is killed hears nothing more.
        again = self.stream(token)
        self.installation.run("kill", "identity", identity, "--yes", "--reason", "drill")
        self.assertEqual(ask("POST", again["delivery"]["endpoint_url"], token, {"returnImmediately": True})[0], 401)

    def test_a_receiver_gets_its_token_by_itself_with_the_scopes_of_the_profile(self):
        identity = self.installation.worker(self.name("receiver"))
        self.token(identity)
        key = ECKey.generate_key("P-256", private=True)
        jwk = self.installation.folder / "receiver.json"
        jwk.write_text(json.dumps(key.as_dict(private=False)))
        client = self.installation.run("client", "add", identity, "--jwk", str(jwk), "--proof", "none")["client_id"]
        issuer = f"{self.installation.url}/t/acme"
        said = {
            "iss": client, "sub": client, "aud": issuer, "iat": int(time.time()), "exp": int(time.time()) + 60,
            "jti": str(uuid.uuid4()),
        }
        header = {"alg": "ES256", "typ": "client-authentication+jwt"}
        form = urllib.parse.urlencode({
            "grant_type": "client_credentials", "scope": "ssf.manage",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jws.serialize_compact(header, json.dumps(said), key, algorithms=["ES256"]),
        })
        kind = "application/x-www-form-urlencoded"
        status, _, answer = ask("POST", f"{issuer}/token", body=form.encode(), kind=kind)
        self.assertEqual((status, answer.get("scope")), (200, "ssf:manage"), answer)
        self.stream(answer["access_token"])

    def test_what_cannot_be_is_refused_with_its_field(self):
        _, token, _ = self.receiver()
        cases = [
            ({"delivery": {"method": "urn:other"}, "events_requested": WANTED}, "delivery.method"),
            ({"delivery": {"method": PUSH}, "events_requested": WANTED}, "delivery.endpoint_url"),
            ({"delivery": {"method": PUSH, "endpoint_url": "http://10.0.0.1/x"}, "events_requested": WANTED}, "10.0.0.1"),
            ({"delivery": {"method": PUSH, "endpoint_url": "http://169.254.169.254/x"}, "events_requested": WANTED}, "169.254"),
            ({"delivery": {"method": PUSH, "endpoint_url": "http://[fd00::1]/x"}, "events_requested": WANTED}, "fd00::1"),
            ({"delivery": {"method": PUSH, "endpoint_url": "http://a@127.0.0.1/x"}, "events_requested": WANTED}, "user part"),
            ({"delivery": {"method": POLL, "authorization_header": "x"}, "events_requested": WANTED}, "authorization_header"),
            ({"events_requested": ["https://example.com/unknown"]}, "events_requested"),
            ({"events_requested": WANTED, "description": "x" * 5000}, "description"),
        ]
        for body, word in cases:
            status, _, problem = ask("POST", self.at("stream"), token, body)
            self.assertIn(status, (400, 422), (body, problem))
            self.assertIn(word, json.dumps(problem), body)

    def test_polled_signals_come_until_they_are_acknowledged_also_across_a_restart(self):
        identity, token, verifier = self.receiver()
        stream = self.stream(token)
        agent = self.installation.worker(self.name("agent"))
        self.installation.run("suspend", "identity", agent, "--reason", "one")
        first = self.waiting(verifier, token, stream)
        self.assertEqual(self.kinds(first), ["session-revoked", "risk-level-change"])
        self.assertEqual(self.again(self.waiting(verifier, token, stream)), self.again(first))
        # One is acknowledged, out of order; the other one comes again, after a crash too, with the same jti.
        rest = self.poll(token, stream, ack=[first[1]["jti"]])["sets"]
        self.assertEqual(list(rest), [first[0]["jti"]])
        self.installation.stop(signal.SIGKILL)
        self.installation.start()
        token = self.token(identity)
        self.assertEqual(self.again(self.waiting(verifier, token, stream)), self.again(first[:1]))
        self.installation.run("resume", "identity", agent)
        one = self.poll(token, stream, maxEvents=1)
        self.assertEqual((list(one["sets"]), one["moreAvailable"]), ([first[0]["jti"]], True))
        self.assertEqual(self.poll(token, stream, maxEvents=0, ack=[first[0]["jti"]])["sets"], {})
        last = self.waiting(verifier, token, stream)
        self.assertEqual(self.kinds(last), ["risk-level-change"])
        # What cannot be used is put aside on record.
        errors = {last[0]["jti"]: {"err": "invalid_request", "description": "not ours"}}
        # What was said before is not on record again, while something in front of it waits.
        self.installation.run("suspend", "identity", agent, "--reason", "three")
        before, after = self.waiting(verifier, token, stream)[-2:]
        errors[after["jti"]] = {"err": "invalid_request", "description": "not ours"}
        for _ in range(3):
            left = self.poll(token, stream, setErrs=errors)["sets"]
            self.assertEqual(list(left), [before["jti"]])
        entries = json.dumps(self.installation.run("log", "tail", "--log", "state", "-n", "20"))
        self.assertEqual(entries.count('"state.subscription.put-aside"'), 2, entries)
        self.assertEqual(self.poll(token, stream, ack=[before["jti"]])["sets"], {})
        many = {str(n): {"err": "invalid_request"} for n in range(65)}
        asked = {"returnImmediately": True, "setErrs": many}
        status, _, problem = ask("POST", stream["delivery"]["endpoint_url"], token, asked)
        self.assertEqual((status, problem["code"]), (400, "signal.limit"), problem)
        # A poll that may wait is answered when something happens.
        heard = []
        waits = threading.Thread(target=lambda: heard.append(self.poll(token, stream, returnImmediately=False)))
        waits.start()
        self.installation.run("kill", "identity", agent, "--yes", "--reason", "two")
        waits.join(30)
        self.assertEqual(self.kinds([verifier.verify(t) for t in heard[0]["sets"].values()]), ["session-revoked"])

    def test_status_subjects_and_verification_do_what_they_say(self):
        identity, token, verifier = self.receiver()
        stream = self.stream(token)
        name = stream["stream_id"]
        self.assertEqual(ask("GET", f"{self.at('status')}?stream_id={name}", token)[2]["status"], "enabled")
        quiet, loud = self.installation.worker(self.name("agent")), self.installation.worker(self.name("agent"))
        subject = {"format": "iss_sub", "iss": verifier.issuer, "sub": quiet}
        self.assertEqual(ask("POST", self.at("subjects/remove"), token, {"stream_id": name, "subject": subject})[0], 204)
        for agent in (quiet, loud):
            self.installation.run("kill", "identity", agent, "--yes", "--reason", "drill")
        told = self.waiting(verifier, token, stream)
        self.assertEqual([c["sub_id"]["sub"] for c in told], [loud])
        self.poll(token, stream, ack=[c["jti"] for c in told])
        self.assertEqual(ask("POST", self.at("subjects/add"), token, {"stream_id": name, "subject": subject, "verified": True})[0], 200)
        # Paused: kept. Disabled: not kept.
        self.assertEqual(ask("POST", self.at("status"), token, {"stream_id": name, "status": "paused", "reason": "x"})[2]["status"], "paused")
        self.assertEqual(self.poll(token, stream)["sets"], {})
        later = self.installation.worker(self.name("agent"))
        self.installation.run("kill", "identity", later, "--yes", "--reason", "drill")
        ask("POST", self.at("status"), token, {"stream_id": name, "status": "enabled"})
        told = self.waiting(verifier, token, stream)
        self.assertIn(later, [c["sub_id"].get("sub") for c in told])
        self.poll(token, stream, ack=[c["jti"] for c in told])
        ask("POST", self.at("status"), token, {"stream_id": name, "status": "disabled"})
        never = self.installation.worker(self.name("agent"))
        self.installation.run("kill", "identity", never, "--yes", "--reason", "drill")
        ask("POST", self.at("status"), token, {"stream_id": name, "status": "enabled"})
        told = self.waiting(verifier, token, stream)
        self.assertEqual(self.kinds(told), ["stream-updated"])
        self.assertEqual(ask("POST", self.at("verify"), token, {"stream_id": name})[0], 204)
        self.assertEqual(ask("POST", self.at("verify"), token, {"stream_id": name})[0], 429)
        told = self.waiting(verifier, token, stream)
        self.assertEqual(self.kinds(told), ["stream-updated", "verification"])
        self.assertEqual(told[1]["events"][SSF + "verification"], {})


class Suffers(Told):
    """Receivers that are down or hostile."""

    def test_what_was_not_taken_is_pushed_again_after_a_crash_and_nothing_is_lost(self):
        identity, token, verifier = self.receiver()
        state = {"open": False}

        def taken(_, body):
            if not state["open"]:
                return 503, ""
            verifier.verify(body.decode())
            return 202, ""

        door = self.door(taken)
        stream = self.stream(token, {"method": PUSH, "endpoint_url": door.url})
        agents = [self.installation.worker(self.name("agent")) for _ in range(3)]
        for agent in agents:
            self.installation.run("kill", "identity", agent, "--yes", "--reason", "drill")
        until(lambda: door.calls >= 2)
        self.installation.stop(signal.SIGKILL)
        self.installation.start()
        state["open"] = True
        until(lambda: len(verifier.of("session-revoked")) >= 3)
        self.assertEqual([c["sub_id"]["sub"] for c in verifier.of("session-revoked")], agents)
        rows = self.installation.run("signal", "ls")["items"]
        self.assertEqual([row["status"] for row in rows if row["id"] == stream["stream_id"]], ["enabled"])

    def test_a_hostile_receiver_keeps_nobody_else_waiting(self):
        def redirect(request, _):
            request.send_response(307)
            request.send_header("location", "http://127.0.0.1:1/internal")
            request.send_header("content-length", "0")
            request.end_headers()

        def endless(request, _):
            request.send_response(202)
            request.end_headers()
            try:
                while True:
                    request.wfile.write(b"x" * 65536)
            except OSError:
                pass

        def never(request, _):
            threading.Event().wait(40)

        def refuses(_, body):
            return 400, json.dumps({"err": "authentication_failed", "description": "no"})

        hostile = {}
        for name, answer in {"redirect": redirect, "endless": endless, "never": never, "refuses": refuses}.items():
            _, token, _ = self.receiver()
            door = self.door(answer)
            hostile[name] = (door, self.stream(token, {"method": PUSH, "endpoint_url": door.url}), token)
        _, token, verifier = self.receiver()

        def taken(_, body):
            verifier.verify(body.decode())
            return 202, ""

        good = self.door(taken)
        self.stream(token, {"method": PUSH, "endpoint_url": good.url})
        agent = self.installation.worker(self.name("agent"))
        self.installation.run("kill", "identity", agent, "--yes", "--reason", "drill")
        until(lambda: any(c["sub_id"].get("sub") == agent for c in verifier.of("session-revoked")))
        rows = {row["id"]: row for row in self.installation.run("signal", "ls")["items"]}

        def trouble(name):
            rows = {row["id"]: row for row in self.installation.run("signal", "ls")["items"]}
            return rows[hostile[name][1]["stream_id"]]["trouble"] or ""

        until(lambda: "307" in trouble("redirect"))
        until(lambda: trouble("endless"))
        until(lambda: trouble("never"))
        until(lambda: "authentication_failed" in trouble("refuses"))
        self.assertLess(hostile["refuses"][0].calls, 12)
        self.assertEqual(rows.keys() >= {entry[1]["stream_id"] for entry in hostile.values()}, True)

    def test_a_sink_that_is_away_stops_nothing_and_what_waits_for_it_is_shown(self):
        _, token, _ = self.receiver()
        door = Door(lambda _, body: (202, ""))
        closed = door.url
        door.close()
        stream = self.stream(token, {"method": PUSH, "endpoint_url": closed})["stream_id"]
        victim, asker = (self.installation.worker(self.name("agent")) for _ in range(2))
        tokens = [self.token(agent, "authzen:evaluate") for agent in (victim, asker)]
        self.installation.run("kill", "identity", victim, "--yes", "--reason", "drill")

        def shown():
            return next(row for row in self.installation.run("signal", "ls")["items"] if row["id"] == stream)

        until(lambda: shown()["failing_since"])
        # What it misses stays: the position stands still, and the log goes on.
        missed = shown()["position"]
        question = {
            "subject": {"type": "identity", "id": asker}, "action": {"name": "read"},
            "resource": {"type": "document", "id": "1"},
        }
        for given, expected in zip(tokens, (401, 200)):
            status, answer = self.installation.post("/access/v1/evaluation", question, given)
            self.assertEqual(status, expected, answer)
        self.token(asker, "authzen:evaluate")
        states = {each["id"]: each["state"] for each in self.installation.run("id", "ls")["items"]}
        self.assertEqual(states[victim], "retired")
        logs = {log["log"]: log["sequenced"] for log in self.installation.run("log", "ls")["items"]}
        self.assertEqual(shown()["position"], missed)
        self.assertLess(missed, logs["state"])
        self.assertEqual(shown()["status"], "enabled")

    def test_one_set_that_is_never_usable_is_put_aside_and_the_next_ones_come(self):
        _, token, verifier = self.receiver()
        first = []

        def taken(_, body):
            claims = verifier.verify(body.decode())
            first[:] = first or [claims["jti"]]
            if claims["jti"] == first[0]:
                return 400, json.dumps({"err": "invalid_request", "description": "cannot read it"})
            return 202, ""

        door = self.door(taken)
        self.stream(token, {"method": PUSH, "endpoint_url": door.url})
        agents = [self.installation.worker(self.name("agent")) for _ in range(2)]
        for agent in agents:
            self.installation.run("kill", "identity", agent, "--yes", "--reason", "drill")
        until(lambda: len(verifier.of("session-revoked")) == 2)
        entries = json.dumps(self.installation.run("log", "tail", "--log", "state", "-n", "20"))
        self.assertIn("subscription.put-aside", entries)
        self.assertIn(first[0], entries)


    def test_nothing_is_pushed_to_a_receiver_that_was_stopped(self):
        identity, token, verifier = self.receiver()

        def taken(_, body):
            verifier.verify(body.decode())
            return 202, ""

        door = self.door(taken)
        stream = self.stream(token, {"method": PUSH, "endpoint_url": door.url})

        def row():
            rows = self.installation.run("signal", "ls")["items"]
            return next(row for row in rows if row["id"] == stream["stream_id"])

        first, second, third = (self.installation.worker(self.name("agent")) for _ in range(3))
        self.installation.run("kill", "identity", first, "--yes", "--reason", "drill")
        until(lambda: len(verifier.of("session-revoked")) == 1)
        # While it is suspended nothing goes out; then everything does.
        self.installation.run("suspend", "identity", identity, "--reason", "drill")
        self.installation.run("kill", "identity", second, "--yes", "--reason", "drill")
        time.sleep(3)
        self.assertEqual(len(verifier.of("session-revoked")), 1)
        self.installation.run("resume", "identity", identity)
        until(lambda: any(c["sub_id"].get("sub") == second for c in verifier.of("session-revoked")))
        self.installation.run("kill", "identity", identity, "--yes", "--reason", "drill")
        self.installation.run("kill", "identity", third, "--yes", "--reason", "drill")
        until(lambda: row()["status"] == "disabled")
        self.assertIn("receiver has ended", row()["status_reason"])
        self.assertFalse(any(c["sub_id"].get("sub") == third for c in verifier.of("session-revoked")))


class Hears(Told):
    """What an identity provider tells us."""

    def test_what_a_departed_owner_owns_is_suspended_once(self):
        idp = Transmitter("https://idp.example")
        jwks = self.installation.folder / "idp.json"
        jwks.write_text(json.dumps(idp.jwks()))
        owned = self.installation.run(
            "id", "add", "invoices", "--kind", "agent", "--owner", "billing", "--owner-contact", "Ann@acme.example",
            "--purpose", "tests", "--expires", "30d",
        )["id"]
        also = self.installation.run(
            "id", "add", "reports", "--kind", "agent", "--owner", "reports", "--owner-contact", "ben@acme.example",
            "--purpose", "tests", "--expires", "30d",
        )["id"]
        kept = self.installation.worker("kept")
        door = f"{self.installation.url}/t/acme/ssf/events"
        ours = f"{self.installation.url}/t/acme"
        gone = idp.set(ours, RISC + "account-disabled", {"format": "email", "email": "ann@acme.example"})
        # Nobody is registered yet.
        self.assertEqual(send(door, gone)[0], 400)
        added = self.installation.run(
            "signal", "transmitter", "add", idp.issuer, "--jwks", str(jwks), "--person", "u-7=ben@acme.example",
        )
        self.assertEqual((added["endpoint"], added["audience"]), (door, ours))
        state = lambda id: self.installation.run("id", "get", id)["state"]
        other = Transmitter(idp.issuer)
        email = {"format": "email", "email": "ann@acme.example"}
        refused = [
            (idp.set("https://other.example", RISC + "account-disabled", email), "invalid_audience"),
            (Transmitter("https://x.example").set(ours, RISC + "account-disabled", email), "invalid_issuer"),
            (idp.set(ours, RISC + "account-disabled", email, key=other.key), "invalid_request"),
            (idp.set(ours, RISC + "account-disabled", email, typ="JWT"), "invalid_request"),
            (idp.set(ours, RISC + "account-disabled", email, exp=9999999999), "invalid_request"),
            (idp.set(ours, RISC + "account-disabled", email, jti=None), "invalid_request"),
            (idp.set(ours, RISC + "account-disabled", None), "invalid_request"),
            (idp.set(ours, RISC + "account-disabled", email, iat=1), "invalid_request"),
            (idp.set(ours, RISC + "account-disabled", email, event="gone"), "invalid_request"),
        ]
        for text, code in refused:
            status, _, problem = send(door, text)
            self.assertEqual((status, problem["err"]), (400, code), problem)
        self.assertNotEqual(state(owned), "suspended")
        self.assertEqual(send(door, gone)[0], 202)
        self.assertEqual((state(owned), state(kept)), ("suspended", "probation"))
        # The same again does nothing, also after somebody resumed it; the same name for something else is refused.
        self.installation.run("resume", "identity", owned)
        self.assertEqual(send(door, gone)[0], 202)
        # Nor does the same when its transmitter, who heard no answer, issues it anew.
        says = json.loads(base64.urlsafe_b64decode(gone.split(".")[1] + "=="))
        anew = lambda whom=email, **other: idp.set(ours, RISC + "account-disabled", whom, jti=says["jti"], **other)
        self.assertEqual(send(door, anew(iat=says["iat"] + 1))[0], 202)
        self.assertNotEqual(state(owned), "suspended")
        status, _, problem = send(door, anew({"format": "email", "email": "ben@acme.example"}))
        self.assertEqual((status, problem["err"]), (400, "invalid_request"))
        session = idp.set(ours, CAEP + "session-revoked", {"format": "iss_sub", "iss": idp.issuer, "sub": "u-7"})
        self.assertEqual(send(door, session)[0], 202)
        self.assertEqual(state(also), "suspended")
        quiet = idp.set(ours, SSF + "verification", {"format": "opaque", "id": "s"}, {"state": "x"})
        self.assertEqual(send(door, quiet)[0], 202)
        entries = json.dumps(self.installation.run("log", "tail", "--log", "state", "-n", "30"))
        self.assertIn("transmitter.told", entries)
        # An issuer speaks for the one tenant that registered it.
        self.installation.run("tenant", "add", "other", "--name", "Other", "--employees", "1")
        there = f"{self.installation.url}/t/other"
        foreign = idp.set(there, RISC + "account-disabled", email)
        self.assertEqual(send(f"{there}/ssf/events", foreign)[2]["err"], "invalid_issuer")
        self.installation.run("signal", "transmitter", "remove", added["id"], "--reason", "drill")
        late = idp.set(ours, RISC + "account-disabled", email)
        self.assertEqual(send(door, late)[2]["err"], "invalid_issuer")

    def test_a_token_that_is_told_to_be_stolen_dies(self):
        idp = Transmitter("https://siem.example")
        jwks = self.installation.folder / "siem.json"
        jwks.write_text(json.dumps(idp.jwks()))
        self.installation.run("signal", "transmitter", "add", idp.issuer, "--jwks", str(jwks))
        identity, token, _ = self.receiver()
        stream = self.stream(token)
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        ours = f"{self.installation.url}/t/acme"
        text = idp.set(ours, CAEP + "session-revoked", {"format": "jwt_id", "iss": ours, "jti": claims["jti"]})
        self.assertEqual(send(f"{ours}/ssf/events", text)[0], 202)
        self.assertEqual(ask("POST", stream["delivery"]["endpoint_url"], token, {"returnImmediately": True})[0], 401)


class Webhooks(Told):
    def test_a_webhook_is_signed_as_standard_webhooks_says_and_its_secret_is_rotated(self):
        heard, secrets = [], []

        def taken(request, body):
            headers = {name.lower(): value for name, value in request.headers.items()}
            good = []
            for secret in secrets:
                try:
                    good.append(bool(Webhook(secret).verify(body, headers)))
                except WebhookVerificationError:
                    good.append(False)
            heard.append((headers["webhook-id"], json.loads(body), good))
            return 204, ""

        door = self.door(taken)
        code, problem, _ = self.installation.ask("signal", "webhook", "add", door.url)
        self.assertNotEqual(code, 0, problem)
        made = self.installation.run(
            "signal", "webhook", "add", door.url, "--allow-address", "127.0.0.1/32", "--danger-plaintext",
            "--event", "session-revoked",
        )
        secrets.append(made["secret"])
        first, second, third = (self.installation.worker(self.name("agent")) for _ in range(3))
        self.installation.run("kill", "identity", first, "--yes", "--reason", "drill")
        until(lambda: len(heard) == 1)
        _, body, good = heard[0]
        self.assertEqual((body["type"], body["data"]["subject"]["sub"], good), ("session-revoked", first, [True]))
        rotated = self.installation.run("signal", "webhook", "rotate", made["id"], "--overlap", "1h")
        secrets.append(rotated["secret"])
        self.installation.run("kill", "identity", second, "--yes", "--reason", "drill")
        until(lambda: len(heard) == 2)
        self.assertEqual(heard[1][2], [True, True])
        rotated = self.installation.run("signal", "webhook", "rotate", made["id"], "--overlap", "0s")
        secrets.append(rotated["secret"])
        self.installation.run("kill", "identity", third, "--yes", "--reason", "drill")
        until(lambda: len(heard) == 3)
        self.assertEqual(heard[2][2], [False, False, True])
        self.assertEqual(len({name for name, _, _ in heard}), 3)

    def test_a_webhook_that_is_gone_is_disabled(self):
        door = self.door(lambda *_: (410, ""))
        made = self.installation.run(
            "signal", "webhook", "add", door.url, "--allow-address", "127.0.0.1/32", "--danger-plaintext",
        )
        agent = self.installation.worker(self.name("agent"))
        self.installation.run("kill", "identity", agent, "--yes", "--reason", "drill")

        def row():
            return next(row for row in self.installation.run("signal", "ls")["items"] if row["id"] == made["id"])

        until(lambda: row()["status"] == "disabled")
        self.assertIn("410", row()["status_reason"])
        self.assertEqual(door.calls, 1)


class StatusLists(Told):
    def standing(self, token):
        """What an offline verifier finds for a token: the bits of its place (Token Status List §8.3)."""
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        place = claims["status"]["status_list"]
        with urllib.request.urlopen(place["uri"], timeout=30) as answer:
            self.assertEqual(answer.headers["content-type"], "application/statuslist+jwt")
            text = answer.read()
        keys = KeySet.import_key_set(ask("GET", claims["iss"] + "/jwks")[2])
        verified = jws.deserialize_compact(text, keys, algorithms=["RS256"])
        self.assertEqual(verified.headers()["typ"], "statuslist+jwt")
        listed = json.loads(verified.payload)
        self.assertEqual(listed["sub"], place["uri"])
        self.assertLess(listed["iat"], listed["exp"])
        self.assertGreater(listed["ttl"], 0)
        bits = listed["status_list"]["bits"]
        packed = zlib.decompress(base64.urlsafe_b64decode(listed["status_list"]["lst"] + "=="))
        per_byte = 8 // bits
        byte = packed[place["idx"] // per_byte]
        return byte >> (place["idx"] % per_byte * bits) & ((1 << bits) - 1)

    def test_an_offline_verifier_finds_what_is_suspended_and_what_is_revoked(self):
        one, two = (self.installation.worker(self.name("agent")) for _ in range(2))
        first, second = self.token(one, "token:introspect"), self.token(two, "token:introspect")
        self.assertEqual((self.standing(first), self.standing(second)), (0, 0))
        self.installation.run("suspend", "identity", one, "--reason", "drill")
        until(lambda: self.standing(first) == 2)
        self.installation.run("resume", "identity", one)
        until(lambda: self.standing(first) == 0)
        self.installation.run("kill", "identity", one, "--yes", "--reason", "drill")
        until(lambda: self.standing(first) == 1)
        self.assertEqual(self.standing(second), 0)
        # After a crash it is the same list.
        self.installation.stop(signal.SIGKILL)
        self.installation.start()
        self.assertEqual((self.standing(first), self.standing(second)), (1, 0))
        self.assertEqual(ask("GET", f"{self.installation.url}/t/acme/status-lists/1")[0], 404)
        self.assertEqual(ask("GET", f"{self.installation.url}/t/acme/status-lists/x")[0], 404)


if __name__ == "__main__":
    unittest.main()
