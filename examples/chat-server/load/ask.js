import {readLines} from "../public/lines.js";

/** An answer that takes longer counts as failed. */
const patienceMilliseconds = 120_000;

/**
 * How an attempt to get an answer ended: `refused` before there was any text, `cut` after there was some.
 * @typedef {{outcome: "finished" | "aborted" | "refused" | "cut" | "failed", code: string, retryAfter: number, text: string, lines: any[],
 *     firstText: number, total: number}} Attempt
 */

/**
 * @param {string} url
 * @param {object} question
 * @param {{afterMilliseconds?: number, afterTexts?: number}} [abortion] none if absent
 * @returns {Promise<Attempt>}
 */
export async function ask(url, question, {afterMilliseconds, afterTexts} = {}) {
    const start = performance.now(), since = () => performance.now() - start;
    /** @type {Attempt} */
    const attempt = {outcome: "failed", code: "", retryAfter: 0, text: "", lines: [], firstText: NaN, total: NaN};
    const abort = new AbortController();
    let lost = false;
    const patience = setTimeout(() => {
        lost = true;
        abort.abort();
    }, patienceMilliseconds);
    const timer = afterMilliseconds === undefined ? undefined : setTimeout(() => abort.abort(), afterMilliseconds);
    try {
        const response = await fetch(`${url}/chat`, {
            method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(question), signal: abort.signal
        });
        if (!response.ok) {
            attempt.code = (await response.json()).code;
            attempt.retryAfter = Number(response.headers.get("retry-after") ?? 0.2);
            // 409: the answer that the client left has not ended yet.
            attempt.outcome = [409, 503].includes(response.status) ? "refused" : "failed";
            return attempt;
        }
        let texts = 0;
        for await (const line of readLines(response)) {
            attempt.lines.push(line);
            if (line.type === "text") {
                if (texts++ === 0) attempt.firstText = since();
                attempt.text += line.text;
                if (texts === afterTexts) abort.abort();
            }
        }
        const last = attempt.lines.at(-1);
        attempt.code = last?.code ?? "";
        attempt.outcome = last?.type === "end" ? "finished" : last?.type === "error" && last.status === 503 ? "cut" : "failed";
    } catch (error) {
        attempt.outcome = abort.signal.aborted && !lost ? "aborted" : "failed";
        attempt.code = lost ? `no end after ${patienceMilliseconds / 1000} s` : abort.signal.aborted ? "" : String(error);
    } finally {
        clearTimeout(timer);
        clearTimeout(patience);
        attempt.total = since();
    }
    return attempt;
}
