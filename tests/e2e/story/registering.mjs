// Registering: a third-party credential that was registered wrongly is set
// right or taken out, no two are rotated over the same login, and a consumer
// gets the secret with the name that it belongs to.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Installation, runBinary } from "../lib/installation.mjs";
import { suite, test } from "../lib/lane.mjs";

const WHY = ["--reason", "it was registered wrongly"];
const PG = ["--kind", "postgres-login", "--no-try", "--role", "orders_app", "--manager-login", "rotator", "--manager", "rotator"];
const AWS = ["--kind", "aws-access-key", "--manager", "aws-rotator", "--manager-login", "AKIAEXAMPLEMANAGER01"];

suite("registering", async () => {
    const installation = await Installation.start("registering");
    await installation.addIdentity("orders", { kind: "service-account", owner: "sales" });
    await installation.addIdentity("stock", { kind: "service-account", owner: "warehouse" });
    const adding = (name, words) => ["credential", "add", name, "--identity", "orders", "--secret-file", "-", ...words];
    const add = (name, words, secret = `secret of ${name}`) => installation.cli(adding(name, words), { input: secret });
    const twice = (name, words) => installation.refused(adding(name, words), 1, "credential.target-taken", { input: "another secret" });
    await add("rotator", ["--kind", "generic"]);
    await add("aws-rotator", ["--kind", "aws-access-key"]);
    return { installation, adding, add, twice, stop: () => installation.stop() };
});

const logins = (first, second) => ["--login", first, "--login", second];
/** What the entry says, as whoever gets its proof reads it offline. */
async function proved(installation, index) {
    const { state } = await installation.integrated();
    const file = join(installation.folder, `entry-${index}.tlog-proof`);
    await installation.cli(["log", "prove", String(index), "--log", "state", "--disclose", "-o", file]);
    const verified = await runBinary(["--json", "verify", file, "--key", state.vkey], { folder: "/" });
    assert.equal(verified.code, 0, verified.stderr);
    return JSON.parse(verified.stdout);
}

const kinds = async installation => (await installation.cli(["log", "tail", "--log", "state", "-n", "100"])).items.map(({ index, leaf }) => [index, leaf.kind]);

test("a second credential over the same login, user, app or key is refused and names the first", async ({ add, twice, installation, adding }) => {
    await add("orders-db", [...PG, "--target", "db.acme.example:5432/orders", ...logins("orders_a", "orders_b")]);
    const refused = await twice("again", [...PG, "--target", "DB.acme.example:5432/stock", ...logins("stock_a", "orders_b")]);
    assert.match(refused.message, /`orders-db`/);
    await add("other-port", [...PG, "--target", "db.acme.example:5433/orders", ...logins("orders_a", "orders_b")]);
    await add("cloud", [...AWS, "--aws-user", "orders", "--aws-key", "AKIAEXAMPLEFIRSTKEY1"]);
    assert.match((await twice("cloud-2", [...AWS, "--aws-user", "orders", "--aws-key", "AKIAEXAMPLESECONDKEY"])).message, /`cloud`/);
    await add("app", ["--kind", "github-app-key", "--github-app", "Iv23one"]);
    assert.match((await twice("app-2", ["--kind", "github-app-key", "--github-app", "Iv23one"])).message, /`app`/);
    // A name that is taken is said to be that.
    await installation.refused(adding("app", ["--kind", "github-app-key", "--github-app", "Iv23one"]), 1, "store.duplicate", { input: "x" });
});

test("host, consumers, schedule and owner are set right, and the log tells who did it and what it was", async ({ installation, add }) => {
    const before = await add("stock-db", [...PG, "--target", "db.acme.exmple:5432/stock", ...logins("stock_a", "stock_b"), "--consumer", "biling"]);
    const words = ["credential", "correct", "stock-db"];
    await installation.refused([...words, ...WHY], 2);
    await installation.refused([...words, "--role", "stock_app"], 2);
    await installation.refused([...words, ...WHY, "--role", "Stock"], 1, "credential.login-name");
    await installation.refused([...words, ...WHY, "--aws-user", "stock"], 2);
    const meets = ["--target", "db.acme.example:5432/stock", ...logins("orders_a", "stock_b")];
    assert.match((await installation.refused([...words, ...WHY, ...meets], 1, "credential.target-taken")).message, /`orders-db`/);
    const right = await installation.cli([...words, ...WHY, "--target", "db.acme.example:5432/stock", "--consumer", "billing", "--identity", "stock", "--every", "7d"]);
    assert.deepEqual([right.id, right.fingerprint, right.login], [before.id, before.fingerprint, "stock_a"]);
    assert.deepEqual([right.target.host, right.target.role, right.consumers, right.owner.team, right.every], ["db.acme.example", "orders_app", ["billing"], "warehouse", 7 * 86_400]);
    assert.deepEqual((await installation.cli([...words, ...WHY, "--no-consumers"])).consumers, []);
    // The slot of the host that was wrong is free again.
    await add("typo-db", [...PG, "--target", "db.acme.exmple:5432/stock", ...logins("stock_a", "stock_b")]);
    const [index] = (await kinds(installation)).find(([, kind]) => kind === "state.credential.correct");
    const { payload } = await proved(installation, index);
    assert.match(payload.actor, /opr_/);
    assert.equal(payload.reason, "it was registered wrongly");
    const [{ before: was, after: is }] = payload.objects;
    assert.deepEqual([was.detail.target.host, is.detail.target.host], ["db.acme.exmple", "db.acme.example"]);
    assert.deepEqual([was.detail.consumers, is.detail.consumers], [["biling"], ["billing"]]);
    assert.notEqual(was.identity, is.identity);
});

test("the secret comes with the name that it belongs to when that is asked for", async ({ installation }) => {
    const fetched = async (name, format) => {
        const file = join(installation.folder, `${name}.${format ?? "plain"}`);
        await installation.cli(["credential", "fetch", name, "--secret-file", file, ...(format ? ["--format", format] : [])]);
        return readFileSync(file, "utf8");
    };
    assert.equal(await fetched("orders-db"), "secret of orders-db");
    assert.deepEqual(JSON.parse(await fetched("orders-db", "json")), { username: "orders_a", password: "secret of orders-db" });
    assert.deepEqual(JSON.parse(await fetched("cloud", "json")), { access_key_id: "AKIAEXAMPLEFIRSTKEY1", secret_access_key: "secret of cloud" });
    assert.deepEqual(JSON.parse(await fetched("app", "json")), { app: "Iv23one", private_key: "secret of app" });
    assert.deepEqual(JSON.parse(await fetched("rotator", "json")), { secret: "secret of rotator" });
});

test("a registration that nobody needs is taken out, one that manages another is not, and no evidence goes with it", async ({ installation, add }) => {
    const remove = name => ["credential", "remove", name, ...WHY];
    await installation.refused(["credential", "remove", "orders-db"], 2);
    assert.match((await installation.refused(remove("rotator"), 1, "credential.manages")).message, /managed with this one/);
    const file = join(installation.folder, "kept");
    for (const name of ["orders-db", "other-port", "stock-db", "typo-db"]) {
        await installation.cli(remove(name));
        await installation.refused(["credential", "fetch", name, "--secret-file", file], 8, "request.not-found");
    }
    await installation.cli(remove("rotator"));
    // What a person replaced is ours, so it is revoked first; then it may go.
    await add("mailer", ["--kind", "api-key"]);
    await installation.cli(["credential", "replace", "mailer", "--secret-file", "-"], { input: "second" });
    await installation.refused(remove("mailer"), 1, "credential.was-rotated");
    await installation.cli(["credential", "revoke", "mailer", "--reason", "leaked"]);
    const deadline = Date.now() + 20_000;
    let shown;
    do {
        assert.ok(Date.now() < deadline, "it is revoked");
        shown = await installation.cli(["credential", "show", "mailer"]);
    } while (shown.revoked?.entry === undefined);
    await installation.refused(["credential", "correct", "mailer", ...WHY, "--no-consumers"], 1, "credential.revoked");
    const gone = await installation.cli(remove("mailer"));
    assert.equal(gone.revoked.entry, shown.revoked.entry, "the answer names the evidence");
    // The names are free, and so are the logins.
    await add("rotator", ["--kind", "generic"]);
    await add("orders-db", [...PG, "--target", "db.acme.example:5432/orders", ...logins("orders_a", "orders_b")]);
    const removed = (await kinds(installation)).filter(([, kind]) => kind === "state.credential.remove");
    assert.equal(removed.length, 6);
    await installation.restart();
    assert.equal((await installation.cli(["credential", "show", "orders-db"])).login, "orders_a");
    const { leaf, payload } = await proved(installation, shown.revoked.entry);
    assert.deepEqual([leaf.kind, payload.objects[0].after.name], ["state.credential.revoked", "mailer"]);
    const last = await proved(installation, removed.at(0)[0]);
    assert.equal(last.payload.objects[0].after, null);
    assert.ok(last.payload.objects[0].before.detail.every_s > 0, "the entry tells what it was");
    const { sound } = await installation.cli(["log", "verify"]);
    assert.equal(sound, true);
});
