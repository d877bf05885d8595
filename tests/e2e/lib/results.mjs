// One line of a long run in `results.md`, with seed, number and commit.
import { execFileSync } from "node:child_process";
import { appendFileSync } from "node:fs";
import { BINARY } from "./installation.mjs";

/** The commit of this tree. */
const head = () => execFileSync("git", ["rev-parse", "--short=12", "HEAD"], { cwd: import.meta.dirname, encoding: "utf8" }).trim();

/** Appends to `file`, unless that is undefined. */
export function append(file, { commit = head(), note = "", seed, count, figures, outcome }) {
    if (file === undefined) {
        return;
    }
    const build = BINARY.includes("/release/") ? "release" : BINARY.includes("/planted") ? "planted" : "debug";
    const plain = text => String(text).replaceAll("|", "/").replaceAll("\n", " ").slice(0, 400);
    appendFileSync(file, `| ${new Date().toISOString().slice(0, 10)} | ${commit} | ${build}${note} | ${seed} | ${count} | ${plain(figures)} | ${plain(outcome)} |\n`);
}
