import {byId, element} from "./elements.js";
import {readLines} from "./lines.js";

const messages = byId("messages"), message = /** @type {HTMLTextAreaElement} */ (byId("message"));
const [send, stop, anew] = ["send", "stop", "new"].map((id) => /** @type {HTMLButtonElement} */ (byId(id)));

/** @type {string | undefined} */
let conversation;
let abort = new AbortController();

/**
 * @param {string} kind
 * @param {string} text
 */
function show(kind, text) {
    const shown = element("li", {class: kind}, text);
    messages.append(shown);
    shown.scrollIntoView({block: "end"});
    return shown;
}

/** @param {string} text */
async function ask(text) {
    show("user", text);
    const answer = show("assistant", "");
    abort = new AbortController();
    try {
        const response = await fetch("/chat", {
            method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify({conversation, message: text}), signal: abort.signal
        });
        if (!response.ok) {
            const {code, message} = await response.json();
            throw new Error(`${code}: ${message}`);
        }
        for await (const line of readLines(response)) {
            if (line.type === "start") {
                conversation = line.conversation;
                document.body.dataset["chat"] = `chat ${line.chat}`;
            } else if (line.type === "text") {
                answer.append(line.text);
                answer.scrollIntoView({block: "end"});
            } else if (line.type === "error") throw new Error(`${line.code}: ${line.message}`);
            else note(line);
        }
    } catch (error) {
        if (answer.textContent === "") answer.remove();
        if (abort.signal.aborted) show("note", "stopped");
        else show("problem", error instanceof Error ? error.message : String(error));
    }
}

/** @param {{tokens: Record<string, number>, milliseconds: Record<string, number>}} line */
function note({tokens, milliseconds}) {
    const seconds = (milliseconds["firstToken"] ?? 0) / 1000;
    show("note", `first word after ${seconds.toFixed(2)} s, ${tokens["evaluated"]} tokens evaluated, ${tokens["attached"]} attached`);
}

/** @param {boolean} busy */
function setBusy(busy) {
    if (send) send.disabled = busy;
    if (anew) anew.disabled = busy;
    if (stop) stop.disabled = !busy;
}

byId("ask").addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = message.value.trim();
    if (text === "" || send?.disabled) return;
    message.value = "";
    setBusy(true);
    await ask(text);
    setBusy(false);
    message.focus();
});

message.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    /** @type {HTMLFormElement} */ (byId("ask")).requestSubmit();
});

stop?.addEventListener("click", () => abort.abort());
anew?.addEventListener("click", () => {
    conversation = undefined;
    delete document.body.dataset["chat"];
    messages.replaceChildren();
    message.focus();
});
