import {writeFileSync} from "node:fs";
import {join} from "node:path";
import t from "tap";
import {deltastore} from "../support/command.js";
import {evaluated, openCold} from "../support/cold.js";
import {randomTokens} from "../support/engine.js";
import {storeFolder} from "../support/turns.js";

t.setTimeout(240_000);

const {createContext, openTurns, teach} = await openCold(t);
const folder = storeFolder(t), turns = await openTurns(t, folder), context = await createContext(), sequence = context.getSequence();
await teach(turns);
for (const name of ["a", "b\u001b[31m"]) {
    await sequence.clearHistory();
    await evaluated(turns, name, sequence, randomTokens(200, name.length));
}

t.test("conversations are frozen by name and by age, and told as what they are", async (t) => {
    const freeze = async (...args: string[]) => await deltastore(["turns", "freeze", ...args, "--store", folder]);
    const list = async () => JSON.parse((await deltastore(["turns", "ls", "--store", folder, "--json"])).stdout) as {conversations: {name: string; codec: string; ownBytes: number}[]};
    const [before] = (await list()).conversations.filter(({name}) => name === "a");
    t.match(before, {codec: "packed", ownBytes: (await turns.sizeOf("a")).own});
    t.match(await freeze("a", "--codec", "transform", "--ratio", "8"), {code: 0, stdout: /^a +transform +1 +\d\S* \S+ +\d\S* \S+$/m});
    t.match(await deltastore(["turns", "ls", "--store", folder]), {stdout: /^a +1 +200 +transform +\d\S* KiB +\S+Z +\d+[smh]$/m});
    t.match(await deltastore(["turns", "show", "a", "--store", folder]), {stdout: / 200 +transform /});
    t.match(await deltastore(["turns", "verify", "--store", folder]), {code: 0, stdout: /all is well\n\d+ frozen parts were thawed\n$/});
    t.match((await freeze("--codec", "tokens", "--after", "0s")).stdout, /^"b\\u001b\[31m" +tokens +1 /m);
    t.match((await turns.list()).map(({codec}) => codec), ["tokens", "tokens", "tokens"]);
    t.match(await turns.restore("a", sequence), {codec: "tokens", evaluated: 200});
    t.match(await turns.verify(), {problems: []});
});

t.test("the policy says what is due", async (t) => {
    const policy = join(storeFolder(t), "policy.json");
    await turns.save("c", sequence);
    writeFileSync(policy, JSON.stringify({turns: {store: folder, cold: [{after: "0s", codec: "tokens"}]}}));
    t.match(await deltastore(["turns", "freeze", "--policy", policy, "--json"]), {code: 0, stdout: /"conversation": "c"/});
});

t.test("of several names, those that can't be frozen are told beside those that were", async (t) => {
    await turns.save("d", sequence);
    const args = ["turns", "freeze", "none", "d", "", "--codec", "tokens", "--store", folder];
    t.match(await deltastore(args), {code: 1, stdout: /^d +tokens +1 [^]*\nnone stays as it is: TURN_NOT_FOUND[^]*stays as it is: OPTION_INVALID/m});
    t.match((await turns.list()).find(({name}) => name === "d"), {codec: "tokens"});
    t.match(await deltastore(["turns", "freeze", "--codec", "tokens", "--after", "900d", "--store", folder]), {code: 0, stdout: "No conversation is due.\n"});
});

t.test("wrong usage is told by option", async (t) => {
    for (const [args, message] of [
        [["--codec", "tokens"], /Which conversations\?/], [["a", "--codec", "tokens", "--after", "7d"], /--after is for all conversations/],
        [["--codec", "tokens", "--after", "soon"], /--after is "soon"; allowed is a number with a unit/], [["a", "--codec", "transform", "--ratio", "much"], /ratio is 'much'/]
    ] as const) t.match(await deltastore(["turns", "freeze", ...args, "--store", folder]), {code: 2, stdout: "", stderr: message}, args.join(" "));
    t.match(await deltastore(["turns", "freeze", "a", "--ratio", "12", "--store", folder]), {code: 2, stderr: /ratio needs a codec; give --codec/});
    t.match(await deltastore(["turns", "freeze", "none", "--codec", "tokens", "--store", folder]), {code: 1, stderr: /TURN_NOT_FOUND/});
});

t.test("estimates name the cheapest codec", async (t) => {
    const prices = ["--disk-price", "0.1", "--cpu-price", "0.04"];
    const {stdout, code} = await deltastore(["turns", "estimate", ...prices]);
    t.equal(code, 0);
    t.match(stdout, /^1,000 conversations of 4000 tokens, in a month:\n/);
    t.match(stdout, /\nThe cheapest is \w+\./);
    t.match((await deltastore(["turns", "estimate", "--disk-price", "0", "--cpu-price", "0"])).stdout, /\nThe cheapest is tokens\./, "of equal prices the smallest");
    const {codecs} = JSON.parse((await deltastore(["turns", "estimate", ...prices, "--model", "llama-3-8b", "--returns", "1", "--json"])).stdout) as {codecs: {disk: number; cpu: number}[]};
    const costs = codecs.map(({disk, cpu}) => disk + cpu);
    t.strictSame(costs, [...costs].sort((a, b) => a - b));
    for (const [args, message] of [
        [[...prices, "--returns", "2"], /Give a number from 0 to 1/], [[...prices, "--model", "smollm2-135n"], /did you mean "smollm2-135m"/]
    ] as const) t.match(await deltastore(["turns", "estimate", ...args]), {code: 2, stderr: message});
});
