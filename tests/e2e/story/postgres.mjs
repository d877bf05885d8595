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
import { forms } from "../lib/scan.mjs";

const SERVER = process.env.BAILIWICK_TEST_POSTGRES;
const DEBIAN = "/usr/lib/postgresql";
/** An argument that nothing else says. */
const ARGUMENT = "/srv/in/canary-argument-77c1e0";

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
    const secret = `upstream-${randomBytes(12).toString("hex")}`;
    const credentialFile = join(installation.folder, "upstream-credential");
    writeFileSync(credentialFile, `${secret}\n`, { mode: 0o600 });
    await installation.addHttpServer("files", desk.url, { credentialFile });
    return {
        schema,
        desk,
        installation,
        secret,
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
    await permitted(url, task.token, "read_text_file", { path: ARGUMENT });
    assert.equal(desk.calls.at(-1).headers.authorization, `Bearer ${context.secret}`);
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

test("no secret and no payload stands in the rows in clear", ({ schema, secret, token }) => {
    // Row security shows no row to who names no tenant. Columns of bytes are shown as hexadecimal digits, so what
    // is looked for is known by its forms.
    const all = text => statement(`SET bailiwick.tenant = '*'; ${text}`);
    const dump = () => {
        const tables = statement(`SELECT tablename FROM pg_tables WHERE schemaname = '${schema}'`).split("\n");
        assert.ok(tables.length > 5);
        return tables.map(table => [table, all(`SELECT row_to_json(t)::text FROM ${schema}.${table} t`)]);
    };
    const holding = (rows, text) => rows.filter(([, row]) => forms(text).some(form => row.includes(form.toString("latin1")))).map(([table]) => table);
    const rows = dump();
    const pem = "PRIVATE KEY";
    for (const [what, text] of [["the token", token], ["its signature", token.split(".")[2]], ["the upstream's secret", secret], ["an argument", ARGUMENT], ["a key", pem]]) {
        assert.deepEqual(holding(rows, text), [], what);
    }
    // The search finds what does stand there: a name in a column of text, and bytes by their digits.
    assert.ok(holding(rows, "invoices").includes("identity"), "a name is found in its column of text");
    const leaf = all(`SELECT convert_from(leaf, 'UTF8') FROM ${schema}.log_entry ORDER BY log_index LIMIT 1`);
    assert.ok(holding(rows, leaf).includes("log_entry"), "a leaf is found in its column of bytes");
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
