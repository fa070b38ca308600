import {median} from "./statistics.js";

export const count = (value: number) => value.toLocaleString("en");
export const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
export const percent = (share: number) => `${(100 * share).toFixed(1)}%`;
export const withError = (value: number, error: number, digits: number) => `${value.toFixed(digits)} ± ${error.toFixed(digits)}`;
export const threadCount = (threads: number) => threads === 1 ? "1 thread" : `${threads} threads`;

/** Ratios as their median (lowest to highest). */
export function spread(ratios: number[]): string {
    const [low, high] = [Math.min(...ratios), Math.max(...ratios)];
    const range = ratios.length === 1 ? "one round" : `${low.toFixed(2)} to ${high.toFixed(2)}`;
    return `x${median(ratios).toFixed(2)} (${range})`;
}

/** A Markdown table that also reads well in a terminal. */
export function table(head: string[], rows: string[][]): string {
    const widths = head.map((cell, column) => Math.max(cell.length, ...rows.map((row) => row[column]!.length)));
    return [head, widths.map((width) => "-".repeat(width)), ...rows]
        .map((cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`).join("\n");
}
