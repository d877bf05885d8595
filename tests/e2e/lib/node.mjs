// Further nodes of an installation, each a process of its own on the same PostgreSQL.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { Installation, runBinary } from "./installation.mjs";
import { skip } from "./lane.mjs";
import { until } from "./wait.mjs";

/** The test database; a lane may name one of its own before it opens nodes. */
const server = () => process.env.BAILIWICK_TEST_POSTGRES;
const DEBIAN = "/usr/lib/postgresql";

/** `psql`, on the path or where Debian keeps it. */
function psql() {
    const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).map(version => join(DEBIAN, version, "bin/psql")) : [];
    return ["psql", ...versions].find(program => spawnSync(program, ["--version"]).status === 0) ?? skip("no `psql` on the PATH");
}

/** Runs one statement as the role of the service. */
export function statement(text) {
    const run = spawnSync(psql(), ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command", text, server()], { encoding: "utf8" });
    assert.equal(run.status, 0, run.stderr);
    return run.stdout.trim();
}

/** A port that nobody listens on: the base URL of several nodes is known before the first of them starts. */
export function freePort() {
    return new Promise((done, fail) => {
        const probe = createServer();
        probe.on("error", fail);
        probe.listen(0, "127.0.0.1", () => {
            const { port } = probe.address();
            probe.close(() => done(port));
        });
    });
}

/** One more node: its address is its own, the base URL is everybody's. */
class Further extends Installation {
    get address() {
        return `http://127.0.0.1:${this.port}`;
    }

    async serve(options) {
        const { port } = this;
        await super.serve(options);
        this.port = port;
        return this.service;
    }
}

/** An installation whose nodes share one schema of the test database. */
export class Nodes {
    /**
     * `store` gives the URL for a node, by its name, of a database that is theirs alone; `more` ends the configuration;
     * `settle` gives, by name and port, how a node is served.
     */
    static async open(name, { refuse = 2, store, more = "", settle = () => ({}) } = {}) {
        if (server() === undefined && store === undefined) {
            skip("no PostgreSQL: BAILIWICK_TEST_POSTGRES is not set");
        }
        const nodes = new Nodes();
        nodes.store = store;
        nodes.settle = settle;
        nodes.schema = `nodes_${randomBytes(6).toString("hex")}`;
        nodes.refuse = refuse;
        nodes.config = more;
        nodes.more = [];
        nodes.folders = [];
        if (store === undefined) {
            statement(`CREATE SCHEMA ${nodes.schema}`);
        }
        nodes.first = new Installation(name);
        nodes.first.port = await freePort();
        nodes.base = `http://127.0.0.1:${nodes.first.port}`;
        nodes.first.configFile = nodes.#config(nodes.first, "node-a");
        await nodes.first.serve(await settle("node-a", nodes.first.port));
        await nodes.first.cli(["claim", "--data", nodes.first.data, "--name", "ada"]);
        await nodes.first.addTenant("acme");
        nodes.first.tenant = "acme";
        return nodes;
    }

    #config(installation, node) {
        const file = join(installation.folder, "postgres-url");
        writeFileSync(file, `${this.store?.(node) ?? this.#shared()}\n`, { mode: 0o600 });
        const config = join(installation.folder, "config.toml");
        const lines = [
            `node = "${node}"`,
            `base_url = "${this.base}"`,
            "[store]",
            'engine = "postgres"',
            `url_file = "${file}"`,
            "[freshness]",
            "warn_secs = 1",
            `refuse_secs = ${this.refuse}`
        ];
        writeFileSync(config, `${lines.join("\n")}\n${this.config}`);
        return config;
    }

    #shared() {
        const separator = server().includes("?") ? "&" : "?";
        return `${server()}${separator}options=-c%20search_path%3D${this.schema}`;
    }

    /** What an invitation for `node` writes: the file with its token. */
    async invite(node) {
        const tokenFile = join(this.first.folder, `join-${randomBytes(4).toString("hex")}`);
        await this.first.cli(["node", "invite", node, "--token-file", tokenFile], { tenant: null });
        return tokenFile;
    }

    /** A data folder with the configuration of `node`, not joined yet. */
    prepared(node) {
        const installation = new Further(node);
        installation.configFile = this.#config(installation, node);
        installation.context = this.first.context;
        this.folders.push(installation.folder);
        return installation;
    }

    joinWith(installation, tokenFile) {
        const words = ["--json", "node", "join", "--server", this.base, "--token-file", tokenFile, "--config", installation.configFile, "--data", installation.data];
        return runBinary(words, { folder: installation.folder });
    }

    /** Invites, joins and starts one more node. */
    async add(node) {
        const installation = this.prepared(node);
        const joined = await this.joinWith(installation, await this.invite(node));
        assert.equal(joined.code, 0, joined.stderr);
        await this.begin(installation, node);
        this.more.push(installation);
        return installation;
    }

    /** Starts a node that joined. */
    async begin(installation, node) {
        installation.port = await freePort();
        await installation.serve(await this.settle(node, installation.port));
        return installation;
    }

    /** A request of the operator to one node. */
    async ask(installation, method, path, body) {
        const response = await fetch(`${installation.address ?? this.base}${path}`, {
            method,
            headers: { authorization: `Bearer ${await this.first.session({ aud: this.base })}`, "content-type": "application/json" },
            body: body === undefined ? undefined : JSON.stringify(body)
        });
        const text = await response.text();
        return { status: response.status, body: text === "" ? undefined : JSON.parse(text) };
    }

    async health(installation) {
        return (await fetch(`${installation.address ?? this.base}/readyz`)).json();
    }

    /** The MCP endpoint of a server at one node. */
    endpoint(installation, server) {
        return `${installation.address ?? this.base}/t/acme/mcp/${server}`;
    }

    async list() {
        const { items } = await this.first.cli(["node", "ls"], { tenant: null });
        return Object.fromEntries(items.map(item => [item.node, item]));
    }

    /** Waits until a node holds what the first one holds. */
    level(installation) {
        return until("the node to hold what the first one holds", async () => {
            const [first, other] = await Promise.all([this.health(this.first), this.health(installation)]);
            return other.position >= first.position;
        });
    }

    async stop() {
        for (const installation of this.more) {
            if (installation.service?.child.signalCode === null && installation.service.child.exitCode === null) {
                process.kill(installation.service.pid, "SIGCONT");
            }
            await installation.stop();
        }
        await this.first.stop();
        this.folders.forEach(folder => rmSync(folder, { recursive: true, force: true }));
        if (this.store === undefined) {
            statement(`DROP SCHEMA ${this.schema} CASCADE`);
        }
    }
}
