// Waiting for something to become true, bounded.
import { setTimeout as sleep } from "node:timers/promises";

/** Calls `probe` until it gives something truthy; fails after `max` milliseconds. */
export async function until(what, probe, max = 10_000) {
    for (const end = Date.now() + max; ; await sleep(10)) {
        const found = await probe();
        if (found) {
            return found;
        }
        if (Date.now() > end) {
            throw new Error(`waited ${max} ms for ${what}`);
        }
    }
}

/** A random generator with a seed (mulberry32), so that a run can be repeated. */
export function seeded(seed) {
    let state = seed >>> 0;
    return () => {
        state = (state + 0x6d2b79f5) >>> 0;
        let mixed = state;
        mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
        mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
        return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
    };
}
