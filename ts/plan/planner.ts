import type {NativeBinding} from "../engine/native.js";
import {DeltaStoreError} from "../errors.js";
import {quoteList} from "../nearest.js";
import {openNative} from "../store/open-native.js";
import {benchSpeeds} from "./bench-speeds.js";
import {stockCacheBytes, tierBytes, type CacheBytes} from "./bytes.js";
import {atRest} from "./facts.js";
import {demandOf, fleetFor, type Fleet, type Impossible} from "./fleet.js";
import {impactOf, type Impact} from "./impact.js";
import type {Layer} from "./inputs.js";
import {displaced, overlaid} from "./layers.js";
import {readScenario} from "./load.js";
import {measureBytes, type MeasuredBytes} from "./measure.js";
import {resolveModel} from "./model.js";
import {notesOn} from "./notes.js";
import type {PlanFile} from "./plan-file.js";
import {follows, readPreset} from "./presets.js";
import {middle} from "./range.js";
import {isFleet, type CachePlan, type GrowthPoint, type PlanReport} from "./report.js";
import {completeScenario, isStock, stockCaches, type PlannedModel, type Scenario, type Speed} from "./scenario.js";
import {estimate, withMeasured, type Throughput} from "./speed.js";

/** What `plan()` gives for checked options. */
export async function makePlan(input: string | PlanFile | undefined, measure: boolean): Promise<PlanReport> {
    const given = readScenario(input), preset = given.preset === undefined ? undefined : readPreset(given.preset);
    const layers: Layer[] = [{source: "given", fields: given}];
    if (preset !== undefined) layers.push({source: `preset ${given.preset}`, fields: displaced(preset.scenario, given)});
    const {model, inputs} = await resolveModel(layers), scenario = completeScenario(layers);
    const measured: MeasuredBytes = measure ? await measureBytes(model, scenario) : new Map(), native = await openNative(), speeds = speedsOf(overlaid(preset?.scenario ?? {}, given), scenario);
    const planner = new Planner(native, model, scenario, measured, speeds), caches = scenario.caches.map((name) => planner.planCache(name));
    return {
        inputs: [...inputs, ...scenario.inputs], model: {title: model.title, parameters: model.parameters, weightBytes: model.weightBytes},
        machine: scenario.machine.title, caches: caches.map((cache) => ({...cache, saved: savedBy(cache, caches[0]!)})), growth: planner.growth(),
        notes: notesOn(scenario, model, caches), claims: (preset?.claims ?? []).map((claim) => ({...claim, follows: follows(claim)}))
    };
}

function speedsOf({machine = {}}: PlanFile, {caches}: Scenario): ReadonlyMap<string, Speed> {
    const benched = machine.bench === undefined ? new Map<string, Speed>() : benchSpeeds(machine.bench);
    if (machine.bench !== undefined && !caches.some((name) => benched.has(name)))
        throw new DeltaStoreError("PLAN_INVALID", `The file ${machine.bench} of machine.bench has none of the caches ${quoteList(caches)}`);
    return new Map(caches.map((name) => {
        const {decode, sequences = 1, prefill} = machine.measured?.[name] ?? {}, known = benched.get(name);
        return [name, {decode: decode === undefined ? known?.decode ?? [] : [{sequences, speed: decode}], prefill: prefill ?? known?.prefill}];
    }));
}

/** Plans the caches of one scenario, for any number of users. */
class Planner {
    readonly #model: PlannedModel;
    readonly #scenario: Scenario;
    readonly #speeds: ReadonlyMap<string, Speed>;
    readonly #measured: MeasuredBytes;
    readonly #bytes: ReadonlyMap<string, CacheBytes>;

    constructor(native: NativeBinding, model: PlannedModel, scenario: Scenario, measured: MeasuredBytes, speeds: ReadonlyMap<string, Speed>) {
        this.#model = model;
        this.#scenario = scenario;
        this.#speeds = speeds;
        this.#measured = measured;
        this.#bytes = new Map(scenario.caches.map((name) => [name, this.#bytesOf(native, name)]));
    }

    #bytesOf(native: NativeBinding, name: string): CacheBytes {
        const {shape} = this.#model, measured = this.#measured.get(name);
        const computed = isStock(name) ? stockCacheBytes(native, shape, name, this.#scenario) : tierBytes(native, shape, this.#scenario.tiers.get(name)!, this.#scenario, atRest());
        return measured === undefined ? computed : {...computed, resident: (sequences) => Math.min(this.#scenario.context.groups, sequences) * measured.beginning + sequences * measured.own};
    }

    #throughput(name: string, gpus: number): Throughput {
        return withMeasured(estimate(this.#model, this.#scenario.machine, gpus, this.#bytes.get(name)!.read), this.#speeds.get(name)!, gpus);
    }

    #fleet(name: string, users: number): Fleet | Impossible {
        const {machine, turns} = this.#scenario;
        return fleetFor({
            demand: demandOf(this.#scenario, users, !isStock(name)), bytes: this.#bytes.get(name)!, model: this.#model, machine,
            throughput: (gpus) => this.#throughput(name, gpus), leastSpeed: turns.leastSpeed
        });
    }

    #impact(name: string, users: number, fleet: Fleet | Impossible): Impact | null {
        return isFleet(fleet) ? impactOf(fleet, isStock(name) ? 0 : this.#bytes.get(name)!.atRest, users, this.#scenario) : null;
    }

    planCache(name: string): Omit<CachePlan, "saved"> {
        const {machine, users} = this.#scenario, bytes = this.#bytes.get(name)!, fleet = this.#fleet(name, users.count);
        const plan = {
            name, title: stockCaches[name]?.title ?? name, bytes: Object.values(bytes.parts).reduce((all: number, part: number) => all + part, 0), parts: bytes.parts,
            measured: this.#measured.has(name), bytesAtRest: bytes.atRest, fleet, impact: this.#impact(name, users.count, fleet)
        };
        if (!isFleet(fleet)) return {...plan, bytesShared: plan.bytes, sequencesPerGpu: null, speed: null, joulesPerToken: null};
        const {gpus, gpusPerGroup, sequencesPerGroup, roomPerGroup, batch, busy} = fleet, throughput = this.#throughput(name, gpusPerGroup);
        const tokens = demandOf(this.#scenario, users.count, !isStock(name)).decode;
        return {
            ...plan, bytesShared: bytes.resident(sequencesPerGroup) / sequencesPerGroup,
            sequencesPerGpu: Math.floor(roomPerGroup / gpusPerGroup),
            speed: {decode: throughput.decode(batch), prefill: throughput.prefill, measured: throughput.measured},
            joulesPerToken: tokens === 0 ? null : gpus * machine.watts * busy / tokens
        };
    }

    /** From a hundredth of the users to ten times as many. */
    growth(): GrowthPoint[] {
        const {caches, users} = this.#scenario;
        const counts = [0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1, 1.5, 2, 3, 5, 7, 10].map((times) => Math.max(1, Math.round(times * users.count)));
        return [...new Set(counts)].map((count) => {
            const fleets = caches.map((name) => [name, this.#fleet(name, count)] as const);
            return {
                users: count, gpus: Object.fromEntries(fleets.map(([name, fleet]) => [name, isFleet(fleet) ? fleet.gpus : null])),
                usd: Object.fromEntries(fleets.map(([name, fleet]) => [name, isFleet(fleet) ? middle(this.#impact(name, count, fleet)!.usd) : null]))
            };
        });
    }
}

/** By the middles of ranges: both have the same prices, grid and machines. */
function savedBy(cache: Omit<CachePlan, "saved">, first: Omit<CachePlan, "saved">): CachePlan["saved"] {
    if (cache.impact === null || first.impact === null || !isFleet(cache.fleet) || !isFleet(first.fleet)) return null;
    const less = (range: "usd" | "kwh" | "carbonKg") => middle(first.impact![range]) - middle(cache.impact![range]);
    return {gpus: first.fleet.gpus - cache.fleet.gpus, usd: less("usd"), kwh: less("kwh"), carbonKg: less("carbonKg")};
}
