// Kills under load, judged by somebody else: many victims call through every
// door of every node, each is killed at a moment of its own, and what the
// receipt says is held against what its caller was told and what the upstream
// server saw.
//
// A call begins when it is sent. The answer to a kill comes after `committed`
// on one node and after `contained` on several, so whatever is sent after that
// answer was read began after it, on the one clock that this program has. Where
// a sidecar is asked too, every answer comes after `contained`; `committed` was
// by then so long ago as the answer says.
import assert from "node:assert/strict";
import { createHash, generateKeyPairSync } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { callTool } from "./mcp.mjs";
import { ASSERTION_TYPE, assertion, decode, requestToken } from "./oauth.mjs";
import { seeded, until } from "./wait.mjs";

/** The doors, by the name that receipts give them. */
export const DOORS = ["gateway", "authzen", "issue", "introspection"];
/** The door of a sidecar: it is a line among the nodes of a receipt, not among its points. */
const SIDECAR = "sidecar";
const SCOPES = ["identity", "task", "agent", "owner"];
/** Calls that each door is sent after the answer to the kill. */
const LATE = 3;
const SECS = 6 * 3_600;
const later = () => new Date(Date.now() + SECS * 1_000).toISOString();

const digest = value => createHash("sha256").update(JSON.stringify(value)).digest("hex");

/** An ES256 key of a client. */
function newKey() {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    return { jwk: { ...privateKey.export({ format: "jwk" }), alg: "ES256" }, open: { ...publicKey.export({ format: "jwk" }), alg: "ES256" } };
}

/**
 * `site` is the installation under test: `base` (its URL in tokens), `nodes`
 * (`{name, url}`), and `ask(node, method, path, body)` as its operator; perhaps
 * `sidecars` (`{name, url}`), which are asked whether a call may be made.
 * `desk` is the upstream server. A caller rests `pause` ms between two calls.
 */
export class Pressing {
    constructor({ site, desk, seed, together = 8, bystanders = 4, pause = 4 }) {
        Object.assign(this, { site, desk, together, bystanders, pause });
        this.random = seeded(seed);
        this.made = 0;
        this.problems = [];
        this.tried = 0;
        this.late = 0;
        this.refusedBystanders = 0;
        this.lapsed = 0;
        this.readings = { denied: [], committed: [], contained: [] };
        this.refusals = Object.fromEntries(DOORS.map(door => [door, []]));
        /** What reached the upstream server, by the victim and node in its text. */
        this.seen = new Map();
        this.read = 0;
        /** Decisions of each sidecar that somebody was told. */
        this.decided = Object.fromEntries(this.sidecars.map(({ name }) => [name, 0]));
    }

    get sidecars() {
        return this.site.sidecars ?? [];
    }

    /** Where a door is. */
    #places(door) {
        return door === SIDECAR ? this.sidecars : this.site.nodes;
    }

    async #ask(method, path, body, node = this.site.nodes[0]) {
        const answer = await this.site.ask(node, method, path, body);
        assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
        return answer.body;
    }

    #tenant(method, path, body, node) {
        return this.#ask(method, `/v1/tenants/acme/${path}`, body, node);
    }

    /** The enforcement point outside, and the resource server that asks after tokens. */
    async open() {
        const { task, token, client } = await this.#member("guard", ["authzen:evaluate", "token:introspect"]);
        this.guard = { task, token, ...client };
    }

    async #member(name, can) {
        const wanted = {
            name,
            kind: "agent",
            owner: { team: `team-${name}`, contact: `${name}@acme.example` },
            purpose: "killed under load",
            expires_at: later(),
            labels: { agent: `agent-${name}` }
        };
        const identity = await this.#tenant("POST", "identities", wanted);
        await this.#tenant("POST", `identities/${identity.id}/activate`, {});
        const { jwk, open } = newKey();
        const client = await this.#tenant("POST", "clients", { identity: identity.id, jwk: open, proof: "none" });
        const opened = await this.#tenant("POST", "tasks", { identity: identity.id, purpose: "killed under load", can, for_secs: SECS / 2, issue: true });
        const audience = `${this.site.base}/t/acme`;
        return { name, identity, task: opened.task.id, token: opened.token.access_token, client: { jwk, clientId: client.client_id, audience } };
    }

    /** One call at one door: whether it was let through, and what is known of it then. */
    async #enter(door, member, node, number) {
        const at = `${node.url}/t/acme`;
        switch (door) {
            case "gateway": {
                const text = `${member.name} ${node.name} ${number}`;
                const reply = await callTool(`${at}/mcp/files`, member.token, "echo", { text });
                return { allowed: reply.result !== undefined, code: reply.error?.data?.code ?? reply.status };
            }
            case SIDECAR:
            case "authzen": {
                const question = {
                    subject: { type: "identity", id: member.identity.id },
                    action: { name: "tools/call" },
                    resource: { type: "tool", id: "files/echo" },
                    context: { task: member.task }
                };
                const headers = { "content-type": "application/json", authorization: `Bearer ${this.guard.token}` };
                const response = await fetch(`${node.url}/access/v1/evaluation`, { method: "POST", headers, body: JSON.stringify(question) });
                const body = await response.json();
                if (door === SIDECAR && response.status === 200) {
                    this.decided[node.name] += 1;
                }
                return { allowed: body.decision === true, mark: body.context?.evaluation_id, code: body.context?.code ?? response.status };
            }
            case "issue": {
                const form = {
                    grant_type: "client_credentials",
                    client_assertion_type: ASSERTION_TYPE,
                    client_assertion: await assertion(member.client),
                    task: member.task
                };
                const { status, body } = await requestToken(`${at}/token`, form);
                const token = body?.access_token;
                return { allowed: token !== undefined, mark: token && decode(token).claims.jti, code: body?.error ?? status };
            }
            default: {
                const form = { token: member.token, client_assertion_type: ASSERTION_TYPE, client_assertion: await assertion(this.guard) };
                const response = await fetch(`${at}/introspect`, { method: "POST", body: new URLSearchParams(form) });
                const body = await response.json();
                return { allowed: body.active === true, code: response.status };
            }
        }
    }

    /** One call after another at one door, over all nodes in turn, until enough were sent after the kill's answer. */
    async #calls(door, victim) {
        const nodes = this.#places(door);
        const late = [];
        for (let number = 0; late.length < LATE * nodes.length; number += 1) {
            const node = nodes[number % nodes.length];
            const sent = performance.now();
            const call = { door, node: node.name, sent, ...(await this.#enter(door, victim, node, number)) };
            this.tried += 1;
            if (call.allowed) {
                victim.last[door][node.name] = call;
                victim.allowed.push(call);
            }
            if (sent > victim.answered) {
                late.push(call);
            }
            await sleep(victim.pause);
        }
        this.late += late.length;
        for (const call of late.filter(({ allowed }) => allowed)) {
            this.problems.push(`${victim.name}: ${door} at ${call.node} let a call through that was sent ${(call.sent - victim.answered).toFixed(3)} ms after the answer`);
        }
    }

    /** One victim from its registration to its receipt. */
    async #one(number) {
        const victim = await this.#member(`victim-${number}`, ["files:*"]);
        const doors = this.sidecars.length === 0 ? DOORS : [...DOORS, SIDECAR];
        victim.last = Object.fromEntries(doors.map(door => [door, {}]));
        victim.allowed = [];
        victim.answered = Infinity;
        victim.pause = this.pause * (0.5 + this.random());
        const scope = SCOPES[Math.floor(this.random() * SCOPES.length)];
        const node = this.site.nodes[Math.floor(this.random() * this.site.nodes.length)];
        const wait = 5 + this.random() * 60;
        const calls = doors.map(door => this.#calls(door, victim));
        const all = Promise.all(calls);
        // Whoever was let in nowhere would show nothing when it is killed.
        const warm = () => doors.every(door => this.#places(door).every(({ name }) => victim.last[door][name] !== undefined));
        await Promise.race([until(`${victim.name} to be let in everywhere`, warm, 30_000), all]);
        await sleep(wait);
        const named = { identity: victim.identity.id, task: victim.task, agent: victim.identity.labels.agent, owner: victim.identity.owner.team }[scope];
        const killed = await this.#tenant("POST", "kill", { scope, name: named, reason: "under load" }, node);
        victim.answered = performance.now();
        await all;
        this.readings.denied.push(killed.denied_us);
        this.readings.committed.push(killed.committed_us);
        this.readings.contained.push(killed.contained_us);
        if (killed.contained_us === undefined) {
            this.problems.push(`${victim.name}: not contained in time`);
        }
        this.#compareSidecars(victim, killed);
        await this.#compare(victim, scope, killed, node);
    }

    /** Each sidecar is a line of the receipt, and the doors of a lone node let nothing through since it was committed. */
    #compareSidecars(victim, killed) {
        for (const { name } of this.sidecars) {
            const line = killed.nodes?.find(({ node }) => node === name || node.endsWith(`/${name}`));
            if (line?.end === "lapsed") {
                this.lapsed += 1; // too slow for its lease: it refused, and nobody waited longer
            } else if (line?.end !== "acknowledged") {
                this.problems.push(`${victim.name}: sidecar ${name} is ${JSON.stringify(line)} in the receipt`);
            }
        }
        if (this.site.nodes.length > 1 || this.sidecars.length === 0 || killed.contained_us === undefined) {
            return;
        }
        const committed = victim.answered - killed.contained_us / 1_000;
        for (const { door, sent } of victim.allowed.filter(call => call.door !== SIDECAR && call.sent > committed)) {
            this.problems.push(`${victim.name}: ${door} let a call through that was sent ${(sent - committed).toFixed(3)} ms after the commit`);
        }
    }

    /** What the upstream server saw of somebody through a node, the last call of it. */
    #observed(victim, node) {
        for (; this.read < this.desk.calls.length; this.read += 1) {
            const { args } = this.desk.calls[this.read];
            const [name, at] = args.text.split(" ");
            const key = `${name} ${at}`;
            const before = this.seen.get(key);
            this.seen.set(key, { last: digest(args), before: before?.last });
        }
        return this.seen.get(`${victim.name} ${node}`);
    }

    /** The receipt against what was seen from outside. */
    async #compare(victim, scope, killed, pressed) {
        const { nodes } = this.site;
        const what = `${victim.name}, ${scope}, receipt ${killed.receipt}`;
        const wrong = text => this.problems.push(`${what}: ${text}`);
        const complete = receipt => receipt.state !== "committed" && nodes.every(({ name }) => receipt.body.points.some(line => this.#of(line, name)));
        const receipt = await until(
            `${what} to be complete`,
            async () => {
                const found = await this.#tenant("GET", `kills/${killed.receipt}`, undefined, pressed);
                return complete(found) && found.state === "closed" ? found : sleep(150);
            },
            30_000
        ).catch(async error => {
            const { state, body } = await this.#tenant("GET", `kills/${killed.receipt}`, undefined, pressed);
            wrong(`${error.message}: ${state}, open ${JSON.stringify(body.residue.filter(item => item.closed_at === undefined))}`);
        });
        if (receipt === undefined) {
            return;
        }
        if (receipt.known !== "revoked") {
            wrong(`known as ${receipt.known}`);
        }
        for (const node of nodes) {
            for (const door of DOORS) {
                const line = receipt.body.points.find(each => each.point === door && this.#of(each, node.name));
                if (line === undefined || line.known !== "revoked" || line.permitted_after !== 0) {
                    wrong(`${door} at ${node.name} is ${JSON.stringify(line)}`);
                } else {
                    await this.#compareLine(victim, node, line, wrong);
                }
            }
        }
    }

    #of(line, node) {
        return this.site.nodes.length === 1 || line.node.endsWith(`/${node}`);
    }

    async #compareLine(victim, node, line, wrong) {
        const { point: door, last_permitted: place } = line;
        if (line.refusal_us !== undefined) {
            this.refusals[door].push(line.refusal_us);
        }
        const told = victim.last[door][node.name];
        if (door === "introspection") {
            // It decides nothing, so it records no call.
            assert.equal(place, undefined);
            return;
        }
        if (place === undefined) {
            wrong(`${door} at ${node.name}: no last permitted call, but one was let through`);
            return;
        }
        const { items } = await this.#ask("GET", `/v1/logs/decisions/entries?from=${place.index}&before=${place.index + 1}`, undefined, node);
        const payload = items.find(({ index }) => index === place.index)?.payload;
        if (payload?.decision !== place.decision) {
            wrong(`${door} at ${node.name}: entry ${place.index} is no record of ${place.decision}`);
        } else if (door === "gateway") {
            const seen = this.#observed(victim, node.name);
            // A call that was given up may have been given up before it reached anybody.
            const unseen = place.outcome === "cancelled" && payload.argument_digest !== seen.before;
            if (payload.argument_digest !== seen.last && !unseen) {
                wrong(`gateway at ${node.name}: the upstream server saw another last call than entry ${place.index} (${place.outcome})`);
            }
        } else if (door === "authzen" && told.mark !== place.decision) {
            wrong(`authzen at ${node.name}: the last permit that was told is ${told.mark}, the receipt says ${place.decision}`);
        } else if (door === "issue" && !payload.issue.jti.includes(told.mark)) {
            wrong(`issue at ${node.name}: the last token that was got is ${told.mark}, the receipt says ${payload.issue.jti}`);
        }
    }

    /** Somebody whom nothing is done to, and who must not be refused for it. */
    async #bystander(number, ended) {
        const member = await this.#member(`bystander-${number}`, ["files:*"]);
        for (let call = 0; !ended(); call += 1) {
            const door = DOORS[call % DOORS.length];
            const node = this.site.nodes[call % this.site.nodes.length];
            const { allowed, code } = await this.#enter(door, member, node, call).catch(error => ({ allowed: false, code: String(error) }));
            this.tried += 1;
            if (!allowed && call > 4 * DOORS.length * this.site.nodes.length) {
                this.refusedBystanders += 1;
                this.lastRefusal = `${door} at ${node.name}: ${code}`;
            }
            await sleep(this.pause);
        }
    }

    /** So many kills, several victims at a time. */
    async run(kills, progress = () => {}) {
        let [begun, done, ended] = [0, 0, false];
        const others = Array.from({ length: this.bystanders }, (_, number) => this.#bystander(number, () => ended));
        const worker = async () => {
            while (begun < kills) {
                begun += 1;
                const number = begun;
                await this.#one(number).catch(error => this.problems.push(`victim-${number}: ${error.stack ?? error}`));
                done += 1;
                progress(done, this.problems.length);
            }
        };
        try {
            await Promise.all(Array.from({ length: this.together }, worker));
        } finally {
            ended = true;
            await Promise.all(others);
        }
        if (this.lapsed > kills / 10) {
            this.problems.push(`sidecars lapsed at ${this.lapsed} of ${kills} kills`);
        }
        if (this.refusedBystanders > this.tried / 100) {
            this.problems.push(`bystanders were refused ${this.refusedBystanders} times, the last at ${this.lastRefusal}`);
        }
        return this.problems;
    }
}

/** Median, 99th percentile and worst of some figures. */
export function spread(figures) {
    const sorted = figures.filter(Number.isFinite).toSorted((a, b) => a - b);
    const at = part => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
    return sorted.length === 0 ? "none" : `${at(0.5)}/${at(0.99)}/${sorted.at(-1)}`;
}

/** Upper bounds of the classes of a histogram, in milliseconds. */
const BOUNDS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

/** How many of some figures in microseconds are within each bound and above the one before; empty classes are left out. */
export function histogram(figures) {
    const known = figures.filter(Number.isFinite);
    const within = [...BOUNDS_MS, Infinity].map((bound, at, all) => [bound, known.filter(us => us <= bound * 1_000 && us > (all[at - 1] ?? -1) * 1_000).length]);
    return within
        .filter(([, count]) => count > 0)
        .map(([bound, count]) => (bound === Infinity ? `more ${count}` : `≤ ${bound} ms ${count}`))
        .join(", ");
}
