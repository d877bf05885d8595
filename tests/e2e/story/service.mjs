// The service: probes, metrics, traces, drain, and what happens when the disk
// or an upstream fails.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer as createHttp } from "node:http";
import { get as secureGet } from "node:https";
import { connect } from "node:net";
import { join } from "node:path";
import { Desk } from "../lib/desk.mjs";
import { BINARY, environment, Installation, runBinary, temporary } from "../lib/installation.mjs";
import { figure, skip, suite, test } from "../lib/lane.mjs";
import { callTool, exchange, permitted } from "../lib/mcp.mjs";
import { family, files, forms, shownBy } from "../lib/scan.mjs";
import { until } from "../lib/wait.mjs";

const isRoot = process.getuid() === 0;

suite("service", async () => {
    const desk = await Desk.open();
    const spans = [];
    const collector = createHttp((request, response) => {
        const chunks = [];
        request.on("data", chunk => chunks.push(chunk));
        request.on("end", () => {
            spans.push({ url: request.url, type: request.headers["content-type"], body: Buffer.concat(chunks) });
            response.writeHead(200, { "content-type": request.headers["content-type"] ?? "text/plain" }).end();
        });
    });
    await new Promise(done => collector.listen(0, "127.0.0.1", done));
    const endpoint = `http://127.0.0.1:${collector.address().port}`;
    const installation = await Installation.start("service", { config: `[telemetry]\notlp_endpoint = "${endpoint}"\nlevel = "debug"\n` });
    return {
        desk,
        installation,
        spans,
        stop: async () => {
            await installation.stop();
            await desk.close();
            await new Promise(done => collector.close(done));
        }
    };
});

/** Name and kind of every metric, from the table that exposes them. */
function table() {
    const source = readFileSync(new URL("../../../content/metrics.txt", import.meta.url), "utf8");
    const rows = source.trim().split("\n").map(line => line.split("|"));
    assert.ok(rows.every(row => row.length === 4), "name|kind|unit|help");
    return Object.fromEntries(rows.map(([name, kind]) => [name, kind]));
}

/** What is exposed once there was a call, a kill and a refused request for a token; the rest counts accidents. */
const LIVED = ["connections_open", "decision_log_batch_records", "decision_log_entries_total", "decision_log_flush_seconds", "decisions_total", "epoch", "kill_committed_seconds", "kill_denied_seconds", "snapshot_age_seconds", "token_requests_refused_total"];

test("the probes answer, and metrics have names with units", async ({ installation, desk }) => {
    await installation.addHttpServer("metered", desk.url);
    const metered = await installation.addIdentity("metered");
    const { token } = await installation.openTask("metered", ["metered:echo"]);
    await permitted(installation.endpoint("metered"), token, "echo", { text: "a" });
    await installation.kill("identity", metered.id);
    const refused = await fetch(`${installation.url}/t/acme/token`, { method: "POST", body: new URLSearchParams({ grant_type: "implicit" }) });
    assert.equal(refused.status, 400);
    assert.equal((await fetch(`${installation.url}/healthz`)).status, 200);
    const ready = await fetch(`${installation.url}/readyz`);
    assert.equal(ready.status, 200);
    const body = await ready.json();
    assert.deepEqual([body.status, body.store, body.keys, body.decision_log], ["ready", true, true, true]);
    const metrics = await (await fetch(`${installation.url}/metrics`)).text();
    const names = [...metrics.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, kind]) => [name, kind]);
    const known = table();
    assert.deepEqual(names.filter(([name, kind]) => known[name] !== kind), [], "what is exposed is in the table");
    assert.deepEqual(LIVED.map(name => `bailiwick_${name}`).filter(name => !names.some(([exposed]) => exposed === name)), [], "missing");
    const typed = new Set(names.map(([name]) => name));
    for (const [, sample] of metrics.matchAll(/^([a-z_]+)[ {]/gm)) {
        assert.ok(typed.has(sample) || typed.has(sample.replace(/_(bucket|count|sum)$/, "")), sample);
    }
    for (const [name, kind] of names) {
        assert.match(name, /^bailiwick_[a-z_]+$/);
        if (kind === "counter") {
            assert.match(name, /_total$/);
        }
        assert.notEqual(kind, "summary", name);
        assert.match(metrics, new RegExp(`^# HELP ${name} [A-Z].+\\.$`, "m"));
    }
    assert.equal((await fetch(`${installation.url}/no/such/path`)).status, 404);
});

test("the address of the listener is the only host that is let in", async ({ installation, desk }) => {
    await installation.addIdentity("worker");
    await installation.addHttpServer("files", desk.url);
    const { token } = await installation.openTask("worker", ["files:*"]);
    await permitted(installation.endpoint("files"), token, "echo", { text: "a" });
    for (const headers of [{ host: "evil.example" }, { origin: "http://evil.example" }]) {
        const reply = await callTool(installation.endpoint("files"), token, "echo", { text: "a" }, { headers });
        assert.equal(reply.status, 403, JSON.stringify(headers));
    }
});

test("traces arrive at an OTLP collector, and carry no argument", async ({ installation, spans, desk }) => {
    const { token } = await installation.openTask("worker", ["files:*"]);
    await permitted(installation.endpoint("files"), token, "echo", { text: "canary-argument-5d1c" });
    assert.ok(desk.count("echo") > 0);
    await until("a span of the call", () => spans.some(({ body }) => body.includes("tools/call")), 15_000);
    for (const { url, type, body } of spans) {
        assert.equal(url, "/v1/traces");
        assert.match(type, /^application\/(x-protobuf|json)/);
        assert.ok(!body.includes("canary-argument-5d1c"), "an argument is in a trace");
        assert.ok(!body.includes(token), "a token is in a trace");
    }
    figure("service: OTLP requests / bytes", `${spans.length} / ${spans.reduce((sum, { body }) => sum + body.length, 0)}`);
});

test("no secret in argument lists, environments, log lines or files", async ({ installation, desk }) => {
    const secret = "canary-upstream-secret-e81f0a77";
    const file = join(installation.folder, "secret");
    writeFileSync(file, secret, { mode: 0o600 });
    await installation.addHttpServer("vault", desk.url, { credentialFile: file });
    const { token, tokenFile } = await installation.openTask("worker", ["vault:echo"]);
    await permitted(installation.endpoint("vault"), token, "echo", { text: "x" });
    assert.equal(desk.calls.at(-1).headers.authorization, `Bearer ${secret}`);
    const byStdin = "canary-by-standard-input-90bb";
    const words = ["server", "add", "vault2", "--url", desk.url, "--allow-plaintext", "--allow-address", "127.0.0.0/8", "--credential-file", "-"];
    await installation.cli([...words, "--owner", "o", "--owner-contact", "c", "--purpose", "p", "--expires", "1d"], { input: `${byStdin}\n` });
    const operatorKey = readFileSync(JSON.parse(readFileSync(installation.context, "utf8")).key_file);
    const wanted = [secret, token, byStdin].flatMap(forms).concat(forms(operatorKey.toString("latin1")).slice(1, 2), [operatorKey]);
    for (const pid of family(installation.service.pid)) {
        const shown = Buffer.from(shownBy(pid), "latin1");
        assert.ok(!wanted.some(form => shown.includes(form)), `process ${pid} shows a secret`);
    }
    const lines = Buffer.from(installation.service.text);
    assert.ok(!wanted.some(form => lines.includes(form)), "a log line has a secret");
    let seen = 0;
    for (const [path, bytes] of files(installation.data)) {
        seen += 1;
        for (const form of wanted) {
            assert.ok(!bytes.includes(form), `${path} has a secret in clear`);
        }
        // The logs are made to be shown: leaves without payloads, and sealed payloads.
        if (!path.startsWith(join(installation.data, "log"))) {
            assert.equal(statSync(path).mode & 0o077, 0, `${path} is open to others`);
        }
    }
    assert.ok(seen > 5);
    assert.equal(statSync(installation.data).mode & 0o777, 0o700);
    rmSync(tokenFile);
    rmSync(file);
});

test("a start, a kill and a stop each have a line in the log, the kill with what was measured", async () => {
    const own = await Installation.start("lines");
    const events = () => own.service.lines
        .filter(line => line.startsWith("{"))
        .map(line => JSON.parse(line))
        .map(event => ({ level: event.level, ...(event.fields ?? event) }));
    const only = message => {
        const found = events().filter(event => event.message === message);
        assert.equal(found.length, 1, `${message}: ${own.service.text}`);
        assert.equal(found[0].level, "INFO");
        return found[0];
    };
    try {
        const started = only("started");
        assert.equal(`http://${started.address}`, own.url);
        assert.equal(started.data, own.data);
        assert.deepEqual([started.tenants, started.state_entries, started.decision_entries], [0, 0, 0]);
        await own.addIdentity("worker", {});
        const receipt = await own.cli(["kill", "identity", "worker", "--reason", "test", "--yes"]);
        const killed = only("kill or suspension committed");
        assert.deepEqual(
            [killed.effect, killed.scope, killed.epoch, killed.position, killed.denied_us, killed.committed_us],
            ["kill", receipt.scope, receipt.epoch, receipt.position, receipt.denied_us, receipt.committed_us]
        );
        assert.ok(killed.committed_us >= killed.denied_us && killed.denied_us > 0, JSON.stringify(killed));
        await own.service.stop();
        const stopped = only("stopped");
        assert.equal(stopped.state_entries, receipt.position, "everything committed is under the last checkpoint");
    } finally {
        await own.stop();
    }
});

test("doctor finds what is open to others and prints the command that mends it", async ({ installation }) => {
    const sound = await installation.run(["doctor", "--data", installation.data]);
    assert.equal(sound.code, 0, sound.stdout);
    assert.ok(sound.json.findings.some(finding => /the store is what its state log tells/.test(finding.what)), sound.stdout);
    const paper = await installation.run(["doctor", "--data", installation.data], { json: false });
    assert.match(paper.stdout, /^WARN {2}unseal key is private, but lies beside what it opens.*\n +stop the service, move .*keys\.unseal_file/m);
    chmodSync(installation.data, 0o755);
    const open = await installation.run(["doctor", "--data", installation.data]);
    assert.equal(open.code, 1);
    assert.ok(open.json.findings.some(finding => finding.mend === `chmod 700 ${installation.data}`));
    chmodSync(installation.data, 0o700);
});

test("a file in the place of the data folder is called one", async ({ installation }) => {
    const file = join(installation.folder, "not-a-folder");
    writeFileSync(file, "x");
    const served = await runBinary(["serve", "--data", file, "--listen", "127.0.0.1:0"], { folder: installation.folder });
    assert.equal(served.code, 1);
    assert.match(served.stderr, /not-a-folder` is no folder/);
    assert.doesNotMatch(served.stderr, /open to others/);
});

test("an upstream that cannot be reached gives a clear answer and no claim of success", async ({ installation, desk }) => {
    const gone = await Desk.open();
    await installation.addHttpServer("gone", gone.url);
    const { token } = await installation.openTask("worker", ["gone:*"]);
    await permitted(installation.endpoint("gone"), token, "echo", { text: "a" });
    await gone.close();
    const reply = await callTool(installation.endpoint("gone"), token, "echo", { text: "a" });
    assert.equal(reply.error?.code, -32603, reply.text);
    assert.equal(reply.error.data.code, "upstream.unreachable");
    assert.match(reply.error.message, /cannot be reached/);
    const { items } = await installation.cli(["log", "tail", "-n", "4"]);
    assert.ok(items.some(entry => entry.payload.outcome === "failed"), "the outcome is recorded");
    const add = url => ["server", "add", "other", "--url", url, "--owner", "o", "--owner-contact", "c", "--purpose", "p", "--expires", "1d"];
    const refused = await installation.run([...add(gone.url), "--allow-plaintext", "--allow-address", "127.0.0.0/8"]);
    assert.notEqual(refused.code, 0);
    assert.match(refused.json.message, /reached/);
    assert.ok(!(await installation.cli(["server", "ls"])).items.some(server => server.name === "other"));
    const guarded = await installation.run([...add(desk.url), "--allow-plaintext"]);
    assert.notEqual(guarded.code, 0, "a loopback address without --allow-address");
    assert.match(`${guarded.json.message} ${guarded.json.hint}`, /allow-address|may not be reached/);
    const plain = await installation.run([...add(desk.url), "--allow-address", "127.0.0.0/8"]);
    assert.notEqual(plain.code, 0, "http: without --allow-plaintext");
    assert.match(`${plain.json.message} ${plain.json.hint}`, /plaintext/);
    await installation.refused(["server", "add", "half", "--url", desk.url, "--allow-plaintext", "--allow-address", "127.0.0.0/8"], 2, "identity.owner-missing");
});

test("an answer that carries the upstream credential, or is too long, is withheld", async ({ installation }) => {
    const { token } = await installation.openTask("worker", ["vault:echo"]);
    const url = installation.endpoint("vault");
    const leak = await callTool(url, token, "echo", { text: "leak" });
    assert.equal(leak.error?.code, -32603, leak.text);
    assert.equal(leak.error.data.code, "upstream.credential-returned");
    assert.ok(!leak.text.includes("canary-upstream-secret"));
    const flood = await callTool(url, token, "echo", { text: "flood" });
    assert.equal(flood.error?.data.code, "upstream.too-long", flood.text.slice(0, 300));
    await permitted(url, token, "echo", { text: "still here" });
});

test("an upstream that talks nonsense, redirects or goes away is not added", async ({ installation }) => {
    const answers = {
        nonsense: response => response.writeHead(200, { "content-type": "application/json" }).end("<html>"),
        redirect: response => response.writeHead(302, { location: "http://127.0.0.1:1/mcp" }).end(),
        silent: response => response.socket.destroy()
    };
    for (const [what, answer] of Object.entries(answers)) {
        const server = createHttp((request, response) => {
            request.resume();
            request.on("end", () => answer(response));
        });
        await new Promise(done => server.listen(0, "127.0.0.1", done));
        const words = ["server", "add", what, "--url", `http://127.0.0.1:${server.address().port}/mcp`, "--allow-plaintext", "--allow-address", "127.0.0.0/8"];
        const added = await installation.run([...words, "--owner", "o", "--owner-contact", "c", "--purpose", "p", "--expires", "1d"]);
        assert.notEqual(added.code, 0, what);
        assert.ok(added.json.message.length > 10, what);
        server.close();
    }
});

test("SIGTERM lets running calls end, refuses new ones and exits with 0", async ({ installation, desk }) => {
    const { token } = await installation.openTask("worker", ["files:*"]);
    const url = installation.endpoint("files");
    const running = callTool(url, token, "hold", { mark: "drain" });
    await until("the call to arrive", () => desk.count("hold") > 0);
    const { service } = installation;
    service.child.kill("SIGTERM");
    await until("the listener to close", () =>
        new Promise(done => {
            const probe = connect({ host: "127.0.0.1", port: installation.port });
            probe.on("connect", () => {
                probe.destroy();
                done(false);
            });
            probe.on("error", () => done(true));
        })
    );
    assert.equal(service.child.exitCode, null, "it waits for the running call");
    desk.release("drain");
    const answer = await running;
    assert.ok(answer.result, answer.text);
    assert.deepEqual(await service.ended, { code: 0, signal: null });
    await installation.serve();
    const verdict = await installation.cli(["log", "verify"]);
    assert.equal(verdict.sound, true);
});

test("TLS: served with a private key only, and plaintext is refused", async ({ installation }) => {
    const { folder } = installation;
    const [certificate, key] = [join(folder, "tls.pem"), join(folder, "tls.key")];
    const words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=localhost"];
    try {
        execFileSync("openssl", [...words, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate], { stdio: "ignore" });
    } catch {
        skip("no `openssl` on the PATH");
    }
    const secure = new Installation("tls");
    secure.configFile = join(secure.folder, "config.toml");
    writeFileSync(secure.configFile, `[listen]\ntls_certificate = "${certificate}"\ntls_key = "${key}"\n`);
    try {
        chmodSync(key, 0o644);
        await assert.rejects(secure.serve(), new RegExp(`chmod 600 ${key}`));
        chmodSync(key, 0o600);
        await secure.serve();
        assert.match(secure.url, /^https:/);
        const body = await new Promise((done, fail) => {
            secureGet(`${secure.url}/healthz`, { ca: readFileSync(certificate) }, response => {
                response.setEncoding("utf8").on("data", done);
            }).on("error", fail);
        });
        assert.equal(body, "alive\n");
        await assert.rejects(fetch(`http://127.0.0.1:${secure.port}/healthz`), "plaintext was answered");
    } finally {
        await secure.stop();
    }
});

test("the command line speaks to a service with a private CA, and to no other", async () => {
    const secure = new Installation("ca");
    const at = name => join(secure.folder, name);
    const openssl = (...words) => execFileSync("openssl", words, { stdio: "ignore" });
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"];
    const authority = name => openssl("req", "-x509", ...key, "-subj", `/CN=${name}`, "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", at(`${name}.key`), "-out", at(`${name}.pem`));
    try {
        authority("ca");
        authority("stranger");
        openssl("req", "-new", ...key.slice(0, 5), "-subj", "/CN=bailiwick", "-keyout", at("tls.key"), "-out", at("tls.csr"));
    } catch {
        skip("no `openssl` on the PATH");
    }
    writeFileSync(at("leaf"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n");
    openssl("x509", "-req", "-days", "1", "-in", at("tls.csr"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial", "-extfile", at("leaf"), "-out", at("tls.pem"));
    chmodSync(at("tls.key"), 0o600);
    secure.configFile = at("config.toml");
    writeFileSync(secure.configFile, `[listen]\ntls_certificate = "${at("tls.pem")}"\ntls_key = "${at("tls.key")}"\n`);
    try {
        await secure.serve();
        await secure.refused(["--ca", at("leaf"), "claim", "--data", secure.data, "--name", "ada"], 2, "cli.usage");
        await secure.cli(["claim", "--data", secure.data, "--name", "ada", "--ca", at("ca.pem")]);
        const listed = await secure.cli(["tenant", "ls"]);
        assert.ok(listed, "the context keeps the CA");
        const foreign = await secure.refused(["--ca", at("stranger.pem"), "tenant", "ls"], 69, "cli.tls");
        assert.match(foreign.hint, /--ca FILE/);
        const context = JSON.parse(readFileSync(secure.context, "utf8"));
        delete context.ca;
        writeFileSync(secure.context, JSON.stringify(context));
        const unknown = await secure.refused(["tenant", "ls"], 69, "cli.tls");
        assert.match(unknown.hint, /--ca FILE/);
        await secure.cli(["tenant", "ls"], { env: { BAILIWICK_CA: at("ca.pem") } });
    } finally {
        await secure.stop();
    }
});

test("a second service on the same data folder, and one on the same port, refuse to start", async ({ installation }) => {
    const second = await runBinary(["--json", "serve", "--data", installation.data, "--listen", "127.0.0.1:0"], { folder: installation.folder });
    assert.equal(second.code, 1, second.stdout);
    assert.match(second.stderr, /another|in use|running|lock/i);
    const data = join(installation.folder, "other-data");
    const port = await runBinary(["--json", "serve", "--data", data, "--listen", `127.0.0.1:${installation.port}`], { folder: installation.folder });
    assert.equal(port.code, 1);
    assert.match(port.stderr, /--listen/);
    await installation.cli(["tenant", "ls"]);
});

test("slow and broken connections do not disturb others", async ({ installation, desk }) => {
    const { token } = await installation.openTask("worker", ["files:*"]);
    const sockets = Array.from({ length: 50 }, () => connect({ host: "127.0.0.1", port: installation.port }));
    for (const [at, socket] of sockets.entries()) {
        socket.on("error", () => {});
        socket.write(at % 2 === 0 ? "POST /t/acme/mcp/files HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n{" : "\x16\x03\x01garbage");
    }
    await permitted(installation.endpoint("files"), token, "echo", { text: "still here" });
    const huge = await exchange(installation.endpoint("files"), {
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json", "content-length": String(50_000_000) },
        body: ""
    }).then(reply => reply.status, error => error.code);
    assert.ok([400, 413, "ECONNRESET"].includes(huge), `a body of 50 MB: ${huge}`);
    sockets.forEach(socket => socket.destroy());
    assert.ok(desk.count("echo") > 0);
});

test("who sends no request is closed, HTTP/2 is not spoken, and a kill goes through meanwhile", async ({ installation, desk }) => {
    const identity = await installation.addIdentity("doomed");
    const { token } = await installation.openTask("doomed", ["files:*"]);
    await permitted(installation.endpoint("files"), token, "echo", { text: "before" });
    const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const beginnings = ["", "P", preface.slice(0, 12), `${preface}\0\0\0\x04\0\0\0\0\0`, "GET /healthz HTTP/1.1\r\nx: "];
    const began = Date.now();
    const sockets = Array.from({ length: 260 }, (_, at) => {
        const socket = connect({ host: "127.0.0.1", port: installation.port });
        const heard = [];
        const closed = new Promise(done => socket.on("close", () => done(Buffer.concat(heard).toString("latin1"))));
        socket.on("error", () => {}).on("data", chunk => heard.push(chunk));
        socket.write(beginnings[at % beginnings.length]);
        return closed;
    });
    const killed = await installation.cli(["kill", "identity", identity.id, "--reason", "drill", "--yes"]);
    const took = Date.now() - began;
    assert.ok(killed.points.length > 0, JSON.stringify(killed));
    const second = await installation.addIdentity("second");
    const overSocket = await installation.cli(["kill", "identity", second.id, "--reason", "drill", "--yes", "--data", installation.data]);
    assert.ok(overSocket.points.length > 0, JSON.stringify(overSocket));
    const answers = await Promise.race([Promise.all(sockets), new Promise((_, fail) => setTimeout(() => fail(new Error("a silent connection stays open")), 25_000).unref())]);
    assert.ok(answers.every(text => text === "" || text.startsWith("HTTP/1.1 ")), "something other than HTTP/1.1 was spoken");
    figure("service: a kill beside 260 silent connections / ms", `${took}`);
});

suite("disk", async () => {
    const folder = temporary("disk");
    const mounted = [];
    const mount = (name, options) => {
        const point = join(folder, name);
        mkdirSync(point);
        try {
            execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", point], { stdio: "ignore" });
        } catch {
            skip("no file system can be mounted here", "right");
        }
        mounted.push(point);
        return point;
    };
    return {
        folder,
        mount,
        stop: async () => {
            for (const point of mounted) {
                execFileSync("umount", ["--lazy", point]);
            }
            rmSync(folder, { recursive: true, force: true });
        }
    };
});

test("a data folder that cannot be written stops the start with the folder and the fix", async ({ folder, mount }) => {
    if (isRoot) {
        const point = mount("read-only", "size=4m,mode=700");
        execFileSync("mount", ["-o", "remount,ro", point]);
        const result = await runBinary(["--json", "serve", "--data", point, "--listen", "127.0.0.1:0"], { folder });
        assert.equal(result.code, 1, result.stdout);
        assert.ok(result.stderr.includes(point), result.stderr);
        assert.match(result.stderr, /read-only|cannot|writ/i);
    }
    const data = join(folder, "not-ours");
    mkdirSync(data, { mode: 0o500 });
    const wrapper = isRoot ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : [];
    if (isRoot) {
        chownSync(folder, 65_534, 65_534);
        chownSync(data, 65_534, 65_534);
        const reachable = await runBinary(["version"], { folder, wrapper }).then(result => result.code === 0, () => false);
        if (!reachable) {
            skip("the binary cannot be reached by another account", "right");
        }
    }
    const result = await runBinary(["--json", "serve", "--data", data, "--listen", "127.0.0.1:0"], { folder, wrapper });
    assert.equal(result.code, 1, result.stdout);
    assert.ok(result.stderr.includes(data), result.stderr);
    assert.match(result.stderr, /permission|denied|writ/i);
});

test("on a full disk work is refused, a kill still works, and room brings the work back", async ({ mount }) => {
    if (!isRoot) {
        skip("only root can mount a small file system", "right");
    }
    const point = mount("full", "size=48m,mode=700");
    const desk = await Desk.open();
    const installation = await Installation.start("full", { data: join(point, "data") });
    try {
        await installation.addHttpServer("files", desk.url);
        await installation.addIdentity("worker");
        const { token } = await installation.openTask("worker", ["files:*"]);
        const url = installation.endpoint("files");
        await permitted(url, token, "echo", { text: "a" });
        const filler = join(point, "filler");
        writeFileSync(filler, "");
        try {
            execFileSync("dd", ["if=/dev/zero", `of=${filler}`, "bs=64k"], { stdio: "ignore" });
        } catch {
            // That is the point: no space left on device.
        }
        // Segments are written ahead; go on until they are used up.
        let refused;
        const before = () => desk.count("echo");
        for (let n = 0; n < 200_000 && refused === undefined; n += 32) {
            const seen = before();
            const replies = await Promise.all(Array.from({ length: 32 }, () => callTool(url, token, "echo", { text: "b".repeat(200) })));
            const permits = replies.filter(reply => reply.result !== undefined).length;
            assert.equal(before() - seen, permits, "forwarded without a record");
            refused = replies.find(reply => reply.result === undefined);
        }
        assert.ok(refused, "the full disk was never noticed");
        assert.equal(refused.error?.data?.code, "record.unavailable", refused.text);
        const words = ["id", "add", "late", "--kind", "agent", "--owner", "o", "--owner-contact", "c", "--purpose", "p", "--expires", "1d"];
        const command = await fullStore(installation, words);
        assert.equal(command.code, 3, command.stdout);
        assert.match(`${command.json.message} ${command.json.hint ?? ""}`, /disk|space|full/i);
        const tenant = await installation.run(["tenant", "add", "globex", "--name", "G", "--employees", "1"], { tenant: null });
        assert.equal(tenant.code, 3, tenant.stdout);
        assert.match(`${tenant.json.message} ${tenant.json.hint ?? ""}`, /disk|space|full/i);
        const killed = await installation.run(["kill", "identity", "worker", "--yes", "--reason", "full disk"]);
        assert.ok(killed.code === 0 || killed.json.code === "kill.local-only", killed.stdout);
        const seen = desk.count("echo");
        const after = await callTool(url, token, "echo", { text: "c" });
        assert.ok(after.status === 401 || after.error?.data?.code === "record.unavailable", after.text);
        assert.equal(desk.count("echo"), seen, "a killed identity's call was forwarded");
        rmSync(filler);
        await installation.addIdentity("second");
        // The log looks for room again a moment after it last found none; until then it says "try again".
        let task;
        await until("a task to be opened", async () => (task = await installation.openTask("second", ["files:*"]).catch(() => undefined)));
        await until("work to go on", async () => (await callTool(url, task.token, "echo", { text: "d" })).result !== undefined);
        assert.equal((await callTool(url, token, "echo", { text: "c" })).status, 401);
        await installation.restart();
        assert.equal((await callTool(url, token, "echo", { text: "c" })).status, 401, "a restart comes back denied");
        await installation.integrated();
        assert.equal((await installation.cli(["log", "verify"])).sound, true);
    } finally {
        await installation.stop();
        await desk.close();
    }
});

/** The store has pages to spare; commands go on until it has not. */
async function fullStore(installation, words) {
    for (let n = 0; n < 500; n += 1) {
        const result = await installation.run(words.map(word => (word === "late" ? `late-${n}` : word)));
        if (result.code !== 0) {
            return result;
        }
    }
    throw new Error("the store never noticed the full disk");
}

suite("demo", async () => ({ folder: temporary("demo") }));

/** The demo without what it measured. */
const told = text => text.replace(/\d+ (µs|ms)/g, "N $1").replace(/bailiwick-demo-\w+/g, "FOLDER").replace(/(idn|dec|tsk|tok)_[a-z0-9]+/g, "$1_ID");

test("the demo tells the whole story with the official server and with the one inside the binary", async ({ folder }) => {
    const modules = join(import.meta.dirname, "../../interop/node_modules");
    for (const [words, upstream] of [
        [["--node-modules", modules], "the official filesystem server"],
        [[], "the server inside this binary"]
    ]) {
        const run = await runBinary(["demo", "--once", "--json", ...words], { folder });
        assert.equal(run.code, 0, run.stderr);
        const figures = JSON.parse(run.stdout);
        assert.equal(figures.upstream, upstream);
        assert.equal(figures.tools_listed, 1);
        assert.ok(figures.tools_pinned > 1);
        assert.equal(figures.calls_permitted, 20);
        assert.equal(figures.calls_refused, 4);
        assert.ok(figures.entries_verified > 40);
        figure(`demo with ${upstream}: call p50 / kill denied / committed, µs`, `${figures.call_p50_us} / ${figures.kill_denied_us} / ${figures.kill_committed_us}`);
    }
});

test("two demos with one seed tell the same, another seed has other content", async ({ folder }) => {
    const run = async seed => {
        const { code, stdout, stderr } = await runBinary(["demo", "--once", "--seed", seed], { folder });
        assert.equal(code, 0, stderr);
        return told(stdout);
    };
    const [one, two, other] = [await run("1"), await run("1"), await run("2")];
    const amounts = text => /Amount due: [\d.]+/.exec(text)?.[0];
    assert.equal(amounts(one), amounts(two));
    assert.notEqual(amounts(one), amounts(other));
    const steps = text => [...text.matchAll(/^\d+\. .+$/gm)].map(([line]) => line);
    assert.deepEqual(steps(one), steps(two));
    assert.ok(steps(one).length >= 9, one);
});

test("the demo leaves a server with four commands to try, and takes all away on SIGINT", async ({ folder }) => {
    const child = spawn(BINARY, ["demo"], { cwd: folder, env: environment(folder), stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    child.stdout.on("data", chunk => (text += chunk));
    const ended = new Promise(done => child.on("close", code => done(code)));
    await until("the four commands", () => /kill agent report-writer --dry-run/.test(text), 30_000);
    const context = /BAILIWICK_CONTEXT=(\S+)/.exec(text)[1];
    const commands = [...text.matchAll(/^ {2}\S*bailiwick (.+)$/gm)].map(([, words]) => words.split(" "));
    assert.equal(commands.length, 4, text);
    for (const words of commands) {
        const result = await runBinary(words, { folder, env: { BAILIWICK_CONTEXT: context, BAILIWICK_TENANT: "acme" } });
        assert.ok([0, 4].includes(result.code), `${words.join(" ")}: ${result.stderr}`);
    }
    const count = await runBinary(["count", "--json"], { folder, env: { BAILIWICK_CONTEXT: context, BAILIWICK_TENANT: "acme" } });
    const story = /(\d+) in service \((\d+) active, (\d+) in probation\)/.exec(text).slice(1).map(Number);
    const { total } = JSON.parse(count.stdout);
    assert.deepEqual([story[0], story[1] + story[2]], [total, total], "the story's number is the one the first command answers");
    child.kill("SIGINT");
    assert.ok([0, 130].includes(await ended));
    assert.ok(!existsSync(context), "the temporary folder is gone");
});
