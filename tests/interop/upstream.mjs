// A measuring instrument: the smallest MCP upstream of revision 2026-07-28
// that records which calls reached it, for the durability run. It is plain
// node:http because the SDK's servers answer a few hundred calls a second,
// and the run must not wait for its own instrument.
//
//   node upstream.mjs --received FILE [--port 0]
//
// Prints {"url": …} once it listens. Every tools/call appends one line
// {"args_sha256": …} (SHA-256 of the canonical arguments) with a single
// write(2) on an O_APPEND descriptor *before* the answer is sent. The file is
// kept over restarts.
//
// It offers one tool, `record`, with the integers `caller` and `n`, and
// judges what a strict server would: headers that disagree with the body.
import { createServer } from "node:http";
import { AppendLog, argumentsDigest, parseArguments, printLine } from "./lib/cli.mjs";

const REVISION = "2026-07-28";
const VERSION_KEY = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities";
const SERVER = { "io.modelcontextprotocol/serverInfo": { name: "bailiwick-recording-upstream", version: "1.0.0" } };
const BODY_MAX = 1024 * 1024;

const { options } = parseArguments(process.argv.slice(2), { received: undefined, port: "0" });
if (options.received === undefined) {
    throw new Error("`--received` is required");
}
const received = new AppendLog(options.received);

const TOOLS = [
    {
        name: "record",
        description: "Records its arguments",
        inputSchema: {
            type: "object",
            properties: { caller: { type: "integer" }, n: { type: "integer" } },
            required: ["caller", "n"],
            additionalProperties: false
        }
    }
];

const METHODS = {
    "server/discover": () => ({
        supportedVersions: [REVISION],
        capabilities: { tools: {} },
        ttlMs: 60_000,
        cacheScope: "private"
    }),
    "tools/list": () => ({ tools: TOOLS, ttlMs: 60_000, cacheScope: "private" }),
    "tools/call": params => {
        if (params.name !== "record") {
            throw Object.assign(new Error(`Tool ${params.name} not found`), { code: -32602 });
        }
        const digest = argumentsDigest(params.arguments);
        received.append({ args_sha256: digest });
        return { content: [{ type: "text", text: digest }] };
    }
};

const failure = (status, id, code, message, data) => ({
    status,
    body: { jsonrpc: "2.0", ...(id === undefined ? {} : { id }), error: { code, message, ...(data ? { data } : {}) } }
});

/** @returns {{ status: number, body?: object }} */
function answer(headers, text) {
    let message;
    try {
        message = JSON.parse(text);
    } catch {
        return failure(400, undefined, -32700, "Parse error");
    }
    const { id, method, params } = message;
    if (id === undefined) {
        return { status: 202 };
    }
    const meta = params?._meta;
    if (typeof meta?.[VERSION_KEY] !== "string" || typeof meta[CAPABILITIES_KEY] !== "object") {
        return failure(400, id, -32602, "Missing required _meta");
    }
    if (headers["mcp-protocol-version"] !== meta[VERSION_KEY] || headers["mcp-method"] !== method) {
        return failure(400, id, -32020, "Header mismatch");
    }
    if (meta[VERSION_KEY] !== REVISION) {
        return failure(400, id, -32022, "Unsupported protocol version", { supported: [REVISION], requested: meta[VERSION_KEY] });
    }
    if (method === "tools/call" && headers["mcp-name"] !== params.name) {
        return failure(400, id, -32020, "Header mismatch");
    }
    if (!Object.hasOwn(METHODS, method)) {
        return failure(404, id, -32601, "Method not found");
    }
    try {
        return { status: 200, body: { jsonrpc: "2.0", id, result: { resultType: "complete", ...METHODS[method](params), _meta: SERVER } } };
    } catch (error) {
        return failure(200, id, error.code ?? -32603, error.message);
    }
}

function send(response, { status, body }) {
    if (body === undefined) {
        response.writeHead(status).end();
        return;
    }
    const text = JSON.stringify(body);
    response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) }).end(text);
}

const server = createServer((request, response) => {
    if (request.method !== "POST") {
        response.writeHead(405, { allow: "POST" }).end();
        return;
    }
    const chunks = [];
    let size = 0;
    request.on("data", chunk => {
        size += chunk.length;
        if (size > BODY_MAX) {
            request.destroy();
            return;
        }
        chunks.push(chunk);
    });
    request.on("end", () => send(response, answer(request.headers, Buffer.concat(chunks).toString("utf8"))));
});
server.keepAliveTimeout = 60_000;
server.listen(Number(options.port), "127.0.0.1", () => {
    printLine({ url: `http://127.0.0.1:${server.address().port}/mcp`, pid: process.pid });
});
