// Where schedules are played: one node on its embedded store, or two nodes on
// one PostgreSQL, each behind a door of its own, with a wall clock that can be
// set; all of it is put back as it was before each schedule.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { clockOf } from "./clock.mjs";
import { Cluster } from "./cluster.mjs";
import { Desk } from "./desk.mjs";
import { Door } from "./door.mjs";
import { Installation, runBinary } from "./installation.mjs";
import { callTool } from "./mcp.mjs";
import { Nodes } from "./node.mjs";
import { Copy, isServed } from "./template.mjs";
import { until } from "./wait.mjs";

const CONFIG = '[tokens]\nttl_secs = 3600\n[telemetry]\nlevel = "warn"\n';
/** While everything is prepared nothing is to be late. */
const EASY_SECS = 10;
const BOUND = `warn_secs = 1\nrefuse_secs = ${EASY_SECS}\n`;
const CAN = ["files:echo", "authzen:evaluate"];
const ANSWER_MAX_MS = 25_000;
const READY_MAX_MS = 20_000;
export const ROLE = "service";

/** A node of the ground: its process, its clock, its door to the database. */
class Node {
    constructor(name, installation, door) {
        Object.assign(this, { name, installation, door, clock: clockOf(installation) });
    }

    get url() {
        return `http://127.0.0.1:${this.installation.port}`;
    }

    serve({ wrapper = [] } = {}) {
        return this.installation.serve({ env: this.clock.env, wrapper });
    }

    end(signal = "SIGTERM") {
        return this.installation.service?.stop(signal).catch(() => {});
    }
}

export class Ground {
    /** With `roles` as identities, each with a task and a token. */
    static async open(engine, roles) {
        const ground = new Ground();
        ground.agents = {};
        ground.desk = await Desk.open();
        await (engine === "postgres" ? ground.#several() : ground.#alone());
        const { first } = ground;
        await first.addHttpServer("files", ground.desk.url);
        for (const role of roles) {
            const identity = await first.addIdentity(role);
            const task = await first.openTask(role, CAN, { window: "12h" });
            ground.agents[role] = { id: identity.id, task: task.id, token: task.token };
        }
        for (const node of ground.nodes) {
            await until("service before any bad day", async () => isServed(await ground.call(node, ground.agents[roles[0]], "before")), READY_MAX_MS);
        }
        await Promise.all(ground.nodes.map(node => node.end()));
        for (const { installation } of ground.nodes) {
            const text = readFileSync(installation.configFile, "utf8");
            assert.ok(text.includes(BOUND), text);
            writeFileSync(installation.configFile, text.replace(BOUND, "warn_secs = 1\nrefuse_secs = 1\n"));
        }
        ground.copies = ground.nodes.map(({ installation }) => new Copy(installation));
        ground.cluster?.admin("ALTER DATABASE installation RENAME TO prepared");
        return ground;
    }

    async #alone() {
        this.first = await Installation.start("schedules", { config: `[freshness]\n${BOUND}${CONFIG}` });
        this.nodes = [new Node("node", this.first)];
    }

    async #several() {
        const cluster = await Cluster.open();
        this.cluster = cluster;
        cluster.admin(`CREATE ROLE ${ROLE} LOGIN PASSWORD 'service'`);
        cluster.admin(`CREATE DATABASE installation OWNER ${ROLE}`);
        const doors = { "node-a": await Door.open(() => connect(cluster.socket)), "node-b": await Door.open(() => connect(cluster.socket)) };
        const store = node => `postgresql://${ROLE}:service@127.0.0.1:${doors[node].port}/installation?sslmode=disable`;
        this.several = await Nodes.open("schedules", { store, refuse: EASY_SECS, more: CONFIG });
        this.first = this.several.first;
        const second = await this.several.add("node-b");
        this.nodes = [new Node("node-a", this.first, doors["node-a"]), new Node("node-b", second, doors["node-b"])];
    }

    /** As it was when it was prepared, and nothing is in anybody's way. */
    restore() {
        this.mend();
        if (this.cluster !== undefined) {
            this.cluster.admin(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${ROLE}'`);
            this.cluster.admin("DROP DATABASE IF EXISTS installation WITH (FORCE)");
            this.cluster.admin(`CREATE DATABASE installation TEMPLATE prepared OWNER ${ROLE}`);
        }
        this.copies.forEach(copy => copy.restore());
    }

    mend() {
        for (const { clock, door } of this.nodes) {
            clock.set("+0");
            door?.release();
        }
    }

    serve() {
        return Promise.all(this.nodes.map(node => node.serve()));
    }

    end(signal) {
        return Promise.all(this.nodes.map(node => node.end(signal)));
    }

    call(node, agent, text) {
        return callTool(`${node.url}/t/acme/mcp/files`, agent.token, "echo", { text });
    }

    /** A request with a token, at one node; nothing where the connection ended. */
    async #asked(node, method, path, token, body, headers = {}) {
        try {
            const response = await fetch(`${node.url}${path}`, {
                method,
                headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
                body: body === undefined ? undefined : JSON.stringify(body),
                signal: AbortSignal.timeout(ANSWER_MAX_MS)
            });
            return { status: response.status, body: await response.json() };
        } catch {
            return undefined;
        }
    }

    async operator(node, method, path, body, headers) {
        return this.#asked(node, method, path, await this.first.session({ aud: this.several?.base ?? node.url }), body, headers);
    }

    evaluate(node, agent) {
        const question = { subject: { type: "identity", id: agent.id }, action: { name: "read" }, resource: { type: "document", id: "1" } };
        return this.#asked(node, "POST", "/access/v1/evaluation", agent.token, question);
    }

    /** Every entry of a log, as one node has it. */
    async entries(node, log) {
        const entries = [];
        for (;;) {
            const page = await this.operator(node, "GET", `/v1/logs/${log}/entries?from=${entries.length}`);
            assert.equal(page?.status, 200, `${log} of ${node.name}: ${JSON.stringify(page?.body)}`);
            if (page.body.items.length === 0) {
                return entries;
            }
            entries.push(...page.body.items);
        }
    }

    /** Whether every log verifies, from the folders alone; what is said where not. */
    async unsound() {
        const said = await Promise.all(
            this.nodes.map(async ({ name, installation: { data, folder } }) => {
                const { code, stdout } = await runBinary(["--json", "log", "verify", "--data", data], { folder });
                return code === 0 ? [] : [`the logs of ${name} do not verify: ${stdout.slice(0, 300)}`];
            })
        );
        return said.flat();
    }

    async stop() {
        this.mend();
        await this.end("SIGKILL");
        await (this.several ?? this.first).stop();
        await this.desk.close();
        this.nodes.forEach(({ door }) => door?.close());
        await this.cluster?.stop();
    }
}
