// Schedules of bad days with kills among them, under load, on the real binary
// with a freshness bound of one second: what an observer outside saw is judged
// by lib/history.mjs, which is itself judged by planted violations first.
//
//   node schedules.mjs [--runs 10] [--seed 1] [--results FILE] [--commit HASH]
//
// Schedule N of seed S is that of the seed S * 100000 + N, alone or among others.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArguments } from "../interop/lib/cli.mjs";
import { libfaketime } from "./lib/clock.mjs";
import { BOUND_MS, daysOf } from "./lib/day.mjs";
import { Ground } from "./lib/ground.mjs";
import { judge } from "./lib/history.mjs";
import { PLANTED, sound } from "./lib/history.planted.mjs";
import { figure, run, skip, suite, test } from "./lib/lane.mjs";
import { append } from "./lib/results.mjs";
import { isServed } from "./lib/template.mjs";
import { seeded, until } from "./lib/wait.mjs";

const ENGINES = ["sqlite", "postgres"];
const VICTIMS = ["first", "second", "third"];
const ROLES = ["worker", "helper", ...VICTIMS];
const DAYS = 3;
const PACE_MS = 15;
/** What a kill says of itself that is not committed now: it holds here alone, or was committed when nobody heard. */
const SAID = { "identity.retired": "committed", "kill.local-only": "local", "kill.memory-only": "memory" };
const QUIET_MAX_MS = 30_000;
const RUN_MAX_MS = 120_000;
const { options } = parseArguments(process.argv.slice(2), { runs: "10", seed: "1", results: undefined, commit: undefined });
const runs = Number(options.runs);

suite("the judge", () => Promise.resolve({}));

test("a sound history is sound, and each planted violation is found by its own words", () => {
    assert.deepEqual(judge(sound()), []);
    for (const { name, plant, words } of PLANTED) {
        const history = sound();
        plant(history);
        assert.match(judge(history).join("; "), words, name);
    }
    return Promise.resolve();
});

const now = () => performance.now();

/** One schedule: its load, its days, its kills, and what was seen. */
class Schedule {
    constructor(ground, seed) {
        Object.assign(this, { ground, seed, random: seeded(seed), going: true, days: [] });
        this.arrivedBefore = ground.desk.calls.length;
        this.history = { calls: [], kills: [], asked: [], opened: [] };
    }

    #node() {
        const { nodes } = this.ground;
        return nodes[Math.floor(this.random() * nodes.length)];
    }

    async #call(agent, text, node = this.#node()) {
        const { ground } = this;
        const call = { agent, node: node.name, text, sent: now(), answered: Number.POSITIVE_INFINITY, served: false };
        this.history.calls.push(call);
        const reply = await ground.call(node, ground.agents[agent], text).catch(() => undefined);
        if (reply !== undefined) {
            Object.assign(call, { answered: now(), served: isServed(reply) });
        }
        return call;
    }

    async #calling(agent) {
        for (let n = 0; this.going; n += 1) {
            await this.#call(agent, `${this.seed}-${agent}-${n}`);
            await sleep(PACE_MS * (0.5 + this.random()));
        }
    }

    async #asking() {
        const { ground, history } = this;
        while (this.going) {
            const answer = await ground.evaluate(this.#node(), ground.agents.worker);
            if (answer?.status === 200) {
                history.asked.push({ decision: answer.body.context.evaluation_id });
            }
            await sleep(3 * PACE_MS);
        }
    }

    async #opening() {
        const { ground, history } = this;
        while (this.going) {
            const wanted = { identity: ground.agents.helper.id, purpose: `schedule ${this.seed}`, can: ["files:echo"], for_secs: 3_600, issue: false };
            const opened = await ground.operator(this.#node(), "POST", "/v1/tenants/acme/tasks", wanted);
            if (opened?.status < 300) {
                history.opened.push({ task: opened.body.task.id });
            }
            await sleep(20 * PACE_MS);
        }
    }

    /** An operator who repeats the command, perhaps at another node, until it is committed. */
    async #kill(agent) {
        const { ground, history } = this;
        await sleep(this.random() * DAYS * 2 * BOUND_MS);
        const headers = { "idempotency-key": `schedule-${this.seed}-${agent}` };
        for (let said = "none"; said !== "committed"; ) {
            const node = this.#node();
            const body = { scope: "identity", name: ground.agents[agent].id, reason: `schedule ${this.seed}` };
            const answer = await ground.operator(node, "POST", "/v1/tenants/acme/kill", body, headers);
            said = answer?.status === 200 ? "committed" : (SAID[answer?.body?.code] ?? "none");
            history.kills.push({ agent, identity: body.name, node: node.name, answered: now(), said, contained: Number.isInteger(answer?.body?.contained_us) });
            await sleep(100);
        }
    }

    async run(days) {
        const { ground } = this;
        ground.restore();
        await ground.serve();
        const load = [...ROLES.map(agent => this.#calling(agent)), this.#asking(), this.#opening()];
        const kills = VICTIMS.map(agent => this.#kill(agent));
        try {
            for (let n = 0; n < DAYS; n += 1) {
                const [name, day] = days[Math.floor(this.random() * days.length)];
                this.days.push(name);
                await day(ground, this.random);
                await sleep(this.random() * 500);
            }
            await Promise.all(kills);
        } finally {
            this.going = false;
            await Promise.allSettled(load);
        }
        await this.#quiet();
    }

    /** On a quiet day everything is as it was acknowledged. */
    async #quiet() {
        const { ground, history } = this;
        const [first] = ground.nodes;
        ground.mend();
        await ground.end();
        await ground.serve();
        for (const node of ground.nodes) {
            await until(`service of ${node.name} on a quiet day`, async () => (await this.#call("worker", `${this.seed}-quiet-${history.calls.length}`, node)).served, QUIET_MAX_MS);
        }
        await until("the kills in the state log", async () => {
            const states = await Promise.all(VICTIMS.map(agent => ground.operator(first, "GET", `/v1/tenants/acme/identities/${ground.agents[agent].id}`)));
            return states.every(answer => answer?.body?.state === "retired");
        }, QUIET_MAX_MS);
        await Promise.all(VICTIMS.flatMap(agent => ground.nodes.map(node => this.#call(agent, `${this.seed}-${agent}-last-${node.name}`, node))));
        const logs = await Promise.all(ground.nodes.map(async node => [node.name, await ground.entries(node, "decisions")]));
        history.decisions = Object.fromEntries(logs);
        history.state = await ground.entries(first, "state");
        history.arrivals = ground.desk.calls.slice(this.arrivedBefore).map(({ args }) => ({ text: args.text }));
        await ground.end();
        history.unsound = await ground.unsound();
    }
}

/** What all schedules came to. */
const sum = { calls: 0, served: 0, kills: { committed: 0, contained: 0, local: 0, memory: 0, none: 0 }, days: {}, failures: [] };

function note(schedule) {
    const { history } = schedule;
    sum.calls += history.calls.length;
    sum.served += history.calls.filter(({ served }) => served).length;
    for (const { said, contained } of history.kills) {
        sum.kills[said] += 1;
        sum.kills.contained += contained ? 1 : 0;
    }
    for (const day of schedule.days) {
        sum.days[day] = (sum.days[day] ?? 0) + 1;
    }
}

/** The schedules of an engine: every second one. */
const own = engine => Array.from({ length: runs }, (_, n) => n).filter(n => n % ENGINES.length === ENGINES.indexOf(engine));

async function open(engine) {
    libfaketime();
    try {
        execFileSync("strace", ["-V"], { stdio: "ignore" });
    } catch {
        skip("no `strace` on the PATH");
    }
    return Ground.open(engine, ROLES);
}

async function schedules(ground, engine) {
    const failures = [];
    for (const n of own(engine)) {
        const seed = Number(options.seed) * 100_000 + n;
        const schedule = new Schedule(ground, seed);
        let said;
        try {
            await schedule.run(daysOf(engine));
            said = judge(schedule.history);
        } catch (error) {
            said = [`${error.stack}`];
            await ground.end("SIGKILL");
        }
        note(schedule);
        if (said.length > 0) {
            failures.push(`${engine}, seed ${seed} (${schedule.days.join(", ")}): ${said.slice(0, 3).join("; ")}`);
            console.error(`    ${failures.at(-1)}\n    ${ground.nodes.map(({ installation }) => installation.service?.text.slice(-1_200)).join("\n    ")}`);
        }
    }
    sum.failures.push(...failures);
    assert.deepEqual(failures, []);
}

suite("schedules on sqlite", () => open("sqlite"));

test("whatever day comes over sqlite, nothing is accepted after the acknowledgement and nothing acknowledged is lost", ground => schedules(ground, "sqlite"), { max: runs * RUN_MAX_MS });

suite("schedules on postgres", () => open("postgres"));

test("whatever day comes over postgres, nothing is accepted after the acknowledgement and nothing acknowledged is lost", ground => schedules(ground, "postgres"), { max: runs * RUN_MAX_MS });

suite("results", () => Promise.resolve({}), { alone: true });

test("the schedules are summed up", () => {
    const { calls, served, kills, days, failures } = sum;
    const figures = `schedules: ${runs}, days ${JSON.stringify(days)}, ${calls} calls, ${served} served, kills answered ${JSON.stringify(kills)}`;
    figure(`schedules, seed ${options.seed}`, figures);
    const outcome = failures.length === 0 ? "nothing accepted after the acknowledgement, nothing acknowledged lost, all logs verify" : `FAILED: ${failures[0]}`;
    append(options.results, { commit: options.commit, note: ", schedules", seed: options.seed, count: runs, figures, outcome });
    assert.ok(calls > 0 && served > 0 && kills.committed > 0, figures);
    return Promise.resolve();
});

await run("schedules");
