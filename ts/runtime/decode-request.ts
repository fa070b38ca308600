/** Tokens of one sequence that a LlamaContext is to evaluate, from a position on. */
export interface DecodeRequest {
    sequenceId: number;
    firstTokenSequenceIndex: number;
    tokens: number[];
    /** For each token, whether its logits are wanted. */
    logits: unknown[];
    /** Called after each batch that has tokens of the request. */
    afterBatchAction?: AfterBatchAction | undefined;
}

export type AfterBatchAction = (sequenceStateLength: number) => unknown;

/** Maps the logits of a token to what the evaluation gives for it. */
export type MapLogits = (...of: unknown[]) => unknown;

/** node-llama-cpp's own evaluation of a request. */
export type Decode = (request: DecodeRequest, map: MapLogits) => Promise<unknown[]>;

/** The tokens [begin, end) of a request. */
export function partOf(request: DecodeRequest, begin: number, end: number): DecodeRequest {
    return {
        ...request, tokens: request.tokens.slice(begin, end), logits: request.logits.slice(begin, end),
        firstTokenSequenceIndex: request.firstTokenSequenceIndex + begin
    };
}
