import {existsSync} from "node:fs";
import {join} from "node:path";
import type {Command} from "commander";
import {DeltaStoreError} from "../errors.js";
import {loadPolicy, policyFromEnvironment} from "../policy/load.js";
import type {TurnsPolicy} from "../policy/tiers.js";
import {openTurns} from "../turns/open.js";
import type {Turns} from "../turns/turns.js";

export interface StoreOptions {
    store?: string;
    policy?: string;
    json?: boolean;
}

/** A command of `turns` that works on a store. */
export function storeCommand(turns: Command, usage: string, description: string): Command {
    return turns.command(usage)
        .description(description)
        .option("--store <place>", "the store's folder or Redis URL (default: the policy's turns.store)")
        .option("--policy <file>", "policy file (JSON; default: DELTASTORE_POLICY)")
        .option("--json", "print JSON");
}

export function policyOf({policy}: StoreOptions): TurnsPolicy | null {
    return loadPolicy(policy ?? policyFromEnvironment(process.env)).turns;
}

/** Opens the store for some work. */
export async function using<Options extends StoreOptions>(options: Options, work: (turns: Turns, options: Options) => Promise<void>): Promise<void> {
    const place = options.store ?? policyOf(options)?.store;
    if (place === undefined) throw new DeltaStoreError("OPTION_INVALID", "Which store? Give --store, or a policy with turns.store");
    if (!/^\w+:\/\//.test(place) && !existsSync(join(place, "data.mdb"))) throw new DeltaStoreError("STORE_FAILED", `There is no store in ${place}`);
    await using turns = await openTurns({store: place}, null, false);
    await work(turns, options);
}

/** Other people choose the names, and a terminal obeys some characters. */
export function printable(name: string): string {
    return /\p{Cc}/u.test(name) ? JSON.stringify(name) : name;
}
