import t from "tap";
import {dist} from "../support/paths.js";

const {statePlaces} = await import(dist("context/state-places.js")) as typeof import("../../dist/context/state-places.js");

const usual = {spacing: 32, most: 100, atEnd: false};

t.test("places are twice as far from the prompt's end each time", (t) => {
    t.strictSame(statePlaces(0, 2000, usual), [976, 1488, 1744, 1872, 1936, 1968]);
    t.strictSame(statePlaces(0, 2000, {...usual, most: 2}), [1936, 1968], "the last ones, if there are few");
    t.strictSame(statePlaces(1900, 2000, {...usual, atEnd: true}), [1936, 1968, 2000]);
    t.strictSame(statePlaces(1990, 2000, {...usual, atEnd: true}), [], "none near what is held already");
    t.end();
});

t.test("whoever shares all but the last n tokens evaluates at most 2n, or n and the spacing; where no place is held, n and 64 more", (t) => {
    for (let end = 64; end <= 700; end += 37)
        for (let common = 64; common <= end; common++) {
            const place = Math.max(0, ...statePlaces(0, end, usual).filter((place) => place <= common)), shared = end - common;
            t.ok(common - place <= (place > 0 ? Math.max(shared, 32) : 64 + shared), `${common} of ${end}, from ${place}`);
        }
    t.end();
});
