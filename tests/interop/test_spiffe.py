"""SPIFFE out: the client of others (PyPI `spiffe`) at our Workload API socket."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
import urllib.request
from pathlib import Path

import grpc
import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from spiffe import WorkloadApiClient

from holders import Installation

DOMAIN = "agents.example"


class Spiffe(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.TemporaryDirectory(prefix="bailiwick-spiffe-")
        cls.socket = Path(cls.place.name) / "workload.sock"
        config = f'[spiffe]\nsocket = "{cls.socket}"\ntrust_domain = "{DOMAIN}"\n'
        cls.installation = Installation(config, "ES256")
        cls.identity = cls.installation.worker()
        cls.installation.run(
            "trust", "add", cls.identity, "--method", "unix-peer",
            "--match", f"uid={os.getuid()}", "--match", f"exe={os.path.realpath('/proc/self/exe')}",
        )
        cls.installation.run(
            "task", "open", "--identity", cls.identity, "--purpose", "svids", "--for", "30m",
            "--can", "token:introspect",
        )
        cls.id = f"spiffe://{DOMAIN}/t/acme/{cls.identity}"

    @classmethod
    def tearDownClass(cls):
        cls.installation.close()
        cls.place.cleanup()

    def client(self):
        client = WorkloadApiClient(f"unix:{self.socket}")
        self.addCleanup(client.close)
        return client

    def recorded(self):
        """Decisions of `token.issue` so far."""
        entries = self.installation.run("log", "tail", "--log", "decisions", "-n", "200")
        items = entries["items"] if isinstance(entries, dict) else entries
        return [json.dumps(entry) for entry in items if "token.issue" in json.dumps(entry)]

    def test_a_jwt_svid_is_fetched_validated_and_recorded(self):
        before = len(self.recorded())
        client = self.client()
        svid = client.fetch_jwt_svid(audience={"billing"})
        self.assertEqual(str(svid.spiffe_id), self.id)
        # The library verified nothing with our bundle yet: it does here, and PyJWT with the bundle over HTTP.
        bundles = client.fetch_jwt_bundles()
        self.assertIsNotNone(bundles)
        with urllib.request.urlopen(f"{self.installation.url}/t/acme/spiffe/bundle") as answer:
            bundle = json.loads(answer.read())
        self.assertGreaterEqual(bundle["spiffe_sequence"], 1)
        self.assertEqual(bundle["spiffe_refresh_hint"], 300)
        kid = jwt.get_unverified_header(svid.token)["kid"]
        key = next(key for key in bundle["keys"] if key.get("kid") == kid)
        self.assertEqual(key["use"], "jwt-svid")
        claims = jwt.decode(svid.token, jwt.PyJWK(key).key, algorithms=["ES256"], audience="billing")
        self.assertEqual(claims["sub"], self.id)
        self.assertLessEqual(claims["exp"] - claims["iat"], 300)
        validated = client.validate_jwt_svid(svid.token, "billing")
        self.assertEqual(str(validated.spiffe_id), self.id)
        with self.assertRaises(Exception):
            client.validate_jwt_svid(svid.token, "payroll")
        # Our own access tokens are no SVIDs, and the other way round.
        opened = self.installation.run(
            "task", "open", "--identity", self.identity, "--purpose", "other", "--for", "5m",
            "--can", "token:introspect",
        )
        with self.assertRaises(Exception):
            client.validate_jwt_svid(opened["token"]["access_token"], f"{self.installation.url}/t/acme/mcp")
        status, _ = self.installation.post(f"/v1/tenants/acme/tasks/{opened['task']['id']}/tokens", {"count": 1}, svid.token)
        self.assertEqual(status, 401)
        self.assertGreater(len(self.recorded()), before)

    def test_an_x509_svid_is_fetched_and_chains_to_the_bundle(self):
        before = len(self.recorded())
        client = self.client()
        svid = client.fetch_x509_svid()
        self.assertEqual(str(svid.spiffe_id), self.id)
        leaf = svid.leaf
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual([name.value for name in names], [self.id])
        self.assertFalse(leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
        lives = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        self.assertLessEqual(lives.total_seconds(), 361)
        bundle = client.fetch_x509_bundles()
        authorities = list(bundle.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain).x509_authorities)
        self.assertEqual(len(authorities), 1)
        leaf.verify_directly_issued_by(authorities[0])
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        public = leaf.public_key().public_bytes(serialization.Encoding.DER, form)
        self.assertEqual(svid.private_key.public_key().public_bytes(serialization.Encoding.DER, form), public)
        self.assertIsInstance(leaf.public_key(), ec.EllipticCurvePublicKey)
        # OpenSSL agrees.
        folder = Path(self.place.name)
        (folder / "leaf.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        (folder / "ca.pem").write_bytes(authorities[0].public_bytes(serialization.Encoding.PEM))
        subprocess.run(
            ["openssl", "verify", "-purpose", "sslclient", "-CAfile", folder / "ca.pem", folder / "leaf.pem"],
            check=True, capture_output=True,
        )
        self.assertGreater(len(self.recorded()), before)

    def test_another_program_of_the_same_user_is_nobody(self):
        program = (
            "import sys\nfrom spiffe import WorkloadApiClient\n"
            "try:\n    WorkloadApiClient(sys.argv[1]).fetch_jwt_svid(audience={'billing'})\n    print('got one')\n"
            "except Exception as error:\n    print(error)\n"
        )
        copied = Path(self.place.name) / "copied-python"
        copied.write_bytes(Path(os.path.realpath(sys.executable)).read_bytes())
        copied.chmod(0o700)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHOME": sys.base_prefix}
        done = subprocess.run(
            [copied, "-c", program, f"unix:{self.socket}"], env=environment, capture_output=True, text=True, timeout=60
        )
        self.assertIn("no trust rule makes uid", done.stdout, done.stderr)

    def test_without_the_security_header_nothing_is_answered(self):
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            call = channel.unary_unary("/SpiffeWorkloadAPI/FetchJWTSVID")
            for metadata in [None, [("workload.spiffe.io", "false")]]:
                with self.assertRaises(grpc.RpcError) as refused:
                    call(b"\x0a\x07billing", metadata=metadata, timeout=10)
                self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            marked = [("workload.spiffe.io", "true")]
            self.assertIn(self.id.encode(), call(b"\x0a\x07billing", metadata=marked, timeout=10))
            for body, code in [
                (b"", grpc.StatusCode.INVALID_ARGUMENT),
                (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
                (b"\x0a\x07billing" * 20, grpc.StatusCode.INVALID_ARGUMENT),
                (b"\x0a\x07billing\x12\x10spiffe://else/id", grpc.StatusCode.PERMISSION_DENIED),
            ]:
                with self.assertRaises(grpc.RpcError) as refused:
                    call(body, metadata=marked, timeout=10)
                self.assertEqual(refused.exception.code(), code, body)
            with self.assertRaises(grpc.RpcError) as refused:
                channel.unary_unary("/SpiffeWorkloadAPI/FetchWITSVID")(b"", metadata=marked, timeout=10)
            self.assertEqual(refused.exception.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_a_suspended_identity_gets_none_and_its_svids_are_not_valid(self):
        client = self.client()
        svid = client.fetch_jwt_svid(audience={"billing"})
        self.installation.run("id", "suspend", self.identity, "--reason", "drill")
        try:
            with self.assertRaises(Exception):
                client.fetch_jwt_svid(audience={"billing"})
            with self.assertRaises(Exception):
                client.fetch_x509_svid()
            with self.assertRaises(Exception):
                client.validate_jwt_svid(svid.token, "billing")
        finally:
            self.installation.run("id", "resume", self.identity)
        self.assertIsNotNone(client.fetch_jwt_svid(audience={"billing"}))


if __name__ == "__main__":
    unittest.main()
