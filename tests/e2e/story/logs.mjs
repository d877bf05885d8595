// The logs of a real run: exported, verified by us and by code that is not
// ours, and every fault named with its position.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Desk } from "../lib/desk.mjs";
import { environment, Installation, runBinary } from "../lib/installation.mjs";
import { figure, skip, suite, test } from "../lib/lane.mjs";
import { callTool } from "../lib/mcp.mjs";

const GO = join(import.meta.dirname, "../../interop/go");
const CALLS = 600;

suite("logs", async () => {
    const desk = await Desk.open();
    const installation = await Installation.start("logs");
    await installation.addTenant("globex", "ES256");
    const urls = [];
    for (const tenant of ["acme", "globex"]) {
        await installation.addHttpServer("files", desk.url, { tenant });
        await installation.addIdentity("worker", { tenant });
        const { token } = await installation.openTask("worker", ["files:echo"], { tenant });
        urls.push([installation.endpoint("files", tenant), token]);
    }
    const [first, second] = urls;
    for (let n = 0; n < CALLS; n += 20) {
        await Promise.all(Array.from({ length: 20 }, (_, at) => callTool(...(at % 3 === 0 ? second : first), at % 5 === 0 ? "transfer" : "echo", { text: `${n + at}` })));
    }
    const logs = await installation.integrated();
    const exported = await installation.export();
    return {
        installation,
        logs,
        exported,
        stop: async () => {
            await installation.stop();
            await desk.close();
        }
    };
});

/** Verdict of our own verifier over a folder. */
async function ours(folder, key) {
    const result = await runBinary(["log", "verify", "--data", folder, ...(key === undefined ? [] : ["--key", key]), "--json"], { folder: "/" });
    return { ...JSON.parse(result.stdout), code: result.code };
}

/** Verdict of the Go program. */
function foreign(words) {
    const go = spawnSync("go", ["-C", GO, "run", ".", ...words], { encoding: "utf8", env: { ...environment(process.env.HOME), GOFLAGS: "-mod=readonly" } });
    if (go.error?.code === "ENOENT") {
        skip("no `go` on the PATH");
    }
    assert.ok([0, 1].includes(go.status), go.stderr);
    return { ...JSON.parse(go.stdout), code: go.status };
}

test("both logs verify, by their own folder and by a key from elsewhere", async ({ installation, logs, exported }) => {
    assert.notEqual(logs.state.origin, logs.decisions.origin);
    for (const folder of [installation.data, exported]) {
        const verdict = await ours(folder);
        assert.equal(verdict.code, 0, JSON.stringify(verdict));
        assert.equal(verdict.sound, true);
        assert.deepEqual(verdict.logs.map(log => log.log).sort(), ["decisions", "state"]);
        for (const log of verdict.logs) {
            assert.equal(log.size, logs[log.log].integrated);
            assert.equal(log.vkey, logs[log.log].vkey);
        }
    }
    assert.ok(logs.decisions.integrated >= 2 * CALLS - CALLS / 5, "decisions and outcomes");
    figure("logs: entries (state, decisions)", `${logs.state.integrated}, ${logs.decisions.integrated}`);
    const given = await ours(exported, logs.decisions.vkey);
    assert.equal(given.code, 0);
    assert.deepEqual(given.logs.map(log => [log.log, log.key_from]), [["state", "folder"], ["decisions", "given"]]);
    const words = await installation.run(["log", "verify", "--data", exported, "--key", logs.decisions.vkey], { json: false });
    const told = words.stdout.split("\n").filter(line => line.startsWith("  by "));
    assert.ok(told[0].startsWith(`  by ${logs.state.vkey} (the folder's own key`), words.stdout);
    assert.equal(told[1], `  by ${logs.decisions.vkey} (the key given with --key)`);
    const strange = logs.decisions.vkey.replace(/.$/, last => (last === "A" ? "B" : "A"));
    assert.equal((await ours(exported, strange)).code, 7);
    assert.equal((await ours("/proc")).code, 7, "a folder without a log proves nothing");
});

test("the export opens every payload this operator may read, and only with its commitment", async ({ exported, logs }) => {
    const lines = readFileSync(join(exported, "decisions", "openings.jsonl"), "utf8").trim().split("\n").map(line => JSON.parse(line));
    assert.equal(lines.length, logs.decisions.integrated);
    assert.deepEqual(lines.map(line => line.index), lines.map((_, at) => at));
    const kinds = new Set(lines.map(line => Object.keys(JSON.parse(Buffer.from(line.payload, "base64"))).includes("outcome")));
    assert.deepEqual([...kinds].sort(), [false, true]);
    const states = readFileSync(join(exported, "state", "openings.jsonl"), "utf8").trim().split("\n");
    assert.equal(states.length, logs.state.integrated);
});

test("Go's sumdb verifies the exported logs", async ({ exported, logs }) => {
    for (const log of ["state", "decisions"]) {
        const verdict = foreign(["tiles", "--vkey", join(exported, log, "vkey"), "--from", "1", "--from", "2", join(exported, log)]);
        assert.equal(verdict.code, 0, JSON.stringify(verdict));
        assert.equal(verdict.ok, true);
        assert.equal(verdict.size, logs[log].integrated);
    }
});

test("proofs of state entries and decisions verify offline, with our code and with Go", async ({ installation, logs }) => {
    for (const [log, entries] of [["decisions", [0, 1, 255, 256, logs.decisions.integrated - 1]], ["state", [0, logs.state.integrated - 1]]]) {
        for (const entry of entries) {
            const file = join(installation.folder, `${log}-${entry}.tlog-proof`);
            await installation.cli(["log", "prove", String(entry), "--log", log, "-o", file]);
            const proven = await runBinary(["verify", file, "--key", logs[log].vkey, "--json"], { folder: "/" });
            assert.equal(proven.code, 0, proven.stdout);
            assert.equal(JSON.parse(proven.stdout).index, entry);
            const verdict = foreign(["proof", "--vkey", logs[log].vkey, file]);
            assert.equal(verdict.code, 0, JSON.stringify(verdict));
        }
    }
    await installation.refused(["log", "prove", "99999999"], 8);
    await installation.refused(["log", "prove", "dec_aaaaaaaaaaaaaaaaaaaaaaaaaa"], 8);
    await installation.refused(["log", "prove", "0", "--log", "nothing"], 8);
});

test("a corrupted proof is refused with exit code 7", async ({ installation, logs }) => {
    const file = join(installation.folder, "decisions-256.tlog-proof");
    const text = readFileSync(file, "utf8");
    const spoilt = join(installation.folder, "spoilt.tlog-proof");
    const cases = {
        "another index": text.replace(/^index \d+$/m, "index 257"),
        "a hash less": text.split("\n").filter((line, at, all) => at !== all.findIndex(each => /^[A-Za-z0-9+/]{43}=$/.test(each))).join("\n"),
        "no signature": text.replace(/^— .*$/m, ""),
        "cut short": text.slice(0, text.length / 2),
        "not a proof": "hello\n",
        "empty": ""
    };
    for (const [what, changed] of Object.entries(cases)) {
        assert.notEqual(changed, text, what);
        writeFileSync(spoilt, changed);
        const verdict = await runBinary(["verify", spoilt, "--key", logs.decisions.vkey, "--json"], { folder: "/" });
        assert.equal(verdict.code, 7, `${what}: ${verdict.stdout}`);
        assert.equal(JSON.parse(verdict.stdout).code, "proof.invalid");
    }
});

const BUNDLE = 256;

/** Path of an entry bundle of the log. */
function bundle(folder, number, size) {
    const name = String(number).padStart(3, "0");
    return join(folder, "tile/entries", (number + 1) * BUNDLE <= size ? name : `${name}.p/${size % BUNDLE}`);
}

/** The entries of a bundle. */
function entries(bytes) {
    const found = [];
    for (let at = 0; at < bytes.length; ) {
        const length = bytes.readUInt16BE(at);
        found.push(bytes.subarray(at, at + 2 + length));
        at += 2 + length;
    }
    return found;
}

/** A copy of the export with one fault in the entries, and where it is. */
function spoil(exported, size, kind) {
    const copy = `${exported}-${kind}`;
    cpSync(exported, copy, { recursive: true });
    const folder = join(copy, "decisions");
    const number = kind === "truncated" ? Math.floor((size - 1) / BUNDLE) : 1;
    const file = bundle(folder, number, size);
    const found = entries(readFileSync(file));
    const at = Math.min(7, found.length - 1);
    switch (kind) {
        case "flipped": {
            const changed = Buffer.from(found[at]);
            changed[20] ^= 1;
            found[at] = changed;
            break;
        }
        case "removed":
            found.splice(at, 1);
            break;
        case "swapped":
            [found[at], found[at + 1]] = [found[at + 1], found[at]];
            break;
        default:
            found[found.length - 1] = found.at(-1).subarray(0, found.at(-1).length - 5);
    }
    writeFileSync(file, Buffer.concat(found));
    const position = kind === "truncated" ? size - 1 : number * BUNDLE + at;
    return { copy, folder, position };
}

for (const kind of ["flipped", "removed", "swapped", "truncated"]) {
    test(`a ${kind} entry is named with its position, by us and by Go`, async ({ exported, logs }) => {
        const size = logs.decisions.integrated;
        const { copy, folder, position } = spoil(exported, size, kind);
        const verdict = await ours(copy);
        assert.equal(verdict.code, 7);
        assert.equal(verdict.sound, false);
        const findings = verdict.logs.find(log => log.log === "decisions").findings;
        assert.ok(findings.some(finding => new RegExp(`\\b${position}\\b`).test(finding)), `${position} is not named: ${findings.join("; ")}`);
        assert.deepEqual(verdict.logs.find(log => log.log === "state").findings, []);
        const other = foreign(["tiles", "--vkey", join(folder, "vkey"), folder]);
        assert.equal(other.code, 1);
        assert.equal(other.position, position, other.finding);
        rmSync(copy, { recursive: true });
    });
}

test("a log that lost its end, its tile or its checkpoint's signature is not sound", async ({ exported, logs }) => {
    const size = logs.decisions.integrated;
    const faults = {
        "the last bundle is gone": folder => rmSync(bundle(folder, Math.floor((size - 1) / BUNDLE), size)),
        "a hash tile is cut": folder => truncateSync(join(folder, "tile/0/000"), 100),
        "the checkpoint is of another log": folder => copyFileSync(join(folder, "../state/checkpoint"), join(folder, "checkpoint")),
        "the checkpoint claims more": folder => {
            const file = join(folder, "checkpoint");
            writeFileSync(file, readFileSync(file, "utf8").replace(`\n${size}\n`, `\n${size + 1}\n`));
        },
        "the checkpoint is gone": folder => rmSync(join(folder, "checkpoint"))
    };
    for (const [what, spoilt] of Object.entries(faults)) {
        const copy = `${exported}-fault`;
        cpSync(exported, copy, { recursive: true });
        spoilt(join(copy, "decisions"));
        const verdict = await ours(copy);
        assert.equal(verdict.code, 7, `${what}: ${JSON.stringify(verdict)}`);
        assert.notEqual(foreign(["tiles", "--vkey", logs.decisions.vkey, join(copy, "decisions")]).code, 0, what);
        rmSync(copy, { recursive: true });
    }
});

test("tiles hold leaves only: no name, argument or payload is in them", async ({ exported }) => {
    const words = ["worker", "echo", "read_text_file", "acme", "globex", "idn_", "tok_", "finance"];
    const read = folder => {
        for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
            if (entry.isFile() && entry.name !== "openings.jsonl" && entry.parentPath.includes("tile/entries")) {
                const text = readFileSync(join(entry.parentPath, entry.name), "latin1");
                for (const word of words) {
                    assert.ok(!text.includes(word), `\`${word}\` is in ${entry.parentPath}/${entry.name}`);
                }
            }
        }
    };
    read(join(exported, "decisions"));
    read(join(exported, "state"));
});
