// Three nodes are restarted one after the other under load: callers that try
// the next node lose nothing, and no command is lost or done twice. Then what
// goes on beside the schema of a version to come.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { Desk } from "../lib/desk.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { callTool } from "../lib/mcp.mjs";
import { Nodes, statement } from "../lib/node.mjs";
import { until } from "../lib/wait.mjs";
import { setTimeout as sleep } from "node:timers/promises";

const CALLERS = 4;
const TRIES_MAX = 40;
const AGAIN_MS = 100;
const ROUNDS = 2;

suite("rolling", async () => {
    const nodes = await Nodes.open("rolling");
    const desk = await Desk.open();
    await nodes.first.addHttpServer("files", desk.url);
    const worker = await nodes.first.addIdentity("worker");
    const { token } = await nodes.first.openTask(worker.id, ["files:echo"], { window: "30m" });
    const all = [nodes.first, await nodes.add("node-b"), await nodes.add("node-c")];
    for (const node of all) {
        await nodes.level(node);
    }
    return {
        nodes,
        desk,
        all,
        token,
        stop: async () => {
            await nodes.stop();
            await desk.close();
        }
    };
});

/** What a caller behind a balancer does: the next node, when this one is away or says that it cannot answer now. */
class Caller {
    constructor(nodes, all, at) {
        Object.assign(this, { nodes, all, at, tries: [], refused: [] });
    }

    async #ask(attempt) {
        for (let n = 1; n <= TRIES_MAX; n += 1) {
            const node = this.all[this.at % this.all.length];
            try {
                const { status, done, told } = await attempt(node);
                if (done) {
                    this.tries.push(n);
                    return;
                }
                if (status !== 503) {
                    this.refused.push(told);
                    return;
                }
            } catch (error) {
                // Node's `fetch` hides what became of the connection one level below.
                const code = error.code ?? error.cause?.code;
                assert.match(String(code), /^(ECONNREFUSED|ECONNRESET|EPIPE|UND_ERR_SOCKET)$/, error.stack);
            }
            this.at += 1;
            await sleep(AGAIN_MS);
        }
        this.refused.push(`nobody answered within ${TRIES_MAX} tries`);
    }

    call(token, text) {
        return this.#ask(async node => {
            const reply = await callTool(this.nodes.endpoint(node, "files"), token, "echo", { text });
            return { status: reply.status, done: reply.result !== undefined, told: `${reply.status} ${reply.text}` };
        });
    }

    add(name) {
        const key = randomUUID();
        const expires = new Date(Date.now() + 86_400_000).toISOString();
        const body = { name, kind: "agent", owner: { team: "finance", contact: "f@acme.example" }, purpose: "rolling", expires_at: expires };
        return this.#ask(async node => {
            const headers = { authorization: `Bearer ${await this.nodes.first.session({ aud: this.nodes.base })}`, "content-type": "application/json", "idempotency-key": key };
            const response = await fetch(`${node.address ?? this.nodes.base}/v1/tenants/acme/identities`, { method: "POST", headers, body: JSON.stringify(body) });
            return { status: response.status, done: response.status === 201, told: `${response.status} ${await response.text()}` };
        });
    }
}

const nameOf = (all, node) => ["node-a", "node-b", "node-c"][all.indexOf(node)];

/** Drains a node by a word to another one, restarts it, and lets it lead again. */
async function restart(nodes, all, node) {
    const name = nameOf(all, node);
    const by = all.find(other => other !== node);
    const drained = await nodes.ask(by, "POST", `/v1/nodes/${name}/drain`, { reason: "rolling" });
    assert.equal(drained.status, 200, JSON.stringify(drained.body));
    await until("another node to lead", async () => (await nodes.health(by)).leader !== name, 20_000);
    assert.equal((await node.service.stop()).code, 0);
    await node.serve();
    await until("the node to be ready", async () => (await nodes.health(node)).fresh, 20_000);
    const back = await nodes.ask(by, "POST", `/v1/nodes/${name}/undrain`, { reason: "rolled" });
    assert.equal(back.status, 200, JSON.stringify(back.body));
    await until("the node to be live", async () => (await nodes.health(by)).live_nodes === all.length, 20_000);
}

test("three nodes are restarted in turn under load: no legitimate call is refused, no command lost or doubled", async ({ nodes, desk, all, token }) => {
    let going = true;
    const callers = Array.from({ length: CALLERS }, (_, at) => new Caller(nodes, all, at));
    const names = [];
    const loads = callers.map(async (caller, at) => {
        for (let n = 0; going; n += 1) {
            await caller.call(token, `${at}-${n}`);
            if (n % 10 === 0) {
                names.push(`rolled-${at}-${n}`);
                await caller.add(names.at(-1));
            }
        }
    });
    try {
        for (let round = 0; round < ROUNDS; round += 1) {
            for (const node of all) {
                await restart(nodes, all, node);
            }
        }
    } finally {
        going = false;
        await Promise.all(loads);
    }
    const tries = callers.flatMap(caller => caller.tries);
    assert.deepEqual(callers.flatMap(caller => caller.refused), []);
    assert.ok(desk.count("echo") >= tries.length - names.length, "each call that was answered reached the server");
    const found = new Map();
    for (let after = ""; after !== undefined; ) {
        const page = (await nodes.ask(nodes.first, "GET", `/v1/tenants/acme/identities${after}`)).body;
        page.items.forEach(({ name }) => found.set(name, (found.get(name) ?? 0) + 1));
        after = page.next === undefined || page.next === null ? undefined : `?after=${encodeURIComponent(page.next)}`;
    }
    assert.deepEqual(names.filter(name => found.get(name) !== 1), [], "each is there once");
    figure("rolling: calls and commands, at the first try, at the last", `${tries.length}, ${tries.filter(n => n === 1).length}, ${Math.max(...tries)}`);
}, { max: 180_000 });

test("beside a newer schema the nodes of this version go on, and none starts on it", async ({ nodes, all, token }) => {
    const [, second] = all;
    const table = name => `${nodes.schema}.${name}`;
    statement(`ALTER TABLE ${table("identity")} ADD COLUMN of_a_version_to_come TEXT`);
    statement(`INSERT INTO ${table("_sqlx_migrations")} (version, description, success, checksum, execution_time) VALUES (999999, 'to come', true, '\\x00', 0)`);
    const added = await nodes.ask(second, "POST", "/v1/tenants/acme/identities", {
        name: "beside",
        kind: "agent",
        owner: { team: "finance", contact: "f@acme.example" },
        purpose: "rolling",
        expires_at: new Date(Date.now() + 86_400_000).toISOString()
    });
    assert.equal(added.status, 201, JSON.stringify(added.body));
    await nodes.level(second);
    assert.equal((await nodes.ask(nodes.first, "GET", "/v1/tenants/acme/identities/beside")).status, 200);
    const served = await callTool(nodes.endpoint(second, "files"), token, "echo", { text: "beside" });
    assert.ok(served.result, served.text);
    await second.service.stop();
    await assert.rejects(second.serve(), /newer/);
    statement(`DELETE FROM ${table("_sqlx_migrations")} WHERE version = 999999`);
    await second.serve();
});
