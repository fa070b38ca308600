import {createServer, type RequestListener} from "node:http";
import type {AddressInfo} from "node:net";

export interface WebServer {
    /** With a slash at its end. */
    url: string;
    close(): Promise<void>;
}

/** A web server on this machine that has one file, and serves ranges of it. */
export function serveFile(path: string, contents: Buffer): Promise<WebServer> {
    return serve((request, response) => {
        if (request.url?.split("?")[0] !== path) return response.writeHead(404).end();
        const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
        const from = Number(range?.[1] ?? 0);
        const to = range?.[2] ? Math.min(Number(range[2]), contents.length - 1) : contents.length - 1;
        const body = contents.subarray(from, to + 1);
        response.writeHead(range === null ? 200 : 206, {
            "accept-ranges": "bytes", "content-length": body.length,
            ...range === null ? {} : {"content-range": `bytes ${from}-${to}/${contents.length}`}
        });
        response.end(request.method === "HEAD" ? undefined : body);
    });
}

export async function serve(answer: RequestListener): Promise<WebServer> {
    const server = createServer(answer);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return {
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
        close: () => new Promise((resolve) => {
            server.closeAllConnections();
            server.close(() => resolve());
        })
    };
}
