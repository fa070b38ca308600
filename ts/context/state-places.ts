export interface StatePlaces {
    /** From the prompt's end to the last place before it. Tokens. */
    readonly spacing: number;
    /** Most places. */
    readonly most: number;
    /** Whether the prompt's end is a place, too. */
    readonly atEnd: boolean;
}

/**
 * Where an evaluation of the positions [begin, end) leaves states of windows and recurrent layers for others, in ascending order.
 *
 * What a later prompt has in common with this one is not known yet. Mostly they part near the end. So the places are `spacing` tokens before it, and twice
 * as many each time. Whoever shares all but the last n tokens then evaluates less than 2n of them, or `spacing`.
 */
export function statePlaces(begin: number, end: number, {spacing, most, atEnd}: StatePlaces): number[] {
    const places: number[] = [];
    if (atEnd && end >= begin + spacing) places.push(end);
    for (let distance = spacing; end - distance >= begin + spacing; distance *= 2) places.push(end - distance);
    return places.slice(0, most).reverse();
}
