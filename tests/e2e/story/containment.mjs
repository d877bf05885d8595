// Levels of containment, receipts and their proofs, two operators, drills.
import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { Desk } from "../lib/desk.mjs";
import { Installation } from "../lib/installation.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { callTool, permitted } from "../lib/mcp.mjs";
import { ASSERTION_TYPE, assertion, decode } from "../lib/oauth.mjs";
import { Origin } from "../lib/origin.mjs";
import { until } from "../lib/wait.mjs";

const CONFIG = '[proxy]\nlisten = "127.0.0.1:0"\n[kill]\nresidue_alarm_secs = 5\n';
const POINTS = ["gateway", "authzen", "issue", "introspection", "egress", "spiffe"];
const ARGS = { text: "x" };
const NOT_CONFIRMED = 6;
const ANSWERABLE = ["--owner", "platform", "--owner-contact", "platform@acme.example", "--purpose", "end-to-end test", "--expires", "90d"];

suite("containment", async () => {
    const desk = await Desk.open();
    const origin = await Origin.open({});
    const installation = await Installation.start("containment", { config: CONFIG });
    await installation.addHttpServer("files", desk.url);
    let made = 0;
    return {
        desk,
        installation,
        /** An identity with a task and a token. */
        worker: async (can = ["files:*"]) => {
            made += 1;
            const identity = await installation.addIdentity(`worker-${made}`, { owner: `team-${made}` });
            return { identity, ...(await installation.openTask(identity.id, can)) };
        },
        call: token => callTool(installation.endpoint("files"), token, "echo", ARGS),
        works: token => permitted(installation.endpoint("files"), token, "echo", ARGS),
        /** A receipt, once it is complete. */
        receipt: (id, words = [], more = {}) =>
            until("the receipt to be complete", async () => {
                const { json } = await installation.run(["kill", "receipt", String(id), ...words], more);
                return json.state !== "committed" && json;
            }),
        stop: async () => {
            await installation.stop();
            await desk.close();
            await origin.close();
        },
        origin
    };
});

/** Five doors of the service as anybody outside finds them: each gives whether it lets the bearer of a token through. */
async function doors({ installation, origin }) {
    await installation.cli(["server", "add", "mail", "--destination", origin.url, "--allow-address", "127.0.0.0/8", "--allow-address", "::1/128", "--allow-plaintext", "--method", "GET", "--method", "POST", ...ANSWERABLE]);
    const guard = await installation.addIdentity("guard", { owner: "guards" });
    const { token: pep } = await installation.openTask(guard.id, ["authzen:evaluate", "token:introspect"]);
    const file = join(installation.folder, "guard.pem");
    const { client_id: clientId } = await installation.cli(["client", "add", guard.id, "--generate", file, "--algorithm", "ES256", "--proof", "none"]);
    const jwk = { ...createPrivateKey(readFileSync(file)).export({ format: "jwk" }), alg: "ES256" };
    const caller = { jwk, clientId, audience: `${installation.url}/t/acme` };
    const [host, port] = (await installation.api("GET", "/v1/tenants/acme/egress")).body.proxy.split(":");
    const post = async (path, bearer, body) => {
        const headers = { "content-type": "application/json", authorization: `Bearer ${bearer}` };
        const response = await fetch(`${installation.url}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
        return { status: response.status, body: await response.json() };
    };
    return {
        gateway: async ({ token }) => (await callTool(installation.endpoint("files"), token, "echo", ARGS)).result !== undefined,
        authzen: async ({ identity, id }) => {
            const question = {
                subject: { type: "identity", id: identity.id },
                action: { name: "tools/call" },
                resource: { type: "tool", id: "files/echo" },
                context: { task: id }
            };
            return (await post("/access/v1/evaluation", pep, question)).body.decision === true;
        },
        issue: async ({ token, id }) => (await post(`/v1/tenants/acme/tasks/${id}/tokens`, token, { count: 1 })).status < 300,
        introspection: async ({ token }) => {
            const form = { token, client_assertion_type: ASSERTION_TYPE, client_assertion: await assertion(caller) };
            const response = await fetch(`${installation.url}/t/acme/introspect`, { method: "POST", body: new URLSearchParams(form) });
            return (await response.json()).active === true;
        },
        egress: ({ token }, method = "GET") =>
            new Promise((done, fail) => {
                const headers = { host: new URL(origin.url).host, "proxy-authorization": `Bearer ${token}` };
                const sent = request({ host, port, method, path: `${origin.url}/v1/echo`, headers, agent: false }, answer => {
                    answer.resume();
                    answer.on("end", () => done(answer.statusCode === 200));
                });
                sent.on("error", fail).end();
            })
    };
}

test("every scope is refused at every door that it concerns, and by a resume let in again", async context => {
    const { installation, worker } = context;
    const door = await doors(context);
    context.door = door;
    const open = async made => Object.fromEntries(await Promise.all(Object.entries(door).map(async ([name, enter]) => [name, await enter(made)])));
    const made = await worker(["files:*", "mail:*"]);
    const all = { gateway: true, authzen: true, issue: true, introspection: true, egress: true };
    const none = Object.fromEntries(Object.keys(all).map(name => [name, false]));
    assert.deepEqual(await open(made), all);
    const table = [
        // AuthZEN is asked about an identity and its task, not about a token.
        ["token", decode(made.token).claims.jti, { ...none, authzen: true }],
        ["task", made.id, none],
        ["identity", made.identity.id, none],
        ["owner", made.identity.owner.team, none],
        ["issuer", `${installation.url}/t/acme`, undefined],
        ["server", "files", { ...all, gateway: false, authzen: false }],
        ["server", "mail", { ...all, egress: false }],
        ["tool", "files:echo", { ...all, gateway: false, authzen: false }],
        ["tool", "mail:GET", { ...all, egress: false }]
    ];
    for (const [scope, name, expected] of table) {
        await installation.cli(["suspend", scope, name, "--reason", "a look"]);
        const found = await open(made);
        if (expected === undefined) {
            // The guard's own token is of that issuer too, so nobody answers its questions.
            assert.deepEqual([found.gateway, found.issue, found.introspection, found.egress], [false, false, false, false], scope);
        } else {
            assert.deepEqual(found, expected, `${scope} ${name}`);
        }
        await installation.cli(["resume", scope, name, "--reason", "seen"]);
        assert.deepEqual(await open(made), all, `${scope} ${name} is resumed`);
    }
    await installation.kill("identity", made.identity.id);
    assert.deepEqual(await open(made), none, "killed");
});

test("the milder levels hold at each door: what is read goes on, what changes or leaves does not", async context => {
    const { installation, worker, door } = context;
    const made = await worker(["files:*", "mail:*"]);
    const { id } = made.identity;
    const set = level => installation.cli(["kill", "identity", id, "--level", level, "--reason", "a look"]);
    const seen = async () => [await door.gateway(made), await door.egress(made, "GET"), await door.egress(made, "POST"), await door.issue(made), await door.introspection(made)];
    assert.deepEqual(await seen(), [true, true, true, true, true]);
    for (const [level, expected] of [
        ["observe", [true, true, true, true, true]],
        ["read-only", [false, true, false, true, true]],
        ["no-egress", [true, false, false, true, true]]
    ]) {
        await set(level);
        assert.deepEqual(await seen(), expected, level);
        await installation.cli(["resume", "identity", id, "--reason", "seen"]);
    }
    assert.deepEqual(await seen(), [true, true, true, true, true]);
});

test("a receipt names each enforcement point and the last call that an observer of the upstream saw", async ({ desk, installation, worker, call, works, receipt }) => {
    const { identity, token } = await worker();
    for (let n = 0; n < 5; n += 1) {
        await works(token);
    }
    const before = desk.calls.length;
    const killed = await installation.kill("identity", identity.id);
    assert.equal(killed.reversible, false);
    const found = await receipt(killed.receipt);
    assert.equal((await call(token)).status, 401);
    assert.equal(desk.calls.length, before, "forwarded after the kill");
    assert.equal(found.known, "revoked");
    assert.equal(found.state, "closed");
    assert.deepEqual(found.body.points.map(line => line.point), POINTS);
    for (const line of found.body.points) {
        assert.equal(line.known, "revoked", line.point);
        assert.equal(line.permitted_after, 0, line.point);
        figure(`first refusal at ${line.point}, µs`, line.refusal_us);
    }
    assert.ok(found.body.denied_us <= found.body.committed_us);
    // What the log says was permitted is what the desk saw.
    const { items } = await installation.cli(["log", "tail", "-n", "200"]);
    const mine = items.filter(({ payload }) => payload?.nhi === identity.id && payload.door === "gateway" && payload.effect === "permit");
    const last = mine.filter(({ payload }) => payload.action === "tools/call").at(-1);
    assert.equal(found.body.points[0].last_permitted.index, last.index);
});

test("an exported receipt verifies without a server, and a changed one does not", async ({ installation, worker, works, receipt }) => {
    const { identity, token } = await worker();
    await works(token);
    const { receipt: id } = await installation.kill("identity", identity.id);
    await receipt(id);
    await installation.integrated();
    const folder = join(installation.folder, `receipt-${id}`);
    await installation.cli(["kill", "receipt", String(id), "--out", folder]);
    const elsewhere = { tenant: null };
    const logs = (await installation.cli(["log", "ls"])).items;
    const verify = ["log", "verify", "--receipt", folder, ...logs.flatMap(({ vkey }) => ["--key", vkey])];
    const verified = await installation.cli(verify, elsewhere);
    assert.deepEqual([verified.sound, verified.whole, verified.by_own_key], [true, true, []]);
    assert.ok(verified.proofs >= 8, `${verified.proofs} proofs`);
    const file = join(folder, "receipt.json");
    const genuine = readFileSync(file, "utf8");
    for (const [title, change] of [
        ["the reason", r => ((r.body.reason = "another"), (r.document.body.reason = "another"))],
        ["a shown body", r => (r.body.reason = "another")],
        ["a call after", r => ((r.body.points[0].permitted_after = 1), (r.document.body.points[0].permitted_after = 1))],
        ["another decision", r => (r.body.points[0].refusal.decision = r.body.points[1].refusal.decision)],
        ["another position", r => (r.position += 1)],
        ["another state", r => (r.state = "open")],
        ["another scope", r => (r.scope = "all")],
        ["another verdict", r => (r.known = "unconfirmed")],
        ["another moment", r => (r.committed_at = r.body.contained_at)],
        ["that it can be lifted", r => (r.reversible = true)]
    ]) {
        const forged = JSON.parse(genuine);
        change(forged);
        writeFileSync(file, JSON.stringify(forged));
        assert.equal((await installation.run(verify, elsewhere)).code, 7, `${title} was changed, and verified`);
    }
    writeFileSync(file, genuine);
    await installation.cli(verify, elsewhere);
});

test("a receipt under a key of its own folder, or without a proof, is not proven; a forger's is refused", async ({ installation, worker, works, receipt }) => {
    const { identity, token } = await worker();
    await works(token);
    const { receipt: id } = await installation.kill("identity", identity.id);
    await receipt(id);
    await installation.integrated();
    const folder = join(installation.folder, `forged-${id}`);
    await installation.cli(["kill", "receipt", String(id), "--out", folder]);
    const keys = Object.fromEntries((await installation.cli(["log", "ls"])).items.map(({ log, vkey }) => [log, vkey]));
    const verify = async (...given) => {
        const { code, stdout, stderr } = await installation.run(["log", "verify", "--receipt", folder, ...given.flatMap(key => ["--key", key]), "--json"], { tenant: null });
        return { code, said: stdout === "" ? stderr : JSON.parse(stdout) };
    };
    assert.equal((await verify(keys.state, keys.decisions)).code, 0);
    // One key says nothing of the other log.
    for (const [given, missing] of [[[], ["decisions", "state"]], [[keys.state], ["decisions"]], [[keys.decisions], ["state"]]]) {
        const { code, said } = await verify(...given);
        assert.deepEqual([code, said.whole, said.by_own_key.map(name => name.match(/(state|decisions)/u)[1]).sort()], [3, false, missing]);
    }
    assert.equal((await verify(keys.state, keys.state)).code, 2, "the same log twice");
    assert.equal((await verify(keys.state, keys.decisions, keys.decisions.replace("decisions/", "decisions/another-"))).code, 2, "a log that it does not name");
    // A forger's keys and proofs verify among themselves, and not under the keys of the service.
    const own = JSON.parse(readFileSync(join(folder, "keys.json"), "utf8"));
    const swapped = Object.fromEntries(Object.entries(own).map(([log, vkey]) => [log, vkey.replace(/.$/u, last => (last === "A" ? "B" : "A"))]));
    writeFileSync(join(folder, "keys.json"), JSON.stringify(swapped));
    assert.equal((await verify(keys.state, keys.decisions)).code, 0, "the folder's keys are not asked where others are given");
    assert.equal((await verify(keys.state)).code, 7);
    writeFileSync(join(folder, "keys.json"), JSON.stringify(own));
    const proof = readdirSync(folder).find(name => name.startsWith("decisions-"));
    rmSync(join(folder, proof));
    const { code, said } = await verify(keys.state, keys.decisions);
    assert.deepEqual([code, said.whole, Object.values(said.unproven)], [3, false, [1]]);
    readdirSync(folder).filter(name => name.startsWith("state-")).forEach(name => rmSync(join(folder, name)));
    const bare = await verify(keys.state, keys.decisions);
    assert.deepEqual([bare.code, bare.said.unproven.state > 0], [3, true], "the document itself is not proven");
});

test("what a receipt names as refused was refused by this stop, whoever was killed before", async ({ installation, worker, works, receipt }) => {
    const dead = [];
    for (let n = 0; n < 6; n += 1) {
        const { identity } = await worker();
        await installation.kill("identity", identity.id);
        dead.push(identity.id);
    }
    const { token } = await worker();
    await works(token);
    const frozen = await installation.cli(["kill", "tenant", "--level", "frozen", "--reason", "a look", "--yes"]);
    const found = await receipt(frozen.receipt);
    const { items } = await installation.cli(["log", "tail", "-n", "200"]);
    const cited = found.body.points.filter(line => line.refusal !== undefined).map(line => items.find(({ index }) => index === line.refusal.index));
    assert.ok(cited.length >= 3, JSON.stringify(found.body.points));
    for (const { payload } of cited) {
        assert.ok(!dead.includes(payload.nhi ?? payload.subject?.id), JSON.stringify(payload));
    }
    await installation.cli(["resume", "tenant", "--reason", "seen"]);
    // Lifted, it has nothing left to confirm: receipt, its exit code and the residue say the same.
    const after = await installation.run(["kill", "receipt", String(frozen.receipt)]);
    assert.equal(after.code, 0, after.stdout);
    await works(token);
});

test("a receipt is completed after a crash", async ({ installation, worker, receipt }) => {
    const { identity } = await worker();
    const killed = await installation.api("POST", "/v1/tenants/acme/kill", { scope: "identity", name: identity.id, reason: "crash" });
    assert.equal(killed.status, 200);
    await installation.service.stop("SIGKILL");
    await installation.serve();
    const found = await receipt(killed.body.receipt);
    assert.equal(found.known, "revoked");
    assert.equal((await installation.cli(["log", "verify"])).sound, true);
});

test("each level lets through what it says, and resume lifts it", async ({ installation, worker, call, works }) => {
    const { identity, token } = await worker();
    const level = words => installation.cli(["kill", "identity", identity.id, "--level", words, "--reason", "a look"]);
    const code = async () => (await call(token)).error?.data.code;
    await works(token);
    for (const [word, effect, refused] of [
        ["observe", "observe", undefined],
        ["read-only", "read-only", "mark.read-only"],
        ["no-egress", "no-egress", undefined]
    ]) {
        const set = await level(word);
        assert.deepEqual([set.effect, set.reversible], [effect, true]);
        assert.equal(await code(), refused, word);
        const { items } = await installation.cli(["kill", "ls"]);
        assert.ok(items.some(mark => mark.effect === effect && mark.reversible && mark.scope.includes(identity.id)), word);
        await installation.cli(["resume", "identity", identity.id, "--reason", "seen"]);
        await works(token);
    }
    // What only reads is an operator's word.
    await level("read-only");
    await installation.cli(["server", "reads", "files", "--tool", "echo"]);
    await works(token);
    await installation.cli(["server", "reads", "files"]);
    assert.equal(await code(), "mark.read-only");
    await installation.restart();
    assert.equal(await code(), "mark.read-only", "after a restart");
    const shown = await installation.cli(["id", "get", identity.id]);
    assert.equal(shown.effective, "read-only");
    await installation.refused(["suspend", "identity", identity.id, "--level", "read-only"], 2);
    await installation.cli(["resume", "identity", identity.id, "--reason", "seen"]);
    await works(token);
});

test("a dry run tells what was called, what lives, and changes nothing", async ({ installation, worker, works }) => {
    const { identity, token, id } = await worker();
    for (let n = 0; n < 3; n += 1) {
        await works(token);
    }
    const dry = await installation.cli(["kill", "identity", identity.id, "--dry-run"]);
    assert.equal(dry.reversible, false);
    assert.deepEqual(dry.tasks, [id]);
    assert.equal(dry.tokens.length, 1);
    assert.ok(dry.calls_by.files >= 3, JSON.stringify(dry.calls_by));
    assert.equal(dry.is_whole_hour, true);
    await works(token);
});

test("a drill kills a canary through every enforcement point and keeps what it measured", async ({ installation }) => {
    const drill = await installation.cli(["kill", "drill"]);
    assert.equal(drill.trouble, undefined);
    assert.deepEqual(drill.points.map(line => line.point), POINTS);
    assert.ok(drill.points.every(line => line.known === "revoked"));
    const canary = await installation.cli(["id", "get", drill.canary]);
    assert.equal(canary.state, "retired");
    await installation.cli(["kill", "drill"]);
    const drills = await installation.cli(["kill", "drill", "ls"]);
    assert.deepEqual([drills.drills, drills.failed], [2, 0]);
    for (const { point, counts } of drills.points) {
        assert.equal(counts.reduce((sum, n) => sum + n, 0), 2, point);
    }
    assert.equal((await installation.api("GET", "/readyz")).body.kill_switch, true);
    await installation.restart();
    assert.equal((await installation.cli(["kill", "drill", "ls"])).drills, 2);
});

test("with two operators an irreversible kill of a tenant freezes at once and waits for the second", async ({ desk, installation, receipt }) => {
    await installation.addTenant("globex", "ES256");
    const there = { tenant: "globex" };
    await installation.addHttpServer("files", desk.url, there);
    const worker = await installation.addIdentity("worker", there);
    const { token } = await installation.openTask(worker.id, ["files:*"], there);
    const works = () => callTool(installation.endpoint("files", "globex"), token, "echo", ARGS);
    const second = join(installation.folder, "second.json");
    const own = async words => {
        const { context } = installation;
        installation.context = second;
        try {
            return await installation.run(words, there);
        } finally {
            installation.context = context;
        }
    };
    assert.notEqual((await own(["kill", "ls"])).code, 0);
    const prepared = (await own(["operator", "prepare", "--server", installation.url])).json;
    assert.notEqual((await own(["kill", "ls"])).code, 0, "nobody added it");
    const added = await installation.cli(["operator", "add", "--name", "grace", "--public-key", prepared.public_key]);
    assert.equal((await own(["operator", "accept", added.id])).code, 0);
    assert.equal((await own(["kill", "ls"])).code, 0);
    assert.equal((await installation.cli(["operator", "ls"])).items.length, 2);

    assert.ok((await works()).result);
    await installation.refused(["kill", "tenant", "globex", "--yes", "--break-glass"], 4, "kill.second-operator", there);
    const frozen = await installation.cli(["kill", "tenant", "globex", "--yes", "--reason", "breach"], there);
    assert.deepEqual([frozen.effect, frozen.reversible, frozen.pending], ["suspend", true, true]);
    assert.equal((await works()).status, 401, "frozen at once");
    assert.equal((await receipt(frozen.receipt, [], there)).state, "pending");
    await installation.refused(["kill", "sign", String(frozen.receipt)], 4, "kill.own-signature", there);

    // Lifting the freeze withdraws the kill.
    await installation.cli(["resume", "tenant", "globex", "--reason", "a mistake"], there);
    assert.ok((await works()).result);
    assert.equal((await own(["kill", "sign", String(frozen.receipt)])).json.code, "kill.withdrawn");

    const again = await installation.cli(["kill", "tenant", "globex", "--yes", "--reason", "breach"], there);
    const signed = await own(["kill", "sign", String(again.receipt), "--reason", "agreed"]);
    assert.equal(signed.code, 0, signed.stderr);
    assert.deepEqual([signed.json.effect, signed.json.reversible], ["kill", false]);
    assert.equal((await works()).status, 401);
    const first = await receipt(again.receipt, [], there);
    assert.match(first.body.pending.signed_by, new RegExp(added.id));
    assert.equal(first.body.pending.killed, signed.json.receipt);
    // The freeze can be lifted, and the kill stands.
    const lifted = await installation.cli(["resume", "tenant", "globex", "--reason", "in vain"], there);
    assert.deepEqual(lifted.still, ["kill of tenant globex"]);
    assert.equal((await works()).status, 401);
    await installation.refused(["resume", "tenant", "globex"], 1, undefined, there);
    const killed = await receipt(signed.json.receipt, [], there);
    assert.match(killed.body.reason, /breach \(asked for by operator:.*signed by operator:/);
});

test("what is not confirmed stays in the residue, ages, and is an alarm until it is confirmed", async ({ installation, worker }) => {
    const { identity } = await worker();
    const file = join(installation.folder, "key");
    writeFileSync(file, "s3cret-of-another-system", { mode: 0o600 });
    const words = ["credential", "add", "other-system", "--identity", identity.id, "--kind", "api-key", "--secret-file", file];
    const added = await installation.run(words);
    assert.equal(added.code, 0, added.stderr);
    const dry = await installation.cli(["kill", "identity", identity.id, "--dry-run"]);
    assert.deepEqual(dry.credentials, ["other-system"]);
    assert.equal(dry.unreached[0].id, "other-system");
    const { receipt } = await installation.kill("identity", identity.id);
    const open = await until("the residue to show", async () => {
        const { code, json } = await installation.run(["kill", "residue"]);
        return json.items.length > 0 && { code, json };
    });
    assert.equal(open.code, NOT_CONFIRMED);
    assert.deepEqual(open.json.items.map(({ receipt, kind, id, known }) => [receipt, kind, id, known]), [[receipt, "credential", "other-system", "unconfirmed"]]);
    const shown = await installation.run(["kill", "receipt", String(receipt)]);
    assert.deepEqual([shown.code, shown.json.state, shown.json.known], [NOT_CONFIRMED, "open", "unconfirmed"]);
    await until("the alarm", () => installation.service.text.includes("kills are not confirmed everywhere"), 20_000);
    const measured = async () => (await (await fetch(`${installation.url}/metrics`)).text()).match(/^bailiwick_kill_residue_(open|oldest_seconds) (\S+)$/gm).map(line => Number(line.split(" ")[1]));
    const [oldest, count] = (await measured()).toSorted((a, b) => b - a);
    assert.ok(count === 1 && oldest >= 5, `${count} open, the oldest for ${oldest} s`);
    await installation.cli(["credential", "revoke", "other-system", "--reason", "done there"]);
    const closed = await until("the residue to close", async () => {
        const { json } = await installation.run(["kill", "receipt", String(receipt)]);
        return json.state === "closed" && json;
    }, 30_000);
    assert.equal(closed.known, "revoked");
    assert.ok(closed.body.residue[0].closed_at);
    await until("the alarm to end", async () => (await measured()).every(value => value === 0), 20_000);
});
