// AuthZEN Authorization API 1.0: the certification scenario, batches and their
// semantics, discovery, and who may ask.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Desk } from "../lib/desk.mjs";
import { Installation } from "../lib/installation.mjs";
import { suite, test } from "../lib/lane.mjs";
import { deadToken, listTools, permitted, refusedCall } from "../lib/mcp.mjs";

const POLICIES = `
@id("read")
permit (principal is user, action == Action::"read", resource is record);

@id("write-own")
@supplied("resource.status: String")
permit (principal == user::"alice", action == Action::"write", resource is record)
when { !(resource has status && resource.status == "archived") };

@id("write-archived")
@supplied("subject.role: String, resource.status: String")
permit (principal is user, action == Action::"write", resource is record)
when { principal has role && principal.role == "admin" && resource has status && resource.status == "archived" };

@id("delete-soft")
@supplied("action.soft: Bool")
permit (principal == user::"alice", action == Action::"delete", resource is record)
when { context.action has soft && context.action.soft };
`;

const alice = { type: "user", id: "alice" };
const bob = { type: "user", id: "bob", properties: { role: "admin" } };
const first = { type: "record", id: "record-1", properties: { status: "active" } };
const second = { type: "record", id: "record-2", properties: { status: "archived" } };
const action = (name, properties) => (properties === undefined ? { name } : { name, properties });

/** The eight decisions of the scenario. */
const SCENARIO = [
    [{ subject: alice, action: action("read"), resource: first }, true],
    [{ subject: alice, action: action("write"), resource: first }, true],
    [{ subject: bob, action: action("read"), resource: first }, true],
    [{ subject: bob, action: action("write"), resource: first }, false],
    [{ subject: alice, action: action("write"), resource: second }, false],
    [{ subject: bob, action: action("write"), resource: second }, true],
    [{ subject: alice, action: action("delete", { soft: true }), resource: first }, true],
    [{ subject: alice, action: action("delete", { soft: false }), resource: first }, false]
];

suite("authzen", async () => {
    const desk = await Desk.open();
    const installation = await Installation.start("authzen");
    await installation.addHttpServer("files", desk.url);
    await installation.addIdentity("outside-pep", { kind: "workload" });
    const file = join(installation.folder, "tenant.cedar");
    writeFileSync(file, POLICIES);
    await installation.cli(["policy", "lint", file]);
    const written = await installation.cli(["policy", "set", file]);
    const { token, id } = await installation.openTask("outside-pep", ["authzen:evaluate"]);
    const post = async (path, body, { headers = {}, bearer = token } = {}) => {
        const response = await fetch(`${installation.url}${path}`, {
            method: "POST",
            headers: { "content-type": "application/json", ...(bearer === null ? {} : { authorization: `Bearer ${bearer}` }), ...headers },
            body: typeof body === "string" ? body : JSON.stringify(body)
        });
        const text = await response.text();
        return { status: response.status, headers: response.headers, text, body: text.startsWith("{") ? JSON.parse(text) : undefined };
    };
    return {
        installation,
        desk,
        written,
        task: id,
        token,
        one: (body, more) => post("/access/v1/evaluation", body, more),
        many: (body, more) => post("/access/v1/evaluations", body, more),
        post,
        stop: async () => {
            await installation.stop();
            await desk.close();
        }
    };
});

test("the certification scenario: eight decisions, whatever the context", async ({ one, post }) => {
    for (const context of [undefined, {}, { time: "2027-01-01T00:00:00Z", nested: { a: [1, null] } }]) {
        for (const [question, expected] of SCENARIO) {
            const reply = await one({ ...question, ...(context === undefined ? {} : { context }) });
            assert.equal(reply.status, 200, reply.text);
            assert.match(reply.headers.get("content-type"), /^application\/json/);
            assert.equal(reply.body.decision, expected, JSON.stringify(question));
            assert.match(reply.body.context.evaluation_id, /^dec_/);
            if (!expected) {
                assert.ok(reply.body.context.reason.en.length > 0);
            }
        }
    }
    const [question, expected] = SCENARIO[0];
    const inTenant = await post("/t/acme/access/v1/evaluation", question);
    assert.equal(inTenant.body.decision, expected);
});

test("a batch answers in order, with defaults and overrides", async ({ many }) => {
    const all = await many({ evaluations: SCENARIO.map(([question]) => question) });
    assert.equal(all.status, 200, all.text);
    assert.deepEqual(all.body.evaluations.map(each => each.decision), SCENARIO.map(([, expected]) => expected));
    const defaults = await many({
        subject: alice,
        action: action("write"),
        resource: first,
        evaluations: [{}, { subject: bob }, { resource: second }, { subject: bob, resource: second }, { action: action("read") }]
    });
    assert.deepEqual(defaults.body.evaluations.map(each => each.decision), [true, false, false, true, true]);
    for (const body of [SCENARIO[0][0], { ...SCENARIO[0][0], evaluations: [] }]) {
        const single = await many(body);
        assert.equal(single.body.decision, true, "no evaluations is a single one");
        assert.equal(single.body.evaluations, undefined);
    }
});

test("the three semantics of a batch", async ({ many, installation }) => {
    const run = async semantic => {
        const options = semantic === undefined ? undefined : { evaluations_semantic: semantic };
        const items = [SCENARIO[0], SCENARIO[3], SCENARIO[1]].map(([question]) => question);
        const reply = await many({ evaluations: items, options });
        return reply.body.evaluations?.map(each => each.decision) ?? reply;
    };
    assert.deepEqual(await run(undefined), [true, false, true]);
    assert.deepEqual(await run("execute_all"), [true, false, true]);
    const before = (await installation.cli(["log", "ls"])).items.find(log => log.log === "decisions").sequenced;
    assert.deepEqual(await run("deny_on_first_deny"), [true, false]);
    const after = (await installation.cli(["log", "ls"])).items.find(log => log.log === "decisions").sequenced;
    assert.equal(after - before, 2, "what is not answered is not decided");
    assert.deepEqual(await run("permit_on_first_permit"), [true]);
    assert.equal((await run("best_effort")).status, 400);
});

test("the metadata names the endpoints", async ({ installation, token }) => {
    for (const path of ["/.well-known/authzen-configuration/t/acme", "/t/acme/.well-known/authzen-configuration"]) {
        const response = await fetch(`${installation.url}${path}`);
        assert.equal(response.status, 200, path);
        const metadata = await response.json();
        assert.equal(metadata.policy_decision_point, `${installation.url}/t/acme`);
        for (const name of ["access_evaluation_endpoint", "access_evaluations_endpoint"]) {
            const reply = await fetch(metadata[name], {
                method: "POST",
                headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
                body: JSON.stringify(SCENARIO[0][0])
            });
            assert.equal((await reply.json()).decision, true, name);
        }
    }
    assert.equal((await fetch(`${installation.url}/.well-known/authzen-configuration/t/nobody`)).status, 404);
});

test("what is missing is 400, what is unknown is ignored, the request id comes back", async ({ one, many }) => {
    const [whole] = SCENARIO[0];
    for (const [spoilt, field] of [
        [{ ...whole, subject: undefined }, "subject"],
        [{ ...whole, subject: { type: "user" } }, "subject.id"],
        [{ ...whole, subject: { id: "alice" } }, "subject.type"],
        [{ ...whole, action: undefined }, "action"],
        [{ ...whole, action: {} }, "action.name"],
        [{ ...whole, resource: undefined }, "resource"],
        [{ ...whole, resource: { type: "record" } }, "resource.id"],
        [{ ...whole, resource: { id: "record-1" } }, "resource.type"],
        [{ ...whole, subject: "alice" }, "subject"],
        [{ ...whole, context: [] }, "context"],
        [{ ...whole, subject: { ...alice, properties: 7 } }, "subject.properties"]
    ]) {
        const reply = await one(spoilt);
        assert.equal(reply.status, 400, `${field}: ${reply.text}`);
        assert.match(reply.body.detail, new RegExp(field.replace(".", "\\.")));
    }
    for (const body of ["", "[]", "null", "{", '{"subject":{},"subject":{}}']) {
        assert.equal((await one(body)).status, 400, body);
    }
    assert.equal((await many({ evaluations: "x" })).status, 400);
    assert.equal((await many({ evaluations: Array.from({ length: 1_025 }, () => whole) })).status, 400);
    const extra = await one({ ...whole, novelty: { a: 1 } }, { headers: { "x-request-id": "bfe9eb29-ab87" } });
    assert.equal(extra.body.decision, true);
    assert.equal(extra.headers.get("x-request-id"), "bfe9eb29-ab87");
});

test("nobody is permitted what no policy speaks of", async ({ one }) => {
    for (const question of [
        { subject: { type: "user", id: "mallory" }, action: action("write"), resource: first },
        { subject: alice, action: action("erase"), resource: first },
        { subject: alice, action: action("read"), resource: { type: "vault", id: "v" } },
        { subject: { type: "robot", id: "alice" }, action: action("read"), resource: first },
        { subject: { type: "user\"::", id: "alice" }, action: action("read"), resource: first },
        { subject: { type: "Identity", id: "alice" }, action: action("tools/call"), resource: { type: "Tool", id: "files/transfer" } }
    ]) {
        const reply = await one(question);
        assert.equal(reply.status, 200, reply.text);
        assert.equal(reply.body.decision, false, JSON.stringify(question));
    }
});

test("the enforcement point needs its own living token with the right scope", async ({ installation, one, post, token, task }) => {
    const [whole] = SCENARIO[0];
    assert.equal((await one(whole, { bearer: null })).status, 401);
    assert.equal((await one(whole, { bearer: `${token.slice(0, -4)}AAAA` })).status, 401);
    await installation.addIdentity("reader");
    const other = await installation.openTask("reader", ["files:read_text_file"]);
    const forbidden = await one(whole, { bearer: other.token });
    assert.equal(forbidden.status, 403, forbidden.text);
    await installation.addTenant("globex");
    assert.equal((await post("/t/globex/access/v1/evaluation", whole)).status, 401);
    await installation.kill("task", task);
    assert.equal((await one(whole)).status, 401);
    await deadToken(installation.endpoint("files"), token);
});

test("a tenant's own policy narrows at once, and asks for a person where it says so", async ({ installation, desk, post }) => {
    const file = join(installation.folder, "narrow.cedar");
    const url = installation.endpoint("files");
    await installation.addIdentity("clerk");
    const { token } = await installation.openTask("clerk", ["files:*"]);
    // The enforcement point's first task was killed.
    const pep = await installation.openTask("outside-pep", ["authzen:evaluate"]);
    const asked = question => post("/access/v1/evaluation", question, { bearer: pep.token });
    await permitted(url, token, "transfer", { amount: 1, to: "a" });
    writeFileSync(
        file,
        `${POLICIES}
@id("no-transfers")
forbid (principal, action == Action::"tools/call", resource == Tool::"files/transfer");
@id("no-secrets")
forbid (principal, action == Action::"tools/call", resource == Tool::"files/echo")
when { context.text has text && context.text.text == "secret" };
@id("ask-before-echo")
@hold("an operator looks first")
permit (principal, action == Action::"tools/call", resource == Tool::"files/echo")
when { context.text has text && context.text.text == "large" };
@id("ask-before-reading")
@hold("an operator looks first")
permit (principal is user, action == Action::"read", resource is vault);
`
    );
    await installation.cli(["policy", "set", file]);
    const before = desk.calls.length;
    await refusedCall(url, token, "transfer", { amount: 1, to: "a" }, "policy.forbidden");
    await refusedCall(url, token, "echo", { text: "secret" }, "policy.forbidden");
    // What asks for a person is not done, and the answer says what it waits for.
    const { reason } = await refusedCall(url, token, "echo", { text: "large" }, "policy.unknown-obligation");
    assert.match(reason, /person must approve/);
    assert.equal(desk.calls.length, before);
    const { body: held } = await asked({ subject: alice, action: action("read"), resource: { type: "vault", id: "v" } });
    assert.deepEqual([held.decision, held.context.code], [false, "approval.required"]);
    await permitted(url, token, "echo", { text: "open" });
    assert.ok(!(await listTools(url, token)).includes("transfer"), "what is forbidden is not listed");
    writeFileSync(file, POLICIES);
    await installation.cli(["policy", "set", file]);
    await permitted(url, token, "transfer", { amount: 1, to: "a" });
});

test("a bad policy is refused with the position of the fault", async ({ installation, written }) => {
    const file = join(installation.folder, "bad.cedar");
    const cases = [
        ['permit (principal, action, resource\nwhen { true };', /(\b2\b|line)/, "syntax"],
        ['permit (principal is Identity, action == Action::"tools/call", resource is Tool)\nwhen { principal.colour == "red" };', /\b2\b/, "an unknown attribute"],
        ['@id("a")\npermit (principal, action, resource);\n@id("a")\npermit (principal, action, resource);', /a/, "an id twice"],
        ['permit (principal is Identity, action == Action::"tools/call", resource is Tool)\nwhen { principal.probation + 1 > 2 };', /\b2\b/, "a type error"]
    ];
    for (const [text, position, what] of cases) {
        writeFileSync(file, text);
        const lint = await installation.refused(["policy", "lint", file], 1, "policy.invalid");
        assert.match(lint.message, position, `${what}: ${lint.message}`);
        const set = await installation.run(["policy", "set", file]);
        assert.equal(set.code, 1, what);
        assert.match(set.json.message, position, what);
    }
    assert.equal((await installation.cli(["policy", "get"])).cedar, POLICIES);
    assert.ok(written.position > 0);
});
