// The MCP conformance suite directly and through the gateway, with deciding,
// recording and filtering on; the credential permits everything and is added
// by a proxy. Then the suite's authorization server scenarios, with a person.
//
//   node conformance.mjs [--summary FILE]
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { freePort, runAuthorization } from "../../conformance/mcp/authorization.mjs";
import { agree } from "./lib/consent.mjs";
import { environment, Installation } from "./lib/installation.mjs";

const MCP = join(import.meta.dirname, "../../conformance/mcp");

const fixture = spawn(process.execPath, [join(MCP, "fixture/server.mjs")], { stdio: ["ignore", "pipe", "inherit"] });
let installation;
let code = 1;
try {
    const [line] = await new Promise(resolve => createInterface({ input: fixture.stdout }).once("line", (...got) => resolve(got)));
    const { url } = JSON.parse(line);
    installation = await Installation.start("conformance", { config: "[tokens]\nttl_secs = 3600\n[telemetry]\nlevel = \"warn\"\n" });
    await installation.addHttpServer("fixture", url);
    await installation.addIdentity("suite", { kind: "workload" });
    const { tokenFile } = await installation.openTask("suite", ["fixture:*"], { window: "1h" });
    const argv = [join(MCP, "run.mjs"), "--gateway", installation.endpoint("fixture"), "--token-file", tokenFile, "--direct", url];
    const run = spawn(process.execPath, [...argv, ...process.argv.slice(2)], { stdio: "inherit", env: environment(process.env.HOME) });
    code = await new Promise(resolve => run.on("close", resolve));
    const port = await freePort();
    const redirect = `http://127.0.0.1:${port}/callback`;
    const registered = await installation.cli(["consent", "client", "add", "Suite", "--redirect", redirect]);
    await installation.cli(["consent", "client", "add", "Documents", "--documents", "https://*"]);
    const words = ["--identity", "suite", "--can", "fixture:*", "--for", "10m"];
    const problems = await runAuthorization({
        issuer: `${installation.url}/t/acme`,
        clientId: registered.client_id,
        resource: installation.endpoint("fixture"),
        port,
        agree: async link => {
            const { back } = await agree(installation, link, words);
            await fetch(back);
        }
    });
    if (problems.length > 0) {
        console.error(problems.join("\n"));
        code = 1;
    }
    const logs = await installation.integrated();
    console.log(`  entries of the decision log after it: ${logs.decisions.sequenced}`);
    const { sound } = await installation.cli(["log", "verify"]);
    if (!sound) {
        console.error("conformance: the logs do not verify after the run");
        code = 1;
    }
} finally {
    await installation?.stop();
    fixture.kill();
}
process.exit(code);
