"""Private keys that others hold: a SoftHSM token and AWS KMS (moto). What they sign verifies with PyJWT."""

import json
import shutil
import signal
import tempfile
import time
import unittest
from pathlib import Path

import boto3
import jwt

from holders import Between, Installation, Moto, SoftHsm, private, until


def open_task(installation, identity):
    return installation.ask(
        "task", "open", "--identity", identity, "--purpose", "tests", "--for", "15m", "--can", "token:introspect"
    )


def token_of(installation, identity):
    code, opened, stderr = open_task(installation, identity)
    assert code == 0, (code, opened, stderr)
    return opened["token"]["access_token"] if isinstance(opened["token"], dict) else opened["token"]


def verified(installation, token, algorithm="RS256"):
    """The claims, by PyJWT's own client of our key set."""
    keys = jwt.PyJWKClient(f"{installation.url}/t/acme/jwks")
    key = keys.get_signing_key_from_jwt(token)
    issuer = f"{installation.url}/t/acme"
    return jwt.decode(token, key.key, algorithms=[algorithm], audience=f"{issuer}/mcp", issuer=issuer)


def status(installation):
    return {key["state"]: key for key in installation.run("keys", "status")["items"]}


class Pkcs11(unittest.TestCase):
    def installed(self, algorithm, more=""):
        token = SoftHsm()
        self.addCleanup(token.close)
        installation = Installation(token.section(more), algorithm, token.environment)
        self.addCleanup(installation.close)
        return token, installation

    def test_a_token_signs_and_pyjwt_verifies(self):
        for algorithm in ["RS256", "ES256"]:
            with self.subTest(algorithm):
                _, installation = self.installed(algorithm)
                identity = installation.worker()
                self.assertEqual(status(installation)["active"]["holder"], "pkcs11")
                claims = verified(installation, token_of(installation, identity), algorithm)
                self.assertEqual(claims["nhi"], identity)
                # The keys survive a crash: they were never here.
                installation.stop(signal.SIGKILL)
                installation.start()
                self.assertEqual(verified(installation, token_of(installation, identity), algorithm)["nhi"], identity)
                rotated = installation.run("keys", "rotate", "--now", "--reason", "drill")
                self.assertEqual(rotated["items"][0]["holder"], "pkcs11")
                self.assertEqual(verified(installation, token_of(installation, identity), algorithm)["nhi"], identity)

    def test_the_folder_alone_opens_nothing(self):
        token, installation = self.installed("ES256", "seals = true\n")
        identity = installation.worker()
        verified(installation, token_of(installation, identity), "ES256")
        installation.stop()
        self.assertFalse((installation.data / "unseal.key").exists())
        installation.start()
        verified(installation, token_of(installation, identity), "ES256")
        installation.stop()
        # The same folder with another token does not start.
        other = SoftHsm()
        self.addCleanup(other.close)
        installation.environment.update(other.environment)
        with self.assertRaisesRegex(AssertionError, "keys.holder|holder of keys"):
            installation.start()

    def test_a_wrong_pin_and_a_token_that_is_not_there_stop_the_start(self):
        token, installation = self.installed("ES256")
        identity = installation.worker()
        installation.stop()
        private(token.pin, "1111\n")
        with self.assertRaisesRegex(AssertionError, "(?s)holder of keys refused.*PIN.*incorrect") as refused:
            installation.start()
        self.assertNotIn("1111", str(refused.exception))
        private(token.pin, "8427\n")
        token.pin.chmod(0o644)
        with self.assertRaisesRegex(AssertionError, "keys.holder.pin_file.*chmod 600"):
            installation.start()
        token.pin.chmod(0o600)
        configured = installation.config.read_text()
        installation.config.write_text(configured.replace('token = "bailiwick"', 'token = "other"'))
        with self.assertRaisesRegex(AssertionError, "keys.holder.token.*no token `other`"):
            installation.start()
        installation.config.write_text(configured)
        installation.start()
        self.assertEqual(verified(installation, token_of(installation, identity), "ES256")["nhi"], identity)

    def test_a_token_that_lost_its_keys_stops_issuing_and_nothing_else(self):
        token, installation = self.installed("ES256")
        identity = installation.worker()
        issued = token_of(installation, identity)
        installation.stop()
        for item in (token.folder / "tokens").glob("*/*.object"):
            if item.name != "token.object":
                item.unlink()
        installation.start()
        code, answer, _ = open_task(installation, identity)
        self.assertNotEqual(code, 0)
        self.assertIn("keys.holder", json.dumps(answer))
        self.assertIn("the token does not have that key", json.dumps(answer))
        self.assertEqual(verified(installation, issued, "ES256")["nhi"], identity)
        # Keys are made anew, and two rotations later the tenant signs again.
        for _ in range(2):
            installation.run("keys", "rotate", "--now", "--reason", "the token lost its keys")
            until(lambda: "next" in status(installation))
        self.assertEqual(verified(installation, token_of(installation, identity), "ES256")["nhi"], identity)


class AwsKms(unittest.TestCase):
    def section(self, moto, more=""):
        folder = Path(tempfile.mkdtemp(prefix="bailiwick-kms-"))
        self.addCleanup(shutil.rmtree, folder, True)
        key = private(folder / "access", "AKIAIOSFODNN7EXAMPLE\nwJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n")
        return (
            f'[keys.holder]\nkind = "aws-kms"\nregion = "eu-west-1"\naccess_key_file = "{key}"\n'
            f'danger_endpoint_override = "{moto.url}"\nallow_addresses = ["127.0.0.1/32"]\n{more}'
        )

    def installed(self, algorithm, more=lambda moto: ""):
        moto = Moto()
        self.addCleanup(moto.close)
        installation = Installation(self.section(moto, more(moto)), algorithm)
        self.addCleanup(installation.close)
        return moto, installation

    def test_kms_signs_and_pyjwt_verifies(self):
        for algorithm in ["RS256", "ES256"]:
            with self.subTest(algorithm):
                _, installation = self.installed(algorithm)
                identity = installation.worker()
                self.assertEqual(status(installation)["active"]["holder"], "aws-kms")
                claims = verified(installation, token_of(installation, identity), algorithm)
                self.assertEqual(claims["nhi"], identity)

    def test_kms_seals_the_unseal_key(self):
        def sealing(moto):
            client = boto3.client(
                "kms", region_name="eu-west-1", endpoint_url=moto.url,
                aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x",
            )
            return f'seals = true\nsealing_key = "{client.create_key()["KeyMetadata"]["Arn"]}"\n'

        _, installation = self.installed("RS256", sealing)
        identity = installation.worker()
        installation.stop()
        self.assertTrue((installation.data / "unseal.sealed").exists())
        self.assertFalse((installation.data / "unseal.key").exists())
        installation.start()
        verified(installation, token_of(installation, identity))

    def test_a_service_that_is_down_stops_issuing_and_nothing_else(self):
        moto, installation = self.installed("RS256")
        identity, victim = installation.worker(), installation.worker("victim")
        token, theirs = token_of(installation, identity), token_of(installation, victim)
        moto.close()
        code, answer, _ = open_task(installation, identity)
        self.assertNotEqual(code, 0)
        self.assertIn("keys.holder", json.dumps(answer))
        # What was issued is verified, by others and here: the bearer is believed, and the renewal cannot be signed.
        claims = verified(installation, token)
        self.assertEqual(claims["nhi"], identity)
        renewal = f"/v1/tenants/acme/tasks/{claims['task']}/tokens"
        answered, said = installation.post(renewal, {"count": 1}, token)
        self.assertEqual((answered, json.loads(said)["code"]), (503, "keys.holder"))
        answered, _ = installation.post(renewal, {"count": 1}, token[:-8] + "AAAAAAAA")
        self.assertEqual(answered, 401)
        # Killing and reading need no signature.
        installation.run("kill", "identity", victim, "--reason", "drill", "--yes")
        theirs_renewed = f"/v1/tenants/acme/tasks/{jwt.decode(theirs, options={'verify_signature': False})['task']}/tokens"
        answered, _ = installation.post(theirs_renewed, {"count": 1}, theirs)
        self.assertEqual(answered, 401)
        states = {each["id"]: each["state"] for each in installation.run("id", "ls")["items"]}
        self.assertEqual(states[victim], "retired")
        self.assertNotEqual(states[identity], "retired")
        # The logs are signed with keys of their own, which no holder has: the kill comes under a checkpoint.
        def state():
            return next(each for each in installation.run("log", "ls")["items"] if each["log"] == "state")

        entries = state()["sequenced"]
        until(lambda: state()["integrated"] >= entries)
        last = installation.run("log", "tail", "--log", "state", "-n", "20")["items"]
        self.assertIn("state.mark.kill", [each["leaf"]["kind"] for each in last])
        reports = installation.run("log", "verify")
        self.assertTrue(reports["sound"], reports)
        sizes = {report["origin"].rsplit("/", 1)[-1]: report["size"] for report in reports["logs"]}
        self.assertGreaterEqual(max(sizes.values()), entries)
        again = Moto(moto.port)
        self.addCleanup(again.close)
        # The service is back without its keys: moto forgets them. A key that is gone is an error and no token.
        answered, said = installation.post(renewal, {"count": 1}, token)
        self.assertEqual((answered, json.loads(said)["code"]), (503, "keys.holder"))

    def test_a_slow_service_and_the_signature_of_another_key_give_no_token(self):
        moto = Moto()
        self.addCleanup(moto.close)
        between = Between(moto.url)
        self.addCleanup(between.close)
        for algorithm, spec in [("RS256", "RSA_2048"), ("ES256", "ECC_NIST_P256")]:
            with self.subTest(algorithm):
                installation = Installation(self.section(between), algorithm)
                self.addCleanup(installation.close)
                identity = installation.worker()
                self.assertEqual(verified(installation, token_of(installation, identity), algorithm)["nhi"], identity)
                client = boto3.client(
                    "kms", region_name="eu-west-1", endpoint_url=moto.url,
                    aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x",
                )
                other = client.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
                swapped = []

                def swap(body):
                    asked = json.loads(body)
                    if "MessageType" not in asked:
                        return body
                    swapped.append(asked["KeyId"])
                    return json.dumps({**asked, "KeyId": other}).encode()

                between.asked = swap
                code, answer, _ = open_task(installation, identity)
                self.assertNotEqual(code, 0)
                self.assertEqual(answer["code"], "keys.holder", answer)
                self.assertIn("does not verify", json.dumps(answer))
                self.assertTrue(swapped and other not in swapped)
                between.asked = lambda body: body
                for status, said in [(200, b"{}"), (200, b"<html>"), (200, b"x" * 100_000), (500, b""), (302, b"")]:
                    between.answered = lambda *_: (status, said)
                    code, answer, _ = open_task(installation, identity)
                    self.assertNotEqual(code, 0)
                    self.assertEqual(answer["code"], "keys.holder", answer)
                between.answered = lambda status, body: (status, body)
                between.delay = 20
                began = time.monotonic()
                code, answer, _ = open_task(installation, identity)
                self.assertLess(time.monotonic() - began, 15)
                self.assertNotEqual(code, 0)
                self.assertEqual(answer["code"], "keys.holder", answer)
                between.delay = 0
                self.assertEqual(verified(installation, token_of(installation, identity), algorithm)["nhi"], identity)


if __name__ == "__main__":
    unittest.main()
