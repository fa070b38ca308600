import {readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import type {EvalCache} from "../../ts/eval/caches.js";
import type {Journal} from "../../ts/eval/journal.js";
import type {Suite} from "../../ts/eval/suite.js";
import type {EvalText} from "../../ts/eval/text.js";
import type {NativeBinding} from "../../ts/engine/native.js";
import {dist, root} from "../support/package.js";
import {chosenModel} from "../support/model-option.js";
import {Runtime} from "../support/runtime.js";

const {reference} = await dist("eval/caches.js");
const {openContext} = await dist("eval/run.js");
const {runSuite} = await dist("eval/suite.js");

/** Runs suites on a model with F16 weights, and on the text of bench/data. An interrupted run goes on where it stopped. */
export class SuiteBench {
    private constructor(readonly runtime: Runtime, readonly text: EvalText, private readonly native: NativeBinding,
                        private readonly journal: Journal, private readonly out: string) {}

    /**
     * @param out the file of results. Those of an unfinished run are kept beside it
     * @param model a GGUF file or a name, instead of the demo's model
     */
    static async open({threads, out, policy, model}: {threads: number; out: string; policy?: object; model?: string | undefined}): Promise<SuiteBench> {
        const {loadNative} = await dist("engine/load.js");
        const {f16Weights} = await dist("eval/weights.js");
        let modelPath = "";
        const runtime = await Runtime.open({
            threads, ...policy === undefined ? {} : {policy},
            modelPath: async () => modelPath = await f16Weights(await loadNative(), await chosenModel(model))
        });
        const native = await loadNative();
        const content = readFileSync(path.join(root, "bench/data/wikitext-2-test-excerpt.txt"), "utf8");
        const text = new (await dist("eval/text.js")).EvalText(runtime.model, content);
        const {Journal} = await dist("eval/journal.js");
        const {evalSetup} = await dist("eval/setup.js");
        return new SuiteBench(runtime, text, native, new Journal(`${out}.unfinished`, evalSetup(native, modelPath, content)), out);
    }

    async run<Expected, Outcome>(suite: Suite<Expected, Outcome>): Promise<Map<string, Outcome[]>> {
        const {model, store, threads} = this.runtime, {native, text} = this;
        return await runSuite(suite, reference, {
            journal: this.journal,
            open: (cache: EvalCache, contextSize: number, sequences: number) =>
                openContext({model, store, native, threads}, text, cache, contextSize, sequences),
            onOutcome: (suite: string, cache: string) => console.log(`${suite}, ${cache}`)
        });
    }

    /** Writes the results, and deletes what was kept beside them. */
    finish(report: object): void {
        writeFileSync(this.out, `${JSON.stringify(report, null, 2)}\n`);
        this.journal.remove();
    }

    async [Symbol.asyncDispose](): Promise<void> {
        await this.runtime[Symbol.asyncDispose]();
    }
}
