import path from "node:path";
import {dist, root} from "./package.js";

/** `--model` of benches: a GGUF file, or the name of a model that is fetched if need be. */
export const modelOption = {model: {type: "string"}} as const;

/** Path of the chosen model; of the demo's model if none is. */
export async function chosenModel(model: string | undefined): Promise<string> {
    const {findModel} = await dist("models/fetch.js");
    return await findModel({path: model, onFetch: ({fileName, terms}) => {
        if (terms !== undefined) console.error(`${fileName} is fetched. It may be used under ${terms.name}: ${terms.url}`);
    }});
}

/** Where a bench's results go by default. Those of a model that was chosen have its name. */
export function resultsFile(bench: string, model: string | undefined): string {
    return path.join(root, `bench/results/${bench}${model === undefined ? "" : `-${path.basename(model, ".gguf")}`}.json`);
}
