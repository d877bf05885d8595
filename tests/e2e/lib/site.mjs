// Where kills are pressed: one installation alone, or one of several nodes, with
// the upstream server that watches.
import { Cluster } from "./cluster.mjs";
import { Desk } from "./desk.mjs";
import { Installation, runBinary } from "./installation.mjs";
import { Nodes } from "./node.mjs";

const CONFIG = '[tokens]\nttl_secs = 3600\n[telemetry]\nlevel = "warn"\n';

/** One node. */
export async function alone(name) {
    const desk = await Desk.open();
    const installation = await Installation.start(name, { config: CONFIG });
    await installation.addHttpServer("files", desk.url);
    const { url } = installation;
    return {
        desk,
        installation,
        site: { base: url, nodes: [{ name: "node", url }], ask: (_, method, path, body) => installation.api(method, path, body) },
        sound: async () => (await installation.cli(["log", "verify"])).sound,
        stop: async () => {
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

/** So many nodes on one database. */
export async function several(name, count) {
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
    return {
        desk,
        nodes,
        site: { base: nodes.base, nodes: members, ask: ({ installation }, method, path, body) => nodes.ask(installation, method, path, body) },
        sound: async () => {
            const own = await nodes.first.cli(["log", "verify"]);
            const others = members.slice(1).map(({ installation: { data, folder } }) => runBinary(["--json", "log", "verify", "--data", data], { folder }));
            return own.sound && (await Promise.all(others)).every(({ code }) => code === 0);
        },
        stop: async () => {
            await nodes.stop();
            await desk.close();
            await cluster?.stop();
        }
    };
}
