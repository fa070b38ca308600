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
     * @param purpose says in the error who needs them
     * @throws DeltaStoreError OPTION_INVALID: the text is too short
     */
    slice(from: number, count: number, purpose: string): Token[] {
        if (from + count > this.length)
            throw new DeltaStoreError("OPTION_INVALID",
                `The text has ${this.length} tokens, and ${purpose} needs ${from + count}; give a longer one`);
        return this.#tokens.slice(from, from + count);
    }

    /** Some of its tokens as the beginning of a sequence. The model's beginning-of-text token, if it has one, takes the place of the first. */
    beginning(from: number, count: number, purpose: string): Token[] {
        const [first, ...rest] = this.slice(from, count, purpose);
        return [this.model.tokens.bos ?? first!, ...rest];
    }
}
