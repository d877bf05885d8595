// `openid-client` as an agent would use it. One object for each client and constraint.
import * as client from "openid-client";
import { clientKey, fetchWith, lacks } from "./keys.mjs";

export async function make({ issuer, clientId, jwk, constraint, leaf }) {
    const metadata = constraint === "mtls" ? { use_mtls_endpoint_aliases: true } : {};
    const auth = jwk === undefined ? client.None() : client.PrivateKeyJwt(await clientKey(jwk));
    const options = { algorithm: "oauth2", ...(constraint === "mtls" ? { [client.customFetch]: fetchWith(leaf) } : {}) };
    const configured = (url, more = {}) => client.discovery(new URL(url), clientId, { ...metadata, ...more }, auth, options);
    const config = await configured(issuer);
    const pair = constraint === "dpop" ? await client.randomDPoPKeyPair("ES256", { extractable: true }) : undefined;
    const bound = pair === undefined ? {} : { DPoP: client.getDPoPHandle(config, pair) };
    const { pathname, origin } = new URL(issuer);
    /** What this client keeps while its browser is away. */
    let begun;

    return {
        publicKey: pair === undefined ? undefined : await crypto.subtle.exportKey("jwk", pair.publicKey),

        discover: async place => {
            if (place === "openid-configuration below the issuer") {
                const found = await client.discovery(new URL(issuer), clientId, metadata, auth, { ...options, algorithm: "oidc" });
                return found.serverMetadata();
            }
            if (place === "oauth-authorization-server") {
                return config.serverMetadata();
            }
            return (await configured(`${origin}/.well-known/openid-configuration${pathname}`)).serverMetadata();
        },

        resource: () => lacks(client, "openid-client", /resource.*(discovery|metadata)/i),

        token: (grant, parameters) =>
            grant === "client_credentials" ? client.clientCredentialsGrant(config, parameters, bound) : client.genericGrantRequest(config, grant, parameters, bound),

        authorize: async ({ redirect, scope, resource }) => {
            begun = { pkceCodeVerifier: client.randomPKCECodeVerifier(), expectedState: client.randomState() };
            const challenge = await client.calculatePKCECodeChallenge(begun.pkceCodeVerifier);
            const words = { redirect_uri: redirect, scope, resource, state: begun.expectedState, code_challenge: challenge, code_challenge_method: "S256" };
            return client.buildAuthorizationUrl(config, words).href;
        },

        redeem: back => client.authorizationCodeGrant(config, new URL(back), begun, undefined, bound),

        refresh: token => client.refreshTokenGrant(config, token, undefined, bound),

        use: (token, { url, headers, body }) => client.fetchProtectedResource(config, token, new URL(url), "POST", body, new Headers(headers), bound),

        revoke: token => client.tokenRevocation(config, token),

        introspect: token => client.tokenIntrospection(config, token),

        introspectSigned: async token => {
            const [algorithm] = config.serverMetadata().introspection_signing_alg_values_supported;
            const signed = await configured(issuer, { introspection_signed_response_alg: algorithm });
            client.enableNonRepudiationChecks(signed);
            return client.tokenIntrospection(signed, token);
        },

        stop: () => {}
    };
}
