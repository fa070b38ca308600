import {join} from "node:path";
import t from "tap";
import {moreTokens, randomTokens} from "../support/engine.js";
import {divergence, nextLogits} from "../support/logits.js";
import {buildPlugin, fetchRuntime, packageFor, releaseOf, runIn} from "../support/other-runtime.js";
import {dist} from "../support/paths.js";
import {openTiny, unshared} from "../support/tiny-engine.js";

// The end-to-end tests on the oldest node-llama-cpp that is served. The newest one is what all the other tests run on.

const {servedRuntimes} = await import(dist("runtime/served.js")) as typeof import("../../dist/runtime/served.js");
const {nodeLlamaCpp: version, llamaCpp: release} = servedRuntimes[0]!;
/** Of attention-shapes, one model of each kind: all would take too long. */
const shapes = {TAP_GREP: "/^(llama-head-128|bloom-alibi|deci-uneven-heads|gemma4-shared|gpt-oss-sinks|qwen35|phi2-head-80)/"};
/** They evaluate all tiers and kinds of memory against stock, fork, share, shift, save and restore. */
const files = [
    "engine/attention-shapes", "engine/compound-memories", "engine/fork", "engine/idioms", "engine/sequences", "engine/sharing", "engine/state-files", "turns/restored-tiers",
    "turns/restoring"
];

t.setTimeout(1_200_000);
const fetched = await fetchRuntime(version), skip = "reason" in fetched && fetched.reason;

t.test(`the package on node-llama-cpp ${version}`, {skip}, async (t) => {
    const {folder: runtime} = fetched as {folder: string};
    t.equal(await releaseOf(runtime), release, "the table of releases tells its llama.cpp");
    await buildPlugin(runtime);
    const folder = await packageFor(runtime, release);

    const doctor = await runIn(folder, ["dist/cli/main.js", "doctor"]);
    t.match(doctor, {code: 0, output: new RegExp(`^node-llama-cpp +${version}\\nllama\\.cpp +${release}\\nsupported +yes$`, "m")});
    t.match(doctor.output, new RegExp(`^engine +${join(folder, "build/native/Release", release)}$`, "m"), "the binary for its llama.cpp");
    for (const file of files) {
        const {code, output, passed} = await runIn(folder, ["--enable-source-maps", `build/js/test/${file}.test.js`], file.endsWith("shapes") ? shapes : {});
        t.ok(code === 0 && passed > 0, file, {output: output.split("\n").filter((line) => /^ *not ok/.test(line)).join("\n") + output.slice(-3000)});
        t.comment(`${file}: ${passed} passed`);
    }

    await t.test("a turn that was saved on the newest is restored there", async (t) => {
        const {store, model, modelPath} = await openTiny(t, unshared), place = t.testdir({}), prompt = randomTokens(300, 1), more = moreTokens(5, 2);
        for (const tier of ["exact", "high", "conservative"]) {
            const context = await model.createContext({contextSize: 1024, batchSize: 256, flashAttention: true, kvCache: tier}), sequence = context.getSequence();
            const turns = await store.openTurns({store: place});
            await sequence.evaluateWithoutGeneratingNewTokens(prompt);
            await turns.save(tier, sequence);
            await turns.close();
            const expected = await nextLogits(sequence, more);
            const {output} = await runIn(folder, ["test/fixtures/turn-logits.mjs", JSON.stringify({
                modelPath, tiers: {}, context: tier, folder: place, conversation: tier, batches: [more]
            })]);
            const {evaluated, tokens, rows} = JSON.parse(/^\{.*\}$/m.exec(output)?.[0] ?? "{}") as {evaluated?: number; tokens?: number; rows?: number[][]};
            t.match({evaluated, tokens}, {evaluated: 0, tokens: 305}, tier, {output: output.slice(-1000)});
            t.ok(divergence(expected, Float32Array.from(rows?.[0] ?? [])) < 1e-4, `${tier}: it goes on as it would have`);
            await context.dispose();
        }
    });
});
