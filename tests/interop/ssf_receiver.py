"""A receiver and a transmitter of Shared Signals of our own, on `joserfc`: nothing here knows the product's code."""

import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from joserfc import jws
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet, RSAKey

CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
PUSH, POLL = "urn:ietf:rfc:8935", "urn:ietf:rfc:8936"
SUBJECTS = {
    "complex": None, "email": {"email"}, "iss_sub": {"iss", "sub"}, "jwt_id": {"iss", "jti"}, "opaque": {"id"},
    "uri": {"uri"},
}


def ask(method, url, token=None, body=None, kind="application/json"):
    """Status, headers and body of an answer, JSON where there is any."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    sent = None
    if body is not None:
        headers["content-type"] = kind
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, sent, headers, method=method)
    for _ in range(20):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, headers, text = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, headers, text = error.code, error.headers, error.read()
        if status != 503:
            break
        # Not now, as on a machine that is busy otherwise: nothing was done.
        time.sleep(1)
    return status, headers, json.loads(text) if text else None


def subject(value):
    """RFC 9493 and SSF 1.0 §3: a simple subject, or a complex one of simple ones."""
    form = value["format"]
    assert form in SUBJECTS, value
    if form == "complex":
        parts = {name: part for name, part in value.items() if name != "format"}
        assert parts and set(parts) <= {"user", "device", "session", "application", "tenant", "org_unit", "group"}, value
        for part in parts.values():
            assert part["format"] != "complex"
            subject(part)
    else:
        assert set(value) - {"format"} == SUBJECTS[form], value


def reason(value):
    """CAEP 1.0 §2: an object of BCP 47 languages, each with words."""
    assert value and all(isinstance(words, str) and words for words in value.values()), value


def checklist(claims, issuer, audience):
    """The CAEP interoperability profile 1.0, §2.4 to §3, and RFC 8417 §2.2; gives the type and the event."""
    assert claims["iss"] == issuer and claims["aud"] == audience, claims
    assert isinstance(claims["iat"], int) and isinstance(claims["jti"], str) and claims["jti"]
    assert "sub" not in claims and "exp" not in claims, claims
    subject(claims["sub_id"])
    assert len(claims["events"]) == 1, claims
    (kind, event), = claims["events"].items()
    if kind.startswith(CAEP):
        assert isinstance(event["event_timestamp"], int) and event["event_timestamp"] < 10**11, event
        assert event["initiating_entity"] in {"admin", "user", "policy", "system"}, event
        reason(event["reason_admin"])
    required = {
        "credential-change": {"change_type", "credential_type"},
        "risk-level-change": {"principal", "current_level"},
        "token-claims-change": {"claims"},
    }
    name = kind.rsplit("/", 1)[1]
    assert required.get(name, set()) <= set(event), event
    if name == "credential-change":
        assert event["change_type"] in {"create", "revoke", "update", "delete"}, event
    if name == "risk-level-change":
        assert event["current_level"] in {"LOW", "MEDIUM", "HIGH"}, event
    if name == "token-claims-change":
        assert event["claims"], event
    if kind == SSF + "verification":
        assert claims["sub_id"]["format"] == "opaque", claims
    return name, event


class Receiver:
    """Verifies every SET with the keys that the transmitter's metadata names."""

    def __init__(self, base, tenant, audience):
        self.metadata = ask("GET", f"{base}/.well-known/ssf-configuration/t/{tenant}")[2]
        self.issuer, self.audience = self.metadata["issuer"], audience
        self.seen = {}
        self.order = []

    def verify(self, text):
        keys = KeySet.import_key_set(ask("GET", self.metadata["jwks_uri"])[2])
        token = jws.deserialize_compact(text, keys, algorithms=["RS256"])
        header = token.headers()
        assert header["typ"] == "secevent+jwt" and header["alg"] == "RS256", header
        claims = json.loads(token.payload)
        name, event = checklist(claims, self.issuer, self.audience)
        # Issued again it is of another time, and says the same.
        says = {name: value for name, value in claims.items() if name != "iat"}
        again = claims["jti"] in self.seen
        if again:
            assert self.seen[claims["jti"]] == says, "the same jti says something else"
        self.seen[claims["jti"]] = says
        if not again:
            self.order.append((name, claims, event))
        return claims

    def of(self, name):
        return [claims for kind, claims, _ in list(self.order) if kind == name]


class Door:
    """Where somebody takes what is pushed; `answer(headers, body)` gives status and text."""

    def __init__(self, answer, path="/events"):
        door = self
        self.answer, self.calls = answer, 0

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                door.calls += 1
                try:
                    answered = door.answer(self, body)
                except InvalidKeyIdError:
                    # The key was withdrawn while this was on its way: it comes again, signed with another one.
                    door.withdrawn += 1
                    answered = (400, json.dumps({"err": "invalid_key", "description": "no such key"}))
                except AssertionError as error:
                    door.failures.append(repr(error))
                    answered = (400, json.dumps({"err": "invalid_request", "description": str(error)[:200]}))
                if answered is None:
                    return
                status, text = answered
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.failures, self.withdrawn = [], 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}{path}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Transmitter:
    """An identity provider that tells."""

    def __init__(self, issuer):
        self.issuer = issuer
        self.key = RSAKey.generate_key(2048, {"kid": "idp-1", "use": "sig", "alg": "RS256"}, private=True)

    def jwks(self):
        return {"keys": [self.key.as_dict(private=False)]}

    def set(self, audience, kind, sub_id, event=None, key=None, typ="secevent+jwt", **others):
        claims = {
            "iss": self.issuer, "aud": audience, "iat": int(time.time()), "jti": str(uuid.uuid4()),
            "sub_id": sub_id, "events": {kind: event or {}}, **others,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "RS256", "kid": "idp-1", "typ": typ}
        return jws.serialize_compact(header, json.dumps(claims), key or self.key, algorithms=["RS256"])


def send(url, text):
    return ask("POST", url, body=text.encode(), kind="application/secevent+jwt")
