import {setTimeout as sleep} from "node:timers/promises";

const milliseconds = 100;

/** Looks at the cache again and again, until it is stopped. */
export class Watch {
    #url;
    #stopped = false;
    #done;
    seen = {samples: 0, failures: 0, highestBytes: 0, aboveLimit: 0, highestProcessBytes: 0, mostAnswering: 0, mostWaiting: 0};

    /** @param {string} url */
    constructor(url) {
        this.#url = url;
        this.#done = this.#run();
    }

    async stop() {
        this.#stopped = true;
        await this.#done;
    }

    async #run() {
        const {seen} = this;
        while (!this.#stopped) {
            await sleep(milliseconds);
            const stats = await readStats(this.#url).catch(() => null);
            if (stats === null) {
                seen.failures++;
                continue;
            }
            seen.samples++;
            seen.highestBytes = Math.max(seen.highestBytes, stats.residentBytes, stats.peakResidentBytes);
            seen.highestProcessBytes = Math.max(seen.highestProcessBytes, stats.processBytes);
            seen.mostAnswering = Math.max(seen.mostAnswering, stats.answering);
            seen.mostWaiting = Math.max(seen.mostWaiting, stats.waiting);
            if (stats.limitBytes !== null && seen.highestBytes > stats.limitBytes) seen.aboveLimit++;
        }
    }
}

/** @param {string} url @returns {Promise<any>} */
export async function readStats(url) {
    const response = await fetch(`${url}/stats`);
    if (!response.ok) throw new Error(`/stats answers ${response.status}`);
    return await response.json();
}

/**
 * Waits until nothing is being answered, and gives the stats. Throws if that takes longer than half a minute.
 * @param {string} url
 */
export async function settled(url) {
    for (let tries = 0; tries < 300; tries++) {
        const stats = await readStats(url);
        if (stats.answering === 0 && stats.waiting === 0 && stats.sequences.every((/** @type {any} */ {answering}) => !answering)) return stats;
        await sleep(100);
    }
    throw new Error("Half a minute after the last client is gone, the server still answers");
}
