import {reference} from "./caches.js";
import {count, spread, table, threadCount} from "./support/format.js";
import {median} from "./support/statistics.js";

/** bench/results/first-token.json: milliseconds, one a round. */
export interface FirstTokenReport {
    tokens: number;
    threads: number;
    caches: {name: string; times: number[]}[];
    /** Users with the same first tokens, one after the other, and a fork of these tokens. */
    sharing: {tier: string; shared: number; own: number; users: number[][]; forks: number[]}[];
}

/** A table of each part. */
export function firstTokenTables({tokens, threads, caches, sharing}: FirstTokenReport): {firstToken: string; sharedPrefix: string} {
    const seconds = (times: number[]) => `${(median(times) / 1000).toFixed(2)} s`;
    const against = (name: string, times: number[]) =>
        spread(times.map((time, round) => time / caches.find((other) => other.name === name)!.times[round]!));
    const sharedRows = sharing.flatMap(({shared, own, users, forks}) => [
        ...["first", "second", "third"].map((name, user) => {
            const times = users.map((round) => round[user]!);
            return [count(shared), count(own), `${name} user`, `${median(times).toFixed(0)} ms`, spread(users.map((round) => round[0]! / round[user]!))];
        }),
        ...forks.length > 0 ? [[count(shared), "", "store.fork", `${median(forks).toFixed(1)} ms`, ""]] : []
    ]);
    return {
        firstToken: table([`prompt of ${count(tokens)} tokens`, "first token after", "to stock F16", "to conservative"],
            caches.map(({name, times}) => [name, seconds(times), against(reference.name, times), against("conservative", times)])) + `\n\n${threadCount(threads)}.`,
        sharedPrefix: table(["shared tokens", "own tokens", "", "first token after", "sooner than the first user by"], sharedRows) +
            `\n\n${threadCount(threads)}, tier ${[...new Set(sharing.map(({tier}) => tier))].join(" and ")}.`
    };
}
