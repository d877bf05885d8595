// The story of the README from the outside: register, open, call, kill,
// refuse, prove.
import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Desk } from "../lib/desk.mjs";
import { Installation, runBinary } from "../lib/installation.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { callTool, deadToken, listTools, permitted, refusedCall, send } from "../lib/mcp.mjs";
import { until } from "../lib/wait.mjs";

suite("spine", async () => {
    const desk = await Desk.open();
    const installation = await Installation.start("spine");
    return {
        desk,
        installation,
        stop: async () => {
            await installation.stop();
            await desk.close();
        }
    };
});

test("nobody is an operator who did not claim over the data folder's socket", async ({ installation }) => {
    const unsigned = await fetch(`${installation.url}/v1/tenants`);
    assert.equal(unsigned.status, 401);
    assert.equal((await unsigned.json()).code, "session.invalid");
    const claim = await fetch(`${installation.url}/claim`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ name: "mallory", public_key: "A".repeat(43) })
    });
    assert.ok([401, 404, 405].includes(claim.status), `claim over the network answered ${claim.status}`);
    const own = await installation.api("GET", "/v1/tenants");
    assert.equal(own.status, 200);
    const second = ["--json", "--context", join(installation.folder, "second.json"), "claim", "--data", installation.data, "--name", "mallory"];
    const late = await runBinary(second, { folder: installation.folder });
    assert.notEqual(late.code, 0, "the socket is for the first operator only");
    assert.equal(statSync(join(installation.data, "claim.sock")).mode & 0o777, 0o600);
    for (const [claims, header] of [
        [{ aud: "http://other.example" }, {}],
        [{ exp: Math.floor(Date.now() / 1000) - 1, iat: Math.floor(Date.now() / 1000) - 61 }, {}],
        [{ exp: Math.floor(Date.now() / 1000) + 3_600 }, {}],
        [{ iss: "opr_aaaaaaaaaaaaaaaaaaaaaaaaaa" }, {}],
        [{}, { typ: "at+jwt" }]
    ]) {
        const session = await installation.session(claims, header);
        const spoilt = await fetch(`${installation.url}/v1/tenants`, { headers: { authorization: `Bearer ${session}` } });
        assert.equal(spoilt.status, 401, JSON.stringify([claims, header]));
    }
});

test("an agent is registered with owner, purpose and expiry, or not at all", async ({ installation }) => {
    const whole = {
        "--kind": "agent",
        "--owner": "finance",
        "--owner-contact": "finance@acme.example",
        "--purpose": "read supplier invoices",
        "--expires": "90d"
    };
    const without = (...left) => Object.entries(whole).filter(([name]) => !left.includes(name)).flat();
    const add = words => ["id", "add", "invoices", ...words];
    await installation.refused(add(without("--owner", "--owner-contact")), 2, "identity.owner-missing");
    await installation.refused(add(without("--owner")), 2, "identity.owner-missing");
    await installation.refused(add(without("--owner-contact")), 2, "identity.owner-contact-missing");
    await installation.refused(add(without("--purpose")), 2, "identity.purpose-missing");
    await installation.refused(add(without("--expires")), 2, "identity.expiry-missing");
    await installation.refused(add([...without("--expires"), "--expires", "2020-01-01T00:00:00Z"]), 1, "identity.expiry-past");
    const added = await installation.cli([...add(without()), "--agent", "invoice-reader", "--workflow", "month-end"]);
    assert.match(added.id, /^idn_[a-z0-9]+$/);
    assert.equal(added.state, "probation");
    assert.deepEqual(added.owner, { team: "finance", contact: "finance@acme.example" });
    assert.deepEqual(added.labels, { agent: "invoice-reader", workflow: "month-end" });
    const twice = await installation.run(add(without()));
    assert.equal(twice.code, 1, "the same name twice");
    assert.equal((await installation.cli(["id", "activate", "invoices"])).state, "active");
    await installation.refused(["id", "activate", "invoices"], 1, "identity.already-active");
});

test("an upstream server gets its own identity, its own credential and pinned tools", async context => {
    const { installation, desk } = context;
    context.secret = "upstream-secret-7f3a9c";
    const file = join(installation.folder, "upstream-credential");
    writeFileSync(file, `${context.secret}\n`, { mode: 0o600 });
    const added = await installation.addHttpServer("files", desk.url, { credentialFile: file });
    assert.match(added.identity, /^idn_/);
    assert.deepEqual(
        added.tools.map(tool => [tool.name, tool.state]),
        desk.tools.map(tool => [tool.name, "pinned"]).sort()
    );
    assert.ok(added.allowances.length >= 2, "what widens the reach is shown");
    assert.ok(!JSON.stringify(added).includes(context.secret));
    const identity = await installation.cli(["id", "get", added.identity]);
    assert.equal(identity.kind, "mcp-server");
    assert.equal(identity.owner.team, "platform");
});

test("the agent sees and calls what its task grants, with the gateway's credential and not its own", async context => {
    const { installation, desk } = context;
    context.task = await installation.openTask("invoices", ['files:read_text_file(path under "/srv/invoices")']);
    const { token } = context.task;
    const url = installation.endpoint("files");
    assert.deepEqual(await listTools(url, token), ["read_text_file"]);
    const started = process.hrtime.bigint();
    const result = await permitted(url, token, "read_text_file", { path: "/srv/invoices/march.txt" });
    figure("spine: one call through the gateway, µs", Number((process.hrtime.bigint() - started) / 1000n));
    assert.equal(result.content[0].text, 'read_text_file {"path":"/srv/invoices/march.txt"}');
    const call = desk.calls.at(-1);
    assert.equal(call.headers.authorization, `Bearer ${context.secret}`);
    assert.ok(!desk.requests.some(each => JSON.stringify(each).includes(token)), "the caller's token reached the upstream");
});

test("an argument outside the scope is refused with the reason and never forwarded", async context => {
    const { installation, desk, task } = context;
    const url = installation.endpoint("files");
    const before = desk.calls.length;
    const outside = ["/etc/passwd", "/srv/invoices/../payroll/salaries.txt", "/srv/invoices-old/a.txt", "srv/invoices/a.txt"];
    for (const path of outside) {
        const data = await refusedCall(url, task.token, "read_text_file", { path }, "grant.argument-out-of-scope");
        context.refusal = data.decision_id;
    }
    await refusedCall(url, task.token, "read_text_file", {}, "grant.argument-out-of-scope");
    const none = await callTool(url, task.token, "transfer", { amount: 1, to: "a" });
    assert.ok(none.error?.code === -32001 || none.status === 403, none.text);
    assert.equal(desk.calls.length, before);
});

test("a listing is recorded like a call, and is private to the caller", async ({ installation, task }) => {
    const reply = await send(installation.endpoint("files"), task.token, "tools/list");
    assert.equal(reply.result.cacheScope, "private");
    assert.ok(reply.result.ttlMs <= 5_000);
    const { items } = await installation.cli(["log", "tail", "-n", "20"]);
    const decisions = items.filter(entry => entry.leaf.kind === "decision");
    assert.ok(decisions.some(entry => entry.payload.action === "tools/list" && entry.payload.effect === "permit"));
    const refused = decisions.find(entry => entry.payload.effect === "deny");
    assert.equal(typeof refused.leaf.epoch, "number");
    assert.equal(typeof refused.leaf.state_pos, "number");
});

test("a kill in the middle of a call cancels it, and the next call is refused", async context => {
    const { installation, desk } = context;
    const task = await installation.openTask("invoices", ["files:hold", "files:read_text_file"]);
    const url = installation.endpoint("files");
    const running = callTool(url, task.token, "hold", { mark: "spine" });
    await until("the call to arrive", () => desk.count("hold") === 1);
    const dry = await installation.cli(["kill", "identity", "invoices", "--dry-run"]);
    assert.equal(dry.calls_in_flight, 1);
    assert.equal(dry.reversible, false);
    const receipt = await installation.kill("identity", "invoices");
    assert.equal(receipt.effect, "kill");
    assert.equal(receipt.cancelled_calls, 1);
    assert.ok(receipt.denied_us <= receipt.committed_us);
    assert.ok(receipt.points.length >= 1, "every enforcement point was probed");
    figure("spine: kill, denied in memory / committed, µs", `${receipt.denied_us} / ${receipt.committed_us}`);
    for (const point of receipt.points) {
        figure(`spine: first refusal at ${point.point}, µs`, point.refusal_us);
    }
    const ended = await running;
    assert.equal(ended.error?.code, -32001, ended.text);
    assert.equal(ended.error.data.code, "identity.revoked");
    await until("the upstream to see the cancellation", () => desk.calls.find(call => call.tool === "hold").closed);
    await deadToken(url, task.token);
    await deadToken(url, context.task.token);
    assert.equal((await installation.cli(["id", "get", "invoices"])).state, "retired");
});

test("the history is proved by a program without server, keys or trust", async ({ installation, refusal }) => {
    const logs = await installation.integrated();
    const file = join(installation.folder, "refusal.tlog-proof");
    await installation.cli(["log", "prove", refusal, "--disclose", "-o", file]);
    const offline = await runBinary(["verify", file, "--key", logs.decisions.vkey, "--json"], { folder: "/" });
    assert.equal(offline.code, 0, offline.stderr);
    const proven = JSON.parse(offline.stdout);
    assert.equal(proven.payload.decision, refusal);
    assert.equal(proven.payload.effect, "deny");
    assert.equal(proven.payload.reason, "grant.argument-out-of-scope");
    assert.equal(proven.origin, logs.decisions.origin);
    const bytes = readFileSync(file);
    const spoilt = join(installation.folder, "spoilt.tlog-proof");
    for (let at = 40; at < bytes.length; at += 97) {
        const changed = Buffer.from(bytes);
        changed[at] ^= 1;
        writeFileSync(spoilt, changed);
        const verdict = await runBinary(["verify", spoilt, "--key", logs.decisions.vkey, "--json"], { folder: "/" });
        assert.notEqual(verdict.code, 0, `a proof with byte ${at} flipped was accepted`);
        assert.equal(verdict.code, 7, verdict.stdout);
    }
    const sealed = join(installation.folder, "sealed.tlog-proof");
    await installation.cli(["log", "prove", refusal, "-o", sealed]);
    const without = await runBinary(["verify", sealed, "--key", logs.decisions.vkey, "--json"], { folder: "/" });
    assert.equal(without.code, 0, without.stdout);
    assert.equal(JSON.parse(without.stdout).payload, undefined, "what is not disclosed is not in the file");
    const other = await runBinary(["verify", file, "--key", logs.state.vkey, "--json"], { folder: "/" });
    assert.equal(other.code, 7);
});

test("the count equals its recount from the log", async ({ installation }) => {
    const count = await installation.cli(["count", "--explain"]);
    assert.equal(count.tenant, "acme");
    assert.equal(count.explained.equal, true);
    assert.equal(count.explained.recount, count.total);
    assert.equal(count.total, 1, "the server's identity; the agent was killed");
    assert.equal(count.retired, 1);
});
