import {PassThrough} from "node:stream";
import {fileURLToPath} from "node:url";
import fastifyStatic from "@fastify/static";
import Fastify from "fastify";
import {EventLog} from "./event-log.js";
import {createMetrics} from "./metrics.js";
import {Problem, problemOf} from "./problem.js";

const questionSchema = {
    type: "object",
    additionalProperties: false,
    required: ["message"],
    properties: {
        conversation: {type: "string", format: "uuid"},
        message: {type: "string", minLength: 1, maxLength: 20_000, pattern: "\\S"},
        maxTokens: {type: "integer", minimum: 1, maximum: 1024, default: 128},
        tenant: {type: "string", pattern: "^[a-z0-9][a-z0-9-]{0,63}$"}
    }
};

/**
 * @param {unknown} error
 * @param {{log: {error(error: unknown): void}}} request
 * @param {{header(name: string, value: string): unknown, status(status: number): {send(...body: any[]): unknown}}} reply
 */
function tell(error, request, reply) {
    const {status, code, message} = problemOf(error);
    if (status === 500) request.log.error(error);
    if (status === 503) reply.header("retry-after", "1");
    reply.status(status).send({code, message});
}

const clientGone = new Problem(499, "CLIENT_GONE", "The client is gone");

/**
 * The HTTP side.
 * @param {import("./runtime.js").Runtime} runtime
 * @param {import("./chat.js").Chat} chat
 */
export function createApp(runtime, chat) {
    const {store, context} = runtime;
    const app = Fastify({
        logger: {level: "warn", stream: process.stderr}, bodyLimit: 65_536, frameworkErrors: tell,
        ajv: {customOptions: {removeAdditional: false, coerceTypes: false, allErrors: true}}
    });
    const metrics = createMetrics(runtime, chat), log = new EventLog(store, 100);
    app.register(fastifyStatic, {root: fileURLToPath(new URL("public", import.meta.url))});

    app.setErrorHandler(tell);
    app.setNotFoundHandler((_request, reply) => reply.status(404).send({code: "NOT_FOUND", message: "There is nothing here"}));

    // A line of JSON for each piece of text. What fails before the first one has an HTTP status of its own.
    app.post("/chat", {schema: {body: questionSchema}}, async (request, reply) => {
        const question = /** @type {import("./chat.js").Question} */ (request.body);
        const abort = new AbortController(), lines = new PassThrough();
        const write = (/** @type {object} */ line) => lines.write(JSON.stringify(line) + "\n");
        reply.raw.once("close", () => abort.abort(clientGone));
        let started = false;
        await new Promise((/** @type {(value: void) => void} */ resolve, reject) => {
            chat.answer(question, {
                abort,
                onStart({id, number}) {
                    started = true;
                    write({type: "start", conversation: id, chat: number});
                    resolve();
                },
                onText: (text) => write({type: "text", text})
            }).then((answer) => {
                metrics.answers.inc({outcome: abort.signal.aborted ? "aborted" : "finished"});
                if (started) metrics.firstToken.observe(answer.milliseconds.firstToken / 1000);
                metrics.total.observe(answer.milliseconds.total / 1000);
                write({type: "end", ...answer});
                resolve();
            }, (error) => {
                const {status, code, message} = problemOf(error);
                metrics.answers.inc({outcome: code});
                if (!started) return reject(error);
                if (status === 500) request.log.error(error);
                write({type: "error", status, code, message});
            }).finally(() => lines.end());
        });
        return reply.type("application/x-ndjson").header("cache-control", "no-store").send(lines);
    });

    app.get("/stats", async () => {
        const {sequences, ...cache} = store.stats(context), holders = chat.holders;
        return {
            limitBytes: store.policy.poolLimitBytes || null, processBytes: process.memoryUsage.rss(), ...chat.load, ...cache,
            sequences: sequences.map((sequence) => ({...sequence, ...holders.get(sequence.id) ?? {name: "leaving", answering: false}})),
            events: log.events
        };
    });

    app.get("/metrics", async (_request, reply) => reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()));
    return app;
}
