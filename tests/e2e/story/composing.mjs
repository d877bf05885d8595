// Composition: declared with files, stated by a foreign client, changed, looked at, activated.
// Every digest is reckoned a second time, by node and by sha256sum.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, createPrivateKey } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Desk } from "../lib/desk.mjs";
import { Installation } from "../lib/installation.mjs";
import { suite, test } from "../lib/lane.mjs";
import { callTool, deadToken, permitted, refusedCall } from "../lib/mcp.mjs";
import { ASSERTION_TYPE, assertion, decode, requestToken } from "../lib/oauth.mjs";

const MODEL = "claimant-3 2026-10-01";
const POLICY = `@id("new-prompts-wait")
forbid (principal is Identity, action == Action::"tools/call", resource == Tool::"files/read_text_file")
when { principal.probation };
`;
const digest = bytes => createHash("sha256").update(bytes).digest("base64url");

/** RFC 8785 of an object of plain texts. */
const canonical = parts => JSON.stringify(Object.fromEntries(Object.entries(parts).sort(([one], [two]) => (one < two ? -1 : 1))));

suite("composing", async () => {
    const desk = await Desk.open();
    const installation = await Installation.start("composing");
    await installation.addHttpServer("files", desk.url);
    await installation.addIdentity("agent");
    const file = name => join(installation.folder, name);
    const added = await installation.cli(["client", "add", "agent", "--generate", file("agent.pem"), "--algorithm", "ES256", "--proof", "none"]);
    const jwk = { ...createPrivateKey(readFileSync(file("agent.pem"))).export({ format: "jwk" }), alg: "ES256" };
    await installation.cli(["task", "open", "--identity", "agent", "--purpose", "p", "--can", "files:*", "--no-token"]);
    writeFileSync(file("policy.cedar"), POLICY);
    await installation.cli(["policy", "set", file("policy.cedar")]);
    const issuer = `${installation.url}/t/acme`;
    const ask = async composition =>
        requestToken(`${issuer}/token`, {
            grant_type: "client_credentials",
            client_assertion_type: ASSERTION_TYPE,
            client_assertion: await assertion({ jwk, clientId: added.client_id, audience: issuer }, { composition })
        });
    return {
        installation,
        file,
        ask,
        stop: async () => {
            await installation.stop();
            await desk.close();
        }
    };
});

test("another prompt puts an agent back into probation, and the reason is told", async ({ installation, file, ask }) => {
    writeFileSync(file("prompt"), "You read invoices.\n");
    writeFileSync(file("tools.json"), '{"tools":["read_text_file"]}');
    writeFileSync(file("a.py"), "print(1)\n");
    writeFileSync(file("b.py"), "print(2)\n");
    const declare = () =>
        installation.cli([
            ...["id", "compose", "agent", "--model", MODEL, "--prompt", file("prompt"), "--tools", file("tools.json")],
            ...["--code", file("b.py"), file("a.py")]
        ]);
    const declared = await declare();
    const list = execFileSync("sh", ["-c", 'sha256sum "$@" | LC_ALL=C sort -k2 | sha256sum', "sh", file("a.py"), file("b.py")]);
    const parts = {
        model: digest(MODEL),
        prompt: digest(readFileSync(file("prompt"))),
        tools: digest(readFileSync(file("tools.json"))),
        code: Buffer.from(list.toString().slice(0, 64), "hex").toString("base64url")
    };
    assert.deepEqual(declared.composition.parts, parts);
    assert.equal(declared.composition.digest, digest(canonical(parts)));
    assert.equal(declared.state, "active", "the first declaration changes no state");
    const silent = await ask(undefined);
    assert.equal(silent.status, 400);
    assert.equal(silent.body.error, "invalid_grant");
    assert.match(silent.body.error_description, /composition\.missing/);

    const before = (await ask(parts)).body.access_token;
    assert.equal(decode(before).claims.composition, digest(canonical(parts)));
    const endpoint = installation.endpoint("files");
    await permitted(endpoint, before, "read_text_file", { path: "/srv/in/a" });

    const changed = { ...parts, prompt: digest("You pay invoices.\n") };
    const after = (await ask(changed)).body.access_token;
    assert.equal(decode(after).claims.composition, digest(canonical(changed)));
    const seen = await installation.cli(["id", "get", "agent"]);
    assert.equal(seen.state, "probation");
    assert.equal(seen.state_reason, "composition changed: prompt");
    assert.equal(seen.changed_at, seen.composition.since);
    assert.deepEqual(seen.composition.former, parts);
    const shown = await installation.run(["id", "get", "agent"], { json: false });
    assert.match(shown.stdout, /probation[\s\S]*composition changed: prompt[\s\S]*since/);
    await refusedCall(endpoint, after, "read_text_file", { path: "/srv/in/a" }, "policy.forbidden");
    await deadToken(endpoint, before);

    await installation.refused(["id", "activate", "agent", "--composition", declared.composition.digest], 1, "composition.other");
    // A digest may begin with a hyphen.
    await installation.refused(["id", "activate", "agent", "--composition", `-${"A".repeat(42)}`], 1, "composition.other");
    assert.equal((await installation.cli(["id", "activate", "agent", "--composition", seen.composition.digest])).state, "active");
    await permitted(endpoint, after, "read_text_file", { path: "/srv/in/a" });
    assert.equal((await callTool(endpoint, before, "read_text_file", { path: "/srv/in/a" })).status, 401);

    // The operator's word counts as much, and what was told is in the log with both sides.
    assert.equal((await declare()).state, "probation");
    await installation.refused(["id", "compose", "agent"], 2);
    await installation.integrated();
    const { items } = await installation.cli(["log", "tail", "-n", "20", "--log", "state"]);
    const changes = items.filter(entry => entry.payload?.command === "identity.compose" && entry.payload.reason !== undefined);
    assert.deepEqual(
        changes.map(({ payload }) => [payload.actor.split(":")[0], payload.objects[0].before.composition.prompt, payload.objects[0].after.composition.prompt]),
        [
            ["identity", parts.prompt, changed.prompt],
            ["operator", changed.prompt, parts.prompt]
        ]
    );
    assert.ok(!readFileSync(file("prompt"), "utf8").split("\n").some(line => line !== "" && JSON.stringify(items).includes(line)), "no prompt leaves");
});
