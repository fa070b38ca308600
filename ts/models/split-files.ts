/** All files of a split model, by llama.cpp's names for them: whichever of them is given, all are read. */
export function partPaths(modelPath: string): string[] {
    const [suffix, part, parts] = /-(\d{5})-of-(\d{5})\.gguf$/.exec(modelPath) ?? [];
    if (suffix === undefined || Number(part) < 1 || Number(part) > Number(parts)) return [modelPath];
    const stem = modelPath.slice(0, -suffix.length);
    return Array.from({length: Number(parts)}, (_, index) => `${stem}-${String(index + 1).padStart(5, "0")}-of-${parts}.gguf`);
}
