/** How many elements both begin with. */
export function commonLength(a: ArrayLike<number>, b: ArrayLike<number>): number {
    const most = Math.min(a.length, b.length);
    let length = 0;
    while (length < most && a[length] === b[length]) length++;
    return length;
}
