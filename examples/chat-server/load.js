/** Many clients at once against a server whose cache has too little memory for all of them. */
import {writeFileSync} from "node:fs";
import {cpus} from "node:os";
import {fileURLToPath} from "node:url";
import {parseArgs} from "node:util";
import {learn, runClient} from "./load/client.js";
import {Random} from "./load/random.js";
import {startServer} from "./load/server-process.js";
import {Tally} from "./load/tally.js";
import {settled, Watch} from "./load/watch.js";

const usage = `node load.js [options]
  --clients N          clients at once (64)
  --minutes N          how long they go on (10)
  --seed N             what they say comes from this number (1)
  --out FILE           where the results are written (load-result.json)
And of the server that it starts, see node server.js --help:
  --sequences N (16)  --queue N (32)  --context-size N (2048)  --pool-limit SIZE (40MiB)  --policy NAME|FILE (policy.json)  --threads N  --model FILE`;

const text = /** @type {const} */ ({type: "string"});
const {values} = parseArgs({options: {
    clients: {...text, default: "64"}, minutes: {...text, default: "10"}, seed: {...text, default: "1"}, out: {...text, default: "load-result.json"},
    sequences: {...text, default: "16"}, queue: {...text, default: "32"}, "context-size": {...text, default: "2048"},
    "pool-limit": {...text, default: "40MiB"}, policy: {...text, default: fileURLToPath(new URL("policy.json", import.meta.url))}, threads: text, model: text,
    help: {type: "boolean"}
}});
const {help, clients, minutes, seed, out, ...server} = values;
if (help) {
    console.log(usage);
    process.exit();
}
const contextSize = Number(server["context-size"]);
const {url, stop} = await startServer(Object.entries(server).flatMap(([name, value]) => [`--${name}`, value]));

const known = new Map(), idle = new Tally(), tally = new Tally();
await learn({url, contextSize, random: new Random(Number(seed)), tally: idle, known});
const before = await settled(url);

console.log(`${clients} clients for ${minutes} minutes`);
const watch = new Watch(url), begin = performance.now(), deadline = begin + Number(minutes) * 60_000;
await Promise.all(Array.from({length: Number(clients)}, (_, client) =>
    runClient({url, contextSize, deadline, random: new Random(1000 * Number(seed) + client), tally, known})));
const seconds = Math.round((performance.now() - begin) / 1000);
await watch.stop();
const {events: _, ...after} = await settled(url);
const exitCode = await stop();

const summary = (/** @type {Tally} */ {waited, firstToken, answer, withRetries, counts, codes, codeWords, fixed, tokens, complaints}) => ({
    milliseconds: {waited: waited.summary, firstToken: firstToken.summary, answer: answer.summary, answerWithRetries: withRetries.summary},
    counts, codes, codeWords, fixed, tokens, complaints
});
const result = {
    date: new Date().toISOString(), processor: cpus()[0]?.model, node: process.version, clients: Number(clients), seconds, server,
    idle: summary(idle), load: summary(tally),
    memory: {limitBytes: after.limitBytes, ...watch.seen, processBytesBefore: before.processBytes, processBytesAfter: after.processBytes},
    after, exitCode
};
writeFileSync(out, JSON.stringify(result, null, 2) + "\n");

const {counts, milliseconds, codes, codeWords, fixed} = result.load;
console.table(milliseconds);
console.table({counts});
console.log(`refused and cut: ${JSON.stringify(codes)}
answers with their own code word: ${codeWords.mentioned}; asked for and right: ${codeWords.right} of ${codeWords.asked} (idle: ${idle.codeWords.right} of ${idle.codeWords.asked})
fixed answers as on the idle server: ${fixed.same} of ${fixed.compared}
cache: at most ${watch.seen.highestBytes} of ${after.limitBytes} bytes in ${watch.seen.samples} looks
server: ended with ${exitCode}; details are in ${out}`);

const bad = counts.wrong + counts.failed + idle.counts.wrong + idle.counts.failed + watch.seen.aboveLimit;
if (bad > 0 || exitCode !== 0) {
    for (const complaint of [...idle.complaints, ...tally.complaints]) console.error(complaint);
    process.exitCode = 1;
}
