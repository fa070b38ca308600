import {spawn} from "node:child_process";
import {once} from "node:events";
import {join} from "node:path";
import {root} from "./paths.js";
import {settled} from "./waiting.js";

/**
 * Runs a script of test/turns until so many milliseconds after it has printed "ready", and kills it. Gives the lines that it printed after that.
 * @throws if it ends by itself before
 */
export async function killedAfter(milliseconds: number, script: string, ...args: string[]): Promise<string[]> {
    const child = spawn(process.execPath, [join(root, "build/js/test/turns", script), ...args], {stdio: ["ignore", "pipe", "inherit"]});
    let output = "";
    await new Promise<void>((resolve, reject) => {
        child.stdout.setEncoding("utf8").on("data", (text: string) => {
            output += text;
            if (output.startsWith("ready\n")) resolve();
        });
        child.once("close", () => reject(new Error(`the process ended by itself: ${output}`)));
    });
    const closed = once(child, "close");
    await settled(milliseconds);
    child.kill("SIGKILL");
    await closed;
    return output.split("\n").slice(1, -1);
}
