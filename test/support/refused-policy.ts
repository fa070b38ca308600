import {dist} from "./paths.js";

const {loadPolicy} = await import(dist("policy/load.js")) as typeof import("../../dist/policy/load.js");

export interface Failure {
    code: string;
    message: string;
    problems: readonly string[];
}

/** What a policy is refused with. */
export function failureOf(input: unknown): Failure {
    try {
        loadPolicy(input as string);
    } catch (error) {
        return error as Failure;
    }
    throw new Error("the policy was accepted");
}
