export {attach, type AttachOptions, type KvCache} from "./attach.js";
export {describeModel, runtimeReport, type RuntimeReport} from "./doctor.js";
export {DeltaStoreError, errorCodes, type ErrorCode} from "./errors.js";
export type {Eviction, EvictionSchedule, EvictionScorer, NativeSequenceStats as SequenceStats} from "./native.js";
export type {EvictOptions} from "./policy/evict-options.js";
export {loadPolicy} from "./policy/load.js";
export type {PolicyFile} from "./policy/policy-file.js";
export type {Policy, Tier} from "./policy/tiers.js";
export {DeltaStore, storeOf, type CacheStats} from "./store.js";
