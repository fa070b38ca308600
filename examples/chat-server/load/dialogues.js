/**
 * @typedef {object} Dialogue
 * @property {string[]} messages
 * @property {string | null} codeWord told in the first message and asked for in the last
 * @property {number | null} fixed the number of a dialogue that is always the same
 */

const openings = ["Hello, I am here for the first time.", "Good morning!", "I have a question about the library.", "Hi, I hope you can help me."];

const questions = [
    "When are you open on Saturday?", "How much is a card for an adult?", "How many films can I borrow?", "What does a late book cost a day?",
    "Where may I talk on the telephone?", "Which buses stop at the door?", "Can I print in colour, and what does it cost?", "When is the story hour?",
    "How long can I book a study room?", "Is there a lift?", "How do I renew a loan?", "What happens when I lose my card?", "Where can I park my car?",
    "Does the cafe take cards?", "When does the writing circle meet?"
];

/** Sentences of a long message, which fill the cache. */
const sentences = [
    "Last week I walked along the harbour and watched the fishing boats come in.", "My grandmother kept a notebook with the names of all the birds she saw.",
    "The train was late again, so I read half of a novel on the platform.", "We are planning a small exhibition about the old lighthouse.",
    "My son has learned to read this winter and wants a new book every day.", "The winter storms have damaged the roof of our boathouse.",
    "I would like to find out who built the bridge behind the market.", "There used to be a cinema where the station is now.",
    "Our choir needs sheet music for twelve voices before the spring.", "I have a box of letters from a sailor who wrote home every month."
];

/** Dialogues that are the same each time. An idle server has answered them before. */
const fixedDialogues = Array.from({length: 6}, (_, number) => [
    questions[number], questions[number + 6], `Thank you. And one more thing: ${questions[(number + 9) % questions.length]}`
].map(String));

export const fixedCount = fixedDialogues.length;

/** @returns {Dialogue} */
export function fixedDialogue(/** @type {number} */ number) {
    return {messages: fixedDialogues[number] ?? [], codeWord: null, fixed: number};
}

/**
 * @param {import("./random.js").Random} random
 * @returns {Dialogue}
 */
export function secretDialogue(random) {
    const codeWord = makeCodeWord(random);
    const messages = [`${random.choice(openings)} My code word is ${codeWord}. Please repeat my code word.`];
    for (let turns = random.integer(0, 3); turns > 0; turns--) messages.push(random.next() < 0.5 ? random.choice(questions) : longMessage(random));
    messages.push("What is my code word? Please repeat it exactly.");
    return {messages, codeWord, fixed: null};
}

/** @param {import("./random.js").Random} random */
function longMessage(random) {
    const story = Array.from({length: random.integer(6, 14)}, () => random.choice(sentences));
    return `${story.join(" ")} Which shelf would you send me to?`;
}

/** @param {import("./random.js").Random} random */
function makeCodeWord(random) {
    const syllable = () => random.choice([..."bdfgklmnprstvz"]) + random.choice([..."aeiou"]);
    return `${syllable()}${syllable()}${syllable()}-${random.integer(100, 999)}`;
}

/** Finds what looks like a code word. */
export const codeWordsIn = (/** @type {string} */ text) => text.toLowerCase().match(/\b(?:[a-z][aeiou]){3}-\d{3}\b/g) ?? [];
