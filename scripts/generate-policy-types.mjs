/** Writes ts/policy/policy-file.ts from config-schema/policy.schema.json, if it is not the same already. */
import {readFile, writeFile} from "node:fs/promises";
import {fileURLToPath} from "node:url";

const schemaPath = fileURLToPath(new URL("../config-schema/policy.schema.json", import.meta.url));
const outputPath = fileURLToPath(new URL("../ts/policy/policy-file.ts", import.meta.url));

/** Null where there are no devDependencies, as after an install from the sources: the committed file serves there. */
async function loadCompiler() {
    try {
        return (await import("json-schema-to-typescript")).compile;
    } catch (error) {
        if (error?.code === "ERR_MODULE_NOT_FOUND") return null;
        throw error;
    }
}

const compile = await loadCompiler();
if (compile !== null) {
    const schema = JSON.parse(await readFile(schemaPath, "utf8"));
    const generated = await compile(schema, "PolicyFile", {
        additionalProperties: false,
        bannerComment: "// Generated from config-schema/policy.schema.json by scripts/generate-policy-types.mjs.",
        format: true,
        style: {tabWidth: 4, bracketSpacing: false, printWidth: 120}
    });
    const present = await readFile(outputPath, "utf8").catch(() => null);
    if (present !== generated) await writeFile(outputPath, generated);
}
