import {readFileSync} from "node:fs";
import {join} from "node:path";
import type {Token} from "node-llama-cpp";
import t from "tap";
import {openLlama} from "../support/engine.js";
import {demoModelPath} from "../support/f16-model.js";
import {dist, root} from "../support/paths.js";
import {loadTiny} from "../support/tiny-engine.js";

const {canChat, dialoguesOn} = await import(dist("eval/dialogues.js")) as typeof import("../../dist/eval/dialogues.js");
const {EvalText} = await import(dist("eval/text.js")) as typeof import("../../dist/eval/text.js");

t.setTimeout(120_000);

const llama = await openLlama();
t.teardown(() => llama.dispose());
const content = readFileSync(join(root, "bench/data/wikitext-2-test-excerpt.txt"), "utf8");

t.test("a model with a chat template goes on with texts, does tasks and chats", async (t) => {
    const model = await llama.loadModel({modelPath: await demoModelPath(), gpuLayers: 0});
    t.ok(canChat(model));
    const dialogues = dialoguesOn(new EvalText(model, content));
    t.equal(new Set(dialogues.map(({name}) => name)).size, 21);
    t.equal(dialogues.reduce((sum, {turns}) => sum + turns, 0), 24);
    const chat = dialogues.at(-1)!, text = (answers: string[]) => model.detokenize(chat.prompt(answers) as Token[], true);
    t.match(text([]), /<\|im_start\|>user\nHere is a text\..*<\|im_start\|>assistant\n$/s);
    t.match(text(["It is about a boat."]), /It is about a boat\.<\|im_end\|>\n<\|im_start\|>user\nThank you\..*<\|im_start\|>assistant\n$/s);
});

t.test("a model without one goes on with texts only", async (t) => {
    const model = await loadTiny(llama);
    t.notOk(canChat(model));
    const dialogues = dialoguesOn(new EvalText(model, content));
    t.equal(dialogues.length, 10);
    t.ok(dialogues.every(({name, turns}) => name.startsWith("continuation") && turns === 1));
    t.strictSame(new Set(dialogues.map(({prompt}) => prompt([]).length)), new Set([320]));
});
