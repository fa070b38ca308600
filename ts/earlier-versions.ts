const told = new Set<string>();

/**
 * Warns once that what was restored says less of what its rows were made with than it would if it was saved now.
 * @param what was restored
 * @param less what it can't tell apart
 */
export function warnOfEarlierVersion(what: string, less: string): void {
    if (told.has(what)) return;
    told.add(what);
    process.emitWarning(`${what} was saved by an earlier version of llama-deltastore, which can't tell models apart that differ only in weights that are not F32 ` +
        `(quantized, F16), nor ${less}. Make sure that it is of this model. What is saved from now on tells`, {code: "DELTASTORE_ORIGIN_UNKNOWN"});
}
