// Leases: PostgreSQL roles and AWS sessions made for one task, and everything
// that takes them back.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Cluster } from "../lib/cluster.mjs";
import { Installation, runBinary } from "../lib/installation.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { Moto } from "../lib/moto.mjs";
import { files, forms } from "../lib/scan.mjs";
import { until } from "../lib/wait.mjs";

const DATABASE = "orders";
const ROLE = "arn:aws:iam::123456789012:role/reports";
const CAN = ['credential:lease(name in ["orders-db", "orders-aws"])'];
const roles = cluster => cluster.admin("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'bailiwick%'");

/** A lease and its secret. */
async function lend({ installation, secrets }, task, credential, { span = "10m", more = [] } = {}) {
    const file = join(installation.folder, `lease-${randomBytes(6).toString("hex")}`);
    const words = ["credential", "lease", credential, "--task", task, "--reason", "month end", "--for", span, "--secret-file", file, ...more];
    const { lease } = await installation.cli(words);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const secret = readFileSync(file, "utf8");
    assert.ok(!JSON.stringify(lease).includes(secret));
    secrets.push(credential === "orders-aws" ? JSON.parse(secret).SecretAccessKey : secret);
    return { ...lease, secret };
}

const ledger = async ({ installation }, task) => installation.cli(["task", "show", task]);

/** Waits until the task holds nothing; gives its ledger. */
async function back(context, task) {
    let shown;
    const work = until("the leases to be back", async () => {
        shown = await ledger(context, task);
        return shown.holds.length === 0 && shown;
    }, 20_000);
    return work.catch(error => assert.fail(`${error.message}; they stand at ${JSON.stringify(shown.holds)}`));
}

/** A lease that opened and does not any more, with its session ended and its role gone. */
async function gone({ cluster, installation }, lease, session) {
    assert.equal(await session?.ask("SELECT 1"), undefined, "its session was ended");
    assert.equal(cluster.admin(`SELECT count(*) FROM pg_roles WHERE rolname = '${lease.handle}'`), "0", "the role is gone");
    assert.match(await cluster.attempt(lease.handle, lease.secret, DATABASE), /FATAL/);
    const shown = await ledger({ installation }, lease.task);
    const { refused, entry, state } = shown.returned.find(({ id }) => id === lease.id);
    assert.deepEqual([state, refused], ["returned", "28P01"]);
    return entry;
}

suite("lease", async () => {
    const [cluster, moto] = await Promise.all([Cluster.open(), Moto.open()]);
    const fresh = () => `canary-${randomBytes(18).toString("hex")}`;
    const [manager, first] = [fresh(), fresh()];
    cluster.admin(`CREATE ROLE rotator LOGIN CREATEROLE PASSWORD '${manager}' IN ROLE pg_signal_backend, pg_read_all_stats`);
    cluster.admin("CREATE ROLE orders_app NOLOGIN");
    cluster.admin(`CREATE ROLE orders_a LOGIN PASSWORD '${first}' IN ROLE orders_app`);
    cluster.admin(`CREATE DATABASE ${DATABASE} OWNER orders_app`);
    cluster.admin("SET ROLE orders_app; CREATE TABLE orders AS SELECT generate_series(1, 3) AS id", DATABASE);
    cluster.admin("GRANT orders_app TO rotator; GRANT CREATE ON SCHEMA public TO orders_app", DATABASE);
    const awsManager = await moto.user("rotator", ["iam:*AccessKey*", "sts:AssumeRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy"]);
    const key = await moto.user("orders-app", ["iam:ListUsers"]);
    const trust = { Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: "sts:AssumeRole", Principal: { AWS: "arn:aws:iam::123456789012:user/rotator" } }] };
    await moto.set("create_role", { RoleName: "reports", AssumeRolePolicyDocument: JSON.stringify(trust) });
    const may = { Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: "iam:ListUsers", Resource: "*" }] };
    await moto.set("put_role_policy", { RoleName: "reports", PolicyName: "its", PolicyDocument: JSON.stringify(may) });
    await moto.authenticate();
    const installation = await Installation.start("lease");
    await installation.addIdentity("orders", { kind: "service-account", owner: "sales" });
    const add = (name, secret, more) => installation.cli(["credential", "add", name, "--identity", "orders", "--secret-file", "-", ...more], { input: secret });
    await add("rotator", manager, ["--kind", "generic"]);
    await add("aws-rotator", awsManager.secret, ["--kind", "aws-access-key"]);
    const pg = ["--kind", "postgres-login", "--target", `127.0.0.1:${cluster.port}/${DATABASE}`, "--allow-plaintext", "--allow-address", "127.0.0.1/32", "--role", "orders_app", "--login", "orders_a", "--login", "orders_b"];
    await add("orders-db", first, [...pg, "--manager-login", "rotator", "--manager", "rotator"]);
    const aws = ["--kind", "aws-access-key", "--aws-user", "orders-app", "--aws-key", key.key, "--manager", "aws-rotator", "--manager-login", awsManager.key, "--aws-lease-role", ROLE];
    await add("orders-aws", key.secret, [...aws, "--danger-endpoint-override", moto.url, "--allow-plaintext", "--allow-address", "127.0.0.1/32"]);
    const secrets = [manager, first, awsManager.secret, key.secret];
    const stop = async () => {
        await installation.stop();
        await cluster.stop();
        await moto.stop();
    };
    return { cluster, moto, installation, awsManager, secrets, stop };
});

test("a role is made for a task, works as the application, and is gone when the task is closed", async context => {
    const { installation, cluster } = context;
    const task = await installation.openTask("orders", CAN);
    const lease = await lend(context, task.id, "orders-db");
    assert.match(lease.handle, /^bailiwick_[0-9a-f]{32}$/);
    const until_ = cluster.admin(`SELECT extract(epoch FROM rolvaliduntil)::bigint FROM pg_roles WHERE rolname = '${lease.handle}'`);
    assert.ok(Math.abs(Number(until_) - Date.parse(lease.expires_at) / 1000) <= 1, "the server itself ends it with the lease");
    const session = await cluster.session(lease.handle, lease.secret, "worker", DATABASE);
    assert.equal(await session.ask("SELECT current_user || ' ' || count(*) FROM orders"), "orders_app 3");
    // Something of its own must not keep the role alive.
    assert.equal(await session.ask("SET ROLE NONE; CREATE TABLE left_behind AS SELECT 1 AS id; SELECT tableowner FROM pg_tables WHERE tablename = 'left_behind'"), lease.handle);
    const shown = await ledger(context, task.id);
    assert.deepEqual(shown.holds.map(({ credential, reason, state, expires_at }) => [credential, reason, state, expires_at]), [["orders-db", "month end", "held", lease.expires_at]]);
    assert.deepEqual(shown.findings, []);
    const page = await installation.run(["task", "show", task.id], { json: false });
    assert.match(page.stdout, /orders-db +month end +\S+ +held/);
    const started = Date.now();
    await installation.cli(["task", "close", task.id]);
    await back(context, task.id);
    figure("lease: from the close of a task to the role being gone, ms", Date.now() - started);
    context.entry = await gone(context, lease, session);
    assert.equal(cluster.admin("SELECT tableowner FROM pg_tables WHERE tablename = 'left_behind'", DATABASE), "orders_app");
    const late = ["credential", "lease", "orders-db", "--task", task.id, "--reason", "late", "--secret-file", join(installation.folder, "late")];
    await installation.refused(late, 1, "lease.task-stopped");
});

test("a lease ends with its time, though its task goes on", async context => {
    const { installation } = context;
    const task = await installation.openTask("orders", CAN);
    const lease = await lend(context, task.id, "orders-db", { span: "10s" });
    const session = await context.cluster.session(lease.handle, lease.secret, "worker", DATABASE);
    assert.ok(Date.parse((await back(context, task.id)).returned[0].expires_at) <= Date.now());
    await gone(context, lease, session);
});

test("a kill of the task or of its identity takes back what it holds, and suspension does", async context => {
    const { installation } = context;
    for (const [name, stop] of [
        ["killed-task", task => installation.kill("task", task)],
        ["killed-identity", (_, identity) => installation.kill("identity", identity)],
        ["suspended", (_, identity) => installation.cli(["suspend", "identity", identity, "--reason", "end-to-end test"])]
    ]) {
        const { id } = await installation.addIdentity(name);
        const task = await installation.openTask(id, CAN);
        const lease = await lend(context, task.id, "orders-db");
        const session = await context.cluster.session(lease.handle, lease.secret, "worker", DATABASE);
        const started = Date.now();
        await stop(task.id, id);
        await back(context, task.id);
        await gone(context, lease, session);
        figure(`lease: ${name}, from the stop to the role being gone, ms`, Date.now() - started);
    }
});

test("an operator has a lease taken back, once", async context => {
    const { installation } = context;
    const task = await installation.openTask("orders", CAN);
    const lease = await lend(context, task.id, "orders-db");
    await installation.cli(["credential", "give-back", lease.id, "--reason", "done early"]);
    await back(context, task.id);
    await gone(context, lease);
    await installation.refused(["credential", "give-back", lease.id], 1, "lease.stands-elsewhere");
});

test("what the grant does not say is refused, and with leave it is a finding in the ledger, as is a second one", async context => {
    const { installation } = context;
    const task = await installation.openTask("orders", ['credential:lease(name = "orders-aws")']);
    const file = join(installation.folder, "beyond");
    const words = ["credential", "lease", "orders-db", "--task", task.id, "--reason", "in a hurry", "--secret-file", file];
    await installation.refused(words, 1, "lease.beyond-scope");
    assert.deepEqual((await ledger(context, task.id)).holds, []);
    const first = await lend(context, task.id, "orders-db", { more: ["--beyond-scope"] });
    const second = await lend(context, task.id, "orders-db", { more: ["--beyond-scope"] });
    const { findings } = await ledger(context, task.id);
    assert.deepEqual(findings.map(({ code }) => code).sort(), ["ledger.accumulated", "ledger.beyond-scope", "ledger.beyond-scope"]);
    assert.deepEqual(new Set(findings.filter(({ code }) => code === "ledger.beyond-scope").map(f => f.lease)), new Set([first.id, second.id]));
    await installation.cli(["task", "close", task.id]);
    await back(context, task.id);
    const after = await ledger(context, task.id);
    assert.deepEqual(after.findings.map(({ code }) => code), ["ledger.beyond-scope", "ledger.beyond-scope"], "that it was held stays in the ledger");
    await installation.refused(["credential", "lease", "rotator", "--task", task.id, "--reason", "x", "--secret-file", join(installation.folder, "x")], 1);
});

/** The service dies while it makes or takes back a lease; no role is left, and none is unrecorded. */
async function killedAt(context, word, when, act) {
    const { installation, cluster } = context;
    const task = await installation.openTask("orders", CAN);
    const hold = cluster.hold(word, when);
    const acting = act(task);
    acting.catch(() => {});
    await until("the chosen moment", () => hold.reached, 20_000);
    const [live] = (await ledger(context, task.id)).holds;
    assert.ok(live, "what exists there has a record");
    await installation.service.stop("SIGKILL");
    cluster.release();
    await acting.catch(() => {});
    await installation.serve();
    await until("the role to be gone", async () => (await ledger(context, task.id)).holds.length === 0, 50_000);
    assert.equal(cluster.admin(`SELECT count(*) FROM pg_roles WHERE rolname = '${live.handle}'`), "0");
    return live;
}

const request = ({ installation }, task) =>
    installation.run(["credential", "lease", "orders-db", "--task", task.id, "--reason", "drill", "--secret-file", join(installation.folder, `drill-${randomBytes(6).toString("hex")}`)]);

test("killed before the role is made, nothing is left", context => killedAt(context, /CREATE ROLE "bailiwick/, "message", task => request(context, task)));

test("killed when the role is made and nobody knows, it is taken back", async context => {
    const live = await killedAt(context, /CREATE ROLE "bailiwick/, "answer", task => request(context, task));
    assert.equal(live.state, "making");
});

test("killed while a role is dropped, it ends complete", async context => {
    await killedAt(context, /DROP ROLE/, "answer", async task => {
        await lend(context, task.id, "orders-db");
        await context.installation.cli(["task", "close", task.id]);
    });
    assert.equal(roles(context.cluster), "0", "no role of any lease is left");
});

test("a restart takes back what ended meanwhile", async context => {
    const { installation, cluster } = context;
    const task = await installation.openTask("orders", CAN, { window: "12s" });
    const lease = await lend(context, task.id, "orders-db", { span: "1h" });
    assert.ok(Date.parse(lease.expires_at) <= Date.parse(task.task.closes_at), "no longer than its task");
    await installation.service.stop("SIGKILL");
    await until("its time to be over", () => Date.now() > Date.parse(lease.expires_at), 20_000);
    assert.match(await cluster.attempt(lease.handle, lease.secret, DATABASE), /FATAL/, "the server refuses it while nobody is there");
    await installation.serve();
    await back(context, task.id);
    await gone(context, lease);
});

test("a session of a role at AWS is made for a task, and refused when the task is closed", async context => {
    const { installation, moto, awsManager } = context;
    const task = await installation.openTask("orders", CAN);
    const lease = await lend(context, task.id, "orders-aws");
    const document = JSON.parse(lease.secret);
    const who = { key: document.AccessKeyId, secret: document.SecretAccessKey, session: document.SessionToken };
    assert.equal(document.Version, 1);
    const caller = await moto.call(who, "sts", "get_caller_identity");
    assert.match(caller.result.Arn, new RegExp(`assumed-role/reports/${lease.handle}$`));
    assert.equal((await moto.call(who, "iam", "list_users")).ok, true, "it works before");
    await installation.cli(["task", "close", task.id]);
    const { returned } = await back(context, task.id);
    assert.deepEqual([returned[0].state, returned[0].refused], ["barred", "AccessDenied"]);
    const after = await moto.call(who, "iam", "list_users");
    assert.deepEqual([after.ok, after.code], [false, "AccessDenied"], "it is refused after");
    const policies = await moto.call(awsManager, "iam", "list_role_policies", { RoleName: "reports" });
    assert.equal(policies.ok, false, "the manager may do no more than it needs");
});

test("a session that there is no room to refuse is not made, and every one that was made can be refused", async context => {
    const { installation, moto } = context;
    const taken = moto.quota(350);
    const held = [];
    for (let n = 0; n < 2; n += 1) {
        const task = await installation.openTask("orders", CAN);
        const { AccessKeyId, SecretAccessKey, SessionToken } = JSON.parse((await lend(context, task.id, "orders-aws")).secret);
        held.push({ task, who: { key: AccessKeyId, secret: SecretAccessKey, session: SessionToken } });
    }
    const late = await installation.openTask("orders", CAN);
    const words = ["credential", "lease", "orders-aws", "--task", late.id, "--reason", "x", "--secret-file", join(installation.folder, "no-room")];
    const refused = await installation.refused(words, 1, "lease.not-made");
    assert.match(refused.message, /no room to refuse another session/);
    assert.deepEqual((await back(context, late.id)).returned.map(({ state }) => state), ["returned"]);
    assert.equal(taken.size, 2);
    for (const { task } of held) {
        await installation.cli(["task", "close", task.id]);
        const { returned } = await back(context, task.id);
        assert.deepEqual([returned[0].state, returned[0].trouble], ["barred", undefined]);
    }
    for (const { who } of held) {
        assert.equal((await moto.call(who, "iam", "list_users")).code, "AccessDenied");
    }
    moto.door.judge = undefined;
});

test("that a lease is back is a log entry whose proof verifies offline", async ({ installation, entry }) => {
    const { state } = await installation.integrated();
    const file = join(installation.folder, "lease-proof");
    await installation.cli(["log", "prove", String(entry), "--log", "state", "--disclose", "-o", file]);
    const verified = await runBinary(["--json", "verify", file, "--key", state.vkey], { folder: "/" });
    assert.equal(verified.code, 0, verified.stderr);
    const { payload, leaf } = JSON.parse(verified.stdout);
    assert.equal(leaf.kind, "state.lease.returned");
    const { after } = payload.objects[0];
    assert.deepEqual([after.detail.reason, after.detail.standing.entry, after.detail.standing.probe.code], ["month end", entry, "28P01"]);
    const { sound } = await installation.cli(["log", "verify"]);
    assert.equal(sound, true);
});

test("no secret of a lease stands in our log, the system's, or the data folder", async ({ installation, cluster, secrets }) => {
    await installation.service.stop();
    const own = installation.history.map(service => service.text).join("\n");
    assert.ok(secrets.length > 10);
    for (const [n, secret] of secrets.entries()) {
        assert.ok(n < 2 || !cluster.log.includes(secret), "a secret is in the system's log");
        for (const form of forms(secret)) {
            assert.ok(!own.includes(form.toString()), "a secret is in our log");
            for (const [file, bytes] of files(installation.data)) {
                assert.ok(!bytes.includes(form), `a secret is in ${file}`);
            }
        }
    }
    await installation.serve();
});
