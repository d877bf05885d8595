// The callers of the durability run: many at once, each one call at a time,
// through the gateway to upstream.mjs, until the gateway goes away.
//
//   node callers.mjs (--url URL | --url-file FILE) --acks FILE [--token-file FILE]
//                    [--lives 1] [--callers 64] [--calls-max 0]
//
// A life lasts until a connection fails (or --calls-max calls were sent). Then
// the callers wait until the address accepts connections again and begin the
// next one, so that they are warm when it begins. URL and token are read anew
// for each life.
//
// Each caller calls `record` with {"caller", "n"}; n starts at
// life × 1,000,000, so no two calls of a run have the same arguments. Every
// answer that carries a result is appended to the acknowledgements as
// {"args_sha256", "life"} with one write(2) before the caller goes on.
//
// Prints {"event":"running","life"} at the first acknowledgement of a life and
// {"event":"ended","life",…} with its figures at the end of it.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { AppendLog, parseArguments, printLine } from "./lib/cli.mjs";

const { options } = parseArguments(process.argv.slice(2), {
    url: undefined,
    "url-file": undefined,
    "token-file": undefined,
    acks: undefined,
    lives: "1",
    callers: "64",
    "calls-max": "0"
});
if (options.acks === undefined || (options.url === undefined) === (options["url-file"] === undefined)) {
    throw new Error("`--acks` and one of `--url` and `--url-file` are required");
}
const callers = Number(options.callers);
const callsMax = Number(options["calls-max"]);
const acks = new AppendLog(options.acks);
const WAIT_MAX_MS = 30_000;

const META = JSON.stringify({
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": { name: "bailiwick-durability-caller", version: "1.0.0" },
    "io.modelcontextprotocol/clientCapabilities": {}
});

/** Sends one call; resolves with the parsed answer, rejects when the connection fails. */
function call({ url, token, agent }, args, id) {
    // Written out: these very bytes are the canonical form that is hashed.
    const body = `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"record","arguments":${args},"_meta":${META}}}`;
    const headers = {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(body),
        accept: "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "record",
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` })
    };
    return new Promise((resolve, reject) => {
        const sent = request({ host: url.hostname, port: url.port, path: url.pathname, method: "POST", agent, headers }, response => {
            const chunks = [];
            response.on("data", chunk => chunks.push(chunk));
            response.on("error", reject);
            response.on("aborted", () => reject(new Error("aborted")));
            response.on("end", () => resolve(parse(response, Buffer.concat(chunks).toString("utf8"))));
        });
        sent.on("error", reject);
        sent.end(body);
    });
}

/** The JSON-RPC response of a JSON body or of the last frame of a stream. */
function parse(response, text) {
    const streamed = response.headers["content-type"]?.startsWith("text/event-stream");
    const json = streamed ? text.trim().split("\n").findLast(line => line.startsWith("data:"))?.slice(5) : text;
    try {
        return JSON.parse(json);
    } catch {
        return { error: { code: 0, message: `HTTP ${response.statusCode}: ${text.slice(0, 120)}` } };
    }
}

/** One caller in one life: one call after the other until a connection fails. */
async function caller(life, number) {
    const { counts } = life;
    while (!life.gone && (callsMax === 0 || counts.sent < callsMax)) {
        const n = life.next;
        life.next += 1;
        const args = `{"caller":${number},"n":${n}}`;
        counts.sent += 1;
        let answer;
        try {
            answer = await call(life, args, n);
        } catch {
            // In flight when the gateway died: neither acknowledged nor refused.
            counts.broken += 1;
            life.gone = true;
            return;
        }
        if (answer.result === undefined || answer.result.isError === true) {
            counts.refused += 1;
            const reason = `${answer.error?.code ?? "result"} ${answer.error?.message ?? "isError"}`;
            life.refusals[reason] = (life.refusals[reason] ?? 0) + 1;
            continue;
        }
        acks.append({ args_sha256: createHash("sha256").update(args).digest("hex"), life: life.number });
        counts.acknowledged += 1;
        if (counts.acknowledged === 1) {
            printLine({ event: "running", life: life.number });
        }
    }
}

const accepts = url =>
    new Promise(resolve => {
        const probe = connect({ host: url.hostname, port: Number(url.port) });
        probe.on("connect", () => resolve(true)).on("error", () => resolve(false));
        probe.on("connect", () => probe.destroy());
    });

/** Waits until the address of this life accepts connections. */
async function reachable() {
    for (const until = Date.now() + WAIT_MAX_MS; Date.now() < until; await sleep(2)) {
        let text = options.url;
        try {
            text ??= readFileSync(options["url-file"], "utf8").trim();
        } catch {
            continue;
        }
        if (text.length > 0 && (await accepts(new URL(text)))) {
            return new URL(text);
        }
    }
    throw new Error(`nothing accepts connections for ${WAIT_MAX_MS} ms`);
}

let falseStarts = 0;
for (let number = 0; number < Number(options.lives); ) {
    const life = {
        number,
        url: await reachable(),
        token: options["token-file"] === undefined ? undefined : readFileSync(options["token-file"], "utf8").trim(),
        agent: new Agent({ keepAlive: true, maxSockets: callers }),
        next: number * 1_000_000 + falseStarts * 1_000,
        gone: false,
        counts: { sent: 0, acknowledged: 0, refused: 0, broken: 0 },
        refusals: {}
    };
    await Promise.all(Array.from({ length: callers }, (_, at) => caller(life, at)));
    life.agent.destroy();
    if (life.counts.acknowledged === 0 && life.counts.refused === 0) {
        // The listener of a process that was already dying: not a life.
        falseStarts += 1;
        continue;
    }
    number += 1;
    printLine({ event: "ended", life: life.number, ...life.counts, refusals: life.refusals });
}
process.exit(0);
