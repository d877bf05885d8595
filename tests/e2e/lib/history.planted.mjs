// One sound history, and every way to spoil it that the judge must find.
import { digestOf } from "./history.mjs";

const leaf = (kind, at, epoch) => ({ kind, at, epoch });
const permit = (index, at, epoch, decision, text) => ({
    index,
    leaf: leaf("decision", at, epoch),
    payload: { action: "tools/call", argument_digest: digestOf(text), decision, effect: "permit" }
});

/** Two agents at two nodes, one of which is killed; one question and one task. */
export function sound() {
    return {
        calls: [
            { agent: "alive", node: "a", text: "a1", sent: 1, answered: 3, served: true },
            { agent: "dead", node: "b", text: "d1", sent: 2, answered: 4, served: true },
            // Sent before the acknowledgement: it may be either.
            { agent: "dead", node: "a", text: "d2", sent: 9, answered: 12, served: true },
            // Sent after it, to a node that was not said to know.
            { agent: "dead", node: "b", text: "d4", sent: 11, answered: 13, served: true },
            { agent: "dead", node: "a", text: "d3", sent: 11, answered: 13, served: false },
            { agent: "alive", node: "b", text: "a2", sent: 14, answered: 16, served: true },
            // Its answer was lost.
            { agent: "alive", node: "a", text: "a3", sent: 17, answered: Number.POSITIVE_INFINITY, served: false },
            { agent: "dead", node: "b", text: "d5", sent: 21, answered: 22, served: false }
        ],
        arrivals: [{ text: "a1" }, { text: "d1" }, { text: "d2" }, { text: "d4" }, { text: "a2" }, { text: "a3" }],
        kills: [
            { agent: "dead", identity: "idn_dead", node: "a", answered: 7, said: "memory", contained: false },
            { agent: "dead", identity: "idn_dead", node: "a", answered: 10, said: "committed", contained: false },
            { agent: "dead", identity: "idn_dead", node: "a", answered: 20, said: "committed", contained: true }
        ],
        asked: [{ decision: "dec_asked" }],
        opened: [{ task: "tsk_opened" }],
        decisions: {
            a: [
                permit(0, 2, 0, "dec_1", "a1"),
                { index: 1, leaf: leaf("decision", 6, 0), payload: { action: "read", decision: "dec_asked", effect: "permit" } },
                permit(2, 9, 0, "dec_3", "d2"),
                { index: 3, leaf: leaf("decision", 12, 1), payload: { action: "tools/call", argument_digest: digestOf("d3"), decision: "dec_4", effect: "deny" } },
                permit(4, 18, 1, "dec_6", "a3")
            ],
            b: [permit(0, 3, 0, "dec_2", "d1"), permit(1, 12, 0, "dec_7", "d4"), permit(2, 15, 1, "dec_5", "a2")]
        },
        state: [
            { index: 0, leaf: leaf("state.task.open", 8, 0), payload: { objects: [{ id: "tsk_opened" }] } },
            { index: 1, leaf: leaf("state.mark.kill", 10, 1), payload: { objects: [{ id: "identity:idn_dead" }] } }
        ],
        unsound: []
    };
}

const drop = (list, at) => list.splice(at, 1);

export const PLANTED = [
    { name: "served after the kill", plant: ({ calls, arrivals, decisions }) => {
        calls[4].served = true;
        arrivals.push({ text: "d3" });
        decisions.a[3].payload.effect = "permit";
    }, words: /^accepted after the kill of dead was acknowledged: d3; forwarded after the kill of dead was acknowledged: d3$/ },
    { name: "a kill that was acknowledged here alone", plant: ({ kills, calls }) => {
        kills[1].said = "local";
        calls[2].sent = 10.5;
        calls[2].served = false;
    }, words: /^forwarded after the kill of dead was acknowledged: d2$/ },
    { name: "served by another node after the kill was contained", plant: ({ kills }) => (kills[1].contained = true), words: /^accepted after the kill of dead was acknowledged: d4; forwarded after the kill of dead was acknowledged: d4$/ },
    { name: "an act without a record", plant: ({ arrivals }) => arrivals.push({ text: "nobody" }), words: /^act without record: nobody[^;]*$/ },
    { name: "one record for two acts", plant: ({ arrivals }) => arrivals.push({ text: "a1" }), words: /^act without record: a1 arrived 2 times[^;]*$/ },
    { name: "an act whose record is a refusal", plant: ({ decisions }) => (decisions.b[2].payload.effect = "deny"), words: /^act without record: a2[^;]*$/ },
    { name: "an answer that nobody upstream gave", plant: ({ arrivals }) => drop(arrivals, 4), words: /^answered but never forwarded: a2[^;]*$/ },
    { name: "a lost decision", plant: ({ decisions }) => (decisions.a[1].payload.decision = "dec_other"), words: /^acknowledged decision lost: dec_asked[^;]*$/ },
    { name: "a lost task", plant: ({ state }) => (state[0].payload = {}), words: /^acknowledged task lost: tsk_opened[^;]*$/ },
    { name: "a lost kill", plant: ({ state }) => (state[1].leaf.kind = "state.mark.lift"), words: /^acknowledged kill lost: dead; acknowledged kill lost: dead$/ },
    { name: "a gap", plant: ({ decisions }) => (decisions.a[4].index = 5), words: /^decisions of a: entry 4 has the index 5[^;]*$/ },
    { name: "time that goes back", plant: ({ state }) => (state[1].leaf.at = 7), words: /^state: entry 1 goes back in time[^;]*$/ },
    { name: "an epoch that goes back", plant: ({ decisions }) => (decisions.a[4].leaf.epoch = 0), words: /^decisions of a: a3 goes back in epoch$/ },
    { name: "a decision whose time is before that of one that was answered", plant: ({ decisions }) => (decisions.b[2].leaf.at = 11), words: /^decisions of b: a2 goes back in time$/ },
    { name: "a decision that stands before one that was answered", plant: ({ decisions }) => {
        const [first, second, third] = decisions.b;
        decisions.b = [first, { ...third, index: 1 }, { ...second, index: 2 }];
    }, words: /^decisions of b: a2 stands before d4, which was answered before it was sent$/ },
    { name: "a log that does not verify", plant: history => history.unsound.push("the logs of a do not verify"), words: /^the logs of a do not verify$/ }
];
