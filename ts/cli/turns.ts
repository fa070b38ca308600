import type {Command} from "commander";
import {DeltaStoreError} from "../errors.js";
import {formatBytes, parseBytes} from "../policy/bytes.js";
import {openNative} from "../store/open-native.js";
import type {Turns} from "../turns/turns.js";
import {exitCodes, formatTable, printJson, printLine} from "./output.js";
import {addEstimateCommand} from "./turns-estimate.js";
import {addFreezeCommand} from "./turns-freeze.js";
import {policyOf, printable, storeCommand, using, type StoreOptions} from "./turns-store.js";

interface CollectOptions extends StoreOptions {
    ttl?: string;
    budget?: string;
}

/** Adds `turns ls|show|rm|gc|verify|freeze|estimate`. */
export function addTurnsCommand(program: Command): void {
    const turns = program.command("turns").description("look at saved conversations, and tidy up their store");
    const add = (usage: string, description: string) => storeCommand(turns, usage, description);
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
    addFreezeCommand(turns);
    addEstimateCommand(turns);
    turns.addHelpText("after", "\nA store that is encrypted needs its key in DELTASTORE_KEY (64 hexadecimal digits).");
}

function limitOf(name: string, text: string | undefined, allowed: string, parse: (text: string) => number | null): number | undefined {
    if (text === undefined) return undefined;
    const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : parse(text);
    if (value === null) throw new DeltaStoreError("OPTION_INVALID", `--${name} is ${JSON.stringify(text)}; allowed is ${allowed}`);
    return value;
}

async function list(turns: Turns, {json}: StoreOptions): Promise<void> {
    const own = await turns.ownBytes(), bytes = await turns.bytes();
    const conversations = (await turns.list()).map((conversation) => ({...conversation, ownBytes: own.get(conversation.name) ?? 0}));
    if (json) return printJson({place: turns.place, bytes, conversations});
    printLine(formatTable([
        ["conversation", "turns", "tokens", "codec", "its own", "last used", "age"],
        ...conversations.map(({name, turns, tokens, codec, ownBytes, usedAt}) =>
            [printable(name), String(turns), String(tokens), codec, formatBytes(ownBytes), usedAt.toISOString(), formatAge(Date.now() - usedAt.getTime())])
    ]));
    printLine(`\n${formatBytes(bytes)} in ${turns.place}`);
}

function formatAge(milliseconds: number): string {
    const seconds = Math.max(0, milliseconds / 1000), [unit, length] = ([["d", 86_400], ["h", 3600], ["m", 60]] as const).find(([, length]) => seconds >= length) ?? ["s", 1];
    return `${Math.floor(seconds / length)}${unit}`;
}

async function show(turns: Turns, name: string, {json}: StoreOptions): Promise<void> {
    const history = await turns.history(name), {own, all} = await turns.sizeOf(name);
    if (json) return printJson({name, bytes: all, ownBytes: own, turns: history});
    printLine(formatTable([
        ["turn", "saved at", "tokens", "codec", "it added"],
        ...history.map(({id, savedAt, tokens, codec, bytes}) => [id, new Date(savedAt).toISOString(), String(tokens), codec ?? "packed", formatBytes(bytes)])
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
    const report = await turns.verify(openNative);
    if (json) printJson(report);
    else {
        printLine(`${report.conversations} conversations, ${report.turns} turns, ${report.objects} objects: ${report.problems.length === 0 ? "all is well" : ""}`);
        if (report.thawed > 0) printLine(`${report.thawed} frozen parts were thawed`);
        if (report.notThawed !== null) printLine(`Frozen parts were not thawed: ${report.notThawed}`);
        for (const problem of report.problems) printLine(problem);
    }
    if (report.problems.length > 0) process.exitCode = exitCodes.failure;
}
