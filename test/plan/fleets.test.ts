import t from "tap";
import {facts, isFleet, plan, type CachePlan, type PlanFile} from "../support/plan.js";

const caches: NonNullable<PlanFile["caches"]> = ["stock-f16", "high"];

async function planned(scenario: PlanFile): Promise<CachePlan[]> {
    return [...(await plan({caches, ...scenario})).caches];
}

function fleetOf({fleet}: CachePlan) {
    if (!isFleet(fleet)) throw new Error(fleet.reason);
    return fleet;
}

/** Users who only hold memory. */
const holding: PlanFile = {turns: {outputRate: 0, perDay: 0}};

t.test("where memory is the limit, a GPU has as many users as fit", async (t) => {
    const [stock, high] = await planned({...holding, users: {count: 1000, active: 1}, context: {tokens: 8192}});
    const room = 0.9 * 80e9 - 2 * 8.03e9;
    for (const cache of [stock!, high!]) {
        const {gpus, limit, groups, memoryShare} = fleetOf(cache), fit = Math.floor(room / cache.bytesShared);
        t.equal(limit, "memory");
        t.equal(gpus, groups);
        t.ok(Math.abs(gpus - Math.ceil(1000 / fit)) <= 1, `${gpus} GPUs, ${fit} users fit`);
        t.ok(memoryShare <= 1 && memoryShare > 0.8);
    }
    t.equal(stock!.bytes, 131072 * 8192);
    t.ok(fleetOf(stock!).gpus > 3 * fleetOf(high!).gpus);
});

t.test("where speed is the limit, a smaller cache promises no more users than it", async (t) => {
    const [stock, high] = await planned({users: {count: 200_000, active: 0.2}, context: {tokens: 256}, turns: {outputRate: 20, leastSpeed: 20, tokens: 1, perDay: 1}});
    t.equal(fleetOf(high!).limit, "decode");
    t.ok(fleetOf(stock!).gpus < 1.3 * fleetOf(high!).gpus, "bytes differ by 2.6, GPUs do not");
    t.ok(fleetOf(high!).decodeShare <= 1 && fleetOf(high!).decodeShare > 0.9);
});

t.test("prompts are the limit where they are long", async (t) => {
    const [stock, high] = await planned({users: {count: 5000, active: 0.01}, context: {tokens: 4096}, turns: {outputRate: 0.1, tokens: 4000, perDay: 100}});
    t.equal(fleetOf(stock!).limit, "prefill");
    t.equal(fleetOf(high!).limit, "prefill");
    t.ok(fleetOf(high!).prefillShare > 0.5);
});

t.test("stock evaluates what was parked again, a tier doesn't", async (t) => {
    const [stock, high] = await planned({users: {count: 50_000, active: 0.02}, turns: {returnsPerDay: 20, perDay: 20, tokens: 10}});
    const [, resident] = await planned({users: {count: 50_000, active: 0.02, parked: 0}, turns: {returnsPerDay: 20, perDay: 20, tokens: 10}});
    t.ok(fleetOf(stock!).prefillShare * fleetOf(stock!).gpus > 10 * fleetOf(high!).prefillShare * fleetOf(high!).gpus);
    t.ok(fleetOf(resident!).gpus > 10 * fleetOf(high!).gpus, "conversations that aren't parked take memory");
});

t.test("no number of GPUs will do where one sequence is too slow", async (t) => {
    const [stock] = await planned({model: {name: "llama-3-8b"}, machine: {name: "l4"}, turns: {leastSpeed: 50}});
    t.equal(isFleet(stock!.fleet), false);
    t.match(stock!.fleet, {reason: /50 tokens a second/});
    t.strictSame([stock!.impact, stock!.saved, stock!.speed], [null, null, null]);
});

t.test("weights that a GPU has no room for are spread over several, or over all", async (t) => {
    const [replicated] = await planned({...holding, model: {name: "llama-3-70b"}, users: {count: 300, active: 1}});
    const {gpusPerGroup, groups, gpus} = fleetOf(replicated!);
    t.equal(gpus, gpusPerGroup * groups);
    t.equal(gpusPerGroup, 4, "the weights take 141.2 of 288 GB");
    const fit = Math.floor((288e9 - 141.2e9) / (327_680 * 4096));
    t.equal(groups, Math.ceil(300 / fit));
    const two = await planned({...holding, model: {name: "llama-3-70b"}, users: {count: 300, active: 1}, machine: {gpusPerGroup: 2}});
    t.equal(fleetOf(two[0]!).groups, 150, "2.8 GB are left, which are two conversations");
    const [one] = await planned({model: {name: "llama-3-70b"}, machine: {gpusPerGroup: 1}});
    t.match(one!.fleet, {reason: /^1 GPUs of a group don't hold the weights and a conversation; 2 do/});
    const [sharded] = await planned({...holding, model: {name: "llama-3-70b"}, users: {count: 300, active: 1}, machine: {weights: "sharded"}});
    t.equal(fleetOf(sharded!).gpus, Math.ceil((141.2e9 + 300 * 327_680 * 4096) / 72e9));
    t.equal(fleetOf(sharded!).groups, 1);
});

t.test("shared beginnings are held once by a tier, and by each user in stock", async (t) => {
    const [alone] = await planned({...holding, users: {count: 500, active: 1}});
    const [stock, high] = await planned({...holding, users: {count: 500, active: 1}, context: {sharedTokens: 3072}});
    t.equal(stock!.bytesShared, alone!.bytesShared);
    t.ok(high!.bytesShared < 0.32 * high!.bytes);
    const [, groups] = await planned({...holding, users: {count: 500, active: 1}, context: {sharedTokens: 3072, groups: 100}});
    t.ok(groups!.bytesShared > high!.bytesShared && groups!.bytesShared < high!.bytes);
});

t.test("measured speeds take the place of estimates", async (t) => {
    const measured = {high: {decode: 1000, sequences: 10, prefill: 5000}}, users = {count: 1000, active: 0.5};
    const [stock, high] = await planned({users, machine: {measured}});
    t.equal(stock!.speed!.measured, false);
    t.match(high!.speed, {measured: true, prefill: 5000});
    t.equal(high!.speed!.decode, 1000, "no more than was measured");
    const [, several] = await planned({users, machine: {measured, weights: "sharded"}, context: {tokens: 100_000}});
    t.equal(several!.speed!.decode, 1000 * fleetOf(several!).gpus);
    t.equal(isFleet((await planned({users, machine: {measured: {high: {decode: 50, sequences: 10}}}}))[1]!.fleet), false, "5 tokens a second are too few");
    t.ok(fleetOf(high!).decodeShare + fleetOf(high!).prefillShare <= 1);
    const bench = new URL("../../../../bench/results/speed.json", import.meta.url).pathname;
    const {caches: [benched]} = await plan({model: {name: "smollm2-135m"}, caches: ["high"], machine: {name: "c7a.8xlarge", bench}, users: {count: 10}});
    t.equal(benched!.speed!.measured, true);
    t.ok(benched!.speed!.decode > 10 && benched!.speed!.decode < 10_000);
});

t.test("more users never take fewer GPUs, or less money", async (t) => {
    for (const scenario of [{}, {machine: {weights: "sharded"}}, {turns: {outputRate: 5}}] as PlanFile[]) {
        const {growth} = await plan({...scenario, caches, users: {count: 10_000}});
        t.ok(growth.length > 5);
        for (const [index, {users, gpus, usd}] of growth.entries())
            for (const name of caches) {
                if (index === 0) continue;
                const before = growth[index - 1]!;
                t.ok(users > before.users && gpus[name]! >= before.gpus[name]! && usd[name]! >= before.usd[name]!, `${users} users, ${name}`);
            }
    }
});

t.test("the fewest GPUs are found", async (t) => {
    const [stock] = await planned({caches: ["stock-f16"], users: {count: 54, active: 1}, turns: {outputRate: 85, leastSpeed: 85, tokens: 58_752, perDay: 1000}});
    const {gpus, decodeShare, prefillShare} = fleetOf(stock!);
    const [fewer] = await planned({caches: ["stock-f16"], users: {count: Math.floor(54 * (gpus - 1) / gpus), active: 1}, turns: {outputRate: 85, leastSpeed: 85, tokens: 58_752, perDay: 1000}});
    t.ok(decodeShare + prefillShare <= 1 && fleetOf(fewer!).gpus <= gpus);
    t.ok((decodeShare + prefillShare) * gpus / (gpus - 1) > 0.98, "one less would not do");
});

t.test("what is parked is on disk with a tier alone, and conversations that aren't kept cost nothing there", async (t) => {
    const [stock, high] = await planned({users: {count: 1000}}), [, none] = await planned({users: {count: 1000}, disk: {days: 0}});
    t.equal(stock!.impact!.diskBytes, 0);
    t.equal(high!.impact!.diskBytes, 30 * 1000 * high!.bytesAtRest);
    t.equal(none!.impact!.diskBytes, 0);
});

t.test("energy is of whole GPUs, idle ones too", async (t) => {
    const quiet = await planned({...holding, users: {count: 1000, active: 1}});
    for (const cache of quiet) {
        t.strictSame([fleetOf(cache).busy, cache.joulesPerToken], [0, null]);
        const {gpus} = fleetOf(cache), {pue} = facts.facilities()["typical"]!, {idleWatts, serverWatts} = facts.machines()["h100"]!;
        t.ok(Math.abs(cache.impact!.kwh.low / (gpus * 8.76 * (idleWatts.value.low + serverWatts.value.low) * pue.value.low) - 1) < 1e-9);
    }
    const {gpus, kwh} = quiet[1]!.saved!;
    t.ok(gpus > 0 && kwh > 0);
    const [, same] = await planned({users: {count: 1}});
    t.ok(same!.saved!.gpus === 0 && Math.abs(same!.saved!.kwh) < 0.01 * same!.impact!.kwh.low, "one user takes one GPU with either");
});

t.test("market-based carbon is told where its factor is given", async (t) => {
    const [without] = await planned({}), [given] = await planned({region: {marketKgPerKwh: 0.05, pue: 1, gridKgPerKwh: {low: 0.1, high: 0.2}}});
    t.equal(without!.impact!.marketCarbonKg, null);
    t.equal(given!.impact!.marketCarbonKg!.low, given!.impact!.kwh.low * 0.05);
    t.equal(given!.impact!.carbonKg.high, given!.impact!.kwh.high * 0.2);
});

t.test("a token of an 8B model costs what others measured", async (t) => {
    // ML.ENERGY leaderboard v3 (2025-12): Llama 3.1 8B on H100, 64 sequences of about 600 tokens; EcoLogits' formula for 8B at a batch of 64.
    const [mlEnergy, ecoLogits] = [0.1186, 0.162];
    const [stock] = await planned({caches: ["stock-f16"], context: {tokens: 600}, users: {count: 64, active: 1}, turns: {outputRate: 94, leastSpeed: 94, perDay: 0}});
    t.ok(fleetOf(stock!).batch === 64 && fleetOf(stock!).decodeShare > 0.95, "64 sequences at once, all the time");
    const [idle] = await planned({caches: ["stock-f16"], context: {tokens: 600}, users: {count: 64, active: 1}, turns: {outputRate: 1, perDay: 0}});
    t.ok(idle!.joulesPerToken! > 10 * stock!.joulesPerToken!, "for few sequences a step takes nearly as long");
    for (const published of [mlEnergy, ecoLogits]) t.ok(stock!.joulesPerToken! > published / 2 && stock!.joulesPerToken! < 2 * published, `${stock!.joulesPerToken}`);
});
