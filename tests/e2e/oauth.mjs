// The OAuth lane: node oauth.mjs [SUITE…]
//
// Foreign clients and foreign verifiers against the real server over HTTPS. The
// test CA has to be known before Node starts, so this file makes it and starts
// itself again with it.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { Authority } from "./lib/authority.mjs";
import { temporary } from "./lib/installation.mjs";
import { run } from "./lib/lane.mjs";

const FOLDER = "E2E_AUTHORITY";

if (process.env[FOLDER] === undefined) {
    const folder = temporary("authority");
    const { certificate } = new Authority(folder);
    const env = { ...process.env, [FOLDER]: folder, NODE_EXTRA_CA_CERTS: certificate, REQUESTS_CA_BUNDLE: certificate, SSL_CERT_FILE: certificate };
    const child = spawnSync(process.execPath, process.argv.slice(1), { env, stdio: "inherit" });
    rmSync(folder, { recursive: true, force: true });
    process.exit(child.status ?? 1);
}

await import("./oauth/clients.mjs");
await import("./oauth/mtls.mjs");
await import("./oauth/verifiers.mjs");
await import("./oauth/federation.mjs");
await import("./oauth/aws.mjs");
await run("oauth", process.argv.slice(2));
