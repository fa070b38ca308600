import {median} from "./statistics.js";

export const count = (value: number) => value.toLocaleString("en");
export const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** Ratios as their median (lowest to highest). */
export const spread = (ratios: number[]) =>
    `x${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`;

/** A Markdown table that also reads well in a terminal. */
export function table(head: string[], rows: string[][]): string {
    const widths = head.map((cell, column) => Math.max(cell.length, ...rows.map((row) => row[column]!.length)));
    return [head, widths.map((width) => "-".repeat(width)), ...rows]
        .map((cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`).join("\n");
}
