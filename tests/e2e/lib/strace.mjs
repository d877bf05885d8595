// Reading a trace of system calls (`strace -f -yy -s N`): each call with the
// lines at which it began and ended, so that "completed before" is a
// comparison of two numbers.
import { readFileSync } from "node:fs";
import { until } from "./wait.mjs";

const CALLS = "openat,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,recvfrom,recvmsg,read,readv,fdatasync,fsync,sync_file_range,connect,io_uring_enter";

/** The words that put a program under trace; with `-D` our own child is the program, and the tracer stands aside. */
export const wrapper = file => ["strace", "-D", "-f", "-yy", "-s", "4096", "-e", `trace=${CALLS}`, "-e", "signal=none", "-o", file];

/** Waits for the tracer to have written the end of process `pid`. */
export const complete = (file, pid) =>
    until("the trace to be written", () => new RegExp(`^${pid}\\s+\\+\\+\\+ (exited|killed)`, "m").test(readFileSync(file, "latin1")));

/**
 * @returns {Array<{ pid: string, name: string, target: string, text: string, begun: number, ended: number, result: string }>}
 * `target` is the path or socket that strace printed for the first descriptor.
 */
export function parse(file) {
    const calls = [];
    const open = new Map();
    readFileSync(file, "latin1").split("\n").forEach((line, at) => {
        const [, pid, rest] = /^(\d+)\s+(.*)$/.exec(line) ?? [];
        if (pid === undefined) {
            return;
        }
        const resumed = /^<\.\.\. (\w+) resumed>(.*)$/.exec(rest);
        if (resumed) {
            const call = open.get(pid);
            open.delete(pid);
            if (call !== undefined) {
                call.text += resumed[2];
                call.ended = at;
                call.result = /= (-?\d+|\?)[^=]*$/.exec(resumed[2])?.[1] ?? "";
            }
            return;
        }
        const [, name, more] = /^(\w+)\((.*)$/.exec(rest) ?? [];
        if (name === undefined) {
            return;
        }
        const unfinished = more.endsWith("<unfinished ...>");
        const call = {
            pid,
            name,
            target: /^\d+<([^>]*(?:->[^>]*)?)>/.exec(more)?.[1] ?? "",
            text: more,
            begun: at,
            ended: unfinished ? Number.POSITIVE_INFINITY : at,
            result: unfinished ? "" : (/= (-?\d+|\?)[^=]*$/.exec(more)?.[1] ?? "")
        };
        calls.push(call);
        if (unfinished) {
            open.set(pid, call);
        }
    });
    return calls;
}

const WRITES = ["write", "writev", "pwrite64", "pwritev", "pwritev2"];
export const isFileWrite = (call, part) => WRITES.includes(call.name) && call.target.includes(part);
export const isFlush = (call, part) => ["fdatasync", "fsync"].includes(call.name) && call.target.includes(part) && call.result === "0";
export const isSend = (call, text) => [...WRITES, "sendto", "sendmsg"].includes(call.name) && /TCP|socket/.test(call.target) && call.text.includes(text);
export const isReceive = (call, text) => ["read", "readv", "recvfrom", "recvmsg"].includes(call.name) && /TCP|socket/.test(call.target) && call.text.includes(text);
