import {EigenvalueDecomposition} from "ml-matrix";
import {average, countOf, dot, type Rows} from "./rows.js";

/** Mean products of elements: of centred rows, their covariance. */
export type Products = readonly Float64Array[];

export function productsOf(rows: Rows): Products {
    const {dim, data} = rows, count = countOf(rows), products = Array.from({length: dim}, () => new Float64Array(dim));
    for (let at = 0; at < data.length; at += dim)
        for (let i = 0; i < dim; i++) {
            const row = products[i]!, factor = data[at + i]! / count;
            for (let j = 0; j <= i; j++) row[j]! += factor * data[at + j]!;
        }
    for (let i = 0; i < dim; i++)
        for (let j = 0; j < i; j++) products[j]![i] = products[i]![j]!;
    return products;
}

const decompose = (products: Products) => new EigenvalueDecomposition(products as Float64Array[], {assumeSymmetric: true});

/** Mean squares along the principal axes, the largest first. */
export const principalVariances = (products: Products): number[] => decompose(products).realEigenvalues.reverse();

/** Axes as rows, in no order. */
export const principalAxes = (products: Products): number[][] => decompose(products).eigenvectorMatrix.transpose().to2DArray();

/** Mean squares along axes that may be of other rows. */
export const variancesAlong = (axes: readonly number[][], products: Products): number[] =>
    axes.map((axis) => axis.reduce((sum, element, i) => sum + element * dot(products[i]!, axis), 0));

/** Bits a value that unequal variances save a coder with fine steps, over equal ones. */
export const codingGain = (variances: readonly number[]): number => {
    const mean = average(variances);
    return average(variances.map((value) => Math.log2(mean / value))) / 2;
};

/**
 * Bits a value that Gaussian axes with these variances take at least for that mean squared error. Axes below the water's level get none (reverse
 * water-filling; Cover & Thomas, Elements of Information Theory, 10.3).
 */
export function idealBits(variances: readonly number[], error: number): number {
    const errorAt = (level: number) => average(variances.map((value) => Math.min(value, level)));
    let low = 0, high = Math.max(...variances);
    for (let step = 0; step < 60; step++) {
        const level = (low + high) / 2;
        if (errorAt(level) < error) low = level;
        else high = level;
    }
    return average(variances.map((value) => Math.max(0, Math.log2(value / low)))) / 2;
}
