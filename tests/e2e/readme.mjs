// Executes the console blocks of README.md against a fresh installation, in
// their order and in one shell, exactly as they are printed.
//
//   node readme.mjs
//
// The page names what stands for something else: DECISION, TASK and VKEY are
// taken from what the commands before printed, a free port stands for 8787, and
// `bailiwick` is the binary under test instead of a new build.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { BINARY, environment, temporary } from "./lib/installation.mjs";
import { run, suite, test } from "./lib/lane.mjs";
import { until } from "./lib/wait.mjs";

const README = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");
const BLOCKS = [...README.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, block]) => block);
const COMMANDS = BLOCKS.flatMap(block => block.trim().split("\n"));
const ADDRESS = "http://127.0.0.1:8787";
const END = /^--- end (\d+)$/;

/** One shell that runs a line at a time, as a terminal does. */
class Terminal {
    constructor(folder, env) {
        this.child = spawn("sh", [], { cwd: folder, env, stdio: ["pipe", "pipe", "pipe"] });
        this.stderr = "";
        this.child.stderr.on("data", chunk => (this.stderr += chunk));
        this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    }

    async run(command) {
        this.stderr = "";
        this.child.stdin.write(`${command}\necho "--- end $?"\n`);
        let stdout = "";
        for (;;) {
            const { value, done } = await this.lines.next();
            assert.ok(!done, `the shell ended in ${command}`);
            const end = END.exec(value);
            if (end !== null) {
                return { code: Number(end[1]), stdout, stderr: this.stderr };
            }
            stdout += `${value}\n`;
        }
    }

    close() {
        this.child.stdin.end();
    }
}

suite("readme", async () => {
    const folder = temporary("readme");
    mkdirSync(join(folder, "bin"));
    symlinkSync(BINARY, join(folder, "bin/bailiwick"));
    const env = { ...environment(folder), PATH: `${join(folder, "bin")}:${process.env.PATH}` };
    const terminal = new Terminal(folder, env);
    const context = { folder, env, terminal };
    context.stop = async () => {
        terminal.close();
        if (context.service !== undefined) {
            context.service.kill("SIGTERM");
            await context.ended;
        }
        rmSync(folder, { recursive: true, force: true });
    };
    return context;
});

/** The line that stays in its terminal; gives the address the service tells. */
function serve(context, command) {
    const { folder, env } = context;
    context.service = spawn("sh", ["-c", `exec ${command}`], {
        cwd: folder,
        env: { ...env, BAILIWICK_LISTEN__ADDRESS: "127.0.0.1:0" },
        stdio: ["ignore", "ignore", "pipe"]
    });
    context.ended = new Promise(done => context.service.on("close", done));
    let told = "";
    return new Promise((resolve, reject) => {
        createInterface({ input: context.service.stderr }).on("line", line => {
            told += `${line}\n`;
            const url = /^bailiwick is ready on (\S+)/.exec(line)?.[1];
            if (url !== undefined) {
                resolve(url);
            }
        });
        context.ended.then(code => reject(new Error(`serve ended with ${code}: ${told}`)));
    });
}

/** What the page says about the answer to a command, and what a later one needs of it. */
const AFTER = [
    [/^bailiwick -t acme task open/, ({ stdout }, filled) => (filled.TASK = /tsk_[a-z0-9]+/.exec(stdout)[0])],
    [/^bailiwick log ls/, ({ stdout }, filled) => (filled.VKEY = /^decisions\s.*\s(\S+)$/m.exec(stdout)[1])],
    [
        /^call \/etc\/passwd/,
        ({ stdout }, filled) => {
            assert.match(stdout, /-32001/);
            assert.match(stdout, /grant\.argument-out-of-scope/);
            filled.DECISION = /dec_[a-z0-9]+/.exec(stdout)[0];
        }
    ]
];

test("every command of the README works as printed", async context => {
    const { terminal } = context;
    assert.ok(COMMANDS.length >= 18, `${COMMANDS.length} commands found`);
    const filled = {};
    const read = [];
    for (const line of COMMANDS) {
        assert.match(line, /^\$ /, "a line of a console block is a command");
        const printed = line.slice(2);
        if (/^bailiwick serve\b/.test(printed)) {
            filled[ADDRESS] = await serve(context, printed);
            continue;
        }
        if (/log prove/.test(printed)) {
            await until("the checkpoint", async () => {
                const { items } = JSON.parse((await terminal.run("bailiwick log ls --json")).stdout);
                return items.every(log => log.integrated === log.sequenced);
            });
        }
        let command = printed;
        for (const [name, value] of Object.entries(filled)) {
            command = command.replace(new RegExp(`\\b${name}\\b`), () => value);
        }
        const answer = await terminal.run(command);
        assert.equal(answer.code, 0, `${printed}\n${answer.stdout}${answer.stderr}`);
        AFTER.find(([pattern]) => pattern.test(printed))?.[1](answer, filled);
        if (/^call .*march/.test(printed)) {
            read.push(answer.stdout);
        }
    }
    assert.deepEqual(Object.keys(filled).sort(), ["DECISION", "TASK", "VKEY", ADDRESS]);
    assert.equal(read.length, 2);
    assert.match(read[0], /1200 EUR/);
    assert.match(read[1], /(?:identity|token)\.revoked/, "the same call after the kill");
    assert.doesNotMatch(read[1], /1200 EUR/);
});

await run("readme");
