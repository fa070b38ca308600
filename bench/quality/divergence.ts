/** Sums over scored positions of how one cache's next-token distributions differ from another's. */
export class Divergence {
    readonly #klds: number[] = [];
    #sameTop = 0;
    #baseLoss = 0;
    #loss = 0;

    /** Both: rows x vocabulary size logits; `next[i]` is the token that follows row i. */
    add(base: Float32Array, other: Float32Array, next: ArrayLike<number>): void {
        const vocabulary = base.length / next.length;
        for (let row = 0; row < next.length; row++) {
            const from = row * vocabulary;
            const [baseTop, baseNorm] = logNormaliser(base, from, vocabulary);
            const [otherTop, otherNorm] = logNormaliser(other, from, vocabulary);
            let kld = 0;
            for (let i = from; i < from + vocabulary; i++) {
                const logP = base[i]! - baseNorm;
                if (logP > -40) kld += Math.exp(logP) * (logP - (other[i]! - otherNorm));
            }
            this.#klds.push(kld);
            if (baseTop === otherTop) this.#sameTop++;
            this.#baseLoss -= base[from + next[row]!]! - baseNorm;
            this.#loss -= other[from + next[row]!]! - otherNorm;
        }
    }

    summary(): DivergenceSummary {
        const n = this.#klds.length;
        const mean = this.#klds.reduce((sum, value) => sum + value, 0) / n;
        const variance = this.#klds.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
        const sorted = [...this.#klds].sort((a, b) => a - b);
        return {
            positions: n,
            kld: mean,
            kldError: Math.sqrt(variance / n),
            kld99: sorted[Math.floor(n * 0.99)]!,
            sameTop1: this.#sameTop / n,
            perplexityRatio: Math.exp((this.#loss - this.#baseLoss) / n)
        };
    }
}

export interface DivergenceSummary {
    positions: number;
    /** Mean KL divergence from the base cache, nats, with its standard error. */
    kld: number;
    kldError: number;
    /** 99th percentile. */
    kld99: number;
    sameTop1: number;
    perplexityRatio: number;
}

/** The index of the largest logit (within the row) and log(sum(exp(logits))). */
function logNormaliser(logits: Float32Array, from: number, count: number): [number, number] {
    let top = from;
    for (let i = from + 1; i < from + count; i++) if (logits[i]! > logits[top]!) top = i;
    const highest = logits[top]!;
    let sum = 0;
    for (let i = from; i < from + count; i++) sum += Math.exp(logits[i]! - highest);
    return [top - from, highest + Math.log(sum)];
}
