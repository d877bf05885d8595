// The database is gone, slow, silent, stopped or has no place left: calls go on from the
// last fresh word for as long as the bound says and are refused then, a kill
// holds at once and is durable here, and all of it comes back by itself.
//
//   node lost-database.mjs [SUITE …]
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Cluster } from "./lib/cluster.mjs";
import { Desk } from "./lib/desk.mjs";
import { Hints } from "./lib/hints.mjs";
import { Installation } from "./lib/installation.mjs";
import { figure, run, suite, test } from "./lib/lane.mjs";
import { callTool } from "./lib/mcp.mjs";
import { Nodes } from "./lib/node.mjs";
import { until } from "./lib/wait.mjs";

const BOUND_SECS = 3;
const PASSWORD = "only-for-this-run";
const BACK_MAX_MS = 10_000;
const KILL_MAX_MS = 20_000;
const DENIED_MAX_MS = 2_000;
/** How long another node may take to hear without a hint. */
const HEARD_MAX_MS = 5_000;

suite("lost database", async () => {
    const cluster = await Cluster.open();
    cluster.admin(`CREATE ROLE bailiwick LOGIN PASSWORD '${PASSWORD}'`);
    cluster.admin("CREATE DATABASE bailiwick OWNER bailiwick");
    const desk = await Desk.open();
    const config = ({ folder }) => {
        const file = join(folder, "url");
        writeFileSync(file, `postgres://bailiwick:${PASSWORD}@127.0.0.1:${cluster.port}/bailiwick\n`, { mode: 0o600 });
        return `[store]\nengine = "postgres"\nurl_file = "${file}"\n[freshness]\nrefuse_secs = ${BOUND_SECS}\n[tokens]\nttl_secs = 3600\n[telemetry]\nlevel = "warn"\n`;
    };
    const installation = await Installation.start("lost-database", { config });
    await installation.addHttpServer("files", desk.url);
    await installation.addIdentity("worker");
    const worker = await installation.openTask("worker", ["files:echo"], { window: "12h" });
    return {
        cluster,
        desk,
        installation,
        worker,
        stop: async () => {
            cluster.door.become("good");
            await installation.stop();
            await desk.close();
            await cluster.stop();
        }
    };
}, { alone: true });

const call = ({ installation }, token, text) => callTool(installation.endpoint("files"), token, "echo", { text });
const issue = ({ installation, worker }) => installation.api("POST", `/v1/tenants/acme/tasks/${worker.id}/tokens`, { count: 1 });

/** Milliseconds that `work` took, and what it gave. */
async function timed(work) {
    const began = performance.now();
    const given = await work;
    return { given, ms: performance.now() - began };
}

/** Loses the database by `lose`, looks at everything meanwhile, and brings it back by `mend`. */
async function through(context, name, lose, mend) {
    const { installation, desk, worker } = context;
    const victim = await installation.addIdentity(`victim-${name}`);
    const theirs = await installation.openTask(`victim-${name}`, ["files:echo"], { window: "12h" });
    assert.ok((await call(context, theirs.token, `${name} before`)).result);
    const { decisions } = await installation.integrated();
    const arrivedBefore = desk.calls.length;
    await lose();
    const early = await call(context, worker.token, `${name} early`);
    assert.ok(early.result, `${name}: the last fresh word was not used: ${early.text}`);
    const killing = installation.api("POST", "/v1/tenants/acme/kill", { scope: "identity", name: victim.id, reason: name });
    const denied = await timed(until(`${name}: the mark in memory`, async () => (await call(context, theirs.token, `${name} marked`)).result === undefined, DENIED_MAX_MS));
    const after = desk.calls.length;
    await until(`${name}: the bound`, async () => (await call(context, worker.token, `${name} late`)).error?.data?.code === "snapshot.stale", 3 * BOUND_SECS * 1_000);
    const stale = [];
    for (let n = 0; n < 5; n += 1) {
        const { given, ms } = await timed(call(context, worker.token, `${name} stale`));
        assert.equal(given.error?.data?.code, "snapshot.stale", given.text);
        stale.push(ms);
    }
    assert.ok(!desk.calls.slice(after).some(({ args }) => args.text === `${name} marked`), `${name}: a killed call was forwarded`);
    assert.ok(!desk.calls.some(({ args }) => args.text === `${name} stale`), `${name}: a stale call was forwarded`);
    const issued = await issue(context);
    // An operator asks for it, and whether his session was used before is asked of the store too.
    assert.equal(issued.status, 503, issued.text);
    assert.ok(["session.unknown", "snapshot.stale"].includes(issued.body?.code), issued.text);
    const killed = await Promise.race([killing, sleep(KILL_MAX_MS, undefined, { ref: false })]);
    assert.ok(killed?.status === 200 || killed?.body?.code === "kill.local-only", `${name}: ${killed?.text ?? "no answer to the kill"}`);
    await mend();
    const back = await timed(until(`${name}: service`, async () => (await call(context, worker.token, `${name} back`)).result !== undefined && (await issue(context)).status === 200, BACK_MAX_MS));
    await until(`${name}: the kill in the state log`, async () => (await installation.api("GET", `/v1/tenants/acme/identities/${victim.id}`)).body?.state === "retired", BACK_MAX_MS);
    assert.equal((await call(context, theirs.token, `${name} dead`)).status, 401);
    const page = [];
    for (let more = [undefined]; more.length > 0; page.push(...more)) {
        more = (await installation.api("GET", `/v1/logs/decisions/entries?from=${decisions.sequenced + page.length}`)).body.items;
    }
    const permits = page.filter(({ payload }) => payload?.effect === "permit" && payload.action === "tools/call").length;
    assert.ok(desk.calls.length - arrivedBefore <= permits, `${name}: ${desk.calls.length - arrivedBefore} calls arrived, ${permits} have a record`);
    assert.ok(page.some(({ payload }) => payload?.reason === "snapshot.stale"), `${name}: refusals are recorded here`);
    const slowest = Math.max(...stale).toFixed(0);
    figure(`database ${name}`, `denied after ${denied.ms.toFixed(0)} ms, kill answered ${killed.body?.code ?? "committed"}, slowest refusal ${slowest} ms, service back after ${back.ms.toFixed(0)} ms`);
}

test("a database that is cut off: calls until the bound, kills at once, and everything comes back", context =>
    through(context, "cut", () => context.cluster.door.become("cut"), () => context.cluster.door.become("good")));

test("a database behind a half-open connection: calls until the bound, kills at once, and everything comes back", context =>
    through(context, "half-open", () => context.cluster.door.become("silent"), () => context.cluster.door.become("good")));

test("a database without a place for another connection: calls until the bound, kills at once, and everything comes back", context => {
    const limit = n => context.cluster.admin(`ALTER ROLE bailiwick CONNECTION LIMIT ${n}`);
    const lose = () => {
        limit(0);
        context.cluster.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bailiwick'");
    };
    return through(context, "full", lose, () => limit(-1));
});

test("a slow database delays commands and refuses nothing that its last word covers", async context => {
    const { cluster, worker } = context;
    cluster.door.become(40);
    const answers = [];
    for (let n = 0; n < 10; n += 1) {
        answers.push(await timed(call(context, worker.token, `slow ${n}`)));
        await sleep(300);
    }
    cluster.door.become("good");
    for (const { given } of answers) {
        assert.ok(given.result, given.text);
    }
    const slowest = Math.max(...answers.map(({ ms }) => ms));
    assert.ok(slowest < 1_000, `a call waited ${slowest} ms for the database`);
    figure("database slow by 40 ms a packet: slowest call", `${slowest.toFixed(0)} ms`);
});

test("a database that takes two seconds for a packet: calls until the bound, kills at once, and everything comes back", context =>
    through(context, "too-slow", () => context.cluster.door.become(2_000), () => context.cluster.door.become("good")));

test("a database that was stopped and started: calls until the bound, kills at once, and everything comes back", context =>
    through(context, "stopped", () => context.cluster.end(), () => context.cluster.begin()));

suite("hints", async () => {
    const cluster = await Cluster.open();
    cluster.admin(`CREATE ROLE service LOGIN PASSWORD '${PASSWORD}'`);
    cluster.admin("CREATE DATABASE installation OWNER service");
    const hints = await Hints.open(cluster.socket);
    const store = () => `postgresql://service:${PASSWORD}@127.0.0.1:${hints.port}/installation?sslmode=disable`;
    const nodes = await Nodes.open("hints", { store });
    const desk = await Desk.open();
    await nodes.first.addHttpServer("files", desk.url);
    const second = await nodes.add("node-b");
    return {
        hints,
        nodes,
        second,
        desk,
        stop: async () => {
            await nodes.stop();
            await desk.close();
            hints.close();
            await cluster.stop();
        }
    };
}, { alone: true });

/** What one node does under this fate of its hints is known to the other in time, and acted on once. */
async function heard({ hints, nodes, second, desk }, fate) {
    const { first } = nodes;
    hints.become(fate);
    // Those that are told backwards are told late, too.
    const telling = setInterval(() => hints.tell(), 700);
    try {
        const agent = await first.addIdentity(`worker-${fate}`);
        const task = await first.openTask(`worker-${fate}`, ["files:echo"]);
        const there = nodes.endpoint(second, "files");
        const text = `${fate} before`;
        const known = await timed(until("the task at the other node", async () => (await callTool(there, task.token, "echo", { text })).result !== undefined, HEARD_MAX_MS));
        assert.equal(desk.calls.filter(({ args }) => args.text === text).length, 1);
        const issued = await nodes.ask(second, "POST", `/v1/tenants/acme/tasks/${task.id}/tokens`, { count: 1 });
        assert.equal(issued.status, 200, JSON.stringify(issued.body));
        const killed = await timed(first.kill("identity", agent.id));
        const late = `${fate} after`;
        const refused = await callTool(there, task.token, "echo", { text: late });
        assert.equal(refused.status, 401, refused.text);
        assert.ok(killed.given.nodes.length === 2 && killed.given.nodes.every(({ end }) => end === "acknowledged"), JSON.stringify(killed.given.nodes));
        assert.ok(killed.ms < HEARD_MAX_MS, `${killed.ms} ms until the other node acknowledged`);
        assert.equal((await nodes.ask(second, "GET", `/v1/tenants/acme/identities/${agent.id}`)).body.state, "retired");
        const recorded = [];
        for (let more = [undefined]; more.length > 0; recorded.push(...more)) {
            more = (await nodes.ask(second, "GET", `/v1/logs/decisions/entries?from=${recorded.length}`)).body.items;
        }
        const of = recorded.filter(({ payload }) => payload?.action === "tools/call" && JSON.stringify(payload).includes(task.id));
        assert.ok(of.some(({ payload }) => payload.effect === "permit"), "the call is recorded");
        assert.ok(!desk.calls.some(({ args }) => args.text === late), "a killed call was forwarded");
        assert.ok(hints.met > 0, "there was no notification that this fate could befall");
        figure(`notifications ${fate}`, `${hints.met}; a task is known to another node after ${known.ms.toFixed(0)} ms, a kill is answered, acknowledged by all, after ${killed.ms.toFixed(0)} ms`);
    } finally {
        clearInterval(telling);
        hints.become("heard");
        hints.tell();
    }
}

test("with every notification lost a second node hears by asking: calls, issuing, kills, reading and records as ever", context => heard(context, "lost"));

test("a notification that is told twice does nothing twice", context => heard(context, "doubled"));

test("notifications that are told late and backwards change nothing", context => heard(context, "backwards"));

await run("lost database", process.argv.slice(2));
