import {spawn, type ChildProcess} from "node:child_process";
import {existsSync} from "node:fs";
import {mkdtemp, rm} from "node:fs/promises";
import {type AddressInfo, connect, createServer} from "node:net";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {setTimeout} from "node:timers/promises";

const program = "/usr/bin/redis-server";

/** Why tests with a server are skipped; false where they are run. */
export const noRedis: string | false = existsSync(program) || process.env["CI_REQUIRES_REDIS"] ? false : `${program} is not installed`;

export interface RedisServer {
    readonly url: string;
    /** Ends the server and deletes its files. */
    stop(): Promise<void>;
    /** Ends the server with SIGKILL: all that it held is lost. */
    kill(): Promise<void>;
    /** Starts an empty server on the same port. */
    restart(): Promise<void>;
    /** Sends the server this signal: SIGSTOP makes it hang, SIGCONT go on. */
    signal(name: NodeJS.Signals): void;
}

export async function startRedis(...options: readonly string[]): Promise<RedisServer> {
    const folder = await mkdtemp(join(tmpdir(), "deltastore-redis-"));
    const port = await freePort();
    let server: ChildProcess;

    async function start(): Promise<void> {
        server = spawn(program, ["--bind", "127.0.0.1", "--port", String(port), "--save", "", "--dir", folder, ...options], {stdio: "ignore"});
        for (let waited = 0; !await answers(port); waited += 20) {
            if (waited > 10_000 || server.exitCode !== null) throw new Error("redis-server doesn't start");
            await setTimeout(20);
        }
    }

    async function end(signal: NodeJS.Signals): Promise<void> {
        if (server.exitCode !== null || server.signalCode !== null) return;
        const ended = new Promise((resolve) => server.once("exit", resolve));
        server.kill(signal);
        await ended;
    }

    await start();
    return {
        url: `redis://127.0.0.1:${port}`, kill: () => end("SIGKILL"), restart: start, signal: (name) => server.kill(name),
        stop: async () => {
            await end("SIGKILL");
            await rm(folder, {recursive: true});
        }
    };
}

async function freePort(): Promise<number> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const {port} = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    return port;
}

function answers(port: number): Promise<boolean> {
    return new Promise((resolve) => {
        const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\n"));
        const done = (answer: boolean) => {
            socket.destroy();
            resolve(answer);
        };
        socket.on("error", () => done(false)).on("data", (text) => done(text.toString().startsWith("+PONG"))).on("close", () => done(false));
    });
}
