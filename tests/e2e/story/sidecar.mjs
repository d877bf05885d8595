// A sidecar beside its node: it decides by a signed snapshot, records before it
// permits, and refuses whatever it cannot know to be current.
import assert from "node:assert/strict";
import { lstatSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Desk } from "../lib/desk.mjs";
import { Installation } from "../lib/installation.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { Between, Sidecar, copied, copies } from "../lib/sidecar.mjs";
import { until } from "../lib/wait.mjs";

/** Seconds after which a word is over, on both sides. */
const BOUND = 2;
const CONFIG = `[freshness]\nwarn_secs = 1\nrefuse_secs = ${BOUND}\n`;

/** Somebody with a task, and the question whether he may call a tool. */
async function member(installation, name, tenant = "acme") {
    const identity = await installation.addIdentity(name, { tenant });
    const task = await installation.openTask(identity.id, ["files:*"], { tenant });
    const question = {
        subject: { type: "identity", id: identity.id },
        action: { name: "tools/call" },
        resource: { type: "tool", id: "files/echo" },
        context: { task: task.id }
    };
    return { identity, task, question };
}

suite("sidecar", async () => {
    const installation = await Installation.start("sidecar", { config: CONFIG });
    await installation.addTenant("zeta");
    const desk = await Desk.open();
    await installation.addHttpServer("files", desk.url);
    const guard = await installation.addIdentity("guard", { kind: "workload" });
    const { token } = await installation.openTask(guard.id, ["authzen:evaluate", "token:introspect"], { window: "1h" });
    const outside = await installation.addIdentity("outside", { kind: "workload", tenant: "zeta" });
    const other = await installation.openTask(outside.id, ["authzen:evaluate", "token:introspect"], { tenant: "zeta" });
    const sidecars = [];
    const context = { installation, desk, token, other: other.token, sidecars, asked: 0 };
    /** Asks `sidecar` and counts what it has to record. */
    context.ask = async (question, sidecar = context.shop) => {
        const answer = await sidecar.ask(question, token);
        context.asked += answer.status === 200 && sidecar === context.shop ? 1 : 0;
        return answer.body;
    };
    context.permitted = async (question, sidecar) => assert.equal((await context.ask(question, sidecar)).decision, true);
    context.stop = async () => {
        for (const sidecar of sidecars) {
            if (sidecar.runs) {
                process.kill(sidecar.child.pid, "SIGCONT");
                await sidecar.stop("SIGKILL");
            }
        }
        await installation.stop();
        await desk.close();
    };
    return context;
});

test("an invitation works once, under its name only, and not without its token", async context => {
    const { installation, sidecars } = context;
    const shop = new Sidecar(installation, "shop-1");
    sidecars.push(shop);
    const tokenFile = await shop.invite(["acme"]);
    const stranger = new Sidecar(installation, "shop-x");
    const refused = await stranger.join(tokenFile);
    assert.notEqual(refused.code, 0);
    assert.equal(JSON.parse(refused.stdout).code, "sidecar.token");
    const joined = await shop.join(tokenFile);
    assert.equal(joined.code, 0, joined.stderr);
    assert.match(JSON.parse(joined.stdout).vkey, /\/decisions\/shop-1\+/);
    const again = await new Sidecar(installation, "shop-1", `${shop.data}-again`).join(tokenFile);
    assert.notEqual(again.code, 0, "the token worked twice");
    await shop.run();
    await shop.fresh();
    context.shop = shop;
    await assert.rejects(new Sidecar(installation, "shop-1", shop.data).run(), /the sidecar ended with 1/);
    const open = readdirSync(shop.data, { recursive: true }).filter(file => (lstatSync(join(shop.data, file)).mode & 0o077) !== 0);
    assert.deepEqual(open, [], "files that others may read");
});

test("what the node permits the sidecar permits, by evaluation, in batches and under its tenant's path", async ({ installation, shop, ask, permitted, token, other }) => {
    const { question, task } = await member(installation, "invoices");
    await shop.level();
    await permitted(question);
    const denied = await ask({ ...question, action: { name: "tools/unheard-of" } });
    assert.equal(denied.decision, false);
    const { status, body } = await shop.ask({ evaluations: [question, { ...question, context: {} }] }, token, "/t/acme/access/v1/evaluations");
    assert.equal(status, 200, JSON.stringify(body));
    assert.deepEqual(body.evaluations.map(({ decision }) => decision), [true, false]);
    const form = { method: "POST", headers: { authorization: `Bearer ${token}` }, body: new URLSearchParams({ token: task.token }) };
    const told = await (await fetch(`${shop.url}/t/acme/introspect`, form)).json();
    assert.equal(told.active, true, JSON.stringify(told));
    // Another tenant's enforcement point, here and under either path.
    for (const path of ["/access/v1/evaluation", "/t/acme/access/v1/evaluation", "/t/zeta/access/v1/evaluation"]) {
        assert.equal((await shop.ask(question, other, path)).status, 401, path);
    }
    const foreign = { ...form, headers: { authorization: `Bearer ${other}` } };
    assert.equal((await fetch(`${shop.url}/t/acme/introspect`, foreign)).status, 401);
    // Without the scope, without a token, with one that is bound to nobody's word.
    assert.equal((await shop.ask(question, task.token)).status, 403);
    assert.equal((await shop.ask(question, "x.y.z")).status, 401);
});

test("a kill at the node is refused at the sidecar once it was answered, and the receipt names it", async context => {
    const { installation, shop, ask, permitted } = context;
    const { identity, question, task } = await member(installation, "reports");
    await shop.level();
    await permitted(question);
    const receipt = await installation.kill("identity", identity.id);
    const after = await ask(question);
    assert.equal(after.decision, false, "permitted after the kill was contained");
    const line = receipt.nodes.find(({ node }) => node.includes("shop-1"));
    assert.equal(line?.end, "acknowledged", JSON.stringify(receipt.nodes));
    figure("sidecar: kill committed → contained, µs", receipt.contained_us);
    const form = { method: "POST", headers: { authorization: `Bearer ${context.token}` }, body: new URLSearchParams({ token: task.token }) };
    assert.deepEqual(await (await fetch(`${shop.url}/t/acme/introspect`, form)).json(), { active: false });
});

test("stopped for three times its bound, the first thing it says is no; a kill waits for its lease", async context => {
    const { installation, shop, ask, permitted } = context;
    const { question, identity } = await member(installation, "stood-still");
    await shop.level();
    await permitted(question);
    process.kill(shop.child.pid, "SIGSTOP");
    const answer = ask(question);
    const receipt = await installation.kill("identity", identity.id);
    assert.ok(receipt.contained_us <= BOUND * 1_020_000 + 1_000_000, `${receipt.contained_us} µs`);
    assert.equal(receipt.nodes.find(({ node }) => node.includes("shop-1"))?.end, "lapsed", JSON.stringify(receipt.nodes));
    await sleep(3 * BOUND * 1_000);
    process.kill(shop.child.pid, "SIGCONT");
    const first = await answer;
    assert.equal(first.decision, false, JSON.stringify(first));
    await shop.fresh();
    assert.equal((await ask(question)).decision, false);
});

test("without its node it permits as long as its bound, then refuses, and comes back", async context => {
    const { installation, shop, ask, permitted } = context;
    const { question } = await member(installation, "lonely");
    await shop.level();
    await permitted(question);
    await installation.service.stop("SIGKILL");
    const gone = performance.now();
    let [permits, last] = [0, 0];
    for (let refused = false; !refused; await sleep(20)) {
        const answer = await ask(question);
        if (answer.decision) {
            permits += 1;
            last = performance.now() - gone;
        }
        refused = answer.context?.code === "snapshot.stale";
        assert.ok(performance.now() - gone < 3 * BOUND * 1_000, "it permits without a node");
    }
    assert.ok(permits > 0, "it did not permit within its bound");
    assert.ok(last <= BOUND * 1_000, `permitted ${last.toFixed(0)} ms after its node was gone`);
    figure("sidecar: last permit without a node, ms", Math.round(last));
    assert.equal((await shop.health()).status, "stale");
    await installation.serve();
    await shop.fresh();
    await permitted(question);
});

test("killed and started again it knows what it must, and what is dead stays dead", async context => {
    const { installation, shop, ask, permitted } = context;
    const [dead, living] = [await member(installation, "dead"), await member(installation, "living")];
    await shop.level();
    await permitted(dead.question);
    await installation.kill("identity", dead.identity.id);
    const { epoch } = await shop.health();
    await shop.stop("SIGKILL");
    // What it last took is durable: it knows that before it hears anybody.
    const kept = JSON.parse(readFileSync(join(shop.data, "held.json"), "utf8"));
    assert.ok(kept.epoch >= epoch, `${kept.epoch} is kept, ${epoch} was acknowledged`);
    await shop.run();
    await shop.fresh();
    assert.ok((await shop.health()).epoch >= epoch);
    assert.equal((await ask(dead.question)).decision, false);
    await permitted(living.question);
});

test("whoever stands between is not believed: old, altered, another's, or that nothing is new", async context => {
    const { installation, token, sidecars } = context;
    const victim = await member(installation, "deceived");
    const between = await Between.open(() => installation.url);
    const near = await Sidecar.joined(installation, "shop-2");
    sidecars.push(near);
    near.turn(between.url);
    await near.run();
    await near.fresh();
    await near.level();
    assert.equal((await near.ask(victim.question, token)).body.decision, true);
    const whole = between.told.filter(text => JSON.parse(text).snapshot !== undefined);
    const [old, quiet] = [whole[0], between.told.find(text => JSON.parse(text).snapshot === undefined)];
    // Another sidecar's answers, as its node gave them.
    const elsewhere = await Between.open(() => installation.url);
    const third = await Sidecar.joined(installation, "shop-3");
    sidecars.push(third);
    third.turn(elsewhere.url);
    await third.run();
    await third.fresh();
    const others = elsewhere.told.find(text => JSON.parse(text).snapshot !== undefined);
    await third.stop();
    elsewhere.close();
    const alter = change => text => JSON.stringify(change(JSON.parse(text)));
    const lies = {
        "an old snapshot": () => old,
        "an old snapshot within a new answer": alter(told => ({ ...told, snapshot: JSON.parse(old).snapshot })),
        "another sidecar's": () => others,
        "another sidecar's snapshot within a new answer": alter(told => ({ ...told, snapshot: JSON.parse(others).snapshot })),
        "that nothing is new": () => quiet ?? old,
        "an epoch that never was": alter(told => ({ ...told, epoch: told.epoch + 1 })),
        "no signature": alter(({ signature: _, ...told }) => told)
    };
    for (const [what, lie] of Object.entries(lies)) {
        between.judge = lie;
        await until(`${what} to be refused`, async () => (await near.health()).status === "stale");
        const answer = await near.ask(victim.question, token);
        assert.notEqual(answer.body.decision, true, what);
        between.judge = undefined;
        await near.fresh();
        assert.equal((await near.ask(victim.question, token)).body.decision, true, what);
    }
    // A stop that somebody keeps from it: nothing is permitted once the kill is answered.
    between.judge = () => quiet ?? old;
    const receipt = await installation.kill("identity", victim.identity.id);
    assert.notEqual((await near.ask(victim.question, token)).body.decision, true, "permitted after the kill was contained");
    assert.equal(receipt.nodes.find(({ node }) => node.includes("shop-2"))?.end, "lapsed", JSON.stringify(receipt.nodes));
    // An altered body, whatever else is right.
    between.judge = alter(told => (told.snapshot === undefined ? told : { ...told, snapshot: { ...told.snapshot, body: told.snapshot.body.replace("acme", "zeta") } }));
    await near.stop("SIGKILL");
    await near.run();
    await sleep(BOUND * 1_000);
    assert.equal((await near.health()).status, "stale");
    between.judge = undefined;
    await near.fresh();
    assert.equal((await near.ask(victim.question, token)).body.decision, false);
    await near.stop();
    between.close();
}, { max: 120_000 });

test("a data folder from before answers nothing below what it acknowledged", async context => {
    const { installation, token, sidecars } = context;
    const victim = await member(installation, "revenant");
    const sidecar = await Sidecar.start(installation, "shop-4");
    sidecars.push(sidecar);
    await sidecar.level();
    assert.equal((await sidecar.ask(victim.question, token)).body.decision, true);
    await sidecar.stop();
    const copy = join(copies(installation), "shop-4");
    copied(sidecar.data, copy);
    await sidecar.run();
    await sidecar.fresh();
    assert.equal((await sidecar.ask(victim.question, token)).body.decision, true);
    await installation.kill("identity", victim.identity.id);
    assert.equal((await sidecar.ask(victim.question, token)).body.decision, false);
    await until("its log to be anchored", async () => (await listed(installation))["shop-4"].log_size >= 3);
    await sidecar.stop();
    rmSync(sidecar.data, { recursive: true });
    copied(copy, sidecar.data);
    await sidecar.run();
    for (const end = Date.now() + 2 * BOUND * 1_000; Date.now() < end; await sleep(50)) {
        const { body } = await sidecar.ask(victim.question, token);
        assert.notEqual(body.decision, true, "a killed identity lives again");
    }
    // Its log is shorter than what it showed before: the node does not speak to it.
    assert.equal((await sidecar.health()).status, "stale");
    assert.match(sidecar.lines.join("\n"), /sidecar\.answer|sidecar\.refused/);
    await sidecar.stop("SIGKILL");
});

test("a folder that runs twice is one sidecar: a stop waits for both, and the node says so", async context => {
    const { installation, token, sidecars } = context;
    const victim = await member(installation, "twofold");
    const first = await Sidecar.start(installation, "shop-5");
    sidecars.push(first);
    await first.level();
    await first.stop();
    const folder = join(copies(installation), "shop-5");
    copied(first.data, folder);
    await first.run();
    await first.fresh();
    // Words begin at the second of the start: the later one is heard, and the first is shut out.
    await sleep(1_100);
    const second = new Sidecar(installation, "shop-5", folder);
    sidecars.push(second);
    await second.run();
    await second.fresh();
    await until("the first to be shut out", () => first.lines.join("\n").includes("does not rise"), 10_000);
    assert.equal((await first.ask(victim.question, token)).body.decision, true, "its word is not over yet");
    await installation.kill("identity", victim.identity.id);
    for (const end = Date.now() + 2 * BOUND * 1_000; Date.now() < end; await sleep(20)) {
        for (const one of [first, second]) {
            assert.notEqual((await one.ask(victim.question, token)).body.decision, true, "permitted after the kill was contained");
        }
    }
    assert.match(installation.service.text, /two processes speak as one sidecar/u);
    await first.stop("SIGKILL");
    await second.stop("SIGKILL");
}, { max: 60_000 });

async function listed(installation) {
    const { items } = await installation.cli(["sidecar", "ls"], { tenant: null });
    return Object.fromEntries(items.map(item => [item.sidecar, item]));
}

test("a clean stop says that it leaves, and nobody waits for it; its log is sound and holds every decision", async context => {
    const { installation, shop } = context;
    const { identity } = await member(installation, "afterwards");
    await shop.stop();
    assert.equal((await listed(installation))["shop-1"].standing, "left");
    const receipt = await installation.kill("identity", identity.id);
    assert.ok(receipt.contained_us < BOUND * 1_000_000, `${receipt.contained_us} µs`);
    const { sound, logs } = await shop.verify();
    assert.equal(sound, true);
    assert.deepEqual(logs.map(({ log }) => log), ["decisions"]);
    const decided = shop.leaves().filter(({ kind, node }) => kind === "decision" && node === "shop-1");
    // The batch has two decisions; what was answered 401 or 403 was not decided.
    assert.equal(shop.decided(), context.asked + 2);
    const epochs = decided.map(({ epoch }) => epoch);
    assert.deepEqual(epochs, epochs.toSorted((a, b) => a - b), "epochs of its records never go back");
    figure("sidecar: decisions recorded", decided.length);
});

test("a sidecar that was removed refuses, says so and ends, and so does its next start", async context => {
    const { installation, shop, ask, permitted } = context;
    const { question } = await member(installation, "removed");
    await shop.run();
    await shop.fresh();
    await shop.level();
    await permitted(question);
    await installation.cli(["sidecar", "rm", "shop-1", "--reason", "machine is sold"], { tenant: null });
    const removed = performance.now();
    assert.equal((await shop.ended).code, 4);
    assert.ok(performance.now() - removed <= (BOUND + 1) * 1_000, "it went on for longer than its bound");
    assert.match(shop.lines.join("\n"), /removed by an operator.*\(sidecar\.removed\)/);
    await assert.rejects(ask(question), "nobody answers");
    await shop.run();
    assert.equal((await shop.ended).code, 4);
    assert.equal((await listed(installation))["shop-1"].standing, "removed");
});
