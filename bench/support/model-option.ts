import path from "node:path";
import {randomHybrid, tinyModelPath} from "../../test/support/tiny-models.js";
import {dist, root} from "./package.js";

/** `--model` of benches: a GGUF file, the name of a model that is fetched if need be, or `lfm2-350m-random`, which is written here. */
export const modelOption = {model: {type: "string"}} as const;

/** Path of the chosen model; of the demo's model if none is. */
export async function chosenModel(model?: string): Promise<string> {
    if (model === randomHybrid.name) return await tinyModelPath(randomHybrid);
    const {findModel} = await dist("models/fetch.js");
    return await findModel({path: model, onFetch: ({fileName, terms}) => {
        if (terms !== undefined) console.error(`${fileName} is fetched. It may be used under ${terms.name}: ${terms.url}`);
    }});
}

/** Where a bench's results go by default. Those of a model that was chosen, here or by DELTASTORE_MODEL, have its name. */
export function resultsFile(bench: string, model = process.env["DELTASTORE_MODEL"]): string {
    return path.join(root, `bench/results/${bench}${model ? `-${path.basename(model, ".gguf")}` : ""}.json`);
}
