import {availableParallelism} from "node:os";
import {parseArgs} from "node:util";

/**
 * @typedef {object} Options
 * @property {string} host
 * @property {number} port
 * @property {number} sequences conversations that are answered at once
 * @property {number} contextSize tokens of one conversation
 * @property {number} queue requests that may wait for a sequence
 * @property {number} threads
 * @property {string | undefined} policy a tier's name or a policy file
 * @property {string | undefined} poolLimit
 * @property {string | undefined} turns a folder or a Redis URL
 * @property {string | undefined} model
 */

export const usage = `node server.js [options]
  --host NAME          address to listen on (127.0.0.1)
  --port N             port, 0 for any free one (3000)
  --sequences N        conversations that are answered at once (8)
  --context-size N     tokens that one conversation may have (2048)
  --queue N            requests that wait beyond these, before they get 503 (32)
  --threads N          threads to compute with (as many as there are processors)
  --policy NAME|FILE   tier or policy file (DELTASTORE_POLICY, else "high")
  --pool-limit SIZE    most memory of the cache, such as 64MiB (the policy's)
  --turns PLACE        folder or Redis URL where conversations are saved, to go on after a restart (nowhere)
  --model FILE         GGUF file (DELTASTORE_MODEL, else the one that "npx deltastore demo" fetches)`;

/**
 * @param {string[]} args
 * @returns {Options | null} null where help was asked for
 */
export function readOptions(args) {
    const text = /** @type {const} */ ({type: "string"});
    const {values} = parseArgs({args, options: {
        host: text, port: text, sequences: text, "context-size": text, queue: text, threads: text, policy: text, "pool-limit": text, turns: text, model: text,
        help: {type: "boolean"}
    }});
    if (values.help === true) return null;

    /** @type {(name: "port" | "sequences" | "context-size" | "queue" | "threads", otherwise: number, least: number, most: number) => number} */
    const wholeNumber = (name, otherwise, least, most) => {
        const given = values[name], value = given === undefined ? otherwise : Number(given);
        if (given !== undefined && !/^\d+$/.test(given) || value < least || value > most)
            throw new RangeError(`--${name} is ${given}; give a whole number from ${least} to ${most}`);
        return value;
    };
    return {
        host: values.host ?? "127.0.0.1",
        port: wholeNumber("port", 3000, 0, 65_535),
        sequences: wholeNumber("sequences", 8, 1, 1000),
        contextSize: wholeNumber("context-size", 2048, 1024, 1_048_576),
        queue: wholeNumber("queue", 32, 0, 100_000),
        threads: wholeNumber("threads", availableParallelism(), 1, 1024),
        policy: values.policy ?? (process.env["DELTASTORE_POLICY"]?.trim() || undefined),
        poolLimit: values["pool-limit"],
        turns: values.turns,
        model: values.model ?? (process.env["DELTASTORE_MODEL"] || undefined)
    };
}
