// Federation in: tokens of a real OpenID provider with the claims of GitHub, GitLab, Kubernetes, EKS, AWS STS, GCP and Azure become
// identities, and their look-alikes do not. Issuers are on this machine, behind the test CA that the configuration
// trusts (`outbound.ca_file`), at addresses that each trust rule allows.
import assert from "node:assert/strict";
import { Platform } from "../../interop/lib/provider.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { callOf } from "../lib/mcp.mjs";
import { decode, requestToken } from "../lib/oauth.mjs";
import { until } from "../lib/wait.mjs";
import { SCOPE, World } from "./world.mjs";

const GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TID = "5a1e2b34-0000-4000-8000-00000000acfe";
const UID = "6f6e2d60-1111-4222-8333-444455556666";

const STS = "https://sts.amazonaws.com/";
const EKS_UID = "2c0e2d60-1111-4222-8333-444455556666";
const AWS = { aws_account: "123456789012", source_region: "eu-central-1", org_id: "o-abc1234567", principal_tags: { team: "data" } };

const KUBERNETES = uid => ({
    sub: "system:serviceaccount:payments:invoices",
    "kubernetes.io": { namespace: "payments", serviceaccount: { name: "invoices", uid }, pod: { name: "invoices-7", uid: "aaaaaaaa-1111-4222-8333-444455556666" } }
});

/** What each platform says about a workload, the rule that means it, and who only looks like it. */
const SHAPES = {
    github: {
        match: ["repository_owner_id=65", "repository_id=74", "ref=refs/heads/main"],
        claims: {
            sub: "repo:octo@65/app@74:ref:refs/heads/main",
            repository: "octo/app",
            repository_id: "74",
            repository_owner: "octo",
            repository_owner_id: "65",
            repository_visibility: "private",
            actor: "ada",
            actor_id: "7",
            event_name: "push",
            ref: "refs/heads/main",
            ref_type: "branch",
            runner_environment: "github-hosted",
            job_workflow_ref: "octo/app/.github/workflows/deploy.yml@refs/heads/main",
            run_id: "1"
        },
        alike: {
            "another repository under the same name": [{ repository_id: "75" }, /no trust rule/],
            "another owner under the same name": [{ repository_owner_id: "66" }, /no trust rule/],
            "pull_request_target": [{ event_name: "pull_request_target" }, /stranger/],
            "another branch": [{ ref: "refs/heads/feature" }, /no trust rule/],
            "a repository of another owner": [{ repository: "eve/app" }, /repository/],
            "an id as a number": [{ repository_id: 7.4 }, /repository_id/]
        }
    },
    gitlab: {
        match: ["namespace_id=72", "project_id=20", "ref_protected=true"],
        claims: {
            sub: "project_path:acme/app:ref_type:branch:ref:main",
            project_id: "20",
            project_path: "acme/app",
            namespace_id: "72",
            namespace_path: "acme",
            user_email: "ada@acme.example",
            user_id: "1",
            pipeline_source: "push",
            ref: "main",
            ref_type: "branch",
            ref_protected: "true"
        },
        alike: {
            "another project under the same path": [{ project_id: "21" }, /no trust rule/],
            "another group under the same path": [{ namespace_id: "73" }, /no trust rule/],
            "a branch that is not protected": [{ ref_protected: "false" }, /no trust rule/],
            "a flag that is none": [{ ref_protected: "yes" }, /ref_protected/]
        }
    },
    kubernetes: {
        match: [`serviceaccount_uid=${UID}`],
        claims: KUBERNETES(UID),
        alike: {
            "an account made again under the same name": [KUBERNETES("7f6e2d60-1111-4222-8333-444455556666"), /no trust rule/],
            "another account than `sub` says": [{ sub: "system:serviceaccount:payments:other" }, /service account/]
        }
    },
    eks: {
        method: "kubernetes",
        path: "/id/0123456789ABCDEF0123456789ABCDEF",
        match: [`serviceaccount_uid=${EKS_UID}`],
        claims: KUBERNETES(EKS_UID),
        alike: {
            "an account made again under the same name": [KUBERNETES(UID), /no trust rule/],
            "another account than `sub` says": [{ sub: "system:serviceaccount:payments:other" }, /service account/]
        }
    },
    "aws-web-identity": {
        match: ["account=123456789012", "principal=arn:aws:iam::123456789012:role/apps/invoices", "function=arn:aws:lambda:eu-central-1:123456789012:function:invoices"],
        claims: { sub: "arn:aws:iam::123456789012:role/apps/invoices", [STS]: { ...AWS, lambda_source_function_arn: "arn:aws:lambda:eu-central-1:123456789012:function:invoices" } },
        alike: {
            "another role": [{ sub: "arn:aws:iam::123456789012:role/apps/payments" }, /no trust rule/],
            "the same name on another path": [{ sub: "arn:aws:iam::123456789012:role/invoices" }, /no trust rule/],
            "a user of the same name": [{ sub: "arn:aws:iam::123456789012:user/apps/invoices" }, /no trust rule/],
            "the same role in another function": [{ [STS]: { ...AWS, lambda_source_function_arn: "arn:aws:lambda:eu-central-1:123456789012:function:other" } }, /no trust rule/],
            "the same role outside of a function": [{ [STS]: AWS }, /no trust rule/],
            "a role of another account": [{ sub: "arn:aws:iam::999999999999:role/apps/invoices" }, /aws_account/],
            "another account, whole": [{ sub: "arn:aws:iam::999999999999:role/apps/invoices", [STS]: { ...AWS, aws_account: "999999999999" } }, /no trust rule/],
            "the root of the account": [{ sub: "arn:aws:iam::123456789012:root" }, /sub/],
            "the session of a role": [{ sub: "arn:aws:sts::123456789012:assumed-role/apps/invoices" }, /sub/]
        }
    },
    gcp: {
        match: ["sub=104213456789012345678"],
        claims: {
            sub: "104213456789012345678",
            azp: "104213456789012345678",
            email: "invoices@acme.iam.gserviceaccount.com",
            email_verified: true,
            google: { compute_engine: { instance_id: "8152", instance_name: "vm-1", project_id: "acme", project_number: 771, zone: "europe-west1-b" } }
        },
        alike: {
            "the e-mail address given to another account": [{ sub: "999913456789012345678", azp: "999913456789012345678" }, /no trust rule/],
            "a person": [{ email: "ada@acme.example" }, /service accounts/],
            "a token for somebody else's client": [{ azp: "555513456789012345678" }, /azp/]
        }
    },
    azure: {
        path: `/${TID}`,
        match: [`tid=${TID}`, "oid=9b1e2b34-0000-4000-8000-00000000beef"],
        claims: {
            sub: "9b1e2b34-0000-4000-8000-00000000beef",
            oid: "9b1e2b34-0000-4000-8000-00000000beef",
            tid: TID,
            appid: "1c1e2b34-0000-4000-8000-00000000cafe",
            idtyp: "app",
            ver: "1.0",
            xms_mirid: "/subscriptions/s/resourcegroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/invoices"
        },
        alike: {
            "another directory": [{ tid: "6b1e2b34-0000-4000-8000-00000000acfe" }, /tid/],
            "another object under the same name": [{ oid: "8b1e2b34-0000-4000-8000-00000000beef" }, /no trust rule/],
            "a person": [{ idtyp: "user" }, /applications/],
            "a person's delegated token": [{ scp: "user.read" }, /applications/]
        }
    }
};

let refusals = 0;

suite("federation", async () => {
    const world = await World.open("federation", { more: `[outbound]\nca_file = "${process.env.NODE_EXTRA_CA_CERTS}"\n` });
    await world.installation.addTenant("globex");
    const leaf = world.authority.issue("platforms");
    const platforms = {};
    for (const [name, { path }] of Object.entries(SHAPES)) {
        platforms[name] = await Platform.open({ leaf, path, algorithm: ["eks", "kubernetes"].includes(name) ? "ES256" : "RS256" });
    }
    return {
        world,
        platforms,
        stop: async () => {
            await Promise.all(Object.values(platforms).map(platform => platform.close()));
            await world.stop();
        }
    };
});

const ask = (url, assertion) => requestToken(url, { grant_type: GRANT_TYPE, assertion, scope: SCOPE });

async function refused(url, assertion, words) {
    const answer = await ask(url, assertion);
    assert.equal(answer.status, 400, answer.text);
    assert.equal(answer.body.error, "invalid_grant");
    assert.match(answer.body.error_description, words);
    refusals += 1;
}

for (const [name, { method = name, match, claims, alike }] of Object.entries(SHAPES)) {
    test(`a workload of ${name} is its identity, and what only looks like it is refused`, async ({ world, platforms }) => {
        const { installation, issuer } = world;
        const platform = platforms[name];
        const url = `${issuer}/token`;
        const token = (changes = {}, audience = issuer) => platform.token({ ...claims, ...changes }, audience);
        await refused(url, await token(), /does not trust/);
        const identity = await installation.addIdentity(`of-${name}`);
        const task = await world.task(`of-${name}`);
        const where = ["--issuer", platform.issuer, "--allow-address", "127.0.0.1/32"];
        await installation.cli(["trust", "add", `of-${name}`, "--method", method, ...where, ...match.flatMap(each => ["--match", each])]);
        assert.equal(platform.fetched, 0, "keys are not fetched before a token asks for them");
        const granted = await ask(url, await token());
        assert.equal(granted.status, 200, granted.text);
        const said = decode(granted.body.access_token).claims;
        assert.deepEqual([said.nhi, said.task], [identity.id, task.id]);
        for (const [what, [changes, words]] of Object.entries(alike)) {
            await assert.doesNotReject(refused(url, await token(changes), words), what);
        }
        await refused(url, await token({}, "https://other.acme.example"), /another audience/);
        // For another tenant of ours, and at another tenant.
        await refused(`${installation.url}/t/globex/token`, await token(), /does not trust/);
        await refused(url, await token({}, `${installation.url}/t/globex`), /another audience/);
        const [head, body, signature] = (await token()).split(".");
        await refused(url, `${head}.${body}.${signature.replace(/^./, first => (first === "A" ? "B" : "A"))}`, /verif/);
        const again = await ask(url, await token());
        assert.equal(again.status, 200, again.text);
    });
}

test("an account of another cluster of EKS is another workload, although everything in its token is the same", async ({ world, platforms }) => {
    await refused(`${world.issuer}/token`, await platforms.kubernetes.token(SHAPES.eks.claims, world.issuer), /no trust rule/);
    await refused(`${world.issuer}/token`, await platforms.eks.token(SHAPES.kubernetes.claims, world.issuer), /no trust rule/);
});

test("a token of GitHub is taken once", async ({ world, platforms }) => {
    const once = await platforms.github.token(SHAPES.github.claims, world.issuer);
    assert.equal((await ask(`${world.issuer}/token`, once)).status, 200);
    await refused(`${world.issuer}/token`, once, /used before/);
});

test("an issuer is bound to the tenant that named it first", async ({ world, platforms }) => {
    const { installation } = world;
    await installation.addIdentity("theirs", { tenant: "globex" });
    const words = ["trust", "add", "theirs", "--method", "kubernetes", "--issuer", platforms.kubernetes.issuer, "--match", `serviceaccount_uid=${UID}`, "--allow-address", "127.0.0.1/32"];
    await installation.refused(words, 1, "trust.issuer-bound", { tenant: "globex" });
});

test("an issuer behind a CA that nobody named, or at an address that no rule allows, is asked for nothing", async ({ world }) => {
    const { installation, issuer } = world;
    const leaf = world.authority.issue("unnamed", { names: ["DNS:elsewhere.example"] });
    const platform = await Platform.open({ leaf });
    try {
        await installation.addIdentity("lost");
        await world.task("lost");
        const words = ["trust", "add", "lost", "--method", "generic-oidc", "--issuer", platform.issuer, "--match", "sub=lost"];
        const closed = await installation.refused(words, 2, "trust.issuer-refused");
        assert.match(closed.message, /127\.0\.0\.1 is not public.*--allow-address/);
        await installation.cli([...words, "--allow-address", "127.0.0.1/32"]);
        // The provider's own token endpoint is not asked over its certificate: its token is made by a twin.
        const twin = await Platform.open({ leaf: world.authority.issue("twin") });
        const assertion = await twin.token({ sub: "lost", iss: platform.issuer }, issuer);
        await twin.close();
        const answer = await ask(`${issuer}/token`, assertion);
        assert.equal(answer.status, 503, answer.text);
        assert.equal(answer.body.error, "temporarily_unavailable");
        // A stranger is not told why; the log of the service tells it.
        assert.doesNotMatch(answer.body.error_description, /TLS|certificate/);
        await until("the reason in the log", () => /evidence of a workload was refused.*(TLS|certificate)/i.test(installation.service.text));
        assert.equal(platform.fetched, 0);
    } finally {
        await platform.close();
    }
});

test("the provider rotates its key: the new one is found, the one it took back is refused", async ({ world, platforms }) => {
    const platform = platforms.kubernetes;
    const url = `${world.issuer}/token`;
    const token = () => platform.token(SHAPES.kubernetes.claims, world.issuer);
    const old = await token();
    assert.equal(decode(old).header.kid, "k1");
    await platform.rotate({ keep: true });
    const fetchedBefore = platform.fetched;
    const began = Date.now();
    const granted = await until("the new key to be found", async () => {
        const answer = await ask(url, await token());
        assert.ok([200, 400].includes(answer.status), answer.text);
        return answer.status === 200 && answer;
    }, 15_000);
    figure("until a provider's new key is found", `${Date.now() - began} ms`);
    assert.equal(decode(await token()).header.kid, "k2");
    assert.ok(platform.fetched > fetchedBefore && platform.fetched <= fetchedBefore + 2, "unknown keys do not flood the issuer");
    assert.equal((await ask(url, old)).status, 200, "the old key is published still");
    const called = await callToolOver(world, granted.body.access_token);
    assert.match(called, /"result"/);
    await platform.rotate({ keep: false });
    await until("the key that was taken back to be refused", async () => {
        await ask(url, await token()); // a token of the newest key makes the set be fetched again
        const answer = await ask(url, old);
        return answer.status === 400 && /does not publish/.test(answer.body.error_description);
    }, 20_000);
});

/** One call through the gateway, over HTTPS. */
async function callToolOver(world, token) {
    const { headers, body } = callOf(token, "tools/call", { name: "echo", arguments: { text: "federated" } });
    const reply = await fetch(world.installation.endpoint("files"), { method: "POST", headers, body });
    assert.equal(reply.status, 200);
    return reply.text();
}

test("every look-alike was refused", () => {
    const own = Object.values(SHAPES).reduce((sum, { alike }) => sum + Object.keys(alike).length + 5, 0);
    assert.equal(refusals, own + 3);
    figure("look-alikes refused", refusals);
});
