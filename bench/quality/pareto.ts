/** What one configuration costs and brings. */
export interface SweepPoint {
    name: string;
    /** Stock's F16 bytes over resident bytes. */
    memoryRatio: number;
    /** Nats from the F16 cache. */
    kld: number;
    kldError: number;
}

/** The points that no other one beats, ordered by memory ratio. A point beats those that it is better than in one figure, and not worse in the other. */
export function paretoFront<Point extends Pick<SweepPoint, "memoryRatio" | "kld">>(points: readonly Point[]): Point[] {
    const beats = (one: Point, other: Point) => one.memoryRatio >= other.memoryRatio && one.kld <= other.kld &&
        (one.memoryRatio > other.memoryRatio || one.kld < other.kld);
    return points.filter((point) => !points.some((other) => beats(other, point))).sort((a, b) => a.memoryRatio - b.memoryRatio);
}
