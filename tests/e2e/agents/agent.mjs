// An agent that asks what it is told to, with the stock HTTP clients of Node.
//
// One JSON object per line on standard input: client, method, url, headers, body.
// One JSON object per line on standard output: status, headers and body, or error.
// The client "keep" asks nobody: it keeps what it is told turned over, bit by bit.
import { request as plain } from "node:http";
import { request as secure } from "node:https";
import { createInterface } from "node:readline";

async function withFetch({ method, url, headers, body }) {
    const reply = await fetch(url, { method, headers, body, signal: AbortSignal.timeout(20_000) });
    return { status: reply.status, headers: Object.fromEntries(reply.headers), body: await reply.text() };
}

function withHttps({ method, url, headers = {}, body }) {
    return new Promise((done, fail) => {
        const open = url.startsWith("https:") ? secure : plain;
        const sent = open(url, { method, headers, timeout: 20_000 }, reply => {
            const chunks = [];
            reply.on("data", chunk => chunks.push(chunk));
            reply.on("end", () => done({ status: reply.statusCode, headers: reply.headers, body: Buffer.concat(chunks).toString() }));
            reply.on("error", fail);
        });
        sent.on("error", fail);
        sent.end(body);
    });
}

function keep({ turned }) {
    kept.push(...turned.map(text => Buffer.from(text, "base64").map(byte => byte ^ 0xff)));
    return { kept: turned.length };
}

const CLIENTS = { fetch: withFetch, https: withHttps, keep };
const chain = error => [error.message, error.code, error.cause && chain(error.cause)].filter(Boolean).join(": ");
const kept = [];

for await (const line of createInterface({ input: process.stdin })) {
    const ask = JSON.parse(line);
    let said;
    try {
        said = await CLIENTS[ask.client](ask);
    } catch (error) {
        said = { error: `${error.name}: ${chain(error)}` };
    }
    kept.push(said);
    console.log(JSON.stringify(said));
}
