import t from "tap";
import {build, builtEngine, lines, named, ofAllKernels, ofNone, ofOneKernel, reportAll} from "../support/native-programs.js";

// The engine's own tests, built here and run with every kernel. sanitized.test.ts runs them once more.
t.setTimeout(1_500_000);

t.test("the native tests pass with every kernel", async (t) => {
    const folder = await build("native-tests", `-DDELTASTORE_ENGINE=${await builtEngine() ?? ""}`);
    const kernels = (await lines(folder, "kernels")).find((line) => line.startsWith("# kernels:"))?.split(" ").slice(2) ?? [];
    t.ok(kernels.includes("scalar"), `kernels that run here: ${kernels.join(", ")}`);
    const ofEach = kernels.flatMap((kernel) => ofOneKernel.map((name) => ({name, kernel})));
    await reportAll(t, folder, [...named([...ofAllKernels, ...ofNone]), ...ofEach]);
});
