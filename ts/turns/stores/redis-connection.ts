import {DeltaStoreError} from "../../errors.js";
import type {RedisScript} from "./redis-keys.js";

/** A client that gives numbers and blobs as they are, and takes no blob for text. */
export type Reply = Buffer | number | string | null | Reply[];

/** The part of @redis/client that is used. */
interface Client {
    connect(): Promise<unknown>;
    sendCommand(args: readonly (string | Buffer)[], options: object): Promise<unknown>;
    on(event: "error", listener: () => void): unknown;
    destroy(): void;
    unref(): unknown;
}

type ClientModule = typeof import("@redis/client");

/** Milliseconds that an answer may take, and more for each byte that is sent before: 1 MB a second. */
const patience = 5000, patiencePerByte = 0.001;

/** A connection. When it is lost, calls under way fail at once, and the next call makes it anew. */
export class RedisConnection {
    readonly #module: ClientModule;
    readonly #url: string;
    #current: {readonly client: Client; readonly ready: Promise<unknown>} | undefined;
    #bytesUnderWay = 0;

    /** @throws DeltaStoreError STORE_FAILED without @redis/client, OPTION_INVALID for what is no URL of a server */
    static async to(url: string): Promise<RedisConnection> {
        let module: ClientModule;
        try {
            module = await import("@redis/client");
        } catch (error) {
            throw new DeltaStoreError("STORE_FAILED", "A store on Redis needs the package @redis/client: npm install @redis/client", {cause: error});
        }
        const connection = new RedisConnection(module, url);
        try {
            connection.#create();
        } catch (error) {
            throw new DeltaStoreError("OPTION_INVALID", `The store's url is no Redis server's: ${(error as Error).message}. ` +
                "Allowed are redis://, rediss:// and unix:// URLs.", {cause: error});
        }
        return connection;
    }

    private constructor(module: ClientModule, url: string) {
        this.#module = module;
        this.#url = url;
    }

    async send(args: readonly (string | Buffer)[]): Promise<Reply> {
        const bytes = args.reduce((sum, {length}) => sum + length, 0);
        this.#bytesUnderWay += bytes;
        const limit = patience + patiencePerByte * this.#bytesUnderWay;
        const {client, ready} = this.#current ??= this.#connect();
        let timer: NodeJS.Timeout | undefined;
        const late = new Promise<never>((_, reject) => {
            timer = setTimeout(() => reject(new Error(`there was no answer for ${Math.round(limit / 1000)} s`)), limit);
        });
        const typeMapping = {[this.#module.RESP_TYPES.BLOB_STRING]: Buffer};
        try {
            return await Promise.race([ready.then(() => client.sendCommand(args, {typeMapping})), late]) as Reply;
        } catch (error) {
            if (!this.isAnswer(error)) this.#drop(client);
            throw error;
        } finally {
            clearTimeout(timer);
            this.#bytesUnderWay -= bytes;
        }
    }

    /** A script's result. */
    async run({text, hash}: RedisScript, keys: readonly string[], args: readonly (string | Buffer)[]): Promise<Reply[]> {
        const rest = [String(keys.length), ...keys, ...args];
        try {
            return await this.send(["EVALSHA", hash, ...rest]) as Reply[];
        } catch (error) {
            if (!(error instanceof Error && error.message.startsWith("NOSCRIPT"))) throw error;
            return await this.send(["EVAL", text, ...rest]) as Reply[];
        }
    }

    /** Whether an error is the server's answer, not the lack of one. */
    isAnswer(error: unknown): boolean {
        return error instanceof this.#module.ErrorReply;
    }

    /** Without waiting for answers. */
    close(): void {
        if (this.#current !== undefined) this.#drop(this.#current.client);
    }

    #connect(): {client: Client; ready: Promise<unknown>} {
        const client = this.#create();
        // Later: the client is about to tell its calls why they fail.
        client.on("error", () => {
            this.#forget(client);
            queueMicrotask(() => this.#drop(client));
        });
        client.unref();  // a call under way keeps the process alive by its timer; an open store does not
        const ready = client.connect();
        ready.catch(() => this.#drop(client));
        return {client, ready};
    }

    #create(): Client {
        return this.#module.createClient({
            url: this.#url, RESP: 2, maintNotifications: "disabled", disableOfflineQueue: true,
            socket: {reconnectStrategy: false, connectTimeout: 3000}
        }) as Client;
    }

    #forget(client: Client): void {
        if (this.#current?.client === client) this.#current = undefined;
    }

    #drop(client: Client): void {
        this.#forget(client);
        try {
            client.destroy();
        } catch {
            // Older clients throw if they are not connected.
        }
    }
}

