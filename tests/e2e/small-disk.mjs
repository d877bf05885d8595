// A data folder on a small disk that others fill at a random moment under load:
// work is refused, kill and revocation hold, and when there is room again all of
// it goes on by itself.
//
//   node small-disk.mjs [--runs 4] [--seed 1] [--results FILE] [--commit HASH]
//
// Every second run is on ext4 in a file mounted as a loop device, the others on tmpfs. Only
// root can mount either; without that right the lane says so, loudly.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArguments } from "../interop/lib/cli.mjs";
import { temporary } from "./lib/installation.mjs";
import { figure, run, skip, suite, test } from "./lib/lane.mjs";
import { append } from "./lib/results.mjs";
import { isServed, Template } from "./lib/template.mjs";
import { seeded, until } from "./lib/wait.mjs";

const SIZE_MIB = 64;
const CALLERS = 16;
const BATCH = 100;
/** Requests of so many decisions each, until what is written ahead is used up. */
const BATCHES_MAX = 2_000;
const FILL_AFTER_MS = 1_500;
const RECOVERY_MAX_MS = 10_000;
const RUN_MAX_MS = 120_000;
const { options } = parseArguments(process.argv.slice(2), { runs: "4", seed: "1", results: undefined, commit: undefined });
const runs = Number(options.runs);

const quietly = (program, ...words) => execFileSync(program, words, { stdio: "ignore" });

/** Takes what is left of a disk. */
function fill(file) {
    const out = openSync(file, "w");
    for (let size = 1024 * 1024; size >= 512; ) {
        try {
            if (writeSync(out, Buffer.alloc(size, 1)) < size) {
                size /= 2;
            }
        } catch (error) {
            assert.equal(error.code, "ENOSPC");
            size /= 2;
        }
    }
    closeSync(out);
}

class Disks {
    static open() {
        const disks = new Disks();
        disks.folder = temporary("small-disk");
        disks.mounted = [];
        return disks;
    }

    mount(kind) {
        const point = join(this.folder, kind);
        mkdirSync(point);
        try {
            if (kind === "ext4") {
                const image = join(this.folder, "image");
                writeFileSync(image, "");
                truncateSync(image, SIZE_MIB * 1024 * 1024);
                quietly("mkfs.ext4", "-q", "-m", "0", image);
                quietly("mount", "-o", "loop", image, point);
            } else {
                quietly("mount", "-t", "tmpfs", "-o", `size=${SIZE_MIB}m,mode=700`, "tmpfs", point);
            }
        } catch {
            skip(`${kind} cannot be mounted here`, "right");
        }
        this.mounted.push(point);
        return point;
    }

    close() {
        for (const point of this.mounted) {
            quietly("umount", "--lazy", point);
        }
        rmSync(this.folder, { recursive: true, force: true });
    }
}

suite("small disk", async () => {
    const disks = Disks.open();
    const templates = [];
    try {
        for (const kind of ["ext4", "tmpfs"]) {
            const point = disks.mount(kind);
            templates.push({ kind, filler: join(point, "filler"), template: await Template.prepare(`small-${kind}`, { data: join(point, "data") }) });
        }
    } catch (error) {
        disks.close();
        throw error;
    }
    return {
        templates,
        stop: async () => {
            for (const { template } of templates) {
                await template.installation.service.stop("SIGKILL").catch(() => {});
                await template.end();
            }
            disks.close();
        }
    };
}, { alone: true });

/** Calls until they are told to stop; what was served and what was refused, by code. */
async function load(template, mark, told, wanted) {
    const codes = {};
    await Promise.all(
        Array.from({ length: CALLERS }, async (_, caller) => {
            for (let n = 0; wanted.go; n += 1) {
                const text = `${mark}-${caller}-${n}`;
                const reply = await template.call(template.worker, text).catch(() => undefined);
                if (isServed(reply)) {
                    told.served.push(text);
                } else {
                    const code = reply?.error?.data?.code ?? reply?.status ?? "gone";
                    codes[code] = (codes[code] ?? 0) + 1;
                }
            }
        })
    );
    return codes;
}

async function once({ template, filler }, mark, random) {
    const { installation } = template;
    template.restore();
    await installation.serve();
    const told = template.nothing(mark);
    const wanted = { go: true };
    const loaded = load(template, mark, told, wanted);
    await sleep(random() * FILL_AFTER_MS);
    fill(filler);
    // Segments and pages are written ahead; decisions go on until those are used up.
    let refused;
    for (let n = 0; n < BATCHES_MAX && refused === undefined; n += 1) {
        const answer = await template.evaluate(BATCH);
        assert.ok(answer !== undefined, `${mark}: no answer on a full disk`);
        refused = answer.status === 200 ? undefined : answer;
    }
    assert.deepEqual([refused?.status, refused?.body?.code], [503, "record.unavailable"], `${mark}: the full disk was never noticed`);
    wanted.go = random() < 0.5;
    await template.kill(told);
    await template.revoke(told);
    assert.deepEqual(told.dead, ["kill", "revoke"], `${mark}: on a full disk: ${JSON.stringify(told.said)}`);
    wanted.go = false;
    const codes = await loaded;
    assert.deepEqual(Object.keys(codes).filter(code => code !== "record.unavailable"), [], `${mark}: ${JSON.stringify(codes)}`);
    // Reading works.
    assert.equal((await installation.api("GET", "/v1/tenants/acme/identities")).status, 200);
    if (random() < 0.5) {
        await installation.service.stop("SIGKILL");
        rmSync(filler);
        await installation.serve();
    } else {
        rmSync(filler);
    }
    const freed = Date.now();
    await until(`${mark}: work to go on`, async () => isServed(await template.call(template.worker, `${mark}-again`)), RECOVERY_MAX_MS);
    await until(`${mark}: the kill to be in the state log`, async () => (await installation.api("GET", `/v1/tenants/acme/identities/${template.victim.id}`)).body?.state === "retired", RECOVERY_MAX_MS);
    const recovered = Date.now() - freed;
    const { status, text } = await installation.api("POST", "/v1/tenants/acme/tasks", { identity: template.worker.id, purpose: mark, can: ["files:echo"], for_secs: 60 });
    assert.ok(status < 300, `${mark}: with room again: ${text}`);
    await template.check(told);
    await installation.restart();
    await template.check(told);
    await installation.service.stop();
    await template.verify(mark);
    return { told, recovered };
}

test("on a disk that is filled under load, kill and revocation hold, and with room again all goes on by itself", async ({ templates }) => {
    const failures = [];
    const kills = {};
    const sum = { served: 0, slowest: 0 };
    // Each disk its own share of the runs, side by side.
    const share = async (chosen, first) => {
        for (let at = first; at < runs; at += templates.length) {
            const mark = `${chosen.kind} ${at}`;
            try {
                const { told, recovered } = await once(chosen, mark, seeded(Number(options.seed) * 100_000 + at));
                sum.served += told.served.length;
                sum.slowest = Math.max(sum.slowest, recovered);
                kills[told.said.kill] = (kills[told.said.kill] ?? 0) + 1;
            } catch (error) {
                failures.push(error.message.startsWith(mark) ? error.message : `${mark}: ${error.stack}`);
                console.error(`    ${failures.at(-1)}\n    ${chosen.template.installation.service.text.slice(-800)}`);
                await chosen.template.installation.service.stop("SIGKILL").catch(() => {});
                rmSync(chosen.filler, { force: true });
            }
        }
    };
    await Promise.all(templates.map(share));
    const figures = `filled ${runs} times, ${sum.served} calls served under it, kills on the full disk ${JSON.stringify(kills)}, slowest recovery ${sum.slowest} ms`;
    figure(`small disk, seed ${options.seed}`, figures);
    const outcome = failures.length === 0 ? "kill and revocation held, nothing acknowledged lost" : `FAILED: ${failures[0]}`;
    append(options.results, { commit: options.commit, note: ", small-disk", seed: options.seed, count: runs, figures, outcome });
    assert.deepEqual(failures, []);
}, { max: runs * RUN_MAX_MS });

await run("small disk");
