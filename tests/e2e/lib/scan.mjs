// Looking for a secret in everything a process leaves behind.
import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
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

/** The writable memory of a process, mapping by mapping: what a core dump of it holds beside its files. */
export function* memory(pid) {
    const file = openSync(`/proc/${pid}/mem`, "r");
    try {
        for (const line of readFileSync(`/proc/${pid}/maps`, "latin1").split("\n")) {
            const found = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line);
            if (found === null) {
                continue;
            }
            let at = BigInt(`0x${found[1]}`);
            const end = BigInt(`0x${found[2]}`);
            // Pieces overlap, so that nothing is cut in two.
            for (let piece = Buffer.alloc(4 << 20); at < end; at += BigInt(piece.length - 4_096)) {
                const left = Number(end - at);
                let read = 0;
                try {
                    read = readSync(file, piece, 0, Math.min(piece.length, left), at);
                } catch {
                    // A guard page, or gone meanwhile.
                }
                yield piece.subarray(0, read);
                if (left <= piece.length) {
                    break;
                }
            }
        }
    } finally {
        closeSync(file);
    }
}
