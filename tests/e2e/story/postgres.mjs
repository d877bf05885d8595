// The same service on PostgreSQL: the engine is a line of the configuration,
// and nothing else of the story changes.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Desk } from "../lib/desk.mjs";
import { Installation, runBinary } from "../lib/installation.mjs";
import { figure, skip, suite, test } from "../lib/lane.mjs";
import { deadToken, permitted, refusedCall } from "../lib/mcp.mjs";

const SERVER = process.env.BAILIWICK_TEST_POSTGRES;
const DEBIAN = "/usr/lib/postgresql";

/** `psql`, on the path or where Debian keeps it. */
function psql() {
    const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).map(version => join(DEBIAN, version, "bin/psql")) : [];
    return ["psql", ...versions].find(program => spawnSync(program, ["--version"]).status === 0) ?? skip("no `psql` on the PATH");
}

/** Runs one statement as the role of the service. */
function statement(text) {
    const run = spawnSync(psql(), ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command", text, SERVER], { encoding: "utf8" });
    assert.equal(run.status, 0, run.stderr);
    return run.stdout.trim();
}

suite("postgres", async () => {
    if (SERVER === undefined) {
        skip("no PostgreSQL: BAILIWICK_TEST_POSTGRES is not set");
    }
    const schema = `story_${randomBytes(6).toString("hex")}`;
    statement(`CREATE SCHEMA ${schema}`);
    const desk = await Desk.open();
    const config = ({ folder }) => {
        const file = join(folder, "postgres-url");
        writeFileSync(file, `${SERVER}&options=-c%20search_path%3D${schema}\n`, { mode: 0o600 });
        return `[store]\nengine = "postgres"\nurl_file = "${file}"\n`;
    };
    const installation = await Installation.start("postgres", { config });
    await installation.addHttpServer("files", desk.url);
    return {
        schema,
        desk,
        installation,
        url: installation.endpoint("files"),
        stop: async () => {
            await installation.stop();
            await desk.close();
            statement(`DROP SCHEMA ${schema} CASCADE`);
        }
    };
});

test("the role has no superuser's rights and cannot pass by row security", () => {
    const rights = statement("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user");
    assert.equal(rights, "f|f");
    return Promise.resolve();
});

test("the story holds on PostgreSQL: register, open, call, refuse, kill, prove, count", async context => {
    const { installation, url, desk } = context;
    const agent = await installation.addIdentity("invoices");
    const task = await installation.openTask("invoices", ['files:read_text_file(path under "/srv/in")']);
    await permitted(url, task.token, "read_text_file", { path: "/srv/in/a" });
    const { decision_id: refusal } = await refusedCall(url, task.token, "read_text_file", { path: "/etc/passwd" }, "grant.argument-out-of-scope");
    const receipt = await installation.kill("identity", agent.id);
    figure("postgres: kill, denied / committed, µs", `${receipt.denied_us} / ${receipt.committed_us}`);
    await deadToken(url, task.token);
    assert.equal(desk.count("read_text_file"), 1);
    const { decisions } = await installation.integrated();
    const file = join(installation.folder, "proof");
    await installation.cli(["log", "prove", refusal, "-o", file]);
    assert.equal((await runBinary(["verify", file, "--key", decisions.vkey], { folder: "/" })).code, 0);
    const count = await installation.cli(["count", "--explain"]);
    assert.deepEqual([count.total, count.retired, count.explained.equal], [1, 1, true]);
    assert.equal((await installation.cli(["log", "verify"])).sound, true);
    context.token = task.token;
});

test("a restart on PostgreSQL comes back denied", async ({ installation, url, token }) => {
    const before = (await installation.api("GET", "/readyz")).body;
    await installation.service.stop("SIGKILL");
    await installation.serve();
    await deadToken(url, token);
    const after = (await installation.api("GET", "/readyz")).body;
    assert.ok(after.position >= before.position && after.epoch >= before.epoch);
    assert.equal((await installation.cli(["id", "get", "invoices"])).state, "retired");
});

test("no secret and no payload stands in the rows in clear", ({ schema }) => {
    const tables = statement(`SELECT tablename FROM pg_tables WHERE schemaname = '${schema}'`).split("\n");
    assert.ok(tables.length > 5);
    for (const table of tables) {
        const rows = statement(`SELECT row_to_json(t)::text FROM ${schema}.${table} t`);
        assert.ok(!rows.includes("eyJ"), `${table} holds a token`);
        assert.ok(!/PRIVATE KEY/.test(rows), `${table} holds a key`);
    }
    return Promise.resolve();
});

test("a URL file that others may read, and a database that is not there, stop the start with the fix", async ({ installation }) => {
    const file = join(installation.folder, "open-url");
    const config = join(installation.folder, "open.toml");
    writeFileSync(config, `[store]\nengine = "postgres"\nurl_file = "${file}"\n`);
    const start = () => runBinary(["--json", "serve", "--config", config, "--data", join(installation.folder, "other"), "--listen", "127.0.0.1:0"], { folder: installation.folder });
    writeFileSync(file, `${SERVER}\n`);
    chmodSync(file, 0o644);
    const open = await start();
    assert.equal(open.code, 1);
    assert.ok(open.stderr.includes(`chmod 600 ${file}`), open.stderr);
    writeFileSync(file, "postgresql://nobody:canary-password-41@127.0.0.1:9/none\n");
    chmodSync(file, 0o600);
    const gone = await start();
    assert.equal(gone.code, 1);
    assert.match(gone.stderr, /connect|refused|reach/i);
    assert.ok(!`${gone.stdout}${gone.stderr}`.includes("canary-password-41"), "the password is in a message");
});
