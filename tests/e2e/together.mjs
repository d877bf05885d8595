// Runs lanes beside each other that wait most of their time. What one of them
// prints comes when it ends, and at the end how many tests passed in all.
//
//   node together.mjs LANE …
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

const lanes = process.argv.slice(2).map(name => ({ name, file: join(import.meta.dirname, `${name}.mjs`) }));
if (lanes.length === 0 || !lanes.every(({ file }) => existsSync(file))) {
    console.error("usage: together.mjs LANE …, each a lane in this folder");
    process.exit(64);
}

/** What a lane printed and how many of its tests passed; one that says nothing of them failed. */
function finished({ name, file }) {
    const child = spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "pipe"] });
    const out = [];
    child.stdout.on("data", chunk => out.push(chunk));
    child.stderr.on("data", chunk => out.push(chunk));
    return new Promise(done => {
        child.on("error", error => out.push(Buffer.from(String(error))));
        child.on("close", code => {
            const text = Buffer.concat(out).toString("utf8");
            const [, passed, failed] = /: (\d+) passed, (\d+) failed\s*$/.exec(text) ?? [undefined, 0, 1];
            console.log(`-- ${name}\n${text.trimEnd()}`);
            done({ passed: Number(passed), failed: Math.max(Number(failed), code === 0 ? 0 : 1) });
        });
    });
}

const ended = await Promise.all(lanes.map(finished));
const sum = what => ended.reduce((all, each) => all + each[what], 0);
console.log(`together: ${sum("passed")} passed, ${sum("failed")} failed`);
process.exit(sum("failed") === 0 ? 0 : 1);
