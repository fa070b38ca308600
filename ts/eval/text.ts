import type {LlamaModel, Token} from "node-llama-cpp";
import {DeltaStoreError} from "../errors.js";

/** A text in a model's tokens. */
export class EvalText {
    readonly #tokens: readonly Token[];

    constructor(readonly model: LlamaModel, text: string) {
        this.#tokens = model.tokenize(text);
    }

    get length(): number {
        return this.#tokens.length;
    }

    /**
     * Some of its tokens.
     * @param purpose who needs them, for the error
     * @throws DeltaStoreError OPTION_INVALID if the text ends before
     */
    slice(from: number, count: number, purpose: string): Token[] {
        if (from + count > this.length)
            throw new DeltaStoreError("OPTION_INVALID",
                `The text has ${this.length} tokens, and ${purpose} needs ${from + count}; give a longer one`);
        return this.#tokens.slice(from, from + count);
    }

    /** Some of its tokens as the beginning of a sequence: the model's beginning-of-text token, if it has one, stands for the first. */
    beginning(from: number, count: number, purpose: string): Token[] {
        const [first, ...rest] = this.slice(from, count, purpose);
        return [this.model.tokens.bos ?? first!, ...rest];
    }
}
