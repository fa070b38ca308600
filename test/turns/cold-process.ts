import {writeSync} from "node:fs";
import {dist} from "../support/paths.js";

// A process that freezes one conversation after another until it is killed: `node cold-process.js <folder>`. Each that is frozen is told as "<name> <codec>",
// each line in one write.

const {openNative} = await import(dist("store/open-native.js")) as typeof import("../../dist/store/open-native.js");
const {openTurns} = await import(dist("turns/open.js")) as typeof import("../../dist/turns/open.js");

const folder = process.argv[2]!;
await openNative();
const turns = await openTurns({store: folder}, null);
writeSync(1, "ready\n");
for (const {name} of await turns.list()) for (const options of [{codec: "transform", ratio: 8}, {codec: "tokens"}] as const) {
    if (name === "lessons" || name === "learned") continue;
    await turns.freeze(name, options).catch(() => undefined);
    writeSync(1, `${name} ${options.codec}\n`);
}
setInterval(() => undefined, 1000);
