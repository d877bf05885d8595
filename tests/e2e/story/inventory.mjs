// Inventory: every kind, the state machine, the count at a position, idempotency.
import assert from "node:assert/strict";
import { Installation } from "../lib/installation.mjs";
import { suite, test } from "../lib/lane.mjs";
import { until } from "../lib/wait.mjs";

const KINDS = ["agent", "api-key", "ci-job", "cloud-run-job", "mcp-server", "oauth-grant", "service-account", "webhook", "workload"];

suite("inventory", async () => {
    const installation = await Installation.start("inventory");
    await installation.addTenant("globex", "ES256");
    return { installation, stop: () => installation.stop() };
});

/** Adds the states of a count's cells up, as anybody would. */
function sums({ kinds }) {
    const total = state => kinds.reduce((sum, kind) => sum + kind.registered[state] + kind.shadow[state], 0);
    return { total: total("probation") + total("active"), suspended: total("suspended"), retired: total("retired") };
}

test("identities of every kind are counted, exactly", async context => {
    const { installation } = context;
    for (const kind of KINDS) {
        await installation.addIdentity(`one-${kind}`, { kind, activate: kind !== "webhook" });
    }
    await installation.refused(
        ["id", "add", "x", "--kind", "robot", "--owner", "a", "--owner-contact", "a@acme.example", "--purpose", "p", "--expires", "1d"],
        2,
        "identity.kind"
    );
    const count = await installation.cli(["count", "--explain"]);
    assert.equal(count.total, KINDS.length);
    assert.equal(count.registered, KINDS.length);
    assert.equal(count.shadow, 0);
    assert.equal(count.employees, 120);
    assert.deepEqual(count.kinds.filter(kind => kind.registered.active + kind.registered.probation > 0).map(kind => kind.kind).sort(), KINDS);
    assert.deepEqual(sums(count), { total: count.total, suspended: 0, retired: 0 });
    assert.equal(count.explained.equal, true);
    context.early = count;
});

test("states change as the machine allows and in no other way", async ({ installation }) => {
    assert.equal((await installation.cli(["id", "suspend", "one-workload", "--reason", "holiday"])).state, "suspended");
    await installation.refused(["id", "activate", "one-workload"], 1);
    assert.equal((await installation.cli(["id", "resume", "one-workload"])).state, "active");
    await installation.refused(["id", "resume", "one-workload"], 1, "identity.not-suspended");
    await installation.cli(["id", "suspend", "one-webhook", "--reason", "noisy"]);
    const resumed = await installation.cli(["id", "resume", "one-webhook"]);
    assert.equal(resumed.state, "probation", "a suspension gives back what was before");
    assert.equal((await installation.cli(["id", "retire", "one-agent", "--reason", "replaced"])).state, "retired");
    for (const verb of [["activate"], ["resume"], ["suspend", "--reason", "x"], ["retire", "--reason", "x"]]) {
        await installation.refused(["id", verb[0], "one-agent", ...verb.slice(1)], 1);
    }
    const tombstone = await installation.cli(["id", "get", "one-agent"]);
    assert.equal(tombstone.state_reason, "replaced");
});

test("the number at an earlier position stays what it was", async ({ installation, early }) => {
    const now = await installation.cli(["count", "--explain"]);
    assert.equal(now.total, early.total - 1);
    assert.equal(now.retired, 1);
    assert.ok(now.position > early.position);
    assert.ok(now.explained.entries > early.explained.entries);
    const then = await installation.cli(["count", "--explain", "--at", String(early.position)]);
    const { explained, ...cells } = then;
    const { explained: _, expired, ...before } = early;
    assert.deepEqual([expired, cells.expired], [0, undefined], "what is past its expiry is known for the present alone");
    assert.deepEqual(cells, before);
    assert.equal(explained.equal, true);
    const byTime = await installation.cli(["count", "--at", early.as_of]);
    assert.equal(byTime.total, early.total);
    await installation.refused(["count", "--at", String(now.position + 1_000)], 1);
    await installation.refused(["count", "--at", "yesterday"], 2);
});

test("every position has its number, and the last is today's", async ({ installation }) => {
    const today = await installation.cli(["count"]);
    let last;
    for (let at = 1; at <= today.position; at += 1) {
        const then = await installation.run(["count", "--explain", "--at", String(at)]);
        if (then.code === 8) {
            continue; // before the tenant existed
        }
        assert.equal(then.code, 0, `${at}: ${then.stderr}`);
        assert.equal(then.json.explained.equal, true, `position ${at}`);
        assert.deepEqual({ total: then.json.total, suspended: then.json.suspended, retired: then.json.retired }, sums(then.json));
        last = then.json;
    }
    assert.equal(last.total, today.total);
});

test("a tenant sees and counts only its own", async ({ installation }) => {
    await installation.addIdentity("theirs", { tenant: "globex" });
    const acme = await installation.cli(["count"]);
    const globex = await installation.cli(["count"], { tenant: "globex" });
    const all = await installation.cli(["count", "--all-tenants", "--explain"], { tenant: null });
    assert.equal(globex.total, 1);
    assert.equal(all.tenant, "all-tenants");
    assert.equal(all.total, acme.total + globex.total);
    assert.equal(all.employees, 240);
    assert.equal(all.explained.equal, true);
    const theirs = await installation.cli(["id", "get", "theirs"], { tenant: "globex" });
    const missing = await installation.refused(["id", "get", theirs.id], 8, "request.not-found");
    const never = await installation.refused(["id", "get", theirs.id.replace(/.$/, "a")], 8, "request.not-found");
    assert.equal(missing.message, never.message, "what is another's looks like what never was");
    await installation.refused(["id", "ls"], 8, undefined, { tenant: "nobody" });
    await installation.refused(["tenant", "add", "globex", "--name", "Again", "--employees", "1"], 1, undefined, { tenant: null });
    await installation.refused(["tenant", "add", "Not A Slug", "--name", "x", "--employees", "1"], 2, "tenant.malformed", { tenant: null });
});

test("a name that is nearly right is suggested", async ({ installation }) => {
    const failure = await installation.refused(["id", "get", "one-workloda"], 8);
    assert.match(failure.hint, /one-workload/);
});

test("a repeated command with its idempotency key happens once", async ({ installation }) => {
    const body = {
        name: "once",
        kind: "agent",
        owner: { team: "finance", contact: "finance@acme.example" },
        purpose: "to be made once",
        expires_at: new Date(Date.now() + 86_400_000).toISOString().replace(/\.\d+Z/, "Z")
    };
    const key = { "idempotency-key": "e2e-0123456789" };
    const path = "/v1/tenants/acme/identities";
    const first = await installation.api("POST", path, body, key);
    assert.equal(first.status, 201, first.text);
    const before = (await installation.cli(["count"])).position;
    const again = await installation.api("POST", path, body, key);
    assert.equal(again.status, 201, again.text);
    assert.equal(again.text, first.text);
    assert.equal(again.headers.get("idempotent-replayed"), "true");
    assert.equal((await installation.cli(["count"])).position, before, "a replay appends nothing");
    const other = await installation.api("POST", path, { ...body, name: "other" }, key);
    assert.equal(other.status, 409, other.text);
    const short = await installation.api("POST", path, body, { "idempotency-key": "short" });
    assert.equal(short.status, 400);
    assert.equal(short.body.code, "idempotency.malformed");
    await installation.restart();
    const later = await installation.api("POST", path, body, key);
    assert.equal(later.text, first.text, "the key is remembered over a restart");
    assert.equal((await installation.cli(["id", "ls"])).items.filter(item => item.name === "once").length, 1);
});

test("a command that is sent many times at once happens once", async ({ installation }) => {
    const body = {
        name: "crowd",
        kind: "agent",
        owner: { team: "finance", contact: "finance@acme.example" },
        purpose: "to be made once",
        expires_at: new Date(Date.now() + 86_400_000).toISOString().replace(/\.\d+Z/, "Z")
    };
    const send = key => installation.api("POST", "/v1/tenants/acme/identities", body, { "idempotency-key": key });
    const same = await Promise.all(Array.from({ length: 16 }, () => send("e2e-same-key-0001")));
    const made = same.filter(reply => reply.status === 201);
    assert.ok(made.length >= 1, same[0].text);
    assert.ok(same.every(reply => [201, 409, 503].includes(reply.status)), same.map(reply => reply.status).join());
    assert.equal(new Set(made.map(reply => reply.text)).size, 1, "two answers for one command");
    const others = await Promise.all(Array.from({ length: 8 }, (_, at) => send(`e2e-other-key-${at}`)));
    assert.ok(others.every(reply => reply.status >= 400), "the name was given twice");
    const { items } = await installation.cli(["id", "ls"]);
    assert.equal(items.filter(item => item.name === "crowd").length, 1);
    assert.equal((await installation.cli(["count", "--explain"])).explained.equal, true);
});

test("hostile bodies are refused with a clear problem", async ({ installation }) => {
    const path = "/v1/tenants/acme/identities";
    const cases = [
        ["{", "not JSON"],
        ['{"name":"a","name":"b","kind":"agent"}', "a member twice"],
        ['{"name":"a","kind":"agent","colour":"red"}', "an unknown member"],
        ['{"name":7,"kind":"agent"}', "a wrong type"],
        [`${'{"a":'.repeat(200)}1${"}".repeat(200)}`, "too deep"],
        ['{"name":"a\\u0000b","kind":"agent","owner":{"team":"t","contact":"c"},"purpose":"p","expires_at":"2027-01-01T00:00:00Z"}', "a control character"],
        ['{"name":"a","kind":"agent","owner":{"team":"t","contact":"c"},"purpose":"p","expires_at":"soon"}', "no time"],
        // The last, because its connection may not be used again.
        [`{"name":"${"n".repeat(2_000_000)}","kind":"agent"}`, "too long"]
    ];
    for (const [body, what] of cases) {
        const reply = await installation.api("POST", path, body).catch(error => {
            // A body that is too long may be answered by closing the connection before it was sent whole.
            assert.equal(what, "too long", error.stack);
            assert.ok(["ECONNRESET", "EPIPE"].includes(error.cause?.code), `${error.cause?.code}: ${error.stack}`);
        });
        if (reply === undefined) {
            continue;
        }
        assert.ok(reply.status >= 400 && reply.status < 500, `${what}: ${reply.status} ${reply.text}`);
        assert.equal(reply.status === 413, what === "too long", `${what}: ${reply.status}`);
        assert.match(reply.headers.get("content-type"), /^application\/problem\+json/, what);
        assert.equal(typeof reply.body.code, "string", what);
        assert.ok(reply.body.detail.length > 0 && reply.body.detail.length < 1_000, what);
    }
    await until("the service to be ready", async () => (await installation.api("GET", "/readyz").catch(() => ({}))).status === 200);
});
