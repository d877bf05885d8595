// The database is gone, too slow, silent, stopped or has no place left: calls go on from the
// last fresh word for as long as the bound says and are refused then, a kill
// holds at once and is durable here, and all of it comes back by itself.
//
//   node lost-database.mjs
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Cluster } from "./lib/cluster.mjs";
import { Desk } from "./lib/desk.mjs";
import { Installation } from "./lib/installation.mjs";
import { figure, run, suite, test } from "./lib/lane.mjs";
import { callTool } from "./lib/mcp.mjs";
import { until } from "./lib/wait.mjs";

const BOUND_SECS = 3;
const PASSWORD = "only-for-this-run";
const BACK_MAX_MS = 10_000;
const KILL_MAX_MS = 20_000;
const DENIED_MAX_MS = 2_000;

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

test("a database that takes two seconds for a packet: calls until the bound, kills at once, and everything comes back", context =>
    through(context, "too-slow", () => context.cluster.door.become(2_000), () => context.cluster.door.become("good")));

test("a database that was stopped and started: calls until the bound, kills at once, and everything comes back", context =>
    through(context, "stopped", () => context.cluster.end(), () => context.cluster.begin()));

await run("lost database");
