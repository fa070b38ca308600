import {readdirSync, readFileSync} from "node:fs";
import {dirname, join, normalize} from "node:path";
import t from "tap";
import {root} from "../support/paths.js";

/** Rooms of cpp/, each of which knows itself and those before it. "." is what every room may use; "cache" is the face. */
const rooms = [".", "format", "kernels", "pages", "tiers", "watching", "accounting", "attention", "packing", "eviction", "cache", "snapshot", "archive"];
const mostClassLines = 120;

const engine = join(root, "cpp");
const files = readdirSync(engine, {recursive: true, encoding: "utf8"}).filter((name) => /\.(h|cpp|inl)$/.test(name));
const texts = new Map(files.map((name) => [name, readFileSync(join(engine, name), "utf8")]));

const roomOf = (file: string): string => /^cache\.(h|cpp)$/.test(file) ? "cache" : dirname(file);

/** The engine's files that a file includes. */
function includesOf(file: string): string[] {
    const names = [...texts.get(file)!.matchAll(/^#include "(.+)"$/gm)].map((match) => match[1]!);
    return names.map((name) => texts.has(name) ? name : normalize(join(dirname(file), name)));
}

t.test("every include is of the engine, and of the same room or one before it", async (t) => {
    t.ok(files.length > 50);
    for (const file of files) {
        t.ok(rooms.includes(roomOf(file)), `${file} is in a room`);
        const wrong = includesOf(file).filter((name) => !texts.has(name) || rooms.indexOf(roomOf(name)) > rooms.indexOf(roomOf(file)));
        t.strictSame(wrong, [], file);
    }
});

t.test("no file includes itself over others", async (t) => {
    const done = new Set<string>(), circles: string[] = [];
    function visit(file: string, path: readonly string[]): void {
        if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(" > "));
        if (path.includes(file) || done.has(file)) return;
        for (const name of includesOf(file)) visit(name, [...path, file]);
        done.add(file);
    }
    for (const file of files) visit(file, []);
    t.strictSame(circles, []);
});

t.test(`no class declaration has more than ${mostClassLines} lines`, async (t) => {
    let classes = 0;
    for (const [file, text] of texts)
        for (const [declaration, , name] of text.matchAll(/^(class|struct) (\w+)[^;]*?\{$[^]*?^\};$/gm)) {
            classes++;
            t.ok(declaration.split("\n").length <= mostClassLines, `${name!} in ${file}`);
        }
    t.ok(classes > 50, `${classes} classes were found`);
});
