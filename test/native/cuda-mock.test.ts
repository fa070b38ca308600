import {spawnSync} from "node:child_process";
import {join} from "node:path";
import t from "tap";
import {buildCudaMock} from "../support/cuda-mock.js";

t.setTimeout(600_000);

t.test("the mock of a CUDA device runs kernels, keeps its memory apart, and works late", async (t) => {
    const {status, stderr} = spawnSync(join(await buildCudaMock(), "mock_test"), {encoding: "utf8", timeout: 60_000});
    t.equal(status, 0, "all is as it should be", {stderr});
});
