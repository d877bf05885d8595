// A throw-away installation of the built binary, driven only through its
// command line and its HTTP doors.
//
// Ports are chosen by the kernel. After a restart the installation keeps its
// port, because the base URL is part of every token.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, createPrivateKey, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { SignJWT } from "../../interop/lib/jose.mjs";
import { until } from "./wait.mjs";

const READY_MAX_MS = 30_000;
const STOP_MAX_MS = 15_000;
const ED25519_PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");

/** The binary under test: `INTEROP_BINARY`, or the one in the workspace's target folder. */
export const BINARY = resolve(process.env.INTEROP_BINARY ?? join(import.meta.dirname, "../../../target/debug/bailiwick"));

/** A private folder that is gone at the end. */
export const temporary = name => realpathSync(mkdtempSync(join(tmpdir(), `bailiwick-e2e-${name}-`)));

/** SHA-256 of a file, hex. */
export const sha256 = file => createHash("sha256").update(readFileSync(file)).digest("hex");

/** The environment of our children: nothing of `BAILIWICK_…`, which the binary would take for configuration. */
export function environment(folder, more = {}) {
    const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("BAILIWICK_") && !name.startsWith("XDG_"));
    return { ...Object.fromEntries(kept), HOME: folder, NO_COLOR: "1", ...more };
}

/** Lanes share a machine with builds: a flush that takes two seconds there is no fault of what is tested. */
const PATIENT = { BAILIWICK_LOG__RECORD_BUDGET_MS: "10000" };

/** Runs the binary once. */
export async function runBinary(args, { folder, env = {}, input, cwd, wrapper = [] } = {}) {
    const [program, ...first] = [...wrapper, BINARY];
    const child = spawn(program, [...first, ...args], {
        cwd: cwd ?? folder,
        env: environment(folder, env),
        stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"]
    });
    if (input !== undefined) {
        child.stdin.on("error", () => {}); // a command that refuses early does not read
        child.stdin.end(input);
    }
    const out = [];
    const err = [];
    child.stdout.on("data", chunk => out.push(chunk));
    child.stderr.on("data", chunk => err.push(chunk));
    const code = await new Promise((done, fail) => {
        child.on("error", fail);
        child.on("close", (exit, signal) => done(exit ?? signal));
    });
    return { code, stdout: Buffer.concat(out).toString("utf8"), stderr: Buffer.concat(err).toString("utf8") };
}

/** Exactly one JSON document on standard output, or the test fails. */
export function oneDocument(stdout) {
    try {
        return JSON.parse(stdout);
    } catch {
        throw new assert.AssertionError({ message: `not exactly one JSON document: ${stdout.slice(0, 400)}` });
    }
}

/** A running `bailiwick serve`. */
class Service {
    constructor(child, folder) {
        this.child = child;
        this.folder = folder;
        this.lines = [];
        this.url = undefined;
        this.ended = new Promise(done => child.on("close", (code, signal) => done({ code, signal })));
        this.ready = new Promise((done, fail) => {
            const guard = setTimeout(() => fail(new Error(`not ready after ${READY_MAX_MS} ms:\n${this.lines.join("\n")}`)), READY_MAX_MS);
            createInterface({ input: child.stderr }).on("line", line => {
                this.lines.push(line);
                const url = /^bailiwick(?: dev)? is ready on (\S+)/.exec(line)?.[1];
                if (url !== undefined) {
                    this.url = url;
                    clearTimeout(guard);
                    done(url);
                }
            });
            child.on("error", fail);
            child.on("close", code => {
                clearTimeout(guard);
                fail(new Error(`the service ended with ${code}:\n${this.lines.join("\n")}`));
            });
        });
        this.ready.catch(() => {});
        createInterface({ input: child.stdout }).on("line", line => this.lines.push(`stdout: ${line}`));
    }

    get pid() {
        return this.child.pid;
    }

    /** Every line it wrote, for searching. */
    get text() {
        return this.lines.join("\n");
    }

    async stop(signal = "SIGTERM") {
        if (this.child.exitCode === null && this.child.signalCode === null) {
            this.child.kill(signal);
        }
        const late = new Promise(done => setTimeout(() => done("late"), STOP_MAX_MS).unref());
        const ended = await Promise.race([this.ended, late]);
        if (ended === "late") {
            this.child.kill("SIGKILL");
            throw new Error(`the service did not stop within ${STOP_MAX_MS} ms of ${signal}`);
        }
        return ended;
    }
}

export class Installation {
    constructor(name) {
        this.folder = temporary(name);
        this.data = join(this.folder, "data");
        this.context = join(this.folder, "operator.json");
        this.service = undefined;
        this.port = 0;
        this.tenant = undefined;
        this.configFile = undefined;
        this.history = [];
    }

    /** A claimed installation, with one tenant unless `tenant` is null. */
    static async start(name, { config, tenant = "acme", algorithm = "RS256", data, serve = {}, claim = [] } = {}) {
        const installation = new Installation(name);
        if (data !== undefined) {
            installation.data = data;
        }
        if (config !== undefined) {
            installation.configFile = join(installation.folder, "config.toml");
            writeFileSync(installation.configFile, typeof config === "function" ? config(installation) : config);
        }
        await installation.serve(serve);
        await installation.cli(["claim", "--data", installation.data, "--name", "ada", ...claim]);
        if (tenant !== null) {
            await installation.addTenant(tenant, algorithm);
            installation.tenant = tenant;
        }
        return installation;
    }

    get url() {
        return this.service.url;
    }

    /** Starts the service; a second start uses the same port. */
    async serve({ args = [], env = {}, wrapper = [] } = {}) {
        if (!existsSync(this.data)) {
            mkdirSync(this.data, { mode: 0o700 });
        }
        const config = this.configFile === undefined ? [] : ["--config", this.configFile];
        const words = ["serve", "--data", this.data, "--listen", `127.0.0.1:${this.port}`, ...config, ...args];
        const [program, ...first] = [...wrapper, BINARY];
        const child = spawn(program, [...first, ...words], {
            cwd: this.folder,
            env: environment(this.folder, { ...PATIENT, ...env }),
            stdio: ["ignore", "pipe", "pipe"]
        });
        this.service = new Service(child, this.folder);
        this.history.push(this.service);
        await this.service.ready;
        this.port = Number(new URL(this.service.url).port);
        return this.service;
    }

    async restart(options) {
        await this.service.stop();
        return this.serve(options);
    }

    /** Runs an operator command; gives its exit code and what it printed. */
    async run(args, { json = true, tenant = this.tenant, ...more } = {}) {
        const global = ["--context", this.context, ...(tenant ? ["--tenant", tenant] : []), ...(json ? ["--json"] : [])];
        const result = await runBinary([...global, ...args], { folder: this.folder, ...more });
        return { ...result, json: json ? oneDocument(result.stdout) : undefined };
    }

    /** Runs an operator command that must succeed; gives its document. */
    async cli(args, more) {
        const result = await this.run(args, more);
        assert.equal(result.code, 0, `bailiwick ${args.join(" ")}: ${result.stderr}`);
        return result.json;
    }

    /** Runs an operator command that must fail with `exit` and `code`; gives the failure document. */
    async refused(args, exit, code, more) {
        const result = await this.run(args, more);
        assert.equal(result.code, exit, `bailiwick ${args.join(" ")}: ${result.stdout} ${result.stderr}`);
        if (code !== undefined) {
            assert.equal(result.json.code, code, `bailiwick ${args.join(" ")}: ${result.stderr}`);
        }
        assert.ok(result.json.message.length > 0);
        return result.json;
    }

    addTenant(slug, algorithm = "RS256") {
        return this.cli(["tenant", "add", slug, "--name", `Tenant ${slug}`, "--employees", "120", "--algorithm", algorithm], {
            tenant: null
        });
    }

    /** Registers and activates an identity. */
    async addIdentity(name, { kind = "agent", owner = "finance", agent, activate = true, tenant } = {}) {
        const words = ["id", "add", name, "--kind", kind, "--owner", owner, "--owner-contact", `${owner}@acme.example`];
        words.push("--purpose", "end-to-end test", "--expires", "90d", ...(agent === undefined ? [] : ["--agent", agent]));
        const where = tenant === undefined ? {} : { tenant };
        const added = await this.cli(words, where);
        return activate ? this.cli(["id", "activate", added.id], where) : added;
    }

    /** Adds an upstream server over HTTP on this machine. */
    addHttpServer(name, url, { credentialFile, tenant, owner = "platform" } = {}) {
        const words = ["server", "add", name, "--url", url, "--allow-plaintext", "--allow-address", "127.0.0.0/8"];
        words.push("--allow-address", "::1/128", ...(credentialFile === undefined ? [] : ["--credential-file", credentialFile]));
        return this.cli([...words, ...this.#answerable(owner)], tenant === undefined ? {} : { tenant });
    }

    /** Adds a Node program that speaks MCP on its standard streams; node, the scripts and the lock are pinned. */
    addNodeServer(name, scripts, args, { owner = "platform" } = {}) {
        const node = realpathSync(process.execPath);
        const pinned = [node, ...scripts.map(script => realpathSync(script)), realpathSync(join(import.meta.dirname, "../../interop/package-lock.json"))];
        const words = ["server", "add", name, "--exec", node];
        words.push(...args.flatMap(arg => ["--arg", arg]), ...pinned.flatMap(file => ["--digest", `${file}=${sha256(file)}`]));
        return this.cli([...words, ...this.#answerable(owner)]);
    }

    #answerable(owner) {
        return ["--owner", owner, "--owner-contact", `${owner}@acme.example`, "--purpose", "end-to-end test", "--expires", "90d"];
    }

    /** Opens a task and keeps its token in a file; gives task, token and file. */
    async openTask(identity, can, { window = "15m", tenant } = {}) {
        const tokenFile = join(this.folder, `token-${randomBytes(6).toString("hex")}`);
        const words = ["task", "open", "--identity", identity, "--purpose", "end-to-end test", "--for", window, "--token-file", tokenFile];
        const opened = await this.cli([...words, ...can.flatMap(scope => ["--can", scope])], tenant === undefined ? {} : { tenant });
        return { ...opened, id: opened.task.id, tokenFile, token: readFileSync(tokenFile, "utf8") };
    }

    kill(scope, name, more = []) {
        const words = ["kill", scope, ...(name === undefined ? [] : [name]), "--reason", "end-to-end test", "--yes", ...more];
        return this.cli(words);
    }

    endpoint(server, tenant = this.tenant) {
        return `${this.url}/t/${tenant}/mcp/${server}`;
    }

    /** The operator's one-minute session, as the command line signs it. */
    async session(claims = {}, header = {}) {
        const context = JSON.parse(readFileSync(this.context, "utf8"));
        const seed = readFileSync(context.key_file);
        const key = createPrivateKey({ key: Buffer.concat([ED25519_PKCS8, seed]), format: "der", type: "pkcs8" });
        const now = Math.floor(Date.now() / 1000);
        return new SignJWT({ iss: context.operator, aud: this.url, iat: now, exp: now + 60, jti: randomBytes(16).toString("hex"), ...claims })
            .setProtectedHeader({ alg: "EdDSA", typ: "bailiwick-session+jwt", ...header })
            .sign(key);
    }

    /** A request of the operator at our own API; gives status, headers and parsed body. */
    async api(method, path, body, headers = {}) {
        const response = await fetch(`${this.url}${path}`, {
            method,
            headers: {
                authorization: `Bearer ${await this.session()}`,
                ...(body === undefined ? {} : { "content-type": "application/json" }),
                ...headers
            },
            body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body)
        });
        const text = await response.text();
        let parsed;
        try {
            parsed = JSON.parse(text);
        } catch {
            parsed = undefined;
        }
        return { status: response.status, headers: response.headers, text, body: parsed };
    }

    /** Waits until everything sequenced is under a signed checkpoint; gives the logs by name. */
    integrated() {
        return until("the checkpoint to follow", async () => {
            const { items } = await this.cli(["log", "ls"]);
            return items.every(log => log.integrated === log.sequenced) && Object.fromEntries(items.map(log => [log.log, log]));
        });
    }

    /** Exports both logs with openings into a new folder. */
    async export() {
        await this.integrated();
        const folder = join(this.folder, `export-${randomBytes(4).toString("hex")}`);
        await this.cli(["log", "export", folder, "--openings"]);
        return folder;
    }

    /** Stops the service and checks that it left nothing behind. */
    async stop() {
        const pids = this.history.map(service => service.pid);
        if (this.service !== undefined) {
            await this.service.stop();
        }
        await until("the service's processes to be gone", () => pids.every(pid => !existsSync(`/proc/${pid}`)));
        rmSync(this.folder, { recursive: true, force: true });
    }
}
