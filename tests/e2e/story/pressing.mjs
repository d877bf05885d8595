// Kills under load, the short version; `cargo xtask chaos kills` is the long one.
import assert from "node:assert/strict";
import { figure, suite, test } from "../lib/lane.mjs";
import { Pressing, spread } from "../lib/pressing.mjs";
import { alone, several } from "../lib/site.mjs";
import { until } from "../lib/wait.mjs";

const SEED = 1;

/** So many kills at a place, and what they showed. */
async function pressed(place, kills) {
    const pressing = new Pressing({ ...place, seed: SEED, together: 4, bystanders: 2, pause: 10 });
    await pressing.open();
    assert.deepEqual(await pressing.run(kills), []);
    assert.ok(pressing.late >= kills * 4 * 3, `${pressing.late} calls began after a kill`);
    assert.equal(await place.sound(), true, "the logs verify");
    return pressing;
}

suite("pressing", () => alone("pressing"), { alone: true });

test("under load no call is let through that began after the kill was committed, and each receipt is what was seen outside", async place => {
    const { readings, tried } = await pressed(place, 12);
    figure(`pressing: 12 kills under ${tried} calls, committed, µs p50/p99/max`, spread(readings.committed));
});

suite("pressing-nodes", () => several("pressing-nodes", 3), { alone: true });

test("on three nodes none is let through that began after the kill was contained, and each node has its lines in the receipt", async place => {
    const { readings, tried } = await pressed(place, 6);
    figure(`pressing: 6 kills on three nodes under ${tried} calls, committed → contained, µs p50/p99/max`, spread(readings.contained));
});

test("a node that is silent is residue of a receipt until it came back and looked into its own log", async ({ nodes, site }) => {
    const { first } = nodes;
    const silent = site.nodes.at(-1);
    const wanted = await first.addIdentity("somebody");
    process.kill(silent.installation.service.pid, "SIGSTOP");
    const unconfirmed = ({ body }) => body.residue.filter(item => item.closed_at === undefined);
    const show = async () => (await first.run(["kill", "receipt", String(id)])).json;
    const { receipt: id, nodes: ends } = await first.kill("identity", wanted.id);
    assert.equal(ends.find(({ node }) => node === silent.name).end, "lapsed");
    const open = await until("the receipt to tell of the silent node", async () => {
        const found = await show();
        return found.state === "open" && unconfirmed(found).every(item => item.id === silent.name) && found;
    });
    assert.equal(open.known, "unconfirmed");
    assert.deepEqual(unconfirmed(open).map(({ kind, id: node, known }) => [kind, node, known]), [["node", silent.name, "unconfirmed"]]);
    process.kill(silent.installation.service.pid, "SIGCONT");
    const closed = await until(
        "the receipt to be closed",
        async () => {
            const found = await show();
            return found.state === "closed" && found;
        },
        30_000
    );
    assert.equal(closed.known, "revoked");
    for (const { name } of site.nodes) {
        assert.ok(closed.body.points.some(line => line.node.endsWith(`/${name}`) && line.refusal !== undefined), `no refusal at ${name}`);
    }
});
