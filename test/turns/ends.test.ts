import {spawn} from "node:child_process";
import {join} from "node:path";
import {attach} from "llama-deltastore";
import t, {type Test} from "tap";
import {openLlama} from "../support/engine.js";
import {Gaussian} from "../support/gaussian.js";
import {endAtRandom, openKeptChat} from "../support/kept-chat.js";
import {root} from "../support/paths.js";
import {tinyPath} from "../support/tiny-engine.js";
import {isWell, storeFolder} from "../support/turns.js";

/** DELTASTORE_ENDS=200 was run once. */
const ends = Number(process.env["DELTASTORE_ENDS"] ?? 20), processes = Math.ceil(ends / 5), atOnce = 2;

t.setTimeout(900_000);

const modelPath = await tinyPath();

/** Checks that the store has the whole turn. */
async function requireTurn(t: Test, folder: string, tokens: number, done: string): Promise<void> {
    const llama = await openLlama(), store = await attach(llama), turns = await store.openTurns({store: folder});
    const saved = await turns.history("chat").catch(() => []);
    // A later prompt is a turn of its own.
    t.ok(saved.some((turn) => turn.tokens === tokens), `after ${done}: ${tokens} tokens, saved ${saved.map((turn) => turn.tokens).join()}`);
    await isWell(t, turns);
    await turns.close();
    await llama.dispose();
}

t.test("a prompt loses its turn to no end right after it", async (t) => {
    const random = new Gaussian(5);
    for (let round = 0; round < ends; round++) {
        const folder = storeFolder(t), chat = await openKeptChat(modelPath, folder), {done, tokens} = await endAtRandom(chat, random);
        for (const one of [chat.context, chat.model, chat.llama]) await one.dispose();
        await chat.turns.close();
        await requireTurn(t, folder, tokens, done);
    }
});

t.test("a process that ends by itself loses no turn", async (t) => {
    let next = 0;
    await Promise.all(Array.from({length: atOnce}, async () => {
        while (next < processes) {
            const folder = storeFolder(t), seed = next++, output: string[] = [];
            const child = spawn(process.execPath, [join(root, "test/fixtures/ends.mjs"), join(root, "build/js/test"), modelPath, folder, String(seed)]);
            child.stdout.on("data", (text) => output.push(String(text)));
            child.stderr.on("data", (text) => output.push(String(text)));
            const code = await new Promise((resolve) => child.on("close", resolve));
            const line = /^\{.*\}$/m.exec(output.join(""))?.[0];
            if (code !== 0 || line === undefined) {
                t.fail(`seed ${seed}: exit ${String(code)}`, {output});
                continue;
            }
            const {done, tokens} = JSON.parse(line) as {done: string; tokens: number};
            await requireTurn(t, folder, tokens, done);
        }
    }));
});
