// The decision log is pruned on record, by command and by schedule: what is kept
// proves itself, what is gone is named, and a kill -9 at any moment leaves it
// whole. Then PostgreSQL is restored to a point in time under the newest data
// folder: the witness refuses it, and whoever goes on does so on record.
//
//   node retention.mjs
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { clockOf } from "./lib/clock.mjs";
import { Cluster } from "./lib/cluster.mjs";
import { Desk } from "./lib/desk.mjs";
import { Installation, runBinary } from "./lib/installation.mjs";
import { figure, run, suite, test } from "./lib/lane.mjs";
import { callTool } from "./lib/mcp.mjs";
import { until } from "./lib/wait.mjs";

const PASSWORD = "only-for-this-run";
const AGES = [-12, -10, -8, -6, -5, -4, -3];
/** Milliseconds after which a pruning is killed. */
const ROUNDS = [10, 35, 60, 150];
const REASON = "kept for long enough";

/** The configuration, with what `[log]` has. */
function configured(context, log) {
    const { installation, cluster } = context;
    const file = join(installation.folder, "url");
    writeFileSync(file, `postgres://bailiwick:${PASSWORD}@127.0.0.1:${cluster.port}/bailiwick\n`, { mode: 0o600 });
    installation.configFile = join(installation.folder, "config.toml");
    const store = `[store]\nengine = "postgres"\nurl_file = "${file}"\n`;
    writeFileSync(installation.configFile, `${store}[kill]\ndrill_hours = 0\n[telemetry]\nlevel = "warn"\n[log]\n${log}\n`);
}

const call = ({ installation }, token, text = "a") => callTool(installation.endpoint("files"), token, "echo", { text });
const segment = ({ installation }, number) => join(installation.data, "log/decisions/segments", `${String(number).padStart(16, "0")}.seg`);
const decisions = async ({ installation }) => (await installation.cli(["log", "ls"])).items.find(({ log }) => log === "decisions");
const prune = ({ installation }, ...words) => installation.cli(["log", "prune", "decisions", "--reason", REASON, ...words]);

/** Both logs of a folder, which must be sound. */
async function sound(folder) {
    const verdict = await runBinary(["log", "verify", "--data", folder, "--json"], { folder: "/" });
    assert.equal(verdict.code, 0, verdict.stdout + verdict.stderr);
    return Object.fromEntries(JSON.parse(verdict.stdout).logs.map(log => [log.log, log]));
}

/** Decisions of many days: a segment for each start; gives how many entries there were after each. */
async function age(context) {
    const { installation, desk } = context;
    const clock = clockOf(installation);
    // Our children follow the clock; the database and this process do not.
    Object.assign(process.env, clock.env);
    const sizes = [];
    for (const days of AGES) {
        clock.set(`${days}d`);
        await installation.serve();
        if (sizes.length === 0) {
            await installation.cli(["claim", "--data", installation.data, "--name", "ada"]);
            await installation.addTenant("acme");
            installation.tenant = "acme";
            await installation.addHttpServer("files", desk.url);
            await installation.addIdentity("worker");
        }
        const { token } = await installation.openTask("worker", ["files:echo"]);
        await until("the next segment", async () => (await call(context, token)).result && existsSync(segment(context, sizes.length)));
        for (let n = 0; n < 12; n += 1) {
            assert.ok((await call(context, token)).result);
        }
        const { decisions } = await installation.integrated();
        sizes.push(decisions.sequenced);
        if (sizes.length === 1) {
            context.proof = join(installation.folder, "old.tlog-proof");
            await installation.cli(["log", "prove", "3", "-o", context.proof]);
            context.pack = join(installation.folder, "old-pack");
            await installation.cli(["evidence", "pack", "--out", context.pack]);
        }
        await installation.service.stop();
    }
    Object.keys(clock.env).forEach(name => delete process.env[name]);
    return sizes;
}

suite("retention", async () => {
    const cluster = await Cluster.open({ archive: true });
    cluster.admin(`CREATE ROLE bailiwick LOGIN PASSWORD '${PASSWORD}'`);
    cluster.admin("CREATE DATABASE bailiwick OWNER bailiwick");
    const context = { cluster, desk: await Desk.open(), installation: new Installation("retention") };
    context.stop = async () => {
        await context.installation.stop();
        await context.desk.close();
        await cluster.stop();
    };
    configured(context, "keep_decisions_days = 30");
    context.sizes = await age(context);
    await context.installation.serve();
    cluster.backUp();
    const { installation } = context;
    const logs = await installation.integrated();
    context.keys = Object.values(logs).flatMap(({ vkey }) => ["--key", vkey]);
    context.worker = await installation.openTask("worker", ["files:echo"], { window: "12h" });
    context.rated = await installation.openTask("worker", ["files:echo(rate 2/1h)"], { window: "12h" });
    for (const name of ["early", "late"]) {
        context[name] = await installation.addIdentity(`victim-${name}`);
        context[name].task = await installation.openTask(`victim-${name}`, ["files:echo"], { window: "12h" });
        assert.ok((await call(context, context[name].task.token)).result);
    }
    await installation.kill("identity", context.early.id);
    context.time = cluster.admin("SELECT clock_timestamp()");
    return context;
}, { alone: true });

test("a dry run says what would go and nothing goes", async context => {
    const { installation, sizes } = context;
    const seen = await prune(context, "--keep", "9d", "--dry-run");
    assert.ok(seen.begins > sizes[0] && seen.begins < sizes[2], JSON.stringify([seen, sizes]));
    assert.equal((await decisions(context)).begins, 0);
    assert.ok(existsSync(segment(context, 0)));
    await installation.refused(["log", "prune", "state", "--keep", "9d", "--reason", REASON], 1, "log.never-pruned");
    await installation.refused(["log", "prune", "decisions", "--reason", REASON], 2);
});

test("what is pruned is on record, what is kept proves itself, and what was exported before stays valid", async context => {
    const { installation, keys, proof, pack, sizes } = context;
    assert.ok((await call(context, context.rated.token)).result);
    const exported = await installation.export();
    const done = await prune(context, "--keep", "9d");
    assert.ok(done.entries > 0 && !existsSync(segment(context, 0)) && existsSync(segment(context, sizes.length - 1)));
    const { items } = await installation.cli(["log", "tail", "--log", "state", "-n", "500", "--all-tenants"]);
    const told = items.filter(({ leaf }) => leaf.kind === "state.log.prune");
    assert.deepEqual(told.map(({ tenant }) => tenant), [undefined, "acme"]);
    assert.equal(told[0].payload.detail.base, done.base);
    assert.match(told[0].payload.actor, /^operator:/);
    for (const folder of [installation.data, exported]) {
        await sound(folder);
    }
    assert.equal((await sound(installation.data)).decisions.begins.with, done.begins);
    const gone = await installation.refused(["log", "prove", "3"], 1, "log.pruned");
    assert.ok(gone.message.includes(`begins with entry \`${done.begins}\``) && gone.message.includes(REASON), gone.message);
    await installation.refused(["log", "tail", "--before", "5"], 1, "log.pruned");
    const kept = join(installation.folder, "kept.tlog-proof");
    await installation.cli(["log", "prove", String(done.begins), "-o", kept]);
    const fresh = join(installation.folder, "new-pack");
    const packed = await installation.cli(["evidence", "pack", "--out", fresh]);
    assert.ok(packed.logs.find(({ log }) => log === "decisions").pruned > 0, JSON.stringify(packed));
    for (const [file, with_] of [[proof, keys.slice(2)], [kept, keys.slice(2)], [pack, keys], [fresh, keys]]) {
        const verdict = await runBinary(["verify", file, ...with_, "--json"], { folder: "/" });
        assert.equal(verdict.code, 0, `${file}: ${verdict.stdout}`);
    }
    // A pack that hides what goes before its first record does not pass for one that was pruned.
    const lines = join(fresh, "decisions.entries.jsonl");
    writeFileSync(lines, readFileSync(lines, "utf8").split("\n").slice(1).join("\n"));
    assert.equal((await runBinary(["verify", fresh, ...keys, "--json"], { folder: "/" })).code, 7);
    const again = await installation.export();
    assert.equal((await sound(again)).decisions.begins.with, done.begins);
    figure("retention: entries pruned, bytes", `${done.entries}, ${done.bytes}`);
});

test("a start on a pruned log counts its rates and a kill is contained as ever", async context => {
    const { installation } = context;
    await installation.restart();
    assert.ok((await call(context, context.rated.token)).result, "the second of two");
    const spent = await call(context, context.rated.token);
    assert.equal(spent.error?.data?.code, "grant.rate-exceeded", spent.text);
    const quick = await installation.addIdentity("victim-quick");
    const { token } = await installation.openTask("victim-quick", ["files:echo"]);
    assert.ok((await call(context, token)).result);
    const killed = await installation.kill("identity", quick.id);
    assert.ok(killed.contained_us > 0, JSON.stringify(killed));
    // Until it is confirmed everywhere, the command ends with 6.
    const points = await until("the receipt", async () => {
        const { body } = (await installation.run(["kill", "receipt", String(killed.receipt)])).json;
        return body?.points.some(({ last_permitted: last }) => last) && body.points;
    });
    assert.ok(points.every(({ permitted_after }) => permitted_after === 0), JSON.stringify(points));
});

test("a pruning that is killed at any moment comes back whole", async context => {
    const { installation, sizes } = context;
    const ends = [];
    for (const [at, wait] of ROUNDS.entries()) {
        const before = (await decisions(context)).begins;
        const session = await installation.session();
        const body = JSON.stringify({ up_to: sizes[at + 2] + 8, reason: REASON });
        const headers = { authorization: `Bearer ${session}`, "content-type": "application/json" };
        const asked = fetch(`${installation.url}/v1/logs/decisions/prune`, { method: "POST", headers, body }).catch(() => {});
        await sleep(wait);
        await installation.service.stop("SIGKILL");
        await asked;
        await installation.serve();
        const { begins } = await decisions(context);
        assert.ok(begins >= before, `${begins} ${before}`);
        await sound(installation.data);
        assert.ok(!existsSync(join(installation.data, "log/decisions/base.intent")));
        ends.push(`${wait} ms: ${begins > before ? "done" : "not done"}`);
        assert.ok((await call(context, context.worker.token)).result, "service after a kill -9");
    }
    figure("retention: kill -9 during a pruning", ends.join(", "));
});

test("a schedule prunes by itself, a legal hold keeps everything, and doctor shows both", async context => {
    const { installation } = context;
    configured(context, 'legal_hold = "counsel, case 17 of the court"\nkeep_decisions_days = 2');
    await installation.restart();
    const before = await decisions(context);
    await installation.refused(["log", "prune", "decisions", "--keep", "1d", "--reason", REASON], 1, "log.held");
    const shown = async () => (await installation.cli(["doctor"])).findings.map(({ what }) => what).join("\n");
    assert.match(await shown(), /held as they are.*case 17/);
    assert.equal((await decisions(context)).begins, before.begins);
    configured(context, "keep_decisions_days = 2");
    await installation.restart();
    const pruned = await until("the schedule", async () => {
        const log = await decisions(context);
        return log.pruned?.by === "system:retention" ? log : undefined;
    });
    assert.ok(pruned.begins > before.begins);
    assert.match(await shown(), /begins with entry \d+: pruned at .* by system:retention[^]*kept for 2 days/);
    await sound(installation.data);
});

test("PostgreSQL restored to a point in time is refused as older than the witness, and going on is recorded", async context => {
    const { installation, cluster, worker, early, late } = context;
    const begins = (await decisions(context)).begins;
    await installation.kill("identity", late.id);
    const issued = await installation.api("POST", `/v1/tenants/acme/tasks/${worker.id}/tokens`, { count: 1 });
    const after = issued.body.tokens[0].access_token;
    assert.ok((await call(context, after)).result);
    const state = async () => (await installation.cli(["log", "ls"])).items.find(({ log }) => log === "state").sequenced;
    const had = await state();
    await installation.service.stop();
    const began = performance.now();
    await cluster.recover(context.time);
    figure("point in time: recovered after", `${(performance.now() - began).toFixed(0)} ms`);
    const refused = await installation.serve().then(() => "", error => error.message);
    assert.match(refused, /or its database, is older than its witness/);
    assert.match(refused, /bailiwick witness accept/);
    const words = ["--json", "witness", "accept", "--data", installation.data, "--config", installation.configFile];
    const accepted = await runBinary([...words, "--reason", "the database was lost", "--yes"], { folder: installation.folder });
    assert.equal(accepted.code, 0, accepted.stderr);
    await installation.serve();
    assert.ok((await state()) < had, "the lost entries are not there");
    for (const [whose, token] of Object.entries({ worker: worker.token, early: early.task.token, late: late.task.token, after })) {
        assert.equal((await call(context, token)).status, 401, `the old token of ${whose}`);
    }
    const { items } = await installation.cli(["log", "tail", "--log", "state", "-n", "500", "--all-tenants"]);
    const raised = items.find(({ payload }) => payload?.command === "epoch.raise-floor");
    assert.match(raised.payload.reason, /^the database was lost \(accepted: witness\.older-folder\)$/);
    // The folder's decision log is the newest: nothing of it is lost, and its beginning is on record anew.
    assert.equal((await decisions(context)).begins, begins);
    assert.ok(items.some(({ leaf, payload }) => leaf.kind === "state.log.prune" && payload.actor === "system:witness"));
    await sound(installation.data);
    // Everything is suspended until somebody has looked: the kill after the point in time has to be made again.
    const task = id => installation.run(["task", "open", "--identity", id, "--purpose", "end-to-end test", "--for", "15m", "--can", "files:echo"]);
    const state_of = async id => (await installation.api("GET", `/v1/tenants/acme/identities/${id}`)).body.state;
    assert.deepEqual([await state_of(early.id), await state_of(late.id)], ["retired", "active"]);
    const frozen = (await installation.api("GET", "/v1/all-tenants/marks")).body.items;
    assert.ok(frozen.some(({ scope, effect }) => scope === "all" && effect === "suspend"));
    assert.notEqual((await task("worker")).code, 0, "frozen");
    await installation.kill("identity", late.id);
    await installation.cli(["resume", "all", "--reason", "looked at what was killed"], { tenant: null });
    for (const id of [early.id, late.id]) {
        assert.equal(await state_of(id), "retired");
        assert.notEqual((await task(id)).code, 0, "a killed identity gets nothing");
    }
    const fresh = await installation.openTask("worker", ["files:echo"]);
    assert.ok((await call(context, fresh.token)).result);
    assert.equal((await call(context, after)).status, 401);
    await installation.integrated();
    const pack = join(installation.folder, "last-pack");
    await installation.cli(["evidence", "pack", "--out", pack]);
    assert.equal((await runBinary(["verify", pack, ...context.keys, "--json"], { folder: "/" })).code, 0);
    await installation.restart();
    await sound(installation.data);
});

await run("retention", process.argv.slice(2));
