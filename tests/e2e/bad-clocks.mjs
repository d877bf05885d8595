// The real binary under clocks that jump by minutes and years (libfaketime on
// the wall clock; the monotonic one stays), and stopped for three times the
// freshness bound: nothing expired or killed is let through, time in the log
// never goes back, and service is back within a minute.
//
//   node bad-clocks.mjs [SUITE …]
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { clockOf, libfaketime } from "./lib/clock.mjs";
import { Desk } from "./lib/desk.mjs";
import { Installation } from "./lib/installation.mjs";
import { figure, run, suite, test } from "./lib/lane.mjs";
import { callTool } from "./lib/mcp.mjs";
import { decode } from "./lib/oauth.mjs";
import { until } from "./lib/wait.mjs";

const TTL_SECS = 4;
const BOUND_SECS = 2;
const BACK_MAX_MS = 60_000;
const YEAR_SECS = 365 * 86_400;
const configured = ttl => `[tokens]\nttl_secs = ${ttl}\n[freshness]\nrefuse_secs = ${BOUND_SECS}\n[telemetry]\nlevel = "warn"\n`;
const CAN = ["files:echo"];

/** An installation with tasks whose tokens live for a few seconds. */
class Bench {
    static async open(name, { env = () => ({}), ttl = TTL_SECS } = {}) {
        const bench = new Bench();
        bench.desk = await Desk.open();
        bench.installation = await Installation.start(name, { config: configured(ttl) });
        bench.env = env(bench.installation);
        await bench.installation.addHttpServer("files", bench.desk.url);
        for (const role of ["worker", "victim"]) {
            await bench.installation.addIdentity(role);
            bench[role] = await bench.installation.openTask(role, CAN, { window: "12h" });
        }
        await bench.installation.restart({ env: bench.env });
        return bench;
    }

    call(token, text = "a") {
        return callTool(this.installation.endpoint("files"), token, "echo", { text });
    }

    /** A new token of a task; `off` is how far the operator's clock is from ours. */
    async issue(task, off = 0) {
        const now = Math.floor(Date.now() / 1000) + off;
        const session = await this.installation.session({ iat: now, exp: now + 60 });
        return this.installation.api("POST", `/v1/tenants/acme/tasks/${task.id}/tokens`, { count: 1 }, { authorization: `Bearer ${session}` });
    }

    async token(task, off = 0) {
        const issued = await this.issue(task, off);
        assert.equal(issued.status, 200, issued.text);
        return issued.body.tokens[0].access_token;
    }

    async served(token, what) {
        const reply = await this.call(token, what);
        assert.ok(reply.result, `${what}: ${reply.text}`);
    }

    /** Never served: at first perhaps because the node knows that it heard nothing, then because the token is dead. */
    async dead(token, what) {
        const before = this.desk.calls.length;
        await until(`${what}: the token's own refusal`, async () => {
            const reply = await this.call(token, what);
            assert.equal(reply.result, undefined, `${what}: ${reply.text}`);
            return reply.status === 401;
        }, BACK_MAX_MS);
        assert.equal(this.desk.calls.length, before, what);
    }

    /** Entries of a log in order. */
    async entries(log) {
        const entries = [];
        for (;;) {
            const page = await this.installation.api("GET", `/v1/logs/${log}/entries?from=${entries.length}`);
            assert.equal(page.status, 200, page.text);
            if (page.body.items.length === 0) {
                return entries;
            }
            entries.push(...page.body.items);
        }
    }

    async stop() {
        await this.installation.stop();
        await this.desk.close();
    }
}

suite("stopped", () => Bench.open("stopped"));

test("after a stop of three times the freshness bound nothing expired or killed is let through", async bench => {
    const { installation, desk, worker, victim } = bench;
    const { pid } = installation.service;
    for (let n = 0; n < 2; n += 1) {
        const [expiring, killed] = [await bench.token(worker), await bench.token(victim)];
        await bench.served(expiring, "before");
        process.kill(pid, "SIGSTOP");
        // They arrive while the process is stopped, and are read when it goes on.
        const early = Array.from({ length: 8 }, () => bench.call(expiring, "stopped"));
        await sleep(Math.max(3 * BOUND_SECS, TTL_SECS + 1) * 1_000);
        const expired = decode(expiring).claims.exp * 1_000 < Date.now();
        assert.ok(expired);
        process.kill(pid, "SIGCONT");
        const resumed = Date.now();
        for (const reply of await Promise.all(early)) {
            assert.equal(reply.result, undefined, `served after its expiry: ${reply.text}`);
        }
        assert.ok(!desk.calls.some(call => call.args.text === "stopped"), "an expired token's call was forwarded");
        const fresh = await until("service after the stop", async () => {
            const issued = await bench.issue(worker);
            return issued.status === 200 && issued.body.tokens[0].access_token;
        }, BACK_MAX_MS);
        await until("a call after the stop", async () => (await bench.call(fresh)).result !== undefined, BACK_MAX_MS);
        figure(`stopped for ${3 * BOUND_SECS} s and more: service is back after`, `${Date.now() - resumed} ms`);
        await bench.dead(killed, "expired meanwhile");
    }
});

suite("stopped and killed", () => Bench.open("stopped-killed", { ttl: 3_600 }));

test("a kill before the stop holds behind it, and one that waits in the socket holds from its answer on", async bench => {
    const { installation, desk, worker, victim } = bench;
    const { pid } = installation.service;
    const token = await bench.token(victim);
    await bench.served(token, "before");
    process.kill(pid, "SIGSTOP");
    const killing = installation.api("POST", "/v1/tenants/acme/kill", { scope: "identity", name: "victim", reason: "stopped" });
    await sleep(3 * BOUND_SECS * 1_000);
    process.kill(pid, "SIGCONT");
    const killed = await killing;
    assert.equal(killed.status, 200, killed.text);
    await bench.dead(token, "killed");
    process.kill(pid, "SIGSTOP");
    const calls = Array.from({ length: 8 }, () => bench.call(token, "killed before the stop"));
    await sleep(3 * BOUND_SECS * 1_000);
    process.kill(pid, "SIGCONT");
    for (const reply of await Promise.all(calls)) {
        assert.equal(reply.result, undefined, reply.text);
    }
    assert.ok(!desk.calls.some(({ args }) => args.text === "killed before the stop"), "a killed call was forwarded");
    await bench.dead(token, "killed before the stop, later");
    await until("others to be served", async () => {
        const issued = await bench.issue(worker);
        return issued.status === 200 && (await bench.call(issued.body.tokens[0].access_token)).result !== undefined;
    }, BACK_MAX_MS);
});

suite("clock", async () => {
    let clock;
    libfaketime();
    const bench = await Bench.open("clock", { env: installation => (clock = clockOf(installation)).env });
    bench.set = clock.set;
    return bench;
});

test("a wall clock that falls back by minutes or ten years lets nothing live longer", async bench => {
    for (const back of ["-5m", "-10y"]) {
        const token = await bench.token(bench.worker);
        bench.set(back);
        await bench.served(token, back);
        await sleep((TTL_SECS + 1) * 1_000);
        await bench.dead(token, `${back}: expired`);
        await bench.served(await bench.token(bench.worker), `${back}: a new one`);
        bench.set("+0");
        await bench.dead(token, `${back} and forth: expired`);
        await bench.served(await bench.token(bench.worker), `${back} and forth`);
    }
});

test("a leap of ten years is refused with `clock.untrusted`, a kill works meanwhile, and it leaves no trace", async bench => {
    const { installation, desk, worker, victim } = bench;
    const [mine, theirs] = [await bench.token(worker), await bench.token(victim)];
    bench.set("+10y");
    const before = desk.calls.length;
    for (const token of [mine, theirs]) {
        const refused = await bench.call(token, "doubted");
        assert.equal(refused.error?.data?.code, "clock.untrusted", refused.text);
    }
    const issue = await bench.issue(worker);
    assert.deepEqual([issue.status, issue.body?.code], [503, "clock.untrusted"], issue.text);
    assert.equal(desk.calls.length, before);
    const killed = await installation.api("POST", "/v1/tenants/acme/kill", { scope: "identity", name: "victim", reason: "a leap" });
    assert.equal(killed.status, 200, killed.text);
    assert.equal((await installation.api("GET", "/v1/tenants/acme/identities")).status, 200, "reading works");
    const noted = await bench.entries("decisions");
    assert.ok(noted.filter(entry => JSON.stringify(entry.payload).includes("clock.untrusted")).length >= 3, "each refusal says why in the log");
    bench.set("+0");
    const healed = Date.now();
    await until("service after the leap", async () => (await bench.call(await bench.token(worker))).result !== undefined, BACK_MAX_MS);
    figure("clock: service is back after a leap that was an error", `${Date.now() - healed} ms`);
    await bench.dead(theirs, "killed meanwhile");
    assert.notEqual((await bench.issue(victim)).status, 200, "a killed identity was given a token");
});

test("a leap that lasts is the time within a minute, and what expired by it is dead", async bench => {
    const { worker } = bench;
    const token = await bench.token(worker);
    bench.set("+1h");
    const leapt = Date.now();
    let doubted = 0;
    const off = 3_600;
    await until("the leap to be the time", async () => {
        const reply = await bench.call(token, "leapt");
        assert.equal(reply.result, undefined, `served after its expiry: ${reply.text}`);
        doubted += reply.error?.data?.code === "clock.untrusted" ? 1 : 0;
        return (await bench.issue(worker, off)).status === 200;
    }, BACK_MAX_MS);
    figure("clock: a leap that lasts is the time after", `${Date.now() - leapt} ms`);
    assert.ok(doubted > 0, "it was never doubted");
    await bench.dead(token, "expired by the leap");
    await bench.served(await bench.token(worker, off), "after the leap");
    const ats = [...(await entriesAt(bench, "decisions", off)), Number.POSITIVE_INFINITY];
    assert.ok(ats.every((at, n) => n === 0 || ats[n - 1] <= at), "time in the log went back");
}, { max: 2 * BACK_MAX_MS });

/** When each entry was recorded, asked by an operator whose clock is `off`. */
async function entriesAt(bench, log, off) {
    const ats = [];
    for (;;) {
        const now = Math.floor(Date.now() / 1000) + off;
        const authorization = `Bearer ${await bench.installation.session({ iat: now, exp: now + 60 })}`;
        const page = await bench.installation.api("GET", `/v1/logs/${log}/entries?from=${ats.length}`, undefined, { authorization });
        assert.equal(page.status, 200, page.text);
        if (page.body.items.length === 0) {
            return ats;
        }
        ats.push(...page.body.items.map(entry => Number(entry.leaf.at)));
    }
}

test("a start with a clock far behind the last record is refused with both times and the way out, and recorded where it is accepted", async bench => {
    const { installation } = bench;
    // The clock of the suite is an hour ahead by now.
    const last = await bench.token(bench.worker, 3_600);
    await installation.service.stop();
    bench.set("-10y");
    await assert.rejects(installation.serve({ env: bench.env }), error => {
        assert.match(error.message, /the clock says 20\d\d-.*the last record is of 20\d\d-.*set the clock/s);
        assert.match(error.message, /danger_clock_set_back/);
        return true;
    });
    await installation.serve({ env: { ...bench.env, BAILIWICK_DANGER_CLOCK_SET_BACK: "true" } });
    const off = -10 * YEAR_SECS;
    const now = Math.floor(Date.now() / 1000) + off;
    const authorization = `Bearer ${await installation.session({ iat: now, exp: now + 60 })}`;
    const page = await installation.api("GET", "/v1/logs/state/entries?from=0", undefined, { authorization });
    assert.equal(page.status, 200, page.text);
    const raised = page.body.items.filter(entry => entry.leaf.kind === "state.epoch.raise-floor");
    assert.equal(raised.length, 1, "it is not recorded once");
    assert.match(raised[0].payload.reason, /the clock was set back to 20\d\d-.*the last record is of 20\d\d-/);
    await bench.dead(last, "issued in a time that has not come yet");
});

await run("bad clocks", process.argv.slice(2));
