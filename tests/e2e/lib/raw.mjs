// A client of the egress proxy that writes bytes as they are, and reads only
// when it is told to.
import { connect } from "node:net";
import { until } from "./wait.mjs";

export class Raw {
    constructor({ host, port }) {
        this.chunks = [];
        this.isClosed = false;
        this.socket = connect(port, host);
        this.socket.on("error", error => (this.error = error));
        this.socket.on("close", () => (this.isClosed = true));
        this.connected = new Promise(done => this.socket.on("connect", done).on("close", done));
    }

    /** A connection whose peer is waited for. */
    static async open(proxy) {
        const raw = new Raw(proxy);
        await raw.connected;
        return raw;
    }

    get text() {
        return Buffer.concat(this.chunks).toString("latin1");
    }

    write(bytes) {
        this.socket.write(bytes);
    }

    /** From now on everything that comes is taken. */
    read() {
        if (this.socket.listenerCount("data") === 0) {
            this.socket.on("data", chunk => this.chunks.push(chunk));
        }
    }

    /** Sends a request and gives its whole answer; the connection stays. */
    async ask(bytes, max = 15_000) {
        this.chunks = [];
        this.read();
        this.write(bytes);
        return until("a whole answer", () => this.isClosed || isWhole(this.text), max).then(() => this.text);
    }

    /** Takes what comes until the other side ends. */
    async ended(max) {
        this.read();
        await until("the connection to end", () => this.isClosed, max);
        return this.text;
    }

    close() {
        this.socket.destroy();
    }
}

function isWhole(text) {
    const end = text.indexOf("\r\n\r\n");
    if (end < 0) {
        return false;
    }
    const [head, body] = [text.slice(0, end), text.slice(end + 4)];
    if (/\r\ntransfer-encoding: chunked/i.test(head)) {
        return body.endsWith("0\r\n\r\n");
    }
    return body.length >= Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
}
