// The egress proxy: agents under `bailiwick run` reach services that want a
// secret, and the secret is nowhere where the agents are.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer as createHttp } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { AGENTS, Run, Tap } from "../lib/agent.mjs";
import { Installation, temporary } from "../lib/installation.mjs";
import { figure, skip, suite, test } from "../lib/lane.mjs";
import { callTool } from "../lib/mcp.mjs";
import { Origin, certificates } from "../lib/origin.mjs";
import { coreElsewhere, crash, family, files, inFile, memory, shownBy, spellings } from "../lib/scan.mjs";
import { until } from "../lib/wait.mjs";

const ANSWERABLE = ["--owner", "platform", "--owner-contact", "platform@acme.example", "--purpose", "end-to-end test", "--expires", "90d"];
const HERE = ["--allow-address", "127.0.0.0/8", "--allow-address", "::1/128"];
const PLACEHOLDER = { authorization: "Bearer bailiwick-placeholder" };

/** Adds a destination; its secret goes in by standard input and stands in no file. */
const destination = (installation, name, url, words, secret) =>
    installation.cli(
        ["server", "add", name, "--destination", url, ...HERE, ...words, ...(secret === undefined ? [] : ["--credential-file", "-"]), ...ANSWERABLE],
        secret === undefined ? {} : { input: secret }
    );

suite("egress", async () => {
    // Made here and never written down: of base64 its spellings are long, and URL encoding changes it.
    const secret = `CANARY/${randomBytes(24).toString("base64url")}+s3cret`;
    const spans = [];
    const collector = createHttp((request, response) => {
        request.on("data", chunk => spans.push(chunk));
        request.on("end", () => response.writeHead(200).end());
    });
    await new Promise(done => collector.listen(0, "127.0.0.1", done));
    const config = `[proxy]\nlisten = "127.0.0.1:0"\n[telemetry]\nlevel = "debug"\notlp_endpoint = "http://127.0.0.1:${collector.address().port}"\n`;
    const installation = await Installation.start("egress", { config });
    let tls;
    try {
        tls = certificates(installation.folder);
    } catch {
        await installation.stop();
        await new Promise(done => collector.close(done));
        skip("no `openssl` on the PATH");
    }
    const origin = await Origin.open({ tls, secret });
    const open = await Origin.open({ secret });
    const { proxy } = (await installation.api("GET", "/v1/tenants/acme/egress")).body;
    return {
        installation,
        secret,
        spans,
        tls,
        origin,
        open,
        proxy: { host: proxy.split(":")[0], port: Number(proxy.split(":")[1]) },
        stop: async () => {
            await installation.stop();
            await origin.close();
            await open.close();
            await new Promise(done => collector.close(done));
        }
    };
});

test("a destination is added with its methods, its header and a sealed secret, or not at all", async context => {
    const { installation, origin, open, secret, tls } = context;
    const header = ["--header", "Authorization: Bearer {secret}"];
    const ca = ["--destination-ca", tls.ca];
    const refused = (words, code, sealed = true) =>
        installation.refused(["server", "add", "billing", ...words, ...ANSWERABLE, ...(sealed ? ["--credential-file", "-"] : [])], 1, code, sealed ? { input: secret } : {});
    const at = ["--destination", origin.url, ...HERE, ...ca];
    await refused([...at, ...header], "server.methods-missing");
    await refused([...at, ...header, "--method", "get"], "server.method-unknown");
    await refused([...at, "--method", "GET"], "server.header-template");
    await refused([...at, "--method", "GET", "--header", "Host: {secret}"], "server.header-template");
    await refused([...at, "--method", "GET", "--header", "Authorization: Bearer"], "server.header-template");
    await refused([...at, "--method", "GET", ...header], "server.header-template", false);
    await refused([...at, "--method", "GET", ...header, "--tunnel"], "server.header-template");
    await refused(["--destination", `${origin.url}/v1`, ...HERE, "--method", "GET", ...header], "server.url-invalid");
    await refused(["--destination", open.url, ...HERE, "--method", "GET", ...header], "server.url-invalid");
    for (const url of ["https://169.254.169.254", "https://127.0.0.1:1", "https://localhost:1", "https://[fd00:ec2::254]"]) {
        const answer = await installation.run(["server", "add", "billing", "--destination", url, "--method", "GET", ...ANSWERABLE]);
        assert.equal(answer.json.code, "server.destination", url);
    }
    const wide = ["--destination", "https://169.254.169.254", "--allow-address", "169.254.0.0/16", "--method", "GET"];
    await installation.run(["server", "add", "billing", ...wide, ...ANSWERABLE]).then(({ json }) => assert.match(json.message, /metadata/));
    const added = await destination(installation, "billing", origin.url, [...ca, "--method", "GET", "--method", "POST", ...header], secret);
    assert.deepEqual(added.tools.map(({ name, state }) => [name, state]), [["GET", "pinned"], ["POST", "pinned"]]);
    assert.deepEqual(added.allowances, ["address 127.0.0.0/8", "address ::1/128", "private CA"]);
    assert.equal(added.endpoint, origin.url);
    assert.equal((await installation.cli(["id", "get", added.identity])).kind, "api-key");
    await destination(installation, "plain", open.url, ["--allow-plaintext", "--method", "GET", ...header], secret);
    await installation.addIdentity("agent");
});

test("agents of Python and Node reach a service that wants a secret, with stock clients and a placeholder", async context => {
    const { installation, origin, open, secret } = context;
    context.runs = {};
    for (const [name, { command, clients }] of Object.entries(AGENTS)) {
        const home = join(installation.folder, `home-of-${name}`);
        mkdirSync(home);
        const tap = await Tap.open(installation.folder, name);
        const can = ['billing:GET(path under "/v1")', 'billing:POST(path = "/v1/invoices")', "plain:GET"].flatMap(scope => ["--can", scope]);
        const words = ["--identity", "agent", "--task", `work of ${name}`, ...can, "--placeholder", "BILLING_TOKEN"];
        const run = new Run(installation, words, tap.before(command), { cwd: home, env: { HOME: home } });
        context.runs[name] = { run, tap, home, task: await run.task() };
        for (const client of clients) {
            for (const [method, url, body] of [["GET", `${origin.url}/v1/invoices?since=2026-01`], ["POST", `${origin.url}/v1/invoices`, "x".repeat(100_000)], ["GET", `${open.url}/v1/invoices`]]) {
                const at = url.startsWith(origin.url) ? origin : open;
                const answer = await run.ask(client, method, url, { headers: PLACEHOLDER, body });
                assert.equal(answer.status, 200, `${name} ${client} ${method} ${url}: ${JSON.stringify(answer)} ${run.err.join("\n")}`);
                assert.deepEqual(JSON.parse(answer.body), { marker: "invoice-4711", method, bytes: body?.length ?? 0 });
                const seen = at.requests.at(-1);
                assert.equal(seen.headers.authorization, `Bearer ${secret}`, "the secret is put in for the placeholder");
                assert.deepEqual(Object.keys(seen.headers).filter(header => header.startsWith("proxy-")), [], "nothing of the proxy is sent on");
            }
        }
        assert.ok(tap.isUsed, `${name} did not go through its proxy`);
        const before = tap.bytes.length;
        for (const client of clients) {
            const { status, body } = await run.ask(client, "GET", `${installation.url}/healthz`);
            assert.deepEqual([status, body], [200, "alive\n"], "the service itself is reached directly");
        }
        assert.equal(tap.bytes.length, before);
        const times = [];
        for (let n = 0; n < 50; n += 1) {
            const began = process.hrtime.bigint();
            await run.ask(clients.at(-1), "GET", `${origin.url}/v1/invoices`, { headers: PLACEHOLDER });
            times.push(Number((process.hrtime.bigint() - began) / 1000n));
        }
        figure(`egress: one request of ${name} (${clients.at(-1)}) through relay and proxy over kept TLS, median of 50, µs`, times.sort((a, b) => a - b)[25]);
    }
});

test("a service that sends its secret back is not heard saying it", async ({ runs, origin, open, secret }) => {
    assert.deepEqual(Object.keys(runs), Object.keys(AGENTS));
    const wanted = Object.entries(spellings(secret));
    for (const [name, { run }] of Object.entries(runs)) {
        for (const client of AGENTS[name].clients) {
            for (const url of [`${origin.url}/v1/echo`, `${open.url}/v1/echo`]) {
                const answer = await run.ask(client, "GET", url, { headers: PLACEHOLDER });
                assert.equal(answer.status, 200, JSON.stringify(answer));
                const said = Buffer.from(JSON.stringify(answer));
                assert.ok(said.includes("********"), "it was covered");
                assert.deepEqual(wanted.filter(([, form]) => said.includes(form)).map(([form]) => form), [], `${name} ${client}`);
            }
            const packed = await run.ask(client, "GET", `${origin.url}/v1/packed`, { headers: PLACEHOLDER });
            assert.equal(packed.status, 502);
            assert.equal(JSON.parse(packed.body).code, "destination.packed");
        }
    }
});

test("the secret appears nowhere in the agents' environment, files, traffic, memory, and in no log or trace", async context => {
    const { installation, runs, secret, spans } = context;
    if (process.getuid() !== 0) {
        skip("reading the memory of another process needs root", "right");
    }
    const wanted = Object.entries(spellings(secret));
    const absent = (bytes, where) => assert.deepEqual(wanted.filter(([, form]) => bytes.includes(form)).map(([form]) => form), [], where);
    let looked = 0;
    assert.deepEqual(Object.keys(runs), Object.keys(AGENTS));
    for (const [name, { run, tap, home, task }] of Object.entries(runs)) {
        let marked = false;
        const pids = family(run.pid);
        assert.ok(pids.length >= 2, "the keeper and the agent");
        for (const pid of pids) {
            const shown = Buffer.from(shownBy(pid), "latin1");
            absent(shown, `environment and arguments of ${name}`);
            assert.ok(!/eyJ[A-Za-z0-9_-]{20,}\./.test(shown.toString("latin1")), "no token stands in the environment or the arguments");
            for (const piece of memory(pid)) {
                looked += piece.length;
                absent(piece, `memory of ${name}`);
                marked ||= piece.includes("invoice-4711");
                // Other suites run beside this one.
                await new Promise(setImmediate);
            }
        }
        assert.ok(marked, "what the agent did hold is found in its memory");
        const environ = readFileSync(`/proc/${pids.at(-1)}/environ`, "latin1").split("\0");
        assert.ok(environ.includes("BILLING_TOKEN=bailiwick-placeholder"));
        assert.ok(environ.includes(`BAILIWICK_TASK=${task}`));
        assert.deepEqual(environ.filter(pair => /^BAILIWICK_(CONTEXT|CA|TENANT)=/.test(pair)), [], "nothing of the operator's");
        const tokenFile = environ.find(pair => pair.startsWith("BAILIWICK_TOKEN_FILE=")).split("=")[1];
        for (const folder of [home, join(tokenFile, "..")]) {
            for (const [path, bytes] of files(folder)) {
                absent(bytes, path);
            }
        }
        const traffic = Buffer.concat(tap.bytes);
        assert.ok(traffic.includes("invoice-4711"), "plain traffic is seen by the tap");
        absent(traffic, `traffic of ${name}`);
        absent(Buffer.from([...run.out, ...run.err].join("\n")), `what ${name} printed`);
    }
    absent(Buffer.from(installation.service.text), "log lines of the service");
    await until("a trace", () => spans.length > 0, 15_000);
    absent(Buffer.concat(spans), "traces");
    for (const [path, bytes] of files(installation.folder)) {
        absent(bytes, path);
    }
    figure("egress: memory of agents that was searched, MiB", Math.round(looked / 1048576));
});

test("every request is in the decision log with its method, place and effect", async ({ installation, runs, origin, open }) => {
    const { items } = await installation.cli(["log", "tail", "-n", "400"]);
    const entries = items.filter(({ payload }) => payload?.door === "egress").map(({ payload }) => payload);
    const outcomes = new Map(items.filter(({ leaf }) => leaf.kind === "outcome").map(({ payload }) => [payload.decision, payload.outcome]));
    const tasks = Object.values(runs).map(({ task }) => task);
    assert.ok(entries.length > 20);
    assert.equal(entries.filter(({ effect }) => effect === "permit").length, origin.requests.length + open.requests.length);
    for (const entry of entries) {
        assert.ok(tasks.includes(entry.task));
        assert.equal(entry.resource.type, "http");
        assert.match(entry.resource.id, /^localhost:\d+\/v1\/(invoices|echo|packed)$/);
        assert.match(entry.argument_digest, /^[0-9a-f]{64}$/);
        assert.ok(["billing", "plain"].includes(entry.server));
        assert.ok(["returned", "failed"].includes(outcomes.get(entry.decision)), JSON.stringify(entry));
    }
});

test("an answer with a length, without a body, or without an end that is asked for is `returned`", async ({ installation, secret }) => {
    const sized = await Origin.open({ secret });
    const words = ["--allow-plaintext", "--method", "GET", "--method", "HEAD", "--header", "Authorization: Bearer {secret}"];
    await destination(installation, "sized", sized.url, words, secret);
    const can = ["--can", "sized:GET", "--can", "sized:HEAD"];
    const run = new Run(installation, ["--identity", "agent", "--task", "lengths", ...can], AGENTS.python.command);
    const task = await run.task();
    const asked = [["GET", "/v1/sized", 200], ["HEAD", "/v1/sized", 200], ["GET", "/v1/none", 204], ["GET", "/v1/invoices", 200]];
    for (const [method, path, status] of asked) {
        const answer = await run.ask("requests", method, `${sized.url}${path}`);
        assert.equal(answer.status, status, JSON.stringify(answer));
        if (path === "/v1/sized") {
            assert.equal(answer.body, method === "GET" ? secret.slice(0, 5) : "");
        }
    }
    await run.stop();
    await sized.close();
    const outcomes = async () => {
        const { items } = await installation.cli(["log", "tail", "-n", "40"]);
        const ended = new Map(items.filter(({ leaf }) => leaf.kind === "outcome").map(({ payload }) => [payload.decision, payload.outcome]));
        const calls = items.filter(({ payload }) => payload?.door === "egress" && payload.task === task);
        return calls.map(({ payload }) => ended.get(payload.decision));
    };
    await until("the outcomes to be written", async () => (await outcomes()).filter(outcome => outcome !== undefined).length === asked.length);
    assert.deepEqual(await outcomes(), asked.map(() => "returned"));
});

test("a destination on the service's own host is warned of, because NO_PROXY leads past the proxy there", async ({ installation, open, secret }) => {
    const beside = `http://127.0.0.1:${new URL(open.url).port}`;
    const words = ["--allow-plaintext", "--method", "GET", "--header", "Authorization: Bearer {secret}"];
    await destination(installation, "beside", beside, words, secret);
    const warned = async can => {
        const run = new Run(installation, ["--identity", "agent", "--task", "neighbours", "--can", can], ["sh", "-c", "exit 0"]);
        assert.equal((await run.ended).code, 0, run.err.join("\n"));
        return run.err.filter(line => line.startsWith("warning: ")).join("\n");
    };
    assert.match(await warned("beside:GET"), /`beside` is on `127\.0\.0\.1`.*NO_PROXY/);
    assert.equal(await warned("plain:GET"), "");
});

/** Everything that one process left in its folder when it crashed, searched. */
async function crashed(run, pid, home, wanted) {
    const before = readdirSync(home);
    crash(pid);
    const { code, signal } = await run.ended;
    const left = readdirSync(home).filter(file => !before.includes(file));
    assert.equal(left.length, 1, `one core dump: ${left}, ${code ?? signal}`);
    return { code, signal, ...inFile(join(home, left[0]), wanted) };
}

test("the secret is in no core dump of an agent or of its keeper that crashed, where what they know is found", async context => {
    const { installation, origin, secret } = context;
    if (process.getuid() !== 0 || coreElsewhere() !== undefined) {
        skip(`a core dump in the folder of its process needs root, and a kernel.core_pattern that says so: ${coreElsewhere()}`, "right");
    }
    const hidden = Object.entries(spellings(secret)).map(([form, bytes]) => [`secret, ${form}`, bytes]);
    const start = async name => {
        const home = temporary("core");
        const words = ["--identity", "agent", "--task", "to crash", "--can", "billing:GET"];
        const run = new Run(installation, words, AGENTS[name].command, { cwd: home, env: { HOME: home } });
        for (const client of AGENTS[name].clients) {
            const answer = await run.ask(client, "GET", `${origin.url}/v1/invoices`, { headers: PLACEHOLDER });
            assert.equal(answer.status, 200, `${name} ${client}: ${JSON.stringify(answer)} ${run.err.join("\n")}`);
        }
        const [keeper, agent, ...others] = family(run.pid);
        assert.deepEqual([keeper, others], [run.pid, []]);
        return { run, home, keeper, agent, marked: ["an answer", Buffer.from("invoice-4711")] };
    };
    let looked = 0;
    for (const name of Object.keys(AGENTS)) {
        const { run, home, agent, marked } = await start(name);
        // One canary for each spelling, made like the secret; the agent gets it turned over and knows it in that one.
        const planted = Object.keys(spellings("")).map(form => [form, spellings(`CANARY/${randomBytes(24).toString("base64url")}+s3cret`)[form]]);
        const turned = planted.map(([, bytes]) => Buffer.from(bytes.map(byte => byte ^ 0xff)).toString("base64"));
        assert.deepEqual(await run.ask("keep", undefined, undefined, { turned }), { kept: planted.length });
        const known = [marked, ...planted];
        const { code, found, bytes } = await crashed(run, agent, home, [...known, ...hidden]);
        assert.equal(code, 134, "the command crashed");
        assert.deepEqual(found.toSorted(), known.map(([form]) => form).toSorted(), `core dump of ${name}`);
        looked += bytes;
        rmSync(home, { recursive: true });
    }
    const { run, home, keeper, agent } = await start("python");
    const file = readFileSync(`/proc/${agent}/environ`, "latin1").split("\0").find(pair => pair.startsWith("BAILIWICK_TOKEN_FILE="));
    const known = ["its token", readFileSync(file.split("=")[1])];
    const { signal, found, bytes } = await crashed(run, keeper, home, [known, ...hidden]);
    assert.deepEqual([signal, found], ["SIGABRT", [known[0]]], "core dump of the keeper");
    looked += bytes;
    rmSync(home, { recursive: true });
    figure("egress: core dumps that were searched, MiB", Math.round(looked / 1048576));
});

test("what is not granted is refused with the reason, and nothing of it arrives", async ({ runs, origin, installation }) => {
    const before = origin.requests.length;
    for (const [name, { run }] of Object.entries(runs)) {
        for (const client of AGENTS[name].clients) {
            for (const [method, path, code] of [
                ["GET", "/admin", "grant.argument-out-of-scope"],
                ["POST", "/v1/payments", "grant.argument-out-of-scope"],
                ["DELETE", "/v1/invoices", "token.scope-missing"],
                ["GET", "/v1/%2e%2e%2fadmin", "proxy.path-ambiguous"]
            ]) {
                const answer = await run.ask(client, method, `${origin.url}${path}`);
                const problem = JSON.parse(answer.body);
                assert.equal(problem.code, code, `${name} ${client}: ${answer.body}`);
                assert.equal(answer.status, code.startsWith("proxy.") ? 400 : 403);
                assert.match(problem.decision, /^dec_/);
                assert.equal(answer.headers["content-type"], "application/problem+json");
            }
            for (const url of ["https://nobody.example/", "https://169.254.169.254/latest/meta-data/", `https://localhost:${origin.port + 1}/v1`, "https://localhost/v1"]) {
                const { error } = await run.ask(client, "GET", url);
                assert.match(error ?? "answered", /403|server\.unknown/, `${name} ${client} ${url}`);
            }
            // Some clients tunnel plain HTTP too, and then show the status alone.
            const plain = await run.ask(client, "GET", "http://169.254.169.254/latest/meta-data/");
            assert.match(plain.error ?? plain.body, /403|"server\.unknown"/, `${name} ${client}: ${JSON.stringify(plain)}`);
        }
    }
    assert.equal(origin.requests.length, before);
    const { items } = await installation.cli(["log", "tail", "-n", "400"]);
    const denied = items.filter(({ payload }) => payload?.door === "egress" && payload.effect === "deny").map(({ payload }) => payload);
    for (const place of ["nobody.example:443", "169.254.169.254:443", "169.254.169.254/latest/meta-data/", `localhost:${origin.port + 1}`]) {
        assert.ok(denied.some(({ resource, reason }) => resource.id === place && reason === "server.unknown"), `${place} is not recorded: ${JSON.stringify(denied.map(({ resource }) => resource.id))}`);
    }
});

/** Sends bytes to the proxy as they are and gives everything that comes back. */
function raw({ proxy }, bytes, { wait = 15_000 } = {}) {
    return new Promise((done, fail) => {
        const chunks = [];
        const socket = connect(proxy.port, proxy.host, () => socket.write(bytes));
        socket.setTimeout(wait, () => socket.destroy(new Error("silent")));
        socket.on("data", chunk => chunks.push(chunk));
        socket.on("error", error => (chunks.length > 0 ? done(Buffer.concat(chunks).toString("latin1")) : fail(error)));
        socket.on("close", () => done(Buffer.concat(chunks).toString("latin1")));
    });
}

test("without a living token of a task nobody is served, and a token opens what its own tenant has", async context => {
    const { installation, origin, open } = context;
    const before = origin.requests.length + open.requests.length;
    const { token, id } = await installation.openTask("agent", ["plain:GET"]);
    const get = (shown, url = `${open.url}/v1/invoices`) =>
        raw(context, `GET ${url} HTTP/1.1\r\nHost: ${new URL(url).host}\r\n${shown}Connection: close\r\n\r\n`);
    const bearer = text => `Proxy-Authorization: Bearer ${text}\r\n`;
    const basic = text => `Proxy-Authorization: Basic ${Buffer.from(`task:${text}`).toString("base64")}\r\n`;
    for (const [shown, code] of [
        ["", "proxy.token-missing"],
        ["Proxy-Authorization: Negotiate abc\r\n", "proxy.token-malformed"],
        [bearer(token) + bearer(token), "proxy.token-malformed"],
        [bearer("garbage"), "token."],
        [bearer(`${token.slice(0, -4)}AAAA`), "token."]
    ]) {
        const answer = await get(shown);
        assert.match(answer, /^HTTP\/1\.1 407 /, `${shown}: ${answer}`);
        assert.match(answer, /proxy-authenticate: Bearer/i);
        assert.ok(answer.includes(`"code":"${code}`), answer);
    }
    assert.match(await get(bearer(token)), /^HTTP\/1\.1 200 /);
    assert.match(await get(basic(token)), /^HTTP\/1\.1 200 /);
    await installation.addTenant("globex");
    await installation.addIdentity("spy", { tenant: "globex" });
    const own = await Origin.open({});
    await installation.cli(["server", "add", "own", "--destination", own.url, ...HERE, "--allow-plaintext", "--method", "GET", ...ANSWERABLE], { tenant: "globex" });
    const foreign = await installation.openTask("spy", ["own:GET"], { tenant: "globex" });
    const answer = await get(bearer(foreign.token));
    assert.match(answer, /^HTTP\/1\.1 403 /);
    assert.ok(answer.includes('"code":"server.unknown"'), "a destination of another tenant is not there");
    assert.match(await get(bearer(foreign.token), `${own.url}/`), /^HTTP\/1\.1 200 /);
    await own.close();
    await installation.cli(["task", "close", id]);
    const closed = await get(bearer(token));
    assert.match(closed, /^HTTP\/1\.1 403 /);
    assert.ok(closed.includes('"code":"task.closed"'), closed);
    assert.equal(origin.requests.length + open.requests.length, before + 2);
});

test("two readings, too much and too slow are refused, and nothing of it arrives", async context => {
    const { installation, open, origin } = context;
    const { token } = await installation.openTask("agent", ["plain:GET", "billing:GET", "billing:POST"]);
    const shown = `Proxy-Authorization: Bearer ${token}\r\n`;
    const host = new URL(open.url).host;
    const before = origin.requests.length + open.requests.length;
    const refused = async (bytes, status, code, more) => {
        const answer = await raw(context, bytes, more);
        assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), `${bytes.slice(0, 200)}: ${answer.slice(0, 300)}`);
        if (code !== undefined) {
            assert.ok(answer.includes(`"code":"${code}"`), answer);
        }
    };
    const end = `${shown}Connection: close\r\n\r\n`;
    await refused(`GET ${open.url}/v1 HTTP/1.1\r\nHost: evil.example\r\n${end}`, 400, "proxy.host-mismatch");
    await refused(`GET ${open.url}/v1 HTTP/1.1\r\nHost: ${host}\r\nHost: ${host}\r\n${end}`, 400, "proxy.host-mismatch");
    await refused(`GET ${open.url}/v1 HTTP/1.1\r\nHost: localhost\r\n${end}`, 400, "proxy.host-mismatch");
    await refused(`GET /v1 HTTP/1.1\r\nHost: ${host}\r\n${end}`, 400, "proxy.form");
    await refused(`GET ${origin.url}/v1 HTTP/1.1\r\nHost: ${new URL(origin.url).host}\r\n${end}`, 400, "proxy.form");
    await refused(`GET ftp://localhost/v1 HTTP/1.1\r\nHost: localhost\r\n${end}`, 400, "proxy.form");
    await refused(`GET http://u:p@${host}/v1 HTTP/1.1\r\nHost: ${host}\r\n${end}`, 400, "proxy.url");
    await refused(`CONNECT localhost HTTP/1.1\r\nHost: localhost\r\n${end}`, 400, "proxy.form");
    await refused(`CONNECT localhost:22 HTTP/1.1\r\nHost: localhost:22\r\n${end}`, 400, "proxy.url");
    await refused(`CONNECT localhost:8443 HTTP/1.1\r\nHost: localhost:8443\r\n${end}`, 403, "server.unknown");
    await refused(`CONNECT localhost:${origin.port} HTTP/1.1\r\nHost: evil.example:443\r\n${end}`, 400, "proxy.host-mismatch");
    await refused(`CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254:80\r\n${end}`, 403, "server.unknown");
    await refused(`POST ${open.url}/v1 HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 5\r\nContent-Length: 6\r\n${end}`, 400);
    await refused(`POST ${open.url}/v1 HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: xchunked\r\n${end}`, 400);
    await refused(`POST ${open.url}/v1 HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 99999999999\r\n${end}`, 413, "proxy.body-too-long");
    // Closed with bytes unread, the connection may be reset before its answer is.
    const long = await raw(context, `GET ${open.url}/v1 HTTP/1.1\r\nHost: ${host}\r\nX-Long: ${"x".repeat(80_000)}\r\n${end}`);
    assert.match(long, /^(HTTP\/1\.1 431 |$)/);
    await refused(`GET ${open.url}/v1?${"x".repeat(3_000)} HTTP/1.1\r\nHost: ${host}\r\n${end}`, 400, "proxy.url");
    const started = Date.now();
    const slow = await raw(context, `GET ${open.url}/v1 HTTP/1.1\r\nHo`, { wait: 20_000 });
    assert.ok(slow === "" || /^HTTP\/1\.1 408 /.test(slow), slow);
    assert.ok(Date.now() - started < 15_000, "a head that does not end is not waited for");
    assert.equal(origin.requests.length + open.requests.length, before);
});

test("a kill of the task ends what runs and refuses the next request", async context => {
    const { installation, runs, origin, open } = context;
    assert.deepEqual(Object.keys(runs), Object.keys(AGENTS));
    for (const [name, { run, tap, task }] of Object.entries(runs)) {
        const [client] = AGENTS[name].clients;
        const held = run.ask(client, "GET", `${origin.url}/v1/hold`);
        await until("the stream to begin", () => origin.of("/v1/hold").some(({ closed }) => !closed));
        const receipt = await installation.kill("task", task);
        assert.equal(receipt.cancelled_calls, 1);
        assert.notEqual((await held).error, undefined, "the stream broke off");
        await until("the destination to see it", () => origin.of("/v1/hold").every(({ closed }) => closed));
        const before = origin.requests.length + open.requests.length;
        for (const each of AGENTS[name].clients) {
            for (const url of [`${origin.url}/v1/invoices`, `${open.url}/v1/invoices`]) {
                const next = await run.ask(each, "GET", url);
                // Of a refused CONNECT clients show no body.
                const refused = next.error ?? `${next.status} ${JSON.parse(next.body).code}`;
                assert.match(refused, /403|token\.revoked|task\.closed/, `${each} ${url}: ${JSON.stringify(next)}`);
            }
        }
        assert.equal(origin.requests.length + open.requests.length, before);
        const { code } = await run.stop();
        assert.equal(code, 0);
        await tap.close();
    }
});

test("requests go on when a token is renewed, on kept connections too, and an expired one opens nothing", async ({ origin, secret, tls }) => {
    const installation = await Installation.start("egress-renewal", { config: `[proxy]\nlisten = "127.0.0.1:0"\n[tokens]\nttl_secs = 12\n` });
    try {
        const words = ["--destination-ca", tls.ca, "--method", "GET", "--header", "Authorization: Bearer {secret}"];
        await destination(installation, "billing", origin.url, words, secret);
        await installation.addIdentity("agent");
        const { token } = await installation.openTask("agent", ["billing:GET"]);
        const run = new Run(installation, ["--identity", "agent", "--task", "long work", "--can", "billing:GET"], AGENTS.python.command);
        await run.task();
        for (const end = Date.now() + 15_000; Date.now() < end; ) {
            for (const client of AGENTS.python.clients) {
                const answer = await run.ask(client, "GET", `${origin.url}/v1/invoices`);
                assert.equal(answer.status, 200, `${client}: ${JSON.stringify(answer)}`);
            }
        }
        assert.equal((await run.stop()).code, 0);
        const [host, port] = (await installation.api("GET", "/v1/tenants/acme/egress")).body.proxy.split(":");
        const at = new URL(origin.url).host;
        const late = `CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\nProxy-Authorization: Bearer ${token}\r\n\r\n`;
        const answer = await raw({ proxy: { host, port } }, late);
        assert.match(answer, /^HTTP\/1\.1 407 .*\(token\.expired\)/);
    } finally {
        await installation.stop();
    }
});

test("what is not looked into goes through only where CONNECT was granted", async ({ installation, tls }) => {
    const own = await Origin.open({ tls });
    const add = (name, url, more) => destination(installation, name, url, ["--method", "GET", ...more]);
    const added = await add("opaque", own.url, ["--tunnel"]);
    assert.ok(added.allowances.includes("tunnel"), "it is shown");
    for (const [can, works] of [["opaque:GET", false], ["opaque:CONNECT", true]]) {
        const run = new Run(installation, ["--identity", "agent", "--task", "opaque work", "--can", can, "--also-trust", tls.ca], AGENTS.node.command);
        const task = await run.task();
        const answer = await run.ask("https", "GET", `${own.url}/v1/invoices`);
        assert.equal(answer.status, works ? 200 : undefined, JSON.stringify(answer));
        const { items } = await installation.cli(["log", "tail", "-n", "20"]);
        const entry = items.find(({ payload }) => payload?.task === task && payload.door === "egress").payload;
        assert.deepEqual([entry.action, entry.effect, entry.resource.id], ["CONNECT", works ? "permit" : "deny", `localhost:${own.port}`]);
        await run.stop();
    }
    await own.close();
});

test("a rate counts requests, over a restart too, and the MCP gateway does not open a destination", async context => {
    const { installation, open } = context;
    const { token } = await installation.openTask("agent", ["plain:GET(rate 2/600s)"]);
    const get = () => raw(context, `GET ${open.url}/v1/invoices HTTP/1.1\r\nHost: ${new URL(open.url).host}\r\nProxy-Authorization: Bearer ${token}\r\nConnection: close\r\n\r\n`);
    assert.match(await get(), /^HTTP\/1\.1 200 /);
    assert.match(await get(), /^HTTP\/1\.1 200 /);
    const third = await get();
    assert.match(third, /^HTTP\/1\.1 403 .*\(grant\.rate-exceeded\)/);
    await installation.restart();
    const [host, port] = (await installation.api("GET", "/v1/tenants/acme/egress")).body.proxy.split(":");
    context.proxy = { host, port: Number(port) };
    assert.match(await get(), /^HTTP\/1\.1 403 .*\(grant\.rate-exceeded\)/);
    const before = open.requests.length;
    const other = await installation.openTask("agent", ["plain:GET"]);
    const answer = await callTool(installation.endpoint("plain"), other.token, "GET", { host: "localhost", path: "/v1/invoices" });
    assert.notEqual(answer.error, undefined, answer.text);
    assert.equal(open.requests.length, before);
});
