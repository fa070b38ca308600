import {existsSync} from "node:fs";
import {basename} from "node:path";
import {DeltaStoreError} from "../errors.js";
import {findModel} from "../models/fetch.js";
import {isUrl, withRemoteHeader} from "../models/remote-header.js";
import {namedModels} from "../models/sources.js";
import {readWeights} from "../models/weights.js";
import {didYouMean, quoteList} from "../nearest.js";
import {builtInTiers} from "../policy/tiers.js";
import {outlineModel} from "../store/outline.js";
import {shapes} from "./facts.js";
import {Inputs, type Input, type Layer} from "./inputs.js";
import type {PlannedModel} from "./scenario.js";

const defaultShape = "llama-3-8b", defaultBits = 16;

/**
 * The scenario's model: a shape by name, or a GGUF file, of which only the header is read.
 * @throws DeltaStoreError MODEL_* of a file
 */
export async function resolveModel(layers: readonly Layer[]): Promise<{model: PlannedModel; inputs: readonly Input[]}> {
    const inputs = new Inputs(layers), file = inputs.find<string>("model.file");
    const base = file === undefined ? ofShape(inputs.take("model.name", "", defaultShape)) : await ofFile(inputs.take("model.file", "", file.value));
    const bits = inputs.take("model.weightBits", "bits a weight", base.weightBits, base.source);
    const activeParameters = inputs.take("model.activeParameters", "parameters", base.activeParameters, base.source);
    const {title, shape, parameters, trainedTokens, path} = base;
    inputs.list.push({name: "model.parameters", value: parameters, unit: "parameters", source: base.source});
    const model = {title, shape, parameters, trainedTokens, path, activeParameters: Math.min(activeParameters, parameters), weightBytes: parameters * bits / 8};
    return {model, inputs: inputs.list};
}

type Found = Omit<PlannedModel, "weightBytes"> & {weightBits: number; source: string};

function ofShape(name: string): Found {
    const {title, parameters, activeParameters, weightBits, trainedTokens, attention, windows = [], window = 0, source, date} = shapes()[name]!;
    return {
        title, parameters, trainedTokens, activeParameters: activeParameters ?? parameters, weightBits: weightBits ?? defaultBits, path: null, source: `${source} (${date})`,
        shape: {attention, windows, window, stateBytes: 0}
    };
}

async function ofFile(file: string): Promise<Found> {
    if (isUrl(file)) return await withRemoteHeader(file, (header) => ofHeader(header, file, null));
    const names = [...Object.keys(shapes()), ...namedModels.keys()];
    if (!file.includes("/") && !existsSync(file) && !namedModels.has(file))
        throw new DeltaStoreError("MODEL_NOT_FOUND", `There is no file ${file}, and no shape or model of that name; ` +
            `the names are ${quoteList([...new Set(names)])}${didYouMean(file, names)}`);
    const path = await findModel({path: file});
    return await ofHeader(path, basename(path), path);
}

async function ofHeader(header: string, title: string, path: string | null): Promise<Found> {
    const {shape, refusal, trainedTokens} = await outlineModel(header, builtInTiers.get("high")!), {parameters, bytes} = await readWeights(header);
    if (refusal !== null) throw new DeltaStoreError("MODEL_UNSUPPORTED", `${title}: ${refusal.reason}`);
    return {title, shape, path, parameters, trainedTokens, activeParameters: parameters, weightBits: 8 * bytes / parameters, source: "the file's header"};
}
