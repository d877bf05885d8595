// An agent under `bailiwick run`, asked over its standard streams.
import { spawn } from "node:child_process";
import { createServer, connect } from "node:net";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { BINARY, environment } from "./installation.mjs";
import { until } from "./wait.mjs";

const FOLDER = join(import.meta.dirname, "../agents");
export const AGENTS = {
    python: { command: ["python3", join(FOLDER, "agent.py")], clients: ["urllib", "requests", "httpx"] },
    node: { command: ["node", join(FOLDER, "agent.mjs")], clients: ["fetch", "https"] }
};

/** `bailiwick run …`, with whatever its command says. */
export class Run {
    constructor(installation, words, command, { env = {}, cwd = installation.folder } = {}) {
        const all = ["--context", installation.context, "--tenant", installation.tenant, "run", ...words, "--", ...command];
        this.child = spawn(BINARY, all, { cwd, env: environment(installation.folder, env), stdio: ["pipe", "pipe", "pipe"] });
        this.child.stdin.on("error", () => {});
        this.out = [];
        this.err = [];
        this.waiting = [];
        createInterface({ input: this.child.stdout }).on("line", line => {
            this.out.push(line);
            this.waiting.shift()?.(line);
        });
        createInterface({ input: this.child.stderr }).on("line", line => this.err.push(line));
        this.ended = new Promise(done => this.child.on("close", (code, signal) => done({ code, signal })));
    }

    get pid() {
        return this.child.pid;
    }

    /** The task, once it is told. */
    task() {
        return until("the task to be told", () => /task (tsk_\w+)/.exec(this.err.join("\n"))?.[1], 20_000);
    }

    /** The next line of the command. */
    line() {
        return new Promise((done, fail) => {
            this.waiting.push(done);
            this.ended.then(({ code, signal }) => fail(new Error(`it ended with ${code ?? signal}: ${this.err.join("\n")}`)));
        });
    }

    /** One request of an agent. */
    async ask(client, method, url, more = {}) {
        const line = this.line();
        this.child.stdin.write(`${JSON.stringify({ client, method, url, ...more })}\n`);
        return JSON.parse(await line);
    }

    async stop() {
        this.child.stdin.end();
        return this.ended;
    }
}

/** Stands between an agent and its proxy and keeps every byte. */
export class Tap {
    static async open(folder, name) {
        const tap = new Tap();
        tap.file = join(folder, `proxy-of-${name}`);
        tap.bytes = [];
        tap.server = createServer(socket => {
            const to = new URL(readFileSync(tap.file, "utf8").trim());
            const proxy = connect(Number(to.port), to.hostname);
            for (const [from, into] of [[socket, proxy], [proxy, socket]]) {
                from.on("data", chunk => tap.bytes.push(chunk));
                from.on("error", () => into.destroy());
                from.on("close", () => into.destroy());
                from.pipe(into);
            }
        });
        await new Promise(done => tap.server.listen(0, "127.0.0.1", done));
        return tap;
    }

    /** `command`, with this tap for a proxy. */
    before(command) {
        const url = `http://127.0.0.1:${this.server.address().port}`;
        const script = `echo "$HTTPS_PROXY" > '${this.file}'; export HTTP_PROXY=${url} HTTPS_PROXY=${url} http_proxy=${url} https_proxy=${url}; exec "$@"`;
        return ["sh", "-c", script, "sh", ...command];
    }

    get isUsed() {
        return existsSync(this.file) && this.bytes.length > 0;
    }

    close() {
        return new Promise(done => this.server.close(done));
    }
}
