import type {Archive} from "../archive.js";
import type {Cold} from "../record.js";

/** Of the blocks that stayed packed in cold conversations: how many of their turns hold each. */
export class ColdHolders {
    readonly #holders = new Map<string, number>();

    static async of(archive: Archive): Promise<ColdHolders> {
        const holders = new ColdHolders();
        for await (const {cold} of archive.all("conversation")) holders.replace(undefined, cold);
        return holders;
    }

    count(block: string): number {
        return this.#holders.get(block) ?? 0;
    }

    get blocks(): string[] {
        return [...this.#holders.keys()];
    }

    /** A conversation was frozen. */
    replace(before: Cold | undefined, after: Cold | undefined): void {
        for (const [one, sign] of [[before, -1], [after, 1]] as const)
            for (const [block, count] of Object.entries(one?.packed ?? {})) this.#holders.set(block, this.count(block) + sign * count);
    }
}
