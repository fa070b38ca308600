import {createApp} from "./app.js";
import {Chat} from "./chat.js";
import {readOptions, usage} from "./options.js";
import {openRuntime} from "./runtime.js";

/** Milliseconds that answers may go on after the server was asked to end. */
const patience = 5000;

/** Milliseconds that clients then have to read the rest. */
const flushing = 1000;

/** @param {import("./options.js").Options} options */
async function serve(options) {
    const runtime = await openRuntime(options);
    const chat = await Chat.open(runtime, options);
    const app = createApp(runtime, chat);
    console.log(`Listening on ${await app.listen({host: options.host, port: options.port})}`);

    let ending = false;
    const end = async () => {
        if (ending) process.exit(1);  // asked twice
        ending = true;
        await chat.close(patience);
        const timer = setTimeout(() => app.server.closeAllConnections(), flushing);
        await app.close();
        clearTimeout(timer);
        await runtime.close();
    };
    for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => void end());
}

try {
    const options = readOptions(process.argv.slice(2));
    if (options === null) console.log(usage);
    else await serve(options);
} catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
}
