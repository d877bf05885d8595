// A runner for stories: suites run side by side, the tests of one suite in
// order, because each goes on where the one before ended. A suite has a set-up
// that gives its tests their context and, in `context.stop()`, its end.
//
// A test that lacks a program says so with `skip(reason)`: loud, and a failure
// where `CI` is set. One that lacks a right that no installation gives (to
// mount a file system) says so with `skip(reason, "right")`: loud everywhere.
import { inspect } from "node:util";

const SUITES_AT_ONCE = 2;
const TEST_MAX_MS = 60_000;

class Skip extends Error {
    constructor(reason, lacks) {
        super(reason);
        this.lacks = lacks;
    }
}

/** @type {Array<{ name: string, setUp: () => Promise<any>, alone: boolean, tests: Array<{ name: string, body: (context: any) => Promise<void>, max: number }> }>} */
const suites = [];
const figures = [];

/** Begins a suite; the `test`s that follow belong to it. One that takes a service to its limits runs `alone`. */
export function suite(name, setUp, { alone = false } = {}) {
    suites.push({ name, setUp, alone, tests: [] });
}

/** One test of the suite begun last; a long one says how many milliseconds it may take. */
export function test(name, body, { max = TEST_MAX_MS } = {}) {
    suites.at(-1).tests.push({ name, body, max });
}

/** Prints a measured number at the end; nothing is judged by it. */
export function figure(name, value) {
    figures.push(`${name}: ${value}`);
}

/** Ends a test that cannot run here, for want of a `program` or of a `right`. */
export function skip(reason, lacks = "program") {
    throw new Skip(reason, lacks);
}

const isCi = () => !["", "0", "false", undefined].includes(process.env.CI);
const isSkipped = error => error instanceof Skip && (error.lacks === "right" || !isCi());

async function guarded(body, context, max) {
    let timer;
    const guard = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no end after ${max} ms`)), max);
    });
    try {
        await Promise.race([body(context), guard]);
    } finally {
        clearTimeout(timer);
    }
}

function say(suiteName, name, outcome, started, error) {
    console.log(`${outcome} ${suiteName}: ${name} (${Date.now() - started} ms)`);
    if (error !== undefined) {
        const text = error.stack ?? inspect(error);
        console.log(text.split("\n").map(line => `    ${line}`).join("\n"));
    }
}

async function runSuite({ name, setUp, tests }, tally) {
    let context;
    const started = Date.now();
    try {
        context = await setUp();
    } catch (error) {
        if (isSkipped(error)) {
            console.log(`SKIPPED: ${name}: ${error.message}`);
            tally.without += error.lacks === "right" ? 1 : 0;
            return;
        }
        say(name, "set-up", "FAILED", started, error);
        tally.failed += tests.length;
        return;
    }
    for (const { name: title, body, max } of tests) {
        const begun = Date.now();
        try {
            await guarded(body, context, max);
            tally.passed += 1;
            say(name, title, "ok", begun);
        } catch (error) {
            if (isSkipped(error)) {
                console.log(`SKIPPED: ${name}: ${title}: ${error.message}`);
                tally.without += error.lacks === "right" ? 1 : 0;
                continue;
            }
            tally.failed += 1;
            say(name, title, "FAILED", begun, error);
        }
    }
    try {
        await context?.stop?.();
    } catch (error) {
        tally.failed += 1;
        say(name, "end", "FAILED", started, error);
    }
}

/** Runs every suite, prints the figures and `N passed, N failed`, and ends the process. */
export async function run(title, only = []) {
    const tally = { passed: 0, failed: 0, without: 0 };
    const wanted = suites.filter(each => only.length === 0 || only.includes(each.name));
    const drain = async waiting => {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
            await runSuite(next, tally);
        }
    };
    const together = wanted.filter(({ alone }) => !alone);
    await Promise.all(Array.from({ length: SUITES_AT_ONCE }, () => drain(together)));
    await drain(wanted.filter(({ alone }) => alone));
    for (const line of figures) {
        console.log(`  ${line}`);
    }
    console.log(`${title}: ${tally.passed} passed, ${tally.failed} failed`);
    // Without the right to run anything, nothing ran, and that is said above.
    process.exit(tally.failed === 0 && tally.passed + tally.without > 0 ? 0 : 1);
}
