// A trace of system calls shows the order "durable before answer": what a
// SIGKILL cannot show, because the page cache outlives the process.
//
//   node flush-order.mjs
//
// For a call: the decision segment is written and flushed after the call came
// in, and before one byte of it goes upstream; its answer leaves after that.
// For issuing: flushed before the token leaves. For a kill: the kill journal
// and the state log are flushed before `committed` leaves.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { Desk } from "./lib/desk.mjs";
import { Installation, temporary } from "./lib/installation.mjs";
import { figure, run, skip, suite, test } from "./lib/lane.mjs";
import { callTool } from "./lib/mcp.mjs";
import { complete, isFileWrite, isFlush, isReceive, isSend, parse, wrapper } from "./lib/strace.mjs";

const CALLS = 8;
const SEGMENT = "/log/decisions/segments/";

suite("flush order", async () => {
    try {
        execFileSync("strace", ["-V"], { stdio: "ignore" });
    } catch {
        skip("no `strace` on the PATH");
    }
    const folder = temporary("trace");
    const file = join(folder, "trace");
    const desk = await Desk.open();
    const installation = await Installation.start("flush-order");
    await installation.addHttpServer("files", desk.url);
    const worker = await installation.addIdentity("worker");
    const task = await installation.openTask("worker", ["files:*"]);
    await installation.restart({ wrapper: wrapper(file) });
    const url = installation.endpoint("files");
    // Warm: the listing of the upstream and the verified token are not what is looked at.
    await callTool(url, task.token, "echo", { text: "warm" });
    const marks = [];
    for (let n = 0; n < CALLS; n += 1) {
        const text = `mark-${n}-${Math.random().toString(36).slice(2)}`;
        const reply = await callTool(url, task.token, "echo", { text });
        assert.equal(reply.result?.content[0].text, text, reply.text);
        marks.push(text);
    }
    const refused = await callTool(url, task.token, "nothing-of-that-name", { text: "mark-refused-0" });
    assert.ok(refused.error, refused.text);
    const issue = await fetch(`${installation.url}/v1/tenants/acme/tasks/${task.id}/tokens`, {
        method: "POST",
        headers: { authorization: `Bearer ${task.token}`, "content-type": "application/json" },
        body: '{ "count" : 1 }'
    });
    assert.equal(issue.status, 200);
    const token = (await issue.json()).tokens[0].access_token;
    const killed = await installation.api("POST", "/v1/tenants/acme/kill", { scope: "identity", name: worker.id, reason: "mark-kill-0" });
    assert.equal(killed.status, 200, killed.text);
    const { pid } = installation.service;
    await installation.stop();
    await complete(file, pid);
    const calls = parse(file);
    return {
        calls,
        marks,
        token,
        stop: async () => {
            await desk.close();
            rmSync(folder, { recursive: true, force: true });
        }
    };
});

const first = (calls, fits, what) => {
    const found = calls.find(fits);
    assert.ok(found, `no ${what} in the trace`);
    return found;
};

/** A write to `part` that began after `from`, and the flush of the same file that ended before `until`. */
function flushedBetween(calls, part, from, until, what) {
    const written = calls.find(call => isFileWrite(call, part) && call.begun > from.ended && call.ended < until.begun);
    assert.ok(written, `${what}: nothing was written to ${part} between ${from.name} (line ${from.ended}) and ${until.name} (line ${until.begun})`);
    const flushed = calls.find(call => isFlush(call, part) && call.target === written.target && call.begun > written.ended && call.ended < until.begun);
    assert.ok(flushed, `${what}: ${written.target} was written but not flushed before ${until.name} (line ${until.begun})`);
    return { written, flushed };
}

test("a call's record is written and flushed before one byte of it goes upstream, and before its answer", ({ calls, marks }) => {
    const files = new Set();
    for (const mark of marks) {
        const received = first(calls, call => isReceive(call, mark), "receipt of the call");
        const after = calls.filter(call => call.begun > received.ended);
        const upstream = first(after, call => isSend(call, mark), "forwarded call");
        assert.match(upstream.text, /POST|echo/);
        const { flushed } = flushedBetween(calls, SEGMENT, received, upstream, mark);
        files.add(flushed.target.replace(/.*\/data\//, "").replace(/^\d+</, ""));
        const answered = first(after, call => isSend(call, mark) && call.begun > upstream.ended, "answer");
        assert.ok(flushed.ended < answered.begun);
    }
    figure("flush order: flushed files", [...files].join(", "));
    return Promise.resolve();
});

test("a refusal is recorded and flushed before it is answered", ({ calls }) => {
    const received = first(calls, call => isReceive(call, "mark-refused-0"), "receipt of the refused call");
    const answered = first(calls, call => call.begun > received.ended && isSend(call, "HTTP/1.1 "), "refusal");
    flushedBetween(calls, SEGMENT, received, answered, "refusal");
    assert.ok(!calls.some(call => isSend(call, "mark-refused-0")), "it was forwarded");
    return Promise.resolve();
});

test("issuing is recorded and flushed before the token leaves", ({ calls, token }) => {
    const received = first(calls, call => isReceive(call, "count"), "receipt of the request");
    const answered = first(calls, call => isSend(call, token.slice(-40)), "token");
    flushedBetween(calls, SEGMENT, received, answered, "issue");
    return Promise.resolve();
});

test("a kill is flushed in the kill journal and in the state log before it is acknowledged", ({ calls }) => {
    const received = first(calls, call => isReceive(call, "mark-kill-0"), "receipt of the kill");
    const answered = first(calls, call => call.begun > received.ended && isSend(call, "committed_us"), "acknowledgement");
    const journal = flushedBetween(calls, "kill", received, answered, "kill journal");
    const between = calls.filter(call => call.begun > received.ended && call.ended < answered.begun);
    const state = between.find(call => isFlush(call, "-wal") || isFlush(call, ".sqlite") || isFlush(call, ".db"));
    assert.ok(state, "the state log was not flushed before the acknowledgement");
    assert.ok(journal.written.begun < state.begun, "the kill journal is written first");
    return Promise.resolve();
});

await run("flush order", process.argv.slice(2));
