import type {Refusal, SnapshotStore, Step} from "../../dist/turns/stores/snapshot-store.js";

/** All of a store, with what `keys`, `get`, `inventory`, `objects`, `stored` and `bytes` say of it. */
export interface Contents {
    readonly entries: readonly (readonly [key: string, value: string])[];
    readonly objects: readonly (readonly [name: string, value: string, holders: number])[];
    readonly bytes: number;
}

export async function contentsOf(store: SnapshotStore): Promise<Contents> {
    const entries: [string, string][] = [], inventory: {name: string; bytes: number; holders: number}[] = [];
    for await (const key of store.keys("")) entries.push([key, text(await store.get(key))]);
    for await (const object of store.inventory()) inventory.push(object);
    inventory.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
    const names = inventory.map(({name}) => name), values = await store.objects(names);
    const sum = entries.reduce((sum, [, value]) => sum + value.length, 0) + inventory.reduce((sum, {bytes}) => sum + bytes, 0);
    const bytes = await store.bytes(), stored = await store.stored(names);
    if (sum !== bytes) throw new Error(`bytes() gives ${bytes}, the values have ${sum}`);
    const isStored = ({name, bytes, holders}: (typeof inventory)[number]) => stored.get(name)?.bytes === bytes && stored.get(name)?.holders === holders;
    if (values.some((value, at) => value?.length !== inventory[at]!.bytes) || stored.size !== names.length || !inventory.every(isStored))
        throw new Error("the inventory has something else");
    return {entries, objects: inventory.map(({name, holders}, at) => [name, text(values[at]), holders]), bytes};
}

/** Each byte a character. */
export function text(value: Uint8Array | undefined): string {
    if (value === undefined) throw new Error("a value is missing");
    return Buffer.from(value).toString("latin1");
}

/** What a step must do, by the comments of the interface. */
export class Oracle {
    readonly #entries = new Map<string, string>();
    readonly #objects = new Map<string, {value: string; holders: number}>();

    step(step: Step): Refusal | null {
        for (const [key, value] of step.expect ?? [])
            if (this.#entries.get(key) !== (value === null ? undefined : text(value))) return {refused: "changed", key};
        const brought = new Set((step.objects ?? []).map(([name]) => name));
        const missing = new Set((step.retain ?? []).filter((name) => !this.#objects.has(name) && !brought.has(name)));
        if (missing.size > 0) return {refused: "missing", objects: [...missing]};
        for (const [name, value] of step.replace ?? []) {
            const object = this.#objects.get(name);
            if (object !== undefined) object.value = text(value);
        }
        for (const [key, value] of step.put ?? []) this.#entries.set(key, text(value));
        for (const key of step.delete ?? []) this.#entries.delete(key);
        for (const [name, value] of step.objects ?? []) if (!this.#objects.has(name)) this.#objects.set(name, {value: text(value), holders: 0});
        for (const name of step.retain ?? []) this.#objects.get(name)!.holders++;
        for (const name of step.release ?? []) {
            const object = this.#objects.get(name);
            if (object !== undefined && --object.holders <= 0) this.#objects.delete(name);
        }
        for (const name of step.sweep ?? []) if (this.#objects.get(name)?.holders === 0) this.#objects.delete(name);
        return null;
    }

    contents(): Contents {
        const inOrder = <T extends readonly [string, ...unknown[]]>(items: T[]) =>
            items.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
        const entries = inOrder([...this.#entries]);
        const objects = inOrder([...this.#objects].map(([name, {value, holders}]) => [name, value, holders] as const));
        const values = [...entries, ...objects].map(([, value]) => value.length);
        return {entries, objects, bytes: values.reduce((sum, length) => sum + length, 0)};
    }
}

/** Steps of every kind on a few names, the same for the same seed. Mostly they expect what `oracle` holds. */
export class RandomSteps {
    readonly #random: () => number;
    #values = 0;

    constructor(seed: number) {
        this.#random = randomFrom(seed);
    }

    next(oracle: Oracle): Step {
        const {entries, objects} = oracle.contents(), there = new Map(entries), stored = objects.map(([name]) => name);
        const names = (most: number, of: () => string) => Array.from({length: this.#below(most + 1)}, of);
        const key = () => `key/${["ä", "b", "\u{1F600}", "\uFFFF", "c", "d"][this.#below(6)]}${this.#below(2)}`;
        const name = () => `object ${this.#below(14)}`;
        const held = () => stored.length === 0 || this.#below(12) === 0 ? name() : stored[this.#below(stored.length)]!;
        const valueOf = (key: string) => there.has(key) ? Buffer.from(there.get(key)!, "latin1") : null;
        return {
            expect: names(2, key).map((key) => [key, this.#below(8) === 0 ? this.#value() : valueOf(key)]),
            put: names(2, key).map((key) => [key, this.#value()]), delete: names(1, key),
            objects: names(2, name).map((name) => [name, this.#value()]), retain: names(3, held), release: names(4, held), replace: names(1, held).map((name) => [name, this.#value()]), sweep: names(2, held)
        };
    }

    #value(): Uint8Array {
        const value = Buffer.alloc(this.#below(20) === 0 ? 5000 * this.#below(4) : this.#below(30), `${this.#values++} \0\r\n\xff`, "latin1");
        return value;
    }

    #below(end: number): number {
        return Math.floor(this.#random() * end);
    }
}

/** mulberry32 */
export function randomFrom(seed: number): () => number {
    let state = seed;
    return () => {
        state = (state + 0x6D2B79F5) | 0;
        let mixed = Math.imul(state ^ (state >>> 15), state | 1);
        mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
        return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
}
