import type {Range} from "./range.js";
import {isRecord} from "../options.js";

/** One figure that a plan was made with. */
export interface Input {
    /** Its place in a scenario file, such as `users.count`. The model's parameters have none. */
    readonly name: string;
    readonly value: number | string | Range;
    readonly unit: string;
    /** Who says so: `given`, a preset, a table's source, or `assumed`. */
    readonly source: string;
}

/** A scenario's own fields, and whose they are. Later layers stand before earlier ones. */
export interface Layer {
    readonly source: string;
    readonly fields: object;
}

/** Takes values out of layers of fields, and keeps a list of what was taken. */
export class Inputs {
    readonly list: Input[] = [];
    readonly #layers: readonly Layer[];

    /** @param layers the ones that count most first */
    constructor(layers: readonly Layer[]) {
        this.#layers = layers;
    }

    /** A field that may be absent. It is not in the list. */
    find<Value>(name: string): {value: Value; source: string} | undefined {
        for (const {source, fields} of this.#layers) {
            const value = name.split(".").reduce<unknown>((at, field) => isRecord(at) ? at[field] : undefined, fields);
            if (value !== undefined) return {value: value as Value, source};
        }
        return undefined;
    }

    /** A field, or what stands for it where no layer has it. */
    take<Value extends Input["value"]>(name: string, unit: string, fallback: Value, source = "assumed"): Value {
        const found = this.find<Value>(name) ?? {value: fallback, source};
        this.list.push({name, value: found.value, unit, source: found.source});
        return found.value;
    }
}
