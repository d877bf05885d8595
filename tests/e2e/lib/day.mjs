// Bad days: each breaks one thing, waits, and mends it. A day gets the ground
// of a schedule and its random numbers, from which it chooses a node.
import { setTimeout as sleep } from "node:timers/promises";
import { ROLE } from "./ground.mjs";

/** The bound of freshness in a schedule. */
export const BOUND_MS = 1_000;
const FAULTY = { pwrite64: ["EIO", "ENOSPC"], fdatasync: ["EIO"], fsync: ["EIO"], rename: ["EIO", "ENOSPC"], openat: ["EIO", "ENOSPC"] };
const GROWING = "pwrite64,fallocate";

const pick = (random, list) => list[Math.floor(random() * list.length)];
const injecting = (calls, fault) => ["strace", "-D", "-f", "-qq", "-e", "signal=none", "-e", `trace=${calls}`, "-e", `inject=${calls}:${fault}`, "-o", "/dev/null"];

/** `kill -9`, and a start on the same disk. */
async function crash({ nodes }, random) {
    const node = pick(random, nodes);
    await node.end("SIGKILL");
    await sleep(random() * 200);
    await node.serve();
}

/** An orderly restart. */
async function restart({ nodes }, random) {
    const node = pick(random, nodes);
    await node.end();
    await node.serve();
}

/** A node runs for a while on a disk that does what `wrapper` says, and then on the good one. */
async function onDisk({ nodes }, random, wrapper) {
    const node = pick(random, nodes);
    await node.end("SIGKILL");
    // A start that meets the fault is refused.
    await node.serve({ wrapper }).catch(() => {});
    await sleep(1_000 + random() * 1_000);
    await node.end("SIGKILL");
    await node.serve();
}

function faultyDisk(ground, random) {
    const call = pick(random, Object.keys(FAULTY));
    return onDisk(ground, random, injecting(call, `error=${pick(random, FAULTY[call])}:when=${1 + Math.floor(random() * 200)}`));
}

/** From some call on nothing can grow any more. */
function fullDisk(ground, random) {
    return onDisk(ground, random, injecting(GROWING, `error=ENOSPC:when=${20 + Math.floor(random() * 200)}+`));
}

/** The process stands still for three times the bound, and goes on as if nothing had been. */
async function stopped({ nodes }, random) {
    const { pid } = pick(random, nodes).installation.service;
    process.kill(pid, "SIGSTOP");
    await sleep(3 * BOUND_MS + 200);
    process.kill(pid, "SIGCONT");
}

async function jump({ nodes }, random) {
    const { clock } = pick(random, nodes);
    clock.set(pick(random, ["-10y", "-5m", "+10y", "+20s"]));
    await sleep(500 + random() * 1_500);
    clock.set("+0");
}

/** A line to the database that is broken for a while: of one node, or of all. */
const line = become => async ({ nodes }, random) => {
    const broken = random() < 0.5 ? nodes : [pick(random, nodes)];
    broken.forEach(({ door }) => door.become(become));
    await sleep(500 + random() * 2_500);
    broken.forEach(({ door }) => door.become("good"));
};

const everySession = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${ROLE}'`;

async function full({ cluster }, random) {
    cluster.admin(`ALTER ROLE ${ROLE} CONNECTION LIMIT 0`);
    cluster.admin(everySession);
    await sleep(500 + random() * 2_000);
    cluster.admin(`ALTER ROLE ${ROLE} CONNECTION LIMIT -1`);
}

/** Sessions of the nodes are ended under them, again and again: transactions fail in the middle. */
async function ended({ cluster }, random) {
    for (let n = 0; n < 8; n += 1) {
        cluster.admin(`${everySession} AND random() < 0.5`);
        await sleep(random() * 250);
    }
}

/** The database is ended without a word and started again. */
async function restarted({ cluster }, random) {
    await cluster.end("SIGQUIT");
    await sleep(random() * 1_500);
    await cluster.begin();
}

const HERE = { "kill -9": crash, restart, "faulty disk": faultyDisk, "full disk": fullDisk, stopped, clock: jump };
const THERE = { cut: line("cut"), "half-open": line("silent"), slow: line(40), "no place": full, "sessions ended": ended, "database restarted": restarted };

/** The days that can come over a ground with this engine. */
export const daysOf = engine => Object.entries(engine === "postgres" ? { ...HERE, ...THERE } : HERE);
