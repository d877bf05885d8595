// RFC 8705 over the real listener: who is known by a certificate, and what a token is worth without it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { fetchWith } from "../../interop/drivers/oauth/keys.mjs";
import { thumbprint } from "../lib/authority.mjs";
import { suite, test } from "../lib/lane.mjs";
import { callOf } from "../lib/mcp.mjs";
import { ASSERTION_TYPE, assertion, decode } from "../lib/oauth.mjs";
import { SCOPE, World } from "./world.mjs";

/** A certificate that nobody but its holder signed. */
function selfSigned(folder, name) {
    const [certificate, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
    const words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", `/CN=${name}`];
    execFileSync("openssl", [...words, "-keyout", key, "-out", certificate], { stdio: "ignore" });
    chmodSync(key, 0o600);
    return { certificate, key, thumbprint: thumbprint(certificate) };
}

suite("mtls", async () => {
    const world = await World.open("mtls");
    const { folder } = world.installation;
    const own = selfSigned(folder, "own");
    const vouched = world.authority.issue("vouched", { use: "clientAuth", names: [] });
    const stranger = selfSigned(folder, "stranger");
    const bound = await world.client("bound", { certificate: own.certificate, proof: "mtls" });
    const other = await world.client("other", { certificate: vouched.certificate, proof: "mtls" });
    const keyed = await world.client("keyed", { proof: "mtls" });
    return { world, own, vouched, stranger, bound, other, keyed, stop: () => world.stop() };
});

/** A token request over a connection with this certificate, or with none. */
async function ask(world, leaf, form) {
    const send = leaf === undefined ? fetch : fetchWith(leaf);
    const body = new URLSearchParams({ grant_type: "client_credentials", ...form }).toString();
    const reply = await send(`${world.issuer}/token`, { method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" }, body });
    return { status: reply.status, body: await reply.json() };
}

const byCertificate = (world, leaf, { clientId }) => ask(world, leaf, { client_id: clientId });

async function byAssertion(world, leaf, { clientId, jwk }) {
    const signed = await assertion({ jwk, clientId, audience: world.issuer });
    return ask(world, leaf, { client_assertion_type: ASSERTION_TYPE, client_assertion: signed });
}

async function call(world, leaf, token, scheme = "Bearer") {
    const { headers, body } = callOf(undefined, "tools/call", { name: "echo", arguments: { text: "hello" } });
    const send = leaf === undefined ? fetch : fetchWith(leaf);
    const reply = await send(world.installation.endpoint("files"), { method: "POST", headers: { ...headers, authorization: `${scheme} ${token}` }, body });
    return { status: reply.status, text: await reply.text() };
}

test("metadata offers what the listener can do", async ({ world }) => {
    const metadata = await (await fetch(`${world.issuer}/.well-known/oauth-authorization-server`)).json();
    assert.equal(metadata.tls_client_certificate_bound_access_tokens, true);
    assert.deepEqual(metadata.token_endpoint_auth_methods_supported, ["private_key_jwt", "self_signed_tls_client_auth", "none"]);
});

test("a client is known by its certificate, whoever signed it, and its token is bound to it", async ({ world, own, vouched, bound, other }) => {
    for (const [leaf, client] of [[own, bound], [vouched, other]]) {
        const { status, body } = await byCertificate(world, leaf, client);
        assert.equal(status, 200, JSON.stringify(body));
        assert.equal(body.token_type, "Bearer");
        const { claims } = decode(body.access_token);
        assert.deepEqual(claims.cnf, { "x5t#S256": leaf.thumbprint });
        assert.equal(claims.client_id, client.clientId);
        assert.equal((await call(world, leaf, body.access_token)).status, 200);
    }
});

test("another certificate, or none, is another client", async ({ world, own, vouched, stranger, bound, keyed }) => {
    for (const leaf of [undefined, stranger, vouched]) {
        const { status, body } = await byCertificate(world, leaf, bound);
        assert.deepEqual([status, body.error], [401, "invalid_client"], JSON.stringify(body));
    }
    // A client without a registered certificate is known by its key alone.
    assert.equal((await byCertificate(world, own, keyed)).status, 401);
    assert.equal((await ask(world, own, {})).status, 401);
});

test("a client that is registered as bound to a certificate gets no other token", async ({ world, stranger, bound, keyed }) => {
    for (const [leaf, client] of [[undefined, bound], [stranger, bound], [undefined, keyed]]) {
        const { status, body } = await byAssertion(world, leaf, client);
        assert.deepEqual([status, body.error], [400, "invalid_request"], JSON.stringify(body));
    }
    // Registered with a key only: bound to the certificate that it shows.
    const { status, body } = await byAssertion(world, stranger, keyed);
    assert.equal(status, 200, JSON.stringify(body));
    assert.deepEqual(decode(body.access_token).claims.cnf, { "x5t#S256": stranger.thumbprint });
});

test("a token is nothing over another certificate or none, and neither is its renewal", async ({ world, own, stranger, bound }) => {
    const { body } = await byCertificate(world, own, bound);
    const token = body.access_token;
    const before = world.desk.count("echo");
    for (const leaf of [undefined, stranger]) {
        for (const scheme of ["Bearer", "DPoP"]) {
            const refused = await call(world, leaf, token, scheme);
            assert.equal(refused.status, 401, refused.text);
        }
        assert.equal(JSON.parse((await call(world, leaf, token)).text).code, "token.certificate");
    }
    const renew = async leaf => {
        const send = leaf === undefined ? fetch : fetchWith(leaf);
        const url = `${world.installation.url}/v1/tenants/acme/tasks/${bound.task.id}/tokens`;
        const reply = await send(url, { method: "POST", headers: { "content-type": "application/json", authorization: `Bearer ${token}` }, body: JSON.stringify({ count: 1 }) });
        return { status: reply.status, body: await reply.json() };
    };
    for (const leaf of [stranger, undefined]) {
        const refused = await renew(leaf);
        assert.deepEqual([refused.status, refused.body.code], [401, "token.certificate"], JSON.stringify(refused.body));
    }
    const renewed = await renew(own);
    assert.equal(renewed.status, 200, JSON.stringify(renewed.body));
    assert.deepEqual(decode(renewed.body.tokens[0].access_token).claims.cnf, { "x5t#S256": own.thumbprint });
    assert.equal((await call(world, own, token)).status, 200);
    assert.equal(world.desk.count("echo"), before + 1);
    assert.match(decode(token).claims.scope, new RegExp(SCOPE));
});
