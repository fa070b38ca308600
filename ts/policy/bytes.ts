const unitBytes: Readonly<Record<string, number>> = {
    B: 1,
    KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12,
    KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40
};

export const byteUnits: readonly string[] = Object.keys(unitBytes);

/** Bytes of `"512MiB"`, `"1.5 GB"` and the like, rounded down. Null if the text is no such size. */
export function parseBytes(text: string): number | null {
    const match = /^(\d+(?:\.\d+)?) ?([A-Za-z]+)$/.exec(text);
    const unit = match === null ? undefined : unitBytes[match[2]!];
    return unit === undefined ? null : Math.floor(Number(match![1]) * unit);
}

/** Bytes for people, in powers of 1024: `"12.3 MiB"`. */
export function formatBytes(bytes: number): string {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let value = bytes;
    let step = 0;
    while (value >= 1024 && step < units.length - 1) {
        value /= 1024;
        step++;
    }
    return step === 0 ? `${bytes} B` : `${value.toFixed(value < 100 ? 2 : 1)} ${units[step]}`;
}
