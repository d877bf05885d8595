// Reads what the suite wrote and judges it. Pure but for the reading.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The frozen requirement sets and how many server scenarios each one scores. */
const SCORED = { "2026-07-28": 37, "2025-11-25": 30 };
export const SETS = Object.keys(SCORED);
const SCHEMA_CHECK = "wire-schema-valid";

/**
 * The server scenarios of one set, from the suite's own requirements file:
 * a top-level `server:` list of names, and `not_scored:` entries of which we
 * want those with `leg: server`.
 */
export function requirementSet(suite, set) {
    const scored = [];
    const unscored = [];
    let section = "";
    let entry;
    for (const line of readFileSync(join(suite, "requirements", `${set}.yaml`), "utf8").split("\n")) {
        const heading = /^([a-z_]+):\s*$/.exec(line);
        const item = /^ {2}- (?:scenario: )?(\S+)\s*$/.exec(line);
        const leg = /^ {4}leg: (\S+)\s*$/.exec(line);
        if (heading) {
            section = heading[1];
        } else if (item && section === "server") {
            scored.push(item[1]);
        } else if (item && section === "not_scored") {
            entry = item[1];
        } else if (leg && section === "not_scored" && leg[1] === "server") {
            unscored.push(entry);
        }
    }
    return { scored, unscored };
}

/**
 * One run's checks by scenario. A folder is called
 * `server-<scenario>-<time stamp>` and holds `checks.json`.
 * @returns {Map<string, Array<{ key: string, status: string, message?: string }>>}
 */
export function readRun(folder) {
    const scenarios = new Map();
    for (const name of readdirSync(folder)) {
        const file = join(folder, name, "checks.json");
        const scenario = /^server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z$/.exec(name)?.[1];
        if (scenario === undefined || !existsSync(file)) {
            continue;
        }
        const seen = new Map();
        const checks = JSON.parse(readFileSync(file, "utf8")).map(({ id, name: title, status, errorMessage }) => {
            // The same check may be made several times in one scenario.
            const base = `${id}/${title}`;
            const count = (seen.get(base) ?? 0) + 1;
            seen.set(base, count);
            return { id, key: `${base}#${count}`, status, message: errorMessage };
        });
        scenarios.set(scenario, checks);
    }
    return scenarios;
}

const bad = check => check.status === "FAILURE" || check.status === "WARNING";
const passes = checks => checks.length > 0 && !checks.some(bad);
const passSet = checks => new Set(checks.filter(check => check.status === "SUCCESS").map(check => check.key));
const firstLine = check => `${check.key} ${check.status}: ${(check.message ?? "").split("\n")[0].slice(0, 240)}`;

function countRun(run, { scored }, listed) {
    const of = (want, status) =>
        [...run].filter(([scenario]) => want(scenario)).flatMap(([, checks]) => checks.filter(check => check.status === status));
    return {
        required: scored.length,
        scenarios: scored.filter(scenario => passes(run.get(scenario) ?? [])).length,
        passed: of(() => true, "SUCCESS").length,
        failed: of(scenario => !listed.has(scenario), "FAILURE").length,
        failed_listed: of(scenario => listed.has(scenario), "FAILURE").length,
        warned: of(() => true, "WARNING").length,
        schema: of(() => true, "FAILURE").filter(check => check.id === SCHEMA_CHECK).length
    };
}

/** Differences between the two pass sets of one scenario, in words. */
function differences(scenario, direct, gateway) {
    const mine = passSet(gateway);
    const theirs = passSet(direct);
    const statusOf = key => gateway.find(check => check.key === key) ?? { key, status: "absent" };
    return [
        ...[...theirs].filter(key => !mine.has(key)).map(key => `${scenario}: passes direct, not through the gateway: ${firstLine(statusOf(key))}`),
        ...[...mine].filter(key => !theirs.has(key)).map(key => `${scenario}: passes only through the gateway: ${key}`)
    ];
}

/**
 * Judges one requirement set.
 * @param {object} of
 * @param {string} of.set
 * @param {{ scored: string[], unscored: string[] }} of.required
 * @param {Array<{ set: string, scenario: string, reason: string }>} of.expected listed exceptions
 * @param {Record<string, Map<string, Array<object>>>} of.runs `direct` and, if run, `gateway`
 */
export function compareSet({ set, required, expected, runs }) {
    const problems = [];
    const listed = new Map(expected.filter(entry => entry.set === set).map(entry => [entry.scenario, entry]));
    if (required.scored.length !== SCORED[set]) {
        problems.push(`the suite scores ${required.scored.length} server scenarios, ${SCORED[set]} are expected`);
    }
    const everything = [...required.scored, ...required.unscored];
    for (const scenario of everything) {
        const direct = runs.direct.get(scenario) ?? [];
        if (direct.length === 0) {
            // A scenario may legitimately have nothing to say only if it is not scored.
            if (required.scored.includes(scenario)) {
                problems.push(`${scenario}: was not run directly`);
            }
        } else if (!passes(direct) && !listed.has(scenario)) {
            problems.push(...direct.filter(bad).map(check => `${scenario}: fails directly: ${firstLine(check)}`));
        }
        if (runs.gateway !== undefined) {
            problems.push(...differences(scenario, direct, runs.gateway.get(scenario) ?? []));
        }
    }
    for (const [name, run] of Object.entries(runs)) {
        for (const [scenario, checks] of run) {
            if (!everything.includes(scenario)) {
                problems.push(`${scenario}: was run against ${name} but is not in the set`);
            }
            const violated = checks.filter(check => check.id === SCHEMA_CHECK && check.status === "FAILURE");
            if (!listed.has(scenario)) {
                problems.push(...violated.map(check => `${scenario}: schema violation (${name}): ${firstLine(check)}`));
            }
        }
    }
    for (const [scenario, { reason }] of listed) {
        if (!everything.includes(scenario)) {
            problems.push(`stale exception: \`${scenario}\` is not in the set`);
        } else if (passes(runs.direct.get(scenario) ?? [])) {
            problems.push(`stale exception: \`${scenario}\` passes directly, remove it (its reason was: ${reason})`);
        }
        if (typeof reason !== "string" || reason.length === 0) {
            problems.push(`exception \`${scenario}\` has no reason`);
        }
    }
    const counts = Object.fromEntries(Object.entries(runs).map(([name, run]) => [name, countRun(run, required, listed)]));
    return { counts, listed: [...listed.keys()], problems };
}
