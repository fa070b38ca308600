import {readFileSync} from "node:fs";
import {Ajv, type Options, type ValidateFunction} from "ajv";
import {DeltaStoreError, type ErrorCode} from "../errors.js";
import {isRecord} from "../options.js";
import {parseJsonText} from "./json-text.js";

/** The check of one of config-schema's schemas, compiled on first use. It finds all mistakes. */
export function schemaCheck<File>(name: string, options: Options): () => ValidateFunction<File> {
    let check: ValidateFunction<File> | undefined;
    return () => {
        const schema = () => JSON.parse(readFileSync(new URL(`../../config-schema/${name}.schema.json`, import.meta.url), "utf8")) as object;
        return check ??= new Ajv({allErrors: true, verbose: true, allowUnionTypes: true, ...options}).compile<File>(schema());
    };
}

/**
 * The value of a JSON file, and sentences on what is wrong with its text.
 * @throws DeltaStoreError `notFound` if it can't be read; `invalid` if there is no object left to be checked
 */
export function readJsonFile(path: string, what: string, {notFound, invalid}: {notFound: ErrorCode; invalid: ErrorCode}): {value: unknown; problems: string[]} {
    let text: string;
    try {
        text = readFileSync(path, "utf8");
    } catch (error) {
        throw new DeltaStoreError(notFound, `${what} can't be read: ${(error as Error).message}`, {cause: error});
    }
    const {value, problems} = parseJsonText(text), sentences = problems.map(({message, line, column}) => `Line ${line}, column ${column}: ${message}.`);
    // After syntax errors, a value that is no object says nothing about the fields that were meant.
    if (sentences.length > 0 && !isRecord(value)) throw mistakesIn(what, sentences, invalid);
    return {value, problems: sentences};
}

/** The error for all mistakes of a file. */
export function mistakesIn(what: string, problems: readonly string[], code: ErrorCode): DeltaStoreError {
    const count = problems.length === 1 ? "a mistake" : `${problems.length} mistakes`;
    return new DeltaStoreError(code, `${what} has ${count}:\n${problems.join("\n")}`, {problems});
}
