import {reference} from "./caches.js";
import {count, spread, table} from "./support/format.js";
import {median} from "./support/statistics.js";

/** bench/results/first-token.json: milliseconds, one a round. */
export interface FirstTokenReport {
    tokens: number;
    threads: number;
    caches: {name: string; times: number[]}[];
    sharing: {tier: string; shared: number; users: number[][]; forks: number[]};
}

/** A table of each part. */
export function firstTokenTables({tokens, caches, sharing: {shared, users, forks}}: FirstTokenReport): {firstToken: string; sharedPrefix: string} {
    const seconds = (times: number[]) => `${(median(times) / 1000).toFixed(2)} s`;
    const against = (name: string, times: number[]) =>
        spread(times.map((time, round) => time / caches.find((other) => other.name === name)!.times[round]!));
    const ofUser = (user: number) => users.map((times) => times[user]!);
    return {
        firstToken: table([`prompt of ${count(tokens)} tokens`, "first token after", "to stock F16", "to conservative"],
            caches.map(({name, times}) => [name, seconds(times), against(reference.name, times), against("conservative", times)])),
        sharedPrefix: table([`${count(tokens)} tokens, of which ${count(shared)} are shared`, "first token after", "sooner than the first user by"], [
            ...["first", "second", "third"].map((name, user) => [
                `${name} user`, `${median(ofUser(user)).toFixed(0)} ms`, spread(users.map((times) => times[0]! / times[user]!))]),
            [`store.fork of ${count(shared)} tokens`, `${median(forks).toFixed(1)} ms`, ""]
        ])
    };
}
