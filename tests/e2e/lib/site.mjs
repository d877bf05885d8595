// Where kills are pressed: one installation alone, or one of several nodes, with
// the upstream server that watches.
import { Cluster } from "./cluster.mjs";
import { Desk } from "./desk.mjs";
import { Installation, runBinary } from "./installation.mjs";
import { Nodes } from "./node.mjs";
import { Sidecar } from "./sidecar.mjs";

const CONFIG = '[tokens]\nttl_secs = 3600\n[telemetry]\nlevel = "warn"\n';

/** A sidecar beside an installation: as a site names it, and whether its log holds each decision that was told. */
async function beside(installation, wanted) {
    if (!wanted) {
        return { points: [], decided: async () => true, stop: async () => {} };
    }
    const sidecar = await Sidecar.start(installation, "shop-1");
    return {
        points: [{ name: sidecar.name, url: sidecar.url }],
        decided: async told => {
            await sidecar.stop();
            const { sound } = await sidecar.verify();
            const recorded = sidecar.decided();
            if (recorded !== told[sidecar.name]) {
                console.error(`${sidecar.name} recorded ${recorded} decisions and told ${told[sidecar.name]}`);
            }
            return sound && recorded === told[sidecar.name];
        },
        stop: () => sidecar.stop()
    };
}

/** One node, and a sidecar where that is wanted. */
export async function alone(name, { sidecar = false } = {}) {
    const desk = await Desk.open();
    const installation = await Installation.start(name, { config: CONFIG });
    await installation.addHttpServer("files", desk.url);
    const { url } = installation;
    const other = await beside(installation, sidecar);
    return {
        desk,
        installation,
        site: { base: url, nodes: [{ name: "node", url }], sidecars: other.points, ask: (_, method, path, body) => installation.api(method, path, body) },
        sound: async (told = {}) => (await other.decided(told)) && (await installation.cli(["log", "verify"])).sound,
        stop: async () => {
            await other.stop();
            await installation.stop();
            await desk.close();
        }
    };
}

/** A database of our own, where the environment names none. */
async function database() {
    if (process.env.BAILIWICK_TEST_POSTGRES !== undefined) {
        return undefined;
    }
    const cluster = await Cluster.open();
    cluster.admin("CREATE ROLE service LOGIN PASSWORD 'service'");
    cluster.admin("CREATE DATABASE installation OWNER service");
    process.env.BAILIWICK_TEST_POSTGRES = `postgresql://service:service@127.0.0.1:${cluster.port}/installation?sslmode=disable`;
    return cluster;
}

/** So many nodes on one database, and a sidecar that hears at the first where that is wanted. */
export async function several(name, count, { sidecar = false } = {}) {
    const cluster = await database();
    const desk = await Desk.open();
    const nodes = await Nodes.open(name, { more: CONFIG });
    await nodes.first.addHttpServer("files", desk.url);
    const members = [{ name: "node-a", url: nodes.base, installation: nodes.first }];
    for (let number = 1; number < count; number += 1) {
        const member = `node-${String.fromCharCode(97 + number)}`;
        const installation = await nodes.add(member);
        members.push({ name: member, url: installation.address, installation });
    }
    await Promise.all(members.slice(1).map(({ installation }) => nodes.level(installation)));
    const other = await beside(nodes.first, sidecar);
    return {
        desk,
        nodes,
        site: { base: nodes.base, nodes: members, sidecars: other.points, ask: ({ installation }, method, path, body) => nodes.ask(installation, method, path, body) },
        sound: async (told = {}) => {
            if (!(await other.decided(told))) {
                return false;
            }
            const own = await nodes.first.cli(["log", "verify"]);
            const others = members.slice(1).map(({ installation: { data, folder } }) => runBinary(["--json", "log", "verify", "--data", data], { folder }));
            return own.sound && (await Promise.all(others)).every(({ code }) => code === 0);
        },
        stop: async () => {
            await other.stop();
            await nodes.stop();
            await desk.close();
            await cluster?.stop();
        }
    };
}
