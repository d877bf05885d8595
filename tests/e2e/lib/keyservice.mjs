// A service that manages keys over HTTP, and GitHub's `GET /app`: both judge
// what they are shown by themselves.
import { randomBytes, verify } from "node:crypto";
import { createServer } from "node:http";
import { Door, local } from "./door.mjs";

async function listening(answer) {
    const server = createServer(async (request, response) => {
        const chunks = [];
        for await (const chunk of request) {
            chunks.push(chunk);
        }
        const { status, body, headers } = answer(request, Buffer.concat(chunks).toString("utf8"));
        response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
    });
    await new Promise(done => server.listen(0, "127.0.0.1", done));
    const door = await Door.open(local(server.address().port));
    const stop = () => {
        door.close();
        server.closeAllConnections();
        return new Promise(done => server.close(done));
    };
    return { door, url: `http://127.0.0.1:${door.port}`, direct: `http://127.0.0.1:${server.address().port}`, stop };
}

const bearer = request => /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1];

/**
 * Keys that a manager makes, lists and deletes, and what every key may ask.
 *
 * `mood.loud` names the requests that are refused with the key they came with, `mood.broken` those that fail,
 * `mood.stubborn` the key that is said to be deleted and stays, and
 * `mood.page` is how many keys one list has.
 */
export async function keyService(manager) {
    const keys = new Map();
    const mood = { loud: undefined, broken: undefined, stubborn: undefined, page: Infinity };
    const add = name => {
        const key = { id: `key/${randomBytes(4).toString("hex")}`, name, secret: `canary-${randomBytes(18).toString("hex")}`, last_used_at: null };
        keys.set(key.id, key);
        return key;
    };
    const service = await listening((request, body) => {
        const { pathname: path, searchParams: query } = new URL(request.url, "http://service");
        const line = `${request.method} ${path}`;
        if (mood.loud?.test(line)) {
            return { status: 403, body: { message: `${request.headers.authorization} is not allowed` } };
        }
        if (mood.broken?.test(line)) {
            return { status: 500, body: {} };
        }
        if (path === "/v1/whoami") {
            const known = [...keys.values()].find(({ secret }) => secret === bearer(request));
            if (known === undefined) {
                return { status: 401, body: { message: "no such key" } };
            }
            known.last_used_at = new Date().toISOString();
            return { status: 200, body: { id: known.id } };
        }
        if (bearer(request) !== manager) {
            return { status: 403, body: { message: "not the manager" } };
        }
        if (request.method === "POST" && path === "/v1/keys") {
            return { status: 201, body: add(JSON.parse(body).name) };
        }
        if (request.method === "GET" && path === "/v1/keys") {
            const after = Number(query.get("after") ?? 0);
            const shown = [...keys.values()].slice(after, after + mood.page).map(({ secret, ...rest }) => rest);
            const next = after + mood.page < keys.size ? after + mood.page : null;
            return { status: 200, body: { keys: shown, next } };
        }
        const named = decodeURIComponent(/^\/v1\/keys\/([^/]+)$/.exec(path)?.[1] ?? "");
        if (request.method === "DELETE" && named === mood.stubborn) {
            mood.deletions = (mood.deletions ?? 0) + 1;
            return { status: 204, body: {} };
        }
        return request.method === "DELETE" && keys.delete(named) ? { status: 204, body: {} } : { status: 404, body: { message: "no such key" } };
    });
    const works = async secret => (await fetch(`${service.direct}/v1/whoami`, { headers: { authorization: `Bearer ${secret}` } })).status;
    return { ...service, keys, mood, add, works };
}

/**
 * `GET /app` for the app `id`, for whoever signs with one of `keys` (public keys, by name). Its clock is `clock.ahead`
 * seconds ahead, and says so unless `clock.silent`.
 */
export async function githubApp(id) {
    const keys = new Map();
    const clock = { ahead: 0, silent: false };
    const service = await listening(request => {
        const now = Date.now() / 1000 + clock.ahead;
        const headers = clock.silent ? {} : { date: new Date(now * 1000).toUTCString() };
        return { ...judged(request, now), headers };
    });
    const judged = (request, now) => {
        const refused = { status: 401, body: { message: "A JSON web token could not be decoded" } };
        const [head, payload, signature] = (bearer(request) ?? "").split(".");
        if (request.method !== "GET" || request.url !== "/app" || signature === undefined) {
            return refused;
        }
        const read = part => JSON.parse(Buffer.from(part, "base64url"));
        const [{ alg }, { iss, iat, exp }] = [read(head), read(payload)];
        if (iat > now) {
            return { status: 401, body: { message: "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued" } };
        }
        const timely = exp > now && exp - iat <= 600;
        const signed = alg === "RS256" && [...keys.values()].some(key => verify("sha256", Buffer.from(`${head}.${payload}`), key, Buffer.from(signature, "base64url")));
        return signed && timely && iss === id ? { status: 200, body: { id: 1, client_id: iss } } : refused;
    };
    return { ...service, keys, clock };
}

