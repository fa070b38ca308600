/** Writes the types of the files that config-schema/ describes, where they are not the same already. */
import {readFile, writeFile} from "node:fs/promises";
import {fileURLToPath} from "node:url";

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const files = [
    {schema: "config-schema/policy.schema.json", types: "ts/policy/policy-file.ts", name: "PolicyFile"},
    {schema: "config-schema/plan.schema.json", types: "ts/plan/plan-file.ts", name: "PlanFile"}
];

/** Null where there are no devDependencies, as after an install from the sources: the committed files serve there. */
async function loadCompiler() {
    try {
        return (await import("json-schema-to-typescript")).compile;
    } catch (error) {
        if (error?.code === "ERR_MODULE_NOT_FOUND") return null;
        throw error;
    }
}

const compile = await loadCompiler();
for (const {schema, types, name} of compile === null ? [] : files) {
    const generated = await compile(JSON.parse(await readFile(at(schema), "utf8")), name, {
        additionalProperties: false,
        bannerComment: `// Generated from ${schema} by scripts/generate-schema-types.mjs.`,
        format: true,
        style: {tabWidth: 4, bracketSpacing: false, printWidth: 120}
    });
    const present = await readFile(at(types), "utf8").catch(() => null);
    if (present !== generated) await writeFile(at(types), generated);
}
