// Several nodes of the same binary on one PostgreSQL: a token of one is good at
// all, a kill at one is contained at all, and a node that does not hear refuses.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createPrivateKey } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Cluster } from "../lib/cluster.mjs";
import { Desk } from "../lib/desk.mjs";
import { Installation } from "../lib/installation.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { callTool, deadToken, permitted } from "../lib/mcp.mjs";
import { Nodes, statement } from "../lib/node.mjs";
import { ASSERTION_TYPE, assertion, decode, requestToken } from "../lib/oauth.mjs";
import { until } from "../lib/wait.mjs";

const SCOPE = 'files:read_text_file(path under "/srv/in")';
const ARGUMENT = { path: "/srv/in/a.txt" };

suite("nodes", async () => {
    const nodes = await Nodes.open("nodes");
    const desk = await Desk.open();
    await nodes.first.addHttpServer("files", desk.url);
    return {
        nodes,
        desk,
        stop: async () => {
            await nodes.stop();
            await desk.close();
        }
    };
});

test("an invitation works once, under its name only, and not without its token", async ({ nodes }) => {
    const joining = nodes.prepared("node-b");
    const tokenFile = await nodes.invite("node-b");
    const stranger = nodes.prepared("node-x");
    const refused = await nodes.joinWith(stranger, tokenFile);
    assert.equal(refused.code, 4, refused.stderr);
    assert.equal(JSON.parse(refused.stdout).code, "node.token");
    const joined = await nodes.joinWith(joining, tokenFile);
    assert.equal(joined.code, 0, joined.stderr);
    const again = await nodes.joinWith(stranger, tokenFile);
    assert.equal(JSON.parse(again.stdout).code, "node.token");
    nodes.second = await nodes.begin(joining);
    nodes.more.push(joining);
    await nodes.first.refused(["node", "invite", "node-b"], 1, "node.exists", { tenant: null });
});

test("a task that one node opened is known to the other, and both decide, record and serve", async ({ nodes, desk }) => {
    const agent = await nodes.first.addIdentity("invoices");
    const task = await nodes.first.openTask("invoices", [SCOPE]);
    await nodes.level(nodes.second);
    await permitted(nodes.endpoint(nodes.first, "files"), task.token, "read_text_file", ARGUMENT);
    await permitted(nodes.endpoint(nodes.second, "files"), task.token, "read_text_file", ARGUMENT);
    assert.equal(desk.count("read_text_file"), 2);
    const tokens = await nodes.ask(nodes.second, "POST", `/v1/tenants/acme/tasks/${task.id}/tokens`, { count: 1 });
    assert.equal(tokens.status, 200, JSON.stringify(tokens.body));
    Object.assign(nodes, { agent, task });
});

test("each node has a decision log of its own, and the record names epoch and age", async ({ nodes }) => {
    const logs = await nodes.ask(nodes.second, "GET", "/v1/logs");
    const own = logs.body.items.find(log => log.log === "decisions");
    assert.match(own.origin, /\/decisions\/node-b$/);
    const entries = await nodes.ask(nodes.second, "GET", "/v1/logs/decisions/entries?from=0");
    const decided = entries.body.items.filter(entry => entry.leaf.kind === "decision");
    assert.ok(decided.length > 0);
    for (const { leaf, payload } of decided) {
        assert.equal(leaf.node, "node-b");
        assert.ok(Number.isInteger(leaf.epoch));
        assert.ok(payload.age_ms >= 0 && payload.age_ms <= nodes.refuse * 1_000, `age ${payload.age_ms}`);
    }
});

test("what the other node commits, this one holds too: both write in turns", async ({ nodes }) => {
    const words = { name: "second", kind: "agent", owner: { team: "finance", contact: "f@acme.example" }, purpose: "turns", expires_at: new Date(Date.now() + 86_400_000).toISOString() };
    const [there, here] = await Promise.all([nodes.ask(nodes.second, "POST", "/v1/tenants/acme/identities", words), nodes.first.addIdentity("first")]);
    assert.equal(there.status, 201, JSON.stringify(there.body));
    assert.ok(here.id);
    await until("both to hold both", async () => {
        const [a, b] = await Promise.all([nodes.health(nodes.first), nodes.health(nodes.second)]);
        return a.position === b.position && a.epoch === b.epoch;
    });
    assert.equal((await nodes.ask(nodes.second, "GET", "/v1/tenants/acme/identities/first")).status, 200);
    assert.equal((await nodes.first.cli(["id", "get", "second"])).name, "second");
});

test("a kill at one node is contained when the other acknowledged, and the receipt names each", async ({ nodes }) => {
    const receipt = await nodes.first.kill("identity", nodes.agent.id);
    assert.deepEqual(receipt.nodes.map(({ node, end }) => [node, end]).sort(), [["node-a", "acknowledged"], ["node-b", "acknowledged"]]);
    await deadToken(nodes.endpoint(nodes.second, "files"), nodes.task.token);
    await deadToken(nodes.endpoint(nodes.first, "files"), nodes.task.token);
    figure("nodes: two, kill committed → contained, µs", receipt.contained_us);
});

test("a receipt is proven in the logs of every node, each exported at its node into one folder", async ({ nodes }) => {
    const { id } = await nodes.first.addIdentity("proven");
    const { token } = await nodes.first.openTask("proven", [SCOPE]);
    await nodes.level(nodes.second);
    for (const node of [nodes.first, nodes.second]) {
        await permitted(nodes.endpoint(node, "files"), token, "read_text_file", ARGUMENT);
    }
    const killed = await nodes.first.kill("identity", id);
    const named = receipt => new Set(receipt.body.points.filter(line => line.last_permitted !== undefined).map(line => line.node));
    await until("both nodes to have their lines", async () => {
        const { body } = await nodes.ask(nodes.first, "GET", `/v1/tenants/acme/kills/${killed.receipt}`);
        return body.state === "closed" && named(body).size === 2;
    }, 60_000);
    const folder = join(nodes.first.folder, "proven-at-both");
    const exported = at => nodes.first.run(["kill", "receipt", String(killed.receipt), "--out", folder, ...at]);
    const keys = async node => (await nodes.ask(node, "GET", "/v1/logs")).body.items.map(({ vkey }) => vkey);
    const given = [...new Set([...(await keys(nodes.first)), ...(await keys(nodes.second))])].flatMap(key => ["--key", key]);
    const verified = async () => {
        const { code, stdout } = await nodes.first.run(["log", "verify", "--receipt", folder, ...given, "--json"], { tenant: null });
        return { code, ...JSON.parse(stdout) };
    };
    await until("the first to prove its entries", async () => (await exported([])).code === 0, 60_000);
    const one = await verified();
    assert.deepEqual([one.code, Object.keys(one.unproven).map(origin => origin.split("/").at(-1))], [3, ["node-b"]]);
    await until("the second to prove its entries", async () => (await exported(["--at", nodes.second.address])).code === 0, 60_000);
    const both = await verified();
    assert.deepEqual([both.code, both.unproven, both.by_own_key], [0, {}, []]);
    assert.ok(both.proofs > one.proofs, `${both.proofs} and ${one.proofs} proofs`);
});

test("one node leads; a kill -9 of the leader hands the lead on, and a restart keeps what is dead dead", async ({ nodes }) => {
    const before = await until("a leader", async () => (await nodes.health(nodes.first)).leader);
    assert.equal(before, "node-a");
    await nodes.first.service.stop("SIGKILL");
    const after = await until("the other to lead", async () => (await nodes.health(nodes.second)).leader === "node-b" && "node-b", 20_000);
    assert.equal(after, "node-b");
    await nodes.first.serve();
    await deadToken(nodes.endpoint(nodes.first, "files"), nodes.task.token);
});

test("a stopped node is contained when its word is over, and denies when it goes on", async ({ nodes }) => {
    await nodes.first.addIdentity("reports");
    const task = await nodes.first.openTask("reports", [SCOPE]);
    await nodes.level(nodes.second);
    await permitted(nodes.endpoint(nodes.second, "files"), task.token, "read_text_file", ARGUMENT);
    process.kill(nodes.second.service.pid, "SIGSTOP");
    const receipt = await nodes.first.kill("task", task.id);
    process.kill(nodes.second.service.pid, "SIGCONT");
    const ends = Object.fromEntries(receipt.nodes.map(({ node, end }) => [node, end]));
    assert.deepEqual(ends, { "node-a": "acknowledged", "node-b": "lapsed" });
    assert.ok(receipt.contained_us <= nodes.refuse * 1_020_000 + 1_000_000, `${receipt.contained_us} µs`);
    figure("nodes: one of two stopped, kill committed → contained, µs", receipt.contained_us);
    const answers = [];
    for (let n = 0; n < 20; n += 1) {
        answers.push(await callTool(nodes.endpoint(nodes.second, "files"), task.token, "read_text_file", ARGUMENT));
    }
    assert.ok(answers.every(answer => answer.result === undefined), "a call passed after containment");
    await until("the node to be fresh again", async () => (await nodes.health(nodes.second)).fresh);
});

test("a fenced node writes nothing and answers nothing, and comes back only when it is let in", async ({ nodes }) => {
    await nodes.first.cli(["node", "fence", "node-b", "--reason", "taken away"], { tenant: null });
    assert.equal((await nodes.list())["node-b"].standing, "fenced");
    await until("the fenced node to refuse", async () => !(await nodes.health(nodes.second)).fresh);
    assert.equal((await nodes.health(nodes.second)).status, "fenced");
    const refused = await nodes.ask(nodes.second, "POST", "/v1/tenants/acme/identities", { name: "late" });
    assert.ok(refused.status >= 400);
    await nodes.second.service.stop();
    await assert.rejects(nodes.second.serve(), /may not start: an operator fenced it/);
    await nodes.first.cli(["node", "readmit", "node-b", "--reason", "looked at"], { tenant: null });
    await nodes.second.serve();
    await until("it to be live", async () => (await nodes.list())["node-b"].standing === "live");
});

test("a third node joins; drained, it never leads, until it is drained no more", async ({ nodes }) => {
    const third = await nodes.add("node-c");
    await nodes.level(third);
    await until("the third to see all three", async () => (await nodes.health(third)).live_nodes === 3);
    await nodes.first.cli(["node", "drain", "node-c", "--reason", "upgrade"], { tenant: null });
    assert.equal((await nodes.list())["node-c"].standing, "draining");
    const receipt = await nodes.first.kill("owner", "finance");
    assert.equal(receipt.nodes.length, 3);
    assert.ok(receipt.nodes.every(({ end }) => end === "acknowledged"), JSON.stringify(receipt.nodes));
    figure("nodes: three, kill committed → contained, µs", receipt.contained_us);
    await nodes.first.cli(["node", "undrain", "node-c", "--reason", "upgraded"], { tenant: null });
    assert.equal((await nodes.list())["node-c"].standing, "live");
});

const MATRIX = join(import.meta.dirname, "../../../../shared/data/vectors/deactivation-matrix/cells.json");
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";

/** What stands for an object of the matrix: the scope and name of what stops it, and the token that is shown later. */
const OBJECTS = {
    tenant: ({ token }) => ["tenant", undefined, token],
    owner: ({ owner, token }) => ["owner", owner, token],
    agent: ({ agent, token }) => ["agent", agent, token],
    agent_instance: ({ identity, token }) => ["identity", identity.id, token],
    client: ({ identity, token }) => ["identity", identity.id, token],
    delegation_parent: ({ identity, derived }) => ["identity", identity.id, derived],
    credential: ({ token }) => ["token", decode(token).claims.jti, token],
    grant: ({ id, token }) => ["task", id, token],
    session: ({ id, token }) => ["task", id, token],
    mcp_server: ({ token }) => ["server", "files", token],
    tool_pin: ({ token }) => ["tool", "files:read_text_file", token]
};

/** An identity with a task, and what another one got for its token. */
async function party(nodes, n) {
    const names = { owner: `team-${n}`, agent: `agent-${n}` };
    const identity = await nodes.first.addIdentity(`party-${n}`, names);
    const clerk = await nodes.first.addIdentity(`clerk-${n}`, { owner: `clerks-${n}` });
    const opened = await nodes.ask(nodes.first, "POST", "/v1/tenants/acme/tasks", { identity: identity.id, purpose: "a cell", can: ["files:*"], may_act: [clerk.id], for_secs: 900, issue: true });
    assert.ok(opened.status < 300, JSON.stringify(opened.body));
    const token = opened.body.token.access_token;
    await nodes.first.openTask(clerk.id, ["files:*", "token:exchange"]);
    const file = join(nodes.first.folder, `clerk-${n}.pem`);
    const { client_id: clientId } = await nodes.first.cli(["client", "add", clerk.id, "--generate", file, "--algorithm", "ES256", "--proof", "none"]);
    const client = { jwk: { ...createPrivateKey(readFileSync(file)).export({ format: "jwk" }), alg: "ES256" }, clientId, audience: `${nodes.base}/t/acme` };
    const ask = async form => {
        const given = await requestToken(`${nodes.base}/t/acme/token`, { client_assertion_type: ASSERTION_TYPE, client_assertion: await assertion(client), ...form });
        assert.equal(given.status, 200, given.text);
        return given.body.access_token;
    };
    const actor = await ask({ grant_type: "client_credentials" });
    const derived = await ask({
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token: token,
        subject_token_type: ACCESS_TOKEN,
        actor_token: actor,
        actor_token_type: ACCESS_TOKEN,
        audience: `${nodes.base}/t/acme/mcp`,
        scope: "files:read_text_file"
    });
    return { ...names, identity, id: opened.body.task.id, token, derived };
}

test("what is suspended or killed at one node is refused at the other: every cell of the matrix", async ({ nodes }) => {
    if (!existsSync(MATRIX)) {
        assert.notEqual(process.env.CI, "true", "no vectors beside the project");
        return;
    }
    const stops = ["suspend", "kill"];
    const cells = JSON.parse(readFileSync(MATRIX, "utf8")).filter(cell => stops.includes(cell.action) && cell.then_use === "on_other_node" && cell.object in OBJECTS);
    assert.ok(cells.length >= 10, `${cells.length} cells`);
    const permittedAt = (node, token) => permitted(nodes.endpoint(node, "files"), token, "read_text_file", ARGUMENT);
    for (const [n, { object, action }] of cells.entries()) {
        const [scope, name, token] = OBJECTS[object](await party(nodes, n));
        await nodes.level(nodes.second);
        await permittedAt(nodes.second, token);
        const words = [scope, ...(name === undefined ? [] : [name]), "--reason", "a cell"];
        const receipt = await nodes.first.cli([action, ...words, "--yes"]);
        assert.ok(receipt.contained_us > 0, `${object} ${action}: ${JSON.stringify(receipt)}`);
        const { result } = await callTool(nodes.endpoint(nodes.second, "files"), token, "read_text_file", ARGUMENT);
        assert.equal(result, undefined, `${object} ${action}`);
        if (action === "suspend") {
            await nodes.first.cli(["resume", ...words]);
            await nodes.level(nodes.second);
            await permittedAt(nodes.second, token);
        }
    }
    const entries = [];
    for (let page; page === undefined || page.length > 0; entries.push(...page)) {
        page = (await nodes.ask(nodes.second, "GET", `/v1/logs/decisions/entries?from=${entries.length}`)).body.items;
    }
    const refused = entries.filter(({ leaf, payload }) => leaf.kind === "decision" && payload?.effect === "deny");
    assert.ok(refused.length >= cells.length, `${refused.length} records of ${cells.length} refusals`);
    figure("deactivation-matrix: cells on another node that held", cells.length);
});

test("a database that fails to serialise: commands are done once or told to come again, and a kill holds", async ({ nodes }) => {
    const { schema } = nodes;
    const words = name => ({ name, kind: "agent", owner: { team: "serial", contact: "s@acme.example" }, purpose: "turns", expires_at: new Date(Date.now() + 86_400_000).toISOString() });
    const worker = await nodes.first.addIdentity("serialised");
    const task = await nodes.first.openTask(worker.id, [SCOPE]);
    await nodes.level(nodes.second);
    // A sequence counts on in transactions that fail: so many of each three are refused.
    const failing = of => statement(`
        DROP TRIGGER IF EXISTS unserial ON ${schema}.log_entry;
        CREATE SEQUENCE IF NOT EXISTS ${schema}.unserial;
        CREATE OR REPLACE FUNCTION ${schema}.unserial() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF nextval('${schema}.unserial') % 3 < ${of} THEN RAISE EXCEPTION 'not serialised' USING ERRCODE = '40001'; END IF; RETURN NULL; END $$;
        CREATE TRIGGER unserial BEFORE INSERT ON ${schema}.log_entry FOR EACH STATEMENT EXECUTE FUNCTION ${schema}.unserial()`);
    failing(1);
    for (let n = 0; n < 8; n += 1) {
        const added = await nodes.ask(n % 2 ? nodes.second : nodes.first, "POST", "/v1/tenants/acme/identities", words(`serial-${n}`));
        assert.equal(added.status, 201, JSON.stringify(added.body));
    }
    failing(3);
    const refused = await nodes.ask(nodes.first, "POST", "/v1/tenants/acme/identities", words("never"));
    assert.equal(refused.status, 503, JSON.stringify(refused.body));
    const killed = await nodes.ask(nodes.first, "POST", "/v1/tenants/acme/kill", { scope: "task", name: task.id, reason: "end-to-end test" });
    assert.equal(killed.body.code, "kill.local-only", JSON.stringify(killed.body));
    await deadToken(nodes.endpoint(nodes.first, "files"), task.token);
    statement(`DROP TRIGGER unserial ON ${schema}.log_entry`);
    await until("the other node to hold the kill", async () => (await callTool(nodes.endpoint(nodes.second, "files"), task.token, "read_text_file", ARGUMENT)).status === 401, 20_000);
    const { body } = await nodes.ask(nodes.second, "GET", "/v1/tenants/acme/identities/never");
    assert.equal(body.code, "request.not-found", JSON.stringify(body));
});

/** A replica that follows late: the log of the database, streamed and written down, with nobody who waits for it. */
async function follower(cluster) {
    const folder = join(cluster.folder, "replica");
    mkdirSync(folder);
    const child = spawn(join(cluster.bin, "pg_receivewal"), ["-h", cluster.folder, "-U", "postgres", "-D", folder], { stdio: "ignore" });
    await until("the replica to follow", () => cluster.admin("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") === "1");
    return child;
}

suite("replica", async () => {
    const cluster = await Cluster.open();
    cluster.admin("CREATE ROLE service LOGIN PASSWORD 'service'");
    cluster.admin("CREATE DATABASE installation OWNER service");
    const replica = await follower(cluster);
    const installation = new Installation("replica");
    const file = join(installation.folder, "postgres-url");
    writeFileSync(file, `postgresql://service:service@127.0.0.1:${cluster.port}/installation?sslmode=disable\n`, { mode: 0o600 });
    installation.configFile = join(installation.folder, "config.toml");
    const configure = more => writeFileSync(installation.configFile, `[store]\nengine = "postgres"\nurl_file = "${file}"\n${more}`);
    return {
        cluster,
        installation,
        configure,
        stop: async () => {
            await installation.stop();
            replica.kill("SIGKILL");
            await cluster.stop();
        }
    };
});

test("an asynchronous replica stops the start, and a written waiver is recorded", async ({ installation, configure }) => {
    configure("");
    await assert.rejects(installation.serve(), /1 asynchronous replica\(s\).*synchronous_standby_names.*async_replica_waiver/s);
    configure('async_replica_waiver = "short"\n');
    await assert.rejects(installation.serve(), /store\.async_replica_waiver.*12 to 500 bytes/);
    configure('async_replica_waiver = "ada, 2026-11: a rehearsal without real agents"\n');
    await installation.serve();
    await installation.cli(["claim", "--data", installation.data, "--name", "ada"]);
    const entries = await installation.api("GET", "/v1/logs/state/entries?from=0");
    const noted = entries.body.items.find(entry => entry.leaf.kind === "state.async-replica-waived");
    assert.equal(noted.payload.detail.waiver, "ada, 2026-11: a rehearsal without real agents");
    await installation.service.stop();
});
