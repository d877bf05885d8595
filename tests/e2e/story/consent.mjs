// Grants with a human in front: official MCP clients from discovery to a
// refreshed token, with an operator at the command line.
import assert from "node:assert/strict";
import { createPrivateKey, randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { exportJWK, generateKeyPair, SignJWT } from "../../interop/lib/jose.mjs";
import { Client as ModernClient, createPrivateKeyJwtAuth, CrossAppAccessProvider, StreamableHTTPClientTransport as ModernTransport } from "../../interop/node_modules/@modelcontextprotocol/client/dist/index.mjs";
import { Client as LegacyClient } from "../../interop/node_modules/@modelcontextprotocol/sdk/dist/esm/client/index.js";
import { StreamableHTTPClientTransport as LegacyTransport } from "../../interop/node_modules/@modelcontextprotocol/sdk/dist/esm/client/streamableHttp.js";
import { agree, openPage, postPage } from "../lib/consent.mjs";
import { Desk } from "../lib/desk.mjs";
import { Installation } from "../lib/installation.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { deadToken, permitted } from "../lib/mcp.mjs";
import { decode, requestToken } from "../lib/oauth.mjs";

const REDIRECT = "http://127.0.0.1:8976/callback";

suite("consent", async () => {
    const desk = await Desk.open();
    const installation = await Installation.start("consent");
    await installation.addHttpServer("files", desk.url);
    await installation.addIdentity("worker");
    const registered = await installation.cli(["consent", "client", "add", "Notebook", "--redirect", "http://127.0.0.1/callback"]);
    return {
        desk,
        installation,
        clientId: registered.client_id,
        stop: async () => {
            await installation.stop();
            await desk.close();
        }
    };
});

/** What an SDK client keeps between its steps. */
class Keeper {
    constructor(information, metadataUrl) {
        this.information = information;
        this.clientMetadataUrl = metadataUrl;
        this.kept = undefined;
        this.link = undefined;
    }
    get redirectUrl() {
        return REDIRECT;
    }
    get clientMetadata() {
        return {
            client_name: "Notebook",
            redirect_uris: [REDIRECT],
            grant_types: ["authorization_code", "refresh_token"],
            response_types: ["code"],
            token_endpoint_auth_method: "none"
        };
    }
    clientInformation() {
        return this.information;
    }
    saveClientInformation(information) {
        this.information = information;
    }
    tokens() {
        return this.kept;
    }
    saveTokens(tokens) {
        this.kept = tokens;
    }
    redirectToAuthorization(url) {
        this.link = url;
    }
    saveDiscoveryState(state) {
        this.found = state;
    }
    discoveryState() {
        return this.found;
    }
    saveCodeVerifier(verifier) {
        this.verifier = verifier;
    }
    codeVerifier() {
        return this.verifier;
    }
    state() {
        return "state-of-the-client";
    }
}

/** From nothing to a tool call and a refreshed token; gives what was kept. */
async function wholeFlow({ installation, desk }, { Client, Transport, keeper }) {
    const endpoint = new URL(installation.endpoint("files"));
    const open = () => {
        const client = new Client({ name: "notebook", version: "1" });
        return { client, transport: new Transport(endpoint, { authProvider: keeper }) };
    };
    const first = open();
    await assert.rejects(first.client.connect(first.transport), /Unauthorized/i);
    assert.ok(keeper.link, "the client was not sent to the authorization endpoint");
    const asked = new URL(keeper.link);
    assert.equal(asked.searchParams.get("code_challenge_method"), "S256");
    assert.equal(asked.searchParams.get("resource"), `${installation.url}/t/acme/mcp`);
    const { back, page, allowed } = await agree(installation, asked, ["--identity", "worker", "--can", "files:read_text_file", "--for", "1h"]);
    assert.ok(page.html.includes("127.0.0.1:8976"), "the page does not show where it goes back to");
    assert.equal(`${back.origin}${back.pathname}`, REDIRECT);
    assert.equal(back.searchParams.get("iss"), `${installation.url}/t/acme`);
    assert.equal(back.searchParams.get("state"), "state-of-the-client");
    // The newer client takes the whole answer and compares `iss` itself; the older one takes the code.
    await first.transport.finishAuth(Transport === ModernTransport ? back.searchParams : back.searchParams.get("code"));
    const second = open();
    await second.client.connect(second.transport);
    const before = desk.calls.length;
    const result = await second.client.callTool({ name: "read_text_file", arguments: { path: "/srv/in/a.txt" } });
    assert.notEqual(result.isError, true, JSON.stringify(result));
    assert.equal(desk.calls.length, before + 1);
    // Its access token is gone; it gets the next with its refresh token, and nobody is asked.
    const stale = keeper.kept;
    keeper.kept = { ...stale, access_token: `${stale.access_token}x` };
    const again = await second.client.callTool({ name: "read_text_file", arguments: { path: "/srv/in/b.txt" } });
    assert.notEqual(again.isError, true, JSON.stringify(again));
    assert.notEqual(keeper.kept.refresh_token, stale.refresh_token, "a refresh token is replaced with every use");
    assert.equal(decode(keeper.kept.access_token).claims.client_id, keeper.information.client_id);
    await second.client.close();
    return { allowed, stale };
}

const renew = (installation, clientId, refresh) =>
    requestToken(`${installation.url}/t/acme/token`, { grant_type: "refresh_token", client_id: clientId, refresh_token: refresh });

test("an official MCP client goes from discovery to a tool call and a refreshed token", async stage => {
    const keeper = new Keeper({ client_id: stage.clientId, issuer: `${stage.installation.url}/t/acme` });
    const { allowed, stale } = await wholeFlow(stage, { Client: ModernClient, Transport: ModernTransport, keeper });
    const { installation } = stage;
    await permitted(installation.endpoint("files"), keeper.kept.access_token, "read_text_file", { path: "/srv/in/c.txt" });
    const { items } = await installation.cli(["consent", "ls"]);
    assert.equal(items.find(item => item.id === allowed.consent.id).state, "used");
    // The old refresh token, from wherever: everything of the consent is dead at once.
    const reused = await renew(installation, stage.clientId, stale.refresh_token);
    assert.equal(reused.status, 400, reused.text);
    assert.equal(reused.body.error, "invalid_grant");
    await deadToken(installation.endpoint("files"), keeper.kept.access_token);
});

test("the older official MCP client does the same", async stage => {
    const keeper = new Keeper({ client_id: stage.clientId, issuer: `${stage.installation.url}/t/acme` });
    const { allowed } = await wholeFlow(stage, { Client: LegacyClient, Transport: LegacyTransport, keeper });
    const { installation } = stage;
    await installation.kill("token", allowed.consent.token);
    await deadToken(installation.endpoint("files"), keeper.kept.access_token);
    assert.equal((await renew(installation, stage.clientId, keeper.kept.refresh_token)).body.error, "invalid_grant");
});

test("an official MCP client that describes itself is let in by its document", async stage => {
    const { installation } = stage;
    let url;
    let asked = 0;
    const host = createServer((request, response) => {
        asked += 1;
        const { clientMetadata } = new Keeper(undefined);
        const document = { client_id: url, ...clientMetadata, redirect_uris: ["http://127.0.0.1/callback"] };
        response.writeHead(200, { "content-type": "application/json", "cache-control": "max-age=300" }).end(JSON.stringify(document));
    });
    await new Promise(done => host.listen(0, "127.0.0.1", done));
    try {
        const place = `http://127.0.0.1:${host.address().port}`;
        url = `${place}/client.json`;
        const words = ["--documents", url, "--allow-address", "127.0.0.0/8", "--danger-plaintext"];
        await installation.cli(["consent", "client", "add", "Self", ...words]);
        const metadata = await (await fetch(`${installation.url}/.well-known/oauth-authorization-server/t/acme`)).json();
        assert.equal(metadata.client_id_metadata_document_supported, true);
        // The official client insists on https for its own document, so its id is given to it here.
        const keeper = new Keeper({ client_id: url, issuer: `${installation.url}/t/acme` });
        await wholeFlow(stage, { Client: ModernClient, Transport: ModernTransport, keeper });
        assert.equal(decode(keeper.kept.access_token).claims.client_id, url);
        assert.equal(asked, 1, "kept as its host says");
    } finally {
        host.closeAllConnections();
        await new Promise(done => host.close(done));
    }
});

test("an official MCP client is let in by what the enterprise's provider says about its user", async ({ installation, desk }) => {
    const [provider, issuer, endpoint] = ["https://idp.acme.example", `${installation.url}/t/acme`, installation.endpoint("files")];
    const { publicKey, privateKey } = await generateKeyPair("ES256");
    const jwks = join(installation.folder, "provider.jwks");
    writeFileSync(jwks, JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "p1", alg: "ES256", use: "sig" }] }));
    await installation.addIdentity("assistant");
    const [key, token] = [join(installation.folder, "assistant.pem"), join(installation.folder, "assistant.token")];
    const { client_id: clientId } = await installation.cli(["client", "add", "assistant", "--generate", key, "--algorithm", "ES256", "--proof", "none"]);
    const rule = ["--issuer", provider, "--match", "sub=u-17", "--match", `client_id=${clientId}`, "--jwks", jwks];
    await installation.cli(["trust", "add", "assistant", "--method", "id-jag", ...rule]);
    await installation.cli(["task", "open", "--identity", "assistant", "--purpose", "p", "--for", "1h", "--can", "files:read_text_file", "--token-file", token]);
    /** A client whose user signed in with the provider as `subject`. */
    const signedIn = subject => {
        const assertion = async ({ authorizationServerUrl, resourceUrl }) =>
            new SignJWT({ client_id: clientId, resource: resourceUrl, scope: "files:*", jti: randomUUID() })
                .setProtectedHeader({ alg: "ES256", kid: "p1", typ: "oauth-id-jag+jwt" })
                .setIssuer(provider)
                .setSubject(subject)
                .setAudience(authorizationServerUrl)
                .setIssuedAt()
                .setExpirationTime("2m")
                .sign(privateKey);
        const keeper = new CrossAppAccessProvider({ assertion, clientId, clientSecret: "none", expectedIssuer: issuer });
        const jwk = createPrivateKey(readFileSync(key)).export({ format: "jwk" });
        keeper.addClientAuthentication = createPrivateKeyJwtAuth({ issuer: clientId, subject: clientId, privateKey: jwk, alg: "ES256" });
        const client = new ModernClient({ name: "assistant", version: "1" });
        return { keeper, client, connect: () => client.connect(new ModernTransport(new URL(endpoint), { authProvider: keeper })) };
    };
    const somebody = signedIn("u-18");
    await assert.rejects(somebody.connect(), /no trust rule/);
    assert.equal(somebody.keeper.tokens(), undefined);
    const user = signedIn("u-17");
    await user.connect();
    const before = desk.calls.length;
    const result = await user.client.callTool({ name: "read_text_file", arguments: { path: "/srv/in/a.txt" } });
    assert.notEqual(result.isError, true, JSON.stringify(result));
    assert.equal(desk.calls.length, before + 1);
    const held = user.keeper.tokens();
    assert.equal(decode(held.access_token).claims.scope, "files:read_text_file");
    assert.equal(held.refresh_token, undefined, "the provider is asked again, and may say no");
    await user.client.close();
    await installation.kill("issuer", provider, ["--break-glass"]);
    await deadToken(endpoint, held.access_token);
});

test("a refresh token lives through kill -9, and what was taken back stays dead", async stage => {
    const { installation, clientId } = stage;
    const flow = async () => {
        const keeper = new Keeper({ client_id: clientId, issuer: `${installation.url}/t/acme` });
        await wholeFlow(stage, { Client: ModernClient, Transport: ModernTransport, keeper });
        return keeper.kept;
    };
    const kept = await flow();
    const revoked = await flow();
    const answer = await fetch(`${installation.url}/t/acme/revoke`, {
        method: "POST",
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: new URLSearchParams({ client_id: clientId, token: revoked.refresh_token }).toString()
    });
    assert.equal(answer.status, 200, await answer.text());
    let latest = kept.refresh_token;
    for (let round = 0; round < 3; round += 1) {
        const renewed = await renew(installation, clientId, latest);
        assert.equal(renewed.status, 200, renewed.text);
        await installation.service.stop("SIGKILL");
        await installation.serve();
        // What was acknowledged is there, and there is one successor.
        const next = await renew(installation, clientId, renewed.body.refresh_token);
        assert.equal(next.status, 200, next.text);
        latest = next.body.refresh_token;
        assert.equal((await renew(installation, clientId, revoked.refresh_token)).body.error, "invalid_grant");
        await deadToken(installation.endpoint("files"), revoked.access_token);
    }
    assert.equal((await renew(installation, clientId, kept.refresh_token)).body.error, "invalid_grant");
    assert.equal((await renew(installation, clientId, latest)).body.error, "invalid_grant");
});

/** What a client without a library sends its browser with (RFC 7636, appendix B). */
const VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const linkOf = (installation, clientId) =>
    `${installation.url}/t/acme/authorize?${new URLSearchParams({
        response_type: "code",
        client_id: clientId,
        redirect_uri: REDIRECT,
        code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        code_challenge_method: "S256",
        state: "s"
    })}`;

test("kill -9 in the midst of a use leaves one successor or none, and never two", async ({ installation, clientId }) => {
    const words = ["--identity", "worker", "--can", "files:read_text_file", "--for", "1h"];
    const redeem = code =>
        requestToken(`${installation.url}/t/acme/token`, { grant_type: "authorization_code", client_id: clientId, code, redirect_uri: REDIRECT, code_verifier: VERIFIER });
    const seen = { answered: 0, begun: 0, untouched: 0 };
    const whole = await agree(installation, linkOf(installation, clientId), words);
    const began = performance.now();
    assert.equal((await redeem(whole.back.searchParams.get("code"))).status, 200);
    const usual = performance.now() - began;
    for (const [what, part] of [["code", 0.2], ["refresh", 0.4], ["code", 0.6], ["refresh", 0.7], ["code", 0.8], ["refresh", 0.9], ["code", 1], ["refresh", 1.2]]) {
        const { back } = await agree(installation, linkOf(installation, clientId), words);
        const code = back.searchParams.get("code");
        let use = () => redeem(code);
        if (what === "refresh") {
            const { body } = await redeem(code);
            use = () => renew(installation, clientId, body.refresh_token);
        }
        const under = use().catch(() => undefined);
        await new Promise(done => setTimeout(done, usual * part));
        await installation.service.stop("SIGKILL");
        const answered = await under;
        await installation.serve();
        const again = await use();
        const got = [answered, again].filter(each => each?.status === 200);
        assert.ok(got.length <= 1, `${what}: two successors`);
        assert.ok(again.status === 200 || again.body.error === "invalid_grant", again.text);
        seen[answered?.status === 200 ? "answered" : again.status === 200 ? "untouched" : "begun"] += 1;
        // Once more, from wherever: whatever came of it is dead.
        assert.equal((await use()).body.error, "invalid_grant");
        for (const { body } of got) {
            await deadToken(installation.endpoint("files"), body.access_token);
            assert.equal((await renew(installation, clientId, body.refresh_token)).body.error, "invalid_grant");
        }
    }
    figure("kill -9 in the midst of a code or refresh token", `${seen.answered} answered, ${seen.begun} written and unanswered, ${seen.untouched} untouched`);
});

test("an operator refuses, and the client hears so", async ({ installation, clientId }) => {
    const page = await openPage(linkOf(installation, clientId));
    const shown = await installation.cli(["consent", "show", page.code]);
    assert.equal(shown.redirect_host, "127.0.0.1:8976");
    await installation.refused(["consent", "allow", "BBBB-BBBB", "--task", "tsk_x"], 8, "consent.unknown");
    await installation.cli(["consent", "refuse", page.code, "--reason", "not expected"]);
    const back = new URL((await postPage(page, { do: "continue", word: "BCDFGHJK" })).headers.get("location"));
    assert.equal(back.searchParams.get("error"), "access_denied");
    assert.equal(back.searchParams.get("iss"), `${installation.url}/t/acme`);
});
