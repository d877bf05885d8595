// Authlib, through `authlib_client.py`: one line of JSON for each deed, one for each outcome. One Python serves
// every agent of a run, one after the other.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";

let running;

function start() {
    const child = spawn("python", [join(import.meta.dirname, "../authlib_client.py")], { stdio: ["pipe", "pipe", "inherit"] });
    const waiting = [];
    createInterface({ input: child.stdout }).on("line", line => {
        const { result, error } = JSON.parse(line);
        const { done, fail } = waiting.shift();
        error === undefined ? done(result) : fail(new Error(error));
    });
    const ended = error => waiting.splice(0).forEach(({ fail }) => fail(error));
    child.on("error", ended);
    child.on("close", () => ended(new Error("the driver ended")));
    return (deed, words = {}) =>
        new Promise((done, fail) => {
            waiting.push({ done, fail });
            child.stdin.write(`${JSON.stringify({ deed, ...words })}\n`);
        });
}

export async function make(settings) {
    running ??= start();
    const ask = running;
    await ask("begin", settings);
    return {
        publicKey: undefined,
        discover: place => ask("discover", { place }),
        resource: url => ask("resource", { url }),
        token: (grant, parameters) => ask("token", { grant, parameters }),
        authorize: words => ask("authorize", words),
        redeem: back => ask("redeem", { back }),
        refresh: token => ask("refresh", { token }),
        use: async (token, call) => {
            const { status, text } = await ask("use", { token, ...call });
            return new Response(text, { status });
        },
        revoke: token => ask("revoke", { token }),
        introspect: token => ask("introspect", { token }),
        introspectSigned: token => ask("introspect_signed", { token }),
        stop: () => {}
    };
}
