// Prints the folder of the node-llama-cpp that this package works with, for CMake.
import path from "node:path";
import {fileURLToPath} from "node:url";

process.stdout.write(path.dirname(path.dirname(fileURLToPath(import.meta.resolve("node-llama-cpp")))));
