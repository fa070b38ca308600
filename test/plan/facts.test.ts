import t from "tap";
import {facts, presets, readScenario} from "../support/plan.js";

interface AnyFact {
    value: number | {low: number; high: number};
    source: string;
    date: string;
}

const tables = {machines: facts.machines(), regions: facts.regions(), facilities: facts.facilities()};

for (const [table, entries] of Object.entries(tables)) {
    t.test(`each figure of ${table} has a source and a date`, async (t) => {
        t.ok(Object.keys(entries).length > 3);
        for (const [name, {title, processor: _, ...fields}] of Object.entries(entries) as [string, {title: string; processor?: boolean}][]) {
            t.ok(title, name);
            for (const [field, fact] of Object.entries(fields) as [string, AnyFact | AnyFact[]][])
                for (const {value, source, date} of Array.isArray(fact) ? fact : [fact]) {
                    const {low, high} = typeof value === "number" ? {low: value, high: value} : value;
                    t.ok(low >= 0 && low <= high && Number.isFinite(high), `${name}, ${field}: ${low} to ${high}`);
                    t.match(date, /^\d{4}(-\d{2})?$/, `${name}, ${field}`);
                    t.ok(source.length > 3, `${name}, ${field}`);
                }
        }
    });
}

t.test("each shape has layers, parameters and a source", async (t) => {
    for (const [name, {attention, windows = [], window = 0, parameters, activeParameters = parameters, source}] of Object.entries(facts.shapes())) {
        t.ok(attention.length > 0 && parameters > 1e8 && activeParameters <= parameters && source !== "", name);
        t.equal(windows.length > 0, window > 0, name);
    }
});

/** Who wrote the papers says this; what follows is arithmetic. */
const stated: Record<string, number> = {"papers-2k": 3, "papers-5k": 2, "papers-10k": 2, "one-pager-2k": 4, "one-pager-5k": 3, "one-pager-10k": 3, "scale-100": 4, "scale-1k": 3, "scale-10k": 3};

t.test("each claim of the papers is computed as its arithmetic says, and follows or doesn't", async (t) => {
    for (const name of presets.presetNames()) {
        const {scenario, claims} = presets.readPreset(name);
        readScenario(scenario);
        t.ok(claims.length > 0, name);
        for (const {what, arithmetic, value} of claims) {
            t.match(arithmetic, /^[\d.e+\-*/() ]+$|^Math\.ceil\([\d.e+\-*/() ]+\)$/, what);
            const computed = Function(`return ${arithmetic}`)() as number;
            t.ok(Math.abs(computed - value) <= 1e-9 * Math.abs(value), `${name}, ${what}: ${computed}, ${value}`);
        }
        const contradicted = claims.filter((claim) => !presets.follows(claim));
        t.equal(contradicted.length, stated[name] ?? 0, `${name}: ${contradicted.map(({what}) => what).join("; ")}`);
    }
});
