// Executes the console blocks of README.md against a fresh installation, in
// their order, exactly as they are printed.
//
//   node readme.mjs
//
// What the page itself says stands for something else is filled in: DECISION,
// TASK and VKEY from what the commands before printed, and the address of the
// upstream server by the one that runs here. The service gets a free port
// through its environment.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Desk } from "./lib/desk.mjs";
import { BINARY, environment, temporary } from "./lib/installation.mjs";
import { run, suite, test } from "./lib/lane.mjs";
import { deadToken, permitted, refusedCall } from "./lib/mcp.mjs";
import { until } from "./lib/wait.mjs";

const README = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");
const BLOCKS = [...README.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, block]) => block);
const COMMANDS = BLOCKS.flatMap(block => block.split("\n").filter(line => line.startsWith("$ ")).map(line => line.slice(2)));
const UPSTREAM = "http://127.0.0.1:9000/mcp";

suite("readme", async () => {
    const folder = temporary("readme");
    mkdirSync(join(folder, "bin"));
    symlinkSync(BINARY, join(folder, "bin/bailiwick"));
    const desk = await Desk.open();
    const env = { ...environment(folder), PATH: `${join(folder, "bin")}:${process.env.PATH}` };
    const shell = (command, more = {}) => {
        const child = spawn("sh", ["-c", command], { cwd: folder, env: { ...env, ...more }, stdio: ["ignore", "pipe", "pipe"] });
        const done = new Promise(resolve => {
            let stdout = "";
            let stderr = "";
            child.stdout.on("data", chunk => (stdout += chunk));
            child.stderr.on("data", chunk => (stderr += chunk));
            child.on("close", code => resolve({ code, stdout, stderr }));
        });
        return { child, done };
    };
    const context = { folder, desk, shell, filled: {} };
    context.stop = async () => {
        if (context.service !== undefined) {
            context.service.child.kill("SIGTERM");
            await context.service.done;
        }
        await desk.close();
        rmSync(folder, { recursive: true, force: true });
    };
    return context;
});

test("every command of the README works as printed", async context => {
    const { desk, shell, filled, folder } = context;
    assert.ok(COMMANDS.length >= 12, `${COMMANDS.length} commands found`);
    for (const printed of COMMANDS) {
        if (/^bailiwick serve\b/.test(printed)) {
            context.service = shell(`exec ${printed}`, { BAILIWICK_LISTEN__ADDRESS: "127.0.0.1:0" });
            const lines = createInterface({ input: context.service.child.stderr });
            context.url = await new Promise((resolve, reject) => {
                lines.on("line", line => {
                    const url = /^bailiwick is ready on (\S+)/.exec(line)?.[1];
                    if (url !== undefined) {
                        resolve(url);
                    }
                });
                context.service.done.then(({ code, stderr }) => reject(new Error(`serve ended with ${code}: ${stderr}`)));
            });
            continue;
        }
        if (/log prove/.test(printed)) {
            await until("the checkpoint", async () => {
                const { stdout } = await shell("bailiwick log ls --json").done;
                const { items } = JSON.parse(stdout);
                filled.VKEY = items.find(log => log.log === "decisions").vkey;
                return items.every(log => log.integrated === log.sequenced);
            });
        }
        let command = printed.replace(UPSTREAM, desk.url);
        for (const [name, value] of Object.entries(filled)) {
            command = command.replace(new RegExp(`\\b${name}\\b`), () => value);
        }
        const { code, stdout, stderr } = await shell(command).done;
        assert.equal(code, 0, `${printed}\n${stdout}${stderr}`);
        if (/task open/.test(printed)) {
            filled.TASK = /tsk_[a-z0-9]+/.exec(stdout)[0];
            await useToken(context, join(folder, "march.jwt"));
        }
        if (/\bkill\b/.test(printed)) {
            await deadToken(`${context.url}/t/acme/mcp/filesystem`, context.token, "read_text_file", { path: "/srv/invoices/march.txt" });
        }
    }
});

/** The sentences between the blocks: what the token does, and what it does not. */
async function useToken(context, file) {
    context.token = readFileSync(file, "utf8").trim();
    const url = `${context.url}/t/acme/mcp/filesystem`;
    await permitted(url, context.token, "read_text_file", { path: "/srv/invoices/march.txt" });
    const { decision_id: decision } = await refusedCall(url, context.token, "read_text_file", { path: "/etc/passwd" }, "grant.argument-out-of-scope");
    context.filled.DECISION = decision;
}

await run("readme");
