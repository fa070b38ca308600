import type {PolicyEviction, PolicyTier} from "../../ts/policy/policy-file.js";

type Tiers = Record<string, PolicyTier>;

const evicting = (format: "k4v4" | "k4v2", schedule: "preserveEarly" | "adaptive", percent: number): [string, PolicyTier] => [
    `${format}-${schedule === "adaptive" ? "adaptive" : "pe"}-${percent}`, {format, evict: {schedule, keep: percent / 100}}
];

/** The twelve configurations of the DeltaStore papers. PE is their schedule `preserveEarly`, with the base in percent. */
const papers: Tiers = Object.fromEntries([
    ["k4v4", {format: "k4v4", window: 256}],  // with the default window it diverges more than the papers say
    ["k4v2", {format: "k4v2"}],
    ...[30, 10].map((percent) => evicting("k4v4", "preserveEarly", percent)),
    ...[50, 30, 20, 15, 10, 5].map((percent) => evicting("k4v2", "preserveEarly", percent)),
    ...[30, 10].map((percent) => evicting("k4v2", "adaptive", percent))
]);

/** Scorers and schedules at the same shares of the rows. preserveEarly keeps 0.68 of them with the base 0.5, and 0.52 with 0.1. */
const scorers: Tiers = {};
for (const [share, base] of [[0.68, 0.5], [0.52, 0.1], [0.3, null]] as const) {
    const add = (scorer: NonNullable<PolicyEviction["scorer"]>, schedule: NonNullable<PolicyEviction["schedule"]>, keep: number = share) => {
        scorers[`keep-${100 * share}-${scorer}-${schedule.toLowerCase()}`] = {format: "k4v2", evict: {keep, schedule, scorer}};
    };
    for (const scorer of ["attention", "h2o", "snapkv", "recency"] as const) add(scorer, "uniform");
    add("attention", "shared");
    for (const scorer of ["attention", "h2o", "snapkv", "recency"] as const) add(scorer, "retrieval");
    if (base !== null) for (const scorer of ["attention", "h2o"] as const) add(scorer, "preserveEarly", base);
}

export const configurationSets: Record<string, Tiers> = {papers, scorers};
