// AWS as moto has it, with authentication switched on once the scene is set,
// and boto3 as its client.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Door, local } from "./door.mjs";
import { skip } from "./lane.mjs";
import { until } from "./wait.mjs";

const INTEROP = join(import.meta.dirname, "../../interop");
const PROGRAMS = join(INTEROP, ".venv/bin");

const freePort = () =>
    new Promise(done => {
        const probe = createServer().listen(0, "127.0.0.1", () => {
            const { port } = probe.address();
            probe.close(() => done(port));
        });
    });

export class Moto {
    static async open() {
        const moto = new Moto();
        const program = join(PROGRAMS, "moto_server");
        if (!existsSync(program)) {
            skip(`no ${program}`);
        }
        const port = await freePort();
        const env = { PATH: process.env.PATH, HOME: "/nonexistent" };
        moto.server = spawn(program, ["-H", "127.0.0.1", "-p", String(port)], { env, stdio: ["ignore", "pipe", "pipe"] });
        moto.log = "";
        for (const stream of [moto.server.stdout, moto.server.stderr]) {
            stream.on("data", chunk => (moto.log += chunk));
        }
        moto.direct = `http://127.0.0.1:${port}`;
        await until("moto to answer", () => fetch(`${moto.direct}/moto-api/`).then(answer => answer.ok, () => false), 30_000);
        moto.door = await Door.open(local(port));
        moto.url = `http://127.0.0.1:${moto.door.port}/`;
        moto.client = spawn(join(PROGRAMS, "python"), [join(INTEROP, "drivers/aws_caller.py"), "--endpoint", moto.direct], { env, stdio: ["pipe", "pipe", "inherit"] });
        moto.waiting = [];
        createInterface({ input: moto.client.stdout }).on("line", line => moto.waiting.shift()(JSON.parse(line)));
        return moto;
    }

    /** What boto3 is answered. */
    call(who, service, action, parameters = {}) {
        const answer = new Promise(done => this.waiting.push(done));
        this.client.stdin.write(`${JSON.stringify({ ...who, service, action, parameters })}\n`);
        return answer;
    }

    /** As [`call`], while nobody is asked who he is. */
    async set(action, parameters) {
        const { ok, result, message } = await this.call({ key: "anybody", secret: "anything" }, "iam", action, parameters);
        assert.ok(ok, message);
        return result;
    }

    /** A user with one policy and one key. */
    async user(name, actions) {
        await this.set("create_user", { UserName: name });
        const document = { Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: actions, Resource: "*" }] };
        await this.set("put_user_policy", { UserName: name, PolicyName: "its", PolicyDocument: JSON.stringify(document) });
        const { AccessKey } = await this.set("create_access_key", { UserName: name });
        return { key: AccessKey.AccessKeyId, secret: AccessKey.SecretAccessKey };
    }

    /** From now on every call needs a key that is known, a signature that fits, and a policy that allows it. */
    async authenticate() {
        const answer = await fetch(`${this.direct}/moto-api/reset-auth`, { method: "POST", body: "0" });
        assert.equal(answer.status, 200);
        const stranger = await this.call({ key: "AKIAIOSFODNN7EXAMPLE", secret: "anything" }, "sts", "get_caller_identity");
        assert.equal(stranger.code, "InvalidClientTokenId", "moto does not authenticate");
    }

    /** From now on a role has room for inline policies of so many characters, as at AWS; gives what is taken. */
    quota(characters) {
        const taken = new Map();
        this.door.judge = message => {
            const [, action] = /Action=(PutRolePolicy|DeleteRolePolicy)/.exec(message) ?? [];
            if (action === undefined) {
                return undefined;
            }
            const form = new URLSearchParams(message.slice(message.indexOf("\r\n\r\n") + 4));
            const others = [...taken].filter(([name]) => name !== form.get("PolicyName"));
            const size = form.get("PolicyDocument")?.length ?? 0;
            if (others.reduce((sum, [, length]) => sum + length, size) > characters) {
                const text = `<ErrorResponse><Error><Code>LimitExceeded</Code><Message>Maximum policy size of ${characters} bytes exceeded for role ${form.get("RoleName")}</Message></Error></ErrorResponse>`;
                return `HTTP/1.1 409 Conflict\r\ncontent-type: text/xml\r\ncontent-length: ${text.length}\r\nconnection: close\r\n\r\n${text}`;
            }
            taken.delete(form.get("PolicyName"));
            if (action === "PutRolePolicy") {
                taken.set(form.get("PolicyName"), size);
            }
            return undefined;
        };
        return taken;
    }

    async stop() {
        this.door.close();
        for (const child of [this.client, this.server]) {
            const ended = new Promise(done => child.on("close", done));
            child.kill("SIGTERM");
            await ended;
        }
    }
}
