import t from "tap";
import {dist} from "../support/paths.js";
import {failureOf} from "../support/refused-policy.js";

const {loadPolicy} = await import(dist("policy/load.js")) as typeof import("../../dist/policy/load.js");

const problemsOf = (cold: unknown): readonly string[] => failureOf({turns: {store: "x", cold}}).problems;

t.test("steps have ages in seconds, and codecs with all their options", async (t) => {
    t.strictSame(loadPolicy({turns: {store: "x"}}).turns!.cold, []);
    t.strictSame(loadPolicy({turns: {store: "x", cold: [
        {after: "0s", codec: "channel", keyBits: 3}, {after: "1.5m", codec: "vq", threshold: 0.5}, {after: "2h", codec: "pq"}, {after: "7d", codec: "transform"}, {after: "90d", codec: "tokens"}
    ]}}).turns!.cold, [
        {after: 0, codec: {name: "channel", keyBits: 3, valueBits: 2, group: 64}}, {after: 90, codec: {name: "vq", size: 4, threshold: 0.5}},
        {after: 7200, codec: {name: "pq", parts: 8, threshold: 0}}, {after: 604_800, codec: {name: "transform", ratio: 12}}, {after: 7_776_000, codec: {name: "tokens"}}
    ]);
});

t.test("mistakes of steps are told, each with its place and what is allowed", async (t) => {
    t.match(problemsOf(5), [/^\/turns\/cold: 5 is not allowed; give a list of steps such as/]);
    t.match(problemsOf([{}]), [/^\/turns\/cold\/0: \{\} has no "after"; give a number with a unit/, /^\/turns\/cold\/0: \{\} has no "codec"; give "transform", "vq"/]);
    t.match(problemsOf([{after: 7, codec: "tokens"}]), [/^\/turns\/cold\/0\/after: 7 is not allowed; give a number with a unit, such as "12h"/]);
    t.match(problemsOf([{after: "7w", codec: "tokesn"}]), [/^\/turns\/cold\/0\/after: "7w"/, /^\/turns\/cold\/0\/codec: "tokesn" .*did you mean "tokens"/]);
    for (const [options, message] of [
        [{codec: "transform", ratio: 1000}, /\/ratio: 1000 is not allowed; give a number from 2 to 64/], [{codec: "transform", ratio: NaN}, /\/ratio: NaN/],
        [{codec: "vq", size: 3}, /\/size: 3 is not allowed; allowed are 2, 4 and 8/], [{codec: "vq", threshold: -1}, /\/threshold: -1 is not allowed; give a number from 0 to 1/],
        [{codec: "channel", keyBits: 9}, /\/keyBits: 9 is not allowed; give a whole number from 1 to 8/], [{codec: "pq", parts: 3}, /\/parts: 3/],
        [{codec: "tokens", ratio: 4}, /\/ratio: 4 is an option of "transform"; the codec "tokens" has none/],
        [{codec: "vq", parts: 4}, /\/parts: 4 is an option of "pq"; the codec "vq" has "size" and "threshold"/], [{codec: "vq", siez: 4}, /\/siez: 4 .*did you mean "size"/]
    ] as const) t.match(problemsOf([{after: "7d", ...options}]), [message]);
    t.match(problemsOf([{after: "7d", codec: "transform"}, {after: "168h", codec: "tokens"}]), [/^\/turns\/cold\/1\/after: "168h" is no later than the step before/]);
});
