// A door to PostgreSQL that loses, doubles or holds back its notifications and
// lets everything else through as it is. Clients come without TLS.
import { connect, createServer } from "node:net";

const NOTIFICATION = "A".charCodeAt(0);
/** A type and a length, which counts itself. */
const HEAD_BYTES = 5;

export class Hints {
    /** A door to the server behind `socket`. */
    static async open(socket) {
        const hints = new Hints();
        Object.assign(hints, { fate: "heard", met: 0, held: [], pairs: new Set() });
        hints.listener = createServer(near => hints.#join(near, connect(socket)));
        await new Promise(done => hints.listener.listen(0, "127.0.0.1", done));
        hints.port = hints.listener.address().port;
        return hints;
    }

    #join(near, far) {
        near.setNoDelay();
        this.pairs.add([near, far]);
        let rest = Buffer.alloc(0);
        near.on("data", bytes => far.write(bytes));
        far.on("data", bytes => {
            rest = Buffer.concat([rest, bytes]);
            const on = [];
            while (rest.length >= HEAD_BYTES && rest.length > rest.readUInt32BE(1)) {
                const end = 1 + rest.readUInt32BE(1);
                on.push(...this.#passed(near, rest.subarray(0, end)));
                rest = rest.subarray(end);
            }
            near.write(Buffer.concat(on));
        });
        for (const side of [near, far]) {
            side.on("error", () => {});
            side.on("close", () => {
                near.destroy();
                far.destroy();
            });
        }
    }

    /** What goes on now of one message. */
    #passed(near, message) {
        if (message[0] !== NOTIFICATION || this.fate === "heard") {
            return [message];
        }
        this.met += 1;
        if (this.fate === "backwards") {
            this.held.push([near, message]);
        }
        return this.fate === "doubled" ? [message, message] : [];
    }

    /** What becomes of notifications from now on: "heard", "lost", "doubled", or "backwards", held until they are told. */
    become(fate) {
        Object.assign(this, { fate, met: 0 });
    }

    /** Tells what is held, the last first. */
    tell() {
        for (const [near, message] of this.held.splice(0).reverse()) {
            if (!near.destroyed) {
                near.write(message);
            }
        }
    }

    close() {
        this.listener.close();
        for (const side of [...this.pairs].flat()) {
            side.destroy();
        }
    }
}
