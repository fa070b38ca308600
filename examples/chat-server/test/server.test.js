import {execFile} from "node:child_process";
import {fileURLToPath} from "node:url";
import {promisify} from "node:util";
import t from "tap";
import {ask} from "../load/ask.js";
import {startServer} from "../load/server-process.js";
import {readStats, settled} from "../load/watch.js";
import {readLines} from "../public/lines.js";

const {url, stop} = await startServer(["--sequences", "2", "--queue", "1", "--threads", "1"]);
t.teardown(stop);

/** @param {unknown} body */
const post = (body) => fetch(`${url}/chat`, {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(body)});

/** A long answer under way. @param {AbortController} abort */
async function begin(abort) {
    const question = {message: "Tell me everything about the library, from the beginning.", maxTokens: 1000};
    const response = await fetch(`${url}/chat`, {
        method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(question), signal: abort.signal
    });
    const lines = readLines(response);
    return {response, lines, first: (await lines.next()).value};
}

t.test("an answer comes as lines, and users share the system prompt", async (t) => {
    const ends = [];
    for (const message of ["When are you open on Saturday?", "How much is a card?"]) {
        const {outcome, lines, text} = await ask(url, {message, maxTokens: 16});
        t.equal(outcome, "finished");
        t.ok(lines.filter(({type}) => type === "text").length > 3, "piece by piece");
        t.ok(text.length > 10, text);
        ends.push(lines.at(-1));
    }
    for (const {tokens, milliseconds} of ends) {
        t.ok(tokens.attached > 500, `${tokens.attached} tokens attached`);
        t.ok(tokens.evaluated < 100, `${tokens.evaluated} evaluated`);
        t.ok(milliseconds.firstToken > 0 && milliseconds.firstToken <= milliseconds.total);
    }
    t.not(ends[0].conversation, ends[1].conversation);
});

t.test("a conversation goes on, also after it has lost its sequence", async (t) => {
    const first = await ask(url, {message: "My name is Rosalind. Please greet me by my name.", maxTokens: 16});
    const {conversation} = first.lines.at(-1);
    for (let others = 0; others < 2; others++) await ask(url, {message: `Good morning, for the ${others + 3}. time!`, maxTokens: 4});
    t.notOk((await readStats(url)).sequences.some((/** @type {any} */ {name}) => name === `chat ${first.lines[0].chat}`), "it has none");
    const again = await ask(url, {conversation, message: "What is my name?", maxTokens: 16});
    t.match(again.text, /Rosalind/);
    t.equal(again.lines.at(-1).conversation, conversation);
});

t.test("what is wrong with a request is told", async (t) => {
    for (const [body, status, code, message] of /** @type {const} */ ([
        [{}, 400, "INPUT_INVALID", /message/],
        [{message: " "}, 400, "INPUT_INVALID", /message/],
        [{message: 7}, 400, "INPUT_INVALID", /string/],
        [{message: "a", maxTokens: 0}, 400, "INPUT_INVALID", /maxTokens/],
        [{message: "a", maxtokens: 9}, 400, "INPUT_INVALID", /additional/],
        [{message: "a", tenant: "Not a name"}, 400, "INPUT_INVALID", /tenant/],
        [{message: "a", conversation: "1"}, 400, "INPUT_INVALID", /conversation/],
        [{message: "word ".repeat(3000)}, 400, "MESSAGE_TOO_LONG", /2048/],
        [{message: "a", conversation: "00000000-0000-4000-8000-000000000000"}, 404, "CONVERSATION_UNKNOWN", /leave it out/]
    ])) {
        const response = await post(body), problem = await response.json();
        t.equal(response.status, status, JSON.stringify(body).slice(0, 60));
        t.match(problem, {code, message});
    }
    const json = {"content-type": "application/json"};
    for (const [path, request, status, code] of /** @type {[string, RequestInit, number, string][]} */ ([
        ["chat", {method: "POST", headers: json, body: "{"}, 400, "INPUT_INVALID"],
        ["chat", {method: "POST", headers: json, body: ""}, 400, "INPUT_INVALID"],
        ["chat", {method: "POST", headers: json, body: JSON.stringify({message: "a".repeat(70_000)})}, 413, "INPUT_TOO_LARGE"],
        ["chat", {method: "POST", headers: {"content-type": "text/xml"}, body: "<a/>"}, 415, "INPUT_TYPE_UNSUPPORTED"],
        ["nowhere", {}, 404, "NOT_FOUND"],
        ["chat", {}, 404, "NOT_FOUND"],
        ["%a0", {}, 400, "INPUT_INVALID"]
    ])) {
        const response = await fetch(`${url}/${path}`, request), problem = await response.json();
        t.match({status: response.status, ...problem}, {status, code, message: /./}, `${path} ${code}`);
        t.strictSame(Object.keys(problem), ["code", "message"]);
    }
});

t.test("options are listed with their defaults", async (t) => {
    for (const [script, options] of /** @type {[string, RegExp[]][]} */ ([
        ["server.js", [/--port N .*\(3000\)/, /--sequences N .*\(8\)/]], ["load.js", [/--clients N .*\(64\)/, /--pool-limit SIZE \(40MiB\)/]]
    ])) {
        const {stdout} = await promisify(execFile)(process.execPath, [fileURLToPath(new URL(`../${script}`, import.meta.url)), "--help"]);
        for (const option of options) t.match(stdout, option, script);
    }
});

t.test("beyond the sequences requests wait, beyond the queue they are refused, and who goes makes room", async (t) => {
    const aborts = [new AbortController(), new AbortController()];
    const running = await Promise.all(aborts.map(begin));
    t.strictSame(running.map(({first}) => first.type), ["start", "start"]);
    const busy = await post({conversation: running[0]?.first.conversation, message: "And?"});
    t.match({status: busy.status, ...await busy.json()}, {status: 409, code: "CONVERSATION_BUSY"});

    const waiting = ask(url, {message: "Is there a lift?", maxTokens: 4});
    while ((await readStats(url)).waiting === 0);
    const refused = await post({message: "And is there a car park?"});
    t.equal(refused.status, 503);
    t.equal(refused.headers.get("retry-after"), "1");
    t.match(await refused.json(), {code: "QUEUE_FULL"});
    t.match(await readStats(url), {answering: 2, waiting: 1});

    aborts[0]?.abort();
    const served = await waiting;
    t.equal(served.outcome, "finished", "in the place of the one that was aborted");
    t.ok(served.lines.at(-1).milliseconds.waited > 0);

    // One that leaves the queue leaves no gap there.
    const third = new AbortController();
    t.equal((await begin(third)).first.type, "start");
    t.equal((await ask(url, {message: "Hello?"}, {afterMilliseconds: 300})).outcome, "aborted");
    for (const abort of [...aborts, third]) abort.abort();
    t.match(await settled(url), {answering: 0, waiting: 0});

    const went = await ask(url, {conversation: running[0]?.first.conversation, message: "Thank you.", maxTokens: 4});
    t.equal(went.outcome, "finished", "an aborted answer's conversation goes on");
});

t.test("saved conversations go on after a restart, and in sequences that others had", async (t) => {
    const folder = t.testdir(), options = ["--sequences", "1", "--threads", "1", "--turns", folder];
    const first = await startServer(options);
    const secret = "My name is Rosalind. Please greet me by my name.";
    const {text, lines} = await ask(first.url, {message: secret, maxTokens: 16}), {conversation} = lines.at(-1);
    await ask(first.url, {message: "Good morning.", maxTokens: 4});
    const back = await ask(first.url, {conversation, message: "Thank you.", maxTokens: 4});
    t.equal(back.outcome, "finished");
    t.ok(back.lines.at(-1).tokens.evaluated < 40, `${back.lines.at(-1).tokens.evaluated} tokens evaluated in a sequence that another one had`);
    t.equal(await first.stop(), 0);

    const second = await startServer(options);
    const again = await ask(second.url, {conversation, message: "What is my name?", maxTokens: 16});
    t.match(again.text, /Rosalind/, `after ${text}`);
    t.equal(again.lines.at(-1).conversation, conversation);
    t.ok(again.lines.at(-1).tokens.evaluated < 40, `${again.lines.at(-1).tokens.evaluated} tokens evaluated after a restart`);
    const stranger = await ask(second.url, {conversation: "00000000-0000-4000-8000-000000000000", message: "Hello"});
    t.match(stranger, {outcome: "failed", code: "CONVERSATION_UNKNOWN"});
    t.equal(await second.stop(), 0);
});

t.test("numbers for people and for Prometheus", async (t) => {
    const stats = await readStats(url);
    t.ok(stats.residentBytes > 0 && stats.residentBytes < stats.stockBytes);
    t.match(stats.sequences[0], {name: "system prompt", tier: "high"});
    t.ok(stats.events.some((/** @type {any} */ {type}) => type === "attach"));
    const metrics = await (await fetch(`${url}/metrics`)).text();
    const value = (/** @type {string} */ name) => Number(metrics.split("\n").find((line) => line.startsWith(`${name} `))?.split(" ")[1]);
    t.ok(value("kv_cache_resident_bytes") > 0);
    t.equal(value("kv_cache_attached_tokens_total"), stats.sharing.attachedTokens);
    t.equal(value('kv_cache_events_total{type="attach"}'), stats.sharing.attached);
    t.equal(value('chat_answers_total{outcome="QUEUE_FULL"}'), 1);
    t.ok(value('chat_answers_total{outcome="aborted"}') >= 1);
    t.match(await (await fetch(url)).text(), /<title>/);
});

t.test("the pool's limit is a 503 with its code, and the server goes on", async (t) => {
    const small = await startServer(["--sequences", "1", "--threads", "1", "--pool-limit", "10MiB"]);
    t.teardown(small.stop);
    const refused = await ask(small.url, {message: "word ".repeat(900), maxTokens: 4});
    t.match(refused, {outcome: "refused", code: "POOL_LIMIT_REACHED", retryAfter: 1});
    t.equal((await ask(small.url, {message: "Hello!", maxTokens: 4})).outcome, "finished");
    const {residentBytes, limitBytes, events} = await readStats(small.url);
    t.ok(residentBytes <= limitBytes);
    t.ok(events.some((/** @type {any} */ {type, error}) => type === "refuse" && error.code === "POOL_LIMIT_REACHED"));
});

t.test("it ends when told to, with an answer under way", async (t) => {
    const {lines} = await begin(new AbortController());
    const begun = performance.now(), stopped = stop();
    let last;
    for await (const line of lines) last = line;
    t.equal(last.type, "end", "which gets its end");
    t.equal(await stopped, 0);
    t.ok(performance.now() - begun < 10_000, "within seconds");
});
