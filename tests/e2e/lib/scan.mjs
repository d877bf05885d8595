// Looking for a secret in everything a process leaves behind.
import { execFileSync } from "node:child_process";
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** All processes below `pid`, itself included. */
export function family(pid) {
    const parents = new Map();
    for (const name of readdirSync("/proc").filter(each => /^\d+$/.test(each))) {
        try {
            const stat = readFileSync(`/proc/${name}/stat`, "latin1");
            parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
        } catch {
            // It ended meanwhile.
        }
    }
    const found = [pid];
    for (const parent of found) {
        found.push(...[...parents].filter(([, above]) => above === parent).map(([child]) => child));
    }
    return found;
}

/** Argument list and environment of a process. */
export function shownBy(pid) {
    return ["cmdline", "environ"].map(file => readFileSync(`/proc/${pid}/${file}`, "latin1")).join("\0");
}

/** Every regular file below a folder with its bytes. */
export function* files(folder) {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) {
            yield* files(path);
        } else if (entry.isFile()) {
            yield [path, readFileSync(path)];
        }
    }
}

/** The forms in which a secret could stand somewhere in clear. */
export function forms(secret) {
    const bytes = Buffer.from(secret);
    const inner = shift => {
        // base64 of a longer text holds one of three forms, without the ends.
        const text = Buffer.concat([Buffer.alloc(shift), bytes]).toString("base64").replace(/=+$/, "");
        return text.slice(Math.ceil((shift * 4) / 3) + 1, -2);
    };
    return [secret, bytes.toString("hex"), inner(0), inner(1), inner(2)].map(form => Buffer.from(form));
}

/** Every spelling in which a secret is looked for where it must not be: as it is, reversed, hexadecimal, percent-encoded, UTF-16, Base64. */
export function spellings(secret) {
    const bytes = Buffer.from(secret);
    const based = (shift, coding) => {
        // Of a longer text the characters at both ends depend on the neighbours.
        const text = Buffer.concat([Buffer.alloc(shift), bytes]).toString(coding).replace(/=+$/, "");
        return text.slice(Math.ceil((shift * 4) / 3), Math.floor(((shift + bytes.length) * 4) / 3));
    };
    const hex = bytes.toString("hex");
    const wide = Buffer.from(secret, "utf16le");
    const all = {
        raw: bytes,
        reversed: Buffer.from(bytes).reverse(),
        hex: Buffer.from(hex),
        HEX: Buffer.from(hex.toUpperCase()),
        url: Buffer.from(encodeURIComponent(secret)),
        "url, every byte": Buffer.from(hex.replace(/../g, "%$&")),
        "utf-16le": wide,
        "utf-16be": Buffer.from(wide).swap16()
    };
    for (const coding of ["base64", "base64url"]) {
        for (const shift of [0, 1, 2]) {
            all[`${coding} +${shift}`] = Buffer.from(based(shift, coding));
        }
    }
    return all;
}

// Pieces overlap, so that nothing is cut in two; most of a big address space is zero and looked at no further.
const PIECE = 256 << 10;
const OVERLAP = 4_096;
const ZEROS = Buffer.alloc(PIECE);

function* pieces(read, end = Infinity) {
    const piece = Buffer.alloc(PIECE);
    for (let at = 0; at < end; at += PIECE - OVERLAP) {
        const part = piece.subarray(0, read(piece, at, Math.min(PIECE, end - at)));
        if (!part.equals(ZEROS.subarray(0, part.length))) {
            yield part;
        }
        if (end - at <= PIECE || (end === Infinity && part.length < PIECE)) {
            return;
        }
    }
}

/** The writable memory of a process, mapping by mapping. */
export function* memory(pid) {
    const file = openSync(`/proc/${pid}/mem`, "r");
    try {
        for (const line of readFileSync(`/proc/${pid}/maps`, "latin1").split("\n")) {
            const found = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line);
            if (found === null) {
                continue;
            }
            const [from, to] = found.slice(1).map(hex => BigInt(`0x${hex}`));
            const read = (piece, at, length) => {
                try {
                    return readSync(file, piece, 0, length, from + BigInt(at));
                } catch {
                    // A guard page, or gone meanwhile.
                    return 0;
                }
            };
            yield* pieces(read, Number(to - from));
        }
    } finally {
        closeSync(file);
    }
}

/**
 * Where the kernel leaves core dumps: `undefined` when in the folder of the process that crashes, else what it does
 * instead. Both are the machine's to say, and a container has it of its host.
 */
export function coreElsewhere() {
    const pattern = readFileSync("/proc/sys/kernel/core_pattern", "latin1").trim();
    return /^[^|/]+$/.test(pattern) ? undefined : pattern;
}

/** Makes a process crash, with everything it has mapped in its core dump; the dump is in its folder. */
export function crash(pid) {
    execFileSync("prlimit", ["--pid", String(pid), "--core=unlimited:unlimited"]);
    writeFileSync(`/proc/${pid}/coredump_filter`, "0xff");
    process.kill(pid, "SIGABRT");
}

/** Which of some texts, given with their names, stand in a file of any length. */
export function inFile(path, wanted) {
    const found = new Set();
    const file = openSync(path, "r");
    try {
        for (const piece of pieces((into, at, length) => readSync(file, into, 0, length, at))) {
            wanted.filter(([name, form]) => !found.has(name) && piece.includes(form)).forEach(([name]) => found.add(name));
        }
        return { found: [...found], bytes: fstatSync(file).size };
    } finally {
        closeSync(file);
    }
}
