import {getNodeValue, parseTree, printParseErrorCode, visit, type ParseErrorCode} from "jsonc-parser";

const strict = {disallowComments: true, allowTrailingComma: false, allowEmptyContent: false};

/** A mistake in JSON text, with its place: line and column from 1. */
export interface JsonTextProblem {
    message: string;
    line: number;
    column: number;
}

/**
 * The value of JSON text, and its mistakes: syntax errors, and fields that are given twice, of which `JSON.parse` would
 * silently take the last. With mistakes, the value is what could be read in spite of them, or undefined.
 */
export function parseJsonText(text: string): {value: unknown; problems: JsonTextProblem[]} {
    const body = text.replace(/^\uFEFF/, "");
    const problems: JsonTextProblem[] = [];
    const add = (message: string, line: number, character: number): void => {
        problems.push({message, line: line + 1, column: character + 1});
    };
    const openObjects: Set<string>[] = [];
    visit(body, {
        onObjectBegin: () => { openObjects.push(new Set()); },
        onObjectEnd: () => { openObjects.pop(); },
        onObjectProperty: (name, _offset, _length, line, character) => {
            const names = openObjects.at(-1);
            if (names?.has(name)) add(`the field ${JSON.stringify(name)} is given twice`, line, character);
            names?.add(name);
        },
        onError: (code, offset, _length, line, character) => {
            const last = problems.at(-1);  // the parser complains several times about one place
            if (last?.line !== line + 1 || last.column !== character + 1) add(describe(code, body, offset), line, character);
        }
    }, strict);
    return problems.length === 0 ? parseBody(body) : {value: parseInSpite(body), problems};
}

/** What can be read of broken text. jsonc-parser's `parse` would take a field named `__proto__` for the prototype. */
function parseInSpite(body: string): unknown {
    const tree = parseTree(body);
    return tree === undefined ? undefined : getNodeValue(tree);
}

function parseBody(body: string): {value: unknown; problems: JsonTextProblem[]} {
    try {
        return {value: JSON.parse(body), problems: []};
    } catch (error) {
        return {value: undefined, problems: [{message: (error as Error).message, line: 1, column: 1}]};
    }
}

/** Words for a parser's code: `property name expected` for `PropertyNameExpected`, or something clearer. */
function describe(code: ParseErrorCode, body: string, offset: number): string {
    const name = printParseErrorCode(code);
    if (name === "InvalidCommentToken") return "comments are not allowed";
    if (/^[}\]]/.test(body.slice(offset)) && /,\s*$/.test(body.slice(0, offset)))
        return `a comma before ${JSON.stringify(body[offset])} is not allowed`;
    return name.replace(/(?<!^)([A-Z])/g, " $1").toLowerCase();
}
