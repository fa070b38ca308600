// Generated from config-schema/plan.schema.json by scripts/generate-schema-types.mjs.

/**
 * A scenario for `deltastore plan`: a chat service and the machines that it would run on. All fields may be left out.
 */
export interface PlanFile {
    /**
     * Where an editor finds this schema. The package doesn't read it.
     */
    $schema?: string;
    /**
     * Version of the file's format. 1 if absent.
     */
    version?: 1;
    /**
     * A preset whose fields stand where this file gives none, such as `papers-2k`.
     */
    preset?: string;
    model?: PlanModelFile;
    users?: PlanUsers;
    context?: PlanContext;
    turns?: PlanTurns;
    disk?: PlanDisk;
    /**
     * Stock caches and tiers that are compared: `stock-f16`, `stock-q8_0`, `stock-q4_0`, and names of tiers. The stock ones and the built-in tiers if absent.
     *
     * @minItems 1
     */
    caches?: [string, ...string[]];
    /**
     * A policy file with tiers of your own.
     */
    policy?: string;
    machine?: PlanMachine;
    region?: PlanRegion;
}
/**
 * The model that all users share.
 */
export interface PlanModelFile {
    /**
     * A model's shape by name, such as `llama-3-8b`. `llama-3-8b` if absent.
     */
    name?: string;
    /**
     * A GGUF file, or its URL, of which only the header is read. It takes the place of `name`.
     */
    file?: string;
    /**
     * Bits of a weight, on average. What the file says if absent, or 16.
     */
    weightBits?: number;
    /**
     * Parameters that work on a token. For a mixture of experts; all of them if absent.
     */
    activeParameters?: number;
}
/**
 * Who uses the service.
 */
export interface PlanUsers {
    /**
     * Users. 1,000 if absent.
     */
    count?: number;
    /**
     * The share of users that are active at once, in the busiest hour. 0.2 if absent.
     */
    active?: number;
    /**
     * The share of the others whose conversations are not in memory. 1 if absent: then only active users' are.
     */
    parked?: number;
}
/**
 * What a conversation holds.
 */
export interface PlanContext {
    /**
     * Tokens of a conversation. 4,096 if absent.
     */
    tokens?: number;
    /**
     * Of these, the first ones, which all conversations of a group have in common, such as a system prompt. 0 if absent.
     */
    sharedTokens?: number;
    /**
     * Different shared beginnings. 1 if absent.
     */
    groups?: number;
}
/**
 * How much users write and read.
 */
export interface PlanTurns {
    /**
     * New tokens of a turn that are evaluated: the user's message. 100 if absent.
     */
    tokens?: number;
    /**
     * Turns of a user in a day. 20 if absent.
     */
    perDay?: number;
    /**
     * Turns of a user in a day that find the conversation parked. 2 if absent.
     */
    returnsPerDay?: number;
    /**
     * Tokens a second that are generated for an active user, pauses included. 1 if absent.
     */
    outputRate?: number;
    /**
     * Tokens a second that a user sees at least while an answer is generated. 10 if absent.
     */
    leastSpeed?: number;
    /**
     * How many times the load of the busiest hour is that of the mean hour. 3 if absent.
     */
    peak?: number;
}
/**
 * What stays on disk.
 */
export interface PlanDisk {
    /**
     * New conversations of a user in a day. 1 if absent.
     */
    conversationsPerDay?: number;
    /**
     * Days that they are kept. 30 if absent.
     */
    days?: number;
    /**
     * Price of a gigabyte for a month, in US dollars.
     */
    usdPerGbMonth?:
        | number
        | {
              low: number;
              high: number;
          };
}
/**
 * The machine. A field that is given takes the place of the named machine's.
 */
export interface PlanMachine {
    /**
     * A GPU or a server by name, such as `h100`. `h100` if absent.
     */
    name?: string;
    /**
     * Its memory: bytes, or a string with a unit, such as "80GB".
     */
    memory?: number | string;
    /**
     * The share of the memory that weights and caches can use. 0.9 if absent.
     */
    usable?: number;
    /**
     * `replicated`: each group of GPUs holds the weights and serves users of its own, and the fleet has as many groups as it needs. `sharded`: all GPUs hold the weights once. `replicated` if absent.
     */
    weights?: "replicated" | "sharded";
    /**
     * GPUs that hold replicated weights together. As many as leave half of their room to caches if absent.
     */
    gpusPerGroup?: number;
    /**
     * Bytes a second that its memory can be read with.
     */
    bandwidth?: number;
    /**
     * 16-bit operations a second, without sparsity.
     */
    flops?: number;
    /**
     * Power of a GPU under load, in watts.
     */
    watts?: number;
    /**
     * Power of a GPU that does nothing, in watts.
     */
    idleWatts?:
        | number
        | {
              low: number;
              high: number;
          };
    /**
     * Price of a GPU for an hour, in US dollars.
     */
    usdPerHour?:
        | number
        | {
              low: number;
              high: number;
          };
    /**
     * A provider whose price is taken. All that are known if absent, as a range.
     */
    provider?: string;
    /**
     * Speeds that were measured on one such machine, with this model, by cache. Several are as many times as fast. The other caches' are estimated.
     */
    measured?: {
        [k: string]: PlanMeasured;
    };
    /**
     * The JSON file of `npm run bench`, for this model and machine. Its speeds take the place of estimates.
     */
    bench?: string;
    /**
     * The share of the bandwidth that decoding reaches. 0.6 if absent.
     */
    bandwidthReached?: number;
    /**
     * The share of the operations that evaluating prompts reaches. 0.5 if absent.
     */
    flopsReached?: number;
    /**
     * Years that a machine is used, over which its making counts. 5 if absent.
     */
    lifetimeYears?: number;
    /**
     * Power of the rest of a server, for each GPU, in watts.
     */
    serverWatts?:
        | number
        | {
              low: number;
              high: number;
          };
    /**
     * Carbon of making a GPU, in kg CO2e.
     */
    embodiedKg?:
        | number
        | {
              low: number;
              high: number;
          };
    /**
     * Carbon of making a server without its GPUs, in kg CO2e.
     */
    serverEmbodiedKg?:
        | number
        | {
              low: number;
              high: number;
          };
}
/**
 * Of one cache.
 */
export interface PlanMeasured {
    /**
     * Tokens a second of all sequences together.
     */
    decode?: number;
    /**
     * Sequences that these were decoded for at once. 1 if absent.
     */
    sequences?: number;
    /**
     * Tokens of a prompt that are evaluated in a second.
     */
    prefill?: number;
}
/**
 * Where the machines are. A field that is given takes the place of the named region's.
 */
export interface PlanRegion {
    /**
     * A region by name, such as `us` or `sweden`. `us` if absent.
     */
    name?: string;
    /**
     * Whose data centre, such as `google`. `typical` if absent.
     */
    facility?: string;
    /**
     * Carbon of the grid, in kg CO2e a kWh (location-based).
     */
    gridKgPerKwh?:
        | number
        | {
              low: number;
              high: number;
          };
    /**
     * The same by contracts (market-based). Without it there is no market-based figure.
     */
    marketKgPerKwh?:
        | number
        | {
              low: number;
              high: number;
          };
    /**
     * Energy of the facility over that of its machines.
     */
    pue?:
        | number
        | {
              low: number;
              high: number;
          };
    /**
     * Litres of water evaporated on site for a kWh of the machines.
     */
    waterOnSite?:
        | number
        | {
              low: number;
              high: number;
          };
    /**
     * Litres of water consumed for generating a kWh.
     */
    waterOffSite?:
        | number
        | {
              low: number;
              high: number;
          };
}
