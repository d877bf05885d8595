// Every client × grant × constraint of the table, and what else a client does, over HTTPS against the real server.
import assert from "node:assert/strict";
import { calculateJwkThumbprint } from "../../interop/lib/jose.mjs";
import { agree } from "../lib/consent.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { callOf } from "../lib/mcp.mjs";
import { decode, requestToken } from "../lib/oauth.mjs";
import { CLIENTS, CONSTRAINTS, DEED_EXCEPTIONS, DEEDS, exceptionOf, GRANT_EXCEPTIONS, GRANTS } from "./matrix.mjs";
import { SCOPE, World } from "./world.mjs";

/** Grants with a person in front; their clients have no key of their own. */
const PERSONAL = ["authorization_code", "refresh_token"];
const REDIRECT = "http://127.0.0.1:8976/callback";
const GRANT_TYPE = {
    "client_credentials": "client_credentials",
    "token-exchange": "urn:ietf:params:oauth:grant-type:token-exchange",
    "jwt-bearer": "urn:ietf:params:oauth:grant-type:jwt-bearer"
};
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";

suite("clients", async () => {
    const world = await World.open("oauth");
    const worker = await world.client("worker");
    const helper = await world.client("helper", { can: [SCOPE, "token:exchange"] });
    const delegator = await world.client("delegator", { mayAct: ["helper"] });
    const runner = await world.workload("runner");
    const { client_id: clientId } = await world.installation.cli(["consent", "client", "add", "Notebook", "--redirect", REDIRECT]);
    const notebook = { clientId, task: (await world.personal("reader")).id };
    const leaf = world.authority.issue("agent", { use: "clientAuth", names: [] });
    const drivers = {};
    for (const name of CLIENTS) {
        drivers[name] = (await import(`../../interop/drivers/oauth/${name}.mjs`)).make;
    }
    return { world, worker, helper, delegator, runner, notebook, leaf, drivers, stop: () => world.stop() };
});

/** An agent with this client library; `who` is a registered client, or nobody, for a workload. */
async function agent({ world, drivers, leaf }, library, who, constraint = "none") {
    const { clientId, jwk } = who ?? { clientId: "workload", jwk: undefined };
    return drivers[library]({ issuer: world.issuer, clientId, jwk, constraint, leaf });
}

/** A person agrees, and the client comes back with its code; for a refresh token it then asks once more. */
async function agreed({ world, notebook }, asked, grant, constraint) {
    const link = await asked.authorize({ redirect: REDIRECT, scope: SCOPE, resource: world.installation.endpoint("files") });
    const { back } = await agree(world.installation, link, ["--task", notebook.task]);
    const first = await asked.redeem(back.href);
    assert.ok(first.refresh_token, "no refresh token");
    if (grant === "authorization_code") {
        return first;
    }
    const second = await asked.refresh(first.refresh_token);
    assert.notEqual(second.refresh_token, first.refresh_token, "a refresh token is replaced with every use");
    assert.notEqual(second.access_token, first.access_token);
    if (constraint === "none") {
        return second;
    }
    // Stolen without its key it serves nobody, and the one who holds the key goes on.
    const stolen = { grant_type: "refresh_token", client_id: notebook.clientId, refresh_token: second.refresh_token };
    const refused = await requestToken(`${world.issuer}/token`, stolen);
    assert.deepEqual([refused.status, refused.body.error], [400, "invalid_grant"], refused.text);
    return asked.refresh(second.refresh_token);
}

/** Asks for a token by this grant; gives the answer and the agent. */
async function granted(context, library, grant, constraint) {
    const { world, worker, helper, delegator, runner, notebook } = context;
    const resource = world.installation.endpoint("files");
    const parameters = {
        "client_credentials": () => ({ scope: SCOPE, resource }),
        "token-exchange": async () => ({
            subject_token: delegator.task.token,
            subject_token_type: ACCESS_TOKEN,
            actor_token: await fresh(asked, `${SCOPE} token:exchange`),
            actor_token_type: ACCESS_TOKEN,
            scope: SCOPE,
            resource
        }),
        "jwt-bearer": async () => ({ assertion: await runner.assertion(), scope: SCOPE })
    };
    const who = { "client_credentials": worker, "token-exchange": helper }[grant] ?? (PERSONAL.includes(grant) ? notebook : undefined);
    const asked = await agent(context, library, who, constraint);
    try {
        if (PERSONAL.includes(grant)) {
            return { asked, answer: await agreed(context, asked, grant, constraint) };
        }
        return { asked, answer: await asked.token(GRANT_TYPE[grant], await parameters[grant]()) };
    } catch (error) {
        asked.stop();
        throw new Error(`${error.message}: ${error.error_description ?? ""}`, { cause: error });
    }
}

/** What the column of the table promises: the key in the token, and nothing for who does not hold it. */
async function assertBound({ world, leaf }, constraint, asked, answer) {
    const { header, claims } = decode(answer.access_token);
    assert.equal(header.typ, "at+jwt");
    const call = callOf(undefined, "tools/call", { name: "echo", arguments: { text: "hello" } });
    const request = { url: world.installation.endpoint("files"), headers: call.headers, body: call.body };
    assert.equal(answer.token_type.toLowerCase(), constraint === "dpop" ? "dpop" : "bearer");
    const expected = {
        none: () => undefined,
        dpop: async () => ({ jkt: await calculateJwkThumbprint(asked.publicKey) }),
        mtls: () => ({ "x5t#S256": leaf.thumbprint })
    };
    assert.deepEqual(claims.cnf, await expected[constraint]());
    const before = world.desk.count("echo");
    const used = await asked.use(answer.access_token, request);
    const text = await used.text();
    assert.equal(used.status, 200, text);
    assert.match(text, /"result"/);
    assert.equal(world.desk.count("echo"), before + 1);
    if (constraint !== "none") {
        for (const scheme of ["Bearer", "DPoP"]) {
            const stolen = await fetch(request.url, { method: "POST", headers: { ...call.headers, authorization: `${scheme} ${answer.access_token}` }, body: call.body });
            assert.equal(stolen.status, 401, `${scheme}: ${await stolen.text()}`);
        }
        assert.equal(world.desk.count("echo"), before + 1);
    }
}

/** Runs a cell; one with an exception has to fail, or the exception is stale. */
async function cell(why, body) {
    if (why === undefined) {
        return body();
    }
    let failed;
    try {
        await body();
    } catch (error) {
        failed = error;
    }
    assert.ok(failed !== undefined, `stale exception: this works now, take it out of the table (${why})`);
}

const counted = { works: 0, cannot: 0 };
const note = why => (counted[why === undefined ? "works" : "cannot"] += 1);

for (const library of CLIENTS) {
    for (const grant of GRANTS) {
        for (const constraint of CONSTRAINTS) {
            const why = exceptionOf(GRANT_EXCEPTIONS, library, grant, constraint);
            test(`${library} × ${grant} × ${constraint}${why === undefined ? "" : `: cannot, ${why}`}`, async context => {
                note(why);
                await cell(why, async () => {
                    const { asked, answer } = await granted(context, library, grant, constraint);
                    try {
                        await assertBound(context, constraint, asked, answer);
                    } finally {
                        asked.stop();
                    }
                });
            });
        }
    }
}

/** A fresh token of the client's own task, asked for by this library. */
async function fresh(asked, scope = SCOPE) {
    const { access_token: token } = await asked.token("client_credentials", { scope });
    return token;
}

const metadataAt = place => async (asked, { world }) => {
    const metadata = await asked.discover(place);
    assert.equal(metadata.issuer, world.issuer);
    assert.equal(metadata.token_endpoint, `${world.issuer}/token`);
};

const DEED = {
    [DEEDS[0]]: metadataAt("oauth-authorization-server"),
    [DEEDS[1]]: metadataAt("openid-configuration"),
    [DEEDS[2]]: metadataAt("openid-configuration below the issuer"),
    "metadata of the resource": async (asked, { world }) => {
        const url = world.installation.endpoint("files");
        const resource = await asked.resource(url);
        assert.equal(resource.resource, url);
        assert.deepEqual(resource.authorization_servers, [world.issuer]);
    },
    "revocation": async (asked, { world }) => {
        const token = await fresh(asked);
        assert.equal((await asked.introspect(token)).active, true);
        await asked.revoke(token);
        assert.deepEqual(await asked.introspect(token), { active: false });
        const call = callOf(token, "tools/list");
        const reply = await fetch(world.installation.endpoint("files"), { method: "POST", headers: call.headers, body: call.body });
        assert.equal(reply.status, 401);
        await asked.revoke(token); // what is revoked stays so, and asking again is no error (RFC 7009 §2.2)
    },
    "introspection": async (asked, { worker }) => {
        const token = await fresh(asked);
        const answer = await asked.introspect(token);
        const { claims } = decode(token);
        assert.equal(answer.active, true);
        assert.deepEqual([answer.sub, answer.jti, answer.client_id], [claims.sub, claims.jti, worker.clientId]);
        const [head, body, signature] = token.split(".");
        assert.deepEqual(await asked.introspect(`${head}.${body}.${signature.replace(/^./, first => (first === "A" ? "B" : "A"))}`), { active: false });
    },
    "signed introspection": async asked => {
        const token = await fresh(asked);
        const answer = await asked.introspectSigned(token);
        assert.deepEqual([answer.active, answer.jti], [true, decode(token).claims.jti]);
    }
};

for (const library of CLIENTS) {
    for (const deed of DEEDS) {
        const why = exceptionOf(DEED_EXCEPTIONS, library, deed);
        test(`${library}: ${deed}${why === undefined ? "" : `: cannot, ${why}`}`, async context => {
            note(why);
            await cell(why, async () => {
                const asked = await agent(context, library, context.worker);
                try {
                    await DEED[deed](asked, context);
                } finally {
                    asked.stop();
                }
            });
        });
    }
}

test("every cell of the table was tried", () => {
    const all = CLIENTS.length * (GRANTS.length * CONSTRAINTS.length + DEEDS.length);
    assert.equal(counted.works + counted.cannot, all);
    figure("cells of the OAuth table", `${counted.works} work, ${counted.cannot} cannot, of ${all}`);
});
