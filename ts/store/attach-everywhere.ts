/** Attaches to every Llama instance that is made from now on; see register.ts. */
import {Llama} from "node-llama-cpp";
import {attach} from "./attach.js";
import {DeltaStoreError} from "../errors.js";
import {loadPolicy, policyFromEnvironment} from "../policy/load.js";
import {DeltaStore} from "./store.js";

const policy = policyFromEnvironment(process.env);
const loaded = loadPolicy(policy);  // a mistake in it is reported now, not at the first model

interface LlamaFactory {
    _create(...options: unknown[]): Promise<Llama>;
}

const factory = Llama as unknown as LlamaFactory;
const create = factory._create;
factory._create = async function (...options) {
    const llama = await create.apply(this, options);
    const store = await attach(llama, policy === undefined ? {} : {policy}).catch((error: unknown) => {
        // Thrown here, node-llama-cpp would take its binary for broken and compile another. So the first createContext says it.
        if (!(error instanceof DeltaStoreError)) throw error;
        return new DeltaStore(llama, loaded, null, error);
    });
    store.registered = true;
    return llama;
};
