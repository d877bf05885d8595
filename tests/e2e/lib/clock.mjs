// A wall clock that can be set, for one process: libfaketime reads a file. The
// monotonic clock stays as it is.
import { existsSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { skip } from "./lane.mjs";

/** Where distributions keep the library. */
export function libfaketime() {
    const folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].filter(existsSync);
    const below = folders.flatMap(folder => [folder, ...readdirSync(folder).map(name => join(folder, name))]);
    const found = below.map(folder => join(folder, "faketime/libfaketimeMT.so.1")).find(existsSync);
    return found ?? skip("no `libfaketimeMT.so.1` in /usr/lib/*/faketime: install faketime");
}

/** `env` for the process; `set` takes what libfaketime takes, such as `-10y` or `+0`. */
export function clockOf({ folder }) {
    const file = join(folder, "clock");
    const set = text => {
        writeFileSync(`${file}.new`, `${text}\n`);
        renameSync(`${file}.new`, file);
    };
    set("+0");
    const env = { LD_PRELOAD: libfaketime(), FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: "1", FAKETIME_DONT_FAKE_MONOTONIC: "1", NO_FAKE_STAT: "1" };
    return { set, env };
}
