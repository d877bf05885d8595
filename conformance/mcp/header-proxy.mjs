// Adds `Authorization: Bearer …` to every request and is otherwise invisible,
// because the conformance runner's server mode cannot send the header itself.
//
//   node header-proxy.mjs --target http://127.0.0.1:P/t/demo/mcp/fixture --token-file FILE [--port 0]
//
// Prints {"url": …} once it listens. It works on bytes: only the head of a
// request is touched, so streams flow both ways unbuffered, a closed
// connection closes the other side, and odd header spellings arrive as sent.
// - The path becomes the target's path.
// - `Host` and `Origin` become the target's where they name this proxy; a
//   foreign value passes unchanged, so that the rebinding scenarios reach the
//   gateway with what an attacker would send.
// - The token file is read anew for each request (renewal).
// - A connection may carry several requests, each with a `Content-Length` or
//   without a body; a chunked request is answered 411.
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { Transform } from "node:stream";
import { pathToFileURL } from "node:url";
import { parseArguments, printLine } from "../../tests/interop/lib/cli.mjs";

const HEAD_MAX = 64 * 1024;
const HEAD_END = "\r\n\r\n";

/**
 * Rewrites one request head.
 * @param {string} head request line and header lines, without the empty line
 * @param {{ own: string[], target: URL, token: string }} to `own` are this proxy's authorities
 */
export function rewriteHead(head, { own, target, token }) {
    const [requestLine, ...lines] = head.split("\r\n");
    const [method, path, version] = requestLine.split(" ");
    const query = path.includes("?") ? path.slice(path.indexOf("?")) : "";
    const kept = [];
    for (const line of lines) {
        const colon = line.indexOf(":");
        const name = line.slice(0, colon).toLowerCase();
        const value = line.slice(colon + 1).trim();
        if (name === "authorization") {
            continue;
        }
        if (name === "host" && own.includes(value)) {
            kept.push(`${line.slice(0, colon)}: ${target.host}`);
        } else if (name === "origin" && own.some(authority => value === `http://${authority}`)) {
            kept.push(`${line.slice(0, colon)}: ${target.origin}`);
        } else {
            kept.push(line);
        }
    }
    return [
        `${method} ${target.pathname}${query} ${version}`,
        ...kept,
        `Authorization: Bearer ${token}`
    ].join("\r\n");
}

/** Bytes of body that follow this head; undefined for a framing the proxy does not read. */
function bodyLength(head) {
    if (/^transfer-encoding:/im.test(head)) {
        return undefined;
    }
    return Number(/^content-length:\s*(\d+)\s*$/im.exec(head)?.[1] ?? 0);
}

/**
 * Cuts a stream of request bytes into heads, which it rewrites, and bodies,
 * which it passes on untouched and at once.
 */
class RequestRewriter extends Transform {
    #pending = Buffer.alloc(0);
    #bodyLeft = 0;
    #to;

    constructor(to) {
        super();
        this.#to = to;
    }

    _transform(chunk, _encoding, done) {
        this.#pending = Buffer.concat([this.#pending, chunk]);
        while (this.#pending.length > 0) {
            if (this.#bodyLeft > 0) {
                const body = this.#pending.subarray(0, this.#bodyLeft);
                this.#bodyLeft -= body.length;
                this.#pending = this.#pending.subarray(body.length);
                this.push(body);
                continue;
            }
            const end = this.#pending.indexOf(HEAD_END);
            if (end < 0) {
                done(this.#pending.length > HEAD_MAX ? new Error("request head too long") : null);
                return;
            }
            const head = this.#pending.subarray(0, end).toString("latin1");
            const length = bodyLength(head);
            if (length === undefined) {
                done(new Error("chunked request"));
                return;
            }
            const token = readFileSync(this.#to.tokenFile, "utf8").trim();
            this.push(Buffer.from(rewriteHead(head, { ...this.#to, token }) + HEAD_END, "latin1"));
            this.#pending = this.#pending.subarray(end + HEAD_END.length);
            this.#bodyLeft = length;
        }
        done();
    }
}

/** Couples one connection of the client with one to the target. */
function serve(client, to) {
    const upstream = connect({ host: to.target.hostname, port: Number(to.target.port || 80) });
    const rewriter = new RequestRewriter(to);
    client.setNoDelay(true);
    upstream.setNoDelay(true);
    client.pipe(rewriter).pipe(upstream);
    upstream.pipe(client);
    rewriter.on("error", () => client.end("HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    client.on("error", () => client.destroy());
    client.on("close", () => upstream.destroy());
    upstream.on("error", () => client.destroy());
    upstream.on("close", () => client.end());
}

/** Starts the proxy; resolves with its URL and a stop function. */
export function startProxy({ target, tokenFile, port = 0 }) {
    const targetUrl = new URL(target);
    const to = { target: targetUrl, tokenFile, own: [] };
    const server = createServer(socket => serve(socket, to));
    return new Promise((resolve, reject) => {
        server.once("error", reject);
        server.listen(port, "127.0.0.1", () => {
            const bound = server.address().port;
            to.own = [`127.0.0.1:${bound}`, `localhost:${bound}`];
            resolve({ url: `http://127.0.0.1:${bound}/mcp`, stop: () => server.close() });
        });
    });
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
    const { options } = parseArguments(process.argv.slice(2), { target: undefined, "token-file": undefined, port: "0" });
    if (options.target === undefined || options["token-file"] === undefined) {
        throw new Error("`--target` and `--token-file` are required");
    }
    const { url } = await startProxy({
        target: options.target,
        tokenFile: options["token-file"],
        port: Number(options.port)
    });
    printLine({ url, pid: process.pid });
}
