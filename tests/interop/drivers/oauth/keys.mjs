// What both Node clients are given: keys, certificates, and a fetch that shows a client certificate.
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { importJWK } from "jose";

/** The client's private key as the libraries take it. */
export async function clientKey(jwk) {
    return { key: await importJWK(jwk, jwk.alg, { extractable: false }), kid: jwk.kid };
}

/** A `fetch` over a connection of its own that shows `certificate`. */
export function fetchWith({ certificate, key }) {
    const [cert, pem] = [readFileSync(certificate), readFileSync(key)];
    return async (url, { method = "GET", headers = {}, body } = {}) => {
        const text = body === undefined || body === null ? undefined : body instanceof Uint8Array ? Buffer.from(body) : String(body);
        const plain = Object.fromEntries(new Headers(headers));
        return new Promise((done, fail) => {
            const sent = request(url, { method, cert, key: pem, agent: false, headers: { ...plain, ...(text === undefined ? {} : { "content-length": Buffer.byteLength(text) }) } }, answer => {
                const chunks = [];
                answer.on("data", chunk => chunks.push(chunk));
                answer.on("error", fail);
                answer.on("end", () => {
                    const bodyless = [204, 205, 304].includes(answer.statusCode);
                    done(new Response(bodyless ? null : Buffer.concat(chunks), { status: answer.statusCode, headers: answer.headers }));
                });
            });
            sent.on("error", fail);
            sent.end(text);
        });
    };
}

/** A deed that a library has no word for: it fails, and the table says so. */
export function lacks(library, name, pattern) {
    const found = Object.keys(library).filter(key => pattern.test(key));
    if (found.length === 0) {
        throw new Error(`${name} has nothing named ${pattern}`);
    }
    throw new Error(`${name} has ${found.join(", ")} now: use it here`);
}
