import {isFleet, type CachePlan} from "./report.js";
import {isStock, type PlannedModel, type Scenario} from "./scenario.js";

/** What a reader of the figures has to know. */
export function notesOn(scenario: Scenario, model: PlannedModel, caches: readonly Omit<CachePlan, "saved">[]): string[] {
    const notes: string[] = [], packed = caches.filter(({name}) => !isStock(name));
    if (packed.length > 0 && !scenario.machine.isProcessor)
        notes.push("Tiers are planned as if their cache lay in the GPU's memory. This release keeps it in the host's memory, where the processor computes the attention.");
    const evicting = packed.filter(({name}) => scenario.tiers.get(name)!.eviction !== null).map(({name}) => name);
    if (evicting.length > 0) notes.push(`Tiers that drop rows (${evicting.join(", ")}) may lose what only a later question asks for.`);
    if (caches.some(({speed}) => speed?.measured === false))
        notes.push("Speeds that were not measured are estimates from bandwidth and operations alone (a roofline). Give `machine.measured` or `machine.bench` for better ones.");
    if (scenario.users.parked > 0 && packed.length > 0 && packed.length < caches.length)
        notes.push("A parked conversation comes back from disk with a tier. Stock caches evaluate its tokens again, which is in their prefill.");
    if (scenario.context.sharedTokens > 0 && packed.length < caches.length) notes.push("Stock caches share no beginnings: each conversation has its own.");
    const {gpusPerServer} = scenario.machine;
    if (caches.some(({fleet}) => isFleet(fleet) && fleet.gpusPerGroup > gpusPerServer))
        notes.push(`Weights lie in more than a server's ${gpusPerServer} ${gpusPerServer === 1 ? "GPU" : "GPUs"}. What servers tell each other is not counted.`);
    if (scenario.context.tokens > model.trainedTokens) notes.push(`The model was trained with ${model.trainedTokens.toLocaleString("en")} tokens.`);
    if (model.weightBytes > scenario.machine.memory * scenario.machine.usable && scenario.machine.weights === "replicated")
        notes.push(`The weights (${(model.weightBytes / 1e9).toFixed(0)} GB) need several GPUs, which work as one. What they tell each other is not counted.`);
    return notes;
}
