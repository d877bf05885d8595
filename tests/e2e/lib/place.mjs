// A network namespace with one cable to the database, which can be pulled.
// The database is port 5432 there: a client of ours at the end of the cable
// takes that, because off this machine a node connects with TLS alone. What a
// test asks of the node there, and what the node asks of upstream servers,
// goes past the cable: through Unix sockets.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes, randomInt } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { temporary } from "./installation.mjs";
import { skip } from "./lane.mjs";
import { relay } from "./relay.mjs";

const DATABASE_PORT = 5432;
const ip = (...words) => execFileSync("ip", words, { stdio: ["ignore", "pipe", "pipe"] });
const here = port => ({ host: "127.0.0.1", port });

export class Place {
    /** With a way to the database behind `socket`. */
    static async open(socket) {
        if (spawnSync("ip", ["-V"]).status !== 0) {
            skip("no `ip` on the PATH: install iproute2");
        }
        const place = new Place();
        const mark = randomBytes(5).toString("hex");
        Object.assign(place, { name: `bailiwick-${mark}`, cable: `bw-${mark}`, folder: temporary("place"), open: [] });
        const net = `10.213.${randomInt(1, 255)}`;
        place.far = { host: `${net}.1`, port: DATABASE_PORT };
        try {
            ip("netns", "add", place.name);
            ip("link", "add", place.cable, "type", "veth", "peer", "name", "eth0", "netns", place.name);
        } catch (error) {
            place.close();
            skip(`network namespaces cannot be made here: ${error.stderr}`, "right");
        }
        ip("addr", "add", `${net}.1/30`, "dev", place.cable);
        ip("link", "set", place.cable, "up");
        for (const words of [["addr", "add", `${net}.2/30`, "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]]) {
            ip("-n", place.name, ...words);
        }
        place.open.push(await relay(place.far, { path: socket }));
        return place;
    }

    /** Programs run there behind these words. */
    get wrapper() {
        return ["ip", "netns", "exec", this.name];
    }

    /** From here `port` is the port there, and there `upstream` is the port here. */
    async admit(port, upstream) {
        const [inwards, outwards] = ["in", "out"].map(name => ({ path: join(this.folder, `${name}-${port}`) }));
        this.open.push(await relay(here(port), inwards), await relay(outwards, here(upstream)));
        const [program, ...words] = [...this.wrapper, process.execPath, join(import.meta.dirname, "relay.mjs")];
        const pairs = JSON.stringify([[inwards, here(port)], [here(upstream), outwards], [here(DATABASE_PORT), this.far]]);
        const child = spawn(program, [...words, pairs], { stdio: ["ignore", "pipe", "inherit"] });
        this.open.push({ close: () => child.kill("SIGKILL") });
        await new Promise((done, fail) => {
            child.stdout.once("data", done);
            child.once("close", code => fail(new Error(`the relay ended with ${code}`)));
        });
    }

    cut() {
        ip("link", "set", this.cable, "down");
    }

    heal() {
        ip("link", "set", this.cable, "up");
    }

    close() {
        this.open.forEach(each => each.close());
        spawnSync("ip", ["link", "del", this.cable]);
        spawnSync("ip", ["netns", "del", this.name]);
        rmSync(this.folder, { recursive: true, force: true });
    }
}
