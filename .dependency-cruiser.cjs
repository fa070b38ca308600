/**
 * The floors of `ts/`, lowest first. A file may import files of its own folder and of the floors below it, types counted.
 * Entries of one line share a floor and don't know each other.
 */
const floors = [
    ["errors.ts", "nearest.ts", "make-folder.ts"],
    ["events.ts", "options.ts"],
    ["engine/"],
    ["models/"],  // above engine/: the engine hashes model files
    ["runtime/", "policy/"],
    ["context/"],
    ["turns/"],
    ["store/"],
    ["eval/"],
    ["plan/"],
    ["index.ts", "register.ts"],
    ["cli/"]
];

const pathOf = (entry) => `^ts/${entry.replace(".", "[.]")}${entry.endsWith("/") ? "" : "$"}`;

/** One rule an entry: of `ts/` it knows itself and what is below, nothing else. */
const floorRules = floors.flatMap((entries, index) => entries.map((entry) => ({
    name: `floor of ${entry}`,
    severity: "error",
    from: {path: pathOf(entry)},
    to: {path: "^(ts|test|bench)/", pathNot: [entry, ...floors.slice(0, index).flat()].map(pathOf)}
})));

module.exports = {
    forbidden: [
        ...floorRules,
        {name: "no floor", comment: "A folder of ts/ has a line in the table.", severity: "error", from: {path: "^ts/", pathNot: floors.flat().map(pathOf)}, to: {}},
        {
            name: "private names", comment: "Underscored names of node-llama-cpp are reached by runtime/; its methods are replaced by context/patch-runtime.ts.",
            severity: "error", from: {pathNot: ["^ts/runtime/", "^ts/context/patch-runtime[.]ts$"]}, to: {path: "^ts/runtime/internals[.]ts$"}
        },
        {name: "circle", severity: "error", from: {}, to: {circular: true}},
        {name: "missing file", severity: "error", from: {}, to: {couldNotResolve: true, path: "^[.]"}}
    ],
    options: {tsPreCompilationDeps: true, doNotFollow: {path: "node_modules"}, exclude: {path: "^(dist|build)/"}}
};
