// `bailiwick run`: a command with a task of its own, which ends with it,
// whatever ends it.
import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { Run } from "../lib/agent.mjs";
import { Desk } from "../lib/desk.mjs";
import { Installation } from "../lib/installation.mjs";
import { suite, test } from "../lib/lane.mjs";
import { deadToken, permitted } from "../lib/mcp.mjs";
import { family, shownBy } from "../lib/scan.mjs";
import { until } from "../lib/wait.mjs";

const WORK = ["--identity", "worker", "--task", "read invoices", "--can", "files:echo"];
const sh = script => ["sh", "-c", script];

suite("run", async () => {
    const desk = await Desk.open();
    const installation = await Installation.start("run");
    await installation.addHttpServer("files", desk.url);
    await installation.addIdentity("worker");
    return {
        desk,
        installation,
        stop: async () => {
            await installation.stop();
            await desk.close();
        }
    };
});

const taskOf = async (installation, id) => (await installation.cli(["task", "ls"])).items.find(task => task.id === id);
const closed = (installation, id) => until("the task to be closed", async () => (await taskOf(installation, id)).state === "closed");

test("a command gets its token through a file and nothing else, and the token is dead when it ends", async ({ installation }) => {
    const run = new Run(installation, WORK, sh('echo "$BAILIWICK_TOKEN_FILE"; read go; exit 0'));
    const id = await run.task();
    const file = await until("the file to be told", () => run.out[0]);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(statSync(dirname(file)).mode & 0o777, 0o700);
    const token = readFileSync(file, "utf8");
    await permitted(installation.endpoint("files"), token, "echo", { text: "a" });
    for (const pid of family(run.pid)) {
        assert.ok(!shownBy(pid).includes(token), "the token is in an argument list or an environment");
        assert.ok(!shownBy(pid).includes("BAILIWICK_CONTEXT="), "the operator's context is the operator's");
    }
    run.child.stdin.end("\n");
    assert.equal((await run.ended).code, 0);
    assert.equal((await taskOf(installation, id)).state, "closed");
    await deadToken(installation.endpoint("files"), token);
    assert.ok(!existsSync(dirname(file)), "its folder is gone");
});

test("the exit code is the command's, a crash included", async ({ installation }) => {
    for (const [script, code] of [["exit 0", 0], ["exit 7", 7], ["kill -SEGV $$", 139], ["kill -KILL $$", 137]]) {
        const run = new Run(installation, WORK, sh(script));
        const ended = await run.ended;
        assert.equal(ended.code, code, `${script}: ${run.err.join("\n")}`);
        await closed(installation, await run.task());
    }
    const none = new Run(installation, WORK, ["/no/such/command"]);
    assert.equal((await none.ended).code, 127);
    await closed(installation, await none.task());
});

test("signals are passed on, and the task ends with what they end", async ({ installation }) => {
    for (const [signal, code] of [["SIGTERM", 143], ["SIGINT", 130], ["SIGHUP", 129]]) {
        const run = new Run(installation, WORK, sh("echo ready; exec sleep 60"));
        const id = await run.task();
        await until("the command", () => run.out.includes("ready"));
        run.child.kill(signal);
        assert.equal((await run.ended).code, code, signal);
        assert.equal((await taskOf(installation, id)).state, "closed");
    }
    const caught = new Run(installation, WORK, sh("trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.1; done"));
    await until("the command", () => caught.out.includes("ready"));
    caught.child.kill("SIGTERM");
    assert.equal((await caught.ended).code, 3);
    assert.ok(caught.out.includes("caught"));
});

test("when `run` is killed its command dies with it and its task within seconds", async ({ installation }) => {
    const run = new Run(installation, [...WORK, "--for", "1h", "--heartbeat", "3"], sh('echo "$BAILIWICK_TOKEN_FILE"; exec sleep 600'));
    const id = await run.task();
    const file = await until("the command", () => run.out[0]);
    const token = readFileSync(file, "utf8");
    // Longer than one heartbeat counts: the next one came.
    await new Promise(done => setTimeout(done, 4_500));
    await permitted(installation.endpoint("files"), token, "echo", { text: "a" });
    const [, child] = family(run.pid);
    const killed = Date.now();
    run.child.kill("SIGKILL");
    await until("the command to die", () => !existsSync(`/proc/${child}`));
    await closed(installation, id);
    assert.ok(Date.now() - killed < 8_000, "the heartbeat ends the task, not its window");
    await deadToken(installation.endpoint("files"), token);
    const { items } = await installation.cli(["log", "tail", "--log", "state", "-n", "5"]);
    assert.ok(JSON.stringify(items).includes("its heartbeat stopped"), "the entry says why");
});

test("`run` ends with its command and by its signals while the service does not answer", async ({ desk }) => {
    // Alone, because it is stopped.
    const installation = await Installation.start("run-frozen");
    await installation.addHttpServer("files", desk.url);
    await installation.addIdentity("worker");
    const words = [...WORK, "--heartbeat", "3"];
    try {
        const [ends, told] = [new Run(installation, words, sh("echo ready; sleep 4; exit 7")), new Run(installation, words, sh("echo ready; exec sleep 60"))];
        await until("the commands", () => [ends, told].every(({ out }) => out.includes("ready")));
        process.kill(installation.service.pid, "SIGSTOP");
        const frozen = Date.now();
        // A heartbeat is due, and waits.
        await new Promise(done => setTimeout(done, 2_500));
        told.child.kill("SIGTERM");
        assert.deepEqual([(await told.ended).code, (await ends.ended).code], [143, 7]);
        assert.ok(Date.now() - frozen < 14_000, "what cannot be closed is not waited for");
        const early = new Run(installation, words, sh("echo started"));
        await new Promise(done => setTimeout(done, 1_000));
        early.child.kill("SIGTERM");
        assert.equal((await early.ended).code, 143);
        assert.deepEqual(early.out, [], "its command never started");
        process.kill(installation.service.pid, "SIGCONT");
        await until("every task to end", async () => {
            const { items } = await installation.cli(["task", "ls"]);
            return items.length >= 2 && items.every(({ state }) => state === "closed");
        }, 15_000);
    } finally {
        process.kill(installation.service.pid, "SIGCONT");
        await installation.stop();
    }
});

test("the heartbeat goes on while tokens are renewed more often than it beats", async ({ desk }) => {
    const installation = await Installation.start("run-renewal", { config: "[tokens]\nttl_secs = 6\n" });
    await installation.addHttpServer("files", desk.url);
    await installation.addIdentity("worker");
    try {
        // The token is renewed each 4 s, the heartbeat is due each 6.
        const run = new Run(installation, [...WORK, "--for", "1h", "--heartbeat", "18"], sh("echo ready; exec sleep 600"));
        const id = await run.task();
        await new Promise(done => setTimeout(done, 24_000));
        assert.equal((await taskOf(installation, id)).state, "open", "its keeper is alive");
        run.child.kill("SIGTERM");
        assert.equal((await run.ended).code, 143);
    } finally {
        await installation.stop();
    }
});

test("a task whose opener is gone before its first word ends by itself", async ({ installation }) => {
    const body = { identity: "worker", purpose: "nobody's", can: ["files:echo"], for_secs: 3_600, heartbeat_secs: 2 };
    const { status, body: opened } = await installation.api("POST", "/v1/tenants/acme/tasks", body, { "idempotency-key": "nobodys-task" });
    assert.equal(status, 201);
    await closed(installation, opened.task.id);
    const { status: refused } = await installation.api("POST", "/v1/tenants/acme/tasks", { ...body, heartbeat_secs: 1 }, { "idempotency-key": "nobodys-other" });
    assert.equal(refused, 400);
});

test("an open task can be used, and a slip is told before anything starts", async ({ installation }) => {
    const { id } = await installation.openTask("worker", ["files:echo"]);
    const run = new Run(installation, ["--task", id], sh('test -s "$BAILIWICK_TOKEN_FILE" && echo "$BAILIWICK_TASK"'));
    assert.equal((await run.ended).code, 0);
    assert.deepEqual(run.out, [id]);
    assert.equal((await taskOf(installation, id)).state, "closed");
    for (const [words, code] of [
        [["--task", id], 1],
        [["--task", "x", "--can", "files:echo"], 2],
        [["--task", id, "--can", "files:echo"], 2],
        [["--identity", "worker", "--task", "x", "--can", "nope:echo"], 1],
        [["--identity", "worker", "--task", "x"], 2],
        [[...WORK, "--heartbeat", "1"], 2]
    ]) {
        const slip = new Run(installation, words, sh("echo started"));
        assert.equal((await slip.ended).code, code, `${words}: ${slip.err.join("\n")}`);
        assert.deepEqual(slip.out, []);
    }
    assert.ok(!existsSync(join(installation.folder, "started")));
});

test("without an egress proxy a task with a destination, or a placeholder, is refused and not run past it", async ({ installation }) => {
    const words = ["server", "add", "billing", "--destination", "https://api.billing.example", "--method", "GET"];
    const answerable = ["--owner", "finance", "--owner-contact", "f@acme.example", "--purpose", "p", "--expires", "30d"];
    await installation.cli([...words, ...answerable]);
    const granted = ["--identity", "worker", "--task", "read invoices", "--can", "billing:GET"];
    for (const [more, code] of [[granted, 2], [[...WORK, "--placeholder", "KEY"], 2], [[...granted, "--no-proxy"], 0]]) {
        const run = new Run(installation, more, sh("echo started"));
        assert.equal((await run.ended).code, code, `${more}: ${run.err.join("\n")}`);
        assert.deepEqual(run.out, code === 0 ? ["started"] : []);
        assert.equal(run.err.join("\n").includes("proxy.listen"), code !== 0, run.err.join("\n"));
        await closed(installation, await run.task());
    }
});
