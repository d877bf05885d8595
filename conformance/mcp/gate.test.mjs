// The gate itself is tested: each rule must be able to fail.
//   node --test conformance/mcp/
import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { judge as judgeAuthorization } from "./authorization.mjs";
import { compareSet } from "./compare.mjs";
import { rewriteHead, startProxy } from "./header-proxy.mjs";

const SET = "2025-11-25";
const scored = Array.from({ length: 30 }, (_, at) => `scenario-${at}`);
const check = (id, status) => ({ id, key: `${id}/Name#1`, status });
const good = () => new Map(scored.map(name => [name, [check(name, "SUCCESS"), check("wire-schema-valid", "SUCCESS")]]));

function judge({ direct = good(), gateway = good(), expected = [], unscored = [] } = {}) {
    return compareSet({ set: SET, required: { scored, unscored }, expected, runs: { direct, gateway } }).problems;
}

const changed = (name, checks) => new Map([...good(), [name, checks]]);

test("two equal, complete runs have no problem", () => {
    assert.deepEqual(judge(), []);
});

test("a directly failing scenario is a problem unless it is listed", () => {
    const failing = changed("scenario-3", [check("scenario-3", "FAILURE")]);
    assert.match(judge({ direct: failing, gateway: failing }).join(), /scenario-3: fails directly/);
    const expected = [{ set: SET, scenario: "scenario-3", reason: "known" }];
    assert.deepEqual(judge({ direct: failing, gateway: failing, expected }), []);
});

test("a warning does not pass", () => {
    const warned = changed("scenario-3", [check("scenario-3", "WARNING")]);
    assert.match(judge({ direct: warned, gateway: warned }).join(), /fails directly/);
});

test("a check lost or won by the gateway is a problem", () => {
    const lost = changed("scenario-4", [check("scenario-4", "FAILURE"), check("wire-schema-valid", "SUCCESS")]);
    assert.match(judge({ gateway: lost }).join(), /scenario-4: passes direct, not through the gateway/);
    const absent = changed("scenario-4", [check("wire-schema-valid", "SUCCESS")]);
    assert.match(judge({ gateway: absent }).join(), /not through the gateway.*absent/);
    const won = changed("scenario-4", [...good().get("scenario-4"), check("extra", "SUCCESS")]);
    assert.match(judge({ gateway: won }).join(), /passes only through the gateway: extra/);
});

test("a scenario that was not run is a problem", () => {
    const short = good();
    short.delete("scenario-5");
    assert.match(judge({ direct: short, gateway: short }).join(), /scenario-5: was not run directly/);
});

test("a schema violation is a problem on either side", () => {
    const violated = changed("scenario-6", [check("scenario-6", "SUCCESS"), check("wire-schema-valid", "FAILURE")]);
    assert.match(judge({ gateway: violated }).join(), /scenario-6: schema violation \(gateway\)/);
    assert.match(judge({ direct: violated, gateway: violated }).join(), /schema violation \(direct\)/);
});

test("an exception that is no longer needed fails, as does one without a reason", () => {
    const stale = [{ set: SET, scenario: "scenario-7", reason: "was broken once" }];
    assert.match(judge({ expected: stale }).join(), /stale exception: `scenario-7` passes directly/);
    const unknown = [{ set: SET, scenario: "gone", reason: "x" }];
    assert.match(judge({ expected: unknown }).join(), /stale exception: `gone` is not in the set/);
    const failing = changed("scenario-3", [check("scenario-3", "FAILURE")]);
    const silent = [{ set: SET, scenario: "scenario-3", reason: "" }];
    assert.match(judge({ direct: failing, gateway: failing, expected: silent }).join(), /has no reason/);
});

test("a requirement set that shrank is a problem", () => {
    const required = { scored: scored.slice(1), unscored: [] };
    const { problems } = compareSet({ set: SET, required, expected: [], runs: { direct: good() } });
    assert.match(problems.join(), /scores 29 server scenarios, 30 are expected/);
});

test("the proxy swaps its own authority only", () => {
    const to = { own: ["127.0.0.1:5000"], target: new URL("http://127.0.0.1:80/t/demo/mcp/fixture"), token: "tok" };
    const head = rewriteHead("POST /mcp?x=1 HTTP/1.1\r\nHost: 127.0.0.1:5000\r\nOrigin: http://127.0.0.1:5000\r\nauthorization: Bearer forged\r\nMcp-Name:   spaced  ", to);
    assert.equal(
        head,
        "POST /t/demo/mcp/fixture?x=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nMcp-Name:   spaced  \r\nAuthorization: Bearer tok"
    );
    const foreign = rewriteHead("POST /mcp HTTP/1.1\r\nHost: evil.example.com\r\nOrigin: http://evil.example.com", to);
    assert.match(foreign, /Host: evil\.example\.com\r\nOrigin: http:\/\/evil\.example\.com/);
});

test("the proxy reads the token anew for each request of one connection", async () => {
    const seen = [];
    const server = createServer((request, response) => {
        seen.push([request.headers.authorization, request.url]);
        request.resume().on("end", () => response.end("ok"));
    });
    await new Promise(resolve => server.listen(0, "127.0.0.1", resolve));
    const tokenFile = join(mkdtempSync(join(tmpdir(), "bailiwick-proxy-")), "token");
    writeFileSync(tokenFile, "first\n");
    const proxy = await startProxy({ target: `http://127.0.0.1:${server.address().port}/t/a/mcp/b`, tokenFile });
    assert.equal(await (await fetch(proxy.url, { method: "POST", body: "x".repeat(100_000) })).text(), "ok");
    writeFileSync(tokenFile, "second\n");
    assert.equal(await (await fetch(proxy.url, { method: "POST", body: "y" })).text(), "ok");
    assert.deepEqual(seen, [
        ["Bearer first", "/t/a/mcp/b"],
        ["Bearer second", "/t/a/mcp/b"]
    ]);
    proxy.stop();
    server.closeAllConnections();
    server.close();
});

test("an authorization scenario that fails, warns, did not run or is listed in vain is a problem", () => {
    const names = ["authorization-code-grant", "authorization-server-metadata-endpoint"];
    const all = status => new Map(names.map(name => [name, [check(name, status)]]));
    assert.deepEqual(judgeAuthorization(all("SUCCESS"), {}), []);
    for (const status of ["FAILURE", "WARNING", "SKIPPED"]) {
        assert.equal(judgeAuthorization(all(status), {}).length, 2, status);
    }
    assert.match(judgeAuthorization(new Map(), {}).join(), /did not run/);
    assert.match(judgeAuthorization(all("SUCCESS"), { [names[0]]: "why" }).join(), /take it off the list/);
    assert.deepEqual(judgeAuthorization(all("FAILURE"), { [names[0]]: "why", [names[1]]: "why" }), []);
    assert.match(judgeAuthorization(all("SUCCESS"), { gone: "why" }).join(), /no scenario/);
    assert.match(judgeAuthorization(all("SUCCESS").set("new-one", []), {}).join(), /not known here/);
});
