// What an observer outside saw of an installation, and what must be true of it
// whatever happened meanwhile. All times are of the observer's one monotonic
// clock, in milliseconds; `Infinity` where something never came.
//
// A history has
//   calls     { agent, node, text, sent, answered, served }  each tool call with a text of its own
//   arrivals  { text }                                       what the upstream server received
//   kills     { agent, identity, node, answered, said, contained }
//             said: "committed", "local", "memory" or "none"; contained: no node permits it any more
//   asked     { decision }                                   AuthZEN answers that came
//   opened    { task }                                       tasks that were acknowledged
// and of the end, on a quiet day
//   decisions  by node, entries of its decision log; state  entries of the state log; unsound  what does not verify
import { createHash } from "node:crypto";

/** The answers after which a kill holds for ever: committed, or durable at this node. */
const LASTING = ["committed", "local"];

/** As the log names the arguments of an `echo`. */
export const digestOf = text => createHash("sha256").update(JSON.stringify({ text })).digest("hex");

const isPermit = ({ payload }) => payload?.effect === "permit" && payload.action === "tools/call";

function counted(keys) {
    const counts = new Map();
    for (const key of keys) {
        counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return counts;
}

/**
 * Calls that began when it was acknowledged that their agent is dead: at the node that acknowledged it, and where it
 * said that no node permits it any more, at every node.
 */
function afterTheKill({ calls, kills, arrivals }) {
    const arrived = new Set(arrivals.map(({ text }) => text));
    const lasting = kills.filter(({ said }) => LASTING.includes(said));
    const isLate = ({ agent, node, sent }) => lasting.some(kill => kill.agent === agent && kill.answered < sent && (kill.contained || kill.node === node));
    return calls.filter(isLate).flatMap(({ agent, text, served }) => [
        ...(served ? [`accepted after the kill of ${agent} was acknowledged: ${text}`] : []),
        ...(arrived.has(text) ? [`forwarded after the kill of ${agent} was acknowledged: ${text}`] : [])
    ]);
}

/** The entries of all decision logs. */
const all = decisions => Object.values(decisions).flat();

/** No call is tried again by the installation, and none arrives that the log does not permit. */
function acts({ calls, arrivals, decisions }) {
    const permits = counted(all(decisions).filter(isPermit).map(({ payload }) => payload.argument_digest));
    const arrived = counted(arrivals.map(({ text }) => text));
    const said = [];
    for (const [text, count] of arrived) {
        const permitted = permits.get(digestOf(text)) ?? 0;
        if (count > permitted) {
            said.push(`act without record: ${text} arrived ${count} times, permitted ${permitted} times`);
        }
    }
    for (const { text, served } of calls) {
        if (served && !arrived.has(text)) {
            said.push(`answered but never forwarded: ${text}`);
        }
    }
    return said;
}

/** What somebody was told is in the logs. */
function acknowledged({ asked, opened, kills, decisions, state }) {
    const decided = new Set(all(decisions).map(({ payload }) => payload?.decision));
    const known = JSON.stringify(state);
    return [
        ...asked.filter(({ decision }) => !decided.has(decision)).map(({ decision }) => `acknowledged decision lost: ${decision}`),
        ...opened.filter(({ task }) => !known.includes(task)).map(({ task }) => `acknowledged task lost: ${task}`),
        ...kills
            .filter(({ identity, said }) => LASTING.includes(said) && !state.some(entry => isMarkOf(entry, identity)))
            .map(({ agent }) => `acknowledged kill lost: ${agent}`)
    ];
}

const isMarkOf = ({ leaf, payload }, identity) => leaf.kind === "state.mark.kill" && JSON.stringify(payload).includes(identity);

/** Positions without a gap; and the state log, which has one writer at a time, never goes back in time or epoch. */
function order({ decisions, state, unsound }) {
    const said = [...unsound];
    const logs = Object.entries(decisions).map(([node, entries]) => [`decisions of ${node}`, entries]);
    for (const [log, entries] of [...logs, ["state", state]]) {
        said.push(...entries.flatMap(({ index }, at) => (Number(index) === at ? [] : [`${log}: entry ${at} has the index ${index}`])));
    }
    state.slice(1).forEach((entry, at) => said.push(...back(`state: entry ${at + 1}`, state[at], entry)));
    return said;
}

const back = (what, before, { leaf }) =>
    ["at", "epoch"].filter(each => leaf[each] < before.leaf[each]).map(each => `${what} goes back in ${each === "at" ? "time" : "epoch"}`);

/** Of two calls at a node of which one was answered before the other was sent, the log has that one first. */
function realTime({ calls, decisions }) {
    const said = [];
    for (const [node, entries] of Object.entries(decisions)) {
        const sent = new Map(calls.filter(call => call.node === node).map(call => [digestOf(call.text), call]));
        const known = entries.flatMap((entry, at) => {
            const call = sent.get(entry.payload?.argument_digest);
            return call === undefined ? [] : [{ ...entry, at, call }];
        });
        known.sort((a, b) => a.call.sent - b.call.sent);
        const answered = known.toSorted((a, b) => a.call.answered - b.call.answered);
        // Of all that was answered by then: what stands last, and what is of the latest time.
        let [next, last, late] = [0, undefined, undefined];
        for (const entry of known) {
            for (; answered[next]?.call.answered < entry.call.sent; next += 1) {
                last = last === undefined || answered[next].at > last.at ? answered[next] : last;
                late = late === undefined || answered[next].leaf.at > late.leaf.at ? answered[next] : late;
            }
            const what = `decisions of ${node}: ${entry.call.text}`;
            said.push(...(last?.at > entry.at ? [`${what} stands before ${last.call.text}, which was answered before it was sent`] : []));
            said.push(...(late === undefined ? [] : back(`${what}`, late, entry)));
        }
    }
    return said;
}

/** Every way in which this history is wrong; none for a good one. */
export function judge(history) {
    return [...afterTheKill(history), ...acts(history), ...acknowledged(history), ...order(history), ...realTime(history)];
}
