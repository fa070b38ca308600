import {CommanderError} from "commander";
import {DeltaStoreError} from "../errors.js";

/** Exit codes of every command. */
export const exitCodes = {ok: 0, failure: 1, usage: 2} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export function printJson(value: unknown): void {
    process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

export function printLine(text = ""): void {
    process.stdout.write(`${text}\n`);
}

/** Tells a person something while the command goes on. It is no part of the output. */
export function printNote(text: string): void {
    process.stderr.write(`${text}\n`);
}

/** Writes an error to stderr, as `error CODE: message` or as a JSON object. Gives the exit code. */
export function reportError(error: unknown, json: boolean): ExitCode {
    if (error instanceof CommanderError) return reportUsage(error, json);
    const code = error instanceof DeltaStoreError ? error.code : null;
    const message = error instanceof Error ? error.message : String(error);
    const problems = error instanceof DeltaStoreError && error.problems.length > 0 ? error.problems : undefined;
    printError(code, message, json, problems);
    return code === "OPTION_INVALID" ? exitCodes.usage : exitCodes.failure;
}

export function printError(code: string | null, message: string, json: boolean, problems?: readonly string[]): void {
    if (json) printNote(JSON.stringify({error: {code, message, problems}}, null, 2));
    else printNote(code === null ? `error: ${message}` : `error ${code}: ${message}`);
}

function reportUsage(error: CommanderError, json: boolean): ExitCode {
    if (error.exitCode === 0) return exitCodes.ok;
    // Commander has already printed the help when a command is missing.
    if (error.code !== "commander.help" || json)
        printError("OPTION_INVALID", error.code === "commander.help" ? "a command is missing"
            : error.message.replace(/^error: /, ""), json);
    return exitCodes.usage;
}

/** Rows of cells as text. The first column is aligned to the left, the others to the right. */
export function formatTable(rows: readonly (readonly string[])[]): string {
    const widths: number[] = [];
    for (const row of rows)
        row.forEach((cell, column) => { widths[column] = Math.max(widths[column] ?? 0, cell.length); });
    return rows.map((row) => row.map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)).join("   ").trimEnd()).join("\n");
}
