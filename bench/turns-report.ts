import {count, mib, spread, table, threadCount} from "./support/format.js";
import {median} from "./support/statistics.js";

/** Bytes after each of `turns` saves, between which `step` tokens are added. */
export interface HistoryReport {
    turns: number;
    step: number;
    /** Of a state file of stock's. */
    stock: number[];
    /** `full`: of a packed snapshot by itself. `kept`: of all turns so far. */
    tiers: {tier: string; full: number[]; kept: number[]}[];
}

/** Milliseconds, one a round. */
export interface WakeReport {
    tier: string;
    evaluating: number;
    restoring: number[];
    /** The evaluation of a token of a parked sequence. */
    parked: number[];
    /** Whether the restored sequences went on alike. */
    same: boolean;
    saving: number[];
    /** Speed of another sequence's generation beside saving, to its speed before and after. */
    decoding: number[];
}

/** Tokens of a turn. */
export const turnTokens = 50;

/** Turns that were saved behind a long conversation. */
export interface TurnReport {
    tier: string;
    /** Bytes of the conversation before them. */
    atRest: number;
    /** Of each turn. */
    bytes: number[];
    /** Milliseconds of saves while nothing is evaluated, and beside another sequence's generation. */
    idle: number[];
    beside: number[];
}

/** bench/results/turns.json */
export interface TurnsReport {
    tokens: number;
    threads: number;
    /** Bytes of stock's state file. */
    stock: number;
    turn: TurnReport[];
    histories: HistoryReport[];
    waking: WakeReport[];
}

const times = (a: number, b: number) => `${(a / b).toFixed(1)}x`;
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

export function turnsTables({tokens, threads, stock, turn, histories, waking}: TurnsReport): {turns: string; histories: string; waking: string} {
    const most = (bytes: number[]) => Math.max(...bytes), middle = (times: number[]) => `${median(times).toFixed(0)} ms`;
    return {
        turns: table(["tier", "conversation at rest", "stock's state file", "less by", `turn of ${turnTokens} tokens, median`, "largest", "stock's file over the largest", "saved in", "beside decoding"],
            turn.map(({tier, atRest, bytes, idle, beside}) => [
                tier, mib(atRest), mib(stock), times(stock, atRest), mib(median(bytes)), mib(most(bytes)), times(stock, most(bytes)), middle(idle), middle(beside)])) +
            `\n\nConversations of ${count(tokens)} tokens, evaluated by ${threadCount(threads)}.`,
        histories: table(["history", "tier", "full F16 snapshots", "full packed snapshots", "our turns", "F16 over ours"],
            histories.flatMap(({turns, step, stock, tiers}) => tiers.map(({tier, full, kept}) => [
                `${turns} turns of ${step} tokens`, tier, mib(sum(stock)), mib(sum(full)), mib(kept.at(-1)!), times(sum(stock), kept.at(-1)!)]))),
        waking: table([`${count(tokens)} tokens`, "evaluating", "restoring", "sooner by", "a parked sequence's next token", "decoding beside a first save", "which takes"],
            waking.map(({tier, evaluating, restoring, parked, decoding, saving}) => [
                tier, `${(evaluating / 1000).toFixed(1)} s`, `${middle(restoring)} (${Math.min(...restoring).toFixed(0)} to ${Math.max(...restoring).toFixed(0)})`, times(evaluating, median(restoring)), middle(parked), spread(decoding), middle(saving)]))
    };
}
