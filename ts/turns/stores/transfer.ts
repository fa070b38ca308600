/** The buffers to hand over to another thread: below 64 KiB a copy is quicker. Each value must be all of its buffer. */
export function worthTransfer(values: readonly Uint8Array[]): ArrayBuffer[] {
    return values.filter(({length}) => length >= 1 << 16).map(({buffer}) => buffer as ArrayBuffer);
}
