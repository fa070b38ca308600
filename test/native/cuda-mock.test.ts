import t from "tap";
import {buildCudaMock} from "../support/cuda-mock.js";
import {named, reportAll} from "../support/native-programs.js";

t.setTimeout(600_000);

t.test("the mock of a CUDA device does what its README says", async (t) => reportAll(t, await buildCudaMock(), named(["mock"])));
