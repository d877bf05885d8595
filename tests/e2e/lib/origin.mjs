// An HTTPS service of others, with a CA of its own, that wants a secret.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer as createPlain } from "node:http";
import { createServer } from "node:https";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";


const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/** A CA and a certificate for `localhost`; throws where there is no `openssl`. */
export function certificates(folder) {
    const at = name => join(folder, name);
    const openssl = (...words) => execFileSync("openssl", words, { stdio: "ignore" });
    openssl("req", "-x509", ...KEY, "-days", "1", "-subj", "/CN=test CA of others", "-addext", "keyUsage=critical,keyCertSign", "-keyout", at("ca.key"), "-out", at("ca.pem"));
    openssl("req", "-new", ...KEY, "-subj", "/CN=origin", "-keyout", at("origin.key"), "-out", at("origin.csr"));
    writeFileSync(at("leaf"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\n");
    openssl("x509", "-req", "-days", "1", "-in", at("origin.csr"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial", "-extfile", at("leaf"), "-out", at("origin.pem"));
    return { ca: at("ca.pem"), certificate: readFileSync(at("origin.pem")), key: readFileSync(at("origin.key")) };
}

/** Everything a hostile service could send back of what it was opened with. */
const spelt = secret => {
    const bytes = Buffer.from(secret);
    return {
        plain: secret,
        hex: bytes.toString("hex"),
        HEX: bytes.toString("hex").toUpperCase(),
        base64: bytes.toString("base64"),
        shifted: [Buffer.from(`u:${secret}`).toString("base64"), Buffer.from(`ab:${secret}`).toString("base64url")],
        url: encodeURIComponent(secret)
    };
};

/** More than everything on the way can hold. */
const LONG = 100 << 20;

/** So many bytes. */
function* pieces(bytes) {
    const piece = Buffer.alloc(65_536, "x");
    for (let left = bytes; left > 0; left -= piece.length) {
        yield piece.subarray(0, left);
    }
}

export class Origin {
    /** With `tls` over HTTPS, else plain; with `secret` nobody is served without it. */
    static async open({ tls, secret }) {
        const origin = new Origin();
        origin.secret = secret;
        origin.requests = [];
        origin.sockets = new Set();
        const serve = (request, response) => origin.#serve(request, response);
        origin.server = tls === undefined ? createPlain(serve) : createServer({ cert: tls.certificate, key: tls.key }, serve);
        origin.server.on("connection", socket => {
            origin.sockets.add(socket);
            socket.on("close", () => origin.sockets.delete(socket));
        });
        await new Promise(done => origin.server.listen(0, "127.0.0.1", done));
        origin.port = origin.server.address().port;
        origin.url = `${tls === undefined ? "http" : "https"}://localhost:${origin.port}`;
        return origin;
    }

    async #serve(request, response) {
        const seen = { method: request.method, url: request.url, headers: request.headers, closed: false };
        this.requests.push(seen);
        response.on("close", () => (seen.closed = true));
        const chunks = [];
        try {
            for await (const chunk of request) {
                chunks.push(chunk);
            }
        } catch {
            seen.broken = true;
            return;
        }
        seen.body = Buffer.concat(chunks);
        const shown = request.headers.authorization ?? request.headers["x-api-key"] ?? "";
        if (this.secret !== undefined && shown !== `Bearer ${this.secret}`) {
            response.writeHead(401, { "content-type": "text/plain" }).end("a secret is needed");
            return;
        }
        this.#answer(request, response, seen, shown);
    }

    #answer(request, response, seen, shown) {
        const path = request.url.split("?")[0];
        const json = { "content-type": "application/json" };
        if (path === "/v1/echo") {
            const text = JSON.stringify({ shown, spelt: spelt(this.secret ?? "none") });
            response.writeHead(200, { ...json, "x-shown": shown, "x-hex": Buffer.from(shown).toString("hex") });
            // In pieces, so that the secret is cut in two.
            for (let at = 0; at < text.length; at += 7) {
                response.write(text.slice(at, at + 7));
            }
            response.end();
        } else if (path === "/v1/packed") {
            response.writeHead(200, { ...json, "content-encoding": "gzip" }).end(gzipSync(shown));
        } else if (path === "/v1/unsaid") {
            // The header that says so is for one hop only, by its own word.
            response.writeHead(200, { ...json, connection: "content-encoding", "content-encoding": "gzip" }).end(gzipSync(shown));
        } else if (path === "/v1/packed-hop") {
            const packed = gzipSync(shown);
            response.socket.write(`HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n${packed.length.toString(16)}\r\n`);
            response.socket.write(packed);
            response.socket.end("\r\n0\r\n\r\n");
        } else if (path === "/v1/wide") {
            response.writeHead(200, { "content-type": "text/plain; charset=UTF-16LE" }).end(Buffer.from(shown, "utf16le"));
        } else if (path === "/v1/pieces") {
            const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? (request.url.endsWith("?always") ? ["", 0, 12] : []);
            const head = from === undefined ? [200, json] : [206, { ...json, "content-range": `bytes ${from}-${to}/${shown.length}` }];
            response.writeHead(...head).end(from === undefined ? shown : shown.slice(Number(from), Number(to) + 1));
        } else if (path === "/v1/hold") {
            seen.held = response;
            response.writeHead(200, { "content-type": "text/event-stream" });
            response.write("data: 1\n\n");
        } else if (path === "/v1/long") {
            response.writeHead(200, { ...json, "content-length": String(LONG) });
            Readable.from(pieces(LONG)).pipe(response);
        } else if (path === "/v1/sized") {
            // It may be the beginning of the secret until the answer is over.
            const text = (this.secret ?? "sized").slice(0, 5);
            response.writeHead(200, { ...json, "content-length": "5" }).end(request.method === "HEAD" ? "" : text);
        } else if (path === "/v1/none") {
            response.writeHead(204).end();
        } else if (path === "/v1/mute") {
            seen.held = response;
        } else {
            response.writeHead(200, json).end(JSON.stringify({ marker: "invoice-4711", method: request.method, bytes: seen.body.length }));
        }
    }

    /** The requests for a path. */
    of(path) {
        return this.requests.filter(({ url }) => url.split("?")[0] === path);
    }

    async close() {
        this.sockets.forEach(socket => socket.destroy());
        await new Promise(done => this.server.close(done));
    }
}
