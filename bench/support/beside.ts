import type {LlamaContextSequence, Token} from "node-llama-cpp";
import {mean, tokenTimes, tokenTimesDuring} from "./token-times.js";

/** One run beside a generation. */
export interface Beside {
    /** Seconds that the work took. */
    readonly seconds: number;
    /** Tokens a second meanwhile, over those of as many tokens at the same depth without it. */
    readonly speed: number;
}

const warmUp = 16;

/** How work and a generation behind a prompt slow each other down. */
export async function besideGeneration(sequence: LlamaContextSequence, prompt: readonly Token[], work: () => Promise<void>): Promise<Beside> {
    const generated = async <T>(measure: (generation: AsyncGenerator<Token>) => Promise<T>): Promise<T> => {
        await sequence.clearHistory();
        const generation = sequence.evaluate([...prompt], {temperature: 0, yieldEogToken: true});
        await tokenTimes(generation, (done) => done === warmUp);
        const measured = await measure(generation);
        await generation.return();
        return measured;
    };
    const beside = await generated((generation) => tokenTimesDuring(generation, work));
    const alone = await generated((generation) => tokenTimes(generation, (done) => done === beside.tokens.length));
    return {seconds: beside.work / 1000, speed: mean(alone) / mean(beside.tokens)};
}
