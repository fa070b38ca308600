import {dist} from "./package.js";

export const {quantile} = await dist("eval/statistics.js");

export const median = (values: readonly number[]) => quantile(values, 0.5);
