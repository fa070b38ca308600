import {randomBytes} from "node:crypto";
import t from "tap";
import {evaluated, openCold} from "../support/cold.js";
import {moreTokens, randomTokens} from "../support/engine.js";
import {goOn, sameLogits} from "../support/logits.js";
import {noRedis, startRedis} from "../support/redis-server.js";
import {isWell, storeFolder} from "../support/turns.js";

t.setTimeout(120_000);

const {createContext, openTurns, teach} = await openCold(t);
const context = await createContext(), [source, target, twin] = [context.getSequence(), context.getSequence(), context.getSequence()];

for (const kind of ["a folder", "an encrypted folder", "redis"]) {
    t.test(`${kind}: what is frozen is thawed by whoever opens the store`, {skip: kind === "redis" && noRedis}, async (t) => {
        const server = kind === "redis" ? await startRedis() : null, place = server?.url ?? storeFolder(t), options = kind === "an encrypted folder" ? {key: randomBytes(32)} : {};
        if (server !== null) t.teardown(server.stop);
        const turns = await openTurns(t, place, options);
        await teach(turns);
        await source.clearHistory();
        await evaluated(turns, "c", source, randomTokens(400, 1));
        await turns.fork("c", "d");
        await evaluated(turns, "c", source, moreTokens(60, 2));
        t.match(await turns.freeze("c", {codec: "transform", ratio: 8}), {turns: 1}, "d holds the first one's rows");
        t.match(await turns.freeze("d", {codec: "tokens"}), {turns: 1});
        await isWell(t, turns);

        const others = await openTurns(t, place, options);
        t.match(await others.list(), [{name: "c", codec: "transform"}, {name: "d", codec: "tokens"}, {name: "lessons", codec: "packed"}].sort());
        t.match(await others.restore("c", target), {codec: "transform", evaluated: 0, damaged: []});
        await turns.restore("c", twin);
        sameLogits(t, await goOn(target, 5), await goOn(twin, 5));
        t.match(await others.restore("d", target), {codec: "tokens", evaluated: 400});
        for (const name of ["c", "d", "lessons"]) await others.delete(name);
        await others.collectGarbage();
        t.equal(await turns.bytes(), 0);
    });
}
