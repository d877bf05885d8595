// Every client × grant × constraint of the table, and what else a client does, over HTTPS against the real server.
import assert from "node:assert/strict";
import { calculateJwkThumbprint } from "../../interop/lib/jose.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { callOf } from "../lib/mcp.mjs";
import { decode } from "../lib/oauth.mjs";
import { CLIENTS, CONSTRAINTS, DEED_EXCEPTIONS, DEEDS, exceptionOf, GRANT_EXCEPTIONS, GRANTS } from "./matrix.mjs";
import { SCOPE, World } from "./world.mjs";

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
    const leaf = world.authority.issue("agent", { use: "clientAuth", names: [] });
    const drivers = {};
    for (const name of CLIENTS) {
        drivers[name] = (await import(`../../interop/drivers/oauth/${name}.mjs`)).make;
    }
    return { world, worker, helper, delegator, runner, leaf, drivers, stop: () => world.stop() };
});

/** An agent with this client library; `who` is a registered client, or nobody, for a workload. */
async function agent({ world, drivers, leaf }, library, who, constraint = "none") {
    const { clientId, jwk } = who ?? { clientId: "workload", jwk: undefined };
    return drivers[library]({ issuer: world.issuer, clientId, jwk, constraint, leaf });
}

/** Asks for a token by this grant; gives the answer and the agent. */
async function granted(context, library, grant, constraint) {
    const { world, worker, helper, delegator, runner } = context;
    if (GRANT_TYPE[grant] === undefined) {
        const asked = await agent(context, library, worker, constraint);
        const served = (await asked.discover("oauth-authorization-server")).grant_types_supported ?? [];
        asked.stop();
        throw new Error(served.includes(grant) ? "the metadata offers it: write this cell" : "the metadata does not offer it");
    }
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
    const who = { "client_credentials": worker, "token-exchange": helper, "jwt-bearer": undefined }[grant];
    const asked = await agent(context, library, who, constraint);
    try {
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
