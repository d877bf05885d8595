// The real binary on a disk that fails: `strace` lets one chosen call of one
// file go wrong (SQLite's files too), and afterwards, on a good disk, nothing
// was forwarded without a record and nothing acknowledged is lost.
//
//   node disk-faults.mjs [--runs 20] [--seed 1] [--results FILE] [--commit HASH]
//
// A run without a fault shows which calls there are: of each thread, each
// file, each kind. The seed draws from them, and draws the fault; two
// installations take turns. With ENOSPC from some call on, a kill and a
// revocation have to be durable all the same, but where it is the journal of
// kills itself, whose room is taken beforehand. A short write
// is one that wrote nothing and says so, because strace keeps the call itself
// from happening; halves are written in the tests of the logs themselves.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { parseArguments } from "../interop/lib/cli.mjs";
import { figure, run, skip, suite, test } from "./lib/lane.mjs";
import { append } from "./lib/results.mjs";
import { Template } from "./lib/template.mjs";
import { seeded } from "./lib/wait.mjs";

const CALLS = ["pwrite64", "write", "fdatasync", "fsync", "rename", "renameat", "renameat2", "ftruncate", "fallocate", "openat", "mkdir", "unlink"];
const WRITES = ["pwrite64", "write"];
const NEED_SPACE = [...WRITES, "rename", "renameat", "renameat2", "ftruncate", "fallocate", "openat", "mkdir"];
const SLOW_US = 400_000;
const RUN_MAX_MS = 60_000;
const AT_ONCE = 2;
const KILL_JOURNAL = "kill.journal";
const { options } = parseArguments(process.argv.slice(2), { runs: "20", seed: "1", results: undefined, commit: undefined });
const runs = Number(options.runs);
const random = seeded(Number(options.seed));
const pick = list => list[Math.floor(random() * list.length)];

/** How a call of this kind can go wrong at its N-th time; `+` is from then on. */
function faultsOf(name) {
    const faults = ["error=EIO:when=N", "error=EIO:when=N+", `delay_enter=${SLOW_US}:when=N`];
    if (NEED_SPACE.includes(name)) {
        faults.push("error=ENOSPC:when=N", "error=ENOSPC:when=N+");
    }
    if (WRITES.includes(name)) {
        faults.push("retval=0:when=N");
    }
    return faults;
}

const strace = (file, names, more) => ["strace", "-D", "-f", "-yy", "-s", "0", "-e", `trace=${names.map(name => `?${name}`).join(",")}`, "-e", "signal=none", ...more, "-o", file];

/** Every call of a trace that is about a file below `data`: what, which file, the how manyth time in its thread. */
function pointsOf(trace, data) {
    const counted = new Map();
    const points = [];
    for (const line of readFileSync(trace, "latin1").split("\n")) {
        const [, thread, name, rest] = /^(\d+)\s+(\w+)\((.*)$/.exec(line) ?? [];
        const paths = [...(rest ?? "").matchAll(/[<"](\/[^>"]*)[>"]/g)].map(([, path]) => path);
        const path = paths.filter(each => each.startsWith(`${data}/`) && !each.endsWith(".sock")).at(-1);
        if (path === undefined) {
            continue;
        }
        const key = `${thread} ${name} ${path}`;
        const nth = (counted.get(key) ?? 0) + 1;
        counted.set(key, nth);
        points.push({ name, path: relative(data, path), nth });
    }
    return points;
}

class Bench {
    static async open() {
        try {
            execFileSync("strace", ["-V"], { stdio: "ignore" });
        } catch {
            skip("no `strace` on the PATH");
        }
        const bench = new Bench();
        bench.template = await Template.prepare("disk-faults");
        bench.installation = bench.template.installation;
        bench.trace = join(bench.installation.folder, "trace");
        return bench;
    }

    end(signal = "SIGTERM") {
        return this.installation.service.stop(signal).catch(() => {});
    }

    /** The calls of a run without a fault. */
    async points() {
        this.template.restore();
        await this.installation.serve({ wrapper: strace(this.trace, CALLS, []) });
        const starting = pointsOf(this.trace, this.installation.data).length;
        const told = await this.template.work("no fault");
        await this.end();
        await this.installation.serve();
        await this.template.check(told);
        await this.end();
        return { told, starting, points: pointsOf(this.trace, this.installation.data) };
    }

    /** Starts and works with one fault, ends by signal or kill, and looks at what is left on a good disk. */
    async attempt({ mark, point, fault, signal }, counts) {
        this.template.restore();
        rmSync(this.trace, { force: true });
        let told;
        const words = ["-P", join(this.installation.data, point.path), "-e", `inject=${point.name}:${fault}`];
        try {
            await this.installation.serve({ wrapper: strace(this.trace, [point.name], words) });
            told = await this.template.work(mark);
        } catch (error) {
            if (error instanceof assert.AssertionError || /\bstrace: /.test(error.message)) {
                throw error;
            }
            // It did not start, or it ended: nobody was told anything, and nothing old may be lost.
            counts.ended += 1;
        }
        if (told !== undefined && fault.startsWith("error=ENOSPC") && !point.path.includes(KILL_JOURNAL)) {
            assert.deepEqual(told.dead, ["kill", "revoke"], `${mark}: without room: ${JSON.stringify(told.said)}`);
        }
        await this.end(signal);
        await this.installation.serve();
        await this.template.check(told ?? this.template.nothing(mark));
        await this.end();
        await this.template.verify(mark);
        this.#count(told, counts);
    }

    #count(told, counts) {
        counts.met += existsSync(this.trace) && /INJECTED|DELAYED/.test(readFileSync(this.trace, "latin1")) ? 1 : 0;
        counts.committed += told?.said.kill === 200 ? 1 : 0;
        counts.local += told?.said.kill === "kill.local-only" ? 1 : 0;
        counts.memory += told?.said.kill === "kill.memory-only" ? 1 : 0;
        counts.unrecorded += told?.said.call === "record.unavailable" ? 1 : 0;
    }

    async stop() {
        await this.end("SIGKILL");
        await this.template.end();
    }
}

suite("disk faults", async () => {
    const benches = await Promise.all(Array.from({ length: AT_ONCE }, () => Bench.open()));
    return { benches, stop: () => Promise.all(benches.map(bench => bench.stop())) };
}, { alone: true });

test("without a fault everything is done, and the calls of every file are known", async context => {
    const { told, starting, points } = await context.benches[0].points();
    assert.deepEqual(told.dead, ["kill", "revoke"], JSON.stringify(told.said));
    assert.equal(told.served.length, 3, JSON.stringify(told.said));
    assert.equal(told.decisions.length, 1, JSON.stringify(told.said));
    assert.ok(told.task !== undefined && told.jti !== undefined, JSON.stringify(told.said));
    for (const part of [KILL_JOURNAL, "state.db-wal", "log/decisions/segments/", "log/state/"]) {
        assert.ok(points.some(({ path }) => path.includes(part)), `no call on ${part}`);
    }
    context.known = [points.slice(0, starting), points.slice(starting)].map(sorted);
    context.calls = points.length;
});

/** By what a file is for, then by call: the journal of kills is as likely as all tiles, and a rename as likely as one of a thousand writes. */
function sorted(points) {
    const files = Map.groupBy(points, ({ path }) => /^(kill\.journal|state\.db|log\/\w+\/segments|log\/\w+|[^/]+)/.exec(path)?.[0]);
    return [...files.values()].map(some => [...Map.groupBy(some, ({ name }) => name).values()]);
}

/**
 * What goes wrong in each run: in every third while it starts, in the others while it works. A thread may do a little
 * less than it did without a fault, so it is one of the calls up to the one that is drawn.
 */
function drawn([starting, working]) {
    return Array.from({ length: runs }, (_, at) => {
        const calls = pick(pick(at % 3 === 0 ? starting : working));
        const point = pick(calls);
        const first = Math.min(...calls.filter(({ path }) => path === point.path).map(({ nth }) => nth));
        const nth = first + Math.floor(random() * (point.nth - first + 1));
        return { point, fault: pick(faultsOf(point.name)).replace("when=N", `when=${nth}`), signal: pick(["SIGTERM", "SIGKILL"]) };
    });
}

test("whichever call fails, nothing is forwarded without a record and nothing acknowledged is lost", async ({ benches, known, calls }) => {
    const began = Date.now();
    const counts = { met: 0, ended: 0, committed: 0, local: 0, memory: 0, unrecorded: 0 };
    const failures = [];
    const waiting = drawn(known).map((each, at) => ({ ...each, mark: `${at}: ${each.fault} at ${each.point.name} of ${each.point.path}` }));
    const work = async bench => {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
            try {
                await bench.attempt(next, counts);
            } catch (error) {
                failures.push(`${next.mark}: ${error.message}`);
                console.error(`    ${failures.at(-1)}\n    ${bench.installation.service.text.slice(-800)}`);
                await bench.end("SIGKILL");
            }
        }
    };
    await Promise.all(benches.map(work));
    const { met, ended, committed, local, memory, unrecorded } = counts;
    const figures = `${runs} faults drawn from ${calls} calls of ${known.flat(2).length} sorts, ${met} met, ${ended} starts refused or services ended, kills: ${committed} committed, ${local} local, ${memory} in memory; runs with calls refused without a record: ${unrecorded}`;
    figure(`disk faults, seed ${options.seed}`, `${figures}; ${((Date.now() - began) / 1000).toFixed(0)} s`);
    const outcome = failures.length === 0 ? "no act without record, nothing acknowledged lost" : `FAILED: ${failures[0]}`;
    append(options.results, { commit: options.commit, note: ", strace", seed: options.seed, count: runs, figures, outcome });
    assert.deepEqual(failures, []);
    assert.ok(met * 2 >= runs, `only ${met} of ${runs} faults were met`);
}, { max: runs * RUN_MAX_MS });

await run("disk faults");
