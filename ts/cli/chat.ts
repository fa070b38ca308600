import {createInterface, type Interface} from "node:readline";
import type {Command} from "commander";
import type {LlamaChatSession, LlamaContext} from "node-llama-cpp";
import {DeltaStoreError, toDeltaStoreError} from "../errors.js";
import type {CacheStats} from "../index.js";
import {formatBytes} from "../policy/bytes.js";
import {loadPolicy, policyFromEnvironment} from "../policy/load.js";
import {resolveTier} from "../policy/tiers.js";
import {modelHelp, wholeNumber} from "./options.js";
import {printLine, printNote, reportError} from "./output.js";
import {createContext, openRuntime, type Runtime} from "./runtime.js";

interface ChatOptions {
    model?: string;
    tier?: string;
    policy?: string;
    contextSize: number;
    maxTokens: number;
    threads?: number;
}

const help = "/stats shows the cache's memory, /help this line, /quit ends. Ctrl+C stops an answer, twice ends.";

/** Adds `chat`. */
export function addChatCommand(program: Command): void {
    program.command("chat")
        .description("chat with a model on a packed cache; questions may come from a pipe, one a line")
        .option("--model <path>", modelHelp)
        .option("--tier <name>", "tier of the cache, or stock (default: the policy's default tier)")
        .option("--policy <file>", "policy file (JSON) or built-in tier (default: DELTASTORE_POLICY)")
        .option("--context-size <tokens>", "most tokens of the conversation", wholeNumber(64, 2 ** 24), 8192)
        .option("--max-tokens <n>", "most tokens of an answer", wholeNumber(1, 2 ** 24), 512)
        .option("--threads <n>", "threads to compute with", wholeNumber(1, 1024))
        .addHelpText("after", `\nIn the chat: ${help}`)
        .action(chat);
}

async function chat({model, tier: chosen, policy = policyFromEnvironment(process.env), contextSize, maxTokens,
                     threads}: ChatOptions): Promise<void> {
    const loaded = loadPolicy(policy);
    const cache = chosen ?? loaded.defaultTier;
    if (cache !== "stock") resolveTier(loaded, cache);

    const runtime = await openRuntime({model, policy, threads});
    try {
        const {LlamaChatSession} = await import("node-llama-cpp");
        const context = await createContext(runtime, cache, contextSize);
        const session = new LlamaChatSession({contextSequence: context.getSequence()});
        await converse(session, maxTokens, () => printStats(runtime, context, cache));
    } finally {
        await runtime.close();
    }
}

async function converse(session: LlamaChatSession, maxTokens: number, onStats: () => void): Promise<void> {
    const terminal = process.stdin.isTTY === true;
    const lines = createInterface({
        input: process.stdin, terminal, ...terminal ? {output: process.stdout, prompt: "> "} : {}
    });
    const interrupts = watchInterrupts(lines, terminal);
    if (terminal) printNote(help);
    lines.prompt();
    for await (const line of lines) {
        const text = line.trim();
        interrupts.beginLine();
        if (text === "/quit") break;
        if (text === "/stats") onStats();
        else if (text === "/help") printLine(help);
        else if (text !== "") await answer(session, text, maxTokens, interrupts.beginAnswer());
        interrupts.endAnswer();
        if (interrupts.ended) break;
        lines.prompt();
    }
    interrupts.stop();
    lines.close();
}

async function answer(session: LlamaChatSession, question: string, maxTokens: number, signal: AbortSignal): Promise<void> {
    try {
        await session.prompt(question, {
            maxTokens, signal, stopOnAbortSignal: true, onTextChunk: (chunk) => { process.stdout.write(chunk); }
        });
        printLine();
    } catch (error) {
        printLine();
        if (signal.aborted) return;
        // The conversation goes on. But one that is piped in must end with a failure.
        process.exitCode = reportError(toDeltaStoreError(error), false);
    }
}

interface Interrupts {
    /** Whether Ctrl+C was pressed twice. */
    readonly ended: boolean;
    /** A line was given: what was pressed before no longer counts. */
    beginLine(): void;
    /** The signal that the next Ctrl+C aborts. */
    beginAnswer(): AbortSignal;
    endAnswer(): void;
    stop(): void;
}

/** The first Ctrl+C stops the answer that is being written, if there is one. A second one, without a line in between, ends the chat. */
function watchInterrupts(lines: Interface, terminal: boolean): Interrupts {
    let answering: AbortController | null = null;
    let pressed = 0;
    let ended = false;
    const onInterrupt = (): void => {
        pressed++;
        answering?.abort();
        if (pressed > 1) {
            ended = true;
            lines.close();
        } else if (answering === null) {
            printNote("\n(Ctrl+C once more, or /quit, ends the chat.)");
            lines.prompt();
        }
    };
    // A terminal in raw mode gives Ctrl+C to readline. Otherwise it comes as a signal.
    const source: NodeJS.EventEmitter = terminal ? lines : process;
    source.on("SIGINT", onInterrupt);
    return {
        get ended() { return ended; },
        beginLine() { pressed = 0; },
        beginAnswer() {
            answering = new AbortController();
            return answering.signal;
        },
        endAnswer() { answering = null; },
        stop() { source.off("SIGINT", onInterrupt); }
    };
}

function printStats({store}: Runtime, context: LlamaContext, cache: string): void {
    let stats: CacheStats;
    try {
        stats = store.stats(context);
    } catch (error) {
        // The user chose the stock cache, or the policy did, by `onUnsupported: "stock"`.
        if (!(error instanceof DeltaStoreError) || error.code !== "OPTION_INVALID") throw error;
        return printLine("This is the stock cache, which isn't measured.");
    }
    const {tokens, residentBytes, stockBytes, pages} = stats;
    const ratio = tokens === 0 ? "" : `, ${(stockBytes / residentBytes).toFixed(2)} times as much`;
    printLine(`${tokens} tokens on the tier ${cache}: ${formatBytes(residentBytes)} in ${pages} pages; ` +
        `stock F16 would hold ${formatBytes(stockBytes)}${ratio}.`);
}
