// Durability: the process is killed with SIGKILL again and again under many
// callers; afterwards three lists must agree (../interop/three_lists.py).
//
//   node durability.mjs [--lives 12] [--seed 1] [--callers 64] [--min 50] [--max 500]
//                       [--median-min 20] [--results FILE] [--commit HASH] [--keep]
//
// A life is timed from its first acknowledgement. `--results` appends one line
// with seed, lives, commit and what was found.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { appendFileSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArguments } from "../interop/lib/cli.mjs";
import { BINARY, environment, Installation, runBinary } from "./lib/installation.mjs";
import { seeded } from "./lib/wait.mjs";

const INTEROP = join(import.meta.dirname, "../interop");
const { options } = parseArguments(process.argv.slice(2), {
    lives: "12",
    seed: "1",
    callers: "64",
    min: "50",
    max: "500",
    "median-min": "20",
    results: undefined,
    commit: undefined,
    note: ""
});
const lives = Number(options.lives);
const random = seeded(Number(options.seed));
const TTL_SECS = 3_600;
const VERIFY_EVERY = 5;
const CONFIG = `[tokens]\nttl_secs = ${TTL_SECS}\n[telemetry]\nlevel = "warn"\n`;

/** Lines of a child, one at a time. */
function lineReader(child) {
    const reader = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    return async () => {
        const { value, done } = await reader.next();
        if (done) {
            throw new Error("a program of the run ended early");
        }
        return JSON.parse(value);
    };
}

const installation = await Installation.start("durability", { config: CONFIG });
const { folder } = installation;
const file = name => join(folder, name);
const children = [];
const start = (script, args) => {
    const child = spawn(process.execPath, [join(INTEROP, script), ...args], { stdio: ["ignore", "pipe", "inherit"], env: environment(folder) });
    children.push(child);
    return lineReader(child);
};

const broken = [];
let verdict;
let refusals = {};
const startTimes = [];
const began = Date.now();
try {
    const upstream = await start("upstream.mjs", ["--received", file("received.jsonl")])();
    await installation.addHttpServer("recorder", upstream.url);
    await installation.addIdentity("caller", { kind: "workload" });
    const task = await installation.openTask("caller", ["recorder:record"], { window: "12h" });
    let issued = Date.now();
    writeFileSync(file("url"), installation.endpoint("recorder"));
    const words = ["--url-file", file("url"), "--token-file", task.tokenFile, "--acks", file("acks.jsonl"), "--lives", options.lives, "--callers", options.callers];
    const next = start("callers.mjs", words);
    for (let life = 0; life < lives; life += 1) {
        let event;
        do {
            event = await next();
            if (event.event === "ended") {
                throw new Error(`life ${life} ended before it was killed: ${JSON.stringify(event)}`);
            }
        } while (event.event !== "running");
        await sleep(Number(options.min) + random() * (Number(options.max) - Number(options.min)));
        await installation.service.stop("SIGKILL");
        // What the dead process left is a whole log under a signed checkpoint, whatever it was doing.
        if (life % VERIFY_EVERY === 0) {
            const left = await runBinary(["--json", "log", "verify", "--data", installation.data], { folder });
            if (left.code !== 0) {
                broken.push(`life ${life}: what the crash left does not verify: ${left.stdout}`);
            }
        }
        const ended = await next();
        for (const [reason, count] of Object.entries(ended.refusals)) {
            refusals[reason] = (refusals[reason] ?? 0) + count;
        }
        const restarted = Date.now();
        await installation.serve();
        startTimes.push(Date.now() - restarted);
        if (Date.now() - issued > (TTL_SECS * 1000) / 2) {
            await installation.cli(["task", "token", task.id, "--token-file", task.tokenFile], { json: false }).catch(() => {});
            issued = Date.now();
        }
    }
    const exported = await installation.export();
    const python = existsSync(join(INTEROP, ".venv/bin/python")) ? join(INTEROP, ".venv/bin/python") : "python3";
    const decisions = join(exported, "decisions");
    const compared = spawnSync(
        python,
        [
            join(INTEROP, "three_lists.py"),
            ...["--acks", file("acks.jsonl"), "--received", file("received.jsonl")],
            ...["--tiles", decisions, "--openings", join(decisions, "openings.jsonl")],
            ...["--decision-field", "decision", "--args-field", "argument_digest", "--effect-field", "effect"],
            ...["--lives-min", options.lives, "--median-min", options["median-min"]]
        ],
        { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 }
    );
    process.stderr.write(compared.stderr);
    verdict = compared.status === 2 ? { ok: false, problems: ["a list cannot be read"] } : JSON.parse(compared.stdout);
    if (broken.length > 0) {
        verdict.ok = false;
        verdict.problems.push(...broken);
        broken.forEach(each => console.error(each));
    }
    const { sound } = await installation.cli(["log", "verify"]);
    if (!sound) {
        verdict.ok = false;
        verdict.problems.push("the logs do not verify");
    }
} finally {
    children.forEach(child => child.kill("SIGKILL"));
    await installation.stop().catch(error => console.error(String(error)));
}

startTimes.sort((a, b) => a - b);
const commit = options.commit ?? execFileSync("git", ["rev-parse", "--short=12", "HEAD"], { cwd: import.meta.dirname, encoding: "utf8" }).trim();
const figures = `${verdict.lives} lives, ${verdict.acknowledged} acknowledged, ${verdict.received} received, ${verdict.permits} permits in the log, median ${verdict.median_per_life} per life`;
console.log(`  seed ${options.seed}: ${figures}`);
console.log(`  permitted but not received ${verdict.permitted_not_received}, received but not acknowledged ${verdict.received_not_acknowledged}`);
console.log(`  restart until ready: median ${startTimes[Math.floor(startTimes.length / 2)]} ms; ${((Date.now() - began) / 1000).toFixed(0)} s in all`);
if (Object.keys(refusals).length > 0) {
    console.log(`  refusals: ${JSON.stringify(refusals)}`);
}
if (options.results !== undefined) {
    const outcome = verdict.ok ? "all lists agree" : `FAILED: ${verdict.problems[0]}`;
    const build = BINARY.includes("/release/") ? "release" : BINARY.includes("/planted") ? "planted" : "debug";
    appendFileSync(options.results, `| ${new Date().toISOString().slice(0, 10)} | ${commit} | ${build}${options.note} | ${options.seed} | ${lives} | ${figures} | ${outcome} |\n`);
}
console.log(`durability: ${verdict.ok ? "1 passed, 0 failed" : "0 passed, 1 failed"}`);
process.exit(verdict.ok ? 0 : 1);
