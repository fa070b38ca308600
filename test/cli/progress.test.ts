import {spawnSync} from "node:child_process";
import t from "tap";
import {dist} from "../support/paths.js";

/** What is written to a pipe when a download of 200 bytes reports these bytes and stops. */
function lines(bytes: readonly number[], whole: boolean): string[] {
    const script = `
        import {showDownload} from ${JSON.stringify(dist("cli/progress.js"))};
        const progress = showDownload("Model");
        for (const bytes of ${JSON.stringify(bytes)}) progress.onProgress({source: "pypi", bytes, totalBytes: 200});
        progress.stop(${whole});`;
    const {stderr} = spawnSync(process.execPath, ["--input-type=module", "-e", script], {encoding: "utf8"});
    return stderr.split("\n").slice(0, -1);
}

t.test("a piped download prints its first and its last line of progress", async (t) => {
    const first = "Model from PyPI: 50 B of 200 B, 25%";
    const last = "Model from PyPI: 200 B of 200 B, 100%";
    t.strictSame(lines([50, 100, 150], true), [first, last], "a line at the end, even if the last report came earlier");
    t.strictSame(lines([50, 200], true), [first, last]);
    t.strictSame(lines([200], true), [last], "once");
    t.strictSame(lines([50, 100], false), [first], "not where it failed");
    t.strictSame(lines([], true), [], "nor where the model was there already");
});
