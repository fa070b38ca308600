import {attach, type KeptSession, type Turns} from "llama-deltastore";
import {EmptyChatWrapper, LlamaChatSession, type Llama, type LlamaContext, type LlamaModel} from "node-llama-cpp";
import {openLlama} from "./engine.js";
import {Gaussian} from "./gaussian.js";
import {settled} from "./waiting.js";

export interface KeptChat {
    llama: Llama;
    model: LlamaModel;
    context: LlamaContext;
    session: LlamaChatSession;
    turns: Turns;
    kept: KeptSession;
}

/** A chat that is kept in a folder. */
export async function openKeptChat(modelPath: string, folder: string): Promise<KeptChat> {
    const llama = await openLlama(), store = await attach(llama), model = await llama.loadModel({modelPath, gpuLayers: 0});
    const turns = await store.openTurns({store: folder}), context = await model.createContext({contextSize: 512, sequences: 2, threads: 1, flashAttention: true});
    const session = new LlamaChatSession({contextSequence: context.getSequence(), chatWrapper: new EmptyChatWrapper()});
    return {llama, model, context, session, turns, kept: await turns.keep(session, "chat")};
}

/** What an app may do next. */
export const ends: Record<string, (chat: KeptChat) => unknown> = {
    "sequence.dispose()": ({session}) => session.sequence.dispose(),
    "using": ({session}) => session.sequence[Symbol.dispose](),
    "session.dispose()": ({session}) => session.dispose({disposeSequence: true}),
    "context.dispose()": ({context}) => context.dispose(),
    "model.dispose()": ({model}) => model.dispose(),
    "llama.dispose()": ({llama}) => llama.dispose(),
    "turns.close()": ({turns}) => turns.close(),
    "kept.end()": ({kept}) => kept.end(),
    "kept.saved()": ({kept}) => kept.saved(),
    "clearHistory()": ({session}) => session.sequence.clearHistory(),
    "resetChatHistory()": ({session}) => session.resetChatHistory(),
    "eraseContextTokenRanges()": ({session}) => session.sequence.eraseContextTokenRanges([{start: 1, end: 9}]),
    "evaluate": ({session, model}) => session.sequence.evaluateWithoutGeneratingNewTokens(model.tokenize("and more of it")),
    "a prompt that is given up": ({session}) => session.prompt("and then", {maxTokens: 40, signal: AbortSignal.timeout(2)}),
    "another sequence": async ({context, model}) => context.getSequence().evaluateWithoutGeneratingNewTokens(model.tokenize("someone else")),
    "nothing": () => undefined
};

/** Prompts, then does one to three of `ends` right away. @returns what was done, and how many tokens the turn must hold */
export async function endAtRandom(chat: KeptChat, random: Gaussian, prompts = 1): Promise<{done: string; tokens: number}> {
    const {session} = chat, done: string[] = [], pending: Promise<unknown>[] = [], names = Object.keys(ends);
    for (let prompt = 0; prompt < prompts; prompt++) await session.prompt("what is carried from here to there, and by whom is it carried", {maxTokens: 4, temperature: 0});
    const tokens = session.sequence.contextTokens.length;
    for (let count = 1 + random.integer(3); count > 0; count--) {
        const name = names[random.integer(names.length)]!, waits = random.uniform() < 0.5;
        done.push(waits ? `await ${name}` : name);
        // Calls on disposed objects throw. Only the turn matters.
        const going = Promise.resolve().then(() => ends[name]!(chat)).catch(() => undefined);
        if (waits) await going;
        else pending.push(going);
        if (random.uniform() < 0.3) await settled(random.integer(4));
    }
    await Promise.all(pending);
    return {done: done.join(", "), tokens};
}
