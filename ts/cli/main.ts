#!/usr/bin/env node
import {readFileSync} from "node:fs";
import {Command} from "commander";
import {addChatCommand} from "./chat.js";
import {addDemoCommand} from "./demo.js";
import {addDoctorCommand} from "./doctor.js";
import {addEvalCommand} from "./eval.js";
import {reportError} from "./output.js";
import {addPlanCommand} from "./plan.js";
import {addPolicyCommand} from "./policy.js";
import {addTurnsCommand} from "./turns.js";

const {version} = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {version: string};

const program = new Command("deltastore")
    .description("A packed, paged KV cache for node-llama-cpp.")
    .version(version, "-V, --version", "print the version")
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({outputError: () => undefined})
    .addHelpText("after", `
Exit codes: 0 all is well; 1 a failure was found, such as an invalid policy or an unsupported model; 2 wrong usage.
Environment: DELTASTORE_MODEL (a GGUF file or a model's name, for demo, chat and eval), DELTASTORE_CACHE (where fetched models stay),
DELTASTORE_POLICY (policy file or tier), DELTASTORE_KERNEL (kernel to use instead of the best one), DELTASTORE_KEY (key of an encrypted store).`);

addDemoCommand(program);
addChatCommand(program);
addEvalCommand(program);
addPlanCommand(program);
addPolicyCommand(program);
addTurnsCommand(program);
addDoctorCommand(program);

const json = process.argv.includes("--json");
// Warnings are for people. With --json, stderr has nothing but the error.
if (json) process.removeAllListeners("warning");
for (const stream of [process.stdout, process.stderr]) stream.on("error", (error: NodeJS.ErrnoException) => {
    // A reader that is gone, such as `head`, has what it wanted.
    process.exit(error.code === "EPIPE" ? process.exitCode : reportError(error, json));
});
try {
    await program.parseAsync();
} catch (error) {
    process.exitCode = reportError(error, json);
    // A download or a native thread that was given up may still hold the event loop.
    if (process.exitCode !== 0) process.stderr.write("", () => process.exit());
}
