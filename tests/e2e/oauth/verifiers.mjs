// Foreign verifiers: our tokens with the published keys, by every algorithm that we issue with; tampered ones refused.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import * as oauth from "../../interop/lib/oauth4webapi.mjs";
import { createRemoteJWKSet, exportJWK, generateKeyPair, jwtVerify, SignJWT } from "../../interop/lib/jose.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { decode } from "../lib/oauth.mjs";
import { SCOPE, World } from "./world.mjs";

const ALGORITHMS = { "by-rsa": "RS256", "by-ecdsa": "ES256", "by-eddsa": "EdDSA" };
const LIBRARIES = ["jose", "oauth4webapi", "pyjwt", "joserfc"];
/** What is done to a token, and the whole one. */
const TOKENS = 12;
let judged = 0;

suite("verifiers", async () => {
    const world = await World.open("verifiers");
    for (const [tenant, algorithm] of Object.entries(ALGORITHMS)) {
        await world.installation.addTenant(tenant, algorithm);
        await world.installation.addHttpServer("files", world.desk.url, { tenant });
        await world.installation.addIdentity("worker", { tenant });
    }
    return { world, stop: () => world.stop() };
});

test("the algorithms of this suite are those that we issue with", async ({ world }) => {
    const metadata = await (await fetch(`${world.issuer}/.well-known/openid-configuration`)).json();
    assert.deepEqual([...metadata.token_endpoint_auth_signing_alg_values_supported].sort(), Object.values(ALGORITHMS).sort());
});

const part = value => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** A token with everything that can be done to it by somebody without the key. */
async function tampered(token, tenant) {
    const [head, body, signature] = token.split(".");
    const { header, claims } = decode(token);
    const { publicKey, privateKey } = await generateKeyPair(header.alg, { extractable: true });
    const resigned = (more = {}, claimed = {}) => new SignJWT({ ...claims, ...claimed }).setProtectedHeader({ ...header, ...more }).sign(privateKey);
    const flipped = at => {
        const bytes = Buffer.from(signature, "base64url");
        bytes[at] ^= 1;
        return `${head}.${body}.${bytes.toString("base64url")}`;
    };
    return {
        "a flipped first byte": flipped(0),
        "a flipped middle byte": flipped(33),
        "another subject": `${head}.${part({ ...claims, sub: "idn_other" })}.${signature}`,
        "a later end": `${head}.${part({ ...claims, exp: claims.exp + 86_400 })}.${signature}`,
        "another tenant": `${head}.${part({ ...claims, iss: claims.iss.replace(tenant, "acme") })}.${signature}`,
        "no signature": `${head}.${body}.`,
        "alg none": `${part({ ...header, alg: "none" })}.${body}.`,
        "a key of somebody else": await resigned(),
        "a key of somebody else, embedded": await resigned({ jwk: await exportJWK(publicKey) }),
        "another kid": await resigned({ kid: "nobody" }),
        "another type": await resigned({ typ: "JWT" })
    };
}

/** The verdicts of the Python libraries. */
async function byPython(asked) {
    const child = spawn("python", [join(import.meta.dirname, "../../interop/drivers/verify_tokens.py")], { stdio: ["pipe", "pipe", "inherit"] });
    child.stdin.end(JSON.stringify(asked));
    const chunks = [];
    child.stdout.on("data", chunk => chunks.push(chunk));
    assert.equal(await new Promise(done => child.on("close", done)), 0);
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
}

for (const [tenant, algorithm] of Object.entries(ALGORITHMS)) {
    test(`jose, oauth4webapi, PyJWT and joserfc verify our ${algorithm} tokens, and refuse every tampered one`, async ({ world }) => {
        const issuer = `${world.installation.url}/t/${tenant}`;
        const audience = `${issuer}/mcp`;
        const { token } = await world.installation.openTask("worker", [SCOPE], { tenant });
        const bad = await tampered(token, tenant);
        const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));
        const as = await oauth.processDiscoveryResponse(new URL(issuer), await oauth.discoveryRequest(new URL(issuer)));
        const request = text => new Request(audience, { method: "POST", headers: { authorization: `Bearer ${text}` } });
        const libraries = {
            jose: async text => (await jwtVerify(text, keys, { issuer, audience, typ: "at+jwt", algorithms: [algorithm], requiredClaims: ["sub", "jti", "client_id", "iat", "exp"] })).payload,
            oauth4webapi: text => oauth.validateJwtAccessToken(as, request(text), audience, { signingAlgorithms: [algorithm] })
        };
        const python = await byPython({ jwks_uri: `${issuer}/jwks`, issuer, audience, algorithm, tokens: { whole: token, ...bad } });
        for (const library of LIBRARIES.slice(2)) {
            libraries[library] = async text => {
                const name = text === token ? "whole" : Object.keys(bad).find(each => bad[each] === text);
                return python[library][name] ?? Promise.reject(new Error(python.why[`${library} ${name}`]));
            };
        }
        const { claims } = decode(token);
        for (const [library, verify] of Object.entries(libraries)) {
            assert.deepEqual({ ...(await verify(token)) }, claims, library);
            judged += 1;
            for (const [what, forged] of Object.entries(bad)) {
                await assert.rejects(async () => verify(forged), `${library} takes ${what}`);
                judged += 1;
            }
            // What is refused is refused for what was done to it, not because the library cannot read our tokens.
            assert.deepEqual({ ...(await verify(token)) }, claims, library);
        }
        await assert.rejects(jwtVerify(token, keys, { issuer, audience: `${world.issuer}/mcp` }), /aud/);
    });
}

test("every verifier judged every token", () => {
    const all = Object.keys(ALGORITHMS).length * LIBRARIES.length * TOKENS;
    assert.equal(judged, all);
    figure("tokens judged by foreign verifiers", all);
});
