import {once} from "node:events";
import {type AddressInfo, connect, createServer} from "node:net";
import type {Test} from "tap";

export interface Between {
    /** Before the server gets any part of a command. */
    before?(): Promise<unknown>;
    /** When the server has done a step, before the client learns of it. */
    afterStep?(): Promise<unknown>;
}

/** Does something between a client's commands. @returns the url that the client must use */
export async function between(t: Test, url: string, {before, afterStep}: Between): Promise<string> {
    const {hostname, port} = new URL(url);
    const proxy = createServer((client) => {
        const server = connect(Number(port), hostname);
        let isScript = false, sent: Promise<unknown> = Promise.resolve(), answered: Promise<unknown> = Promise.resolve();
        client.on("data", (bytes) => {
            isScript = bytes.includes("EVAL");
            sent = sent.then(() => before?.()).then(() => server.write(bytes));
        });
        server.on("data", (bytes) => {
            const done = isScript && bytes.includes("done\r\n");
            answered = answered.then(() => done ? afterStep?.() : null).then(() => client.write(bytes));
        });
        for (const [one, other] of [[client, server], [server, client]] as const) one.on("error", () => undefined).on("close", () => other.destroy());
    });
    proxy.listen(0, "127.0.0.1");
    await once(proxy, "listening");
    t.teardown(() => proxy.close());
    return `redis://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
}
