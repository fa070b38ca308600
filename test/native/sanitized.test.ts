import t from "tap";
import {build, named, ofAllKernels, ofNone, ofOneKernel, reportAll} from "../support/native-programs.js";

t.setTimeout(1_500_000);

t.test("the native tests pass under the address and undefined-behaviour sanitizers", async (t) => {
    const folder = await build("native-sanitized", "-DDELTASTORE_SANITIZE=address,undefined");
    await reportAll(t, folder, named([...ofAllKernels, ...ofNone, ...ofOneKernel]));
});
