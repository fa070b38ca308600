/** The buffers to move to another thread. Below 64 KiB a copy is quicker. Each value must fill its buffer. */
export function worthTransfer(values: readonly Uint8Array[]): ArrayBuffer[] {
    return values.filter(({length}) => length >= 1 << 16).map(({buffer}) => buffer as ArrayBuffer);
}
