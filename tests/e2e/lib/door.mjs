// A port of ours in front of a service, that can hold a message back, or its
// answer, at a chosen word, answer in the service's place, or be a bad line.
import { connect, createServer } from "node:net";

export class Door {
    /** A door to what `far` connects to. */
    static async open(far) {
        const door = new Door();
        Object.assign(door, { held: undefined, judge: undefined, line: "good", pairs: new Set() });
        door.listener = createServer(near => door.#join(near, far()));
        await new Promise(done => door.listener.listen(0, "127.0.0.1", done));
        door.port = door.listener.address().port;
        return door;
    }

    /** Whether these bytes do not go on now: the line is not good. */
    #strays(pair, to, bytes) {
        if (typeof this.line === "number") {
            setTimeout(() => to.destroyed || pair.mute || to.write(bytes), this.line);
            return true;
        }
        pair.mute ||= this.line === "silent";
        return pair.mute;
    }

    #join(near, far) {
        const pair = { near, far, mute: false };
        this.pairs.add(pair);
        if (this.line === "cut") {
            near.destroy();
            far.destroy();
        }
        near.on("data", bytes => {
            if (this.line !== "good" && this.#strays(pair, far, bytes)) {
                return;
            }
            const hold = this.held;
            const own = pair.mute ? undefined : this.judge?.(bytes.toString("latin1"));
            if (own !== undefined) {
                pair.mute = true;
                near.end(own);
                far.destroy();
            } else if (hold !== undefined && !pair.mute && hold.word.test(bytes.toString("latin1"))) {
                pair.mute = true;
                if (hold.when === "answer") {
                    far.write(bytes);
                    // It is done, or being done, when its answer arrives and goes nowhere.
                    far.once("data", hold.reach);
                } else {
                    hold.reach();
                }
            } else if (!pair.mute) {
                far.write(bytes);
            }
        });
        far.on("data", bytes => (this.line !== "good" && this.#strays(pair, near, bytes)) || pair.mute || near.write(bytes));
        const end = () => {
            near.destroy();
            far.destroy();
            this.pairs.delete(pair);
        };
        for (const side of [near, far]) {
            side.on("error", end);
            side.on("close", end);
        }
    }

    /** From now on, the first message with `word` is held back, or (`when` is "answer") its answer is. */
    hold(word, when) {
        const held = { word, when, reached: false, reach: () => (held.reached = true) };
        this.held = held;
        return held;
    }

    /**
     * What becomes of every connection from now on: "good"; "cut", closed at once; "silent", open, and nothing comes
     * through any more; a number, that many milliseconds late. What fell silent stays so until it is closed.
     */
    become(line) {
        this.line = line;
        for (const { near, far } of line === "cut" ? this.pairs : []) {
            near.destroy();
            far.destroy();
        }
    }

    /** Nothing is held any more and the line is good; what was held, or fell silent, is lost. */
    release() {
        Object.assign(this, { held: undefined, line: "good" });
        for (const pair of this.pairs) {
            if (pair.mute) {
                pair.near.destroy();
                pair.far.destroy();
            }
        }
    }

    close() {
        this.listener.close();
        for (const { near, far } of this.pairs) {
            near.destroy();
            far.destroy();
        }
    }
}

/** A connection over TCP on this machine. */
export const local = port => () => connect(port, "127.0.0.1");
