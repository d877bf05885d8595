// Sidecars that hear at one of several nodes: a kill at another one waits for them without knowing them.
import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { suite, test } from "../lib/lane.mjs";
import { Nodes } from "../lib/node.mjs";
import { until } from "../lib/wait.mjs";

const encoded = value => Buffer.from(JSON.stringify(value)).toString("base64url");
const raw = key => Buffer.from(key.export({ format: "jwk" }).x, "base64url");

/** The verifier key of a log (C2SP signed-note). */
function vkey(origin, key) {
    const typed = Buffer.concat([Buffer.from([1]), raw(key)]);
    const digest = createHash("sha256").update(`${origin}\n`).update(typed).digest("hex");
    return `${origin}+${digest.slice(0, 8)}+${typed.toString("base64")}`;
}

/** Speaks as a sidecar does, and decides nothing. */
class Speaker {
    constructor(nodes, name) {
        Object.assign(this, { nodes, name, beat: 0, held: { epoch: 0, position: 0 } });
        this.own = generateKeyPairSync("ed25519");
        this.log = generateKeyPairSync("ed25519");
    }

    async join(token, at) {
        const origin = `${new URL(this.nodes.base).host}/decisions/${this.name}`;
        const body = { sidecar: this.name, token, key: raw(this.own.publicKey).toString("base64url"), vkey: vkey(origin, this.log.publicKey) };
        return this.post(at, "/v1/sidecars/join", JSON.stringify(body), {});
    }

    async post(at, path, body, headers) {
        const response = await fetch(`${at.address ?? this.nodes.base}${path}`, { method: "POST", headers: { "content-type": "application/json", ...headers }, body });
        return { status: response.status, body: await response.json() };
    }

    signed(body) {
        const now = Math.floor(Date.now() / 1_000);
        const digest = createHash("sha256").update(body).digest("hex");
        const claims = { iss: this.name, aud: this.nodes.base, iat: now, exp: now + 60, jti: randomUUID(), body: digest };
        const text = `${encoded({ alg: "EdDSA", typ: "bailiwick-sidecar+jwt" })}.${encoded(claims)}`;
        return `${text}.${sign(null, Buffer.from(text), this.own.privateKey).toString("base64url")}`;
    }

    send(at, { body, token }) {
        return this.post(at, `/v1/sidecars/${this.name}/word`, body, { authorization: `Bearer ${token}` });
    }

    word(more = {}) {
        this.beat += 1;
        const body = JSON.stringify({ process: "one", beat: this.beat, ...this.held, wait_ms: 0, leaves: false, ...more });
        return { body, token: this.signed(body) };
    }

    /** Says what it holds, and holds what it is told. */
    async hear(at, more) {
        const told = await this.send(at, this.word(more));
        assert.equal(told.status, 200, JSON.stringify(told.body));
        this.held = { epoch: told.body.epoch, position: told.body.position };
        return told.body;
    }
}

suite("hearing", async () => {
    const nodes = await Nodes.open("hearing");
    nodes.second = await nodes.add("node-b");
    return { nodes, stop: () => nodes.stop() };
});

async function killed(nodes, name) {
    await nodes.first.addIdentity(name);
    await nodes.level(nodes.second);
    return () => nodes.ask(nodes.first, "POST", "/v1/tenants/acme/kill", { scope: "identity", name, reason: "a drill" });
}

const line = (receipt, name) => receipt.body.nodes.find(({ node }) => node === name);

test("a sidecar that was invited at one node joins and hears at another", async context => {
    const { nodes } = context;
    const tokenFile = join(nodes.first.folder, "sidecar-token");
    await nodes.first.cli(["sidecar", "invite", "s1", "--tenant", "acme", "--token-file", tokenFile], { tenant: null });
    const speaker = new Speaker(nodes, "s1");
    const joined = await speaker.join(readFileSync(tokenFile, "utf8").trim(), nodes.second);
    assert.equal(joined.status, 200, JSON.stringify(joined.body));
    assert.equal(joined.body.refuse_ms, nodes.refuse * 1_000);
    const told = await speaker.hear(nodes.second);
    assert.match(told.snapshot.body, /"acme"/);
    const { items } = await nodes.first.cli(["sidecar", "ls"], { tenant: null });
    assert.deepEqual(items.map(({ sidecar, node, standing }) => [sidecar, node, standing]), [["s1", "node-b", "live"]]);
    context.speaker = speaker;
});

test("a kill at one node waits for the sidecar at the other, and its receipt says where it hears", async ({ nodes, speaker }) => {
    const kill = await killed(nodes, "one");
    await speaker.hear(nodes.second);
    const listening = (async () => {
        const told = await speaker.hear(nodes.second, { wait_ms: 600 });
        assert.ok(told.snapshot, "the stop");
        await sleep(400);
        await speaker.hear(nodes.second);
    })();
    const [receipt] = await Promise.all([kill(), listening]);
    assert.equal(receipt.status, 200, JSON.stringify(receipt.body));
    const own = line(receipt, "s1");
    assert.deepEqual([own.end, own.at], ["acknowledged", "node-b"], JSON.stringify(receipt.body.nodes));
    assert.equal(line(receipt, "node-b").end, "acknowledged");
    assert.ok(receipt.body.contained_us >= 400_000, `contained after ${receipt.body.contained_us} us`);
});

test("one that is silent at the other node costs its lease, and stays open until it comes", async ({ nodes, speaker }) => {
    const kill = await killed(nodes, "two");
    await speaker.hear(nodes.second);
    const receipt = await kill();
    assert.equal(line(receipt, "s1").end, "lapsed", JSON.stringify(receipt.body));
    assert.ok(receipt.body.contained_us >= 1_000_000, `contained after ${receipt.body.contained_us} us`);
    const open = async () => {
        const { body } = await nodes.ask(nodes.first, "GET", `/v1/tenants/acme/kills/${receipt.body.receipt}`);
        const { residue } = body.body ?? body;
        return residue.filter(item => item.kind === "sidecar" && item.closed_at === undefined);
    };
    await until("the residue to name it", async () => (await open()).length === 1);
    await speaker.hear(nodes.second);
    await speaker.hear(nodes.second);
    await until("the residue to close", async () => {
        await speaker.hear(nodes.second);
        return (await open()).length === 0;
    });
});

test("what one node took works at no other, and a sidecar goes where it hears", async ({ nodes, speaker }) => {
    const word = speaker.word();
    assert.equal((await speaker.send(nodes.second, word)).status, 200);
    const again = await speaker.send(nodes.first, word);
    assert.deepEqual([again.status, again.body.code], [401, "sidecar.word"]);
    await speaker.hear(nodes.first);
    const { items } = await nodes.first.cli(["sidecar", "ls"], { tenant: null });
    assert.equal(items[0].node, "node-a");
    const kill = await killed(nodes, "three");
    await speaker.hear(nodes.first);
    const receipt = await kill();
    assert.deepEqual([line(receipt, "s1").end, line(receipt, "s1").at], ["lapsed", "node-a"], JSON.stringify(receipt.body.nodes));
});

test("a node that fell is waited for with those who heard there", async ({ nodes, speaker }) => {
    const kill = await killed(nodes, "four");
    await speaker.hear(nodes.second);
    process.kill(nodes.second.service.pid, "SIGKILL");
    const began = Date.now();
    const receipt = await kill();
    assert.equal(line(receipt, "node-b").end, "lapsed", JSON.stringify(receipt.body.nodes));
    assert.ok(Date.now() - began >= 1_500, "a lease");
});

test("a removed sidecar is told nothing at any node", async ({ nodes, speaker }) => {
    const { items } = await nodes.first.cli(["sidecar", "rm", "s1", "--reason", "its machine was sold"], { tenant: null });
    assert.equal(items[0].standing, "removed");
    const refused = await speaker.send(nodes.first, speaker.word());
    assert.deepEqual([refused.status, refused.body.code], [401, "sidecar.removed"]);
});
