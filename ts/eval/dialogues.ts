import {resolveChatWrapper, type ChatHistoryItem, type ChatWrapper, type LlamaModel} from "node-llama-cpp";
import type {EvalText} from "./text.js";

/** A text to go on with, or a chat of one or more turns. */
export interface Dialogue {
    readonly name: string;
    readonly turns: number;
    /** The tokens up to where the model goes on. `answers` are what it answered in the turns before. */
    prompt(answers: readonly string[]): number[];
}

/** Tokens of a passage. They are more than a window holds, so that rows are packed. */
const passageTokens = 320;

const continuations = 10;

const tasks = [
    "Summarize the text below in three sentences.", "What is the text below about? Answer in one paragraph.",
    "Which names appear in the text below? Make a list.", "Write a title for the text below, and explain your choice.",
    "Explain the text below to a child.", "Ask three questions that the text below answers, and answer them.",
    "Which dates and years does the text below give, and what happened then?", "Rewrite the first sentences of the text below in simpler words.",
    "What might come next in the text below?", "Write a short letter to a friend about the text below."
];

const chat = [
    "Here is a text. Say in one sentence what it is about.", "Thank you. Who or what is mentioned first in it?",
    "What else does the text tell about that?", "Now write two sentences of your own in the same style."
];

/** Whether dialogues with a model make sense: base models have no chat template. */
export const canChat = ({fileInfo}: LlamaModel): boolean => Boolean(fileInfo.metadata.tokenizer?.chat_template);

/** All dialogues, each on a passage of its own. Those of a model without a chat template are texts to go on with. */
export function dialoguesOn(text: EvalText): Dialogue[] {
    const passage = (index: number) => text.slice(index * passageTokens, passageTokens, `a prompt of ${passageTokens}`);
    const about = (request: string, index: number) => `${request}\n\n${text.model.detokenize(passage(index)).trim()}`;
    const texts = Array.from({length: continuations}, (_, index): Dialogue => {
        const tokens = text.beginning(index * passageTokens, passageTokens, `a prompt of ${passageTokens}`);
        return {name: `continuation ${index + 1}`, turns: 1, prompt: () => tokens};
    });
    if (!canChat(text.model)) return texts;
    const wrapper = resolveChatWrapper(text.model);
    return [
        ...texts,
        ...tasks.map((task, index) => chatDialogue(`task ${index + 1}`, [about(task, continuations + index)], text, wrapper)),
        chatDialogue("chat", [about(chat[0]!, continuations + tasks.length), ...chat.slice(1)], text, wrapper)
    ];
}

function chatDialogue(name: string, questions: readonly string[], {model}: EvalText, wrapper: ChatWrapper): Dialogue {
    return {
        name, turns: questions.length,
        prompt(answers) {
            const chatHistory: ChatHistoryItem[] = wrapper.generateInitialChatHistory();
            for (let turn = 0; turn <= answers.length; turn++)
                chatHistory.push({type: "user", text: questions[turn]!}, {type: "model", response: answers.slice(turn, turn + 1)});
            return wrapper.generateContextState({chatHistory}).contextText.tokenize(model.tokenizer);
        }
    };
}
