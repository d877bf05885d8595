// Two nodes on one PostgreSQL, each in a network namespace of its own: their
// cables are pulled and put back, with kills meanwhile.
//
//   node cut-network.mjs
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Cluster } from "./lib/cluster.mjs";
import { Desk } from "./lib/desk.mjs";
import { runBinary } from "./lib/installation.mjs";
import { figure, run, suite, test } from "./lib/lane.mjs";
import { callTool } from "./lib/mcp.mjs";
import { Nodes } from "./lib/node.mjs";
import { Place } from "./lib/place.mjs";
import { until } from "./lib/wait.mjs";

const BOUND_SECS = 3;
const BACK_MAX_MS = 20_000;
const CAN = ["files:echo"];

suite("cut network", async () => {
    const cluster = await Cluster.open();
    const ended = [() => cluster.stop()];
    const stop = async () => {
        for (const end of ended.reverse()) {
            await end();
        }
    };
    try {
        cluster.admin("CREATE ROLE service LOGIN PASSWORD 'service'");
        cluster.admin("CREATE DATABASE installation OWNER service");
        const desk = await Desk.open();
        ended.push(() => desk.close());
        const places = {};
        for (const node of ["node-a", "node-b"]) {
            places[node] = await Place.open(cluster.socket);
            ended.push(() => places[node].close());
        }
        const settle = async (node, port) => {
            await places[node].admit(port, Number(new URL(desk.url).port));
            return { wrapper: places[node].wrapper };
        };
        const store = () => "postgresql://service:service@127.0.0.1:5432/installation?sslmode=disable";
        const nodes = await Nodes.open("cut-network", { store, settle, refuse: BOUND_SECS, more: '[tokens]\nttl_secs = 3600\n[telemetry]\nlevel = "warn"\n' });
        ended.push(() => nodes.stop());
        await nodes.first.addHttpServer("files", desk.url);
        const second = await nodes.add("node-b");
        await nodes.first.addIdentity("worker");
        const worker = await nodes.first.openTask("worker", CAN, { window: "12h" });
        return { desk, nodes, second, worker, places, both: [nodes.first, second], stop };
    } catch (error) {
        await stop();
        throw error;
    }
}, { alone: true });

const call = ({ nodes }, node, token, text) => callTool(nodes.endpoint(node, "files"), token, "echo", { text });
const isStale = reply => reply.error?.data?.code === "snapshot.stale";

/** An agent whom both nodes serve. */
async function victim(context, name) {
    const { id } = await context.nodes.first.addIdentity(name);
    const { token } = await context.nodes.first.openTask(name, CAN, { window: "12h" });
    for (const node of context.both) {
        await until(`${name} to be served`, async () => (await call(context, node, token, `${name} before`)).result !== undefined);
    }
    return { id, token, name };
}

const kill = ({ nodes }, node, { id, name }) => nodes.ask(node, "POST", "/v1/tenants/acme/kill", { scope: "identity", name: id, reason: name });

/** Not served by this node, from now on. */
async function refused(context, node, { token, name }) {
    const late = `${name} dead at ${node.port}`;
    await until(`the refusal of ${name}`, async () => {
        const reply = await call(context, node, token, late);
        assert.equal(reply.result, undefined, `${name} was served: ${reply.text}`);
        return reply.status === 401;
    }, BACK_MAX_MS);
    assert.ok(!context.desk.calls.some(({ args }) => args.text === late), `${name}: a dead call was forwarded`);
}

/** Not served where it was killed, and by nobody as soon as the others have it in their state. */
async function dead(context, here, agent) {
    await refused(context, here, agent);
    for (const node of context.both) {
        const path = `/v1/tenants/acme/identities/${agent.id}`;
        await until(`the end of ${agent.name} in the state log`, async () => (await context.nodes.ask(node, "GET", path)).body?.state === "retired", BACK_MAX_MS);
        await until(`the end of ${agent.name} in what the node decides by`, async () => (await call(context, node, agent.token, "heard")).result === undefined, BACK_MAX_MS);
        await refused(context, node, agent);
    }
}

/** How long until every node serves again. */
async function back(context) {
    const began = performance.now();
    for (const node of context.both) {
        await until("service", async () => (await call(context, node, context.worker.token, "back")).result !== undefined, BACK_MAX_MS);
    }
    return performance.now() - began;
}

test("a node whose cable is pulled serves on its last word and refuses behind it, and a kill elsewhere is contained when that is over", async context => {
    const { nodes, second, worker, places, desk } = context;
    const agent = await victim(context, "cut-there");
    places["node-b"].cut();
    const early = await call(context, second, worker.token, "early");
    assert.ok(early.result, `the last fresh word was not used: ${early.text}`);
    const began = performance.now();
    const killed = await kill(context, nodes.first, agent);
    const ms = performance.now() - began;
    assert.equal(killed.status, 200, JSON.stringify(killed.body));
    const ends = Object.fromEntries(killed.body.nodes.map(({ node, end }) => [node, end]));
    assert.deepEqual(ends, { "node-a": "acknowledged", "node-b": "lapsed" });
    assert.ok(Number.isInteger(killed.body.contained_us), JSON.stringify(killed.body));
    for (const [node, token] of [[nodes.first, agent.token], [second, agent.token]]) {
        const reply = await call(context, node, token, "cut-there contained");
        assert.equal(reply.result, undefined, `served after it was contained: ${reply.text}`);
    }
    assert.ok(!desk.calls.some(({ args }) => args.text === "cut-there contained"), "a dead call was forwarded");
    assert.ok(isStale(await call(context, second, worker.token, "late")), "a node without a fresh word serves");
    assert.ok((await call(context, nodes.first, worker.token, "beside")).result, "the other node goes on");
    places["node-b"].heal();
    figure("cable of one node", `a kill elsewhere is contained after ${ms.toFixed(0)} ms, service is back ${(await back(context)).toFixed(0)} ms after it is in again`);
    await dead(context, nodes.first, agent);
});

test("a kill at a node whose cable is pulled holds there at once, and everywhere when it is in again", async context => {
    const { second, places } = context;
    const agent = await victim(context, "cut-here");
    places["node-b"].cut();
    const killing = kill(context, second, agent);
    await until("the mark in memory", async () => (await call(context, second, agent.token, "cut-here marked")).result === undefined, 2_000);
    const killed = await killing;
    assert.equal(killed.body?.code, "kill.local-only", JSON.stringify(killed.body));
    places["node-b"].heal();
    await back(context);
    await dead(context, second, agent);
});

test("with all cables pulled every node refuses behind its last word, kills hold where they are given, and all comes back by itself", async context => {
    const { nodes, both, worker, places } = context;
    const agents = [await victim(context, "all-a"), await victim(context, "all-b")];
    Object.values(places).forEach(place => place.cut());
    const killing = both.map((node, at) => kill(context, node, agents[at]));
    for (const node of both) {
        await until("the bound", async () => isStale(await call(context, node, worker.token, "alone")), 3 * BOUND_SECS * 1_000);
    }
    const codes = (await Promise.all(killing)).map(({ body }) => body?.code);
    assert.deepEqual(codes, ["kill.local-only", "kill.local-only"]);
    await sleep(500);
    Object.values(places).forEach(place => place.heal());
    figure("cables of all nodes", `service is back ${(await back(context)).toFixed(0)} ms after they are in again`);
    for (const [at, agent] of agents.entries()) {
        await dead(context, both[at], agent);
    }
    const { items } = (await nodes.ask(nodes.first, "GET", "/v1/tenants/acme/identities")).body;
    assert.equal(items.find(({ name }) => name === "worker").state, "active");
});

test("every call that arrived is recorded by the node that let it through, and all logs verify", async ({ nodes, both, desk }) => {
    let permits = 0;
    for (const node of both) {
        for (let from = 0, more = [undefined]; more.length > 0; from += more.length) {
            more = (await nodes.ask(node, "GET", `/v1/logs/decisions/entries?from=${from}`)).body.items;
            permits += more.filter(({ payload }) => payload?.effect === "permit" && payload.action === "tools/call").length;
        }
        await node.service.stop();
        const { data, folder } = node;
        const verified = await runBinary(["--json", "log", "verify", "--data", data], { folder });
        assert.equal(verified.code, 0, verified.stdout);
    }
    assert.ok(desk.calls.length > 0 && desk.calls.length <= permits, `${desk.calls.length} calls arrived, ${permits} have a record`);
});

await run("cut network");
