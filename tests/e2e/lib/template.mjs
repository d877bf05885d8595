// An installation that was claimed, used and stopped, put back before each
// run, and what must hold of it afterwards: nothing forwarded without a
// record, nothing lost that was acknowledged.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createPrivateKey, randomBytes } from "node:crypto";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Desk } from "./desk.mjs";
import { Installation, runBinary } from "./installation.mjs";
import { callTool } from "./mcp.mjs";
import { assertion, ASSERTION_TYPE, decode } from "./oauth.mjs";
import { until } from "./wait.mjs";

/** Tokens outlive a long run; the base URL stays over restarts. */
const CONFIG = "[tokens]\nttl_secs = 3600\n[telemetry]\nlevel = \"warn\"\n";
const CAN = ["files:echo", "authzen:evaluate"];
/** How long an answer may take before the run is broken. */
const ANSWER_MAX_MS = 20_000;

/** Whether the upstream server answered. */
export const isServed = reply => reply?.status === 200 && reply.result !== undefined;

/** The answer, or undefined where the connection ended. */
const survived = promise => promise.catch(() => undefined);

/** The data folder and the witness beside it, which must not hold against what is put back what it saw later. */
export class Copy {
    constructor({ data, folder }) {
        Object.assign(this, { data, whole: join(folder, "whole"), word: readFileSync(`${data}.witness`) });
        execFileSync("cp", ["-a", data, this.whole]);
    }

    restore() {
        // The folder itself may be where a file system is mounted.
        for (const name of readdirSync(this.data)) {
            rmSync(join(this.data, name), { recursive: true, force: true });
        }
        execFileSync("cp", ["-a", `${this.whole}/.`, this.data]);
        writeFileSync(`${this.data}.witness`, this.word, { mode: 0o600 });
    }
}

export class Template {
    /** `data` is where the installation lives; it may be a file system of its own. */
    static async prepare(name, { data, config = CONFIG, roles = ["victim", "worker", "leaver"] } = {}) {
        const template = new Template();
        template.desk = await Desk.open();
        const installation = await Installation.start(name, { config, ...(data === undefined ? {} : { data }) });
        template.installation = installation;
        await installation.addHttpServer("files", template.desk.url);
        for (const role of roles) {
            const identity = await installation.addIdentity(role);
            const task = await installation.openTask(role, CAN, { window: "12h" });
            template[role] = { id: identity.id, task: task.id, token: task.token };
            await until("service before any fault", async () => isServed(await template.call(template[role], "before")), ANSWER_MAX_MS);
        }
        if (template.leaver !== undefined) {
            await template.#register();
        }
        template.permits = (await template.entries("decisions")).filter(isPermit).length;
        await installation.service.stop();
        template.copy = new Copy(installation);
        return template;
    }

    /** A client for the leaver, with a key of its own. */
    async #register() {
        const { installation } = this;
        const key = join(installation.folder, "leaver.pem");
        const added = await installation.cli(["client", "add", "leaver", "--generate", key, "--algorithm", "ES256", "--proof", "none"]);
        this.client = { jwk: { ...createPrivateKey(readFileSync(key)).export({ format: "jwk" }), alg: "ES256" }, clientId: added.client_id };
    }

    /** As it was when it was stopped. */
    restore() {
        this.copy.restore();
    }

    call(agent, text) {
        return callTool(this.installation.endpoint("files"), agent.token, "echo", { text });
    }

    /** Every entry of a log. */
    async entries(log) {
        const entries = [];
        for (;;) {
            const page = await this.installation.api("GET", `/v1/logs/${log}/entries?from=${entries.length}`);
            assert.equal(page.status, 200, page.text);
            if (page.body.items.length === 0) {
                return entries;
            }
            entries.push(...page.body.items);
        }
    }

    async #bearing(token, path, body) {
        const response = await fetch(`${this.installation.url}${path}`, {
            method: "POST",
            headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
            body: JSON.stringify(body),
            signal: AbortSignal.timeout(ANSWER_MAX_MS)
        });
        return { status: response.status, body: await response.json().catch(() => undefined) };
    }

    /** Asks AuthZEN once, or many times in one request. */
    evaluate(many = 1) {
        const question = { subject: { type: "identity", id: this.worker.id }, action: { name: "read" }, resource: { type: "document", id: "1" } };
        const [path, body] = many === 1 ? ["/access/v1/evaluation", question] : ["/access/v1/evaluations", { evaluations: Array(many).fill(question) }];
        return survived(this.#bearing(this.worker.token, path, body));
    }

    operator(method, path, body) {
        return survived(this.installation.api(method, path, body));
    }

    /** What is told when nothing is done. */
    nothing(mark) {
        return { mark, decisions: [], served: [], dead: [], said: {}, began: this.desk.calls.length };
    }

    /** Decides at both doors, kills, revokes, opens a task and issues for it. Gives what was told. */
    async work(mark) {
        const told = this.nothing(mark);
        const asked = await this.evaluate();
        told.said.evaluate = asked?.status;
        if (asked?.status === 200) {
            told.decisions.push(asked.body.context.evaluation_id);
        }
        for (const n of [1, 2, 3]) {
            const text = `${mark}-${n}`;
            const reply = await survived(this.call(this.worker, text));
            told.said.call = reply?.error?.data?.code ?? reply?.status;
            if (isServed(reply)) {
                told.served.push(text);
            }
        }
        await this.kill(told);
        await this.revoke(told);
        const wanted = { identity: this.worker.id, purpose: mark, can: CAN, for_secs: 3_600 };
        const opened = await this.operator("POST", "/v1/tenants/acme/tasks", wanted);
        told.said.task = opened?.body?.code ?? opened?.status;
        if (opened?.status < 300) {
            told.task = opened.body.task.id;
            const issued = await this.operator("POST", `/v1/tenants/acme/tasks/${told.task}/tokens`, { count: 1 });
            told.said.issue = issued?.body?.code ?? issued?.status;
            if (issued?.status < 300) {
                told.jti = decode(issued.body.tokens[0].access_token).claims.jti;
            }
        }
        return told;
    }

    /** Kills the victim. Committed, or denied here for good: dead now and for ever; in memory alone: dead as long as the service runs. */
    async kill(told) {
        const body = { scope: "identity", name: this.victim.id, reason: told.mark };
        const killed = await this.operator("POST", "/v1/tenants/acme/kill", body);
        told.said.kill = killed?.body?.code ?? killed?.status;
        await this.#dead(told, "kill", this.victim, told.said.kill);
    }

    /** The leaver's own client ends its token. */
    async revoke(told) {
        const audience = `${this.installation.url}/t/acme`;
        for (let n = 0; n < 3; n += 1) {
            // By a clock that is four seconds ahead, as it may be: what could have been used before the start is not taken.
            const iat = Math.floor(Date.now() / 1_000) + 4;
            const signed = await assertion({ ...this.client, audience }, { iat, exp: iat + 60 });
            const form = { client_assertion_type: ASSERTION_TYPE, client_assertion: signed, token: this.leaver.token };
            const sent = fetch(`${audience}/revoke`, { method: "POST", body: new URLSearchParams(form), signal: AbortSignal.timeout(ANSWER_MAX_MS) });
            const answer = await survived(sent.then(async response => ({ status: response.status, text: await response.text() })));
            const isLocal = /durable in its kill journal/.test(answer?.text ?? "");
            told.said.revoke = isLocal ? "kill.local-only" : /neither in its kill journal/.test(answer?.text ?? "") ? "kill.memory-only" : answer?.status;
            if (answer?.status !== 503 || told.said.revoke !== 503) {
                break;
            }
            // Signed in the second in which this process began: nobody can tell whether it was used before.
            await sleep(1_000);
        }
        await this.#dead(told, "revoke", this.leaver, told.said.revoke);
    }

    async #dead(told, what, agent, said) {
        if (said === 200 || said === "kill.local-only") {
            told.dead.push(what);
        } else if (said !== "kill.memory-only") {
            return;
        }
        const text = `${told.mark}-after-${what}`;
        const reply = await survived(this.call(agent, text));
        assert.ok(!isServed(reply), `${told.mark}: served after ${JSON.stringify(told.said)}`);
        assert.ok(!this.desk.calls.some(call => call.args.text === text), `${told.mark}: a dead call was forwarded`);
    }

    /** What must hold of the running installation after `told`. */
    async check(told) {
        const entries = await this.entries("decisions");
        for (const id of told.decisions) {
            assert.ok(entries.some(entry => entry.payload?.decision === id), `${told.mark}: decision ${id} is lost`);
        }
        const arrived = this.desk.calls.slice(told.began).length;
        const permits = entries.filter(isPermit).length - this.permits;
        assert.ok(arrived <= permits, `${told.mark}: ${arrived} calls arrived, ${permits} have a record`);
        for (const text of told.served) {
            assert.ok(this.desk.calls.some(call => call.args.text === text), `${told.mark}: an answer without a call`);
        }
        if (told.jti !== undefined) {
            const isIssue = entry => entry.leaf.kind === "token.issue" && entry.payload?.issue?.jti?.includes(told.jti);
            assert.ok(entries.some(isIssue), `${told.mark}: the issue of ${told.jti} is lost`);
        }
        if (told.task !== undefined) {
            const found = await this.installation.api("GET", `/v1/tenants/acme/tasks/${told.task}`);
            assert.equal(found.status, 200, `${told.mark}: task ${told.task}: ${found.text}`);
        }
        for (const [what, agent] of [["kill", this.victim], ["revoke", this.leaver]]) {
            if (told.dead.includes(what)) {
                const reply = await this.call(agent, `${told.mark}-later`);
                assert.equal(reply.status, 401, `${told.mark}: ${what} did not last: ${reply.text}`);
            }
        }
        const alive = await this.call(this.worker, `${told.mark}-alive-${randomBytes(4).toString("hex")}`);
        assert.ok(isServed(alive), `${told.mark}: no service afterwards: ${alive.text}`);
    }

    /** Both logs, from the folder alone. */
    async verify(mark) {
        const { data, folder } = this.installation;
        const verified = await runBinary(["--json", "log", "verify", "--data", data], { folder });
        assert.equal(verified.code, 0, `${mark}: ${verified.stdout}`);
    }

    async end() {
        await this.installation.stop();
        await this.desk.close();
    }
}

function isPermit({ payload }) {
    return payload?.effect === "permit" && payload.action === "tools/call";
}
