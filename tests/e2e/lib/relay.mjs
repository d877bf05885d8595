// Hands bytes from a port or a Unix socket to another, both ways.
//
//   node relay.mjs '[[FROM, TO], …]'    each as `net` takes it; prints "ready" when all listen
import { connect, createServer } from "node:net";

/** A listener at `from` whose connections go on at `to`. */
export function relay(from, to) {
    const pairs = new Set();
    const listener = createServer(near => {
        const far = connect(to);
        pairs.add(near).add(far);
        near.pipe(far).pipe(near);
        for (const [side, other] of [[near, far], [far, near]]) {
            side.on("error", () => {});
            side.on("close", () => {
                other.destroy();
                pairs.delete(side);
            });
        }
    });
    return new Promise((done, fail) => {
        listener.on("error", fail);
        listener.listen(from, () =>
            done({
                close: () => {
                    listener.close();
                    pairs.forEach(side => side.destroy());
                }
            })
        );
    });
}

if (process.argv[1] === import.meta.filename) {
    await Promise.all(JSON.parse(process.argv[2]).map(([from, to]) => relay(from, to)));
    console.log("ready");
}
