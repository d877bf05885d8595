// What opens a destination: its secret is replaced in place, or is that of a
// third-party credential, which rotation and revocation then reach.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { Installation } from "../lib/installation.mjs";
import { keyService } from "../lib/keyservice.mjs";
import { suite, test } from "../lib/lane.mjs";
import { files, forms } from "../lib/scan.mjs";
import { until } from "../lib/wait.mjs";

const DOCUMENT = join(import.meta.dirname, "../../../content/rotation/api-keys.toml");
const ANSWERABLE = ["--owner", "platform", "--owner-contact", "platform@acme.example", "--purpose", "end-to-end test", "--expires", "90d"];
const shown = async ({ installation }, name) => (await installation.api("GET", `/v1/tenants/acme/credentials/${name}`)).body;

/** What an agent is answered that goes through the proxy with the token of its task. */
async function reach({ installation, service }, token) {
    const [host, port] = (await installation.api("GET", "/v1/tenants/acme/egress")).body.proxy.split(":");
    return new Promise((done, fail) => {
        const headers = { host: new URL(service.url).host, "proxy-authorization": `Bearer ${token}` };
        request({ host, port, path: `${service.url}/v1/whoami`, headers, agent: false }, answer => {
            const chunks = [];
            answer.on("data", chunk => chunks.push(chunk));
            answer.on("end", () => done({ status: answer.statusCode, body: JSON.parse(Buffer.concat(chunks)) }));
        }).on("error", fail).end();
    });
}

suite("opener", async () => {
    const managing = `canary-${randomBytes(18).toString("hex")}`;
    const service = await keyService(managing);
    const [first, second, third] = ["first", "second", "third"].map(name => service.add(name));
    const installation = await Installation.start("opener", { config: '[proxy]\nlisten = "127.0.0.1:0"\n' });
    await installation.addIdentity("agent");
    await installation.addIdentity("orders", { kind: "service-account", owner: "sales" });
    const here = ["--destination", service.url, "--allow-address", "127.0.0.0/8", "--allow-plaintext", "--method", "GET"];
    const add = (name, words, input) => installation.cli(["server", "add", name, ...here, ...words, ...ANSWERABLE], { input });
    const stop = async () => {
        await installation.stop();
        await service.stop();
    };
    return { installation, service, managing, first, second, third, add, secrets: [managing, first.secret, second.secret, third.secret], stop };
});

test("the secret of a destination is replaced in place, and the old one is forgotten", async context => {
    const { installation, service, first, second, add } = context;
    const before = await add("mail", ["--header", "Authorization: Bearer {secret}", "--credential-file", "-"], first.secret);
    context.token = (await installation.openTask("agent", ["mail:GET"], { window: "1h" })).token;
    assert.deepEqual((await reach(context, context.token)).body, { id: first.id });
    service.keys.delete(first.id);
    assert.equal((await reach(context, context.token)).status, 401);
    await installation.refused(["server", "credential", "mail"], 2, "cli.usage");
    await installation.refused(["server", "credential", "nobody", "--credential-file", "-"], 8, "request.not-found", { input: second.secret });
    const after = await installation.cli(["server", "credential", "mail", "--credential-file", "-"], { input: `${second.secret}\n` });
    assert.notEqual(after.credential, before.credential);
    assert.deepEqual({ ...after, credential: before.credential }, before, "nothing else has changed");
    assert.equal((await reach(context, context.token)).body.id, second.id, "the next request has the new secret");
    const { items } = await installation.cli(["log", "tail", "--log", "state", "-n", "8"]);
    const kinds = items.map(({ leaf }) => leaf.kind);
    for (const kind of ["state.credential.add-upstream", "state.server.credential-replace", "state.credential.remove"]) {
        assert.ok(kinds.includes(kind), `${kind}: ${kinds}`);
    }
});

test("a destination without a place for a secret is given none", async ({ installation, service, second }) => {
    const url = service.url.replace("127.0.0.1", "localhost");
    await installation.cli(["server", "add", "bare", "--destination", url, "--allow-address", "127.0.0.0/8", "--allow-plaintext", "--method", "GET", ...ANSWERABLE]);
    await installation.refused(["server", "credential", "bare", "--credential-file", "-"], 1, "server.header-template", { input: second.secret });
});

test("a destination that a third-party credential opens goes on without a refusal while it is rotated", async context => {
    const { installation, service, managing, third, secrets } = context;
    const credential = (name, words, input) => installation.cli(["credential", "add", name, "--kind", "api-key", "--identity", "orders", "--secret-file", "-", ...words], { input });
    await credential("mail-manager", [], managing);
    const driver = ["--driver", DOCUMENT, "--url", service.url, "--key", third.id, "--manager", "mail-manager"];
    const added = await credential("mail-key", [...driver, "--allow-plaintext", "--allow-address", "127.0.0.1/32", "--overlap", "2s"], third.secret);
    const short = await installation.refused(["server", "credential", "mail", "--credential-from", "mail-key"], 2, "server.credential");
    assert.match(short.message, /less than 10 s/);
    await installation.cli(["credential", "correct", "mail-key", "--overlap", "10s", "--reason", "it opens a destination"]);
    const given = await installation.cli(["server", "credential", "mail", "--credential-from", "mail-key"]);
    assert.equal(given.credential, added.id);
    assert.equal((await reach(context, context.token)).body.id, third.id, "it is put in at once");
    const kept = await installation.refused(["credential", "remove", "mail-key", "--reason", "not needed"], 1, "credential.opens-server");
    assert.match(kept.message, /`mail`/);
    await installation.cli(["credential", "rotate", "mail-key"]);
    let calls = 0;
    const rotated = await until("the rotation to end", async () => {
        const { status, body } = await reach(context, context.token);
        assert.equal(status, 200, JSON.stringify(body));
        calls += 1;
        const now = await shown(context, "mail-key");
        return now.rotation === undefined && now.last_rotation !== undefined && now;
    }, 30_000);
    assert.ok(calls > 3);
    assert.deepEqual((await reach(context, context.token)).body, { id: rotated.login });
    assert.equal(service.keys.has(third.id), false);
    const file = join(installation.folder, "mail-key.secret");
    await installation.cli(["credential", "fetch", "mail-key", "--secret-file", file]);
    secrets.push(readFileSync(file, "utf8"));
});

test("a credential whose owner is suspended opens no destination, and opens it again once he is resumed", async context => {
    const { installation } = context;
    await installation.cli(["id", "suspend", "orders", "--reason", "on leave"]);
    const refused = await until("nothing to be put in", async () => {
        const answered = await reach(context, context.token);
        return answered.status === 502 && answered.body;
    }, 20_000);
    assert.equal(refused.code, "destination.credential");
    const stopped = await installation.refused(["server", "credential", "mail", "--credential-from", "mail-key"], 1, "credential.identity-stopped");
    assert.match(stopped.message, /suspended/);
    await installation.cli(["id", "resume", "orders"]);
    await until("the secret to be put in again", async () => (await reach(context, context.token)).status === 200);
});

test("a revoked credential opens no destination, and gives none anything", async context => {
    const { installation, service } = context;
    await installation.cli(["credential", "revoke", "mail-key", "--reason", "found in a repository"]);
    await until("nothing to be put in", async () => (await reach(context, context.token)).status === 502, 20_000);
    await until("the end", async () => (await shown(context, "mail-key")).revoked?.at !== undefined, 20_000);
    await installation.refused(["server", "credential", "mail", "--credential-from", "mail-key"], 1, "credential.revoked");
    const last = service.add("made by hand");
    await installation.cli(["server", "credential", "mail", "--credential-file", "-"], { input: last.secret });
    context.secrets.push(last.secret);
    await until("another secret to be put in", async () => (await reach(context, context.token)).body.id === last.id);
});

test("no secret of a destination stands in our log or in the data folder", async ({ installation, secrets }) => {
    await installation.service.stop();
    const own = installation.history.map(service => service.text).join("\n");
    for (const form of secrets.flatMap(forms)) {
        assert.ok(!own.includes(form.toString()), "a secret is in our log");
        for (const [file, bytes] of files(installation.data)) {
            assert.ok(!bytes.includes(form), `a secret is in ${file}`);
        }
    }
    await installation.serve();
});
