import {DeltaStoreError, MemoryStore, type SnapshotStore, type Turns} from "llama-deltastore";
import type {Test} from "tap";
import {moreTokens, randomTokens} from "./engine.js";
import {nextLogits} from "./logits.js";
import {openTiny, unshared} from "./tiny-engine.js";
import {wrapped} from "./turns.js";

/** The data of every turn. */
export const secret = "a secret of the app";

export type Kind = "entry" | "turn" | "centre" | "block" | "tail";

export interface Value {
    readonly kind: Kind;
    readonly name: string;
    readonly bytes: Uint8Array;
}

/** Sequences to save and to restore, and what saves and damages conversations of them. */
export async function openDamagedTurns(t: Test) {
    const {store, model} = await openTiny(t, unshared);
    const context = await model.createContext({contextSize: 512, sequences: 3, threads: 1, flashAttention: true, batchSize: 256, kvCache: "high"});
    const source = context.getSequence(), target = context.getSequence();
    /** What the target answers. */
    const logitsText = async (): Promise<string> => (await nextLogits(target, moreTokens(1, 9))).join();

    /** A conversation of two turns in memory, and what a restore makes of what is stored. */
    class Saved {
        readonly memory = new MemoryStore();
        values: Value[] = [];
        /** By name: undefined where it is missing. */
        readonly instead = new Map<string, Uint8Array | undefined>();
        readonly ids: string[] = [];
        expected = "";
        readonly store: SnapshotStore = wrapped(this.memory, {
            get: async (key) => this.instead.has(key) ? this.instead.get(key) : await this.memory.get(key),
            objects: async (names) => (await this.memory.objects(names)).map((bytes, index) => this.instead.has(names[index]!) ? this.instead.get(names[index]!) : bytes)
        });
        turns!: Turns;

        static async of(t: Test, key?: Uint8Array): Promise<Saved> {
            const saved = new Saved();
            saved.turns = await store.openTurns({store: saved.store, ...key === undefined ? {} : {key}});
            await source.clearHistory();
            for (const tokens of [randomTokens(260, 1), moreTokens(70, 2)]) {
                await source.evaluateWithoutGeneratingNewTokens(tokens);
                saved.ids.push((await saved.turns.save("a chat", source, {data: {secret}})).id);
            }
            for await (const name of saved.memory.keys("")) saved.values.push({kind: "entry", name, bytes: (await saved.memory.get(name))!});
            for await (const {name} of saved.memory.inventory()) {
                const bytes = (await saved.memory.objects([name]))[0]!;
                saved.values.push({kind: await saved.#kindOf(name, bytes), name, bytes});
            }
            t.match(await saved.turns.restore("a chat", target), {evaluated: 0, damaged: []});
            saved.expected = await logitsText();
            return saved;
        }

        /** Found by how a restore ends without it. */
        async #kindOf(name: string, bytes: Uint8Array): Promise<Kind> {
            if (this.ids.includes(name)) return "turn";
            this.instead.set(name, undefined);
            const outcome = await this.turns.restore("a chat", target).then(({turn}) => turn.id === this.ids[1] ? "tail" : "block", () => "block");
            this.instead.delete(name);
            return outcome === "tail" ? "tail" : bytes.length < 4000 ? "centre" : "block";
        }

        /** How a restore ends; "wrong" if it gives other logits without telling. */
        async outcome(): Promise<string> {
            let restored;
            try {
                restored = await this.turns.restore("a chat", target);
            } catch (error) {
                return error instanceof DeltaStoreError ? error.code : `untyped: ${error}`;
            }
            const evaluated = restored.evaluated > 0 && restored.turn.id === this.ids[1];
            if (evaluated) return restored.damaged.length === 1 && restored.damaged[0]!.turn === this.ids[1] ? "evaluated" : "wrong: without a word";
            if (restored.damaged.length > 0) return restored.evaluated > 0 && restored.turn.id === this.ids[0] ? "older" : "wrong: an older turn that is whole";
            return await logitsText() === this.expected ? "same" : "wrong";
        }
    }

    return {store, source, target, logitsText, Saved};
}
