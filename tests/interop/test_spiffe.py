"""SPIFFE out: the client of others (PyPI `spiffe`) at our Workload API socket."""

import json
import os
import queue
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.request
from pathlib import Path

import grpc
import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from spiffe import WorkloadApiClient

from holders import Installation, until

DOMAIN = "agents.example"
PROGRAM = os.path.realpath("/proc/self/exe")
MARKED = [("workload.spiffe.io", "true")]


class Socket(unittest.TestCase):
    """An installation with a workload API, and one identity that this program is."""

    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.TemporaryDirectory(prefix="bailiwick-spiffe-")
        cls.socket = Path(cls.place.name) / "workload.sock"
        config = f'[spiffe]\nsocket = "{cls.socket}"\ntrust_domain = "{DOMAIN}"\n'
        cls.installation = Installation(config, "ES256")
        cls.identity = cls.made("worker", PROGRAM)
        cls.id = f"spiffe://{DOMAIN}/t/acme/{cls.identity}"

    @classmethod
    def made(cls, name, program):
        """An identity that a program of this user is, with an open task."""
        identity = cls.installation.worker(name)
        cls.installation.run(
            "trust", "add", identity, "--method", "unix-peer",
            "--match", f"uid={os.getuid()}", "--match", f"exe={program}",
        )
        cls.installation.run(
            "task", "open", "--identity", identity, "--purpose", "svids", "--for", "30m",
            "--can", "token:introspect",
        )
        return identity

    @classmethod
    def tearDownClass(cls):
        cls.installation.close()
        cls.place.cleanup()

    def client(self):
        client = WorkloadApiClient(f"unix:{self.socket}")
        self.addCleanup(client.close)
        return client

    def refused(self, method, body=b""):
        """The code with which gRPC's C core is refused, whatever came before it."""
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            call = channel.unary_stream(f"/SpiffeWorkloadAPI/{method}")
            try:
                for _ in call(body, metadata=MARKED, timeout=20):
                    pass
            except grpc.RpcError as error:
                return error.code()
        return None


class Spiffe(Socket):
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
        # Without the machine's own packages (-S): they are not those that the client library was made for.
        done = subprocess.run(
            [copied, "-S", "-c", program, f"unix:{self.socket}"], env=environment, capture_output=True, text=True, timeout=60
        )
        self.assertIn("no trust rule makes uid", done.stdout, done.stderr)

    def test_without_the_security_header_nothing_is_answered(self):
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            call = channel.unary_unary("/SpiffeWorkloadAPI/FetchJWTSVID")
            for metadata in [None, [("workload.spiffe.io", "false")]]:
                with self.assertRaises(grpc.RpcError) as refused:
                    call(b"\x0a\x07billing", metadata=metadata, timeout=10)
                self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn(self.id.encode(), call(b"\x0a\x07billing", metadata=MARKED, timeout=10))
            for body, code in [
                (b"", grpc.StatusCode.INVALID_ARGUMENT),
                (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
                (b"\x0a\x07billing" * 20, grpc.StatusCode.INVALID_ARGUMENT),
                (b"\x0a\x07billing\x12\x10spiffe://else/id", grpc.StatusCode.PERMISSION_DENIED),
            ]:
                with self.assertRaises(grpc.RpcError) as refused:
                    call(body, metadata=MARKED, timeout=10)
                self.assertEqual(refused.exception.code(), code, body)
            with self.assertRaises(grpc.RpcError) as refused:
                channel.unary_unary("/SpiffeWorkloadAPI/FetchWITSVID")(b"", metadata=MARKED, timeout=10)
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

    def test_one_user_has_a_limited_number_of_connections(self):
        opened = []
        try:
            for _ in range(100):
                opened.append(socket.socket(socket.AF_UNIX))
                opened[-1].connect(str(self.socket))
            # Those that are not taken are closed at once; the others wait for a request.
            closed = 0
            for connection in opened:
                connection.settimeout(0.1)
                try:
                    closed += connection.recv(1) == b""
                except (TimeoutError, ConnectionResetError):
                    pass
            self.assertGreaterEqual(closed, 36)
            self.assertLess(closed, 100)
        finally:
            for connection in opened:
                connection.close()
        until(lambda: self.fetched() is not None)

    def fetched(self):
        try:
            return self.client().fetch_jwt_svid(audience={"billing"})
        except Exception:
            return None

    def test_svids_of_two_sides_make_a_mutual_tls_connection(self):
        client = self.client()
        ours, theirs = client.fetch_x509_svid(), client.fetch_x509_svid()
        self.assertNotEqual(ours.leaf.serial_number, theirs.leaf.serial_number)
        bundle = client.fetch_x509_bundles().get_bundle_for_trust_domain(ours.spiffe_id.trust_domain)
        self.assertEqual(self.shaken(ours, theirs, bundle), (self.id, self.id))
        # A certificate that another authority made for the same ID opens nothing.
        folder = Path(self.place.name)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
             "-keyout", folder / "forged.key", "-out", folder / "forged.pem", "-subj", "/CN=forged",
             "-addext", f"subjectAltName=URI:{self.id}"],
            check=True, capture_output=True,
        )
        with self.assertRaises(ssl.SSLError):
            self.shaken((folder / "forged.pem", folder / "forged.key"), theirs, bundle)

    def files(self, svid):
        """Certificate and key as files, for `ssl`."""
        if isinstance(svid, tuple):
            return svid
        folder = Path(tempfile.mkdtemp(dir=self.place.name))
        chain, key = folder / "svid.pem", folder / "svid.key"
        chain.write_bytes(b"".join(c.public_bytes(serialization.Encoding.PEM) for c in svid.cert_chain))
        form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        key.write_bytes(svid.private_key.private_bytes(serialization.Encoding.PEM, *form))
        return chain, key

    def shaken(self, ours, theirs, bundle):
        """The SPIFFE IDs that both sides of a TLS connection saw."""
        trusted = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in bundle.x509_authorities).decode()

        def context(side, svid):
            made = ssl.SSLContext(side)
            made.check_hostname = False
            made.verify_mode = ssl.CERT_REQUIRED
            made.load_verify_locations(cadata=trusted)
            made.load_cert_chain(*self.files(svid))
            return made

        def seen(connection):
            return next(name for kind, name in connection.getpeercert()["subjectAltName"] if kind == "URI")

        server, client = context(ssl.PROTOCOL_TLS_SERVER, theirs), context(ssl.PROTOCOL_TLS_CLIENT, ours)
        there, here = socket.socketpair()
        there.settimeout(20)
        here.settimeout(20)
        told = queue.Queue()

        def serve():
            try:
                with server.wrap_socket(there, server_side=True) as connection:
                    told.put(seen(connection))
                    connection.sendall(b"hello")
            except ssl.SSLError as error:
                told.put(error)
            finally:
                there.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with client.wrap_socket(here) as connection:
                server_id = seen(connection)
                connection.recv(5)
        finally:
            here.close()
            thread.join(20)
        client_id = told.get(timeout=20)
        if isinstance(client_id, Exception):
            raise client_id
        return server_id, client_id

    def test_a_rotation_is_told_on_the_stream(self):
        client = self.client()
        bundles, svids, failed = queue.Queue(), queue.Queue(), queue.Queue()
        streams = [
            client.stream_jwt_bundles(bundles.put, failed.put, retry_connect=False),
            client.stream_x509_contexts(svids.put, failed.put, retry_connect=False),
        ]
        self.addCleanup(lambda: [stream.cancel() for stream in streams])

        def kids(bundle):
            return set(bundle.get_bundle_for_trust_domain(client.fetch_jwt_svid({"x"}).spiffe_id.trust_domain).jwt_authorities)

        before = kids(bundles.get(timeout=20))
        first = svids.get(timeout=20).default_svid
        self.assertEqual(str(first.spiffe_id), self.id)
        with urllib.request.urlopen(f"{self.installation.url}/t/acme/spiffe/bundle") as answer:
            sequence = json.loads(answer.read())["spiffe_sequence"]
        self.installation.run("keys", "rotate", "--now", "--reason", "drill")
        after = kids(bundles.get(timeout=20))
        self.assertNotEqual(before, after)
        self.assertTrue(failed.empty())
        with urllib.request.urlopen(f"{self.installation.url}/t/acme/spiffe/bundle") as answer:
            self.assertGreater(json.loads(answer.read())["spiffe_sequence"], sequence)
        # What the key of before signed is not valid any more, what the new one signs is.
        svid = client.fetch_jwt_svid(audience={"billing"})
        self.assertIn(jwt.get_unverified_header(svid.token)["kid"], after)
        self.assertEqual(str(client.validate_jwt_svid(svid.token, "billing").spiffe_id), self.id)


class Ends(Socket):
    def test_a_killed_identity_gets_nothing_and_its_streams_end(self):
        # Another identity of this user is another program: its ID is not given to this one.
        other = self.made("other", "/usr/bin/other")
        client = self.client()
        self.assertEqual([str(svid.spiffe_id) for svid in client.fetch_jwt_svids(audience={"x"})], [self.id])
        wanted = f"spiffe://{DOMAIN}/t/acme/{other}".encode()
        asked = b"\x0a\x01x\x12" + bytes([len(wanted)]) + wanted
        self.assertEqual(self.refused("FetchJWTSVID", asked), grpc.StatusCode.PERMISSION_DENIED)

        svid = client.fetch_jwt_svid(audience={"billing"})
        streams = {}
        for method in ["FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles"]:
            streams[method] = queue.Queue()

            def follow(method=method):
                streams[method].put(self.refused(method))

            threading.Thread(target=follow, daemon=True).start()
        for told in streams.values():
            with self.assertRaises(queue.Empty):
                told.get(timeout=0.5)
        self.installation.run("kill", "identity", self.identity, "--yes", "--reason", "drill")
        for method, told in streams.items():
            self.assertEqual(told.get(timeout=20), grpc.StatusCode.PERMISSION_DENIED, method)
        for method, body in [("FetchJWTSVID", b"\x0a\x07billing"), ("FetchX509SVID", b""), ("FetchJWTBundles", b"")]:
            self.assertEqual(self.refused(method, body), grpc.StatusCode.PERMISSION_DENIED, method)
        with self.assertRaises(Exception):
            client.validate_jwt_svid(svid.token, "billing")


if __name__ == "__main__":
    unittest.main()
