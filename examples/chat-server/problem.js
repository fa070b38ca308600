import {DeltaStoreError} from "llama-deltastore";

/** An answer other than the one that was asked for. */
export class Problem extends Error {
    /**
     * @param {number} status of HTTP
     * @param {string} code
     * @param {string} message
     */
    constructor(status, code, message) {
        super(message);
        this.status = status;
        this.code = code;
    }
}

/** The cache has no memory for a request now, and may have some later. */
export const isRefusal = (/** @type {unknown} */ error) =>
    error instanceof DeltaStoreError && (error.code === "POOL_LIMIT_REACHED" || error.code === "OUT_OF_MEMORY");

/** By status: the server's words for what Fastify refuses. */
const refusals = new Map([[404, "NOT_FOUND"], [413, "INPUT_TOO_LARGE"], [414, "INPUT_TOO_LARGE"], [415, "INPUT_TYPE_UNSUPPORTED"]]);

/**
 * What a client is told of an error.
 * @param {unknown} error
 */
export function problemOf(error) {
    if (error instanceof Problem) return error;
    if (error instanceof DeltaStoreError) return new Problem(isRefusal(error) ? 503 : 500, error.code, error.message);
    const {statusCode = 500, message} = /** @type {import("fastify").FastifyError} */ (error);
    if (statusCode < 500) return new Problem(statusCode, refusals.get(statusCode) ?? "INPUT_INVALID", message);
    return new Problem(500, "INTERNAL", "The server failed; its log says how");
}
