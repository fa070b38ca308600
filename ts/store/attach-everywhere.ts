/** Attaches to every Llama instance that is made from now on; see register.ts. */
import {attach} from "./attach.js";
import {DeltaStoreError} from "../errors.js";
import {loadPolicy, policyFromEnvironment} from "../policy/load.js";
import {afterCreation} from "../runtime/llamas.js";
import {DeltaStore} from "./store.js";

const policy = policyFromEnvironment(process.env);
const loaded = loadPolicy(policy);  // here, so that a mistake is reported now and not at the first model

afterCreation(async (llama) => {
    const store = await attach(llama, policy === undefined ? {} : {policy}).catch((error: unknown) => {
        // If this threw, node-llama-cpp would take its binary for broken and compile another. So the first createContext throws it.
        if (!(error instanceof DeltaStoreError)) throw error;
        return new DeltaStore(llama, loaded, null, error);
    });
    store.registered = true;
});
