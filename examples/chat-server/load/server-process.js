import {spawn} from "node:child_process";
import {once} from "node:events";
import {createInterface} from "node:readline";
import {fileURLToPath} from "node:url";

const server = fileURLToPath(new URL("../server.js", import.meta.url));

/**
 * Starts the server on a free port.
 * @param {readonly string[]} args
 */
export async function startServer(args) {
    const child = spawn(process.execPath, [server, "--port", "0", ...args], {stdio: ["ignore", "pipe", "inherit"]});
    const ended = once(child, "exit");
    const url = await Promise.race([listening(createInterface(child.stdout)), ended.then(([code]) => {
        throw new Error(`The server ended with ${code}`);
    })]);
    return {
        url,
        /** Its exit code. */
        async stop() {
            child.kill("SIGTERM");
            const [code, signal] = await ended;
            return code ?? signal;
        }
    };
}

/** @param {AsyncIterable<string>} lines */
async function listening(lines) {
    for await (const line of lines) {
        const url = /^Listening on (http\S+)$/.exec(line)?.[1];
        if (url !== undefined) return url;
    }
    return await new Promise(() => undefined);  // the exit code says more
}
