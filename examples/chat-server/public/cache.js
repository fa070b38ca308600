import {byId, element} from "./elements.js";

/**
 * @typedef {object} Sequence
 * @property {number} id
 * @property {string} name
 * @property {boolean} answering
 * @property {string} tier
 * @property {number} tokens
 * @property {number} kept
 * @property {number} residentBytes
 * @property {number} sharedBytes
 */

const milliseconds = 1000;

const mebibytes = (/** @type {number} */ bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 100 * 2 ** 20 ? 1 : 0)} MiB`;

const percent = (/** @type {number} */ share) => `${Math.min(100, 100 * share).toFixed(1)}%`;

/** @param {any} stats */
function showTotals({residentBytes, stockBytes, tokens, sharing, answering, waiting}) {
    const cells = {
        "resident": mebibytes(residentBytes),
        "less by": tokens === 0 ? "–" : `${(stockBytes / residentBytes).toFixed(1)}×`,
        "tokens": tokens.toLocaleString("en"),
        "tokens attached": sharing === null ? "off" : sharing.attachedTokens.toLocaleString("en"),
        "kept prefixes": sharing === null ? "off" : `${sharing.keptPrefixes} · ${mebibytes(sharing.keptBytes)}`,
        "busy · waiting": `${answering} · ${waiting}`
    };
    byId("totals").replaceChildren(...Object.entries(cells).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

/** @param {any} stats */
function showMemory({residentBytes, stockBytes, limitBytes}) {
    const most = Math.max(residentBytes, stockBytes, limitBytes ?? 0, 1);
    const bar = (/** @type {string} */ kind, /** @type {number} */ bytes) => {
        const shown = element("div", {class: "bar"}, element("span", {class: kind, style: `width: ${percent(bytes / most)}`}));
        if (kind === "own" && limitBytes !== null)
            shown.append(element("i", {style: `left: calc(${percent(limitBytes / most)} - 2px)`, title: `limit ${mebibytes(limitBytes)}`}));
        return shown;
    };
    const limit = limitBytes === null ? "" : ` of ${mebibytes(limitBytes)}`;
    byId("memory").replaceChildren(
        "this cache", bar("own", residentBytes), element("span", {class: "amount"}, mebibytes(residentBytes) + limit),
        "stock's F16", bar("stock", stockBytes), element("span", {class: "amount"}, mebibytes(stockBytes)));
    byId("memory").setAttribute("aria-label", `This cache holds ${mebibytes(residentBytes)}${limit}, stock's would hold ${mebibytes(stockBytes)}`);
}

/** @param {{sequences: Sequence[], stockBytes: number, tokens: number}} stats */
function showSequences({sequences, stockBytes, tokens}) {
    const bytesOfToken = tokens === 0 ? 0 : stockBytes / tokens, most = Math.max(...sequences.map((sequence) => sequence.tokens), 1);
    const rows = sequences.filter((sequence) => sequence.tokens > 0).map((sequence) => {
        const {name, answering, tier, kept, residentBytes, sharedBytes} = sequence, stock = sequence.tokens * bytesOfToken;
        const layer = (/** @type {string} */ kind, /** @type {number} */ bytes) => element("span", {class: kind, style: `width: ${percent(bytes / stock)}`});
        const classes = [...answering ? ["answering"] : [], ...name === document.body.dataset["chat"] ? ["mine"] : []].join(" ");
        const rest = kept < 1 ? `, ${percent(kept)} of the rows` : "";
        return element("li", {},
            element("div", {class: "names"},
                element("span", {class: classes}, name),
                element("small", {}, `${tier} · ${sequence.tokens} tokens${rest} · ${mebibytes(residentBytes)} · ${mebibytes(sharedBytes)} shared`)),
            element("div", {class: "layers", style: `width: ${percent(sequence.tokens / most)}`}, layer("own", residentBytes), layer("shared", sharedBytes)));
    });
    byId("sequences").replaceChildren(...rows);
}

/** @param {{events: Record<string, any>[]}} stats */
function showEvents({events}) {
    const rows = events.map(({number: _, time, type, error, ...fields}) => {
        const rest = error === undefined ? Object.entries(fields).map(([name, value]) => `${name} ${value}`).join(", ") : error.code;
        return element("li", {}, element("time", {}, new Date(time).toLocaleTimeString("en-GB")), element("span", {class: type}, type), element("span", {}, rest));
    });
    byId("events").replaceChildren(...rows.length > 0 ? rows : [element("li", {class: "empty"}, "nothing yet")]);
}

async function update() {
    try {
        const stats = await (await fetch("/stats")).json();
        for (const show of [showTotals, showMemory, showSequences, showEvents]) show(stats);
        byId("cache").removeAttribute("aria-busy");
    } catch {
        byId("cache").setAttribute("aria-busy", "true");  // the server is gone, or not there yet
    }
    setTimeout(update, milliseconds);
}

await update();
