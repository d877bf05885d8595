// Drivers beyond PostgreSQL and AWS: a service that a document describes, and
// a GitHub App, whose keys a person makes; and the end of a credential.
import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Cluster } from "../lib/cluster.mjs";
import { Installation, runBinary } from "../lib/installation.mjs";
import { githubApp, keyService } from "../lib/keyservice.mjs";
import { suite, test } from "../lib/lane.mjs";
import { files, forms } from "../lib/scan.mjs";
import { until } from "../lib/wait.mjs";

const DOCUMENT = join(import.meta.dirname, "../../../content/rotation/api-keys.toml");
const APP = "Iv23liExampleApp";
const fresh = () => `canary-${randomBytes(18).toString("hex")}`;
const rsa = () => generateKeyPairSync("rsa", { modulusLength: 2048, privateKeyEncoding: { type: "pkcs1", format: "pem" }, publicKeyEncoding: { type: "spki", format: "pem" } });
const shown = async ({ installation }, name) => (await installation.api("GET", `/v1/tenants/acme/credentials/${name}`)).body;

/** Waits until the credential is as `done` wants it; known consumers move meanwhile. */
async function drive(context, name, what, done) {
    let credential;
    const work = until(
        what,
        async () => {
            credential = await shown(context, name);
            if (credential.rotation?.phase === "watching") {
                for (const consumer of credential.rotation.waiting) {
                    await fetched(context, name);
                    await context.installation.cli(["credential", "rotation", name, "--moved", consumer]);
                }
            }
            return (await done(credential)) && credential;
        },
        30_000
    );
    return work.catch(error => assert.fail(`${error.message}; it stands at ${JSON.stringify(credential)}`));
}

/** The secret that is to be used now. */
async function fetched({ installation, secrets }, name) {
    const file = join(installation.folder, `${name}.secret`);
    await installation.cli(["credential", "fetch", name, "--secret-file", file, "--replace"]);
    const secret = readFileSync(file, "utf8");
    secrets.push(secret);
    return secret;
}

const ended = before => credential => credential.rotation === undefined && credential.last_rotation?.entry !== before.last_rotation?.entry;

suite("drivers", async () => {
    const managing = fresh();
    const [service, github, cluster] = [await keyService(managing), await githubApp(APP), await Cluster.open()];
    const first = service.add("made by hand");
    const installation = await Installation.start("drivers");
    await installation.addIdentity("orders", { kind: "service-account", owner: "sales" });
    const add = (name, secret, words) => installation.cli(["credential", "add", name, "--identity", "orders", "--secret-file", "-", ...words], { input: secret });
    await add("mail-manager", managing, ["--kind", "api-key"]);
    const stop = async () => {
        await installation.stop();
        await Promise.all([service.stop(), github.stop(), cluster.stop()]);
    };
    return { service, github, cluster, installation, add, first, secrets: [managing, first.secret], stop };
});

/** A key of its own at the service, described by the document as `bend` leaves it. */
async function described({ installation, service, add, secrets }, name, bend) {
    const document = join(installation.folder, `${name}.toml`);
    const [before, after] = [readFileSync(DOCUMENT, "utf8"), bend(readFileSync(DOCUMENT, "utf8"))];
    assert.notEqual(before, after);
    writeFileSync(document, after);
    const key = service.add("made by hand");
    secrets.push(key.secret);
    const words = ["--kind", "api-key", "--overlap", "1s", "--driver", document, "--url", service.url, "--key", key.id, "--manager", "mail-manager"];
    await add(name, key.secret, [...words, "--allow-plaintext", "--allow-address", "127.0.0.1/32"]);
    return key;
}

/** Revokes it and waits for the evidence. */
async function retire(context, name) {
    await context.installation.cli(["credential", "revoke", name, "--reason", "its test is over"]);
    return drive(context, name, "the end", credential => credential.revoked?.at !== undefined);
}

test("a service is described by a document, and what the document does not say well is refused", async context => {
    const { installation, service, first, add } = context;
    const words = ["--kind", "api-key", "--consumer", "mailer", "--overlap", "1s", "--driver", DOCUMENT, "--url", service.url, "--key", first.id, "--manager", "mail-manager"];
    const leave = ["--allow-plaintext", "--allow-address", "127.0.0.1/32"];
    const adding = ["credential", "add", "mail", "--identity", "orders", "--secret-file", "-"];
    await installation.refused([...adding, ...words], 2, "credential.endpoint-override", { input: first.secret });
    const bent = join(installation.folder, "bent.toml");
    writeFileSync(bent, readFileSync(DOCUMENT, "utf8").replace("Bearer {secret}", "Bearer {manager}"));
    const refused = await installation.refused([...adding, ...words.map(word => (word === DOCUMENT ? bent : word)), ...leave], 2, "credential.driver-document", { input: first.secret });
    assert.match(refused.message, /probe\.headers/);
    const added = await add("mail", first.secret, [...words, ...leave]);
    assert.deepEqual([added.login, added.http.url, added.http.allow_plaintext], [first.id, service.url, true]);
});

test("a key of a described service works before its rotation and is refused after", async context => {
    const { installation, service, first } = context;
    const before = await shown(context, "mail");
    assert.equal(await service.works(first.secret), 200);
    await installation.cli(["credential", "rotate", "mail", "--reason", "first rotation"]);
    const after = await drive(context, "mail", "the rotation to end", ended(before));
    assert.equal(after.last_rotation.refused, "HTTP 401");
    assert.equal(await service.works(first.secret), 401);
    assert.equal(await service.works(await fetched(context, "mail")), 200);
    assert.deepEqual([...service.keys.keys()], [after.login], "exactly one key is left");
});

test("an old key that is accepted after it was revoked is said once, tried ever less often, and refused in the end", async context => {
    const { installation, service } = context;
    const before = await shown(context, "mail");
    const old = [...service.keys.values()].find(key => key.id === before.login);
    service.mood.stubborn = old.id;
    const entries = async () => (await installation.cli(["log", "tail", "--log", "state", "-n", "100"])).items.map(({ leaf }) => leaf.kind);
    await installation.cli(["credential", "rotate", "mail", "--reason", "second rotation"]);
    const open = await drive(context, "mail", "the trouble", ({ rotation }) => rotation?.phase === "revoking" && rotation.trouble !== undefined);
    assert.match(open.rotation.trouble, /still accepted there/);
    const paper = await installation.run(["credential", "rotation", "mail"], { json: false });
    assert.match(paper.stdout, /trouble .*still accepted there/);
    await until("several attempts", () => service.mood.deletions >= 4, 30_000);
    const count = (await entries()).filter(kind => kind === "state.credential.rotation-accepted").length;
    assert.equal(count, 1, "one entry, whatever the attempts");
    const warned = installation.service.text.split("\n").filter(line => line.includes("still accepted there"));
    assert.equal(warned.length, 1, warned.join("\n"));
    // Somebody ends it there.
    service.mood.stubborn = undefined;
    service.keys.delete(old.id);
    const after = await drive(context, "mail", "the rotation to end", ended(before));
    assert.equal(after.last_rotation.refused, "HTTP 401");
});

for (const [when, word, kind] of [
    ["killed when the key is made and nobody knows it", /^POST \/v1\/keys/, "answer"],
    ["killed when the old key is deleted", /^DELETE \/v1\/keys/, "answer"]
]) {
    test(`${when}, a described rotation ends complete, and a person's key is not touched`, async context => {
        const { installation, service } = context;
        const before = await shown(context, "mail");
        const persons = service.add("made by hand");
        const hold = service.door.hold(word, kind);
        await installation.cli(["credential", "rotate", "mail"]);
        await drive(context, "mail", "the chosen moment", () => hold.reached);
        await installation.service.stop("SIGKILL");
        service.door.release();
        await installation.serve();
        const after = await drive(context, "mail", "the rotation to end", ended(before));
        assert.deepEqual(new Set(service.keys.keys()), new Set([after.login, persons.id]));
        service.keys.delete(persons.id);
    });
}

test("a key that a service repeats in its refusal is kept nowhere", async context => {
    const { installation, service, secrets } = context;
    const before = await shown(context, "mail");
    service.mood.loud = /^GET \/v1\/keys/;
    await installation.cli(["credential", "rotate", "mail"]);
    const refused = await drive(context, "mail", "the refusal", ({ rotation, taken_back }) => rotation === undefined && taken_back !== undefined);
    assert.match(refused.taken_back.reason, /refused with HTTP 403: Bearer \*\*\* is not allowed/);
    service.mood.loud = /^GET \/v1\/whoami/;
    await installation.cli(["credential", "rotate", "mail"]);
    const stuck = await drive(context, "mail", "the probe", ({ rotation }) => rotation?.phase === "probing" && rotation.trouble !== undefined);
    service.mood.loud = undefined;
    await drive(context, "mail", "the rotation to end", ended(before));
    const openings = readFileSync(join(await installation.export(), "state", "openings.jsonl"), "utf8").trim().split("\n");
    const opened = openings.map(line => Buffer.from(JSON.parse(line).payload, "base64").toString());
    assert.ok(opened.some(text => text.includes("Bearer *** is not allowed")), "the log has the words");
    const told = [JSON.stringify([refused, stuck]), installation.history.map(each => each.text).join("\n"), ...opened].join("\n");
    for (const form of secrets.flatMap(forms)) {
        assert.ok(!told.includes(form.toString()), "a secret was kept");
    }
});

test("a document that does not say what gone means takes not found for it, where the list agrees", async context => {
    const { installation, service } = context;
    const key = await described(context, "bare", text => text.replace("refused = [404]", ""));
    const before = await shown(context, "bare");
    const hold = service.door.hold(/^DELETE \/v1\/keys/, "answer");
    await installation.cli(["credential", "rotate", "bare"]);
    await drive(context, "bare", "the chosen moment", () => hold.reached);
    await installation.service.stop("SIGKILL");
    service.door.release();
    await installation.serve();
    const after = await drive(context, "bare", "the rotation to end", ended(before));
    assert.deepEqual([service.keys.has(key.id), service.keys.has(after.login)], [false, true]);
    await retire(context, "bare");
    // A path that leads nowhere is answered the same way, and the key lives.
    const lost = await described(context, "lost", text => text.replace("refused = [404]", "").replace("/v1/keys/{handle}", "/v1/kees/{handle}"));
    await installation.cli(["credential", "revoke", "lost", "--reason", "drill"]);
    const waits = await drive(context, "lost", "the word about it", ({ revoked }) => revoked?.trouble !== undefined);
    assert.match(waits.revoked.trouble, /no such key, and lists it: look at the path/);
    service.keys.delete(lost.id);
    await drive(context, "lost", "the end", credential => credential.revoked?.at !== undefined);
});

test("a list that comes in pages is read whole, and one that may not be whole is none", async context => {
    const { installation, service } = context;
    const persons = [1, 2, 3].map(() => service.add("made by hand").id);
    const paged = 'items = "/keys"\nnext = "/next"\nnext_path = "/v1/keys?after={page}"';
    const key = await described(context, "paged", text => text.replace('items = "/keys"', paged));
    service.mood.page = 2;
    const before = await shown(context, "paged");
    const hold = service.door.hold(/^POST \/v1\/keys/, "answer");
    await installation.cli(["credential", "rotate", "paged"]);
    await drive(context, "paged", "the chosen moment", () => hold.reached);
    const dead = [...service.keys.keys()].at(-1);
    await installation.service.stop("SIGKILL");
    service.door.release();
    await installation.serve();
    const after = await drive(context, "paged", "the rotation to end", ended(before));
    assert.deepEqual([key.id, dead, after.login, ...persons].map(id => service.keys.has(id)), [false, false, true, true, true, true]);
    await retire(context, "paged");
    await described(context, "full", text => text.replace('items = "/keys"', 'items = "/keys"\npage_size = 2'));
    await installation.cli(["credential", "rotate", "full"]);
    const waits = await drive(context, "full", "the word about pages", ({ rotation }) => rotation?.trouble !== undefined);
    assert.match(waits.rotation.trouble, /as long as a page, so there may be more/);
    await retire(context, "full");
    service.mood.page = Infinity;
    persons.forEach(id => service.keys.delete(id));
});

test("a revoked key is refused at once, although its service cannot list keys", async context => {
    const { installation, service } = context;
    const key = await described(context, "first", text => text.replace("# Leave it out", "# Leave this out"));
    const hold = service.door.hold(/^POST \/v1\/keys/, "answer");
    await installation.cli(["credential", "rotate", "first"]);
    await drive(context, "first", "the chosen moment", () => hold.reached);
    const dead = [...service.keys.keys()].at(-1);
    await installation.service.stop("SIGKILL");
    service.mood.broken = /^GET \/v1\/keys/;
    service.door.release();
    await installation.serve();
    await installation.cli(["credential", "revoke", "first", "--reason", "found in a repository"]);
    await until("the key to be refused", async () => (await service.works(key.secret)) === 401, 20_000);
    const waits = await drive(context, "first", "the word about the list", ({ revoked }) => revoked?.trouble !== undefined);
    assert.match(waits.revoked.trouble, /HTTP 500/);
    service.mood.broken = undefined;
    await drive(context, "first", "the end", credential => credential.revoked?.at !== undefined);
    assert.ok(!service.keys.has(dead), "the one that nobody knew is gone too");
});

test("a GitHub App's key is made and deleted by a person, and both are tried with a token it signs", async context => {
    const { installation, github, add, secrets } = context;
    const [old, next] = [rsa(), rsa()];
    secrets.push(old.privateKey, next.privateKey);
    github.keys.set("old", old.publicKey);
    const words = ["--kind", "github-app-key", "--github-app", APP, "--consumer", "releases", "--overlap", "1s"];
    const over = ["--danger-endpoint-override", github.url, "--allow-plaintext", "--allow-address", "127.0.0.1/32"];
    const added = await add("release-app", old.privateKey, [...words, ...over]);
    assert.deepEqual([added.github_app.app, added.github_app.danger_endpoint_override.url], [APP, github.url]);
    await installation.cli(["credential", "rotate", "release-app", "--reason", "left the team"]);
    const asked = await drive(context, "release-app", "the word to the person", ({ rotation }) => rotation?.trouble !== undefined);
    assert.match(asked.rotation.trouble, /make one in the app's settings/);
    // A key that the app does not know is refused, and the rotation is taken back.
    await installation.cli(["credential", "replace", "release-app", "--secret-file", "-"], { input: rsa().privateKey });
    const back = await drive(context, "release-app", "the roll-back", ({ rotation, taken_back }) => rotation === undefined && taken_back !== undefined);
    assert.match(back.taken_back.reason, /HTTP 401/);
    await installation.cli(["credential", "rotate", "release-app", "--reason", "left the team"]);
    await drive(context, "release-app", "the word to the person", ({ rotation }) => rotation?.trouble !== undefined);
    github.keys.set("next", next.publicKey);
    await installation.cli(["credential", "replace", "release-app", "--secret-file", "-"], { input: next.privateKey });
    const waiting = await drive(context, "release-app", "the word about the old key", ({ rotation }) => rotation?.phase === "revoking" && rotation.trouble !== undefined);
    assert.match(waiting.rotation.trouble, /the old key still opens: delete it/);
    github.keys.delete("old");
    const after = await drive(context, "release-app", "the rotation to end", ended(added));
    assert.equal(after.last_rotation.refused, "HTTP 401");
    assert.equal((await fetched(context, "release-app")).trim(), next.privateKey.trim());
});

test("a refusal of GitHub's proves nothing while the clocks differ", async context => {
    const { installation, github, add, secrets } = context;
    const key = rsa();
    secrets.push(key.privateKey);
    // An app belongs to one credential at a time.
    github.keys.clear();
    await retire(context, "release-app");
    github.keys.set("late", key.publicKey);
    const over = ["--danger-endpoint-override", github.url, "--allow-plaintext", "--allow-address", "127.0.0.1/32"];
    await add("late-app", key.privateKey, ["--kind", "github-app-key", "--github-app", APP, ...over]);
    // Our clock is five minutes ahead of theirs.
    github.clock.ahead = -300;
    await installation.cli(["credential", "revoke", "late-app", "--reason", "found in a repository"]);
    const told = what => drive(context, "late-app", "the word about it", ({ revoked }) => revoked?.at !== undefined || what.test(revoked?.trouble ?? ""));
    const apart = await told(/its clock and ours are 300 s apart|its clock and ours are (299|301) s apart/);
    assert.equal(apart.revoked.at, undefined, "it lives, and is not called revoked");
    github.clock.silent = true;
    assert.equal((await told(/it refused the token's times, not its key/)).revoked.at, undefined);
    Object.assign(github.clock, { ahead: 0, silent: false });
    assert.equal((await told(/the key still opens: delete it/)).revoked.at, undefined);
    github.keys.delete("late");
    assert.equal((await told(/never/)).revoked.refused, "HTTP 401");
});

test("both logins of a revoked credential are closed at once, although a session of one does not end", async context => {
    const { installation, cluster, add, secrets } = context;
    const [manager, first] = [fresh(), fresh()];
    secrets.push(manager, first);
    cluster.admin(`CREATE ROLE stocker LOGIN CREATEROLE PASSWORD '${manager}' IN ROLE pg_signal_backend, pg_read_all_stats`);
    cluster.admin("CREATE ROLE stock_app NOLOGIN");
    cluster.admin(`CREATE ROLE stock_a LOGIN PASSWORD '${first}' IN ROLE stock_app`);
    cluster.admin("CREATE DATABASE stock OWNER stock_app");
    await add("stocker", manager, ["--kind", "generic"]);
    const pg = ["--kind", "postgres-login", "--target", `127.0.0.1:${cluster.port}/stock`, "--allow-plaintext", "--allow-address", "127.0.0.1/32", "--role", "stock_app", "--login", "stock_a", "--login", "stock_b"];
    await add("stock-db", first, [...pg, "--manager-login", "stocker", "--manager", "stocker"]);
    const session = await cluster.session("stock_a", first, "anybody", "stock");
    await installation.cli(["credential", "rotate", "stock-db"]);
    await until("both to be valid", async () => (await shown(context, "stock-db")).rotation?.phase === "watching");
    const next = await fetched(context, "stock-db");
    assert.equal(await cluster.attempt("stock_b", next, "stock"), undefined);
    const pid = Number(cluster.admin("SELECT pid FROM pg_stat_activity WHERE usename = 'stock_a'"));
    process.kill(pid, "SIGSTOP");
    try {
        await installation.cli(["credential", "revoke", "stock-db", "--reason", "found in a repository"]);
        const waits = await drive(context, "stock-db", "the word about the session", ({ revoked }) => revoked?.trouble !== undefined);
        assert.match(waits.revoked.trouble, /sessions of the login did not end/);
        for (const [login, secret] of [["stock_a", first], ["stock_b", next]]) {
            assert.match((await cluster.attempt(login, secret, "stock")) ?? `${login} opens`, /FATAL/);
        }
    } finally {
        process.kill(pid, "SIGCONT");
    }
    await drive(context, "stock-db", "the end", credential => credential.revoked?.at !== undefined);
    assert.equal(await session.ask("SELECT 1"), undefined);
});

test("a revoked credential is refused by its system, at once and with evidence, and is used for nothing more", async context => {
    const { installation, service, cluster, add, secrets } = context;
    const [manager, first] = [fresh(), fresh()];
    secrets.push(manager, first);
    cluster.admin(`CREATE ROLE rotator LOGIN CREATEROLE PASSWORD '${manager}' IN ROLE pg_signal_backend, pg_read_all_stats`);
    cluster.admin("CREATE ROLE orders_app NOLOGIN");
    cluster.admin(`CREATE ROLE orders_a LOGIN PASSWORD '${first}' IN ROLE orders_app`);
    cluster.admin("CREATE DATABASE orders OWNER orders_app");
    await add("rotator", manager, ["--kind", "generic"]);
    const pg = ["--kind", "postgres-login", "--target", `127.0.0.1:${cluster.port}/orders`, "--allow-plaintext", "--allow-address", "127.0.0.1/32", "--role", "orders_app", "--login", "orders_a", "--login", "orders_b"];
    await add("orders-db", first, [...pg, "--manager-login", "rotator", "--manager", "rotator"]);
    const task = await installation.openTask("orders", ['credential:lease(name = "orders-db")']);
    const lease = await installation.cli(["credential", "lease", "orders-db", "--task", task.id, "--reason", "x", "--secret-file", join(installation.folder, "leased")]);
    const session = await cluster.session("orders_a", first, "anybody", "orders");
    await installation.refused(["credential", "revoke", "orders-db"], 2);
    // In the middle of a rotation, with both secrets valid.
    await installation.cli(["credential", "rotate", "orders-db"]);
    await until("both to be valid", async () => (await shown(context, "orders-db")).rotation?.phase === "watching");
    const hold = cluster.hold(/PASSWORD NULL/, "answer");
    await installation.cli(["credential", "revoke", "orders-db", "--reason", "found in a repository"]);
    await until("the chosen moment", () => hold.reached, 20_000);
    await installation.service.stop("SIGKILL");
    cluster.release();
    await installation.serve();
    const revoked = await drive(context, "orders-db", "the end", credential => credential.revoked?.at !== undefined);
    assert.deepEqual([revoked.revoked.reason, revoked.revoked.refused], ["found in a repository", "28P01"]);
    assert.equal(await session.ask("SELECT 1"), undefined, "whoever was connected is cut off");
    assert.match(await cluster.attempt("orders_a", first, "orders"), /FATAL/);
    assert.equal(cluster.admin("SELECT count(*) FROM pg_authid WHERE rolpassword IS NOT NULL AND rolname LIKE 'orders%'"), "0");
    await until("its leases to be back", async () => (await installation.cli(["task", "show", task.id])).holds.length === 0, 20_000);
    assert.equal(cluster.admin(`SELECT count(*) FROM pg_roles WHERE rolname = '${lease.lease.handle}'`), "0");
    for (const words of [["fetch", "--secret-file", join(installation.folder, "never")], ["rotate"], ["revoke", "--reason", "again"]]) {
        await installation.refused(["credential", words[0], "orders-db", ...words.slice(1)], 1, "credential.revoked");
    }
    await installation.cli(["credential", "revoke", "mail", "--reason", "service is closed"]);
    const mail = await drive(context, "mail", "the end", credential => credential.revoked?.at !== undefined);
    assert.deepEqual([mail.revoked.refused, [...service.keys.keys()]], ["HTTP 401", []]);
    const { state } = await installation.integrated();
    const file = join(installation.folder, "end-proof");
    await installation.cli(["log", "prove", String(mail.revoked.entry), "--log", "state", "--disclose", "-o", file]);
    const verified = await runBinary(["--json", "verify", file, "--key", state.vkey], { folder: "/" });
    assert.equal(verified.code, 0, verified.stderr);
    assert.equal(JSON.parse(verified.stdout).leaf.kind, "state.credential.revoked");
    const { sound } = await installation.cli(["log", "verify"]);
    assert.equal(sound, true);
});

test("no secret of these drivers stands in our log or in the data folder", async ({ installation, secrets }) => {
    await installation.service.stop();
    const own = installation.history.map(service => service.text).join("\n");
    assert.ok(secrets.length > 6);
    for (const form of secrets.flatMap(secret => forms(secret.trim().split("\n")[1] ?? secret))) {
        assert.ok(!own.includes(form.toString()), "a secret is in our log");
        for (const [file, bytes] of files(installation.data)) {
            assert.ok(!bytes.includes(form), `a secret is in ${file}`);
        }
    }
    await installation.serve();
});
