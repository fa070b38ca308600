import {existsSync} from "node:fs";
import {join} from "node:path";
import type {Command} from "commander";
import {DeltaStoreError} from "../errors.js";
import {formatBytes, parseBytes} from "../policy/bytes.js";
import {loadPolicy, policyFromEnvironment} from "../policy/load.js";
import type {TurnsPolicy} from "../policy/tiers.js";
import {openTurns} from "../turns/open.js";
import type {Turns} from "../turns/turns.js";
import {exitCodes, formatTable, printJson, printLine} from "./output.js";

interface StoreOptions {
    store?: string;
    policy?: string;
    json?: boolean;
}

interface CollectOptions extends StoreOptions {
    ttl?: string;
    budget?: string;
}

/** Adds `turns ls|show|rm|gc|verify`. */
export function addTurnsCommand(program: Command): void {
    const turns = program.command("turns").description("look at saved conversations, and tidy up their store");
    const add = (usage: string, description: string) => turns.command(usage)
        .description(description)
        .option("--store <place>", "the store's folder or Redis URL (default: the policy's turns.store)")
        .option("--policy <file>", "policy file (JSON; default: DELTASTORE_POLICY)")
        .option("--json", "print JSON");
    add("ls", "list the conversations, the last used first").action(async (options: StoreOptions) => await using(options, list));
    add("show <conversation>", "list a conversation's turns, the newest last")
        .action(async (name: string, options: StoreOptions) => await using(options, (turns) => show(turns, name, options)));
    add("rm <conversations...>", "delete conversations")
        .action(async (names: string[], options: StoreOptions) => await using(options, (turns) => remove(turns, names, options)));
    add("gc", "drop what is past its time or above the budget")
        .option("--ttl <seconds>", "drop conversations that nobody used for so long (default: the policy's)")
        .option("--budget <bytes>", "drop the longest unused ones above this size, as bytes or with a unit (default: the policy's)")
        .action(async (options: CollectOptions) => await using(options, collect));
    add("verify", "read everything and tell what is damaged").action(async (options: StoreOptions) => await using(options, verify));
    turns.addHelpText("after", "\nA store that is encrypted needs its key in DELTASTORE_KEY (64 hexadecimal digits).");
}

function limitOf(name: string, text: string | undefined, allowed: string, parse: (text: string) => number | null): number | undefined {
    if (text === undefined) return undefined;
    const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : parse(text);
    if (value === null) throw new DeltaStoreError("OPTION_INVALID", `--${name} is ${JSON.stringify(text)}; allowed is ${allowed}`);
    return value;
}

async function using<Options extends StoreOptions>(options: Options, work: (turns: Turns, options: Options) => Promise<void>): Promise<void> {
    const place = options.store ?? policyOf(options)?.store;
    if (place === undefined) throw new DeltaStoreError("OPTION_INVALID", "Which store? Give --store, or a policy with turns.store");
    if (!/^\w+:\/\//.test(place) && !existsSync(join(place, "data.mdb"))) throw new DeltaStoreError("STORE_FAILED", `There is no store in ${place}`);
    await using turns = await openTurns({store: place}, null, false);
    await work(turns, options);
}

function policyOf({policy}: StoreOptions): TurnsPolicy | null {
    return loadPolicy(policy ?? policyFromEnvironment(process.env)).turns;
}

async function list(turns: Turns, {json}: StoreOptions): Promise<void> {
    const conversations = await turns.list(), bytes = await turns.bytes();
    if (json) return printJson({place: turns.place, bytes, conversations});
    printLine(formatTable([
        ["conversation", "turns", "tokens", "last used"],
        ...conversations.map(({name, turns, tokens, usedAt}) => [printable(name), String(turns), String(tokens), usedAt.toISOString()])
    ]));
    printLine(`\n${formatBytes(bytes)} in ${turns.place}`);
}

/** Other people choose the names, and a terminal obeys some characters. */
function printable(name: string): string {
    return /\p{Cc}/u.test(name) ? JSON.stringify(name) : name;
}

async function show(turns: Turns, name: string, {json}: StoreOptions): Promise<void> {
    const history = await turns.history(name), {own, all} = await turns.sizeOf(name);
    if (json) return printJson({name, bytes: all, ownBytes: own, turns: history});
    printLine(formatTable([
        ["turn", "saved at", "tokens", "it added"],
        ...history.map(({id, savedAt, tokens, bytes}) => [id, new Date(savedAt).toISOString(), String(tokens), formatBytes(bytes)])
    ]));
    printLine(`\n${formatBytes(all)}, of which ${formatBytes(all - own)} are shared with other conversations`);
}

async function remove(turns: Turns, names: readonly string[], {json}: StoreOptions): Promise<void> {
    const removed: string[] = [], missing: string[] = [];
    for (const name of names) (await turns.delete(name) ? removed : missing).push(name);
    if (json) printJson({removed});
    else printLine(`${removed.length} removed`);
    if (missing.length > 0) throw new DeltaStoreError("TURN_NOT_FOUND", `There is no conversation ${missing.map((name) => JSON.stringify(name)).join(" or ")}`);
}

async function collect(turns: Turns, {ttl, budget, ...options}: CollectOptions): Promise<void> {
    const policy = policyOf(options), {json} = options;
    const collected = await turns.collectGarbage({
        ttl: limitOf("ttl", ttl, "a number of seconds", () => null) ?? policy?.ttl ?? Infinity,
        budget: limitOf("budget", budget, "a number of bytes, or a size such as 512MiB", parseBytes) ?? policy?.budget ?? Infinity
    });
    if (json) printJson(collected);
    else printLine(`${collected.conversations} conversations dropped, ${formatBytes(collected.bytes)} given back`);
}

async function verify(turns: Turns, {json}: StoreOptions): Promise<void> {
    const report = await turns.verify();
    if (json) printJson(report);
    else {
        printLine(`${report.conversations} conversations, ${report.turns} turns, ${report.objects} objects: ${report.problems.length === 0 ? "all is well" : ""}`);
        for (const problem of report.problems) printLine(problem);
    }
    if (report.problems.length > 0) process.exitCode = exitCodes.failure;
}
