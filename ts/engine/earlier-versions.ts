/** Files, and stores of turns. */
const told = new Set<string>();

/**
 * Warns once that what was restored says less of what its rows were made with than it would if it was saved now.
 * @param what was restored
 * @param place of which nothing more is said
 * @param less what it can't tell apart
 */
export function warnOfEarlierVersion(what: string, place: string, less: string): void {
    if (told.has(place)) return;
    told.add(place);
    process.emitWarning(`${what} was saved by an earlier version of llama-deltastore, which can't tell models apart that differ only in weights that are not F32 ` +
        `(quantized, F16), nor ${less}. Make sure that it is of this model. What is saved from now on tells`, {code: "DELTASTORE_ORIGIN_UNKNOWN"});
}
