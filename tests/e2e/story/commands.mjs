// The command line: exactly one JSON document from every command, stable exit
// codes, help, completions, configuration.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openPage } from "../lib/consent.mjs";
import { Desk } from "../lib/desk.mjs";
import { BINARY, environment, Installation, oneDocument, runBinary, temporary } from "../lib/installation.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { until } from "../lib/wait.mjs";

const ANSWERABLE = ["--owner", "finance", "--owner-contact", "f@acme.example", "--purpose", "p", "--expires", "30d"];

suite("commands", async () => {
    const desk = await Desk.open();
    const installation = await Installation.start("commands");
    return {
        desk,
        installation,
        stop: async () => {
            await installation.stop();
            await desk.close();
        }
    };
});

/** Names of all commands, from the tree that the binary prints of itself. */
function leaves(node, above = []) {
    const path = node.name === "bailiwick" ? above : [...above, node.name];
    const below = node.commands ?? node.subcommands ?? [];
    return below.length === 0 ? [path.join(" ")] : below.flatMap(each => leaves(each, path));
}

test("every command gives exactly one JSON document, and one for its failure", async context => {
    const { installation, desk } = context;
    const file = name => join(installation.folder, name);
    writeFileSync(file("ok.cedar"), 'permit (principal is user, action == Action::"read", resource is record);\n');
    const ran = new Set();
    const works = async (words, more) => {
        const result = await installation.run(words, more);
        assert.equal(result.code, 0, `${words.join(" ")}: ${result.stderr}`);
        ran.add(words.slice(0, 2).join(" ")).add(words[0]);
        return result.json;
    };
    await works(["tenant", "add", "globex", "--name", "G", "--employees", "1"], { tenant: null });
    await works(["tenant", "ls"], { tenant: null });
    await works(["id", "add", "worker", "--kind", "agent", ...ANSWERABLE]);
    await works(["id", "compose", "worker", "--model", "claimant-3", "--prompt", file("ok.cedar"), "--code", file("ok.cedar")]);
    await works(["id", "activate", "worker"]);
    await works(["id", "suspend", "worker", "--reason", "r"]);
    await works(["id", "resume", "worker"]);
    await works(["id", "get", "worker"]);
    await works(["id", "ls"]);
    const keyed = await works(["client", "add", "worker", "--generate", file("client.jwk")]);
    await works(["client", "ls"]);
    await works(["client", "remove", keyed.client_id, "--reason", "r"]);
    await works(["server", "add", "files", "--url", desk.url, "--allow-plaintext", "--allow-address", "127.0.0.0/8", ...ANSWERABLE]);
    await works(["server", "ls"]);
    await works(["server", "show", "files"]);
    desk.tools.push({ name: "extra", description: "new", inputSchema: { type: "object" } });
    await works(["server", "pin", "files"]);
    await works(["server", "reads", "files", "--tool", "echo"]);
    const { context: own } = installation;
    const asSecond = async words => {
        installation.context = file("second.json");
        const done = await works(words, { tenant: null });
        installation.context = own;
        return done;
    };
    const prepared = await asSecond(["operator", "prepare", "--server", installation.url]);
    const grace = await works(["operator", "add", "--name", "grace", "--public-key", prepared.public_key], { tenant: null });
    await asSecond(["operator", "accept", grace.id]);
    await works(["operator", "ls"], { tenant: null });
    const opened = await works(["task", "open", "--identity", "worker", "--purpose", "p", "--can", "files:*"]);
    assert.match(opened.token.access_token, /^ey/);
    await works(["task", "ls"]);
    await works(["task", "show", opened.task.id]);
    await works(["task", "token", opened.task.id]);
    const written = await works(["task", "token", opened.task.id, "--token-file", file("renewed")]);
    assert.ok(!JSON.stringify(written).includes(readFileSync(file("renewed"), "utf8")));
    const permit = await installation.run(["check", "worker", "tools/call", "files:echo", "--task", opened.task.id]);
    assert.equal(permit.code, 0);
    assert.equal(permit.json.effect, "permit");
    ran.add("check");
    writeFileSync(file("key"), "canary-9d21");
    await works(["credential", "add", "mailer", "--kind", "api-key", "--identity", "worker", "--secret-file", file("key")]);
    await works(["credential", "ls"]);
    await works(["credential", "show", "mailer"]);
    await works(["credential", "schedule"]);
    await works(["credential", "fetch", "mailer", "--secret-file", file("fetched")]);
    await works(["credential", "replace", "mailer", "--secret-file", file("fetched")]);
    await works(["credential", "correct", "mailer", "--every", "7d", "--reason", "r"]);
    await works(["credential", "add", "spare", "--kind", "generic", "--identity", "worker", "--secret-file", file("key")]);
    await works(["credential", "remove", "spare", "--reason", "r"]);
    await works(["server", "credential", "files", "--credential-file", file("key")]);
    for (const leaf of ["rotate", "rotation", "revoke", "lease", "give-back"]) {
        ran.add(`credential ${leaf}`); // shown with a real database in this lane
    }
    const trusted = await works(["trust", "add", "worker", "--method", "github", "--match", "repository_id=456789", "--match", "repository_owner_id=123456"]);
    await works(["trust", "ls"]);
    await works(["trust", "lint"]);
    await works(["trust", "remove", trusted.id, "--reason", "r"]);
    await works(["keys", "status"]);
    await works(["keys", "rotate", "--now", "--reason", "r"], { tenant: "globex" });
    await works(["keys", "ceremony", "--data", file("made"), "--unseal-file", file("made.key")], { tenant: null });
    const notebook = await works(["consent", "client", "add", "Notebook", "--redirect", "http://127.0.0.1/cb"]);
    const asks = new URLSearchParams({
        response_type: "code",
        client_id: notebook.client_id,
        redirect_uri: "http://127.0.0.1/cb",
        code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        code_challenge_method: "S256"
    });
    const link = `${installation.url}/t/acme/authorize?${asks}`;
    const [agreed, refused] = [await openPage(link), await openPage(link)];
    await works(["consent", "ls"]);
    await works(["consent", "show", agreed.code]);
    await works(["consent", "allow", agreed.code, "--identity", "worker", "--can", "files:*"]);
    await works(["consent", "refuse", refused.code, "--reason", "r"]);
    await works(["consent", "client", "ls"]);
    await works(["consent", "client", "remove", notebook.client_id, "--reason", "r"]);
    const told = await works(["signal", "webhook", "add", `${desk.url}/told`, "--danger-plaintext", "--allow-address", "127.0.0.0/8"]);
    assert.match(told.secret, /^whsec_/);
    const rotated = await works(["signal", "webhook", "rotate", told.id, "--overlap", "1h", "--secret-file", file("told")]);
    assert.match(readFileSync(file("told"), "utf8"), /^whsec_.+\n$/);
    assert.equal(rotated.secret, undefined, "it is in the file alone");
    await works(["signal", "ls"]);
    await works(["signal", "pause", told.id, "--reason", "r"]);
    await works(["signal", "disable", told.id, "--reason", "r"]);
    await works(["signal", "enable", told.id]);
    await works(["signal", "remove", told.id, "--reason", "r"]);
    const theirs = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ format: "jwk" });
    writeFileSync(file("theirs.json"), JSON.stringify({ keys: [{ ...theirs, kid: "k1", alg: "ES256", use: "sig" }] }));
    const teller = await works(["signal", "transmitter", "add", "https://idp.acme.example", "--jwks", file("theirs.json")]);
    await works(["signal", "transmitter", "ls"]);
    await works(["signal", "transmitter", "remove", teller.id, "--reason", "r"]);
    for (const leaf of ["ls", "invite", "join", "drain", "undrain", "fence", "readmit"]) {
        ran.add(`node ${leaf}`); // shown with several nodes in a lane of their own
    }
    for (const leaf of ["ls", "invite", "rm", "join", "run"]) {
        ran.add(`sidecar ${leaf}`); // shown in suites of their own
    }
    await works(["policy", "lint", file("ok.cedar")]);
    await works(["policy", "set", file("ok.cedar")]);
    await works(["policy", "get"]);
    await works(["policy", "schema"]);
    await works(["count", "--explain"]);
    await works(["suspend", "task", opened.task.id]);
    await works(["resume", "task", opened.task.id]);
    await works(["kill", "task", opened.task.id, "--dry-run"]);
    const second = await works(["task", "open", "--identity", "worker", "--purpose", "p", "--can", "files:*", "--no-token"]);
    await works(["task", "close", second.task.id]);
    await works(["kill", "task", opened.task.id, "--yes"]);
    await installation.integrated();
    await works(["log", "ls"]);
    await works(["log", "tail", "-n", "3"]);
    await works(["log", "verify"]);
    await works(["log", "prune", "decisions", "--keep", "1d", "--reason", "kept for long enough", "--dry-run"]);
    await works(["log", "export", file("export"), "--openings"]);
    await works(["log", "prove", "0", "-o", file("proof")]);
    await works(["backup", "--out", file("backup")]);
    await works(["restore", "--from", file("backup"), "--data", file("restored")], { tenant: null });
    await works(["evidence", "pack", "--out", file("pack")]);
    await works(["id", "retire", "worker", "--reason", "r"]);
    const logs = await installation.integrated();
    await works(["verify", file("proof"), "--key", logs.decisions.vkey], { tenant: null });
    await works(["token", "inspect", file("renewed")], { tenant: null });
    await works(["config", "check"], { tenant: null });
    await works(["config", "show", "--effective", "--origin"], { tenant: null });
    writeFileSync(file("users.json"), '{"members": []}');
    await works(["scan", "slack", "--export", file("users.json"), "--dry-run"], { tenant: null });
    await works(["doctor", "--data", installation.data], { tenant: null });
    await works(["version"], { tenant: null });
    await works(["codes"], { tenant: null });
    const tree = await works(["help"], { tenant: null });
    ran.add("run").add("claim").add("serve").add("demo").add("dev").add("completions"); // shown elsewhere in this lane
    ran.add("witness accept").add("witness serve"); // so too
    const hidden = ["launcher", "builtin-mcp"];
    const missed = leaves(tree).filter(path => path !== "" && !ran.has(path.split(" ").slice(0, 2).join(" ")) && !hidden.includes(path));
    assert.deepEqual(missed, [], "commands that no test runs with --json");
});

test("a service starts once on what a ceremony made, with its keys, and on nothing that only looks like it", async ({ installation }) => {
    const place = temporary("ceremony");
    const [data, unseal, config] = ["data", "unseal.key", "config.toml"].map(name => join(place, name));
    const made = await installation.cli(["keys", "ceremony", "--data", data, "--unseal-file", unseal, "--with-tenant", "acme"], { tenant: null });
    writeFileSync(config, "[keys]\nunseal_file = \"/no/such/key\"\n");
    const early = await runBinary(["serve", "--data", data, "--config", config, "--listen", "127.0.0.1:0"], { folder: place });
    assert.equal(early.code, 1, "the unseal key is not there");
    const begun = await Installation.start("ceremony", { data, config: `[keys]\nunseal_file = "${unseal}"\n` });
    const { items } = await begun.cli(["keys", "status"]);
    assert.deepEqual(made.tenants, [["acme", items.find(({ state }) => state === "active").kid]]);
    await begun.restart();
    await begun.service.stop();
    for (const [name, kept] of [["keys", ["keys"]], ["journal", ["keys", "kill.journal"]], ["logs", ["keys", "log"]], ["store", ["keys", "state.db"]]]) {
        const rest = join(place, name);
        mkdirSync(rest, { mode: 0o700 });
        kept.forEach(part => execFileSync("cp", ["-a", join(data, part), join(rest, part)]));
        const words = ["serve", "--data", rest, "--config", begun.configFile, "--listen", "127.0.0.1:0"];
        const refused = await runBinary(words, { folder: place });
        assert.equal(refused.code, 1, `${name}: ${refused.stderr}`);
        assert.match(refused.stderr, name === "journal" ? /state\.db` is missing/ : /kill\.journal` is missing/);
    }
    await begun.stop();
    rmSync(place, { recursive: true });
});

test("the exit codes are those of the help text", async ({ installation }) => {
    const help = await runBinary(["--help"], { folder: installation.folder });
    assert.match(help.stdout.replace(/\s+/g, " "), /0 ok, 1 error, 2 usage, 3 incomplete or stale, 4 denied, 5 approval needed/);
    const proof = join(installation.folder, "proof");
    const logs = await installation.integrated();
    await installation.addIdentity("table");
    const table = [
        [0, ["tenant", "ls"]],
        [1, ["id", "activate", "table"]],
        [2, ["id", "add", "x", "--kind", "agent"]],
        [2, ["id", "add"]],
        [2, ["no-such-command"]],
        [2, ["task", "open", "--identity", "table", "--purpose", "p", "--for", "soon"]],
        [2, ["kill", "identity", "table"]],
        [4, ["check", "table", "tools/call", "files:echo"]],
        [7, ["verify", proof, "--key", logs.state.vkey]],
        [7, ["log", "verify", "--data", "/proc"]],
        [8, ["id", "get", "nobody"]]
    ];
    for (const [code, words] of table) {
        const result = await installation.run(words, { json: false });
        assert.equal(result.code, code, `${words.join(" ")}: ${result.stderr}`);
        if (code !== 0 && code !== 4) {
            assert.equal(result.stdout, "", `${words.join(" ")} printed on standard output`);
            assert.match(result.stderr, /error/);
        }
    }
});

test("a permit that asks for a person is exit code 5", async ({ installation }) => {
    const file = join(installation.folder, "hold.cedar");
    writeFileSync(
        file,
        '@id("ask")\n@hold("somebody has to say yes")\npermit (principal is Identity, action == Action::"tools/call", resource == Tool::"files/echo");\n'
    );
    await installation.cli(["policy", "set", file]);
    const held = await installation.run(["check", "table", "tools/call", "files:echo"]);
    assert.equal(held.code, 5, held.stdout);
    assert.equal(held.json.effect, "hold");
});

test("a failure is JSON on standard output in JSON mode, and one line with the next step otherwise", async ({ installation }) => {
    const json = await installation.run(["id", "get", "tabel"]);
    assert.deepEqual(Object.keys(json.json).sort(), ["code", "docs", "hint", "message"]);
    assert.match(json.stderr, /^error: /);
    const plain = await installation.run(["id", "get", "tabel"], { json: false });
    assert.match(plain.stderr, /next: did you mean `table`\?/);
    const usage = await installation.run(["id", "actvate", "table"], { json: false });
    assert.match(usage.stderr, /did you mean `bailiwick id activate`\? known here: add, ls, get, compose/, "a mistyped command is suggested");
    assert.equal(usage.code, 2);
});

test("usage errors are one JSON document too", async ({ installation }) => {
    const wrong = await installation.run(["id", "add"]);
    assert.equal(wrong.code, 2);
    assert.equal(wrong.json.code, "cli.usage");
});

test("no colour and no escape codes where the output is no terminal", async ({ installation }) => {
    for (const words of [["id", "ls"], ["count", "--explain"], ["log", "ls"], ["server", "ls"]]) {
        const result = await installation.run(words, { json: false });
        assert.equal(result.code, 0);
        assert.ok(!result.stdout.includes("\u001b"));
        assert.ok(result.stdout.length > 0);
    }
    const forced = await installation.run(["--color", "always", "id", "get", "table"], { json: false, env: { NO_COLOR: "" } });
    assert.ok(forced.stdout.includes("\u001b[1m"));
});

test("the service that is not there is exit code 69, a context that is not there is usage", async ({ installation }) => {
    const context = JSON.parse(readFileSync(installation.context, "utf8"));
    const file = join(installation.folder, "nowhere.json");
    writeFileSync(file, JSON.stringify({ ...context, server: "http://127.0.0.1:9" }), { mode: 0o600 });
    const result = await runBinary(["--json", "--context", file, "tenant", "ls"], { folder: installation.folder });
    assert.equal(result.code, 69);
    assert.equal(oneDocument(result.stdout).code, "cli.unreachable");
    const absent = await runBinary(["--json", "--context", join(installation.folder, "absent.json"), "tenant", "ls"], { folder: installation.folder });
    assert.equal(absent.code, 2);
    assert.equal(oneDocument(absent.stdout).code, "cli.no-context");
    assert.match(oneDocument(absent.stdout).hint, /claim/);
});

test("completions are written for every shell", async ({ installation }) => {
    for (const shell of ["bash", "zsh", "fish", "powershell", "elvish"]) {
        const result = await runBinary(["completions", shell], { folder: installation.folder });
        assert.equal(result.code, 0);
        assert.match(result.stdout, /bailiwick/);
        assert.match(result.stdout, /break-glass/);
        const document = await runBinary(["completions", shell, "--json"], { folder: installation.folder });
        assert.equal(oneDocument(document.stdout).shell, shell);
        assert.equal(oneDocument(document.stdout).script.trimEnd(), result.stdout.trimEnd());
    }
});

test("the name alone prints a first screen with five examples and no hidden command", async ({ installation }) => {
    const screen = await runBinary([], { folder: installation.folder });
    assert.equal(screen.code, 0, screen.stderr);
    assert.equal(screen.stderr, "");
    assert.equal([...screen.stdout.matchAll(/^ {2}bailiwick /gm)].length, 5, screen.stdout);
    assert.doesNotMatch(screen.stdout, /launcher|builtin-mcp/);
    const tree = await runBinary(["--json"], { folder: installation.folder });
    assert.equal(oneDocument(tree.stdout).name, "bailiwick");
});

test("what was left out or misspelled is a usage error", async ({ installation }) => {
    const add = ["id", "add", "late", "--kind", "agent", "--owner", "o", "--owner-contact", "c", "--purpose", "p"];
    await installation.refused(add, 2, "identity.expiry-missing");
    await installation.refused([...add, "--expires", "soon"], 2, "cli.usage");
    await installation.refused(["count", "--at", "soon"], 2, "count.at");
    await installation.refused(["id", "frobnicate"], 2, "cli.usage");
});

test("the count shows each tenant, the split of its states, and what is before the first entry", async ({ installation }) => {
    await installation.addTenant("counted");
    await installation.addIdentity("new", { activate: false, tenant: "counted" });
    await installation.addIdentity("old", { tenant: "counted" });
    const all = await installation.cli(["count", "--all-tenants"], { tenant: null });
    const line = all.tenants.find(each => each.tenant === "counted");
    assert.deepEqual([line.total, line.states.active, line.states.probation, line.employees], [2, 1, 1, 120]);
    assert.equal(all.tenants.reduce((sum, each) => sum + each.total, 0), all.total);
    const words = await installation.run(["count", "--tenant", "counted"], { json: false, tenant: null });
    assert.match(words.stdout, /^2 machine identities in service in counted/);
    assert.match(words.stdout, /active 1, in probation 1; past their expiry, so that calls are denied: 0/);
    const first = await installation.cli(["count", "--at", "2020-01-01T00:00:00Z"]);
    assert.deepEqual([first.position, first.as_of, first.total], [0, null, 0]);
    const before = await installation.run(["count", "--at", "2020-01-01T00:00:00Z"], { json: false });
    assert.match(before.stdout, /at log position 0, before the first entry/);
});

test("configuration: flag over environment over file over default, and each tells its origin", async ({ installation }) => {
    const config = join(installation.folder, "precedence.toml");
    writeFileSync(config, 'node = "from-file"\n[tokens]\nttl_secs = 60\n[listen]\naddress = "127.0.0.1:1"\n');
    const env = { BAILIWICK_TOKENS__TTL_SECS: "90", BAILIWICK_LISTEN__ADDRESS: "127.0.0.1:2" };
    const shown = await runBinary(["--json", "config", "show", "--config", config, "--listen", "127.0.0.1:3", "--origin"], { folder: installation.folder, env });
    assert.equal(shown.code, 0, shown.stderr);
    const rows = Object.fromEntries(oneDocument(shown.stdout).items.map(row => [row.key, row]));
    assert.deepEqual([rows.node.value, rows.node.origin.endsWith("precedence.toml")], ["from-file", true]);
    assert.deepEqual([rows["tokens.ttl_secs"].value, rows["tokens.ttl_secs"].origin], [90, "environment"]);
    assert.deepEqual([rows["listen.address"].value, rows["listen.address"].origin], ["127.0.0.1:3", "flag"]);
    assert.equal(rows["log.queue_max"].origin, "default");
    const covered = { BAILIWICK_TELEMETRY__OTLP_ENDPOINT: "http://collector:canary@127.0.0.1:4318" };
    const effective = await runBinary(["config", "show", "--effective"], { folder: installation.folder, env: covered });
    assert.match(effective.stdout, /^telemetry\.otlp_endpoint = "http:\/\/\*\*\*@127\.0\.0\.1:4318"$/m);
    assert.ok(!effective.stdout.includes("canary"));
});

test("an unknown key of the configuration stops the start with its name", async ({ installation }) => {
    const config = join(installation.folder, "unknown.toml");
    const cases = [
        ["colour = \"red\"\n", {}, /colour/],
        ["[tokens]\nttl_sec = 60\n", {}, /ttl_sec/],
        ["[tokens]\nttl_secs = \"long\"\n", {}, /ttl_secs/],
        ["[tokens]\nttl_secs = 0\n", {}, /tokens\.ttl_secs.*1 to 3600/],
        ["[store]\nengine = \"oracle\"\n", {}, /store\.engine.*sqlite.*postgres/],
        ["[store]\nengine = \"postgres\"\n", {}, /store\.url_file/],
        ["", { BAILIWICK_TOKENS__TLT_SECS: "1" }, /tlt_secs/i],
        ["[listen]\naddress = \"0.0.0.0:0\"\n", {}, /insecure-listen/],
        ["[listen]\naddress = \"nowhere\"\n", {}, /listen\.address/],
        ["node = [\n", {}, /unknown\.toml|line|expected/]
    ];
    for (const [text, env, message] of cases) {
        writeFileSync(config, text);
        for (const command of [["config", "check"], ["serve"]]) {
            const data = join(installation.folder, "never");
            const result = await runBinary(["--json", ...command, "--config", config, "--data", data], { folder: installation.folder, env });
            assert.equal(result.code, 1, `${text}${JSON.stringify(env)} ${command}: ${result.stdout}`);
            assert.match(oneDocument(result.stdout).message, message);
        }
    }
    const missing = await runBinary(["config", "check", "--config", "/nonexistent.toml"], { folder: installation.folder });
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /nonexistent\.toml/);
});

test("a slip in a key of the configuration is told with the nearest key, a key file that others may read with its chmod", async ({ installation }) => {
    const config = join(installation.folder, "slip.toml");
    const check = async text => {
        writeFileSync(config, text);
        const result = await runBinary(["--json", "config", "check", "--config", config, "--data", installation.data], { folder: installation.folder });
        return { code: result.code, message: oneDocument(result.stdout).message };
    };
    const slip = await check("[tokens]\nttl_sec = 60\n");
    assert.equal(slip.code, 1);
    assert.match(slip.message, /did you mean `ttl_secs`\?.*slip\.toml/);
    const secret = join(installation.folder, "secret.key");
    writeFileSync(secret, "x", { mode: 0o600 });
    const text = `[keys]\nunseal_file = ${JSON.stringify(secret)}\n`;
    assert.equal((await check(text)).code, 0);
    chmodSync(secret, 0o644);
    const open = await check(text);
    assert.equal(open.code, 1);
    assert.ok(open.message.includes("keys.unseal_file") && open.message.includes(`chmod 600 ${secret}`), open.message);
});

test("the end of a log is shown in columns with their names", async ({ installation }) => {
    const shown = await installation.run(["log", "tail", "--log", "state", "-n", "5"], { json: false });
    assert.equal(shown.code, 0, shown.stderr);
    const [head, ...rows] = shown.stdout.trimEnd().split("\n");
    assert.match(head, /^INDEX +TIME +KIND +WHAT +WHO +REASON$/);
    assert.equal(rows.length, 5);
    const at = ["INDEX", "TIME", "KIND", "WHAT", "WHO", "REASON"].map(name => head.indexOf(name));
    for (const row of rows) {
        for (const column of at.slice(1)) {
            assert.match(row.slice(column - 1, column + 1), /^ \S$/, `a column begins at ${column}: ${row}`);
        }
        assert.match(row.slice(at[1]), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ /, "a time has no digits that nobody reads");
        assert.doesNotMatch(row, /[{}"]/, "a line is no document");
    }
    const decisions = await installation.run(["log", "tail", "-n", "5"], { json: false });
    assert.equal(decisions.code, 0, decisions.stderr);
    assert.match(decisions.stdout, /^INDEX +TIME +KIND +ANSWER +WHAT +WHO\n|^no entries in the log `decisions`\n/);
});

test("the end of a log is that of the tenant, and without one it says whose each entry is", async ({ installation }) => {
    await installation.addTenant("tail-other");
    await installation.addIdentity("elsewhere", { tenant: "tail-other" });
    const tail = async (words, tenant) => (await installation.cli(["log", "tail", "--log", "state", "-n", "500", ...words], { tenant })).items;
    const own = await tail([], "tail-other");
    assert.ok(own.length > 1 && own.every(entry => entry.tenant === "tail-other"), JSON.stringify(own));
    assert.deepEqual(await tail(["--before", String(own[1].index)], "tail-other"), own.slice(0, 1));
    const all = await tail([], null);
    const whose = new Set(all.map(entry => entry.tenant));
    assert.ok([undefined, "acme", "tail-other"].every(tenant => whose.has(tenant)), [...whose].join());
    const paper = await installation.run(["log", "tail", "--log", "state", "-n", "500", "--all-tenants"], { json: false });
    assert.match(paper.stdout, /^INDEX +TENANT +TIME +KIND +WHAT +WHO +REASON\n/);
    assert.match(paper.stdout, /\n\d+ +tail-other +2/);
    assert.match(paper.stdout, /\n\d+ +\(installation\) +2/);
    assert.equal((await installation.run(["log", "tail"], { tenant: "nobody" })).code, 8);
});

test("a command that is not there is told with the nearest one and with those that are", async ({ installation }) => {
    const said = async words => {
        const result = await runBinary(words, { folder: installation.folder });
        assert.equal(result.code, 2, result.stdout);
        return result.stderr;
    };
    assert.match(await said(["-t", "task", "trust", "lst"]), /`bailiwick trust` has no command `lst`[\s\S]*did you mean `bailiwick trust ls`\? known here: add, ls, lint, remove/);
    assert.match(await said(["frobnicate"]), /`bailiwick` has no command `frobnicate`[\s\S]*next: known here: demo, dev, run, serve/);
    const result = await runBinary(["--json", "consent", "client", "frobnicate"], { folder: installation.folder });
    assert.equal(result.code, 2);
    assert.match(oneDocument(result.stdout).hint, /^known here: add, ls, remove$/);
    const unsealed = await runBinary(["keys", "ceremony", "--data", join(installation.folder, "unsealed")], { folder: installation.folder });
    assert.equal(unsealed.code, 2);
    assert.match(unsealed.stderr, /--unseal-file FILE.*--passphrase-file FILE/);
    assert.ok(!existsSync(join(installation.folder, "unsealed")));
});

/** Runs a command on a terminal of 120 columns, as `script` of util-linux makes one. */
function terminal(folder) {
    const file = join(folder, "on-terminal");
    writeFileSync(file, '#!/bin/sh\nexec script -qec "stty cols 120; exec $*" /dev/null\n', { mode: 0o755 });
    return [file];
}

test("lists name identities, fit a line of 120 columns, and say what to do in an empty tenant", async ({ installation }) => {
    const listed = async (words, tenant = "acme") => (await installation.run(words, { json: false, tenant })).stdout.trimEnd();
    const { id } = await installation.addIdentity("a-name-for-people");
    const purpose = "a purpose that is told at some length, so that nobody has to ask what it was that this work was for ".repeat(2).trim();
    const scope = ["--can", 'files:read_text_file(path under "/srv/in")', "--no-token"];
    const { task } = await installation.cli(["task", "open", "--identity", id, "--purpose", purpose, ...scope]);
    await installation.cli(["trust", "add", id, "--method", "github", "--match", "repository_id=987654321", "--match", "repository_owner_id=123456"]);
    await installation.cli(["suspend", "identity", id, "--reason", purpose]);
    await installation.cli(["suspend", "task", task.id, "--reason", purpose]);
    const onTerminal = async words => (await installation.run(words, { json: false, wrapper: terminal(installation.folder) })).stdout.trimEnd();
    for (const words of [["id", "ls"], ["task", "ls"], ["trust", "ls"], ["client", "ls"], ["consent", "ls"], ["kill", "ls"], ["credential", "ls"]]) {
        const text = await onTerminal(words);
        const wide = text.split(/\r?\n/).filter(line => line.length > 120);
        assert.deepEqual(wide, [], words.join(" "));
        assert.ok(words[0] === "id" || !text.includes(id), `${words.join(" ")} has a name for it: ${text}`);
        // What reads a pipe gets every word.
        assert.ok(!(await listed(words)).includes("…"), words.join(" "));
    }
    assert.match(await onTerminal(["task", "ls"]), new RegExp(`${task.id} +a-name-for-people +suspended.* +\\S+Z +a purpose.*…`));
    const kills = await listed(["kill", "ls"]);
    assert.match(kills, /frozen +identity a-name-for-people +refuses every call until a resume +\S+Z +\d+ +ada +a purpose/);
    assert.ok(kills.includes(`task ${task.id}`), kills);
    await installation.cli(["resume", "identity", id]);
    const long = await installation.refused(["task", "open", "--identity", id, "--purpose", "p", "--for", "30d", ...scope], 1, "task.window-too-long");
    assert.match(long.message, /open for 30d.*`--for \d+[dh]`/);
    await installation.addTenant("empty-handed");
    for (const noun of ["id", "task", "client", "trust", "consent", "server", "credential", "signal"]) {
        assert.match(await listed([noun, "ls"], "empty-handed"), new RegExp(`bailiwick -t empty-handed ${noun} `));
    }
});

test("dev gives an empty installation on loopback and takes it away", async ({ installation }) => {
    const wide = await runBinary(["dev", "--listen", "0.0.0.0:0"], { folder: installation.folder });
    assert.equal(wide.code, 2, wide.stderr);
    const child = spawn(BINARY, ["dev", "--listen", "127.0.0.1:0", "--with-tenant", "lab"], {
        cwd: installation.folder,
        env: environment(installation.folder),
        stdio: ["ignore", "pipe", "pipe"]
    });
    let text = "";
    child.stderr.on("data", chunk => (text += chunk));
    child.stdout.on("data", chunk => (text += chunk));
    const ended = new Promise(done => child.on("close", code => done(code)));
    await until("dev to be ready", () => /mcpServers/.test(text), 30_000);
    assert.match(text, /ready on http:\/\/127\.0\.0\.1:\d+ \(tenant lab\)/);
    const context = /BAILIWICK_CONTEXT=(\S+)/.exec(text)[1];
    const tenants = await runBinary(["--json", "--context", context, "tenant", "ls"], { folder: installation.folder });
    assert.deepEqual(oneDocument(tenants.stdout).items.map(tenant => tenant.tenant), ["lab"]);
    const count = await runBinary(["--json", "--context", context, "count"], { folder: installation.folder });
    assert.equal(oneDocument(count.stdout).total, 0, "empty");
    child.kill("SIGTERM");
    assert.equal(await ended, 0);
    assert.ok(!existsSync(context), "the temporary folder is gone");
});

test("check explains a decision and records it", async ({ installation }) => {
    await installation.addIdentity("asker");
    const opened = await installation.openTask("asker", ['files:read_text_file(path under "/srv/in")']);
    const ask = (...more) => installation.run(["check", "asker", "tools/call", "files:read_text_file", ...more]);
    const permit = await ask("--task", opened.id, "--arg", "path=/srv/in/a");
    assert.equal(permit.code, 0, permit.stdout);
    assert.ok(permit.json.policies.length > 0);
    assert.match(permit.json.decision, /^dec_/);
    const outside = await ask("--task", opened.id, "--arg", "path=/etc/passwd");
    assert.equal(outside.code, 4);
    assert.equal(outside.json.code, "grant.argument-out-of-scope");
    await installation.cli(["task", "close", opened.id]);
    const without = await ask("--arg", "path=/srv/in/a");
    assert.equal(without.code, 4);
    assert.equal(without.json.code, "grant.none");
    const { items } = await installation.cli(["log", "tail", "-n", "5"]);
    assert.ok(items.some(entry => entry.payload.decision === outside.json.decision && entry.payload.door === "check"));
    const started = process.hrtime.bigint();
    await runBinary(["version"], { folder: installation.folder });
    figure("commands: start of an offline command, ms (debug build)", Number((process.hrtime.bigint() - started) / 1_000_000n));
});

test("the binary under test is the one that was built", async ({ installation }) => {
    const version = await runBinary(["version", "--json"], { folder: installation.folder });
    const { profile, target } = oneDocument(version.stdout);
    assert.ok(["debug", "release"].includes(profile), profile);
    assert.match(target, /^\w+-linux$/);
    const manifest = readFileSync(join(import.meta.dirname, "../../../Cargo.toml"), "utf8");
    assert.equal(oneDocument(version.stdout).version, /^version = "([^"]+)"/m.exec(manifest)[1], BINARY);
});
