import {spawnSync} from "node:child_process";
import {join} from "node:path";
import t from "tap";
import {buildCudaMock} from "../support/cuda-mock.js";

t.setTimeout(600_000);

t.test("the mock of a CUDA device does what its README says", async (t) => {
    const {status, stdout, stderr} = spawnSync(join(await buildCudaMock(), "mock_test"), {encoding: "utf8", timeout: 60_000});
    const cases = [...stdout.matchAll(/^(not )?ok (.*)$/gm)];
    for (const [, fails, name] of cases) t.equal(fails, undefined, name!);
    t.match(stdout, new RegExp(`^${cases.length} passed, 0 failed$`, "m"), "it came to its end", {stderr});
    t.equal(status, 0);
});
