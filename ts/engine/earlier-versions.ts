/** State files and stores of turns that a warning was given for. */
const told = new Set<string>();

/**
 * Warns that something of an earlier version was restored: it can't tell all models and adapters apart that today's files tell apart.
 * @param what was restored
 * @param place warned of once
 * @param less what it can't tell apart besides
 */
export function warnOfEarlierVersion(what: string, place: string, less: string): void {
    if (told.has(place)) return;
    told.add(place);
    process.emitWarning(`${what} was saved by an earlier version of llama-deltastore, which can't tell models apart that differ only in weights that are not F32 ` +
        `(quantized, F16), nor ${less}. Make sure that it is of this model. What is saved from now on tells`, {code: "DELTASTORE_ORIGIN_UNKNOWN"});
}
