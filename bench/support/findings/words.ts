import type {Coder} from "./codes.js";

const words = 256, rounds = 8;

/** Vectors of `size` elements as code words of 8 bits, which k-means finds in `samples` (Lloyd's algorithm; it begins with samples at even distances). */
export function vectorCoder(samples: Float32Array, size: number): Coder {
    const count = samples.length / size, book = new Float32Array(words * size);
    for (let word = 0; word < words; word++) {
        const at = Math.floor(word * count / words) * size;
        book.set(samples.subarray(at, at + size), word * size);
    }
    for (let round = 0; round < rounds; round++) {
        const sums = new Float64Array(book.length), members = new Uint32Array(words);
        for (let at = 0; at < samples.length; at += size) {
            const word = nearest(book, samples, at, size);
            members[word]!++;
            for (let i = 0; i < size; i++) sums[word * size + i]! += samples[at + i]!;
        }
        for (let i = 0; i < book.length; i++) {
            const of = members[Math.floor(i / size)]!;
            if (of > 0) book[i] = sums[i]! / of;
        }
    }
    return {rotates: false, choose(row, points) {
        for (let at = 0; at < row.length; at += size) {
            const word = nearest(book, row, at, size) * size;
            points.set(book.subarray(word, word + size), at);
        }
    }};
}

function nearest(book: Float32Array, values: Float32Array, at: number, size: number): number {
    let best = 0, least = Infinity;
    for (let word = 0; word < words; word++) {
        let distance = 0;
        for (let i = 0; i < size; i++) {
            const difference = values[at + i]! - book[word * size + i]!;
            distance += difference * difference;
        }
        if (distance < least) {
            least = distance;
            best = word;
        }
    }
    return best;
}
