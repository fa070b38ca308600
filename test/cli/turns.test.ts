import {attach, type Turns} from "llama-deltastore";
import t from "tap";
import {deltastore} from "../support/command.js";
import {moreTokens, openLlama, randomTokens} from "../support/engine.js";
import {loadTiny} from "../support/tiny-engine.js";
import {storeFolder} from "../support/turns.js";

const llama = await openLlama(), store = await attach(llama);
const model = await loadTiny(llama);
const context = await model.createContext({contextSize: 512, threads: 1});
t.teardown(() => llama.dispose());

/** A store with "a", of two turns, and "b\u001b[31m", of one, and its folder. */
async function filled(key?: string): Promise<{folder: string; turns: Turns}> {
    const folder = storeFolder(t), turns = await store.openTurns({store: folder, ...key === undefined ? {} : {key}}), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(200, 1));
    await turns.save("b\u001b[31m", sequence);
    await turns.save("a", sequence);
    await sequence.evaluateWithoutGeneratingNewTokens(moreTokens(70, 2));
    await turns.save("a", sequence);
    sequence.dispose();
    return {folder, turns};
}

t.test("conversations are listed, shown and removed", async (t) => {
    const {folder, turns} = await filled();
    const list = await deltastore(["turns", "ls", "--store", folder]);
    t.equal(list.code, 0);
    t.match(list.stdout, /^a +2 +270 /m);
    t.match(list.stdout, /^"b\\u001b\[31m" +1 +200 /m, "nothing that a terminal obeys");
    t.match(JSON.parse((await deltastore(["turns", "ls", "--store", folder, "--json"])).stdout),
        {bytes: await turns.bytes(), conversations: [{name: "a", turns: 2, tokens: 270}, {turns: 1}]});
    const [first, second] = await turns.history("a"), show = await deltastore(["turns", "show", "a", "--store", folder]);
    for (const {id, tokens} of [first!, second!]) t.match(show.stdout, new RegExp(`${id} +\\S+ +${tokens} `));
    t.match(show.stdout, /of which \d.* are shared with other conversations/);
    t.match(JSON.parse((await deltastore(["turns", "show", "a", "--store", folder, "--json"])).stdout), {name: "a", turns: [{id: first!.id}, {id: second!.id}]});
    t.match(await deltastore(["turns", "rm", "a", "--store", folder]), {code: 0, stdout: "1 removed\n"});
    t.match(await deltastore(["turns", "show", "a", "--store", folder]), {code: 1, stderr: /TURN_NOT_FOUND/});
    t.match(await deltastore(["turns", "rm", "a", "--store", folder]), {code: 1, stdout: "0 removed\n", stderr: /TURN_NOT_FOUND/});
    t.match(await turns.verify(), {conversations: 1, problems: []});
    await turns.close();
});

t.test("turns gc removes what is past its time or above the budget", async (t) => {
    const {folder, turns} = await filled();
    t.match(await deltastore(["turns", "gc", "--store", folder]), {code: 0, stdout: /^0 conversations/});
    for (const option of ["--ttl", "--budget"])
        t.match(await deltastore(["turns", "gc", "--store", folder, option, ""]), {code: 2, stderr: /is ""/}, "as of a variable that is not set");
    t.match(await deltastore(["turns", "gc", "--store", folder, "--budget", "1GiB"]), {code: 0, stdout: /^0 conversations/});
    t.match(JSON.parse((await deltastore(["turns", "gc", "--store", folder, "--ttl", "0", "--json"])).stdout), {conversations: 2});
    t.match(await turns.verify(), {conversations: 0, objects: 0, problems: []});
    t.match(await deltastore(["turns", "gc", "--store", folder, "--ttl", "soon"]), {code: 2, stderr: /--ttl is "soon"/});
    await turns.close();
});

t.test("damage is told, and ends with 1", async (t) => {
    const key = "00".repeat(32), {folder, turns} = await filled(key);
    await turns.close();
    const withKey = {DELTASTORE_KEY: key};
    t.match(await deltastore(["turns", "verify", "--store", folder], withKey), {code: 0, stdout: /all is well/});
    t.match(await deltastore(["turns", "verify", "--store", folder]), {code: 1, stderr: /STORE_KEY_WRONG/});
    t.match(await deltastore(["turns", "ls", "--store", `${folder}-typo`]), {code: 1, stderr: /STORE_FAILED: There is no store in/});
    t.match(await deltastore(["turns", "ls"]), {code: 2, stderr: /Which store/});
    t.match(await deltastore(["turns", "ls", "--store", "http://user:secret@host/x"]), {code: 2, stderr: /http:/});
    t.notMatch((await deltastore(["turns", "ls", "--store", "http://user:secret@host/x"])).stderr, /secret/);
});
