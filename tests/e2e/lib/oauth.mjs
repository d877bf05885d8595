// The agent's side of OAuth: discovery, client assertions, the token endpoint.
import { randomBytes } from "node:crypto";
import { importJWK, SignJWT } from "../../interop/lib/jose.mjs";

export const ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/** A client assertion (RFC 7523), as `private_key_jwt` wants it; every part can be spoilt. */
export async function assertion({ jwk, clientId, audience }, claims = {}, header = {}) {
    const now = Math.floor(Date.now() / 1000);
    const key = await importJWK(jwk, header.alg ?? jwk.alg);
    const all = { iss: clientId, sub: clientId, aud: audience, iat: now, exp: now + 60, jti: randomBytes(16).toString("hex"), ...claims };
    const kept = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
    return new SignJWT(kept).setProtectedHeader({ alg: jwk.alg, ...header }).sign(key);
}

/** One request at the token endpoint; gives status, headers and body. */
export async function requestToken(url, form) {
    const response = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: new URLSearchParams(form).toString()
    });
    const text = await response.text();
    let body;
    try {
        body = JSON.parse(text);
    } catch {
        body = undefined;
    }
    return { status: response.status, headers: response.headers, text, body };
}

/** Header and claims of a compact JWT, unverified. */
export function decode(token) {
    const [header, claims] = token.split(".").map((part, at) => (at < 2 ? JSON.parse(Buffer.from(part, "base64url")) : part));
    return { header, claims };
}
