// Exports of platforms, offline: what is in them, what is not covered, what
// cannot be read.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { oneDocument, runBinary, temporary } from "../lib/installation.mjs";
import { figure, suite, test } from "../lib/lane.mjs";

suite("scanning", async () => {
    const folder = temporary("scanning");
    return { folder, stop: async () => rmSync(folder, { recursive: true }) };
});

const USER = { Arn: "arn:aws:iam::111122223333:user/backup", UserName: "backup", CreateDate: "2024-01-01T00:00:00Z" };
const KEY = { AccessKeyId: "AKIA1", UserName: "backup", Status: "Active", CreateDate: "2024-01-01T00:00:00Z" };

/** Runs a scan of files and gives its code and what it said. */
async function scan(folder, platform, files, { words = [], json = true } = {}) {
    const place = join(folder, "export");
    rmSync(place, { recursive: true, force: true });
    for (const [name, content] of Object.entries(files)) {
        mkdirSync(join(place, name, ".."), { recursive: true });
        writeFileSync(join(place, name), typeof content === "string" || Buffer.isBuffer(content) ? content : JSON.stringify(content));
    }
    const all = ["scan", platform, "--export", place, "--dry-run", ...words, ...(json ? ["--json"] : [])];
    const result = await runBinary(all, { folder });
    return { ...result, json: json ? oneDocument(result.stdout) : undefined };
}

const source = (result, name) => result.json.sources.find(each => each.source === name);

test("a folder of answers becomes numbers per kind, and what has no file is not covered and not zero", async ({ folder }) => {
    const files = { "users.json": { Users: [USER] }, "access-keys.ndjson": `${JSON.stringify(KEY)}\n` };
    const result = await scan(folder, "aws", files);
    assert.equal(result.code, 0, result.stderr);
    assert.equal(result.json.total, 2);
    assert.equal(result.json.verified, false);
    assert.deepEqual(result.json.kinds, [
        { level: "credential", sort: "api-key", type: "access-key", count: 1 },
        { level: "identity", sort: "unclassified", type: "iam-user", count: 1 }
    ]);
    assert.equal(source(result, "users").coverage, "read");
    assert.equal(source(result, "roles").coverage, "not covered");
    assert.equal(source(result, "roles").items, null);
    const words = await scan(folder, "aws", files, { json: false });
    assert.match(words.stdout, /roles +not covered +- +-/);
    assert.match(words.stdout, /cannot be seen here: /);
});

test("without --dry-run nothing is pretended", async ({ folder }) => {
    writeFileSync(join(folder, "users.json"), JSON.stringify({ Users: [USER] }));
    const result = await runBinary(["scan", "aws", "--export", join(folder, "users.json"), "--json"], { folder });
    assert.equal(result.code, 2);
    assert.equal(oneDocument(result.stdout).code, "cli.usage");
    assert.match(oneDocument(result.stdout).hint, /--dry-run/);
    const unknown = await scan(folder, "acme", { "users.json": {} });
    assert.equal(unknown.code, 2);
    assert.match(unknown.json.message, /aws, azure/);
});

test("a file that is cut off, in another encoding or an error is named, and the rest counts", async ({ folder }) => {
    const page = JSON.stringify({ Users: [USER] });
    const files = {
        "users-1.json": page.slice(0, -4),
        "users-2.json": Buffer.from(page, "utf16le"),
        "users-3.json": { Error: { Code: "AccessDenied" } },
        "users-4.json": { Users: [USER, USER] },
        "letters.json": { x: 1 }
    };
    const result = await scan(folder, "aws", files);
    assert.equal(result.code, 3);
    const users = source(result, "users");
    assert.equal(users.coverage, "partly");
    assert.deepEqual(users.broken.map(each => each.file), ["users-1.json", "users-2.json", "users-3.json"]);
    assert.match(users.broken[0].reason, /cut off/);
    assert.match(users.broken[2].reason, /error/);
    assert.equal(users.observations, 1, "the same thing twice counts once");
    assert.match(users.notes[0].text, /twice/);
    assert.equal(result.json.unknown_files[0].file, "letters.json");
});

test("hostile names stay text, and none of their control bytes reaches a terminal", async ({ folder }) => {
    const shared = process.env.BAILIWICK_SHARED ?? join(import.meta.dirname, "../../../../shared");
    const texts = JSON.parse(readFileSync(join(shared, "data/vectors/hostile-text/texts.json"), "utf8")).map(each => each.text);
    const members = texts.flatMap((text, at) => [
        { id: `U${at}`, real_name: text, is_bot: false, deleted: text, profile: {} },
        { id: `U${at}`, real_name: "other", is_bot: false, deleted: false, profile: {} }
    ]);
    const result = await scan(folder, "slack", { "users.json": { members } });
    assert.equal(result.json.total, texts.length);
    const words = await scan(folder, "slack", { "users.json": { members } }, { json: false });
    assert.doesNotMatch(words.stdout, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
    figure("hostile-text in exports", `${texts.length}/66`);
    assert.equal(texts.length, 66);
});

test("a folder is read once whatever links lead to it, and what is no file is said and not waited for", async ({ folder }) => {
    const place = join(folder, "linked");
    mkdirSync(place);
    writeFileSync(join(place, "users.json"), JSON.stringify({ Users: [USER] }));
    symlinkSync(".", join(place, "again"));
    symlinkSync("nowhere", join(place, "readme"));
    const scanned = await runBinary(["scan", "aws", "--export", place, "--dry-run", "--json"], { folder });
    assert.equal(scanned.code, 0, scanned.stdout);
    assert.deepEqual(source({ json: oneDocument(scanned.stdout) }, "users").files, ["users.json"]);
    symlinkSync("nowhere", join(place, "roles.json"));
    const dangling = await runBinary(["scan", "aws", "--export", place, "--dry-run", "--json"], { folder });
    assert.deepEqual([dangling.code, oneDocument(dangling.stdout).code], [1, "cli.file"]);
    const pipe = join(folder, "users.pipe");
    execFileSync("mkfifo", [pipe]);
    for (const path of [pipe, "/dev/zero"]) {
        const refused = await runBinary(["scan", "aws", "--export", path, "--dry-run", "--json"], { folder });
        assert.equal(refused.code, 2);
        assert.match(oneDocument(refused.stdout).message, /neither a file nor a folder/);
    }
});

test("a platform that is not in the list is a file", async ({ folder }) => {
    const manifest = join(folder, "manifest.yaml");
    writeFileSync(manifest, `platform: acme
title: Acme
reference: https://acme.example/docs
base: https://api.acme.example
auth: {bearer: {what: a token}}
rate: {requests: 1, seconds: 1}
sees: [robots]
blind: [their keys]
sources:
  robots:
    what: robots
    ask: {get: {path: /robots}}
    paging: none
    permission: [robots.read]
    items: $.robots[*]
    becomes:
      - type: robot
        kind: {identity: service-account}
        id: "{$.serial}"
`);
    const result = await scan(folder, "acme", { "robots.json": { robots: [{ serial: 7 }, { colour: "red" }] } }, { words: ["--manifest", manifest] });
    assert.equal(result.code, 3, "an item that has no id is not dropped");
    assert.equal(result.json.total, 1);
    assert.equal(source(result, "robots").unmapped[0].text, "robot: the id is missing");
    writeFileSync(manifest, readFileSync(manifest, "utf8").replace("paging: none", "paging: none\n    retries: 3"));
    const refused = await scan(folder, "acme", { "robots.json": {} }, { words: ["--manifest", manifest] });
    assert.equal(refused.code, 2);
    assert.equal(refused.json.code, "scan.manifest");
    assert.match(refused.json.message, /manifest\.yaml` line 14, `retries`/);
});
