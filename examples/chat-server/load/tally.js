import {build} from "hdr-histogram-js";

/** Latencies in milliseconds. */
class Latency {
    #histogram = build({lowestDiscernibleValue: 1, highestTrackableValue: 3_600_000, numberOfSignificantValueDigits: 3});

    /** @param {number} milliseconds */
    add(milliseconds) {
        this.#histogram.recordValue(Math.max(1, Math.round(milliseconds)));
    }

    get summary() {
        const at = (/** @type {number} */ percentile) => this.#histogram.getValueAtPercentile(percentile);
        return {count: this.#histogram.totalCount, p50: at(50), p90: at(90), p99: at(99), max: this.#histogram.maxValue};
    }
}

/** Counts what became of all attempts. */
export class Tally {
    /** Time that a request waited for a sequence, as the server tells it. It is part of the others. */
    waited = new Latency();
    /** Of the attempt that was answered. */
    firstToken = new Latency();
    answer = new Latency();
    /** Whole answers, counted from the first attempt. */
    withRetries = new Latency();
    counts = {conversations: 0, finished: 0, aborted: 0, refused: 0, cut: 0, failed: 0, wrong: 0};
    /** Refusals and cut answers by their error's code. @type {Record<string, number>} */
    codes = {};
    /** How often an answer had its own conversation's code word, and how often one was asked for and right. */
    codeWords = {mentioned: 0, asked: 0, right: 0};
    /** Answers that are compared with an idle server's. */
    fixed = {compared: 0, same: 0};
    tokens = {generated: 0, evaluated: 0, attached: 0};
    /** The first few. @type {string[]} */
    complaints = [];

    /** @param {import("./ask.js").Attempt} attempt */
    add({outcome, code, firstText, total, lines}) {
        this.counts[outcome]++;
        if (code !== "") this.codes[code] = (this.codes[code] ?? 0) + 1;
        if (outcome === "failed") this.#complain(`failed: ${code}`);
        if (outcome !== "finished") return;
        if (!Number.isNaN(firstText)) this.firstToken.add(firstText);
        this.answer.add(total);
        const {tokens, milliseconds} = lines.at(-1);
        this.waited.add(milliseconds.waited);
        for (const kind of /** @type {const} */ (["generated", "evaluated", "attached"])) this.tokens[kind] += tokens[kind];
    }

    /** @param {string} what */
    wrong(what) {
        this.counts.wrong++;
        this.#complain(`wrong: ${what}`);
    }

    /** @param {string} what */
    #complain(what) {
        if (this.complaints.length < 20) this.complaints.push(what);
    }
}
