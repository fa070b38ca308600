import t from "tap";
import {dist} from "../support/paths.js";
import {facts} from "../support/plan.js";

const {coldCosts} = await import(dist("plan/cold.js")) as typeof import("../../dist/plan/cold.js");

const measured = {
    model: "m", elements: 100, parameters: 1000, tokens: 10, source: "", date: "",
    codecs: [
        {codec: "packed", bytes: 8e9, seconds: 36, cores: 1}, {codec: "transform", ratio: 12, bytes: 2e9, seconds: 360, cores: 2},
        {codec: "channel", bytes: 5e9, seconds: 900, cores: 2}, {codec: "tokens", bytes: 1e9, seconds: 7200, cores: 1}
    ]
} as const;
const shape = {attention: [{count: 1, kvHeads: 1, keyLength: 60, valueLength: 40}], parameters: 1000};
const usual = {tokens: 10, diskPrice: 1, cpuPrice: 10, returns: 0.5, model: shape};

t.test("costs are disk and processor, the cheapest first, and prices at which that turns", async (t) => {
    const costs = coldCosts(usual, measured);
    t.strictSame(costs.map(({codec, disk, cpu}) => [codec, disk, cpu]), [["transform", 2, 1], ["channel", 5, 2.5], ["packed", 8, 0.05], ["tokens", 1, 10]]);
    const turns = Object.fromEntries(costs.map(({codec, cheapest}) => [codec, cheapest]));
    t.match(turns, {packed: {from: 0}, tokens: {from: 9, to: Infinity}, channel: null});
    t.ok(Math.abs(turns["transform"]!.from - 0.95 / 6) < 1e-9 && turns["transform"]!.to === 9);
    for (const [diskPrice, cheapest] of [[0.1, "packed"], [0.2, "transform"], [8.9, "transform"], [9.1, "tokens"]] as const)
        t.equal(coldCosts({...usual, diskPrice}, measured)[0]!.codec, cheapest, `at ${diskPrice}`);
    t.equal(coldCosts({...usual, returns: 0}, measured)[0]!.codec, "tokens", "what nobody opens costs its bytes");
});

t.test("rows go with tokens and elements, evaluating with tokens and parameters", async (t) => {
    const costs = new Map(coldCosts({...usual, tokens: 30, model: {attention: [{...shape.attention[0]!, count: 2}], windows: [{...shape.attention[0]!, latent: true}], parameters: 9000, activeParameters: 5000}}, measured)
        .map((cost) => [cost.codec, cost]));
    const {bytes, seconds} = costs.get("packed")!;
    t.ok(Math.abs(bytes / (3 * 2.6 * 8e9) - 1) < 1e-9 && Math.abs(seconds / (3 * 2.6 * 36) - 1) < 1e-9);
    t.match(costs.get("tokens"), {bytes: 3e9, seconds: 15 * 7200});
});

t.test("the facts are whole", async (t) => {
    const {codecs, elements, parameters, tokens, source, date} = facts.cold();
    t.ok(elements > 0 && parameters > 1e6 && tokens > 0 && source !== "");
    t.match(date, /^\d{4}-\d{2}$/);
    t.strictSame([...new Set(codecs.map(({codec}) => codec))].sort(), ["channel", "packed", "pq", "tokens", "transform", "vq"]);
    for (const {bytes, seconds, cores} of codecs) t.ok(bytes > 0 && seconds > 0 && cores >= 1);
});
