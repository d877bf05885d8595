// The authorization server scenarios of the pinned conformance suite against a
// running installation. A person is needed in between: `agree` is called with
// the link that the suite prints.
//
// Fails on a scenario that fails or warns and is not listed in
// authorization-expected-failures.json, on one that did not run, and on a
// listed one that passes.
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const SUITE = join(import.meta.dirname, "../../tests/interop/node_modules/@modelcontextprotocol/conformance");
/** Every scenario that the suite has for authorization servers. */
const SCENARIOS = ["authorization-code-grant", "authorization-server-metadata-endpoint"];
const RUN_MAX_MS = 120_000;

/** A port that was free a moment ago; the suite wants to be told one. */
export async function freePort() {
    const server = createServer();
    await new Promise(done => server.listen(0, "127.0.0.1", done));
    const { port } = server.address();
    await new Promise(done => server.close(done));
    return port;
}

/** The checks that the suite wrote, by scenario. */
function readRun(folder) {
    const found = new Map();
    for (const name of readdirSync(folder, { recursive: true })) {
        if (!name.endsWith("checks.json")) {
            continue;
        }
        const scenario = SCENARIOS.find(known => name.includes(known));
        found.set(scenario ?? name, JSON.parse(readFileSync(join(folder, name), "utf8")));
    }
    return found;
}

/** What is wrong with a run, in sentences; none when it is as expected. */
export function judge(found, expected) {
    const problems = [];
    for (const scenario of SCENARIOS) {
        const checks = found.get(scenario) ?? [];
        const bad = checks.filter(check => check.status !== "SUCCESS" && check.status !== "INFO");
        const listed = expected[scenario];
        if (checks.length === 0) {
            problems.push(`${scenario}: did not run`);
        } else if (listed === undefined) {
            problems.push(...bad.map(check => `${scenario}: ${check.id} ${check.status}: ${check.errorMessage ?? ""}`));
        } else if (bad.length === 0) {
            problems.push(`${scenario}: is listed as failing and passes: take it off the list`);
        }
    }
    problems.push(...[...found.keys()].filter(name => !SCENARIOS.includes(name)).map(name => `${name}: ran, and is not known here`));
    problems.push(...Object.keys(expected).filter(name => !SCENARIOS.includes(name)).map(name => `${name}: listed, and no scenario of the suite`));
    return problems;
}

/** Runs every scenario; gives what is wrong. */
export async function runAuthorization({ issuer, clientId, resource, port, agree }) {
    const folder = mkdtempSync(join(tmpdir(), "bailiwick-authorization-"));
    const argv = [join(SUITE, "dist/index.js"), "authorization", "--url", issuer, "--client-id", clientId];
    const child = spawn(process.execPath, [...argv, "--resource", resource, "--port", `${port}`, "-o", folder], {
        stdio: ["ignore", "pipe", "pipe"]
    });
    const guard = setTimeout(() => child.kill("SIGKILL"), RUN_MAX_MS);
    const lines = [];
    const agreed = [];
    createInterface({ input: child.stderr }).on("line", line => lines.push(line));
    createInterface({ input: child.stdout }).on("line", line => {
        lines.push(line);
        if (line.startsWith(`${issuer}/authorize?`)) {
            agreed.push(agree(line.trim()).catch(error => lines.push(`agree: ${error.stack}`)));
        }
    });
    await new Promise(done => child.on("close", done));
    clearTimeout(guard);
    await Promise.all(agreed);
    const expected = JSON.parse(readFileSync(join(import.meta.dirname, "authorization-expected-failures.json"), "utf8"));
    const found = readRun(folder);
    const problems = judge(found, expected);
    const passed = [...found.values()].flat().filter(check => check.status === "SUCCESS").length;
    console.log(`  authorization server scenarios: ${SCENARIOS.length - problems.length}/${SCENARIOS.length}, checks passed: ${passed}`);
    if (problems.length > 0) {
        console.error(lines.join("\n"));
    }
    return problems;
}
