import t, {type Test} from "tap";
import {codeOf, nativeBinding, openLlama} from "../support/engine.js";
import {Gaussian} from "../support/gaussian.js";
import {divergence, greedy} from "../support/logits.js";

const llama = await openLlama();
t.teardown(() => llama.dispose());
const native = await nativeBinding();

const rowsOf = (logits: Float32Array, count: number) =>
    Array.from({length: count}, (_, row) => logits.subarray(row * logits.length / count, (row + 1) * logits.length / count));

/** By the definition, in doubles. The addon sums up in another order. */
function logLoss(row: Float32Array, token: number): number {
    return Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - row[token]!), 0));
}

function near(t: Test, found: number, expected: number, what: string): void {
    t.ok(Object.is(found, expected) || Math.abs(found - expected) <= 1e-9 + 1e-9 * Math.abs(expected), `${what}: ${found} is ${expected}`);
}

t.test("divergence, top token and log-loss of random rows are those of the definition", async (t) => {
    const random = new Gaussian(5), rows = 7, vocabulary = 501;
    const base = random.fill(rows * vocabulary, 4), noise = random.fill(rows * vocabulary, 0.3);
    const other = base.map((logit, index) => logit + noise[index]!);
    const tokens = Uint32Array.from({length: rows}, () => random.integer(vocabulary));
    const found = await native.compareLogits(base, other, tokens);
    for (const [row, p] of rowsOf(base, rows).entries()) {
        const q = rowsOf(other, rows)[row]!, token = tokens[row]!;
        near(t, found.kld[row]!, divergence(p, q), "divergence");
        t.equal(found.base.top[row], greedy(p));
        t.equal(found.other.top[row], greedy(q));
        near(t, found.base.logLoss[row]!, logLoss(p, token), "log-loss");
        near(t, found.other.logLoss[row]!, logLoss(q, token), "the other's log-loss");
    }
    t.strictSame(await native.scoreLogits(other, tokens), found.other, "scored alone");
    t.strictSame([...(await native.compareLogits(base, base, tokens)).kld], Array(rows).fill(0), "nothing differs from itself");
});

t.test("extreme logits have the divergence and log-loss of the definition", async (t) => {
    const [inf, nan] = [Infinity, NaN];
    const cases: {what: string; base: number[]; other: number[]; kld: number; top: number; loss: number}[] = [
        {what: "equal logits", base: [2, 2, 2, 2], other: [2, 2, 2, 2], kld: 0, top: 0, loss: Math.log(4)},
        {what: "very large", base: [3e38, 3e38, 0, -3e38], other: [3e38, 3e38, 0, -3e38], kld: 0, top: 0, loss: Math.log(2)},
        {what: "shifted by a constant", base: [0, 1, 2, 3], other: [100, 101, 102, 103], kld: 0, top: 3, loss: logLoss(Float32Array.of(0, 1, 2, 3), 0)},
        {what: "impossible in both", base: [1, -inf, 1, -inf], other: [1, -inf, 1, -inf], kld: 0, top: 0, loss: Math.log(2)},
        {what: "impossible in the base only", base: [0, -inf, 0, -inf], other: [0, 0, 0, 0], kld: Math.log(2), top: 0, loss: Math.log(2)},
        {what: "impossible in the other only", base: [0, 0, 0, 0], other: [0, 0, 0, -inf], kld: inf, top: 0, loss: Math.log(4)},
        {what: "an impossible token", base: [-inf, 0, 0, 0], other: [-inf, 0, 0, 0], kld: 0, top: 1, loss: inf},
        {what: "no number in the base", base: [0, nan, 0, 0], other: [0, 0, 0, 0], kld: nan, top: 0, loss: nan},
        {what: "no number in the other", base: [0, 0, 0, 0], other: [0, nan, 0, 0], kld: nan, top: 0, loss: Math.log(4)},
        {what: "nothing possible", base: [-inf, -inf, -inf, -inf], other: [0, 0, 0, 0], kld: nan, top: 0, loss: nan}
    ];
    const join = (name: "base" | "other") => Float32Array.from(cases.flatMap((one) => one[name]));
    const {kld, base} = await native.compareLogits(join("base"), join("other"), new Uint32Array(cases.length));
    for (const [row, {what, ...expected}] of cases.entries()) {
        near(t, kld[row]!, expected.kld, `${what}, divergence`);
        t.equal(base.top[row], expected.top, `${what}, most likely`);
        near(t, base.logLoss[row]!, expected.loss, `${what}, log-loss`);
    }
});

t.test("logits that don't fit the tokens are refused", async (t) => {
    const attempt = (work: () => Promise<unknown>) => codeOf((async () => await work())());
    const logits = new Float32Array(8);
    t.equal(await attempt(() => native.scoreLogits(logits, Uint32Array.of(0, 0, 0))), "OPTION_INVALID");
    t.equal(await attempt(() => native.scoreLogits(logits, new Uint32Array())), "OPTION_INVALID");
    t.equal(await attempt(() => native.scoreLogits(logits, Uint32Array.of(0, 4))), "OPTION_INVALID", "a token beyond the vocabulary");
    t.equal(await attempt(() => native.compareLogits(logits, new Float32Array(4), Uint32Array.of(0))), "OPTION_INVALID");
});
