// An upstream MCP server inside the test's own process (revision 2026-07-28,
// or 2025-11-25 with sessions), so that a test sees what reached it: arguments,
// headers, and when the gateway gave a call up. Its tools can be changed under
// the gateway's eyes.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";

const META_VERSION = "io.modelcontextprotocol/protocolVersion";
const SERVER = { name: "bailiwick-e2e-desk", version: "1.0.0" };
const text = value => ({ content: [{ type: "text", text: value }] });
const tool = (name, properties, description = `Tool ${name}`) => ({
    name,
    description,
    inputSchema: { type: "object", properties, additionalProperties: false }
});

export class Desk {
    constructor({ era = "modern" } = {}) {
        this.era = era;
        this.calls = [];
        this.requests = [];
        this.cancelled = [];
        this.tools = [
            tool("read_text_file", { path: { type: "string" } }),
            tool("transfer", { amount: { type: "number" }, to: { type: "string" } }),
            tool("hold", { mark: { type: "string" } }, "Answers when it is released"),
            tool("echo", { text: { type: "string" } })
        ];
        this.waiting = new Map();
        this.sessions = new Set();
        this.server = createServer((request, response) => this.#receive(request, response));
    }

    static async open(options) {
        const desk = new Desk(options);
        await new Promise(done => desk.server.listen(0, "127.0.0.1", done));
        desk.url = `http://127.0.0.1:${desk.server.address().port}/mcp`;
        return desk;
    }

    close() {
        this.server.closeAllConnections();
        return new Promise(done => this.server.close(done));
    }

    /** Answers a held call. */
    release(mark) {
        this.waiting.get(mark)?.();
    }

    /** How many calls of this tool arrived. */
    count(name) {
        return this.calls.filter(call => call.tool === name).length;
    }

    #receive(request, response) {
        const chunks = [];
        request.on("data", chunk => chunks.push(chunk));
        request.on("end", () => {
            const body = Buffer.concat(chunks).toString("utf8");
            this.requests.push({ method: request.method, headers: request.headers, body });
            this.#answer(request, response, body).catch(error => response.destroy(error));
        });
    }

    async #answer(request, response, body) {
        if (request.method !== "POST") {
            const gone = request.method === "DELETE" && this.sessions.delete(request.headers["mcp-session-id"]);
            response.writeHead(gone ? 200 : 405).end();
            return;
        }
        const message = JSON.parse(body);
        if (message.id === undefined) {
            if (message.method === "notifications/cancelled") {
                this.cancelled.push(message.params.requestId);
                this.waiting.get(`id ${message.params.requestId}`)?.();
            }
            response.writeHead(202).end();
            return;
        }
        const wrong = this.era === "modern" ? this.#modernFault(message) : this.#legacyFault(request, message);
        if (wrong !== undefined) {
            this.#send(response, wrong.status, { jsonrpc: "2.0", id: message.id, error: wrong.error });
            return;
        }
        const headers = {};
        if (message.method === "initialize") {
            const session = randomUUID();
            this.sessions.add(session);
            headers["mcp-session-id"] = session;
        }
        const result = await this.#result(message, request, response);
        if (result !== undefined && !response.destroyed) {
            this.#send(response, 200, { jsonrpc: "2.0", id: message.id, ...result }, headers);
        }
    }

    #modernFault({ method, params }) {
        if (params?._meta?.[META_VERSION] !== "2026-07-28") {
            return { status: 400, error: { code: -32602, message: "Missing required _meta" } };
        }
        const known = ["server/discover", "tools/list", "tools/call"];
        return known.includes(method) ? undefined : { status: 404, error: { code: -32601, message: "Method not found" } };
    }

    #legacyFault(request, { method }) {
        if (method === "initialize") {
            return undefined;
        }
        if (!this.sessions.has(request.headers["mcp-session-id"])) {
            return { status: 400, error: { code: -32000, message: "Bad Request: Server not initialized" } };
        }
        const known = ["ping", "tools/list", "tools/call"];
        return known.includes(method) ? undefined : { status: 200, error: { code: -32601, message: "Method not found" } };
    }

    async #result({ id, method, params }, request, response) {
        const complete = this.era === "modern" ? { resultType: "complete", _meta: { "io.modelcontextprotocol/serverInfo": SERVER } } : {};
        const cached = this.era === "modern" ? { ttlMs: 60_000, cacheScope: "public" } : {};
        switch (method) {
            case "initialize":
                return { result: { protocolVersion: "2025-11-25", capabilities: { tools: { listChanged: true } }, serverInfo: SERVER } };
            case "server/discover":
                return { result: { ...complete, ...cached, supportedVersions: ["2026-07-28"], capabilities: { tools: { listChanged: true } } } };
            case "ping":
                return { result: {} };
            case "tools/list":
                return { result: { ...complete, ...cached, tools: this.tools } };
            default:
                return this.#call(id, params, request, response, complete);
        }
    }

    async #call(id, { name, arguments: args }, request, response, complete) {
        const known = this.tools.some(each => each.name === name);
        if (!known) {
            return { error: { code: -32602, message: `Tool ${name} not found` } };
        }
        const call = { tool: name, args, headers: request.headers, at: Date.now(), closed: false };
        this.calls.push(call);
        if (name === "hold") {
            response.on("close", () => {
                call.closed = !response.writableEnded;
                this.release(args.mark);
            });
            await new Promise(done => {
                this.waiting.set(args.mark, done);
                this.waiting.set(`id ${id}`, done);
            });
            if (call.closed) {
                return undefined;
            }
        }
        if (name === "echo" && args.text === "leak") {
            return { result: { ...complete, ...text(`you sent ${request.headers.authorization}`) } };
        }
        if (name === "echo" && args.text === "flood") {
            return { result: { ...complete, ...text("x".repeat(17 * 1024 * 1024)) } };
        }
        return { result: { ...complete, ...text(name === "echo" ? args.text : `${name} ${JSON.stringify(args)}`) } };
    }

    #send(response, status, body, headers = {}) {
        response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
    }
}
