/** How often each name stands there. @param counts that it is added to */
export function countOf(names: Iterable<string>, counts = new Map<string, number>()): Map<string, number> {
    for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
    return counts;
}
