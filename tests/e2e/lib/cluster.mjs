// A throw-away PostgreSQL that asks for passwords, behind a door of ours: the
// cluster listens on a Unix socket only, and everybody connects through a port
// that can hold a message back, or its answer, at a chosen word.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Door } from "./door.mjs";
import { skip } from "./lane.mjs";
import { until } from "./wait.mjs";

const DEBIAN = "/usr/lib/postgresql";
const NOBODY = { uid: 65_534, gid: 65_534 };
const HBA = "local all postgres trust\nlocal replication postgres trust\nlocal all all scram-sha-256\n";

/** The folder of the server's programs. */
function programs() {
    const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).map(version => join(DEBIAN, version, "bin")) : [];
    const found = versions.find(folder => existsSync(join(folder, "initdb")));
    return found ?? skip("no `initdb` below /usr/lib/postgresql");
}

/** A client that stays connected, under a name of its own. */
class Session {
    constructor(child) {
        this.child = child;
        this.out = "";
        this.err = "";
        child.stdout.on("data", chunk => (this.out += chunk));
        child.stderr.on("data", chunk => (this.err += chunk));
        child.stdin.on("error", () => {}); // it was ended from the other side
        this.ended = new Promise(done => child.on("close", done));
        this.alive = true;
        this.ended.then(() => (this.alive = false));
        this.asked = 0;
    }

    /** The answer to one statement, or undefined when the session is gone. */
    async ask(statement) {
        const mark = `answered-${this.asked++}`;
        const before = this.out.length;
        this.child.stdin.write(`${statement};\n\\echo ${mark}\n`);
        await until("an answer or the end", () => !this.alive || this.out.includes(mark));
        return this.out.includes(mark) && this.err === "" ? this.out.slice(before).split("\n")[0] : undefined;
    }

    async close() {
        this.child.stdin.end("\\q\n");
        await this.ended;
    }
}

export class Cluster {
    /** `archive`: every finished piece of the write-ahead log is kept, for a recovery to a point in time. */
    static async open({ archive = false } = {}) {
        const cluster = new Cluster();
        cluster.bin = programs();
        cluster.owner = process.getuid() === 0 ? NOBODY : {};
        cluster.folder = mkdtempSync(join(tmpdir(), "bailiwick-e2e-cluster-"));
        if (cluster.owner.uid !== undefined) {
            chownSync(cluster.folder, cluster.owner.uid, cluster.owner.gid);
            chmodSync(cluster.folder, 0o700);
        }
        const at = join(cluster.folder, "cluster");
        const made = spawnSync(join(cluster.bin, "initdb"), ["-D", at, "--username=postgres", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8"], {
            cwd: cluster.folder,
            ...cluster.owner,
            encoding: "utf8"
        });
        assert.equal(made.status, 0, made.stderr);
        writeFileSync(join(at, "pg_hba.conf"), HBA);
        cluster.args = ["-D", at, "-k", cluster.folder, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "log_statement=all"];
        if (archive) {
            cluster.archive = join(cluster.folder, "archive");
            mkdirSync(cluster.archive);
            if (cluster.owner.uid !== undefined) {
                chownSync(cluster.archive, cluster.owner.uid, cluster.owner.gid);
            }
            cluster.args.push("-c", "archive_mode=on", "-c", `archive_command=cp %p ${cluster.archive}/%f`);
        }
        await cluster.begin();
        await cluster.#listen();
        return cluster;
    }

    /** Takes a base backup of the running server. */
    backUp() {
        const base = join(this.folder, "base");
        const words = ["-h", this.folder, "-U", "postgres", "-D", base, "--checkpoint=fast", "--no-sync"];
        const run = spawnSync(join(this.bin, "pg_basebackup"), words, { cwd: this.folder, ...this.owner, encoding: "utf8" });
        assert.equal(run.status, 0, run.stderr);
    }

    /** Puts the base backup back in place of what there is, and recovers from the archive up to `time`. */
    async recover(time) {
        const last = this.admin("SELECT pg_walfile_name(pg_switch_wal())");
        await until("the archive to have it", () => existsSync(join(this.archive, last)));
        await this.end();
        const at = join(this.folder, "cluster");
        renameSync(at, join(this.folder, "lost"));
        renameSync(join(this.folder, "base"), at);
        writeFileSync(join(at, "recovery.signal"), "");
        const settings = [`restore_command=cp ${this.archive}/%f %p`, `recovery_target_time=${time}`, "recovery_target_action=promote"];
        this.args.push(...settings.flatMap(setting => ["-c", setting]));
        await this.begin();
    }

    /** Starts the server, as well after [`Cluster.end`]. */
    async begin() {
        this.log = "";
        this.server = spawn(join(this.bin, "postgres"), this.args, { cwd: this.folder, ...this.owner, stdio: ["ignore", "ignore", "pipe"] });
        this.server.stderr.on("data", chunk => (this.log += chunk));
        await until("the cluster to be ready", () => this.log.includes("ready to accept connections"));
    }

    /** Ends the server, its files stay: fast with `SIGINT`, at once and without a checkpoint with `SIGQUIT`. */
    async end(signal = "SIGINT") {
        const ended = new Promise(done => this.server.on("close", done));
        this.server.kill(signal);
        await ended;
    }

    /** The socket of the server, past the door. */
    get socket() {
        return join(this.folder, ".s.PGSQL.5432");
    }

    async #listen() {
        this.door = await Door.open(() => connect(join(this.folder, ".s.PGSQL.5432")));
        this.port = this.door.port;
    }

    /** As [`Door.hold`]. */
    hold(word, when) {
        return this.door.hold(word, when);
    }

    release() {
        this.door.release();
    }

    /** Runs statements as the superuser, past the door. */
    admin(statement, database = "postgres") {
        const run = spawnSync(join(this.bin, "psql"), ["-XqAt", "-v", "ON_ERROR_STOP=1", "-h", this.folder, "-U", "postgres", "-d", database, "-c", statement], { encoding: "utf8" });
        assert.equal(run.status, 0, run.stderr);
        return run.stdout.trim();
    }

    #client(login, password, name, database) {
        const env = { PATH: process.env.PATH, PGPASSWORD: password, PGAPPNAME: name, PGSSLMODE: "disable", PGCONNECT_TIMEOUT: "10" };
        return [["-XqAt", "-h", "127.0.0.1", "-p", String(this.port), "-U", login, "-d", database], env];
    }

    /** A session that stays. */
    async session(login, password, name, database) {
        const [args, env] = this.#client(login, password, name, database);
        const session = new Session(spawn(join(this.bin, "psql"), args, { env, stdio: ["pipe", "pipe", "pipe"] }));
        assert.equal(await session.ask("SELECT 1"), "1", session.err);
        return session;
    }

    /** Whether the password opens the login; what the server says when not. */
    async attempt(login, password, database) {
        const [args, env] = this.#client(login, password, "attempt", database);
        const child = spawn(join(this.bin, "psql"), [...args, "-c", "SELECT 1"], { env, stdio: ["ignore", "pipe", "pipe"] });
        let err = "";
        child.stderr.on("data", chunk => (err += chunk));
        const code = await new Promise(done => child.on("close", done));
        return code === 0 ? undefined : err;
    }

    async stop() {
        this.door.close();
        await this.end();
        rmSync(this.folder, { recursive: true, force: true });
    }
}
