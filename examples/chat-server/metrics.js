import {collectDefaultMetrics, Counter, Gauge, Histogram, Registry} from "prom-client";

/**
 * @param {import("./runtime.js").Runtime} runtime
 * @param {import("./chat.js").Chat} chat
 */
export function createMetrics({store, context}, chat) {
    const registry = new Registry(), registers = [registry];
    collectDefaultMetrics({register: registry});

    /** @type {(name: string, help: string, value: (stats: import("llama-deltastore").CacheStats) => number) => void} */
    const gauge = (name, help, value) => {
        new Gauge({name, help, registers, collect() { this.set(value(store.stats(context))); }});
    };
    gauge("kv_cache_tokens", "Tokens of all sequences", (stats) => stats.tokens);
    gauge("kv_cache_resident_bytes", "What the cache holds", (stats) => stats.residentBytes);
    gauge("kv_cache_stock_bytes", "What stock's F16 cache would hold", (stats) => stats.stockBytes);
    gauge("kv_cache_kept_bytes", "What kept prefixes hold", (stats) => stats.sharing?.keptBytes ?? 0);
    gauge("kv_cache_limit_bytes", "What the cache may hold, 0 without a limit", () => store.policy.poolLimitBytes);
    gauge("chat_answering", "Requests that are being answered", () => chat.load.answering);
    gauge("chat_waiting", "Requests that wait for a sequence", () => chat.load.waiting);

    const events = new Counter({name: "kv_cache_events_total", help: "What happened to the cache", labelNames: ["type"], registers});
    const attached = new Counter({name: "kv_cache_attached_tokens_total", help: "Tokens that were not evaluated", registers});
    store.onEvent.createListener((event) => {
        events.inc({type: event.type});
        if (event.type === "attach") attached.inc(event.tokens);
    });

    const seconds = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100];
    return {
        registry,
        answers: new Counter({name: "chat_answers_total", help: "Requests, by how they ended", labelNames: ["outcome"], registers}),
        firstToken: new Histogram({name: "chat_first_token_seconds", help: "Time to the first token", buckets: seconds, registers}),
        total: new Histogram({name: "chat_answer_seconds", help: "Time to the end of the answer", buckets: seconds, registers})
    };
}
