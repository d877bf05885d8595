// `oauth4webapi` as an agent would use it. One object for each client and constraint.
import * as oauth from "oauth4webapi";
import { clientKey, fetchWith } from "./keys.mjs";

export async function make({ issuer, clientId, jwk, constraint, leaf }) {
    const client = { client_id: clientId, ...(constraint === "mtls" ? { use_mtls_endpoint_aliases: true } : {}) };
    const auth = jwk === undefined ? oauth.None() : oauth.PrivateKeyJwt(await clientKey(jwk));
    const pair = constraint === "dpop" ? await oauth.generateKeyPair("ES256", { extractable: true }) : undefined;
    const options = {
        ...(pair === undefined ? {} : { DPoP: oauth.DPoP(client, pair) }),
        ...(constraint === "mtls" ? { [oauth.customFetch]: fetchWith(leaf) } : {})
    };
    const plain = { ...options };
    delete plain.DPoP;
    const where = new URL(issuer);
    const as = await oauth.processDiscoveryResponse(where, await oauth.discoveryRequest(where, { algorithm: "oauth2", ...plain }));

    /** What this client keeps while its browser is away. */
    let begun;

    /** A server may ask for a nonce once (RFC 9449 §8); the handle remembers it. */
    const again = async ask => {
        try {
            return await ask();
        } catch (error) {
            if (!oauth.isDPoPNonceError(error)) {
                throw error;
            }
            return ask();
        }
    };

    return {
        publicKey: pair === undefined ? undefined : await crypto.subtle.exportKey("jwk", pair.publicKey),

        discover: async place => {
            if (place === "openid-configuration below the issuer") {
                return oauth.processDiscoveryResponse(where, await oauth.discoveryRequest(where, { algorithm: "oidc", ...plain }));
            }
            if (place === "oauth-authorization-server") {
                return oauth.processDiscoveryResponse(where, await oauth.discoveryRequest(where, { algorithm: "oauth2", ...plain }));
            }
            return oauth.processDiscoveryResponse(where, await fetch(new URL(`/.well-known/openid-configuration${where.pathname}`, where)));
        },

        resource: async url => oauth.processResourceDiscoveryResponse(new URL(url), await oauth.resourceDiscoveryRequest(new URL(url))),

        token: async (grant, parameters) =>
            again(async () => {
                if (grant === "client_credentials") {
                    return oauth.processClientCredentialsResponse(as, client, await oauth.clientCredentialsGrantRequest(as, client, auth, parameters, options));
                }
                return oauth.processGenericTokenEndpointResponse(as, client, await oauth.genericTokenEndpointRequest(as, client, auth, grant, parameters, options));
            }),

        authorize: async ({ redirect, scope, resource }) => {
            const verifier = oauth.generateRandomCodeVerifier();
            begun = { redirect, verifier, state: oauth.generateRandomState() };
            const url = new URL(as.authorization_endpoint);
            const challenge = await oauth.calculatePKCECodeChallenge(verifier);
            const words = { response_type: "code", client_id: clientId, redirect_uri: redirect, scope, resource, state: begun.state, code_challenge: challenge, code_challenge_method: "S256" };
            Object.entries(words).forEach(([name, value]) => url.searchParams.set(name, value));
            return url.href;
        },

        redeem: async back => {
            const parameters = oauth.validateAuthResponse(as, client, new URL(back), begun.state);
            return again(async () => oauth.processAuthorizationCodeResponse(as, client, await oauth.authorizationCodeGrantRequest(as, client, auth, parameters, begun.redirect, begun.verifier, options)));
        },

        refresh: async token => again(async () => oauth.processRefreshTokenResponse(as, client, await oauth.refreshTokenGrantRequest(as, client, auth, token, options))),

        use: async (token, { url, headers, body }) => again(() => oauth.protectedResourceRequest(token, "POST", new URL(url), new Headers(headers), body, options)),

        revoke: async token => oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, token, plain)),

        introspect: async token => oauth.processIntrospectionResponse(as, client, await oauth.introspectionRequest(as, client, auth, token, plain)),

        introspectSigned: async token => {
            const response = await oauth.introspectionRequest(as, client, auth, token, { ...plain, requestJwtResponse: true });
            const answer = await oauth.processIntrospectionResponse(as, { ...client, introspection_signed_response_alg: as.introspection_signing_alg_values_supported[0] }, response);
            await oauth.validateApplicationLevelSignature(as, response, plain);
            return answer;
        },

        stop: () => {}
    };
}
