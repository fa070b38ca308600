/** Edits (insert, delete, replace, swap of neighbours) that turn one word into the other, letter case ignored. */
export function editDistance(from: string, to: string): number {
    const a = from.toLowerCase();
    const b = to.toLowerCase();
    let beforeLast: number[] = [];
    let last = Array.from({length: b.length + 1}, (_, index) => index);
    for (let i = 1; i <= a.length; i++) {
        const row = [i];
        for (let j = 1; j <= b.length; j++) {
            const same = a[i - 1] === b[j - 1];
            let cost = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
            if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
                cost = Math.min(cost, beforeLast[j - 2]! + 1);
            row.push(cost);
        }
        beforeLast = last;
        last = row;
    }
    return last[b.length]!;
}

/** The known name that `word` looks like a misspelling of, or null: at most a third of the letters may differ. */
export function nearestName(word: string, known: Iterable<string>): string | null {
    let nearest: string | null = null;
    let best = Infinity;
    for (const name of known) {
        const distance = editDistance(word, name);
        const allowed = Math.max(1, Math.floor(Math.max(word.length, name.length) / 3));
        if (distance <= allowed && distance < best) {
            best = distance;
            nearest = name;
        }
    }
    return nearest;
}

/** ` (did you mean "x"?)`, or nothing when no known name is near. */
export function didYouMean(word: string, known: Iterable<string>): string {
    const nearest = nearestName(word, known);
    return nearest === null ? "" : ` (did you mean ${JSON.stringify(nearest)}?)`;
}

/** `"a", "b" and "c"`. */
export function quoteList(values: readonly unknown[]): string {
    const quoted = values.map((value) => JSON.stringify(value));
    if (quoted.length < 2) return quoted.join("");
    return `${quoted.slice(0, -1).join(", ")} and ${quoted.at(-1)}`;
}
