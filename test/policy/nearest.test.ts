import t from "tap";
import {dist} from "../support/paths.js";

const {editDistance, nearestName} =
    await import(dist("nearest.js")) as typeof import("../../dist/nearest.js");

t.test("the edit distance counts insertions, deletions, replacements and swaps, whatever the case", async (t) => {
    const distances: [string, string, number][] = [
        ["", "", 0], ["", "abc", 3], ["abc", "", 3], ["high", "high", 0], ["high", "High", 0], ["high", "hgih", 1],
        ["kitten", "sitting", 3], ["exact", "exat", 1], ["window", "windwo", 1], ["abcd", "badc", 2]
    ];
    for (const [from, to, distance] of distances) {
        t.equal(editDistance(from, to), distance, `${from} to ${to}`);
        t.equal(editDistance(to, from), distance, `${to} to ${from}`);
    }
});

t.test("only a misspelling has a nearest name", async (t) => {
    const known = ["exact", "high", "conservative"];
    t.equal(nearestName("hgih", known), "high");
    t.equal(nearestName("CONSERVATIV", known), "conservative");
    t.equal(nearestName("balanced", known), null);
    t.equal(nearestName("", known), null);
    t.equal(nearestName("high", []), null);
});
