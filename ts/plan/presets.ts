import {readdirSync, readFileSync} from "node:fs";
import {basename} from "node:path";
import type {PlanFile} from "./plan-file.js";

/** A scenario of the papers, and what they say of it. */
export interface Preset {
    readonly title: string;
    readonly scenario: PlanFile;
    readonly claims: readonly Claim[];
}

/** A figure of the papers, and the one that follows from their own assumptions. */
export interface Claim {
    readonly what: string;
    readonly unit: string;
    readonly stated: number;
    /** From the papers' inputs alone. `value` is its result. */
    readonly arithmetic: string;
    readonly value: number;
    readonly remark?: string;
}

/** How far a stated figure may be from the one that follows, in parts of it: papers round. */
const roundingShare = 0.03;

/** Whether what is stated follows. Whole GPUs have to be as many. */
export const follows = ({stated, value, unit}: Claim): boolean => Math.abs(stated - value) <= (unit === "GPUs" ? 0 : roundingShare) * Math.abs(value);

const folder = new URL("../../ts/plan/presets/", import.meta.url);

export const presetNames = (): string[] => readdirSync(folder).map((file) => basename(file, ".json")).sort();

/** @param name one of `presetNames` */
export const readPreset = (name: string): Preset => JSON.parse(readFileSync(new URL(`${name}.json`, folder), "utf8")) as Preset;
