import {copyFileSync, readFileSync, rmSync, truncateSync, writeFileSync} from "node:fs";
import {join, relative} from "node:path";
import {attach, DeltaStoreError} from "llama-deltastore";
import t from "tap";
import {codeOf, generate, openLlama, randomTokens, rejection} from "../support/engine.js";
import {tinyGguf} from "../support/gguf.js";
import {splitGguf} from "../support/split-gguf.js";
import {tinyPath} from "../support/tiny-engine.js";

t.setTimeout(120_000);

const modelPath = await tinyPath();
const small = {contextSize: 256, threads: 1};

t.test("a model that can't be loaded is an error with the path, and the original loadModel comes back", async (t) => {
    const llama = await openLlama();
    t.teardown(() => llama.dispose());
    const original = llama.loadModel;
    const store = await attach(llama);
    const folder = t.testdir({"text.gguf": "This is no model."});
    const [none, cut, changed, nowhere] = ["none.gguf", "cut.gguf", "changed.gguf", "nowhere.gguf"].map((name) => join(folder, name)) as
        [string, string, string, string];
    copyFileSync(modelPath, cut);
    truncateSync(cut, 200_000);
    const whole = readFileSync(modelPath);
    whole[22] = 0xff;  // metadata without end
    writeFileSync(changed, whole);
    writeFileSync(nowhere, tinyGguf());

    const attempts: [string, string][] = [
        [none, "MODEL_NOT_FOUND"], [folder, "MODEL_NOT_FOUND"], ["hf:user/model:Q4_0", "MODEL_NOT_FOUND"],
        [cut, "MODEL_DAMAGED"], [changed, "MODEL_DAMAGED"], [join(folder, "text.gguf"), "MODEL_DAMAGED"]
    ];
    for (const [path, code] of attempts) {
        for (const given of [path, relative(process.cwd(), path)]) {
            const error = await rejection(llama.loadModel({modelPath: given, gpuLayers: 0}));
            t.type(error, DeltaStoreError);
            t.match(error, {code, message: path});
        }
    }
    // Never disposed: openLlama can't hold the model that failed, and once that is collected dispose() never settles.
    const failing = await openLlama();
    await attach(failing);
    t.notMatch(await rejection(failing.loadModel({modelPath: nowhere, gpuLayers: 0})), {name: "DeltaStoreError"}, "other failures have their own errors");
    t.notMatch(await rejection(llama.loadModel({modelPath: 4 as unknown as string})), {name: "DeltaStoreError"});
    t.notMatch(await rejection(llama.loadModel(undefined!)), {name: "DeltaStoreError"});

    const parts = splitGguf(modelPath, join(folder, "split"));
    const [model, split] = [await llama.loadModel({modelPath, gpuLayers: 0}), await llama.loadModel({modelPath: parts[0]!, gpuLayers: 0})];
    const texts = [];
    for (const one of [model, split]) {
        const context = await one.createContext({...small, kvCache: "high"});
        texts.push(await generate(context.getSequence(), randomTokens(100, 3), 10));
        await one.dispose();
    }
    t.strictSame(texts[1], texts[0], "a model in parts is the same model");
    truncateSync(parts[1]!, 3000);
    t.match(await rejection(llama.loadModel({modelPath: parts[0]!, gpuLayers: 0})), {code: "MODEL_DAMAGED", message: parts[1]});
    rmSync(parts[1]!);
    t.match(await rejection(llama.loadModel({modelPath: parts[0]!, gpuLayers: 0})), {code: "MODEL_NOT_FOUND", message: parts[1]});

    const again = await attach(llama);
    t.ok(store.disposed);
    t.equal(await codeOf(llama.loadModel({modelPath: none})), "MODEL_NOT_FOUND");
    again.dispose();
    t.equal(llama.loadModel, original, "the original is back");
    t.notMatch(await rejection(llama.loadModel({modelPath: none})), {name: "DeltaStoreError"});

    const third = await attach(llama);
    const own = (llama.loadModel as typeof original).bind(llama);
    llama.loadModel = own;
    third.dispose();
    t.equal(llama.loadModel, own, "another's own method stays");
});
