// Kill by every scope, suspend and resume, restart.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Desk } from "../lib/desk.mjs";
import { Installation } from "../lib/installation.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { callTool, permitted } from "../lib/mcp.mjs";
import { decode } from "../lib/oauth.mjs";
import { until } from "../lib/wait.mjs";

const SCOPES = ["files:*", "desk:*"];
const ARGS = { text: "x" };

suite("kill", async () => {
    const desk = await Desk.open();
    const installation = await Installation.start("kill");
    await installation.addTenant("globex", "ES256");
    for (const tenant of ["acme", "globex"]) {
        await installation.addHttpServer("files", desk.url, { tenant });
        await installation.addHttpServer("desk", desk.url, { tenant });
    }
    // The one that is killed; no task can be opened for it afterwards.
    await installation.addHttpServer("drawer", desk.url);
    let made = 0;
    /** Two callers that are alike but for the scope that is stopped: the one that falls under it, and a bystander. */
    const pair = async ({ scopes = SCOPES, ...differ } = {}) => {
        made += 1;
        const one = await installation.addIdentity(`victim-${made}`, { owner: `team-${made}`, agent: `agent-${made}`, ...differ });
        const two = await installation.addIdentity(`bystander-${made}`, { owner: "others", agent: "others" });
        return {
            identity: one,
            victim: await installation.openTask(one.id, scopes),
            bystander: await installation.openTask(two.id, scopes)
        };
    };
    return {
        desk,
        installation,
        pair,
        call: (token, server = "files", tool = "echo", tenant = "acme") => callTool(installation.endpoint(server, tenant), token, tool, ARGS),
        works: (token, server = "files", tenant = "acme") => permitted(installation.endpoint(server, tenant), token, "echo", ARGS),
        stop: async () => {
            await installation.stop();
            await desk.close();
        }
    };
});

/** The next call is refused: by 401 when the credential is dead, by -32001 when only this target is. */
async function stopped({ desk }, reply, expected) {
    const before = desk.calls.length;
    const answer = await reply();
    assert.equal(desk.calls.length, before, "a stopped call was forwarded");
    if (expected === 401) {
        assert.equal(answer.status, 401, answer.text);
        assert.match(answer.headers["www-authenticate"], /invalid_token/);
    } else {
        assert.equal(answer.status, 200, answer.text);
        assert.equal(answer.error?.code, -32001, answer.text);
        assert.equal(answer.error.data.code, expected);
    }
}

/** Kills one scope: the victim's first call after it is refused, the bystander goes on. */
async function killOne(context, scope, nameOf, expected) {
    const { installation, call, works, pair } = context;
    const made = await pair();
    await works(made.victim.token);
    await works(made.bystander.token);
    const name = nameOf(made);
    const dry = await installation.cli(["kill", scope, name, "--dry-run"]);
    assert.equal(dry.reversible, false);
    await works(made.victim.token);
    const epoch = (await installation.api("GET", "/readyz")).body.epoch;
    const receipt = await installation.kill(scope, name);
    await stopped(context, () => call(made.victim.token), expected);
    await works(made.bystander.token);
    assert.equal(receipt.effect, "kill");
    assert.equal(receipt.epoch, epoch + 1, "one epoch for each committed revocation");
    assert.ok(receipt.position > 0);
    assert.ok(receipt.points.length >= 1);
    figure(`kill ${scope}: denied / committed, µs`, `${receipt.denied_us} / ${receipt.committed_us}`);
    await installation.refused(["resume", scope, name], 1);
    await stopped(context, () => call(made.victim.token), expected);
    return { ...made, dry, receipt };
}

test("kill token: that token and no other of its task", async context => {
    const { installation, works } = context;
    let sister;
    const { victim } = await killOne(context, "token", ({ victim: { token } }) => decode(token).claims.jti, 401);
    sister = await installation.cli(["task", "token", victim.id]);
    await works(sister.tokens[0].access_token);
});

test("kill task: every token of it", async context => {
    const { victim, dry } = await killOne(context, "task", ({ victim }) => victim.id, 401);
    assert.deepEqual(dry.tasks, [victim.id]);
    await context.installation.refused(["task", "token", victim.id], 1, "task.already-closed");
});

test("kill identity: by name and by id, every task of it", async context => {
    const { identity, dry, victim } = await killOne(context, "identity", ({ identity }) => identity.name, 401);
    assert.deepEqual(dry.identities, [identity.id]);
    assert.ok(dry.tasks.includes(victim.id));
    await killOne(context, "identity", ({ identity: { id } }) => id, 401);
    const open = ["task", "open", "--identity", identity.id, "--purpose", "p", "--can", "files:*"];
    assert.notEqual((await context.installation.run(open)).code, 0);
});

test("kill agent: every identity with that label", async context => {
    await killOne(context, "agent", ({ identity }) => identity.labels.agent, 401);
});

test("kill owner: every identity of that team", async context => {
    await killOne(context, "owner", ({ identity }) => identity.owner.team, 401);
});

test("kill tool: that tool of that server, for everybody", async context => {
    const { installation, works, call, pair } = context;
    const { victim } = await pair({ scopes: ["files:*", "drawer:*"] });
    await works(victim.token, "drawer");
    await installation.kill("tool", "drawer:echo");
    await stopped(context, () => call(victim.token, "drawer"), "mark.killed");
    await works(victim.token, "files");
    const hold = call(victim.token, "drawer", "read_text_file");
    assert.ok((await hold).result, "other tools go on");
});

test("kill server: all of it, for everybody", async context => {
    const { installation, works, call, pair } = context;
    const { victim } = await pair({ scopes: ["files:*", "drawer:*"] });
    await works(victim.token, "files");
    assert.ok((await call(victim.token, "drawer", "read_text_file")).result);
    await installation.kill("server", "drawer");
    await stopped(context, () => call(victim.token, "drawer", "read_text_file"), "mark.killed");
    await works(victim.token, "files");
});

test("suspend stops at once and resume gives back what was", async context => {
    const { installation, works, call, pair } = context;
    for (const [scope, nameOf, expected] of [
        ["token", made => decode(made.victim.token).claims.jti, 401],
        ["task", made => made.victim.id, 401],
        ["identity", made => made.identity.name, 401],
        ["agent", made => made.identity.labels.agent, 401],
        ["owner", made => made.identity.owner.team, 401],
        ["tool", () => "files:echo", "mark.killed"],
        ["server", () => "files", "mark.killed"],
        ["issuer", () => `${installation.url}/t/acme`, 401],
        ["tenant", () => undefined, 401]
    ]) {
        const made = await pair();
        const name = nameOf(made);
        const words = name === undefined ? [] : [name];
        await works(made.victim.token);
        const receipt = await installation.cli(["suspend", scope, ...words, "--reason", "a look"]);
        assert.equal(receipt.effect, "suspend", scope);
        await stopped(context, () => call(made.victim.token), expected);
        if (!["tool", "server", "issuer", "tenant"].includes(scope)) {
            await works(made.bystander.token);
        }
        const lifted = await installation.cli(["resume", scope, ...words, "--reason", "all is well"]);
        assert.equal(lifted.effect, "resume", scope);
        // A token from before the suspension stays dead; what is issued now works.
        const renewed = await installation.cli(["task", "token", made.victim.id]);
        await works(renewed.tokens[0].access_token);
    }
});

test("a kill cannot be undone and is not asked for twice without --yes", async context => {
    const { installation, pair, works } = context;
    const { victim } = await pair();
    const failure = await installation.refused(["kill", "task", victim.id], 2);
    assert.match(failure.hint, /--yes/);
    await works(victim.token);
    await installation.refused(["kill", "identity", "--yes"], 2);
    await installation.refused(["kill", "identity", "victim-1000", "--yes"], 8);
    await installation.refused(["kill", "task", "tsk_aaaaaaaaaaaaaaaaaaaaaaaaaa", "--yes"], 8);
});

test("the irreversible kill of a tenant needs a second operator or recorded break-glass", async context => {
    const { installation, works, call } = context;
    const worker = await installation.addIdentity("foreigner", { tenant: "globex" });
    const task = await installation.openTask(worker.id, SCOPES, { tenant: "globex" });
    await works(task.token, "files", "globex");
    const refusal = await installation.run(["kill", "tenant", "globex", "--yes"], { tenant: "globex" });
    assert.notEqual(refusal.code, 0);
    assert.match(`${refusal.json.message} ${refusal.json.hint}`, /break-glass|second/);
    await works(task.token, "files", "globex");
    const receipt = await installation.cli(["kill", "tenant", "globex", "--yes", "--break-glass", "--reason", "drill"], { tenant: "globex" });
    assert.equal(receipt.effect, "kill");
    await stopped(context, () => call(task.token, "files", "echo", "globex"), 401);
});

test("a restart comes back denied", async context => {
    const { installation, pair, works, call } = context;
    const killed = await pair();
    const suspended = await pair();
    await installation.kill("identity", killed.identity.id);
    await installation.cli(["suspend", "task", suspended.victim.id, "--reason", "a look"]);
    const { position, epoch } = (await installation.api("GET", "/readyz")).body;
    await installation.service.stop("SIGKILL");
    await installation.serve();
    const ready = (await installation.api("GET", "/readyz")).body;
    assert.ok(ready.position >= position && ready.epoch >= epoch);
    await stopped(context, () => call(killed.victim.token), 401);
    await stopped(context, () => call(suspended.victim.token), 401);
    await stopped(context, () => call(killed.victim.token, "desk", "read_text_file"), 401);
    await works(killed.bystander.token);
    assert.equal((await installation.cli(["id", "get", killed.identity.id])).state, "retired");
});

test("no call that began after the acknowledgement is forwarded, under load", async context => {
    const { desk, installation, pair } = context;
    const { identity, victim } = await pair();
    const url = installation.endpoint("files");
    const sent = new Map();
    let acknowledged = Number.POSITIVE_INFINITY;
    let permitted = 0;
    const caller = async (_, at) => {
        for (let n = 0; performance.now() < acknowledged + 150; n += 1) {
            const text = `load-${at}-${n}`;
            sent.set(text, performance.now());
            const reply = await callTool(url, victim.token, "echo", { text });
            permitted += reply.result === undefined ? 0 : 1;
        }
    };
    const callers = Promise.all(Array.from({ length: 24 }, caller));
    await until("the load to run", () => permitted > 100);
    await installation.api("POST", "/v1/tenants/acme/kill", { scope: "identity", name: identity.id, reason: "load" });
    acknowledged = performance.now();
    await callers;
    const late = desk.calls.filter(call => sent.get(call.args.text) > acknowledged);
    assert.equal(late.length, 0, "forwarded after the acknowledgement");
    const after = [...sent.values()].filter(at => at > acknowledged).length;
    assert.ok(after > 0);
    figure("kill under load: calls before / begun after the acknowledgement / of these forwarded", `${permitted} / ${after} / ${late.length}`);
});

test("a kill whose answer was lost still holds after the crash", async context => {
    // The process dies as soon as the kill may have been written: whatever was acknowledged must hold.
    const { installation, pair, call } = context;
    const outcomes = [];
    for (let round = 0; round < 5; round += 1) {
        const { identity, victim } = await pair();
        const body = { scope: "identity", name: identity.id, reason: "crash" };
        const answer = installation.api("POST", "/v1/tenants/acme/kill", body).then(reply => reply.status === 200, () => false);
        // From before the kill arrives to after it is durable.
        await sleep(round * 4);
        await installation.service.stop("SIGKILL");
        const acknowledged = await answer;
        await installation.serve();
        const after = await call(victim.token);
        outcomes.push(`${acknowledged ? "acknowledged" : "lost"}→${after.status}`);
        if (acknowledged) {
            assert.equal(after.status, 401, "an acknowledged kill was lost");
        }
        const { state } = await installation.cli(["id", "get", identity.id]);
        assert.equal(state === "retired", after.status === 401, "the state log and the marks agree");
    }
    figure("kill and crash", outcomes.join(", "));
});

test("suspend all and kill all stop everything in the installation", async context => {
    const { installation, pair, works, call } = context;
    const { victim, bystander } = await pair();
    await installation.cli(["suspend", "all", "--reason", "fire"]);
    for (const token of [victim.token, bystander.token]) {
        await stopped(context, () => call(token), 401);
    }
    await installation.cli(["resume", "all", "--reason", "no fire"]);
    const renewed = await installation.cli(["task", "token", victim.id]);
    await works(renewed.tokens[0].access_token);
    const refusal = await installation.run(["kill", "all", "--yes"]);
    assert.notEqual(refusal.code, 0);
    await works(renewed.tokens[0].access_token);
    await installation.cli(["kill", "all", "--yes", "--break-glass", "--reason", "fire"]);
    await stopped(context, () => call(renewed.tokens[0].access_token), 401);
    const { json } = await installation.run(["count", "--explain"]);
    assert.equal(json.explained.equal, true);
    assert.equal((await installation.cli(["log", "verify"])).sound, true);
});
