import {appendFileSync, existsSync, readFileSync, writeFileSync} from "node:fs";
import {join} from "node:path";
import t from "tap";
import {dist} from "../support/paths.js";
import type {EvalCache} from "../../dist/eval/caches.js";
import type {EvalContext} from "../../dist/eval/context.js";
import type {Suite} from "../../dist/eval/suite.js";

const {Journal} = await import(dist("eval/journal.js")) as typeof import("../../dist/eval/journal.js");
const {runSuite} = await import(dist("eval/suite.js")) as typeof import("../../dist/eval/suite.js");

const setup = {model: "a.gguf", text: "1234"};

t.test("a journal keeps what was written whole", async (t) => {
    const path = join(t.testdir(), "results.unfinished");
    const first = new Journal(path, setup);
    first.add(["window", "0", "high"], {kld: 1});
    first.add(["window", "1", "high"], 2);
    appendFileSync(path, '{"key":["window","2","high"],"val');
    const second = new Journal(path, setup);
    t.equal(second.size, 2);
    t.strictSame(second.get(["window", "0", "high"]), {kld: 1});
    t.equal(second.get(["window", "2", "high"]), undefined, "cut off");
    second.add(["window", "2", "high"], 3);
    const third = new Journal(path, setup);
    t.strictSame([["window", "1", "high"], ["window", "2", "high"]].map((key) => third.get(key)), [2, 3]);
    third.remove();
    t.notOk(existsSync(path));
});

t.test("a journal of something else is left alone", async (t) => {
    const path = join(t.testdir(), "results.unfinished");
    new Journal(path, setup).add(["a"], 1);
    const before = readFileSync(path, "utf8");
    t.throws(() => new Journal(path, {...setup, text: "5678"}), {code: "OPTION_INVALID", message: /differs in "text"\. Delete it/});
    t.equal(readFileSync(path, "utf8"), before);
    writeFileSync(path, "my notes\n");
    t.throws(() => new Journal(path, setup), {code: "OPTION_INVALID", message: /no file of unfinished results/});
    t.throws(() => new Journal(join(path, "below-a-file"), setup), {code: "OPTION_INVALID", message: /can't be kept/});
    t.equal(new Journal(null, setup).size, 0, "none is needed");
});

t.test("a journal without results may become another's", async (t) => {
    const path = join(t.testdir(), "results.unfinished");
    new Journal(path, {...setup, text: "5678"});
    new Journal(path, setup).add(["a"], 1);
    t.equal(new Journal(path, setup).get(["a"]), 1);
    writeFileSync(path, '{"model":"a.gg');
    t.equal(new Journal(path, setup).size, 0, "cut off in its first line");
    t.equal(readFileSync(path, "utf8"), `${JSON.stringify(setup)}\n`);
});

t.test("a suite goes on where it stopped", async (t) => {
    const path = join(t.testdir(), "results.unfinished");
    const reference: EvalCache = {name: "stock", definition: "stock", options: {kvCache: "stock"}};
    const caches = ["a", "b"].map((name): EvalCache => ({name, definition: `${name} 1`, options: {kvCache: name}}));
    const log: string[] = [];
    const suiteOf = (caches: EvalCache[], failing = ""): Suite<string, string> => ({
        name: "suite", cases: ["one", "two"], caches, contextSize: 8, sequences: 1,
        async expect(openReference, index) {
            await openReference();
            log.push(`expect ${index}`);
            return `expected ${index}`;
        },
        async measure({cache}, index, expected) {
            if (failing === `${cache.name}${index}`) throw new Error("interrupted");
            log.push(`${cache.name}${index}`);
            return `${cache.name} ${expected}`;
        }
    });
    const run = async (suite: Suite<string, string>) => {
        const seen: string[] = [];
        log.length = 0;
        const outcomes = await runSuite(suite, reference, {
            journal: new Journal(path, setup),
            open: (cache) => {
                log.push(`open ${cache.name}`);
                return Promise.resolve({
                    cache, clear: () => undefined, dispose: () => { log.push(`close ${cache.name}`); return Promise.resolve(); }
                } as unknown as EvalContext);
            },
            onOutcome: (_, cache) => seen.push(cache)
        });
        return {outcomes: Object.fromEntries(outcomes), seen};
    };
    const all = {a: ["a expected 0", "a expected 1"], b: ["b expected 0", "b expected 1"]};

    await t.rejects(run(suiteOf(caches, "a1")), {message: "interrupted"});
    t.strictSame(log, ["open stock", "expect 0", "open a", "a0", "open b", "b0", "expect 1", "close stock", "close a", "close b"]);
    t.strictSame(await run(suiteOf(caches)), {outcomes: all, seen: ["a", "b", "a", "b"]});
    t.strictSame(log, ["open stock", "expect 1", "open a", "a1", "open b", "b1", "close stock", "close a", "close b"], "only what was missing");
    t.strictSame((await run(suiteOf(caches))).outcomes, all);
    t.strictSame(log, [], "nothing is opened when all is there");

    const redefined = [caches[0]!, {...caches[1]!, definition: "b 2"}];
    t.strictSame((await run(suiteOf(redefined))).outcomes, all);
    t.strictSame(log.filter((entry) => /^[ab]\d/.test(entry)), ["b0", "b1"], "a tier that means something else is measured again");
});
