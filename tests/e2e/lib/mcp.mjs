// The smallest MCP caller of revision 2026-07-28, on node:http, so that a test
// sees status, headers and every event as they come.
import assert from "node:assert/strict";
import { request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

export const REVISION = "2026-07-28";
const META = {
    "io.modelcontextprotocol/protocolVersion": REVISION,
    "io.modelcontextprotocol/clientInfo": { name: "bailiwick-e2e", version: "1.0.0" },
    "io.modelcontextprotocol/clientCapabilities": {}
};
const GUARD_MS = 30_000;
let lastId = 0;

/** The JSON-RPC messages of a body, plain or an event stream. */
function messages(type, text) {
    if (!type.startsWith("text/event-stream")) {
        return text === "" ? [] : [JSON.parse(text)];
    }
    const data = text.split("\n").filter(line => line.startsWith("data:"));
    return data.map(line => line.slice(5).trim()).filter(line => line !== "").map(line => JSON.parse(line));
}

/** Sends raw bytes; resolves with status, headers and text; `socket` closes the connection early. */
export function exchange(url, { method = "POST", headers = {}, body = "" } = {}) {
    const target = new URL(url);
    let sent;
    const done = new Promise((resolve, reject) => {
        const all = { ...(body === "" ? {} : { "content-length": Buffer.byteLength(body) }), ...headers };
        sent = request({ host: target.hostname, port: target.port, path: target.pathname + target.search, method, headers: all }, response => {
            const chunks = [];
            response.on("data", chunk => chunks.push(chunk));
            response.on("error", reject);
            response.on("end", () =>
                resolve({ status: response.statusCode, headers: response.headers, text: Buffer.concat(chunks).toString("utf8") })
            );
        });
        sent.setTimeout(GUARD_MS, () => sent.destroy(new Error(`no answer within ${GUARD_MS} ms`)));
        sent.on("error", reject);
        sent.end(body);
    });
    return Object.assign(done, { close: () => sent.destroy() });
}

/** Head and body of one call, as an up-to-date client sends them. */
export function callOf(token, method, params = {}, { headers = {}, meta = {} } = {}) {
    lastId += 1;
    const name = params.name ?? params.uri;
    const body = JSON.stringify({ jsonrpc: "2.0", id: lastId, method, params: { ...params, _meta: { ...META, ...meta } } });
    return {
        id: lastId,
        headers: {
            "content-type": "application/json",
            accept: "application/json, text/event-stream",
            "mcp-protocol-version": REVISION,
            "mcp-method": method,
            ...(name === undefined ? {} : { "mcp-name": name }),
            ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
            ...headers
        },
        body
    };
}

/**
 * One call. Gives `status`, `headers`, `messages`, and of the response to this
 * call `result` or `error`. The returned promise has `close()`.
 */
export function send(url, token, method, params, more) {
    const { id, headers, body } = callOf(token, method, params, more);
    const sent = exchange(url, { headers, body });
    const done = sent.then(reply => {
        let parsed = [];
        try {
            parsed = messages(reply.headers["content-type"] ?? "", reply.text);
        } catch {
            // A body that is not JSON has no message.
        }
        const answer = parsed.find(message => message.id === id && message.method === undefined) ?? parsed.at(-1);
        return { ...reply, messages: parsed, result: answer?.result, error: answer?.error };
    });
    return Object.assign(done, { close: sent.close });
}

export const callTool = (url, token, name, args = {}, more) => send(url, token, "tools/call", { name, arguments: args }, more);

/** Names of the tools this credential sees. */
export async function listTools(url, token) {
    const reply = await send(url, token, "tools/list");
    assert.equal(reply.status, 200, reply.text);
    assert.ok(reply.result, reply.text);
    return reply.result.tools.map(tool => tool.name);
}

/** The call is let through; gives its result. */
export async function permitted(url, token, name, args) {
    const reply = await callTool(url, token, name, args);
    assert.equal(reply.status, 200, reply.text);
    assert.ok(reply.result, `refused: ${reply.text}`);
    assert.notEqual(reply.result.isError, true, reply.text);
    return reply.result;
}

/** The call is refused as this call alone: HTTP 200 and JSON-RPC -32001 with code, reason and decision. */
export async function refusedCall(url, token, name, args, code) {
    const reply = await callTool(url, token, name, args);
    assert.equal(reply.status, 200, reply.text);
    assert.equal(reply.error?.code, -32001, reply.text);
    assert.equal(reply.error.data.code, code, reply.text);
    assert.ok(reply.error.data.reason.length > 0);
    assert.match(reply.error.data.decision_id, /^dec_[a-z0-9]+$/);
    return reply.error.data;
}

/** The credential is dead: HTTP 401 `invalid_token`. */
export async function deadToken(url, token, name = "read_text_file", args = { path: "/srv/in/a.txt" }) {
    const reply = await callTool(url, token, name, args);
    assert.equal(reply.status, 401, reply.text);
    const challenge = reply.headers["www-authenticate"] ?? "";
    assert.match(challenge, /^Bearer /);
    assert.match(challenge, /error="invalid_token"/);
    return { ...reply, challenge };
}

/** Calls until the tool's list no longer has `name`, or fails. */
export async function untilHidden(url, token, name, max = 15_000) {
    for (const end = Date.now() + max; Date.now() < end; await sleep(50)) {
        if (!(await listTools(url, token)).includes(name)) {
            return;
        }
    }
    throw new Error(`\`${name}\` is still listed after ${max} ms`);
}
