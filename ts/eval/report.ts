import type {GenerationSummary} from "./generation.js";
import type {LogitsSummary} from "./logits.js";
import type {Asking, RetrievalSummary} from "./retrieval.js";

export const measurements = ["logits", "retrieval", "generation"] as const;
export type Measurement = (typeof measurements)[number];

/** One cache's figures, of what was measured. */
export interface CacheReport {
    name: string;
    /** Absent for the reference itself. */
    logits?: {window: LogitsSummary; worst: LogitsSummary};
    retrieval?: Record<Asking, RetrievalSummary>;
    generation?: GenerationSummary;
}

export interface EvalReport {
    /** The model's file, without its folder. */
    model: string;
    /** The model has no chat template. So answers in chats are left out. */
    withoutChat?: true;
    /** Year, month and day. */
    date: string;
    /** The reference first. */
    caches: CacheReport[];
}
