import type {LlamaContextSequence, Token} from "node-llama-cpp";
import type {Asked, NeedleDocument} from "../../ts/eval/needles.js";

/** The number of questions about a document, which the sequence holds, that its greedy answers have right. It holds the document afterwards, too. */
export async function answered(sequence: LlamaContextSequence, {needles}: NeedleDocument): Promise<number> {
    let hits = 0;
    for (const asked of needles) if (await isAnswered(sequence, asked)) hits++;
    return hits;
}

async function isAnswered(sequence: LlamaContextSequence, {question, cue, value}: Asked): Promise<boolean> {
    const end = sequence.nextTokenIndex, answer: Token[] = [];
    for await (const token of sequence.evaluate([...question, ...cue] as Token[], {temperature: 0}))
        if (answer.push(token) === value.length) break;
    await sequence.eraseContextTokenRanges([{start: end, end: sequence.nextTokenIndex}]);
    return value.every((token, index) => token === answer[index]);
}
