import {execFileSync} from "node:child_process";
import {cpSync, readFileSync, symlinkSync} from "node:fs";
import {join} from "node:path";
import t from "tap";
import {root} from "../support/paths.js";

t.test("the committed types are those of the schema", async (t) => {
    const copy = t.testdir({ts: {policy: {}, plan: {}}});
    for (const folder of ["scripts", "config-schema"])
        cpSync(join(root, folder), join(copy, folder), {recursive: true});
    symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
    execFileSync(process.execPath, [join(copy, "scripts/generate-schema-types.mjs")]);
    for (const file of ["ts/policy/policy-file.ts", "ts/plan/plan-file.ts"])
        t.equal(readFileSync(join(copy, file), "utf8"), readFileSync(join(root, file), "utf8"));
});
