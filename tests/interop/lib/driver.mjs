// What the two TypeScript drivers share: the scenarios, written once against a
// small port (`list`, `call`, `resources`, `prompts`, …) that each SDK fills.
import { readFileSync } from "node:fs";
import { printLine } from "./cli.mjs";

const LONG_RUNNING = ["trigger-long-running-operation", "slow_operation"];

/** Challenge of the last 401 or 403, which the SDKs drop. */
let challenge;

/** A fetch that reads the bearer token anew for every request, as a renewing caller would. */
export function fetchWithToken(tokenFile) {
    return async (url, init = {}) => {
        const headers = new Headers(init.headers);
        if (tokenFile !== undefined) {
            headers.set("authorization", `Bearer ${readFileSync(tokenFile, "utf8").trim()}`);
        }
        const response = await fetch(url, { ...init, headers });
        if (response.status === 401 || response.status === 403) {
            challenge = response.headers.get("www-authenticate") ?? undefined;
        }
        return response;
    };
}

/**
 * Names a failure the way the orchestrating test compares it:
 * `rpc` (a JSON-RPC error), `http` (a status without one), `closed`,
 * `timeout`, `aborted` (this driver cancelled), or `other`.
 */
export function describeError(error) {
    const text = String(error?.message ?? error);
    if (typeof error?.code === "number" && (error.code < 0 || error.code > 999)) {
        // The 1.x SDK reports a lost connection as -32000 and its own timeout as -32001.
        if (error.code === -32000 && /connection closed/i.test(text)) {
            return { kind: "closed", message: text };
        }
        if (error.code === -32001 && /request timed out/i.test(text)) {
            return { kind: "timeout", message: text };
        }
        const described = { kind: "rpc", code: error.code, message: text.replace(/^MCP error -?\d+: /, "") };
        return error.data === undefined ? described : { ...described, data: error.data };
    }
    const status = error?.status ?? (typeof error?.code === "number" ? error.code : undefined);
    if (typeof status === "number" && status >= 100) {
        return { kind: "http", status, challenge, message: text };
    }
    if (error?.name === "InsufficientScopeError") {
        return { kind: "http", status: 403, challenge, message: text };
    }
    if (error?.name === "UnauthorizedError" || /\b401\b/.test(text)) {
        return { kind: "http", status: 401, challenge, message: text };
    }
    if (error?.name === "AbortError" || /abort/i.test(text)) {
        return { kind: "aborted", message: text };
    }
    if (error?.code === "REQUEST_TIMEOUT") {
        return { kind: "timeout", message: text };
    }
    if (error?.code === "CONNECTION_CLOSED" || /terminated|socket|fetch failed|disconnect/i.test(text)) {
        return { kind: "closed", message: text };
    }
    return { kind: "other", name: error?.name, code: error?.code, message: text };
}

const outcome = async promise => {
    try {
        return { ok: true, result: await promise };
    } catch (error) {
        return { ok: false, error: describeError(error) };
    }
};

function parseJson(word, what) {
    try {
        return JSON.parse(word ?? "{}");
    } catch {
        throw new Error(`${what} is not JSON: \`${word}\``);
    }
}

async function longTool(port) {
    const names = await port.list();
    const tool = LONG_RUNNING.find(name => names.includes(name));
    if (tool === undefined) {
        throw new Error(`the server offers none of ${LONG_RUNNING.join(", ")}`);
    }
    return tool;
}

/** Starts a long call, says so on the first progress report, and tells how it ended. */
async function longCall(port, options, cancelOurselves) {
    const tool = options.tool ?? (await longTool(port));
    const args = { duration: Number(options.duration), steps: Number(options.steps) };
    const abort = new AbortController();
    let progressSeen = 0;
    const started = Date.now();
    const onprogress = progress => {
        progressSeen += 1;
        if (progressSeen === 1) {
            printLine({ event: "started", tool, progress: progress.progress });
            if (cancelOurselves) {
                abort.abort("the driver cancels");
            }
        }
    };
    const ended = await outcome(port.call(tool, args, { onprogress, signal: abort.signal }));
    if (abort.signal.aborted) {
        // Each SDK dresses its own cancellation differently (1.x: as -32001).
        ended.error = { kind: "aborted" };
    }
    const next = await outcome(port.call(tool, { duration: 0.1, steps: 1 }, {}));
    return { tool, progress: progressSeen, ended_after_ms: Date.now() - started, ended, next };
}

const SCENARIOS = {
    list: async port => ({ tools: await port.list() }),
    call: async (port, [tool, args]) => port.call(tool, parseJson(args, "the tool's arguments"), {}).then(result => ({ result })),
    work: async (port, [calls, everything]) => {
        const tools = await port.list();
        const outcomes = [];
        for (const [tool, args] of parseJson(calls, "the list of calls")) {
            outcomes.push(await outcome(port.call(tool, args, {})));
        }
        const more = everything === "all" ? { ...(await SCENARIOS.resources(port, [])), ...(await SCENARIOS.prompts(port, [])) } : {};
        return { tools, outcomes, ...more };
    },
    "long-call": async (port, _words, options) => longCall(port, options, false),
    "cancel-call": async (port, _words, options) => longCall(port, options, true),
    resources: async (port, [uri]) => {
        const resources = await port.resources();
        const read = uri ?? resources[0];
        return { resources, read, contents: read === undefined ? [] : await port.read(read) };
    },
    prompts: async (port, [name, args]) => {
        const prompts = await port.prompts();
        const got = name ?? prompts.find(each => each.arguments === 0)?.name;
        const names = prompts.map(each => each.name);
        return { prompts: names, got, messages: got === undefined ? [] : await port.prompt(got, parseJson(args, "the prompt's arguments")) };
    }
};

export const DRIVER_OPTIONS = {
    url: undefined,
    "token-file": undefined,
    era: undefined,
    tool: undefined,
    duration: "30",
    steps: "60",
    timeout: "60000"
};

/**
 * Runs one scenario and prints its one JSON line. The exit code is 0 when the
 * scenario could be run at all; what the server answered is in the line.
 */
export async function runScenario(client, connect, [scenario, ...words], options) {
    const run = SCENARIOS[scenario];
    if (run === undefined) {
        throw new Error(`unknown scenario \`${scenario}\`, known are ${Object.keys(SCENARIOS).join(", ")}`);
    }
    const line = { client, scenario };
    try {
        const { port, protocol, close } = await connect();
        line.protocol = protocol;
        Object.assign(line, await run(port, words, options).then(value => ({ ok: true, ...value })));
        await close();
    } catch (error) {
        Object.assign(line, { ok: false, error: describeError(error) });
    }
    printLine(line);
    process.exit(0);
}
