// Kills under load on one node or on several, with a sidecar (lib/pressing.mjs): every kill's
// receipt against what its callers were told and the upstream server saw, and
// no call let through that began after the kill was acknowledged.
//
//   node kills.mjs [--runs 40] [--seed 1] [--nodes 1] [--together 8] [--results FILE] [--commit HASH]
//
// Several nodes want PostgreSQL: the one of BAILIWICK_TEST_POSTGRES, or one of
// their own from the machine's programs.
import { execFileSync } from "node:child_process";
import { appendFileSync } from "node:fs";
import { parseArguments } from "../interop/lib/cli.mjs";
import { BINARY } from "./lib/installation.mjs";
import { Pressing, histogram, spread } from "./lib/pressing.mjs";
import { alone, several } from "./lib/site.mjs";

const { options } = parseArguments(process.argv.slice(2), {
    runs: "40",
    seed: "1",
    nodes: "1",
    together: "8",
    results: undefined,
    commit: undefined
});
const [runs, seed, nodes] = [Number(options.runs), Number(options.seed), Number(options.nodes)];
const EVERY = 50;

const began = Date.now();
const place = nodes === 1 ? await alone("kills", { sidecar: true }) : await several("kills", nodes, { sidecar: true });
const pressing = new Pressing({ ...place, seed, together: Number(options.together) });
let sound = false;
try {
    await pressing.open();
    await pressing.run(runs, (done, problems) => {
        if (done % EVERY === 0) {
            console.log(`  ${done} of ${runs} killed, ${problems} problems, ${((Date.now() - began) / 1_000).toFixed(0)} s`);
        }
    });
    sound = await place.sound(pressing.decided);
    if (!sound) {
        pressing.problems.push("the logs do not verify, or the sidecar's does not hold what it told");
    }
} finally {
    await place.stop().catch(error => console.error(String(error)));
}

const { problems, tried, late, lapsed, readings, refusals } = pressing;
if (late === 0) {
    problems.push("no call began after a kill: nothing was shown");
}
problems.slice(0, 20).forEach(each => console.error(each));
const doors = Object.entries(refusals).map(([door, figures]) => `${door} ${spread(figures)}`);
const figures = [
    `${runs} kills, ${tried} calls, ${late} of them began after a kill was acknowledged, the sidecar lapsed at ${lapsed}`,
    `µs p50/p99/max: in memory ${spread(readings.denied)}, committed ${spread(readings.committed)}`,
    `committed to contained ${spread(readings.contained)}`,
    `histogram of pressed to committed: ${histogram(readings.committed)}`,
    `histogram of committed to contained: ${histogram(readings.contained)}`,
    `first refusal ${doors.join(", ")}`
].join("; ");
console.log(`  seed ${seed}, ${nodes} node(s): ${figures}`);
console.log(`  ${((Date.now() - began) / 1_000).toFixed(0)} s in all`);
if (options.results !== undefined) {
    const commit = options.commit ?? execFileSync("git", ["rev-parse", "--short=12", "HEAD"], { cwd: import.meta.dirname, encoding: "utf8" }).trim();
    const build = BINARY.includes("/release/") ? "release" : "debug";
    const outcome = problems.length === 0 ? "none was let through, every receipt is what was seen" : `FAILED: ${problems.length}, first ${problems[0].split("\n")[0].replaceAll("|", "/")}`;
    appendFileSync(options.results, `| ${new Date().toISOString().slice(0, 10)} | ${commit} | ${build}, kills on ${nodes} node(s) | ${seed} | ${runs} | ${figures} | ${outcome} |\n`);
}
console.log(`kills: ${problems.length === 0 ? "1 passed, 0 failed" : "0 passed, 1 failed"}`);
process.exit(problems.length === 0 ? 0 : 1);
