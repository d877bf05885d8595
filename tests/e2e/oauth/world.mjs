// One installation behind HTTPS, with what every client needs: identities, tasks, registered keys, a workload's issuer.
import { createPrivateKey, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exportJWK, generateKeyPair, SignJWT } from "../../interop/lib/jose.mjs";
import { Authority } from "../lib/authority.mjs";
import { Desk } from "../lib/desk.mjs";
import { Installation } from "../lib/installation.mjs";

export const SCOPE = "files:echo";
const WORKLOAD_ISSUER = "https://workloads.acme.example";

export class World {
    static async open(name, { more = "" } = {}) {
        const world = new World();
        world.authority = new Authority(process.env.E2E_AUTHORITY);
        const leaf = world.authority.issue(`server-${name}`);
        const { certificate } = world.authority;
        world.desk = await Desk.open();
        const listen = `[listen]\ntls_certificate = "${leaf.certificate}"\ntls_key = "${leaf.key}"\n`;
        world.installation = await Installation.start(name, { config: `${listen}${more}`, serve: {}, tenant: null, claim: ["--ca", certificate] });
        await world.installation.addTenant("acme", "ES256");
        world.installation.tenant = "acme";
        await world.installation.addHttpServer("files", world.desk.url);
        return world;
    }

    get issuer() {
        return `${this.installation.url}/t/acme`;
    }

    /** A client of a new identity with one open task. */
    async client(name, { algorithm = "ES256", can, mayAct, certificate, proof = "none" } = {}) {
        const { installation } = this;
        const identity = await installation.addIdentity(name);
        const file = join(installation.folder, `${name}.pem`);
        const shown = certificate === undefined ? [] : ["--certificate", certificate];
        const added = await installation.cli(["client", "add", name, "--generate", file, "--algorithm", algorithm, "--proof", proof, ...shown]);
        const jwk = { ...createPrivateKey(readFileSync(file)).export({ format: "jwk" }), alg: algorithm };
        return { name, identity: identity.id, clientId: added.client_id, jwk, task: await this.task(name, { can, mayAct }) };
    }

    /** Opens a task; gives its id and a token of it. */
    async task(identity, { can = [SCOPE], mayAct = [] } = {}) {
        const tokenFile = join(this.installation.folder, `token-${randomBytes(6).toString("hex")}`);
        const words = ["task", "open", "--identity", identity, "--purpose", "interop", "--for", "30m", "--token-file", tokenFile];
        const opened = await this.installation.cli([...words, ...can.flatMap(each => ["--can", each]), ...mayAct.flatMap(each => ["--may-act", each])]);
        return { id: opened.task.id, token: readFileSync(tokenFile, "utf8") };
    }

    /** A task of a new identity, for clients that a person lets in. */
    async personal(name) {
        await this.installation.addIdentity(name);
        return this.task(name);
    }

    /** A workload of an issuer that cannot be reached: its keys are given. */
    async workload(name) {
        const { publicKey, privateKey } = await generateKeyPair("ES256");
        const jwks = join(this.installation.folder, `${name}.jwks`);
        writeFileSync(jwks, JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "w1", alg: "ES256", use: "sig" }] }));
        await this.installation.addIdentity(name);
        await this.installation.cli(["trust", "add", name, "--method", "generic-oidc", "--issuer", WORKLOAD_ISSUER, "--match", `sub=${name}`, "--jwks", jwks]);
        const task = await this.task(name);
        const assertion = () =>
            new SignJWT({ jti: randomBytes(9).toString("hex") })
                .setProtectedHeader({ alg: "ES256", kid: "w1", typ: "JWT" })
                .setIssuer(WORKLOAD_ISSUER)
                .setSubject(name)
                .setAudience(this.issuer)
                .setIssuedAt()
                .setExpirationTime("2m")
                .sign(privateKey);
        return { name, task, assertion };
    }

    async stop() {
        await this.installation.stop();
        await this.desk.close();
    }
}
