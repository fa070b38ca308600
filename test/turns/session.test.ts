import {attach, DeltaStoreError, MemoryStore} from "llama-deltastore";
import {LlamaChatSession, type LlamaContext} from "node-llama-cpp";
import t from "tap";
import {codeOf, openLlama, rejection} from "../support/engine.js";
import {demoModelPath} from "../support/f16-model.js";
import {isWell, storeFolder, wrapped} from "../support/turns.js";
import {settled} from "../support/waiting.js";

t.setTimeout(180_000);

const llama = await openLlama();
const store = await attach(llama, {policy: {sharing: {automatic: false}}});
const model = await llama.loadModel({modelPath: await demoModelPath(), gpuLayers: 0});
t.teardown(() => llama.dispose());

const createContext = () => model.createContext({contextSize: 1024, threads: 1, flashAttention: true, kvCache: "high"});
const sessionOf = (context: LlamaContext) => new LlamaChatSession({contextSequence: context.getSequence(), systemPrompt: "You answer in one short sentence."});
const options = {temperature: 0, maxTokens: 20} as const;
const questions = ["What is the capital of France?", "And of Italy?", "Which of them is further north?"] as const, next = "Name a river there.";

t.test("a chat that is kept goes on in another context as if it had never stopped", async (t) => {
    const turns = await store.openTurns({store: storeFolder(t)}), context = await createContext(), session = sessionOf(context);
    const kept = await turns.keep(session, "chat"), saved: number[] = [];
    t.equal(kept.restored, null);
    kept.onSave.createListener(({tokens}) => {
        saved.push(tokens);
    });
    for (const question of questions) await session.prompt(question, options);
    await kept.saved();
    t.equal(saved.length, 3);
    t.equal(saved.at(-1), session.sequence.nextTokenIndex);
    const history = session.getChatHistory(), {contextTokens} = session.sequence;
    kept.end();
    kept.end();
    const before = session.sequence.tokenMeter.getState(), expected = await session.prompt(next, options);
    const used = session.sequence.tokenMeter.diff(before);
    await kept.saved();
    t.equal((await turns.history("chat")).length, 3, "after its end nothing is saved");

    const other = await createContext(), again = sessionOf(other);
    const {restored, saved: savedAgain, end} = await turns.keep(again, "chat");
    t.match(restored, {evaluated: 0, damaged: [], turn: {tokens: contextTokens.length}});
    t.strictSame(again.getChatHistory(), history);
    t.strictSame(again.sequence.contextTokens, contextTokens);
    const meter = again.sequence.tokenMeter.getState();
    t.equal(await again.prompt(next, options), expected);
    t.strictSame(again.sequence.tokenMeter.diff(meter), used, "its own tokens are evaluated, and no others");
    await savedAgain();
    t.equal((await turns.history("chat")).length, 4);
    t.match(await rejection(turns.keep(again, "other")), {code: "OPTION_INVALID", message: /kept/});
    end();
    const {end: endOther} = await turns.keep(again, "other");
    endOther();
    await isWell(t, turns);
    for (const one of [context, other]) await one.dispose();
    await turns.close();
});

t.test("a chat that has outgrown its context goes on with what the context had of it", async (t) => {
    const turns = await store.openTurns({store: new MemoryStore()}), small = () => model.createContext({contextSize: 256, threads: 1, flashAttention: true, kvCache: "high"});
    const context = await small(), session = sessionOf(context), kept = await turns.keep(session, "chat"), brief = {temperature: 0, maxTokens: 8} as const;
    for (let turn = 0; turn < 6; turn++) await session.prompt(`${turn}: ${"The lamp is lit, and the door is closed. ".repeat(4)}`, brief);
    await kept.saved();
    kept.end();
    const other = await small(), again = sessionOf(other), {restored, end} = await turns.keep(again, "chat");
    end();
    t.match(restored, {evaluated: 0, data: {shifted: {}}});
    t.strictSame(again.getChatHistory(), session.getChatHistory());
    const used = await Promise.all([session, again].map(async (one) => {
        const before = one.sequence.tokenMeter.usedInputTokens;
        return [await one.prompt(next, brief), one.sequence.tokenMeter.usedInputTokens - before];
    }));
    t.strictSame(used[1], used[0], "the same tokens are evaluated");
    t.strictSame(again.sequence.contextTokens, session.sequence.contextTokens);
    for (const one of [context, other]) await one.dispose();
});

t.test("data that is no chat's is left alone", async (t) => {
    const turns = await store.openTurns({store: new MemoryStore()}), context = await createContext(), session = sessionOf(context);
    await session.prompt(questions[0], options);
    const history = session.getChatHistory();
    for (const data of [{history: "nonsense"}, {history: [null]}, "text", {history, shifted: 5}]) {
        await turns.save("chat", session.sequence, {data});
        const {end, restored} = await turns.keep(session, "chat");
        t.strictSame(restored!.data, data);
        t.ok((await session.prompt(questions[1], options)).length > 0);
        end();
        session.setChatHistory(history);
    }
    await context.dispose();
});

t.test("turns that are closed keep sessions no more", async (t) => {
    const context = await createContext(), session = sessionOf(context), first = await store.openTurns({store: new MemoryStore()});
    const kept = await first.keep(session, "chat");
    await session.prompt(questions[0], options);
    t.equal(await codeOf(first.keep(session, "chat")), "OPTION_INVALID", "it is kept already");
    await first.close();
    t.equal(await codeOf(first.keep(session, "chat")), "DISPOSED");
    const second = await store.openTurns({store: new MemoryStore()}), again = await second.keep(session, "chat");
    await kept.end();
    await session.prompt(questions[1], options);
    await again.saved();
    t.match(await second.history("chat"), [{tokens: session.sequence.nextTokenIndex}], "the end of the first keeping ends no later one");
    await context.dispose();
});

t.test("a store that fails lets the chat go on, and tells", async (t) => {
    const memory = new MemoryStore();
    let fails = true;
    const turns = await store.openTurns({store: wrapped(memory, {
        async step(step) {
            if (fails) throw new DeltaStoreError("STORE_FAILED", "the disk is full");
            return await memory.step(step);
        }
    })});
    const context = await createContext(), session = sessionOf(context), kept = await turns.keep(session, "chat"), warnings: string[] = [];
    const warned = ({message}: Error) => warnings.push(message);
    process.on("warning", warned);
    t.match(await session.prompt(questions[0], options), /Paris/);
    t.match(await rejection(kept.saved()), {code: "STORE_FAILED"});
    await kept.saved();  // the failure was told already
    await settled();
    process.off("warning", warned);
    t.match(warnings, [/could not save a turn of "chat": the disk is full/], "if nobody listens");
    const errors: unknown[] = [];
    kept.onError.createListener((error) => {
        errors.push(error);
    });
    await session.prompt(questions[1], options);
    await kept.saved();
    t.match(errors, [{code: "STORE_FAILED"}]);
    fails = false;
    await session.prompt(questions[2], options);
    await kept.saved();
    t.equal(errors.length, 1);
    t.match(await turns.history("chat"), [{tokens: session.sequence.nextTokenIndex}], "and what comes later is saved");

    const last = session.prompt(questions[2], options);
    kept.end();
    kept.end();
    await last;
    await kept.saved();
    t.equal((await turns.history("chat")).length, 1, "a prompt under way at the end is not saved");
    for (const none of [undefined, {}, session.sequence]) t.equal(await codeOf(turns.keep(none as unknown as LlamaChatSession, "x")), "OPTION_INVALID");

    // A session that could not be restored is not kept, so that it can be tried again.
    const wrong = sessionOf(await createContext());
    let connected = true;
    const broken = await store.openTurns({store: wrapped(memory, {
        get: (key) => connected ? memory.get(key) : Promise.reject(new DeltaStoreError("STORE_FAILED", "no connection"))
    })});
    connected = false;
    t.equal(await codeOf(broken.keep(wrong, "chat")), "STORE_FAILED");
    t.match(await turns.keep(wrong, "chat"), {restored: {evaluated: 0}});
    const chat = wrong.getChatHistory();
    t.equal(chat.filter(({type}) => type === "user").length, 3);
    for (const one of [context, wrong.context]) await one.dispose();
});
