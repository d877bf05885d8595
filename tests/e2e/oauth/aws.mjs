// AWS in: GetCallerIdentity signed by botocore, sent on to moto with authentication switched on, over HTTPS.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { join } from "node:path";
import { suite, test } from "../lib/lane.mjs";
import { decode, requestToken } from "../lib/oauth.mjs";
import { until } from "../lib/wait.mjs";
import { SCOPE, World } from "./world.mjs";

const GRANT_TYPE = "urn:bailiwick:grant-type:aws-sts";
const REGION = "eu-west-1";

const freePort = () =>
    new Promise(done => {
        const probe = createServer().listen(0, "127.0.0.1", () => {
            const { port } = probe.address();
            probe.close(() => done(port));
        });
    });

/** botocore: makes a caller, or signs a request; gives what it prints. */
async function botocore(asked) {
    const child = spawn("python", [join(import.meta.dirname, "../../interop/drivers/sign_sts.py")], { stdio: ["pipe", "pipe", "inherit"] });
    child.stdin.end(JSON.stringify({ region: REGION, ...asked }));
    const chunks = [];
    child.stdout.on("data", chunk => chunks.push(chunk));
    assert.equal(await new Promise(done => child.on("close", done)), 0);
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
}

suite("aws", async () => {
    const world = await World.open("aws", { more: `[outbound]\nca_file = "${process.env.NODE_EXTRA_CA_CERTS}"\n` });
    const leaf = world.authority.issue("moto");
    const port = await freePort();
    const host = `127.0.0.1:${port}`;
    const endpoint = `https://${host}`;
    const moto = spawn("moto_server", ["-H", "127.0.0.1", "-p", String(port), "-c", leaf.certificate, "-k", leaf.key], { stdio: ["ignore", "pipe", "pipe"] });
    let log = "";
    for (const stream of [moto.stdout, moto.stderr]) {
        stream.on("data", chunk => (log += chunk));
    }
    await until("moto to answer", () => fetch(`${endpoint}/moto-api/`).then(answer => answer.ok, () => false), 30_000);
    const agent = await botocore({ do: "role", endpoint, name: "agent" });
    const other = await botocore({ do: "role", endpoint, name: "other" });
    const answer = await fetch(`${endpoint}/moto-api/reset-auth`, { method: "POST", body: "0" });
    assert.equal(answer.status, 200);
    const identity = await world.installation.addIdentity("on-aws");
    const task = await world.task("on-aws");
    const asks = () => log.split("\n").filter(line => /POST \/ HTTP/.test(line)).length;
    return {
        world,
        host,
        endpoint,
        agent,
        other,
        identity,
        task,
        asks,
        expected: asks(),
        stop: async () => {
            moto.kill("SIGTERM");
            await world.stop();
        }
    };
});

const sign = ({ host, world, agent }, more = {}) => botocore({ do: "sign", host, audience: world.issuer, key: agent.key, secret: agent.secret, session: agent.session, ...more });

/** Asks for a token; `sent` says whether STS has to hear of it. */
async function ask(context, { assertion }, sent = true) {
    const answer = await requestToken(`${context.world.issuer}/token`, { grant_type: GRANT_TYPE, assertion, scope: SCOPE });
    context.expected += sent ? 1 : 0;
    await until("the requests to arrive", () => context.asks() >= context.expected);
    assert.equal(context.asks(), context.expected, "what is not for us is not sent on");
    return answer;
}

async function refused(context, signed, words, sent) {
    const answer = await ask(context, signed, sent);
    assert.equal(answer.status, 400, answer.text);
    assert.equal(answer.body.error, "invalid_grant");
    assert.match(answer.body.error_description, words);
}

test("a caller that AWS vouches for is its identity, once for each signature", async context => {
    const { world, agent, endpoint, identity, task } = context;
    await refused(context, await sign(context), /does not trust/, false);
    const account = agent.arn.split(":")[4];
    const words = ["trust", "add", "on-aws", "--method", "aws", "--issuer", endpoint, "--allow-address", "127.0.0.1/32"];
    const broad = await world.installation.refused([...words, "--match", `account=${account}`], 1, "trust.too-broad");
    assert.match(broad.message, /unique_id/);
    await world.installation.refused([...words, "--match", `account=${account}`, "--match", `arn=${agent.arn}`], 1, "trust.attribute-refused");
    const added = await world.installation.cli([...words, "--match", `account=${account}`, "--match", `unique_id=${agent.unique_id}`]);
    assert.ok(added.findings.some(({ code }) => code === "trust.endpoint-override"));
    const once = await sign(context);
    const granted = await ask(context, once);
    assert.equal(granted.status, 200, granted.text);
    const { claims } = decode(granted.body.access_token);
    assert.deepEqual([claims.nhi, claims.task, claims.client_id], [identity.id, task.id, added.id]);
    await refused(context, once, /used before/, true);
    // Within one second a request has one signature.
    let next = once;
    await until("another second", async () => (next = await sign(context)).assertion !== once.assertion);
    const again = await ask(context, next);
    assert.equal(again.status, 200, again.text);
});

test("another caller, a wrong key and a stranger get nothing", async context => {
    const { other } = context;
    await refused(context, await sign(context, { key: other.key, secret: other.secret, session: other.session }), /no trust rule/, true);
    await refused(context, await sign(context, { secret: other.secret }), /not vouch/, true);
    await refused(context, await sign(context, { key: "AKIAIOSFODNN7EXAMPLE", secret: "anything" }), /not vouch/, true);
});

test("a request that is not bound to us, or asks for something else, is not sent on", async context => {
    const { world } = context;
    await refused(context, await sign(context, { audience: `${world.installation.url}/t/globex` }), /another audience/, false);
    await refused(context, await sign(context, { audience: undefined }), /another audience/, false);
    await refused(context, await sign(context, { audience: undefined, unsigned: { "X-Bailiwick-Audience": world.issuer } }), /has to sign/, false);
    await refused(context, await sign(context, { body: "Action=GetSessionToken&Version=2011-06-15" }), /GetCallerIdentity/, false);
    await refused(context, await sign(context, { headers: { "X-Amz-Target": "iam" } }), /beyond those/, false);
    await refused(context, await sign(context, { age_s: 400 }), /expired/, false);
    await refused(context, await sign(context, { age_s: -400 }), /not valid yet/, false);
    await refused(context, await sign(context, { host: "sts.eu-west-1.amazonaws.com.evil.example" }), /does not trust|day and region/, false);
    await refused(context, await sign(context, { host: "sts.eu-west-1.amazonaws.com" }), /does not trust/, false);
    await refused(context, { assertion: "e30" }, /body/, false);
});
