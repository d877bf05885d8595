// Shows that the real peers work on this machine before the gateway is put
// between them: every driver against every kind of server.
//   node --test tests/interop/
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { argumentsDigest, canonicalJson } from "./lib/cli.mjs";

const HERE = import.meta.dirname;
const NODE = process.execPath;
const official = name => join(HERE, `node_modules/@modelcontextprotocol/${name}/dist/index.js`);
const DRIVERS = {
    "typescript-client-2.4.0": [NODE, join(HERE, "drivers/modern.mjs")],
    "typescript-sdk-1.32.2": [NODE, join(HERE, "drivers/legacy.mjs")],
    "python-mcp-2.3.0": [join(HERE, ".venv/bin/python"), join(HERE, "drivers/python_client.py")]
};
/** What each driver negotiates with a server of both revisions. */
const REVISION = { "typescript-client-2.4.0": "2026-07-28", "typescript-sdk-1.32.2": "2025-11-25", "python-mcp-2.3.0": "2026-07-28" };

const folder = mkdtempSync(join(tmpdir(), "bailiwick-peers-"));
const children = [];
let everything;

/** Runs one driver; resolves with its printed lines. */
async function drive(driver, ...words) {
    const [command, ...first] = DRIVERS[driver];
    const child = spawn(command, [...first, ...words], { stdio: ["ignore", "pipe", "ignore"], cwd: folder });
    const lines = [];
    for await (const line of createInterface({ input: child.stdout })) {
        lines.push(JSON.parse(line));
    }
    return lines;
}

const result = async (...words) => (await drive(...words)).at(-1);

function start(argv, env = {}) {
    const child = spawn(NODE, argv, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
    children.push(child);
    return child;
}

const freePort = () =>
    new Promise(resolve => {
        const probe = createServer().listen(0, "127.0.0.1", () => {
            const { port } = probe.address();
            probe.close(() => resolve(port));
        });
    });

/** A fixture of its own for each driver, so that its log is of one caller. */
async function startFixture(log) {
    const server = start([join(HERE, "../../conformance/mcp/fixture/server.mjs"), "--log", log]);
    for await (const line of createInterface({ input: server.stdout })) {
        return JSON.parse(line).url;
    }
    throw new Error("the fixture ended before it listened");
}

before(async () => {
    // The official server takes its port from the environment and does not report a chosen one.
    const port = await freePort();
    const http = start([official("server-everything"), "streamableHttp"], { PORT: String(port) });
    for await (const line of createInterface({ input: http.stderr })) {
        if (line.includes("listening")) {
            break;
        }
    }
    everything = `http://127.0.0.1:${port}/mcp`;
    writeFileSync(join(folder, "invoice.txt"), "42 EUR\n");
});

after(() => children.forEach(child => child.kill("SIGKILL")));

/** Everything one driver must be able to do. */
function cases(driver) {
    const fixtureLog = join(folder, `${driver}-fixture.log`);
    let fixture;
    before(async () => {
        fixture = await startFixture(fixtureLog);
    });

    test(`${driver} and the fixture over HTTP`, async () => {
        const list = await result(driver, "--url", fixture, "list");
        assert.equal(list.protocol, REVISION[driver]);
        assert.equal(list.tools[0], "test_simple_text");
        const call = await result(driver, "--url", fixture, "call", "test_simple_text", "{}");
        assert.equal(call.result.content[0].text, "This is a simple text response for testing.");
        const unknown = await result(driver, "--url", fixture, "call", "nope", "{}");
        assert.equal(unknown.error.kind, "rpc");
        assert.equal(unknown.error.code, -32602);
        const resources = await result(driver, "--url", fixture, "resources");
        assert.equal(resources.contents[0].text, "This is the content of the static text resource.");
        const prompts = await result(driver, "--url", fixture, "prompts");
        assert.equal(prompts.messages[0].content.text, "This is a simple prompt for testing.");
    });

    test(`${driver} cancels a call and the fixture notices`, async () => {
        const [started, ended] = await drive(driver, "--url", fixture, "cancel-call", "--duration", "20", "--steps", "100");
        assert.equal(started.event, "started");
        assert.equal(ended.ended.error.kind, "aborted");
        assert.equal(ended.next.ok, true);
        const events = readFileSync(fixtureLog, "utf8").trim().split("\n").map(line => JSON.parse(line).event);
        // The client does not wait for its cancellation to arrive, so the next call may begin before it.
        assert.equal(events[0], "started");
        assert.deepEqual(events.toSorted(), ["cancelled", "finished", "started", "started"]);
    });

    test(`${driver} and server-everything over HTTP`, async () => {
        const call = await result(driver, "--url", everything, "call", "echo", '{"message":"hi"}');
        assert.equal(call.protocol, "2025-11-25");
        assert.equal(call.result.content[0].text, "Echo: hi");
        const [started, ended] = await drive(driver, "--url", everything, "long-call", "--duration", "0.4", "--steps", "4");
        assert.equal(started.tool, "trigger-long-running-operation");
        assert.equal(ended.ended.ok, true);
        assert.ok(ended.progress >= 2);
        assert.equal((await result(driver, "--url", everything, "prompts")).prompts.length, 4);
        assert.ok((await result(driver, "--url", everything, "resources")).contents[0].text.length > 0);
    });

    test(`${driver} and server-filesystem over stdio, logged`, async () => {
        const log = join(folder, `${driver}.log`);
        const args = { path: join(folder, "invoice.txt") };
        const wrapped = [NODE, join(HERE, "logging-stdio.mjs"), "--log", log, official("server-filesystem"), folder];
        const call = await result(driver, "call", "read_text_file", JSON.stringify(args), "--", ...wrapped);
        assert.equal(call.result.content[0].text, "42 EUR\n");
        const lines = readFileSync(log, "utf8").trim().split("\n").map(line => JSON.parse(line));
        const seen = lines.find(line => line.direction === "in" && line.method === "tools/call");
        assert.equal(seen.tool, "read_text_file");
        assert.equal(seen.args_sha256, argumentsDigest(args));
        assert.ok(lines.some(line => line.direction === "out" && line.kind === "response" && line.id === seen.id));
    });

    test(`${driver} and server-everything over stdio: the log shows the cancellation`, async () => {
        const log = join(folder, `${driver}-cancel.log`);
        const wrapped = [NODE, join(HERE, "logging-stdio.mjs"), "--log", log, official("server-everything")];
        const ended = await result(driver, "cancel-call", "--duration", "20", "--steps", "200", "--", ...wrapped);
        assert.equal(ended.ended.error.kind, "aborted");
        const lines = readFileSync(log, "utf8").trim().split("\n").map(line => JSON.parse(line));
        const call = lines.find(line => line.direction === "in" && line.method === "tools/call");
        const cancelled = lines.find(line => line.direction === "in" && line.method === "notifications/cancelled");
        assert.equal(cancelled.cancelled, call.id);
        assert.ok(cancelled.at >= call.at);
    });

    if (driver !== "typescript-sdk-1.32.2") {
        test(`${driver} and the recording upstream`, async () => {
            const received = join(folder, `${driver}-received.jsonl`);
            const server = start([join(HERE, "upstream.mjs"), "--received", received]);
            let url;
            for await (const line of createInterface({ input: server.stdout })) {
                url = JSON.parse(line).url;
                break;
            }
            const args = { n: 1, caller: 7 };
            const call = await result(driver, "--url", url, "call", "record", JSON.stringify(args));
            assert.equal(call.result.content[0].text, argumentsDigest(args));
            assert.deepEqual(JSON.parse(readFileSync(received, "utf8")), { args_sha256: argumentsDigest(args) });
        });
    }
}

describe("peers", { concurrency: true }, () => {
    for (const driver of Object.keys(DRIVERS)) {
        describe(driver, () => cases(driver));
    }
});

test("the canonical form is RFC 8785's", () => {
    // RFC 8785 §3.2.3: members are sorted by UTF-16 code units.
    const value = { "\u20ac": 1, "\r": 2, "\ufb33": 3, 1: 4, "\ud83d\ude00": 5, "\u0080": 6, "\u00f6": 7 };
    assert.equal(
        canonicalJson(value),
        '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\ud83d\ude00":5,"\ufb33":3}'
    );
    assert.equal(canonicalJson({ b: [1.0, 1e21, -0, 333333333.33333329], a: null }), '{"a":null,"b":[1,1e+21,0,333333333.3333333]}');
});
