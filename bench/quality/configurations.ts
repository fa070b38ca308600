import type {PolicyFile} from "../../ts/policy/policy-file.js";

const evicting = (format: "k4v4" | "k4v2", schedule: "preserveEarly" | "adaptive", percent: number): [string, object] => [
    `${format}-${schedule === "adaptive" ? "adaptive" : "pe"}-${percent}`, {format, evict: {schedule, keep: percent / 100}}
];

/** The twelve configurations of the DeltaStore papers, as tiers: PE is their schedule `preserveEarly` with this base. */
export const configurations = Object.fromEntries([
    ["k4v4", {format: "k4v4"}],
    ["k4v2", {format: "k4v2"}],
    ...[30, 10].map((percent) => evicting("k4v4", "preserveEarly", percent)),
    ...[50, 30, 20, 15, 10, 5].map((percent) => evicting("k4v2", "preserveEarly", percent)),
    ...[30, 10].map((percent) => evicting("k4v2", "adaptive", percent))
]) as NonNullable<PolicyFile["tiers"]>;
