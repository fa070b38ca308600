import {setTimeout as sleep} from "node:timers/promises";
import {ask} from "./ask.js";
import {mistake, tell} from "./check.js";
import {fixedCount, fixedDialogue, secretDialogue} from "./dialogues.js";

const maxTokens = 48;

/** Share of the answers that the client leaves before their end. */
const abortedShare = 0.1;

/** Share of the conversations that are always the same ones. */
const fixedShare = 0.25;

/**
 * @typedef {object} Setting
 * @property {string} url
 * @property {number} contextSize
 * @property {number} deadline by performance.now()
 * @property {import("./random.js").Random} random
 * @property {import("./tally.js").Tally} tally
 * @property {Map<string, string>} known answers of an idle server, by `keyOf`
 */

/** Talks until the deadline. */
export async function runClient(/** @type {Setting} */ setting) {
    const {deadline, random} = setting;
    while (performance.now() < deadline) {
        const dialogue = random.next() < fixedShare ? fixedDialogue(random.integer(0, fixedCount - 1)) : secretDialogue(random);
        await converse(dialogue, setting);
    }
}

/**
 * Asks an idle server, one question after the other.
 * @param {Pick<Setting, "url" | "contextSize" | "random" | "tally" | "known">} setting
 */
export async function learn(setting) {
    const patient = {...setting, deadline: Infinity, abortedShare: 0};
    for (let number = 0; number < fixedCount; number++) await converse(fixedDialogue(number), patient);
    for (let count = 0; count < 8; count++) await converse(secretDialogue(setting.random), patient);
}

const keyOf = (/** @type {number} */ dialogue, /** @type {number} */ turn) => `${dialogue}/${turn}`;

/**
 * @param {import("./dialogues.js").Dialogue} dialogue
 * @param {Setting & {abortedShare?: number}} setting
 */
async function converse({messages, codeWord, fixed}, {url, contextSize, deadline, random, tally, known, abortedShare: impatience = abortedShare}) {
    if (codeWord !== null) tell(codeWord);
    tally.counts.conversations++;
    /** @type {string | undefined} */
    let conversation;
    let whole = true;  // nothing was lost, so the answers can be compared
    for (const [turn, message] of messages.entries()) {
        const impatient = random.next() < impatience, begin = performance.now();
        let attempt;
        for (;;) {
            attempt = await ask(url, {conversation, message, maxTokens}, impatient ? departure(random) : {});
            tally.add(attempt);
            if (attempt.outcome !== "refused" || performance.now() >= deadline) break;
            await sleep(1000 * attempt.retryAfter * (0.5 + random.next()));
        }
        conversation ??= attempt.lines[0]?.conversation;
        if (attempt.outcome === "finished") {
            tally.withRetries.add(performance.now() - begin);
            const found = mistake(attempt, {conversation, codeWord, maxTokens, contextSize});
            if (found !== null) tally.wrong(found);
            const mentioned = codeWord !== null && attempt.text.toLowerCase().includes(codeWord);
            if (mentioned) tally.codeWords.mentioned++;
            if (whole && codeWord !== null && turn === messages.length - 1) {
                tally.codeWords.asked++;
                if (mentioned) tally.codeWords.right++;
            }
            if (whole && fixed !== null) compare(keyOf(fixed, turn), attempt.text, tally, known);
        } else whole = false;
        if (performance.now() >= deadline) return;
        if (deadline < Infinity) await sleep(random.integer(0, 1000));
    }
}

/** When an impatient client leaves: after a while, or after some words. @param {import("./random.js").Random} random */
function departure(random) {
    return random.next() < 0.5 ? {afterMilliseconds: random.integer(1, 5000)} : {afterTexts: random.integer(1, 20)};
}

/**
 * @param {string} key
 * @param {string} text
 * @param {import("./tally.js").Tally} tally
 * @param {Map<string, string>} known
 */
function compare(key, text, tally, known) {
    const before = known.get(key);
    if (before === undefined) {
        known.set(key, text);
        return;
    }
    tally.fixed.compared++;
    if (before === text) tally.fixed.same++;
}
