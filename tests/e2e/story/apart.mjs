// Two nodes and what can come between them: their database stopped, one of them
// cut off from it, the leader killed, a second process under a node's name, and
// what one of them took shown to the other.
import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync, randomBytes } from "node:crypto";
import { cpSync, mkdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SignJWT } from "../../interop/lib/jose.mjs";
import { Cluster } from "../lib/cluster.mjs";
import { Desk } from "../lib/desk.mjs";
import { Door } from "../lib/door.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { callTool, deadToken, permitted } from "../lib/mcp.mjs";
import { Nodes, freePort } from "../lib/node.mjs";
import { ASSERTION_TYPE, assertion } from "../lib/oauth.mjs";
import { until } from "../lib/wait.mjs";

const SCOPE = 'files:read_text_file(path under "/srv/in")';
const ARGUMENT = { path: "/srv/in/a.txt" };

suite("apart", async () => {
    const cluster = await Cluster.open();
    cluster.admin("CREATE ROLE service LOGIN PASSWORD 'service'");
    cluster.admin("CREATE DATABASE installation OWNER service");
    const door = await Door.open(() => connect(cluster.socket));
    const store = node => `postgresql://service:service@127.0.0.1:${node === "node-b" ? door.port : cluster.port}/installation?sslmode=disable`;
    const nodes = await Nodes.open("apart", { store });
    const second = await nodes.add("node-b");
    const desk = await Desk.open();
    await nodes.first.addHttpServer("files", desk.url);
    await nodes.first.addIdentity("invoices");
    return {
        cluster,
        door,
        nodes,
        second,
        desk,
        stop: async () => {
            door.release();
            await nodes.stop();
            await desk.close();
            door.close();
            await cluster.stop();
        }
    };
});

/** One request at the token endpoint of a node. */
async function asked(nodes, installation, form, headers = {}) {
    const response = await fetch(`${installation.address ?? nodes.base}/t/acme/token`, {
        method: "POST",
        headers: { "content-type": "application/x-www-form-urlencoded", ...headers },
        body: new URLSearchParams(form).toString()
    });
    return { status: response.status, headers: response.headers, body: await response.json() };
}

/** A client of `invoices`, its key, and a way to ask for tokens. */
async function client(nodes, proof) {
    const file = join(nodes.first.folder, `client-${proof}.jwk`);
    const added = await nodes.first.cli(["client", "add", "invoices", "--generate", file, "--algorithm", "EdDSA", "--proof", proof]);
    const jwk = { ...createPrivateKey(readFileSync(file)).export({ format: "jwk" }), alg: "EdDSA" };
    const { id: task } = await nodes.first.openTask("invoices", [SCOPE]);
    const form = async () => ({
        grant_type: "client_credentials",
        client_assertion_type: ASSERTION_TYPE,
        client_assertion: await assertion({ jwk, clientId: added.client_id, audience: `${nodes.base}/t/acme` }),
        task
    });
    return { form };
}

test("an assertion that one node took is refused by the other", async ({ nodes, second }) => {
    const { form } = await client(nodes, "none");
    await nodes.level(second);
    // It waits out what could have been used before the start.
    const first = await until("the node to take assertions", async () => {
        const fresh = await form();
        const answer = await asked(nodes, nodes.first, fresh);
        return answer.status === 200 && { answer, fresh };
    }, 40_000);
    const again = await asked(nodes, second, first.fresh);
    assert.deepEqual([again.status, again.body.error], [401, "invalid_client"], JSON.stringify(again.body));
    assert.match(again.body.error_description, /used before/);
    const other = await form();
    assert.equal((await asked(nodes, second, other)).status, 200);
    const there = await asked(nodes, nodes.first, other);
    assert.deepEqual([there.status, there.body.error], [401, "invalid_client"]);
});

test("a proof of possession that one node took says nothing to the other", async ({ nodes, second }) => {
    const { form } = await client(nodes, "dpop");
    await nodes.level(second);
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const proof = nonce =>
        new SignJWT({ htm: "POST", htu: `${nodes.base}/t/acme/token`, jti: randomBytes(16).toString("hex"), iat: Math.floor(Date.now() / 1000), nonce })
            .setProtectedHeader({ alg: "ES256", typ: "dpop+jwt", jwk: publicKey.export({ format: "jwk" }) })
            .sign(privateKey);
    const unproven = await asked(nodes, nodes.first, await form(), { dpop: await proof(undefined) });
    assert.equal(unproven.body.error, "use_dpop_nonce", JSON.stringify(unproven.body));
    const used = await proof(unproven.headers.get("dpop-nonce"));
    assert.equal((await asked(nodes, nodes.first, await form(), { dpop: used })).status, 200);
    assert.equal((await asked(nodes, nodes.first, await form(), { dpop: used })).body.error, "invalid_dpop_proof");
    assert.equal((await asked(nodes, second, await form(), { dpop: used })).body.error, "use_dpop_nonce");
});

test("an operator's session that one node took is refused by the other", async ({ nodes, second }) => {
    const session = await nodes.first.session({ aud: nodes.base });
    const words = { name: "once", kind: "agent", owner: { team: "finance", contact: "f@acme.example" }, purpose: "once", expires_at: new Date(Date.now() + 86_400_000).toISOString() };
    const send = (installation, path, body) =>
        fetch(`${installation.address ?? nodes.base}${path}`, {
            method: "POST",
            headers: { authorization: `Bearer ${session}`, "content-type": "application/json" },
            body: JSON.stringify(body)
        });
    assert.equal((await send(second, "/v1/tenants/acme/identities", words)).status, 201);
    const again = await send(nodes.first, "/v1/tenants/acme/identities", { ...words, name: "twice" });
    assert.equal(again.status, 401);
    assert.equal((await again.json()).code, "session.used");
});

test("a second process under a node's name is refused while the first lives, and the first goes on", async ({ nodes, second }) => {
    const copy = nodes.prepared("node-b");
    copy.port = await freePort();
    mkdirSync(copy.data, { recursive: true, mode: 0o700 });
    cpSync(second.data, copy.data, { recursive: true, filter: from => !from.endsWith("claim.sock") });
    await assert.rejects(copy.serve(), /another process serves as node `node-b`/);
    assert.equal((await nodes.health(second)).fresh, true);
    assert.equal((await nodes.list())["node-b"].standing, "live");
});

test("a node that is cut off from the database refuses when its word is over, and a kill waits for that", async ({ nodes, second, door }) => {
    const task = await nodes.first.openTask("invoices", [SCOPE]);
    await nodes.level(second);
    await permitted(nodes.endpoint(second, "files"), task.token, "read_text_file", ARGUMENT);
    door.become("silent");
    // It answers on the word that it has: nobody tells it of the kill.
    await permitted(nodes.endpoint(second, "files"), task.token, "read_text_file", ARGUMENT);
    const killing = nodes.first.kill("task", task.id);
    let last = 0;
    let done = false;
    const calling = (async () => {
        while (!done) {
            const begun = Date.now();
            const answer = await callTool(nodes.endpoint(second, "files"), task.token, "read_text_file", ARGUMENT);
            last = answer.result === undefined ? last : begun;
            await sleep(20);
        }
    })();
    const receipt = await killing;
    const contained = Date.now();
    const answers = [];
    for (let n = 0; n < 20; n += 1) {
        answers.push(await callTool(nodes.endpoint(second, "files"), task.token, "read_text_file", ARGUMENT));
    }
    done = true;
    await calling;
    const ends = Object.fromEntries(receipt.nodes.map(({ node, end }) => [node, end]));
    assert.deepEqual(ends, { "node-a": "acknowledged", "node-b": "lapsed" });
    assert.ok(answers.every(answer => answer.result === undefined), "a call passed after containment");
    assert.ok(last < contained, "a call that began after containment passed");
    figure("apart: one of two cut off, kill committed → contained, µs", receipt.contained_us);
    door.release();
    await until("the node to be fresh again", async () => (await nodes.health(second)).fresh, 20_000);
    await deadToken(nodes.endpoint(second, "files"), task.token);
});

test("without the database both refuse when their word is over, and go on when it is back", async ({ nodes, second, cluster, desk }) => {
    const task = await nodes.first.openTask("invoices", [SCOPE]);
    await nodes.level(second);
    const both = [nodes.first, second].map(installation => nodes.endpoint(installation, "files"));
    await Promise.all(both.map(url => permitted(url, task.token, "read_text_file", ARGUMENT)));
    await cluster.end();
    for (const installation of [nodes.first, second]) {
        await until("the node to refuse", async () => !(await nodes.health(installation)).fresh);
    }
    const before = desk.count("read_text_file");
    for (const url of both) {
        const answer = await callTool(url, task.token, "read_text_file", ARGUMENT);
        assert.equal(answer.result, undefined, answer.text);
    }
    assert.equal(desk.count("read_text_file"), before, "nothing was forwarded");
    await cluster.begin();
    const healing = Date.now();
    for (const installation of [nodes.first, second]) {
        await until("the node to be fresh again", async () => (await nodes.health(installation)).fresh, 20_000);
    }
    figure("apart: database back → both nodes fresh, ms", Date.now() - healing);
    await Promise.all(both.map(url => permitted(url, task.token, "read_text_file", ARGUMENT)));
    const receipt = await nodes.first.kill("task", task.id);
    assert.deepEqual(receipt.nodes.map(({ end }) => end), ["acknowledged", "acknowledged"]);
    await Promise.all(both.map(url => deadToken(url, task.token)));
});

test("the leader is killed: another looks after what is due, and nothing of it is done twice", async ({ nodes, second }) => {
    const made = async () => {
        const { body } = await nodes.ask(second, "GET", "/v1/logs/state/entries?from=0");
        return body.items.filter(entry => entry.leaf.kind === "state.key.add").length;
    };
    await nodes.first.cli(["node", "drain", "node-b", "--reason", "the first is to lead"], { tenant: null });
    await until("the first to lead", async () => (await nodes.health(second)).leader === "node-a", 20_000);
    await nodes.first.cli(["node", "undrain", "node-b", "--reason", "it may follow"], { tenant: null });
    const before = await made();
    await nodes.first.service.stop("SIGKILL");
    const rotated = await nodes.ask(second, "POST", "/v1/tenants/acme/keys/rotate", { now: true, reason: "the leader is gone" });
    assert.equal(rotated.status, 200, JSON.stringify(rotated.body));
    await until("the other to lead", async () => (await nodes.health(second)).leader === "node-b", 20_000);
    await until("the next key to be made", async () => (await made()) === before + 1, 20_000);
    const begun = Date.now();
    await nodes.first.serve();
    assert.ok(Date.now() - begun < 20_000, "a start in the same place waits for nobody");
    await nodes.level(nodes.first);
    await sleep(2_500); // two looks of a leader
    assert.equal(await made(), before + 1);
    assert.equal((await nodes.health(nodes.first)).leader, "node-b");
});
