// The egress proxy under those who would have it serve them alone, or carry
// what is another's: raw sockets against the real service.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Installation } from "../lib/installation.mjs";
import { figure, suite, test } from "../lib/lane.mjs";
import { Origin } from "../lib/origin.mjs";
import { Raw } from "../lib/raw.mjs";
import { until } from "../lib/wait.mjs";

const ANSWERABLE = ["--owner", "platform", "--owner-contact", "platform@acme.example", "--purpose", "end-to-end test", "--expires", "90d"];
const HERE = ["--allow-address", "127.0.0.0/8", "--allow-address", "::1/128", "--allow-plaintext"];
const METHODS = ["--method", "GET", "--method", "POST"];
const CAN = ["api:GET", "api:POST"];
/** What a call may take to end after the kill was acknowledged, ms. */
const END_MAX = 1_000;

/** An installation with a proxy; gives it and where the proxy is. */
async function proxied(name, lines = "") {
    const installation = await Installation.start(name, { config: `[proxy]\nlisten = "127.0.0.1:0"\n${lines}` });
    const [host, port] = (await installation.api("GET", "/v1/tenants/acme/egress")).body.proxy.split(":");
    return { installation, proxy: { host, port: Number(port) } };
}

/** A destination `api` of a tenant, with a secret of its own. */
async function tenantWith(installation, tenant, secret) {
    const origin = await Origin.open({ secret });
    const words = ["server", "add", "api", "--destination", origin.url, ...HERE, ...METHODS, "--header", "Authorization: Bearer {secret}"];
    await installation.cli([...words, "--credential-file", "-", ...ANSWERABLE], { tenant, input: secret });
    await installation.addIdentity("agent", { tenant });
    const { token, id } = await installation.openTask("agent", CAN, { tenant });
    return { tenant, origin, secret, token, id };
}

/** The bytes of one request. */
const request = ({ origin, token }, path = "/v1/invoices", { method = "GET", headers = [], body = "" } = {}) =>
    [`${method} ${origin.url}${path} HTTP/1.1`, `Host: ${new URL(origin.url).host}`, `Proxy-Authorization: Bearer ${token}`, ...headers, "", body].join("\r\n");

suite("egress-pressure", async () => {
    const { installation, proxy } = await proxied("egress-pressure");
    await installation.addTenant("globex");
    const [acme, globex] = await Promise.all(["acme", "globex"].map(tenant => tenantWith(installation, tenant, `secret-of-${tenant}-${randomBytes(12).toString("hex")}`)));
    return {
        installation,
        proxy,
        acme,
        globex,
        stop: async () => {
            await installation.stop();
            await Promise.all([acme, globex].map(({ origin }) => origin.close()));
        }
    };
}, { alone: true });

test("one connection that two tenants use carries nothing of one to the other's destination of the same name", async ({ proxy, acme, globex }) => {
    const connection = await Raw.open(proxy);
    for (const whose of [acme, globex, acme]) {
        const before = [acme, globex].map(({ origin }) => origin.requests.length);
        const answer = await connection.ask(request(whose, `/v1/of-${whose.tenant}`));
        assert.match(answer, /^HTTP\/1\.1 200 /, answer);
        const after = [acme, globex].map(({ origin }) => origin.requests.length);
        const arrived = [acme, globex].map((_, at) => after[at] - before[at]);
        assert.deepEqual(arrived, [acme, globex].map(each => (each === whose ? 1 : 0)), `a request of ${whose.tenant}`);
        const seen = whose.origin.requests.at(-1);
        assert.deepEqual([seen.url, seen.headers.authorization], [`/v1/of-${whose.tenant}`, `Bearer ${whose.secret}`]);
    }
    connection.close();
});

test("an agent that stops reading ends with its task: its call, its connection, and the one to the destination", async ({ installation, proxy, acme }) => {
    const { token, id } = await installation.openTask("agent", CAN);
    const stalled = await Raw.open(proxy);
    stalled.write(request({ ...acme, token }, "/v1/long"));
    const seen = await until("the answer to begin", () => acme.origin.of("/v1/long").at(-1));
    // Until nothing moves any more: every buffer on the way is full.
    await sleep(1_500);
    assert.equal(seen.closed, false);
    const receipt = await installation.kill("task", id);
    assert.equal(receipt.cancelled_calls, 1);
    const killed = Date.now();
    await until("the destination to see it", () => seen.closed, END_MAX);
    figure("egress: a stalled agent's kill to the end at the destination, ms", Date.now() - killed);
    assert.equal((await installation.kill("task", id, ["--dry-run"])).calls_in_flight, 0, "nothing is in flight");
    await stalled.ended(END_MAX);
});

test("however many connections one tenant holds, another's are served, and the holders end with their task", async ({ installation, proxy, acme, globex }) => {
    const tasks = await Promise.all([1, 2].map(() => installation.openTask("agent", CAN)));
    const before = acme.origin.of("/v1/hold").length;
    const held = [];
    for (let n = 0; n < 1_024; n += 1) {
        const connection = await Raw.open(proxy);
        connection.read();
        connection.write(request({ ...acme, token: tasks[n % 2].token }, "/v1/hold"));
        held.push(connection);
        // Fewer at once than may be without a known token: a slow machine reads their first words late.
        if (n % 64 === 63) {
            await until("each to be served or refused", () => held.every(({ chunks }) => chunks.length > 0), 20_000);
        }
    }
    const open = () => acme.origin.of("/v1/hold").slice(before).filter(({ closed }) => !closed).length;
    assert.ok(held.every(({ text }) => /^HTTP\/1\.1 (200|503) /.test(text)));
    assert.ok(open() >= 600 && open() <= 700, `two thirds of 1024: ${open()}`);
    const other = await Raw.open(proxy);
    assert.match(await other.ask(request(globex)), /^HTTP\/1\.1 200 /, "another tenant is served");
    const more = await Raw.open(proxy);
    const answer = await more.ask(request({ ...acme, token: tasks[0].token }));
    assert.match(answer, /^HTTP\/1\.1 503 .*\(proxy\.places\)/);
    await Promise.all(tasks.map(({ id }) => installation.kill("task", id)));
    await until("all to end", () => open() === 0, END_MAX * 5);
    [...held, other, more].forEach(connection => connection.close());
});

test("who shows no token takes no place from who does, and with a dead one no TLS is begun", async ({ installation, proxy, acme }) => {
    const silent = [];
    for (let n = 0; n < 1_024; n += 1) {
        silent.push(await Raw.open(proxy));
    }
    const connection = await Raw.open(proxy);
    assert.match(await connection.ask(request(acme)), /^HTTP\/1\.1 200 /);
    silent.forEach(each => each.read());
    await until("most of the silent ones to be ended", () => silent.filter(({ isClosed }) => isClosed).length >= 800, 5_000);
    assert.match(await connection.ask(request(acme)), /^HTTP\/1\.1 200 /, "who is known keeps its place");
    [...silent, connection].forEach(each => each.close());
    const { token, id } = await installation.openTask("agent", CAN);
    const at = new URL(acme.origin.url).host;
    const into = `CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\nProxy-Authorization: Bearer ${token}\r\n\r\n`;
    const alive = await Raw.open(proxy);
    assert.match(await alive.ask(into), /^HTTP\/1\.1 200 /);
    await installation.kill("task", id);
    assert.equal(await alive.ended(5_000), alive.text, "what it opened ends");
    const dead = await Raw.open(proxy);
    const answer = await dead.ask(into);
    assert.match(answer, /^HTTP\/1\.1 403 .*\((token\.revoked|task\.closed)\)/);
    const decision = JSON.parse(answer.split("\r\n\r\n")[1]).decision;
    const { items } = await installation.cli(["log", "tail", "-n", "20"]);
    const entry = items.find(({ payload }) => payload?.id === decision || payload?.decision === decision)?.payload;
    assert.deepEqual([entry?.action, entry?.effect, entry?.resource?.id], ["CONNECT", "deny", at], "it is recorded");
    dead.close();
});

test("a secret that is sent back packed for a hop, in wide letters or in pieces that the agent chose is not heard", async ({ proxy, acme }) => {
    const halves = [acme.secret.slice(0, 20), acme.secret.slice(20)];
    const connection = await Raw.open(proxy);
    for (const path of ["/v1/unsaid", "/v1/packed-hop", "/v1/wide", "/v1/pieces?always"]) {
        const answer = await connection.ask(request(acme, path));
        assert.match(answer, /^HTTP\/1\.1 502 .*\(destination\.packed\)/, path);
    }
    for (const range of ["bytes=0-26", "BYTES=27-60", "bytes=0-3,27-40"]) {
        const answer = await connection.ask(request(acme, "/v1/pieces", { headers: [`Range: ${range}`, "Accept-Charset: utf-16"] }));
        assert.match(answer, /^HTTP\/1\.1 200 /, range);
        assert.ok(halves.every(half => !answer.includes(half)), answer);
        const seen = acme.origin.requests.at(-1).headers;
        assert.deepEqual([seen.range, seen["accept-charset"]], [undefined, undefined]);
    }
    await connection.ask(request(acme, "/v1/invoices", { headers: ["Range: 0-24"] }));
    assert.equal(acme.origin.requests.at(-1).headers.range, "0-24", "pages in other units are asked for as they were");
    connection.close();
});

test("a header that makes another request of the one that was decided is refused, and nothing arrives", async ({ installation, proxy, acme }) => {
    const { token } = await installation.openTask("agent", ['api:GET(path under "/v1/public")', 'api:POST(path under "/v1/public")']);
    const before = acme.origin.requests.length;
    for (const [method, header] of [
        ["GET", "X-Original-URL: /admin"],
        ["GET", "X-Rewrite-URL: /admin"],
        ["GET", "x_original_url: /admin"],
        ["GET", "X-Forwarded-Host: admin.internal"],
        ["GET", "X-Forwarded-Prefix: /admin"],
        ["GET", "X-Forwarded-Uri: /admin"],
        ["GET", "X-Forwarded-Path: /admin"],
        ["GET", "Forwarded: host=admin.internal"],
        ["POST", "X-HTTP-Method-Override: DELETE"],
        ["POST", "X-HTTP-Method: DELETE"],
        ["POST", "X-Method-Override: DELETE"],
        ["POST", "X_HTTP_METHOD_OVERRIDE: DELETE"]
    ]) {
        const connection = await Raw.open(proxy);
        const headers = [header, ...(method === "POST" ? ["Content-Length: 0"] : [])];
        const answer = await connection.ask(request({ ...acme, token }, "/v1/public/x", { method, headers }));
        assert.match(answer, /^HTTP\/1\.1 400 .*\(proxy\.header-detour\)/, `${header}: ${answer}`);
        assert.match(JSON.parse(answer.split("\r\n\r\n")[1]).decision, /^dec_/, "it is recorded");
        connection.close();
    }
    assert.equal(acme.origin.requests.length, before);
    const connection = await Raw.open(proxy);
    assert.match(await connection.ask(request({ ...acme, token }, "/v1/public/x", { headers: ["X-Forwarded-For: 192.0.2.1"] })), /^HTTP\/1\.1 200 /);
    connection.close();
});

test("a body arrives whole whatever its request is called, with its length said or not", async ({ proxy, acme }) => {
    const connection = await Raw.open(proxy);
    for (const [method, headers, body] of [
        ["GET", ["Transfer-Encoding: chunked"], "5\r\nquery\r\n6\r\n-again\r\n0\r\n\r\n"],
        ["GET", ["Content-Length: 11"], "query-again"],
        ["POST", ["Transfer-Encoding: chunked"], "5\r\nquery\r\n6\r\n-again\r\n0\r\n\r\n"],
        ["GET", [], ""]
    ]) {
        const answer = await connection.ask(request(acme, "/v1/search", { method, headers, body }));
        assert.match(answer, /^HTTP\/1\.1 200 /);
        assert.equal(acme.origin.requests.at(-1).body.toString(), body === "" ? "" : "query-again", `${method} ${headers}`);
    }
    connection.close();
});

test("an upload may take as long as it flows; who is silent or takes nothing for long is ended", async () => {
    const { installation, proxy } = await proxied("egress-silence", "silence_secs = 2\n");
    const acme = await tenantWith(installation, "acme", `secret-${randomBytes(12).toString("hex")}`);
    try {
        const stalled = await Raw.open(proxy);
        stalled.write(request(acme, "/v1/long"));
        const connection = await Raw.open(proxy);
        connection.read();
        connection.write(request(acme, "/v1/invoices", { method: "POST", headers: ["Content-Length: 12"] }));
        const began = Date.now();
        for (let n = 0; n < 12; n += 1) {
            await sleep(500);
            connection.write("x");
        }
        assert.ok(Date.now() - began > 5_000, "longer than the limit");
        await until("its answer", () => connection.text.includes("\r\n\r\n"));
        assert.match(connection.text, /^HTTP\/1\.1 200 /);
        assert.equal(acme.origin.of("/v1/invoices").at(-1).body.length, 12);
        await until("the call of who takes nothing to end", () => acme.origin.of("/v1/long").every(({ closed }) => closed), 10_000);
        const half = await Raw.open(proxy);
        const answer = await half.ask(request(acme, "/v1/invoices", { method: "POST", headers: ["Content-Length: 12"], body: "x" }));
        assert.match(answer, /^HTTP\/1\.1 50[24] |^$/, "who stops in the middle of its upload");
        const mute = await Raw.open(proxy);
        assert.match(await mute.ask(request(acme, "/v1/mute")), /^HTTP\/1\.1 504 .*\(destination\.timed-out\)/);
        [stalled, connection, half, mute].forEach(each => each.close());
    } finally {
        await installation.stop();
        await acme.origin.close();
    }
});
