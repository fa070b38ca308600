import type {LlamaContextSequence, Token} from "node-llama-cpp";

/** One run beside a generation. */
export interface Beside {
    /** Seconds that the work took. */
    readonly seconds: number;
    /** Tokens a second meanwhile, over those of as many tokens at the same depth without it. */
    readonly speed: number;
}

const warmUp = 16;

/** Seconds of some generated tokens: so many, or those until `work` is done, which begins with the first of them. */
async function generated(sequence: LlamaContextSequence, prompt: readonly Token[], until: number | (() => Promise<void>)): Promise<{tokens: number; seconds: number; work: number}> {
    await sequence.clearHistory();
    let tokens = 0, start = 0, work = 0, done = typeof until === "number" ? undefined : false;
    const isEnd = () => typeof until === "number" ? tokens === until : done;
    for await (const _ of sequence.evaluate([...prompt], {temperature: 0, yieldEogToken: true})) {
        if (start > 0) tokens++;
        else if (++work === warmUp) {
            start = performance.now();
            if (typeof until !== "number") void until().then(() => { work = (performance.now() - start) / 1000; done = true; });
        }
        if (start > 0 && isEnd()) break;
    }
    return {tokens, seconds: (performance.now() - start) / 1000, work};
}

/** How work and a generation slow each other down. */
export async function besideGeneration(sequence: LlamaContextSequence, prompt: readonly Token[], work: () => Promise<void>): Promise<Beside> {
    const beside = await generated(sequence, prompt, work), alone = await generated(sequence, prompt, beside.tokens);
    return {seconds: beside.work, speed: alone.seconds / beside.seconds};
}
