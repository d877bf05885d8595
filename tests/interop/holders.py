"""What the tests of holders start: an installation of the binary, a SoftHSM token, moto's AWS."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BINARY = os.environ.get("INTEROP_BINARY") or str(
    Path(__file__).resolve().parents[2] / "target/debug/bailiwick"
)
MODULES = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"]
PATIENCE = 30


def private(path, text):
    """A file for its owner alone."""
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return path


def until(met):
    end = time.monotonic() + PATIENCE
    while not met():
        if time.monotonic() > end:
            raise AssertionError("it never came to that")
        time.sleep(0.2)


class Installation:
    """A claimed service with one tenant."""

    def __init__(self, config, algorithm="RS256", environment=None):
        self.folder = Path(tempfile.mkdtemp(prefix="bailiwick-holders-"))
        self.data = self.folder / "data"
        self.context = self.folder / "operator.json"
        self.config = self.folder / "config.toml"
        self.config.write_text(config)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("BAILIWICK_", "XDG_"))}
        self.environment = {**kept, "HOME": str(self.folder), "NO_COLOR": "1", **(environment or {})}
        self.service = None
        self.port = 0
        self.start()
        self.run("claim", "--data", str(self.data), "--name", "first")
        self.run("tenant", "add", "acme", "--name", "Acme", "--employees", "7", "--algorithm", algorithm)

    def start(self):
        arguments = [BINARY, "serve", "--config", str(self.config), "--data", str(self.data)]
        arguments += ["--listen", f"127.0.0.1:{self.port}"]
        self.service = subprocess.Popen(
            arguments, env=self.environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        self.lines = []
        self.url = None
        looked = threading.Event()

        def read():
            for line in self.service.stderr:
                self.lines.append(line)
                found = re.match(r"bailiwick is ready on (\S+)", line)
                if found:
                    self.url = found.group(1)
                    looked.set()
            looked.set()

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()
        looked.wait(PATIENCE)
        if self.url is None:
            self.service.kill()
            self.stop()
            raise AssertionError("not ready:\n" + "".join(self.lines))
        self.port = int(self.url.rsplit(":", 1)[1])

    def stop(self, how=signal.SIGTERM):
        self.service.send_signal(how)
        self.service.wait(PATIENCE)
        self.reader.join(PATIENCE)
        self.service.stderr.close()

    def close(self):
        if self.service.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, *arguments):
        """Exit code and the one JSON document of a command."""
        common = ["--json", "--context", str(self.context), "--tenant", "acme"]
        done = subprocess.run(
            [BINARY, *common, *arguments], env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        document = json.loads(done.stdout) if done.stdout.strip() else {}
        return done.returncode, document, done.stderr

    def run(self, *arguments):
        code, document, stderr = self.ask(*arguments)
        if code != 0:
            raise AssertionError(f"{arguments}: {code} {document} {stderr}")
        return document

    def worker(self, name="worker"):
        """An identity of the tenant."""
        return self.run(
            "id", "add", name, "--kind", "workload", "--owner", "ops", "--owner-contact", "ops@acme.example",
            "--purpose", "tests", "--expires", "30d",
        )["id"]

    def post(self, path, body, token):
        """Status and text of what a bearer is answered."""
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def softhsm_module():
    found = next((path for path in MODULES if os.path.exists(path)), None)
    if found is None or shutil.which("softhsm2-util") is None:
        raise AssertionError("no SoftHSM: apt-get install softhsm2")
    return found


class SoftHsm:
    """A token of its own."""

    def __init__(self):
        self.module = softhsm_module()
        self.folder = Path(tempfile.mkdtemp(prefix="bailiwick-softhsm-"))
        (self.folder / "tokens").mkdir()
        configuration = self.folder / "softhsm2.conf"
        configuration.write_text(f"directories.tokendir = {self.folder}/tokens\nobjectstore.backend = file\n")
        self.environment = {"SOFTHSM2_CONF": str(configuration)}
        self.pin = private(self.folder / "pin", "8427\n")
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", "bailiwick", "--pin", "8427", "--so-pin", "9935"],
            env={**os.environ, **self.environment}, check=True, capture_output=True,
        )

    def section(self, more=""):
        return (
            f'[keys.holder]\nkind = "pkcs11"\nmodule = "{self.module}"\n'
            f'token = "bailiwick"\npin_file = "{self.pin}"\n{more}'
        )

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Moto:
    """moto's AWS on a port of its own."""

    def __init__(self, port=0):
        program = (
            "import sys\nfrom moto.server import ThreadedMotoServer\n"
            "server = ThreadedMotoServer(ip_address='127.0.0.1', port=int(sys.argv[1]), verbose=False)\n"
            "server.start()\nprint(server.get_host_and_port()[1], flush=True)\nsys.stdin.read()\n"
        )
        self.child = subprocess.Popen(
            [sys.executable, "-c", program, str(port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        self.port = int(self.child.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}/"

    def close(self):
        self.child.stdin.close()
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait(PATIENCE)
        self.child.stdout.close()


class Between:
    """Stands between us and a key service: can be slow, and can have something else asked or answered."""

    def __init__(self, url):
        self.delay = 0
        self.gone = threading.Event()
        self.asked = lambda body: body
        self.answered = lambda status, body: (status, body)
        between = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                kept = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "content-length")}
                request = urllib.request.Request(url.rstrip("/") + self.path, between.asked(body), kept, method=self.command)
                if between.gone.wait(between.delay):
                    return
                try:
                    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                        status, said = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    status, said = error.code, error.read()
                status, said = between.answered(status, said)
                try:
                    self.send_response(status)
                    self.send_header("content-length", str(len(said)))
                    self.end_headers()
                    self.wfile.write(said)
                except OSError:
                    pass  # whoever asked did not wait

            do_GET = do_PUT = do_POST

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.gone.set()
        self.server.shutdown()
        self.server.server_close()
