// Bad tokens over HTTP: each gets 401, none reaches a policy or an upstream.
import assert from "node:assert/strict";
import { createHmac, createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { Desk } from "../lib/desk.mjs";
import { Installation } from "../lib/installation.mjs";
import { suite, test } from "../lib/lane.mjs";
import { callOf, callTool, exchange, permitted } from "../lib/mcp.mjs";
import { decode } from "../lib/oauth.mjs";
import { until } from "../lib/wait.mjs";

const SCOPE = "files:read_text_file";
const ARGS = { path: "/srv/in/a.txt" };

suite("tokens", async () => {
    const desk = await Desk.open();
    const installation = await Installation.start("tokens");
    await installation.addTenant("globex");
    for (const tenant of ["acme", "globex"]) {
        await installation.addHttpServer("files", desk.url, { tenant });
        await installation.addIdentity("worker", { tenant });
    }
    const { token } = await installation.openTask("worker", [SCOPE]);
    return {
        desk,
        installation,
        token,
        url: installation.endpoint("files"),
        stop: async () => {
            await installation.stop();
            await desk.close();
        }
    };
});

const part = value => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** 401 with a challenge, and nothing went upstream. */
async function refused(context, token, what) {
    const before = context.desk.calls.length;
    const reply = await callTool(context.url, token, "read_text_file", ARGS);
    assert.equal(reply.status, 401, `${what}: ${reply.status} ${reply.text}`);
    assert.match(reply.headers["www-authenticate"], /error="invalid_token"/, what);
    assert.ok(!reply.text.includes(token.slice(0, 60)), `${what}: the answer repeats the token`);
    assert.equal(context.desk.calls.length, before, what);
    return reply;
}

test("forged tokens are refused", async context => {
    const { token, installation } = context;
    const [head, body, signature] = token.split(".");
    const { header, claims } = decode(token);
    const { keys } = await (await fetch(`${installation.url}/t/acme/jwks`)).json();
    const own = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const rs256 = (input, key) => sign("sha256", Buffer.from(input), key).toString("base64url");
    const hs256 = secret => {
        const input = `${part({ ...header, alg: "HS256" })}.${body}`;
        return `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
    };
    const spki = createPrivateKey(own.privateKey.export({ type: "pkcs8", format: "pem" }));
    const withHeader = (more, key = own.privateKey) => {
        const input = `${part({ ...header, ...more })}.${body}`;
        return `${input}.${rs256(input, key)}`;
    };
    const flipped = at => {
        const bytes = Buffer.from(signature, "base64url");
        bytes[at] ^= 1;
        return `${head}.${body}.${bytes.toString("base64url")}`;
    };
    const cases = {
        "alg none": `${part({ ...header, alg: "none" })}.${body}.`,
        "alg None with the old signature": `${part({ ...header, alg: "None" })}.${body}.${signature}`,
        "HMAC with the public modulus": hs256(Buffer.from(keys[0].n, "base64url")),
        "HMAC with the public JWK": hs256(JSON.stringify(keys[0])),
        "another key under the same kid": withHeader({}, spki),
        "an embedded key": withHeader({ jwk: own.publicKey.export({ format: "jwk" }) }),
        "a key by address": withHeader({ jku: "https://attacker.example/jwks" }),
        "an unknown kid": withHeader({ kid: "nobody" }),
        "a path as kid": withHeader({ kid: "../../../../dev/null" }),
        "the first signature byte flipped": flipped(0),
        "the last signature byte flipped": flipped(200),
        "another algorithm name": `${part({ ...header, alg: "PS256" })}.${body}.${signature}`,
        "another type": `${part({ ...header, typ: "JWT" })}.${body}.${signature}`,
        "another subject": `${head}.${part({ ...claims, sub: "idn_other", nhi: "idn_other" })}.${signature}`,
        "a later end": `${head}.${part({ ...claims, exp: claims.exp + 86_400 })}.${signature}`,
        "no signature": `${head}.${body}.`,
        "two parts": `${head}.${body}`,
        "five parts": `${token}.a.b`,
        "padding": `${head}.${body}.${signature}==`,
        "an operator's session": await installation.session(),
        "garbage": "a.b.c"
    };
    for (const [what, forged] of Object.entries(cases)) {
        await refused(context, forged, what);
    }
    await permitted(context.url, token, "read_text_file", ARGS);
});

test("a token with a member twice is refused", async context => {
    const { token } = context;
    const [head, body, signature] = token.split(".");
    const text = Buffer.from(body, "base64url").toString("utf8");
    await refused(context, `${head}.${part(text.replace(/\}$/, ',"exp":99999999999}'))}.${signature}`, "a claim twice");
    const header = Buffer.from(head, "base64url").toString("utf8");
    await refused(context, `${part(header.replace(/\}$/, ',"alg":"none"}'))}.${body}.${signature}`, "a header twice");
});

test("an oversized token is refused before it is parsed", async context => {
    const { token } = context;
    const [head, , signature] = token.split(".");
    await refused(context, `${head}.${"A".repeat(17 * 1024)}.${signature}`, "17 KiB");
    const { headers, body } = callOf(`${head}.${"A".repeat(200 * 1024)}.${signature}`, "tools/list");
    const outcome = await exchange(context.url, { headers, body }).then(reply => reply.status, error => error.code);
    assert.ok([400, 401, 413, 431, "ECONNRESET", "EPIPE"].includes(outcome), `200 KiB of token: ${outcome}`);
    await permitted(context.url, token, "read_text_file", ARGS);
});

test("a token of another tenant is refused, at the gateway and at the API", async context => {
    const { installation } = context;
    const other = await installation.openTask("worker", [SCOPE], { tenant: "globex" });
    await refused(context, other.token, "the token of another tenant");
    await permitted(installation.endpoint("files", "globex"), other.token, "read_text_file", ARGS);
    const renewed = await fetch(`${installation.url}/v1/tenants/acme/tasks/${other.id}/tokens`, {
        method: "POST",
        headers: { authorization: `Bearer ${other.token}`, "content-type": "application/json" },
        body: '{"count":1}'
    });
    assert.ok([401, 404].includes(renewed.status), `renewing across tenants: ${renewed.status}`);
});

test("only one bearer token in the right place counts", async context => {
    const { token, url } = context;
    const plain = callOf(undefined, "tools/list");
    for (const [what, headers] of [
        ["basic", { authorization: `Basic ${Buffer.from(`a:${token}`).toString("base64")}` }],
        ["no scheme", { authorization: token }],
        ["empty", { authorization: "Bearer " }],
        ["two tokens", { authorization: `Bearer ${token} ${token}` }],
        ["DPoP", { authorization: `DPoP ${token}` }]
    ]) {
        const reply = await exchange(url, { headers: { ...plain.headers, ...headers }, body: plain.body });
        assert.ok([400, 401].includes(reply.status), `${what}: ${reply.status}`);
    }
    const inQuery = await exchange(`${url}?access_token=${token}`, { headers: plain.headers, body: plain.body });
    assert.equal(inQuery.status, 400, "a token in the address is a mistake of its own");
    assert.match(inQuery.text, /Authorization header/);
});

test("a token for another audience or of another issuer is refused", async context => {
    // The same keys under another base URL: what was issued there is for another audience.
    const { installation } = context;
    const base = `http://localhost:${installation.port}`;
    await installation.restart({ args: ["--base-url", base] });
    const elsewhere = await fetch(`http://127.0.0.1:${installation.port}/t/acme/jwks`);
    assert.equal(elsewhere.status, 200);
    const before = context.desk.calls.length;
    const reply = await callTool(context.url, context.token, "read_text_file", ARGS);
    assert.equal(reply.status, 401, reply.text);
    assert.equal(context.desk.calls.length, before);
    await installation.restart();
    await permitted(context.url, context.token, "read_text_file", ARGS);
});

test("a token ends with its task's window and with its identity", async context => {
    const { installation } = context;
    const short = await installation.openTask("worker", [SCOPE], { window: "5s" });
    const soon = new Date(Date.now() + 7_000).toISOString().replace(/\.\d+Z/, "Z");
    const words = ["id", "add", "mayfly", "--kind", "agent", "--owner", "o", "--owner-contact", "c", "--purpose", "p", "--expires", soon];
    await installation.cli(words);
    await installation.refused(["task", "open", "--identity", "mayfly", "--purpose", "p", "--can", SCOPE], 1, "credential.expiry-too-far");
    const mayfly = await installation.openTask("mayfly", [SCOPE], { window: "4s" });
    for (const { token, task } of [short, mayfly]) {
        const { claims } = decode(token);
        assert.ok(claims.exp - claims.iat <= 7, "no token outlives what it stands on");
        assert.ok(new Date(task.closes_at).getTime() / 1000 >= claims.exp);
    }
    await permitted(context.url, short.token, "read_text_file", ARGS);
    await permitted(context.url, mayfly.token, "read_text_file", ARGS);
    await until("both to end", async () => {
        const replies = await Promise.all([short, mayfly].map(({ token }) => callTool(context.url, token, "read_text_file", ARGS)));
        return replies.every(reply => reply.status === 401);
    });
    await installation.refused(["task", "token", short.id], 1);
    await until("the identity to end", () => Date.now() > new Date(soon).getTime());
    const again = await installation.run(["task", "open", "--identity", "mayfly", "--purpose", "p", "--for", "1s", "--can", SCOPE]);
    assert.notEqual(again.code, 0, "an expired identity got a task");
});

test("an expired token is refused", async context => {
    const { installation } = context;
    await installation.restart({ env: { BAILIWICK_TOKENS__TTL_SECS: "1" } });
    const { token } = await installation.openTask("worker", [SCOPE]);
    const { claims } = decode(token);
    assert.equal(claims.exp - claims.iat, 1);
    await until("the token to expire", () => Date.now() / 1000 > claims.exp + 0.05);
    await until("it to be refused", async () => (await callTool(context.url, token, "read_text_file", ARGS)).status === 401, 6_000);
    await refused(context, token, "expired");
    await refused(context, token, "expired, seen before");
});
