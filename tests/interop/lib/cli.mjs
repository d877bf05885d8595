// Small pieces every script here needs: arguments, a ready line, an append-only log.
import { createHash } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";

/**
 * Reads `--name value` pairs and bare words.
 * @param {string[]} argv arguments without node and script
 * @param {Record<string, string | undefined>} defaults known options; an unknown one is an error
 * @returns {{ options: Record<string, string | undefined>, words: string[] }}
 */
export function parseArguments(argv, defaults) {
    const options = { ...defaults };
    const words = [];
    for (let at = 0; at < argv.length; at += 1) {
        const word = argv[at];
        if (word === "--") {
            words.push(...argv.slice(at + 1));
            break;
        }
        if (!word.startsWith("--")) {
            words.push(word);
            continue;
        }
        const name = word.slice(2);
        if (!(name in defaults)) {
            throw new Error(`unknown option \`${word}\`, known are ${Object.keys(defaults).map(k => `--${k}`).join(", ")}`);
        }
        at += 1;
        if (at >= argv.length) {
            throw new Error(`option \`${word}\` needs a value`);
        }
        options[name] = argv[at];
    }
    return { options, words };
}

/** Prints one JSON line on standard output. */
export function printLine(value) {
    process.stdout.write(`${JSON.stringify(value)}\n`);
}

/**
 * RFC 8785 form of a JSON value. ECMAScript's own number and string
 * serialisation is what the RFC prescribes, so only the key order is ours.
 */
export function canonicalJson(value) {
    if (Array.isArray(value)) {
        return `[${value.map(canonicalJson).join(",")}]`;
    }
    if (value !== null && typeof value === "object") {
        const keys = Object.keys(value).sort(); // UTF-16 code units, RFC 8785 §3.2.3
        return `{${keys.map(key => `${JSON.stringify(key)}:${canonicalJson(value[key])}`).join(",")}}`;
    }
    return JSON.stringify(value);
}

/** Hex SHA-256 of the canonical form; absent arguments count as `{}`. */
export function argumentsDigest(args) {
    return createHash("sha256").update(canonicalJson(args ?? {})).digest("hex");
}

/**
 * A file opened with O_APPEND; each line is one write(2), so that lines of
 * several processes never mix and a killed process loses at most nothing.
 */
export class AppendLog {
    #fd;

    constructor(path) {
        this.#fd = openSync(path, "a", 0o600);
    }

    append(value) {
        writeSync(this.#fd, `${JSON.stringify(value)}\n`);
    }

    close() {
        closeSync(this.#fd);
    }
}
