// AWS access keys: a real client's key is replaced at moto, with authentication
// switched on, and a service that dies in any phase ends complete.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Installation, runBinary } from "../lib/installation.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { Moto } from "../lib/moto.mjs";
import { files, forms } from "../lib/scan.mjs";
import { until } from "../lib/wait.mjs";

const USER = "orders-app";
const shown = async ({ installation }) => (await installation.api("GET", "/v1/tenants/acme/credentials/orders-aws")).body;

/** A consumer takes the key that is to be used now, uses it, and says so. */
async function move(context, name) {
    const { installation, moto } = context;
    const file = join(installation.folder, `key-of-${name}`);
    const fetched = await installation.cli(["credential", "fetch", "orders-aws", "--secret-file", file, "--replace"]);
    const secret = readFileSync(file, "utf8");
    assert.ok(!JSON.stringify(fetched).includes(secret), "the secret is in the answer shown");
    context.consumers[name] = { key: fetched.login, secret };
    assert.equal((await works(moto, context.consumers[name])).ok, true);
}

/** What the application does with its key: more than every key may. */
const works = (moto, who) => moto.call(who, "iam", "list_users");

async function drive(context, what, done, moves = true) {
    let credential;
    const work = until(
        what,
        async () => {
            credential = await shown(context);
            if (moves && credential.rotation?.phase === "watching") {
                for (const name of credential.rotation.waiting) {
                    await move(context, name);
                    await context.installation.cli(["credential", "rotation", "orders-aws", "--moved", name]);
                }
            }
            return (await done(credential)) && credential;
        },
        40_000
    );
    return work.catch(error => assert.fail(`${error.message}; it stands at ${JSON.stringify(credential)}`));
}

const keysOf = async ({ moto, manager }) => (await moto.call(manager, "iam", "list_access_keys", { UserName: USER })).result.AccessKeyMetadata;

/** What holds after every rotation, however it went. */
async function complete(context, before, old) {
    const { moto } = context;
    const credential = await drive(context, "the rotation to end", c => c.rotation === undefined && c.last_rotation?.entry !== before.last_rotation?.entry);
    assert.notEqual(credential.login, before.login);
    assert.notEqual(credential.fingerprint, before.fingerprint);
    assert.equal(credential.last_rotation.refused, "InvalidClientTokenId");
    assert.deepEqual((await keysOf(context)).map(({ AccessKeyId, Status }) => [AccessKeyId, Status]), [[credential.login, "Active"]], "exactly one key is left");
    for (const consumer of Object.values(context.consumers)) {
        assert.equal(consumer.key, credential.login);
        assert.equal((await works(moto, consumer)).ok, true, "it works after");
    }
    const refused = await works(moto, old);
    assert.deepEqual([refused.ok, refused.code], [false, "InvalidClientTokenId"], "the old key is refused after");
    context.secrets.push(context.consumers.billing.secret);
    const { sound } = await context.installation.integrated().then(() => context.installation.cli(["log", "verify"]));
    assert.equal(sound, true);
    return credential;
}

suite("aws", async () => {
    const moto = await Moto.open();
    const manager = await moto.user("rotator", ["iam:*AccessKey*"]);
    const first = await moto.user(USER, ["iam:ListUsers"]);
    await moto.authenticate();
    const installation = await Installation.start("aws");
    await installation.addIdentity("orders", { kind: "service-account", owner: "sales" });
    await installation.cli(["credential", "add", "aws-rotator", "--kind", "aws-access-key", "--identity", "orders", "--secret-file", "-"], { input: manager.secret });
    const context = { moto, manager, first, installation, consumers: {}, secrets: [manager.secret, first.secret] };
    context.stop = async () => {
        await installation.stop();
        await moto.stop();
    };
    return context;
});

test("a key is registered with its user, manager, consumers, and the override of the endpoint in plain sight", async context => {
    const { installation, moto, manager, first } = context;
    const words = ["credential", "add", "orders-aws", "--kind", "aws-access-key", "--identity", "orders", "--secret-file", "-", "--every", "90d", "--overlap", "4s"];
    words.push("--consumer", "billing", "--consumer", "reports", "--aws-user", USER, "--aws-key", first.key);
    const managed = [...words, "--manager", "aws-rotator", "--manager-login", manager.key];
    const over = ["--danger-endpoint-override", moto.url];
    await installation.refused(words, 2, undefined, { input: first.secret });
    await installation.refused([...managed, ...over], 2, "credential.endpoint-override", { input: first.secret });
    await installation.refused([...managed, ...over, "--allow-plaintext"], 2, "credential.endpoint-override", { input: first.secret });
    const hostile = managed.map(word => (word === USER ? "orders&Action=DeleteUser" : word));
    await installation.refused(hostile, 1, "credential.target-name", { input: first.secret });
    const added = await installation.cli([...managed, ...over, "--allow-plaintext", "--allow-address", "127.0.0.1/32"], { input: first.secret });
    assert.deepEqual([added.login, added.aws.user, added.consumers], [first.key, USER, ["billing", "reports"]]);
    assert.deepEqual(added.aws.danger_endpoint_override, { url: moto.url, allow_addresses: ["127.0.0.1/32"], allow_plaintext: true });
    const page = await installation.run(["credential", "show", "orders-aws"], { json: false });
    assert.match(page.stdout, /DANGER endpoint override/);
    for (const name of ["billing", "reports"]) {
        await move(context, name);
    }
});

test("an AWS key works before its rotation and is refused after", async context => {
    const { installation, moto, first } = context;
    const before = await shown(context);
    assert.equal((await works(moto, first)).ok, true, "it works before");
    await installation.cli(["credential", "rotate", "orders-aws", "--reason", "first rotation"]);
    await installation.refused(["credential", "rotate", "orders-aws"], 1, "credential.rotation-running");
    const watching = await drive(context, "both keys to be valid", ({ rotation }) => rotation?.phase === "watching", false);
    assert.deepEqual(watching.rotation.waiting, ["billing", "reports"]);
    assert.equal((await works(moto, first)).ok, true, "the old key works as long as consumers use it");
    await installation.refused(["credential", "rotation", "orders-aws", "--moved", "nightly"], 1, "credential.consumer-unknown");
    const started = Date.now();
    await complete(context, before, first);
    figure("aws: from the first consumer's move to the evidence, with 4 s of overlap, ms", Date.now() - started);
});

test("a use of the old key after everybody moved is an unknown consumer and blocks the revoke", async context => {
    const { installation, moto } = context;
    const before = await shown(context);
    const old = { ...context.consumers.billing };
    await installation.cli(["credential", "rotate", "orders-aws"]);
    await drive(context, "everybody to have moved", ({ rotation }) => rotation?.phase === "watching" && rotation.waiting.length === 0);
    // Whoever that is uses it once in a while, more often than the overlap is long.
    let uses = 0;
    const blocked = await until("the unknown consumer to be noticed", async () => {
        assert.equal((await works(moto, old)).ok, true);
        uses += 1;
        const { rotation } = await shown(context);
        return rotation?.unknown.length === 1 && rotation;
    }, 20_000);
    assert.match(blocked.unknown[0], new RegExp(`key ${before.login} for iam`));
    const deadline = Date.now() + 5_000;
    while (Date.now() < deadline) {
        assert.equal((await works(moto, old)).ok, true, "an unknown consumer is not cut off");
        await new Promise(done => setTimeout(done, 400));
    }
    assert.equal((await shown(context)).rotation.phase, "watching");
    await complete(context, before, old);
    assert.ok(uses > 0);
});

/** A rotation during which the service is killed at `word`, before it or before its answer arrives. */
async function killedAt(context, word, when, phase) {
    const { installation, moto } = context;
    const before = await shown(context);
    const old = { ...context.consumers.billing };
    const hold = moto.door.hold(word, when);
    await installation.cli(["credential", "rotate", "orders-aws", "--reason", "drill"]);
    await drive(context, "the chosen moment", () => hold.reached);
    assert.equal((await shown(context)).rotation.phase, phase);
    await installation.service.stop("SIGKILL");
    moto.door.release();
    await installation.serve();
    await complete(context, before, old);
}

test("killed before there is room for a key, it ends complete", context => killedAt(context, /Action=ListAccessKeys/, "answer", "preparing"));
test("killed before the new key is made, it ends complete", context => killedAt(context, /Action=CreateAccessKey/, "message", "staging"));
test("killed when the new key is made and nobody knows it, it ends complete", context => killedAt(context, /Action=CreateAccessKey/, "answer", "staging"));
test("killed while it watches the old key, it ends complete", context => killedAt(context, /Action=GetAccessKeyLastUsed/, "message", "watching"));
test("killed before the old key is inactive, it ends complete", context => killedAt(context, /Action=UpdateAccessKey/, "message", "revoking"));
test("killed when the old key is inactive, it ends complete", context => killedAt(context, /Action=UpdateAccessKey/, "answer", "revoking"));
test("killed when the old key is deleted, it ends complete", context => killedAt(context, /Action=DeleteAccessKey/, "answer", "revoking"));
test("killed before the refused probe is answered, it ends complete", async context => {
    const { login } = await shown(context);
    await killedAt(context, new RegExp(`Credential=${login}/.*/sts/[^]*Action=GetCallerIdentity`), "answer", "probing");
});

test("a second key that a person made is not touched, and no rotation begins beside it", async context => {
    const { installation, moto, manager } = context;
    const before = await shown(context);
    const { AccessKey: other } = (await moto.call(manager, "iam", "create_access_key", { UserName: USER })).result;
    await installation.cli(["credential", "rotate", "orders-aws"]);
    const after = await drive(context, "the roll-back", ({ rotation, taken_back }) => rotation === undefined && taken_back !== undefined);
    assert.match(after.taken_back.reason, new RegExp(`LimitExceeded.*${other.AccessKeyId}`));
    assert.deepEqual([after.login, after.fingerprint], [before.login, before.fingerprint]);
    assert.equal((await works(moto, { key: other.AccessKeyId, secret: other.SecretAccessKey })).ok, true);
    assert.equal((await works(moto, context.consumers.billing)).ok, true);
    await moto.call(manager, "iam", "delete_access_key", { UserName: USER, AccessKeyId: other.AccessKeyId });
});

test("an operator gives a rotation up: the new key is gone and the old one goes on", async context => {
    const { installation, moto } = context;
    const before = await shown(context);
    await installation.cli(["credential", "rotate", "orders-aws"]);
    await drive(context, "both keys to be valid", ({ rotation }) => rotation?.phase === "watching", false);
    assert.equal((await keysOf(context)).length, 2);
    await installation.cli(["credential", "rotation", "orders-aws", "--cancel", "--reason", "not today"]);
    const after = await drive(context, "the roll-back", ({ rotation }) => rotation === undefined, false);
    assert.deepEqual([after.login, after.fingerprint, after.taken_back.reason], [before.login, before.fingerprint, "not today"]);
    assert.deepEqual((await keysOf(context)).map(key => key.AccessKeyId), [before.login]);
    assert.equal((await works(moto, context.consumers.billing)).ok, true);
});

test("the evidence of the last AWS rotation verifies offline and names the override", async ({ installation }) => {
    const { items } = await installation.cli(["credential", "schedule"]);
    const { last_rotation: last } = items.find(item => item.name === "orders-aws");
    const { state } = await installation.integrated();
    const file = join(installation.folder, "aws-proof");
    await installation.cli(["log", "prove", String(last.entry), "--log", "state", "--disclose", "-o", file]);
    const verified = await runBinary(["--json", "verify", file, "--key", state.vkey], { folder: "/" });
    assert.equal(verified.code, 0, verified.stderr);
    const { payload, leaf } = JSON.parse(verified.stdout);
    assert.equal(leaf.kind, "state.credential.rotation-complete");
    const { after } = payload.objects[0];
    assert.equal(after.detail.rotated.probe.code, "InvalidClientTokenId");
    assert.equal(after.detail.target.danger_endpoint_override.allow_plaintext, true);
    const bent = readFileSync(file);
    bent[Math.floor(bent.length / 2)] ^= 1;
    writeFileSync(file, bent);
    assert.equal((await runBinary(["verify", file, "--key", state.vkey], { folder: "/" })).code, 7);
});

test("a revoked key is refused at once, whatever hinders the rest", async context => {
    const { installation, moto, manager, secrets } = context;
    const old = { ...context.consumers.billing };
    // A rotation dies before its key is made, and a person takes the free place.
    const hold = moto.door.hold(/Action=CreateAccessKey/, "message");
    await installation.cli(["credential", "rotate", "orders-aws"]);
    await drive(context, "the chosen moment", () => hold.reached);
    await installation.service.stop("SIGKILL");
    const { AccessKey } = (await moto.call(manager, "iam", "create_access_key", { UserName: USER })).result;
    const person = { key: AccessKey.AccessKeyId, secret: AccessKey.SecretAccessKey };
    secrets.push(person.secret);
    assert.equal((await works(moto, person)).ok, true);
    moto.door.release();
    await installation.serve();
    await installation.cli(["credential", "revoke", "orders-aws", "--reason", "found in a repository"]);
    await until("the key to be refused", async () => (await works(moto, old)).code === "InvalidClientTokenId", 20_000);
    const waits = await drive(context, "the word about the other key", ({ revoked }) => revoked?.trouble !== undefined);
    assert.match(waits.revoked.trouble, /access key that is used and was not made here/);
    assert.equal((await works(moto, person)).ok, true, "a person's key is not touched");
    await moto.call(manager, "iam", "delete_access_key", { UserName: USER, AccessKeyId: person.key });
    const revoked = await drive(context, "the end", credential => credential.revoked?.at !== undefined);
    assert.equal(revoked.revoked.refused, "InvalidClientTokenId");
});

test("no AWS secret stands in our log or in the data folder", async ({ installation, secrets }) => {
    await installation.service.stop();
    const own = installation.history.map(service => service.text).join("\n");
    assert.ok(secrets.length > 8);
    for (const form of secrets.flatMap(forms)) {
        assert.ok(!own.includes(form.toString()), "a secret is in our log");
        for (const [file, bytes] of files(installation.data)) {
            assert.ok(!bytes.includes(form), `a secret is in ${file}`);
        }
    }
    await installation.serve();
});
