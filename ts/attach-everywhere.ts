/** Attaches to every Llama instance that is made from now on; see register.ts. */
import {Llama} from "node-llama-cpp";
import {attach} from "./attach.js";
import {loadPolicy, policyFromEnvironment} from "./policy/load.js";

const policy = policyFromEnvironment(process.env);
loadPolicy(policy);  // a mistake in it is reported now, not at the first model

interface LlamaFactory {
    _create(...options: unknown[]): Promise<Llama>;
}

const factory = Llama as unknown as LlamaFactory;
const create = factory._create;
factory._create = async function (...options) {
    const llama = await create.apply(this, options);
    await attach(llama, policy === undefined ? {} : {policy});
    return llama;
};
