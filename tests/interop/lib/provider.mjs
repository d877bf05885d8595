// A real OpenID provider (`oidc-provider`) over HTTPS on this machine, made to say what a platform says about its
// workloads: client_credentials gives a JWT whose claims are those of the platform's documentation.
import { createServer } from "node:https";
import { readFileSync } from "node:fs";
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";
import MemoryAdapter from "oidc-provider/lib/adapters/memory_adapter.js";

/** Kept in memory, knowingly: its parent warns that everybody should not. */
class Memory extends MemoryAdapter {}

const CLIENT = { client_id: "runner", client_secret: "runner-secret-of-the-test-provider" };

async function key(kid, alg) {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    return { ...(await exportJWK(privateKey)), kid, alg, use: "sig" };
}

export class Platform {
    /** `path` is what the issuer has behind its host, as some platforms do. */
    static async open({ leaf, path = "", algorithm = "RS256" }) {
        const platform = new Platform();
        platform.algorithm = algorithm;
        platform.keys = [await key("k1", algorithm)];
        platform.fetched = 0;
        platform.server = createServer({ cert: readFileSync(leaf.certificate), key: readFileSync(leaf.key) }, (request, response) => {
            if (path !== "" && !request.url.startsWith(`${path}/`)) {
                response.writeHead(404).end();
                return;
            }
            request.originalUrl = request.url;
            request.url = request.url.slice(path.length);
            platform.fetched += request.url === "/jwks" ? 1 : 0;
            platform.callback(request, response);
        });
        await new Promise(done => platform.server.listen(0, "127.0.0.1", done));
        platform.issuer = `https://127.0.0.1:${platform.server.address().port}${path}`;
        platform.#serve();
        return platform;
    }

    #serve() {
        const provider = new Provider(this.issuer, {
            jwks: { keys: this.keys },
            clients: [{ ...CLIENT, grant_types: ["client_credentials"], redirect_uris: [], response_types: [], id_token_signed_response_alg: this.algorithm }],
            adapter: Memory,
            ttl: { ClientCredentials: 300 },
            features: {
                clientCredentials: { enabled: true },
                devInteractions: { enabled: false },
                resourceIndicators: {
                    enabled: true,
                    getResourceServerInfo: (_, audience) => ({
                        audience,
                        scope: "",
                        accessTokenFormat: "jwt",
                        accessTokenTTL: 300,
                        jwt: { sign: { alg: this.algorithm } }
                    })
                }
            },
            formats: {
                customizers: {
                    jwt: (_, __, token) => {
                        const { iss, aud, iat, exp, jti } = token.payload;
                        token.header = { typ: "JWT" };
                        token.payload = { iss, aud, iat, nbf: iat, exp, jti, ...this.saying };
                    }
                }
            }
        });
        this.callback = provider.callback();
    }

    /** A token with these claims for this audience. */
    async token(claims, audience) {
        this.saying = claims;
        const response = await fetch(`${this.issuer}/token`, {
            method: "POST",
            headers: { authorization: `Basic ${Buffer.from(`${CLIENT.client_id}:${CLIENT.client_secret}`).toString("base64")}` },
            body: new URLSearchParams({ grant_type: "client_credentials", resource: audience })
        });
        const answer = await response.json();
        if (answer.access_token === undefined) {
            throw new Error(`the provider gave no token: ${JSON.stringify(answer)}`);
        }
        return answer.access_token;
    }

    /** Signs with a new key from now on; the one before stays published, or is taken back. */
    async rotate({ keep }) {
        const next = await key(`k${Number(this.keys[0].kid.slice(1)) + 1}`, this.algorithm);
        this.keys = keep ? [next, ...this.keys] : [next];
        this.#serve();
    }

    close() {
        this.server.closeAllConnections();
        return new Promise(done => this.server.close(done));
    }
}
