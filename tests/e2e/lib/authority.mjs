// A certificate authority for tests: made by openssl, in a folder that is gone
// at the end, trusted by whom a test says and by nobody else.
import { execFileSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { skip } from "./lane.mjs";

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

export class Authority {
    /** Makes its certificate below `folder`, or goes on with the one that is there. */
    constructor(folder, name = "bailiwick test CA") {
        this.folder = folder;
        this.certificate = join(folder, "ca.pem");
        this.key = join(folder, "ca.key");
        if (existsSync(this.certificate)) {
            return;
        }
        const words = ["req", "-x509", ...KEY, "-days", "1", "-subj", `/CN=${name}`, "-addext", "basicConstraints=critical,CA:TRUE"];
        try {
            execFileSync("openssl", [...words, "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", this.key, "-out", this.certificate], { stdio: "ignore" });
        } catch {
            skip("no `openssl` on the PATH");
        }
    }

    /** A leaf for a server on this machine (`for` is "serverAuth") or for a client; gives the files. */
    issue(name, { use = "serverAuth", names = ["IP:127.0.0.1", "DNS:localhost"] } = {}) {
        const at = end => join(this.folder, `${name}.${end}`);
        const run = (...words) => execFileSync("openssl", words, { stdio: "ignore" });
        run("req", "-new", ...KEY, "-subj", `/CN=${name}`, "-keyout", at("key"), "-out", at("csr"));
        const alternatives = names.length === 0 ? "" : `subjectAltName=${names.join(",")}\n`;
        writeFileSync(at("ext"), `${alternatives}basicConstraints=CA:FALSE\nextendedKeyUsage=${use}\n`);
        run("x509", "-req", "-days", "1", "-in", at("csr"), "-CA", this.certificate, "-CAkey", this.key, "-CAcreateserial", "-extfile", at("ext"), "-out", at("pem"));
        chmodSync(at("key"), 0o600);
        return { certificate: at("pem"), key: at("key"), thumbprint: thumbprint(at("pem")) };
    }
}

/** `x5t#S256` of a certificate (RFC 8705 §3.1). */
export const thumbprint = file => createHash("sha256").update(new X509Certificate(readFileSync(file)).raw).digest("base64url");
