// The witness outside the data folder, and witnesses of others, with the real
// binary: an old copy does not start, and a reader asks for k of n.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, lstatSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Desk } from "../lib/desk.mjs";
import { BINARY, environment, Installation, oneDocument, runBinary } from "../lib/installation.mjs";
import { skip, suite, test } from "../lib/lane.mjs";
import { callTool } from "../lib/mcp.mjs";
import { until } from "../lib/wait.mjs";

const GO = join(import.meta.dirname, "../../interop/go");

suite("witness", async () => {
    const desk = await Desk.open();
    const installation = await Installation.start("witness");
    await installation.addHttpServer("files", desk.url);
    await installation.addIdentity("worker");
    await installation.addIdentity("other");
    const children = [];
    return {
        desk,
        installation,
        children,
        stop: async () => {
            for (const child of children) {
                child.kill();
            }
            await installation.stop();
            await desk.close();
        }
    };
});

function copy(from, to) {
    rmSync(to, { recursive: true, force: true });
    cpSync(from, to, { recursive: true, filter: path => !lstatSync(path).isSocket() });
}

test("an older data folder is refused with its code, until it is accepted on record; then every token is dead", async ({ installation }) => {
    const { token } = await installation.openTask("other", ["files:echo"]);
    const { data, folder } = installation;
    const backup = join(folder, "backup");
    await installation.service.stop();
    copy(data, backup);
    await installation.serve();
    const killed = await installation.cli(["kill", "identity", "worker", "--reason", "leaked", "--yes"]);
    assert.ok(Number.isInteger(killed.contained_us), JSON.stringify(killed));
    const word = JSON.parse(readFileSync(`${data}.witness`, "utf8"));
    assert.ok(word.epoch >= killed.epoch, JSON.stringify(word));
    await installation.service.stop();
    copy(backup, data);
    const start = () => runBinary(["--json", "serve", "--data", data, "--listen", "127.0.0.1:0"], { folder });
    const old = await start();
    assert.equal(old.code, 1, old.stdout);
    assert.equal(oneDocument(old.stdout).code, "witness.older-folder", old.stdout);
    assert.match(old.stderr, /witness accept/);
    const accept = (...more) => runBinary(["--json", "witness", "accept", "--data", data, "--reason", "disk failed", ...more], { folder });
    const unsure = await accept();
    assert.equal(unsure.code, 2, unsure.stdout);
    const accepted = await accept("--yes");
    assert.equal(accepted.code, 0, accepted.stderr);
    assert.equal(oneDocument(accepted.stdout).accepted, true);
    const again = await accept("--yes");
    assert.equal(oneDocument(again.stdout).code, "witness.agrees");
    await installation.serve();
    const dead = await callTool(installation.endpoint("files"), token, "echo", { text: "x" });
    assert.equal(dead.status, 401, JSON.stringify(dead));
    const marks = await installation.cli(["kill", "ls"], { tenant: null });
    assert.ok(marks.items.some(mark => mark.scope === "all" && mark.effect === "suspend"), JSON.stringify(marks));
    await installation.cli(["resume", "all", "--reason", "looked"], { tenant: null });
    const witness = join(folder, "elsewhere.witness");
    const elsewhere = await runBinary(["--json", "serve", "--data", data, "--witness", witness, "--listen", "127.0.0.1:0"], { folder });
    assert.equal(elsewhere.code, 1, "the folder is in use");
    await installation.service.stop();
    const missing = await runBinary(["--json", "serve", "--data", data, "--witness", witness, "--listen", "127.0.0.1:0"], { folder });
    assert.equal(oneDocument(missing.stdout).code, "witness.missing", missing.stdout);
    assert.ok(!existsSync(witness));
    await installation.serve();
});

/** A witness in a process of its own: its URL and its key. */
async function witness({ installation, children }, name, logs) {
    const words = ["witness", "serve", "--name", name, "--folder", join(installation.folder, name.replace("/", "-")), "--listen", "127.0.0.1:0"];
    const child = spawn(BINARY, [...words, ...logs.flatMap(vkey => ["--log", vkey])], {
        env: environment(installation.folder),
        stdio: ["ignore", "ignore", "pipe"]
    });
    children.push(child);
    const said = [];
    for await (const line of createInterface({ input: child.stderr })) {
        said.push(line);
        const url = said.map(each => / is ready on (\S+)/.exec(each)?.[1]).find(Boolean);
        const vkey = said.map(each => /^key (\S+)/.exec(each)?.[1]).find(Boolean);
        if (url !== undefined && vkey !== undefined) {
            return { url, vkey };
        }
    }
    throw new Error(`no witness: ${said.join("\n")}`);
}

test("two witnesses cosign both logs; a reader demands two of three, and Go's sumdb agrees", async context => {
    const { installation } = context;
    const logs = await installation.integrated();
    const vkeys = [logs.state.vkey, logs.decisions.vkey];
    const places = [await witness(context, "witness.example/one", vkeys), await witness(context, "witness.example/two", vkeys)];
    const tables = places.map(({ url, vkey }) => `[[witness.cosigners]]\nurl = "${url}"\nvkey = "${vkey}"\nallow_addresses = ["127.0.0.0/8"]\ndanger_plaintext = true\n`);
    installation.configFile = join(installation.folder, "cosigned.toml");
    writeFileSync(installation.configFile, tables.join("\n"));
    await installation.restart();
    const stranger = await witness(context, "witness.example/three", vkeys);
    const asked = places.map(place => ["--witness", place.vkey]).flat();
    const verify = (folder, ...more) => runBinary(["--json", "log", "verify", "--data", folder, ...more], { folder: "/" });
    await until("both witnesses cosigned both logs", async () => (await verify(installation.data, ...asked)).code === 0);
    const exported = join(installation.folder, "witnessed");
    await installation.cli(["log", "export", exported, "--data", installation.data]);
    const enough = await verify(exported, ...asked, "--witness", stranger.vkey, "--quorum", "2");
    assert.equal(enough.code, 0, enough.stdout);
    const seen = oneDocument(enough.stdout).logs.map(log => log.witnessed.by.map(each => each.witness));
    assert.deepEqual(seen, Array(2).fill(["witness.example/one", "witness.example/two"]));
    const short = await verify(exported, ...asked, "--witness", stranger.vkey);
    assert.equal(short.code, 7, short.stdout);
    for (const log of ["state", "decisions"]) {
        const words = ["tiles", "--vkey", join(exported, log, "vkey"), ...asked, join(exported, log)];
        const go = spawnSync("go", ["-C", GO, "run", ".", ...words], { encoding: "utf8", env: { ...environment(process.env.HOME), GOFLAGS: "-mod=readonly" } });
        if (go.error?.code === "ENOENT") {
            skip("no `go` on the PATH");
        }
        assert.equal(go.status, 0, `${go.stdout} ${go.stderr}`);
    }
});
