import {spawn} from "node:child_process";
import {cliPath} from "./paths.js";

export interface CommandResult {
    code: number | null;
    stdout: string;
    stderr: string;
}

/** Runs `deltastore` with these arguments, without the caller's DELTASTORE_ variables and what tap has child processes load. */
export function deltastore(args: readonly string[], env: NodeJS.ProcessEnv = {}, input = ""): Promise<CommandResult> {
    const inherited = Object.fromEntries(
        Object.entries(process.env).filter(([name]) => !name.startsWith("DELTASTORE_") && name !== "NODE_OPTIONS"));
    return new Promise((resolve, reject) => {
        const child = spawn(process.execPath, [cliPath, ...args], {env: {...inherited, ...env}});
        const result: CommandResult = {code: null, stdout: "", stderr: ""};
        child.stdout.setEncoding("utf8").on("data", (text: string) => { result.stdout += text; });
        child.stderr.setEncoding("utf8").on("data", (text: string) => { result.stderr += text; });
        child.on("error", reject);
        child.on("close", (code) => resolve({...result, code}));
        child.stdin.end(input);
    });
}
