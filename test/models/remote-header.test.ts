import {closeSync, existsSync, openSync, readFileSync, statSync} from "node:fs";
import type {RequestListener} from "node:http";
import {basename, dirname, join} from "node:path";
import t, {type Test} from "tap";
import {serve} from "../support/file-server.js";
import {tinyGguf} from "../support/gguf.js";
import {dist} from "../support/paths.js";
import {splitGguf} from "../support/split-gguf.js";
import {tinyPath} from "../support/tiny-engine.js";

const {withRemoteHeader} = await import(dist("models/remote-header.js")) as typeof import("../../dist/models/remote-header.js");
const {readTensors} = await import(dist("models/gguf-header.js")) as typeof import("../../dist/models/gguf-header.js");

/** A web server on this machine, until the test ends. */
async function serveUntilEnd(t: Test, answer: RequestListener): Promise<string> {
    const {url, close} = await serve(answer);
    t.teardown(close);
    return url.slice(0, -1);
}

function tensorsOf(path: string): string[] {
    const descriptor = openSync(path, "r");
    try {
        return readTensors(descriptor, statSync(path).size).map(({name}) => name);
    } finally {
        closeSync(descriptor);
    }
}

t.test("a header is fetched and no more, and the file is as long as the whole one", async (t) => {
    const whole = readFileSync(await tinyPath("gemma3")), length = whole.length + 2 ** 36;
    let ended = false;
    const url = await serveUntilEnd(t, (_, response) => {
        response.on("close", () => { ended = true; });
        response.writeHead(200, {"content-length": length});
        response.write(whole);
        response.write(Buffer.alloc(2 ** 22));  // and then nothing: whoever waits for the rest waits for long
    });
    let kept = "";
    const tensors = await withRemoteHeader(`${url}/folder/gemma3.gguf?download=true`, async (path) => {
        kept = path;
        t.equal(basename(path), "gemma3.gguf");
        t.equal(statSync(path).size, length);
        t.ok(statSync(path).blocks * 512 < 2 ** 25, "the data are a hole");
        return tensorsOf(path);
    });
    t.strictSame(tensors, tensorsOf(await tinyPath("gemma3")));
    t.notOk(existsSync(dirname(kept)));
    while (!ended) await new Promise((resolve) => setTimeout(resolve, 10));
});

t.test("a server that does not tell the length, and a model in parts", async (t) => {
    const folder = t.testdir(), parts = splitGguf(await tinyPath(), join(folder, "model"));
    const url = await serveUntilEnd(t, (request, response) => {
        response.writeHead(200);
        response.end(readFileSync(join(folder, request.url!)));
    });
    await withRemoteHeader(`${url}/${basename(parts[0]!)}`, async (path) => {
        for (const part of parts) {
            const fetched = join(dirname(path), basename(part));
            t.strictSame(tensorsOf(fetched), tensorsOf(part));
            t.ok(statSync(fetched).size >= statSync(part).size - 32);
        }
    });
});

t.test("what is no model, or isn't there, is an error with a code", async (t) => {
    const cut = tinyGguf().subarray(0, 60), huge = Buffer.from(cut);
    huge.writeBigUInt64LE(2n ** 40n, 24);  // the length of the first key
    const answers: Record<string, RequestListener> = {
        "/cut": (_, response) => response.end(cut), "/page": (_, response) => response.end("<html>"), "/huge": (_, response) => response.end(huge),
        "/unsized": (_, response) => response.writeHead(200).end(cut), "/empty": (_, response) => response.end(), "/breaks": (_, response) => {
            response.writeHead(200, {"content-length": 5000});
            response.write(cut, () => response.destroy());
        }
    };
    const url = await serveUntilEnd(t, (request, response) => (answers[request.url!] ?? ((_, other) => other.writeHead(404).end()))(request, response));
    const wrong: [string, string, RegExp][] = [
        ["/cut", "MODEL_DAMAGED", /header goes on after the file's end at byte 60/], ["/unsized", "MODEL_DAMAGED", /ends inside its header, at byte 60/], ["/page", "MODEL_DAMAGED", /does not begin with "GGUF"/],
        ["/huge", "MODEL_DAMAGED", /header goes on after the file's end at byte 60/], ["/empty", "MODEL_DAMAGED", /./], ["/none", "MODEL_DOWNLOAD_FAILED", /the answer is 404/],
        ["/breaks", "MODEL_DOWNLOAD_FAILED", /can't be fetched: /]
    ];
    for (const [path, code, message] of wrong) {
        const used = withRemoteHeader(url + path, async () => t.fail("nothing is there to use"));
        await t.rejects(used, {code, message}, path);
    }
    await t.rejects(withRemoteHeader("http://127.0.0.1:1/a.gguf", async () => 0), {code: "MODEL_DOWNLOAD_FAILED"});
    for (const url of ["http://", "ftp://host/model.gguf"]) await t.rejects(withRemoteHeader(url, async () => 0), {code: "MODEL_NOT_FOUND", message: /is no URL of http or https/});
});
