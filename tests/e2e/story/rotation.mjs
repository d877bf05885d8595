// Rotation: a real PostgreSQL login with live consumers is replaced in two
// phases, and a service that dies in any of them ends complete.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Cluster } from "../lib/cluster.mjs";
import { Installation, runBinary } from "../lib/installation.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { files, forms } from "../lib/scan.mjs";
import { until } from "../lib/wait.mjs";

const DATABASE = "orders";
const LOGINS = ["orders_a", "orders_b"];
const fresh = () => `canary-${randomBytes(18).toString("hex")}`;

/** Whoever uses the credential: it fetches the secret and stays connected. */
class Consumer {
    constructor(context, name) {
        Object.assign(this, { context, name, session: undefined });
    }

    /** Takes the secret that is to be used now, and lets go of the old session. */
    async move() {
        const { installation, cluster } = this.context;
        const file = join(installation.folder, `secret-of-${this.name}`);
        const fetched = await installation.cli(["credential", "fetch", "orders-db", "--secret-file", file, "--replace"]);
        assert.equal(statSync(file).mode & 0o777, 0o600);
        assert.ok(!JSON.stringify(fetched).includes(readFileSync(file, "utf8")), "the secret is in the answer shown");
        const before = this.session;
        this.secret = readFileSync(file, "utf8");
        this.login = fetched.login;
        this.session = await cluster.session(fetched.login, this.secret, this.name, DATABASE);
        await before?.close();
    }

    /** It works as the application, whichever login it came with. */
    async works() {
        assert.equal(await this.session.ask("SELECT current_user || ' ' || count(*) FROM orders"), "orders_app 3");
    }
}

const shown = async ({ installation }) => (await installation.api("GET", "/v1/tenants/acme/credentials/orders-db")).body;

/** Lets waiting consumers move until `done`; gives the credential then. */
async function drive(context, what, done) {
    let credential;
    const work = until(
        what,
        async () => {
            credential = await shown(context);
            if (credential.rotation?.phase === "watching") {
                for (const name of credential.rotation.waiting) {
                    await context.consumers[name].move();
                }
            }
            return (await done(credential)) && credential;
        },
        30_000
    );
    return work.catch(error => assert.fail(`${error.message}; it stands at ${JSON.stringify(credential?.rotation)}`));
}

const ended = before => credential => credential.rotation === undefined && credential.last_rotation?.entry !== before?.entry;

/** What holds after every rotation, however it went. */
async function complete(context, before) {
    const { installation, cluster, consumers } = context;
    const credential = await drive(context, "the rotation to end", ended(before.last_rotation));
    assert.notEqual(credential.login, before.login);
    assert.notEqual(credential.fingerprint, before.fingerprint);
    assert.match(credential.last_rotation.refused, /^28/);
    const open = cluster.admin(`SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname IN ('${LOGINS.join("', '")}')`);
    assert.equal(open, credential.login, "exactly one login is open");
    const kept = cluster.admin(`SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL AND rolname IN ('${LOGINS.join("', '")}')`);
    assert.equal(kept, credential.login, "exactly one login has a password");
    for (const consumer of Object.values(consumers)) {
        assert.equal(consumer.login, credential.login);
        await consumer.works();
    }
    assert.match(await cluster.attempt(before.login, context.secret, DATABASE), /FATAL/);
    context.secret = consumers.billing.secret;
    assert.equal(await cluster.attempt(credential.login, context.secret, DATABASE), undefined);
    const { sound } = await installation.integrated().then(() => installation.cli(["log", "verify"]));
    assert.equal(sound, true);
    return credential;
}

suite("rotation", async () => {
    const cluster = await Cluster.open();
    const [manager, first] = [fresh(), fresh()];
    cluster.admin(`CREATE ROLE rotator LOGIN CREATEROLE PASSWORD '${manager}' IN ROLE pg_signal_backend, pg_read_all_stats`);
    cluster.admin(`CREATE ROLE orders_app NOLOGIN`);
    cluster.admin(`CREATE ROLE orders_a LOGIN PASSWORD '${first}' IN ROLE orders_app`);
    cluster.admin("ALTER ROLE orders_a SET role = orders_app");
    cluster.admin(`CREATE DATABASE ${DATABASE} OWNER orders_app`);
    cluster.admin("SET ROLE orders_app; CREATE TABLE orders AS SELECT generate_series(1, 3) AS id", DATABASE);
    const installation = await Installation.start("rotation");
    await installation.addIdentity("orders", { kind: "service-account", owner: "sales" });
    const managerFile = join(installation.folder, "manager-secret");
    writeFileSync(managerFile, `${manager}\n`, { mode: 0o600 });
    await installation.cli(["credential", "add", "rotator", "--kind", "generic", "--identity", "orders", "--secret-file", managerFile]);
    const context = { cluster, installation, secret: first, secrets: [manager, first] };
    context.consumers = { billing: new Consumer(context, "billing"), reports: new Consumer(context, "reports") };
    context.stop = async () => {
        await installation.stop();
        await cluster.stop();
    };
    return context;
});

test("a login is registered with owner, schedule and known consumers, its secret from standard input", async context => {
    const { installation, cluster } = context;
    const words = ["credential", "add", "orders-db", "--kind", "postgres-login", "--identity", "orders", "--secret-file", "-"];
    words.push("--target", `127.0.0.1:${cluster.port}/${DATABASE}`, "--role", "orders_app");
    words.push("--login", "orders_a", "--manager-login", "rotator", "--manager", "rotator", "--every", "30d", "--overlap", "1s");
    await installation.refused(words, 2, undefined, { input: context.secret });
    const bare = [...words, "--login", "orders_b", "--consumer", "billing", "--consumer", "reports"];
    const guarded = await installation.refused(bare, 2, "credential.endpoint-override", { input: context.secret });
    assert.match(guarded.message, /127\.0\.0\.1 is not public.*--allow-address/);
    const here = [...bare, "--allow-address", "127.0.0.1/32"];
    const both = [...here, "--allow-plaintext"];
    // The manager is tried before anything is kept: the server has no TLS, and no such password.
    const plain = await installation.refused(here, 1, "credential.manager-refused", { input: context.secret });
    assert.match(plain.message, /`rotator` at 127\.0\.0\.1.*TLS/);
    await installation.cli(["credential", "add", "stale", "--kind", "generic", "--identity", "orders", "--secret-file", "-"], { input: "not its password" });
    const stale = both.map((word, at) => (both[at - 1] === "--manager" ? "stale" : word));
    const wrong = await installation.refused(stale, 1, "credential.manager-refused", { input: context.secret });
    assert.match(wrong.message, /28P01/);
    assert.match(wrong.hint, /credential replace/);
    await installation.cli([...stale, "--no-try"].map(word => (word === "orders-db" ? "untried-db" : word)), { input: context.secret });
    await installation.cli(["credential", "remove", "untried-db", "--reason", "it was a try"]);
    await installation.cli(["credential", "remove", "stale", "--reason", "it was a try"]);
    await installation.refused([...both, "--login", "Robert"], 2, undefined, { input: context.secret });
    const hostile = both.map(word => (word === "orders_b" ? 'b"; DROP ROLE orders_app; --' : word));
    await installation.refused(hostile, 1, "credential.login-name", { input: context.secret });
    const added = await installation.cli(both, { input: context.secret });
    assert.deepEqual([added.login, added.owner.team, added.consumers, added.overdue], ["orders_a", "sales", ["billing", "reports"], false]);
    await installation.refused(both, 1, "store.duplicate", { input: context.secret });
    const { items } = await installation.cli(["credential", "schedule"]);
    assert.deepEqual(items.map(item => [item.name, item.last_rotation]), [["rotator", undefined], ["orders-db", undefined]]);
    for (const consumer of Object.values(context.consumers)) {
        await consumer.move();
        await consumer.works();
    }
});

test("an unknown third consumer blocks the revoke until it is gone", async context => {
    const { installation, cluster, consumers } = context;
    const before = await shown(context);
    const nightly = await cluster.session(before.login, context.secret, "nightly", DATABASE);
    await installation.cli(["credential", "rotate", "orders-db", "--reason", "first rotation"]);
    const blocked = await drive(context, "the unknown consumer to be noticed", ({ rotation }) => rotation?.waiting.length === 0 && rotation.unknown.length === 1);
    assert.deepEqual(blocked.rotation.unknown, ["nightly"]);
    // Longer than the overlap and several looks: nothing is revoked, everybody works.
    const looks = cluster.log.split("pg_stat_activity").length;
    await until("five more looks", () => cluster.log.split("pg_stat_activity").length >= looks + 5, 20_000);
    assert.equal((await shown(context)).rotation.phase, "watching");
    assert.equal(await nightly.ask("SELECT 1"), "1");
    assert.equal(await cluster.attempt(before.login, context.secret, DATABASE), undefined, "the old secret is still accepted");
    await consumers.billing.works();
    await nightly.close();
    const started = Date.now();
    await complete(context, before);
    figure("rotation: from the last unknown consumer's end to the evidence, ms", Date.now() - started);
});

test("a known consumer with a second copy on the old login is waited for, and not cut off", async context => {
    const { installation, cluster, consumers } = context;
    const before = await shown(context);
    const copy = await cluster.session(before.login, context.secret, "billing", DATABASE);
    await installation.cli(["credential", "rotate", "orders-db"]);
    await drive(context, "billing to have moved", ({ rotation }) => rotation?.phase === "watching" && consumers.billing.login !== before.login);
    const looks = cluster.log.split("pg_stat_activity").length;
    await until("five more looks", () => cluster.log.split("pg_stat_activity").length >= looks + 5, 20_000);
    const waits = await shown(context);
    assert.deepEqual([waits.rotation?.phase, waits.rotation?.waiting], ["watching", ["billing"]]);
    assert.equal(await copy.ask("SELECT 1"), "1", "it works as before");
    await copy.close();
    await complete(context, before);
});

test("two rotations at once are refused", async context => {
    const { installation } = context;
    const before = await shown(context);
    await installation.cli(["credential", "rotate", "orders-db"]);
    await installation.refused(["credential", "rotate", "orders-db"], 1, "credential.rotation-running");
    const both = await Promise.all([1, 2].map(() => installation.run(["credential", "rotate", "orders-db"])));
    assert.deepEqual(both.map(({ code }) => code), [1, 1]);
    // Nor is it corrected or taken out meanwhile.
    const why = ["--reason", "a slip"];
    await installation.refused(["credential", "correct", "orders-db", ...why, "--consumer", "billing"], 1, "credential.rotation-running");
    await installation.refused(["credential", "remove", "orders-db", ...why], 1, "credential.rotation-running");
    await complete(context, before);
    await installation.refused(["credential", "remove", "orders-db", ...why], 1, "credential.was-rotated");
});

test("the evidence of the last rotation is a log entry whose proof verifies offline", async context => {
    const { installation } = context;
    const { items } = await installation.cli(["credential", "schedule"]);
    const { last_rotation: last, fingerprint } = items.find(item => item.name === "orders-db");
    const { state } = await installation.integrated();
    const file = join(installation.folder, "rotation-proof");
    await installation.cli(["log", "prove", String(last.entry), "--log", "state", "--disclose", "-o", file]);
    const verified = await runBinary(["--json", "verify", file, "--key", state.vkey], { folder: "/" });
    assert.equal(verified.code, 0, verified.stderr);
    const { payload, leaf } = JSON.parse(verified.stdout);
    assert.equal(leaf.kind, "state.credential.rotation-complete");
    const { before, after } = payload.objects[0];
    assert.equal(before.detail.rotation.phase, "probing");
    assert.deepEqual(before.detail.rotation.moved, ["billing", "reports"]);
    assert.equal(after.fingerprint, fingerprint);
    assert.equal(after.detail.rotated.entry, last.entry);
    assert.match(after.detail.rotated.probe.code, /^28/);
    assert.match(after.detail.rotated.probe.text, /authentication|log in/);
    const bent = readFileSync(file);
    bent[Math.floor(bent.length / 2)] ^= 1;
    writeFileSync(file, bent);
    assert.equal((await runBinary(["verify", file, "--key", state.vkey], { folder: "/" })).code, 7);
});

/** A rotation during which the service is killed at `word`, before it or before its answer arrives. */
async function killedAt(context, word, when) {
    const { installation, cluster } = context;
    const before = await shown(context);
    const hold = cluster.hold(word(before.login), when);
    await installation.cli(["credential", "rotate", "orders-db", "--reason", "drill"]);
    await drive(context, "the chosen moment", () => hold.reached);
    const phase = (await shown(context)).rotation.phase;
    await installation.service.stop("SIGKILL");
    cluster.release();
    await installation.serve();
    await complete(context, before);
    return phase;
}

test("killed before the new secret is valid, it ends complete", async context => {
    assert.equal(await killedAt(context, () => /PASSWORD 'SCRAM/, "message"), "staging");
});

test("killed when the new secret is valid and nobody knows, it ends complete", async context => {
    assert.equal(await killedAt(context, () => /PASSWORD 'SCRAM/, "answer"), "staging");
});

test("killed while it watches, it ends complete", async context => {
    assert.equal(await killedAt(context, () => /pg_stat_activity/, "message"), "watching");
});

test("killed before the old secret is revoked, it ends complete", async context => {
    assert.equal(await killedAt(context, () => /NOLOGIN/, "message"), "revoking");
});

test("killed when the old secret is half revoked, it ends complete", async context => {
    assert.equal(await killedAt(context, () => /PASSWORD NULL/, "answer"), "revoking");
});

test("an old login that is opened again opens with its secret, however far the one before had come", async context => {
    const { installation, cluster, consumers } = context;
    const before = await shown(context);
    const hold = cluster.hold(/PASSWORD NULL/, "answer");
    await installation.cli(["credential", "rotate", "orders-db", "--reason", "drill"]);
    await drive(context, "the chosen moment", () => hold.reached);
    await installation.service.stop("SIGKILL");
    // A session that no look had seen, such as one of a pool that changed its name.
    cluster.admin(`ALTER ROLE ${before.login} LOGIN PASSWORD '${context.secret}'`);
    const stranger = await cluster.session(before.login, context.secret, "stranger", DATABASE);
    cluster.admin(`ALTER ROLE ${before.login} NOLOGIN PASSWORD NULL`);
    cluster.release();
    await installation.serve();
    const open = await drive(context, "the stranger to be noticed", ({ rotation }) => rotation?.phase === "watching" && rotation.unknown.length === 1);
    assert.deepEqual(open.rotation.unknown, ["stranger"]);
    assert.equal(await cluster.attempt(before.login, context.secret, DATABASE), undefined, "the old secret opens");
    assert.equal(await stranger.ask("SELECT 1"), "1");
    await stranger.close();
    await installation.cli(["credential", "rotation", "orders-db", "--cancel", "--reason", "drill"]);
    await until("the roll-back", async () => (await shown(context)).rotation === undefined, 20_000);
    assert.equal(await cluster.attempt(before.login, context.secret, DATABASE), undefined, "the secret in use opens");
    for (const consumer of Object.values(consumers)) {
        await consumer.move();
        await consumer.works();
    }
});

test("whoever is connected with a secret that is taken back is cut off", async context => {
    const { installation, cluster, consumers } = context;
    const before = await shown(context);
    await installation.cli(["credential", "rotate", "orders-db"]);
    await until("both to be valid", async () => (await shown(context)).rotation.phase === "watching");
    await consumers.billing.move();
    const { login, secret } = consumers.billing;
    assert.notEqual(login, before.login);
    const thief = await cluster.session(login, secret, "thief", DATABASE);
    await installation.cli(["credential", "rotation", "orders-db", "--cancel", "--reason", "it leaked"]);
    await until("the roll-back", async () => (await shown(context)).rotation === undefined, 20_000);
    assert.equal(await thief.ask("SELECT 1"), undefined, "its session has ended");
    assert.match(await cluster.attempt(login, secret, DATABASE), /FATAL/);
    await consumers.billing.move();
    await consumers.billing.works();
});

test("a database that has no connection to spare does not take a rotation back", async context => {
    const { installation, cluster } = context;
    const before = await shown(context);
    cluster.admin("ALTER ROLE rotator CONNECTION LIMIT 0");
    await installation.cli(["credential", "rotate", "orders-db"]);
    const waits = await drive(context, "the trouble", ({ rotation }) => rotation === undefined || rotation.trouble !== undefined);
    assert.equal(waits.rotation?.phase, "staging", JSON.stringify(waits.taken_back));
    assert.match(waits.rotation.trouble, /not reached: 53300/);
    cluster.admin("ALTER ROLE rotator CONNECTION LIMIT -1");
    await complete(context, before);
});

test("killed before the refusal probe is answered, it ends complete", async context => {
    assert.equal(await killedAt(context, login => new RegExp(`user\0${login}\0`), "answer"), "probing");
});

test("a rotation that its system refuses is rolled back, and the old secret goes on", async context => {
    const { cluster, installation } = context;
    const before = await shown(context);
    cluster.admin("ALTER ROLE rotator NOCREATEROLE");
    await installation.cli(["credential", "rotate", "orders-db"]);
    const refused = await drive(context, "the refusal", ({ rotation }) => rotation?.phase === "rolling-back" && rotation.trouble !== undefined);
    assert.match(refused.rotation.trouble, /42501/);
    cluster.admin("ALTER ROLE rotator CREATEROLE");
    const after = await drive(context, "the roll-back", ({ rotation }) => rotation === undefined);
    assert.deepEqual([after.login, after.fingerprint, after.last_rotation], [before.login, before.fingerprint, before.last_rotation]);
    assert.equal(await cluster.attempt(before.login, context.secret, DATABASE), undefined);
    const other = LOGINS.find(login => login !== before.login);
    assert.equal(cluster.admin(`SELECT rolcanlogin FROM pg_roles WHERE rolname = '${other}'`), "f");
});

test("an operator gives a rotation up, and a crash on the way back changes nothing", async context => {
    const { cluster, installation } = context;
    const before = await shown(context);
    await installation.cli(["credential", "rotate", "orders-db"]);
    await until("both to be valid", async () => (await shown(context)).rotation.phase === "watching");
    const hold = cluster.hold(/NOLOGIN PASSWORD NULL/, "answer");
    await installation.cli(["credential", "rotation", "orders-db", "--cancel", "--reason", "not today"]);
    await until("the moment", () => hold.reached);
    await installation.service.stop("SIGKILL");
    cluster.release();
    await installation.serve();
    const after = await until("the roll-back", async () => {
        const credential = await shown(context);
        return credential.rotation === undefined && credential;
    }, 30_000);
    assert.deepEqual([after.login, after.fingerprint], [before.login, before.fingerprint]);
    await installation.refused(["credential", "rotation", "orders-db", "--cancel"], 1, "credential.no-rotation");
    const { sound } = await installation.integrated().then(() => installation.cli(["log", "verify"]));
    assert.equal(sound, true);
});

test("a key without a driver is replaced by a person, and has its schedule and entry too", async ({ installation }) => {
    const [before, after] = [fresh(), fresh()];
    const added = await installation.cli(["credential", "add", "mailer", "--kind", "api-key", "--identity", "orders", "--secret-file", "-"], { input: before });
    await installation.refused(["credential", "rotate", "mailer"], 1, "credential.no-driver");
    const replaced = await installation.cli(["credential", "replace", "mailer", "--secret-file", "-"], { input: after });
    assert.notEqual(replaced.fingerprint, added.fingerprint);
    const file = join(installation.folder, "mailer");
    await installation.cli(["credential", "fetch", "mailer", "--secret-file", file]);
    assert.equal(readFileSync(file, "utf8"), after);
    const { items } = await installation.cli(["log", "tail", "--log", "state", "-n", "4"]);
    const kinds = items.map(({ index, leaf }) => [index, leaf.kind]);
    assert.ok(kinds.some(([index, kind]) => index === replaced.last_rotation.entry && kind === "state.credential.replace"), JSON.stringify(kinds));
    assert.ok(kinds.some(([, kind]) => kind === "state.credential.fetch"));
});

test("no secret stands in the system's own log, nor in ours, nor in the data folder", async ({ installation, cluster, secrets, secret }) => {
    await installation.service.stop();
    const own = installation.history.map(service => service.text).join("\n");
    for (const form of [...secrets, secret].flatMap(forms)) {
        assert.ok(!own.includes(form.toString()), "a secret is in our log");
        for (const [file, bytes] of files(installation.data)) {
            assert.ok(!bytes.includes(form), `a secret is in ${file}`);
        }
    }
    assert.ok(!cluster.log.includes(secret), "the new secret is in the system's log");
    await installation.serve();
});
