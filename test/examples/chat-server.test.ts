import {spawnSync} from "node:child_process";
import {join} from "node:path";
import t from "tap";
import {dist, root} from "../support/paths.js";

t.setTimeout(600_000);

const {findModel} = await import(dist("models/fetch.js")) as typeof import("../../dist/models/fetch.js");

// The example has dependencies of its own, and tests on the real model.
t.test("the chat server's own tests pass", async (t) => {
    const model = await findModel();
    // The inner tap would take the outer one's settings for its own.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^_?TAP/.test(name)));
    const run = (command: string, ...args: string[]) => {
        const {status, stdout, stderr} = spawnSync(command, args, {cwd: join(root, "examples/chat-server"), encoding: "utf8", env: {...env, DELTASTORE_MODEL: model}});
        return {status, output: `${stdout}\n${stderr}`};
    };
    for (const [name, ...args] of [["ci", "--ignore-scripts"], ["run", "check"], ["test"]] as const) {
        const {status, output} = run("npm", name, ...args);
        t.equal(status, 0, `npm ${name}`, {output: output.slice(-4000)});
    }
});
