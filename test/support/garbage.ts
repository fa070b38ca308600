import {setFlagsFromString} from "node:v8";
import {runInNewContext} from "node:vm";

setFlagsFromString("--expose-gc");

/** Collects the garbage of this process's JavaScript. What natives free by finalizers is freed a little later. */
export const collectGarbage = runInNewContext("gc") as () => void;
