import type {EvalCache} from "./caches.js";
import type {EvalContext} from "./context.js";
import type {Journal} from "./journal.js";

/** A measurement of each cache beside the reference, case by case. */
export interface Suite<Expected, Outcome> {
    readonly name: string;
    /** A name for each case. It says all that the outcome depends on besides the cache, the model and the text. */
    readonly cases: readonly string[];
    readonly caches: readonly EvalCache[];
    /** Tokens of a sequence, at most. */
    readonly contextSize: number;
    readonly sequences: number;
    /** Has the reference make what all caches are compared with in a case. Its sequences are empty when it is opened. */
    expect(openReference: () => Promise<EvalContext>, index: number): Promise<Expected>;
    /** What a cache does with a case, as JSON. All its sequences are empty at first. */
    measure(context: EvalContext, index: number, expected: Expected): Promise<Outcome>;
}

export interface SuiteRunner {
    readonly journal: Journal;
    open(cache: EvalCache, contextSize: number, sequences: number): Promise<EvalContext>;
    /** Called before an outcome is measured or, if the journal has it, taken from there. */
    onOutcome(suite: string, cache: string): void;
}

/** The reference's key among the contexts. No cache has this name, and the reference may be one of the caches, too. */
const referenceRole = "";

/** The outcomes of each cache, in the order of the cases. What the journal has is not measured again. */
export async function runSuite<Expected, Outcome>(suite: Suite<Expected, Outcome>, reference: EvalCache,
                                                  {journal, open, onOutcome}: SuiteRunner): Promise<Map<string, Outcome[]>> {
    const contexts = new Map<string, EvalContext>();
    const contextOf = async (cache: EvalCache, role = cache.name): Promise<EvalContext> => {
        const context = contexts.get(role) ?? await open(cache, suite.contextSize, suite.sequences);
        contexts.set(role, context);
        for (let sequence = 0; sequence < suite.sequences; sequence++) await context.clear(sequence);
        return context;
    };
    try {
        const outcomes = new Map(suite.caches.map(({name}): [string, Outcome[]] => [name, []]));
        for (const [index, name] of suite.cases.entries()) {
            let expected: {value: Expected} | undefined;
            for (const cache of suite.caches) {
                onOutcome(suite.name, cache.name);
                const key = [suite.name, name, cache.definition];
                let outcome = journal.get(key) as Outcome | undefined;
                if (outcome === undefined) {
                    expected ??= {value: await suite.expect(() => contextOf(reference, referenceRole), index)};
                    outcome = await suite.measure(await contextOf(cache), index, expected.value);
                    journal.add(key, outcome);
                }
                outcomes.get(cache.name)!.push(outcome);
            }
        }
        return outcomes;
    } finally {
        for (const context of contexts.values()) await context.dispose();
    }
}
