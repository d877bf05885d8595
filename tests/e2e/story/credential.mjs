// Credential: tasks, tokens and their claims, metadata, the token endpoint,
// renewal, batches, closing.
import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { createRemoteJWKSet, jwtVerify, SignJWT } from "../../interop/lib/jose.mjs";
import { Desk } from "../lib/desk.mjs";
import { Installation } from "../lib/installation.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { callTool, deadToken, permitted, send } from "../lib/mcp.mjs";
import { ASSERTION_TYPE, assertion, decode, requestToken } from "../lib/oauth.mjs";

const ALGORITHMS = { acme: "RS256", globex: "ES256", initech: "EdDSA" };
const SCOPE = 'files:read_text_file(path under "/srv/in")';

suite("credential", async () => {
    const desk = await Desk.open();
    const installation = await Installation.start("credential");
    await installation.addTenant("globex", "ES256");
    await installation.addTenant("initech", "EdDSA");
    for (const tenant of Object.keys(ALGORITHMS)) {
        await installation.addHttpServer("files", desk.url, { tenant });
        await installation.addIdentity("worker", { tenant });
    }
    const clients = {};
    for (const algorithm of ["RS256", "ES256", "EdDSA"]) {
        const file = join(installation.folder, `client-${algorithm}.pem`);
        const added = await installation.cli(["client", "add", "worker", "--generate", file, "--algorithm", algorithm, "--proof", "none"]);
        clients[algorithm] = { clientId: added.client_id, jwk: { ...createPrivateKey(readFileSync(file)).export({ format: "jwk" }), alg: algorithm }, file, added };
    }
    const issuer = `${installation.url}/t/acme`;
    return {
        desk,
        installation,
        issuer,
        clients,
        tokenUrl: `${issuer}/token`,
        stop: async () => {
            await installation.stop();
            await desk.close();
        }
    };
});

test("the issuer's metadata is at every path a client tries", async ({ installation, issuer }) => {
    const paths = [
        "/.well-known/oauth-authorization-server/t/acme",
        "/.well-known/openid-configuration/t/acme",
        "/t/acme/.well-known/openid-configuration",
        "/t/acme/.well-known/oauth-authorization-server"
    ];
    const documents = [];
    for (const path of paths) {
        const response = await fetch(`${installation.url}${path}`);
        assert.equal(response.status, 200, path);
        assert.match(response.headers.get("content-type"), /^application\/json/);
        documents.push(await response.json());
    }
    for (const document of documents) {
        assert.deepEqual(document, documents[0]);
    }
    const [metadata] = documents;
    assert.equal(metadata.issuer, issuer);
    assert.equal(metadata.token_endpoint, `${issuer}/token`);
    assert.equal(metadata.jwks_uri, `${issuer}/jwks`);
    assert.deepEqual(metadata.token_endpoint_auth_methods_supported, ["private_key_jwt", "none"]);
    assert.deepEqual([...metadata.token_endpoint_auth_signing_alg_values_supported].sort(), ["ES256", "EdDSA", "RS256"]);
    assert.ok(metadata.grant_types_supported.includes("client_credentials"));
    assert.equal(metadata.authorization_endpoint, `${issuer}/authorize`);
    assert.deepEqual(metadata.response_types_supported, ["code"]);
    assert.deepEqual(metadata.code_challenge_methods_supported, ["S256"]);
    assert.equal(metadata.authorization_response_iss_parameter_supported, true);
    assert.deepEqual(metadata.authorization_details_types_supported, ["bailiwick_call"]);
    // Documents of clients are taken where an operator said from where, and nowhere else.
    assert.equal(metadata.client_id_metadata_document_supported, undefined);
    for (const path of ["/.well-known/oauth-protected-resource/t/acme/mcp", "/.well-known/oauth-protected-resource/t/acme/mcp/files"]) {
        const resource = await (await fetch(`${installation.url}${path}`)).json();
        assert.equal(resource.resource, `${installation.url}${path.replace("/.well-known/oauth-protected-resource", "")}`);
        assert.deepEqual(resource.authorization_servers, [issuer]);
        assert.ok(resource.bearer_methods_supported.includes("header"));
    }
    for (const path of ["/.well-known/oauth-authorization-server/t/nobody", "/.well-known/oauth-protected-resource/t/acme/mcp/nothing", "/t/nobody/jwks"]) {
        assert.equal((await fetch(`${installation.url}${path}`)).status, 404, path);
    }
});

test("a caller without a token is told where to find the metadata", async ({ installation }) => {
    const reply = await send(installation.endpoint("files"), undefined, "tools/list");
    assert.equal(reply.status, 401);
    const challenge = reply.headers["www-authenticate"];
    assert.match(challenge, /^Bearer /);
    const metadata = /resource_metadata="([^"]+)"/.exec(challenge)?.[1];
    assert.ok(metadata, challenge);
    const resource = await (await fetch(metadata)).json();
    assert.ok(installation.endpoint("files").startsWith(resource.resource));
});

for (const [tenant, algorithm] of Object.entries(ALGORITHMS)) {
    test(`the token of a task carries every claim and verifies with the published ${algorithm} key`, async ({ installation }) => {
        const opened = await installation.openTask("worker", [SCOPE], { tenant });
        assert.equal(statSync(opened.tokenFile).mode & 0o777, 0o600);
        assert.ok(!("token" in opened.task) && opened.access_token === undefined);
        const issuer = `${installation.url}/t/${tenant}`;
        const audience = `${issuer}/mcp`;
        const keys = await (await fetch(`${issuer}/jwks`)).json();
        for (const key of keys.keys) {
            assert.ok(!("d" in key) && !("p" in key) && !("k" in key), "a private member is published");
        }
        const { payload, protectedHeader } = await jwtVerify(opened.token, createRemoteJWKSet(new URL(`${issuer}/jwks`)), {
            issuer,
            audience,
            typ: "at+jwt",
            algorithms: [algorithm]
        });
        assert.equal(protectedHeader.typ, "at+jwt");
        assert.ok(keys.keys.some(key => key.kid === protectedHeader.kid && key.alg === algorithm));
        const { sub, nhi, client_id: client, iat, exp, jti, scope, epoch } = payload;
        assert.equal(payload.aud, audience);
        assert.equal(payload.tenant, tenant);
        assert.equal(payload.task, opened.id);
        assert.equal(nhi, opened.task.identity);
        assert.equal(sub, nhi, "without delegation the subject is the identity that acts");
        assert.ok(typeof client === "string" && client.length > 0);
        assert.match(jti, /^tok_[a-z0-9]+$/);
        assert.equal(exp - iat, 300, "five minutes");
        assert.ok(Math.abs(iat - Date.now() / 1000) < 30);
        assert.equal(scope, "files:read_text_file");
        assert.ok(Number.isSafeInteger(epoch));
        assert.ok(!JSON.stringify(payload).includes("/srv/in"), "conditions are in the grant, not in the token");
        assert.equal(opened.expires_in, 300);
        await permitted(installation.endpoint("files", tenant), opened.token, "read_text_file", { path: "/srv/in/a" });
        figure(`credential: bytes of an ${algorithm} token`, opened.token.length);
    });
}

test("the token endpoint gives a token to a client that proves its key", async context => {
    const { installation, tokenUrl, issuer, clients } = context;
    const task = await installation.cli(["task", "open", "--identity", "worker", "--purpose", "p", "--can", SCOPE, "--no-token"]);
    assert.equal(task.token, undefined);
    context.task = task.task.id;
    for (const [algorithm, client] of Object.entries(clients)) {
        assert.equal(statSync(client.file).mode & 0o777, 0o600);
        assert.equal(client.added.algorithm, algorithm);
        const reply = await requestToken(tokenUrl, {
            grant_type: "client_credentials",
            client_assertion_type: ASSERTION_TYPE,
            client_assertion: await assertion({ ...client, audience: issuer }),
            task: context.task,
            resource: installation.endpoint("files")
        });
        assert.equal(reply.status, 200, `${algorithm}: ${reply.text}`);
        assert.equal(reply.headers.get("cache-control"), "no-store");
        assert.equal(reply.body.token_type, "Bearer");
        assert.equal(reply.body.scope, "files:read_text_file");
        const { claims } = decode(reply.body.access_token);
        assert.equal(claims.client_id, client.clientId);
        assert.equal(claims.task, context.task);
        await permitted(installation.endpoint("files"), reply.body.access_token, "read_text_file", { path: "/srv/in/a" });
        context.issued = reply.body.access_token;
    }
});

test("an assertion that is replayed, expired, for another audience or of another key is refused", async context => {
    const { tokenUrl, issuer, clients, task } = context;
    const client = { ...clients.ES256, audience: issuer };
    const now = Math.floor(Date.now() / 1000);
    const ask = (signed, more = {}) =>
        requestToken(tokenUrl, { grant_type: "client_credentials", client_assertion_type: ASSERTION_TYPE, client_assertion: signed, task, ...more });
    const used = await assertion(client);
    assert.equal((await ask(used)).status, 200);
    const stranger = { ...client, jwk: { ...generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" }), alg: "ES256" } };
    const hmac = new SignJWT({ iss: client.clientId, sub: client.clientId, aud: issuer, iat: now, exp: now + 60, jti: "h" });
    const [head, body] = used.split(".");
    const none = `${Buffer.from('{"alg":"none"}').toString("base64url")}.${body}.`;
    const twice = `{"iss":"${client.clientId}","sub":"${client.clientId}","aud":"${issuer}","iat":${now},"exp":${now + 60},"exp":${now + 9_999},"jti":"${randomBytes(9).toString("hex")}"}`;
    const refusals = {
        "a used jti": used,
        "expired": await assertion(client, { iat: now - 400, exp: now - 300 }),
        "not yet valid": await assertion(client, { iat: now + 3_000, nbf: now + 3_000, exp: now + 3_060 }),
        "too long-lived": await assertion(client, { exp: now + 86_400 }),
        "without exp": await assertion(client, { exp: undefined }),
        "without jti": await assertion(client, { jti: undefined }),
        "another audience": await assertion(client, { aud: "https://other.example" }),
        "the token endpoint as audience": await assertion(client, { aud: tokenUrl }),
        "two audiences": await assertion(client, { aud: [issuer, "https://other.example"] }),
        "the resource as audience": await assertion(client, { aud: `${issuer}/mcp` }),
        "another tenant's issuer": await assertion(client, { aud: issuer.replace("acme", "globex") }),
        "sub of another client": await assertion(client, { sub: clients.EdDSA.clientId }),
        "iss of another client": await assertion(client, { iss: clients.EdDSA.clientId, sub: clients.EdDSA.clientId }),
        "another key": await assertion(stranger),
        "a wrong alg": await hmac.setProtectedHeader({ alg: "HS256" }).sign(Buffer.from(JSON.stringify(clients.ES256.jwk.x))),
        "no signature": none,
        "a changed claim": `${head}.${Buffer.from(JSON.stringify({ ...decode(used).claims, jti: "x" })).toString("base64url")}.${used.split(".")[2]}`,
        "a member twice": signed(clients.ES256.jwk, '{"alg":"ES256"}', twice),
        "a critical header": await assertion(client, {}, { crit: ["b64"], b64: true }).catch(() => signed(clients.ES256.jwk, '{"alg":"ES256","crit":["exp"],"exp":1}', JSON.stringify(decode(used).claims))),
        "an embedded key": signed(stranger.jwk, JSON.stringify({ alg: "ES256", jwk: { kty: "EC", crv: "P-256", x: stranger.jwk.x, y: stranger.jwk.y } }), JSON.stringify({ ...decode(used).claims, jti: "e" })),
        "an access token": context.issued,
        "no JWT": "abc",
        "nothing": ""
    };
    for (const [what, spoilt] of Object.entries(refusals)) {
        const reply = await ask(spoilt);
        assert.equal(reply.status, 401, `${what}: ${reply.text}`);
        assert.equal(reply.body.error, "invalid_client", what);
        assert.ok(!reply.text.includes("access_token"), what);
    }
    const good = () => assertion(client);
    for (const [form, error] of [
        [{ grant_type: "password" }, "unsupported_grant_type"],
        [{ grant_type: "" }, "invalid_request"],
        [{ resource: "https://other.example/mcp" }, "invalid_target"],
        [{ scope: "files:transfer" }, "invalid_scope"],
        [{ task: "tsk_aaaaaaaaaaaaaaaaaaaaaaaaaa" }, "invalid_grant"],
        [{ task: "nonsense" }, "invalid_request"]
    ]) {
        const reply = await ask(await good(), form);
        assert.equal(reply.status, 400, `${JSON.stringify(form)}: ${reply.text}`);
        assert.equal(reply.body.error, error, reply.text);
    }
    const client_type = await requestToken(tokenUrl, { grant_type: "client_credentials", client_id: client.clientId, client_secret: "x", task });
    assert.equal(client_type.status, 401);
});

/** A compact JWS over bytes of our own choosing. */
function signed(jwk, header, claims) {
    const input = `${Buffer.from(header).toString("base64url")}.${Buffer.from(claims).toString("base64url")}`;
    const key = createPrivateKey({ key: jwk, format: "jwk" });
    return `${input}.${sign("sha256", Buffer.from(input), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
}

test("a task's token is renewed by its holder, in batches too, and issuing is a record and no row", async context => {
    const { installation } = context;
    const opened = await installation.openTask("worker", [SCOPE]);
    const before = await installation.cli(["log", "ls"]);
    const path = `/v1/tenants/acme/tasks/${opened.id}/tokens`;
    const renew = async (token, count, task = opened.id) =>
        fetch(`${installation.url}${path.replace(opened.id, task)}`, {
            method: "POST",
            headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
            body: JSON.stringify({ count })
        });
    const one = await renew(opened.token, 1);
    assert.equal(one.status, 200);
    const renewed = (await one.json()).tokens[0].access_token;
    assert.notEqual(decode(renewed).claims.jti, decode(opened.token).claims.jti);
    const batch = await installation.cli(["task", "token", opened.id, "--count", "64"]);
    assert.equal(batch.tokens.length, 64);
    assert.equal(new Set(batch.tokens.map(token => decode(token.access_token).claims.jti)).size, 64);
    assert.match(batch.decision, /^dec_/);
    for (const token of [renewed, batch.tokens[63].access_token]) {
        await permitted(installation.endpoint("files"), token, "read_text_file", { path: "/srv/in/a" });
    }
    assert.equal((await renew(opened.token, 0)).status, 400);
    assert.equal((await renew(opened.token, 257)).status, 400);
    assert.ok([401, 403, 404].includes((await renew(opened.token, 1, context.task)).status), "a token renews its own task only");
    const after = await installation.cli(["log", "ls"]);
    const size = (logs, name) => logs.items.find(log => log.log === name).sequenced;
    assert.equal(size(after, "state"), size(before, "state"), "issuing appends nothing to the state log");
    assert.ok(size(after, "decisions") > size(before, "decisions"));
    const { items } = await installation.cli(["log", "tail", "-n", "60"]);
    const issue = items.find(entry => entry.leaf.kind === "token.issue" && entry.payload.issue.jti.length === 64);
    assert.equal(issue.payload.decision, batch.decision);
    assert.equal(issue.payload.task, opened.id);
});

test("closing a task ends all its tokens", async ({ installation, clients, issuer, tokenUrl }) => {
    const opened = await installation.openTask("worker", [SCOPE]);
    const batch = await installation.cli(["task", "token", opened.id, "--count", "3"]);
    const tokens = [opened.token, ...batch.tokens.map(token => token.access_token)];
    for (const token of tokens) {
        await permitted(installation.endpoint("files"), token, "read_text_file", { path: "/srv/in/a" });
    }
    const closed = await installation.cli(["task", "close", opened.id, "--reason", "done"]);
    assert.equal(closed.state, "closed");
    for (const token of tokens) {
        const { challenge } = await deadToken(installation.endpoint("files"), token);
        assert.match(challenge, /invalid_token/);
    }
    await installation.refused(["task", "token", opened.id], 1);
    await installation.refused(["task", "close", opened.id], 1);
    const reply = await requestToken(tokenUrl, {
        grant_type: "client_credentials",
        client_assertion_type: ASSERTION_TYPE,
        client_assertion: await assertion({ ...clients.ES256, audience: issuer }),
        task: opened.id
    });
    assert.equal(reply.status, 400, reply.text);
    assert.equal(reply.body.error, "invalid_grant");
});

test("a task without scope, with a malformed one, or for somebody who is not there is refused", async ({ installation }) => {
    const open = (...more) => ["task", "open", "--identity", "worker", "--purpose", "p", ...more];
    await installation.refused(open(), 2, "grant.empty");
    const malformed = await installation.refused(open("--can", "files:read_text_file(path below x)"), 2, "grant.scope-malformed");
    assert.match(malformed.message, /`files:read_text_file\(path below x\)` \(`--can`\), byte \d+/, "the argument and the position are named");
    const unknown = await installation.refused(open("--can", "files:read_text_file(nosuch = 1)"), 1, "grant.argument-unknown");
    assert.match(unknown.message, /takes no argument `nosuch`/);
    assert.match(unknown.hint, /`path`/);
    assert.match((await installation.refused(open("--can", "flies:read_text_file"), 1, "grant.server-unknown")).hint, /files/);
    assert.match((await installation.refused(open("--can", "files:read_text_fiel"), 1, "grant.tool-unknown")).hint, /read_text_file/);
    await installation.refused(["task", "open", "--identity", "nobody", "--purpose", "p", "--can", SCOPE], 8);
    await installation.refused(open("--can", SCOPE, "--for", "400d"), 1);
    await installation.addIdentity("resting", {});
    await installation.cli(["id", "suspend", "resting", "--reason", "rest"]);
    await installation.refused(["task", "open", "--identity", "resting", "--purpose", "p", "--can", SCOPE], 1);
});

test("conditions on amounts, recipients, numbers and rates hold at the gateway", async ({ installation, desk }) => {
    const url = installation.endpoint("files");
    const { token } = await installation.openTask("worker", [
        'files:transfer(amount <= 50.0, to in ["alice", "bob"])',
        "files:echo(rate 3/60s)"
    ]);
    await permitted(url, token, "transfer", { amount: 50, to: "alice" });
    await permitted(url, token, "transfer", { amount: 0.5, to: "bob" });
    const before = desk.count("transfer");
    for (const args of [{ amount: 50.01, to: "alice" }, { amount: 10, to: "mallory" }, { amount: "10", to: "alice" }, { to: "alice" }, { amount: [10], to: "alice" }]) {
        const reply = await callTool(url, token, "transfer", args);
        assert.equal(reply.error?.code, -32001, JSON.stringify(args));
        assert.equal(reply.error.data.code, "grant.argument-out-of-scope", JSON.stringify(args));
    }
    assert.equal(desk.count("transfer"), before);
    for (let n = 0; n < 3; n += 1) {
        await permitted(url, token, "echo", { text: String(n) });
    }
    const fourth = await callTool(url, token, "echo", { text: "4" });
    assert.equal(fourth.error?.data.code, "grant.rate-exceeded", fourth.text);
});

test("the same scopes can be given as RFC 9396 authorization details", async ({ installation }) => {
    const body = {
        identity: "worker",
        purpose: "details",
        for_secs: 900,
        issue: true,
        authorization_details: [{ type: "bailiwick_call", locations: ["files"], actions: ["read_text_file"], args: { path: { under: "/srv/in" } } }]
    };
    const opened = await installation.api("POST", "/v1/tenants/acme/tasks", body);
    assert.equal(opened.status, 201, opened.text);
    assert.deepEqual(opened.body.task.can, [SCOPE]);
    const url = installation.endpoint("files");
    await permitted(url, opened.body.token.access_token, "read_text_file", { path: "/srv/in/a" });
    const wrong = await installation.api("POST", "/v1/tenants/acme/tasks", { ...body, authorization_details: [{ type: "payment" }] });
    assert.equal(wrong.status, 400);
    assert.equal(wrong.body.code, "invalid_authorization_details");
});

test("a registered key must be public and strong", async ({ installation, clients }) => {
    const add = jwk => installation.api("POST", "/v1/tenants/acme/clients", { identity: "worker", jwk });
    const weak = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey.export({ format: "jwk" });
    const refused = async (jwk, what) => assert.ok([400, 422].includes((await add(jwk)).status), what);
    await refused({ ...weak, alg: "RS256" }, "1024 bits");
    await refused({ kty: "oct", k: "AAAA", alg: "HS256" }, "a symmetric key");
    const off = { kty: "EC", crv: "P-256", x: Buffer.alloc(32, 1).toString("base64url"), y: Buffer.alloc(32, 2).toString("base64url"), alg: "ES256" };
    await refused(off, "a point that is not on the curve");
    await refused(clients.ES256.jwk, "a private key");
});

test("token inspect reads a token offline and claims nothing about it", async ({ installation, issued }) => {
    const shown = await installation.run(["token", "inspect", "-"], { input: issued, tenant: null });
    assert.equal(shown.code, 0, shown.stderr);
    assert.equal(shown.json.verified, false);
    assert.equal(shown.json.claims.tenant, "acme");
    const wrong = await installation.run(["token", "inspect", "-"], { input: "abc", tenant: null });
    assert.equal(wrong.code, 2);
});
