// Runs a stdio MCP server of Node inside this very process and appends every
// JSON-RPC line, in both directions, to a file: the upstream's own record of
// what reached it.
//
//   node logging-stdio.mjs --log FILE ENTRY.js [ARGS…]
//
// One line per message: {"at": ms, "direction": "in"|"out", "kind":
// "request"|"notification"|"response"|"error"|"unreadable", "method", "id",
// "tool", "args_sha256", "cancelled", "message"}. `args_sha256` is the SHA-256
// of the canonical (RFC 8785) arguments of a tools/call; `cancelled` is the
// request id a notifications/cancelled names.
//
// No second process: what the launcher starts, signs for and kills is the server.
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { AppendLog, argumentsDigest } from "./lib/cli.mjs";

const [flag, file, entry, ...rest] = process.argv.slice(2);
if (flag !== "--log" || file === undefined || entry === undefined) {
    console.error("usage: logging-stdio.mjs --log FILE ENTRY.js [ARGS…]");
    process.exit(2);
}
const log = new AppendLog(file);

function describe(message) {
    if (message.method !== undefined) {
        const described = { kind: message.id === undefined ? "notification" : "request", method: message.method, id: message.id };
        if (message.method === "tools/call") {
            described.tool = message.params?.name;
            described.args_sha256 = argumentsDigest(message.params?.arguments);
        }
        if (message.method === "notifications/cancelled") {
            described.cancelled = message.params?.requestId;
        }
        return described;
    }
    return { kind: message.error === undefined ? "response" : "error", id: message.id };
}

/** Cuts a byte stream into lines and records each one. */
function recorder(direction) {
    let rest = Buffer.alloc(0);
    return chunk => {
        rest = Buffer.concat([rest, Buffer.from(chunk)]);
        for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
            const line = rest.subarray(0, end).toString("utf8").trim();
            rest = rest.subarray(end + 1);
            if (line.length === 0) {
                continue;
            }
            let message;
            try {
                message = JSON.parse(line);
            } catch {
                log.append({ at: Date.now(), direction, kind: "unreadable", line });
                continue;
            }
            log.append({ at: Date.now(), direction, ...describe(message), message });
        }
    };
}

const incoming = recorder("in");
const emit = process.stdin.emit;
process.stdin.emit = function (event, ...values) {
    // Recorded before the server sees it; listening ourselves would start the
    // stream before the server is ready.
    if (event === "data") {
        incoming(values[0]);
    }
    return emit.call(this, event, ...values);
};

const outgoing = recorder("out");
const write = process.stdout.write;
process.stdout.write = function (chunk, ...more) {
    outgoing(chunk);
    return write.call(this, chunk, ...more);
};

log.append({ at: Date.now(), direction: "self", kind: "started", pid: process.pid });
process.on("exit", code => log.append({ at: Date.now(), direction: "self", kind: "ended", code }));

const script = resolve(entry);
process.argv = [process.argv[0], script, ...rest];
await import(pathToFileURL(script).href);
