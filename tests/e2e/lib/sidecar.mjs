// A sidecar of an installation: invited, joined and run as a process of its own,
// and asked over AuthZEN.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { BINARY, environment, runBinary } from "./installation.mjs";
import { until } from "./wait.mjs";

const READY_MAX_MS = 30_000;
const STOP_MAX_MS = 15_000;

export class Sidecar {
    /** A data folder that does not exist yet, below `installation`'s. */
    constructor(installation, name, data = join(installation.folder, `sidecar-${name}`)) {
        Object.assign(this, { installation, name, data, child: undefined, url: undefined, lines: [] });
    }

    /** Invited for these tenants and joined, not running. */
    static async joined(installation, name, tenants = ["acme"]) {
        const sidecar = new Sidecar(installation, name);
        const result = await sidecar.join(await sidecar.invite(tenants));
        assert.equal(result.code, 0, result.stderr);
        return sidecar;
    }

    /** Invited, joined and running, with its first snapshot. */
    static async start(installation, name, tenants) {
        const sidecar = await Sidecar.joined(installation, name, tenants);
        await sidecar.run();
        await sidecar.fresh();
        return sidecar;
    }

    /** The file with the token of an invitation. */
    async invite(tenants) {
        const file = join(this.installation.folder, `invited-${this.name}-${Date.now()}`);
        const words = ["sidecar", "invite", this.name, "--token-file", file, ...tenants.flatMap(tenant => ["--tenant", tenant])];
        await this.installation.cli(words, { tenant: null });
        return file;
    }

    join(tokenFile, { url = this.installation.url, name = this.name } = {}) {
        const words = ["--json", "sidecar", "join", "--url", url, "--name", name, "--token-file", tokenFile, "--data", this.data];
        return runBinary(words, { folder: this.installation.folder });
    }

    /** Starts the process; a second start listens at the same port. */
    async run() {
        const listen = `127.0.0.1:${this.url === undefined ? 0 : new URL(this.url).port}`;
        this.child = spawn(BINARY, ["sidecar", "run", "--data", this.data, "--listen", listen], {
            cwd: this.installation.folder,
            env: environment(this.installation.folder),
            stdio: ["ignore", "ignore", "pipe"]
        });
        this.ended = new Promise(done => this.child.on("close", (code, signal) => done({ code, signal })));
        this.url = await new Promise((done, fail) => {
            const guard = setTimeout(() => fail(new Error(`not ready:\n${this.lines.join("\n")}`)), READY_MAX_MS);
            createInterface({ input: this.child.stderr }).on("line", line => {
                this.lines.push(line);
                const url = /^sidecar \S+ is ready on (\S+)/.exec(line)?.[1];
                if (url !== undefined) {
                    clearTimeout(guard);
                    done(url);
                }
            });
            this.child.on("close", code => {
                clearTimeout(guard);
                fail(new Error(`the sidecar ended with ${code}:\n${this.lines.join("\n")}`));
            });
        });
        return this;
    }

    get runs() {
        return this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null;
    }

    async stop(signal = "SIGTERM") {
        if (!this.runs) {
            return undefined;
        }
        this.child.kill(signal);
        const late = new Promise(done => setTimeout(() => done("late"), STOP_MAX_MS).unref());
        const ended = await Promise.race([this.ended, late]);
        assert.notEqual(ended, "late", "the sidecar did not stop");
        return ended;
    }

    async health() {
        const response = await fetch(`${this.url}/readyz`);
        return { code: response.status, ...(await response.json()) };
    }

    /** Waits until it may answer. */
    fresh() {
        return until(`${this.name} to be fresh`, async () => {
            const health = await this.health();
            return health.code === 200 && health;
        });
    }

    /** Waits until it holds what its node holds. */
    async level() {
        const { epoch, position } = await (await fetch(`${this.installation.url}/readyz`)).json();
        return until(`${this.name} to hold epoch ${epoch} and position ${position}`, async () => {
            const health = await this.health();
            return health.code === 200 && health.epoch >= epoch && health.position >= position;
        });
    }

    /** A question, with the token of the enforcement point that asks. */
    async ask(body, token, path = "/access/v1/evaluation") {
        const response = await fetch(`${this.url}${path}`, {
            method: "POST",
            headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
            body: JSON.stringify(body)
        });
        const text = await response.text();
        return { status: response.status, body: text.startsWith("{") ? JSON.parse(text) : text };
    }

    /** Whether its log is sound, by its own files alone, and how many entries it has. */
    async verify() {
        const result = await runBinary(["--json", "log", "verify", "--data", this.data], { folder: this.installation.folder });
        assert.equal(result.code, 0, result.stdout);
        return JSON.parse(result.stdout);
    }

    /** The leaves of its log, from the published entry bundles. */
    leaves() {
        const folder = join(this.data, "log/decisions/tile/entries");
        const files = existsSync(folder) ? readdirSync(folder, { recursive: true }).map(String) : [];
        const whole = new Map();
        for (const file of files.filter(each => /(^|\/)\d{3}(\.p\/\d+)?$/.test(each))) {
            const [name, part] = file.split(".p/");
            const width = part === undefined ? 256 : Number(part);
            if (width > (whole.get(name)?.width ?? 0)) {
                whole.set(name, { width, file });
            }
        }
        const leaves = [];
        for (const [, { file, width }] of [...whole].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
            const path = join(folder, file);
            let bytes;
            try {
                bytes = readFileSync(path);
            } catch {
                continue; // a folder
            }
            for (let at = 0, n = 0; n < width && at < bytes.length; n += 1) {
                const length = bytes.readUInt16BE(at);
                leaves.push(JSON.parse(bytes.subarray(at + 2, at + 2 + length).toString("utf8")));
                at += 2 + length;
            }
        }
        return leaves;
    }

    /** Decisions that somebody was told: one that a stop overtook while it was recorded was taken anew, and says so. */
    decided() {
        const leaves = this.leaves();
        const of = wanted => leaves.filter(({ kind }) => kind === wanted).length;
        return of("decision") - of("outcome");
    }

    /** From now on it asks at `url`. */
    turn(url) {
        const file = join(this.data, "sidecar.json");
        writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), url }));
    }
}

/** Somebody between a sidecar and its node, who changes the answers to words as `judge` says. */
export class Between {
    static async open(far) {
        const between = new Between();
        Object.assign(between, { judge: undefined, told: [] });
        between.server = createServer((asked, answer) => between.#pass(asked, answer, far()));
        await new Promise(done => between.server.listen(0, "127.0.0.1", done));
        between.url = `http://127.0.0.1:${between.server.address().port}`;
        return between;
    }

    #pass(asked, answer, far) {
        const chunks = [];
        asked.on("data", chunk => chunks.push(chunk));
        asked.on("end", () => {
            const there = request(`${far}${asked.url}`, { method: asked.method, headers: { ...asked.headers, host: new URL(far).host } }, reply => {
                const parts = [];
                reply.on("data", part => parts.push(part));
                reply.on("end", () => {
                    let text = Buffer.concat(parts).toString("utf8");
                    if (reply.statusCode === 200 && asked.url.endsWith("/word")) {
                        this.told.push(text);
                        text = this.judge?.(text) ?? text;
                    }
                    answer.writeHead(reply.statusCode, { "content-type": "application/json" });
                    answer.end(text);
                });
            });
            there.on("error", () => answer.destroy());
            there.end(Buffer.concat(chunks));
        });
    }

    close() {
        this.server.closeAllConnections();
        this.server.close();
    }
}

/** A folder for copies of data folders. */
export function copies(installation) {
    const folder = join(installation.folder, "copies");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return folder;
}

/** A data folder as a backup has it, modes included. */
export function copied(from, to) {
    execFileSync("cp", ["-a", from, to]);
}
