import {scaleBand, scaleLinear, scaleLog, type ScaleLinear, type ScaleLogarithmic} from "d3-scale";
import type {Parts} from "./bytes.js";
import type {CachePlan, GrowthPoint, PlanReport} from "./report.js";

const width = 960, panelHeight = 300, left = 110, right = 190, top = 44, between = 70, barHeight = 20;
const lineColors = ["#555555", "#999999", "#c4a000", "#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#000000"];
const partColors: Record<keyof Parts, string> = {packed: "#1f77b4", window: "#ff7f0e", sinks: "#2ca02c", bookkeeping: "#7f7f7f", states: "#9467bd"};
const partTitles: Record<keyof Parts, string> = {packed: "rows", window: "window", sinks: "sinks", bookkeeping: "bookkeeping and padding", states: "recurrent states"};

/** An SVG: GPUs and yearly cost over users, a line a cache, and one user's memory by part, a bar a cache. */
export function planPicture({caches, growth, model, machine}: PlanReport): string {
    const bars = caches.length * (barHeight + 6) + 30, second = top + panelHeight + between, third = second + panelHeight + between, height = third + bars + 50;
    return [
        `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="12">`,
        `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
        lines(top, `GPUs over users: ${model.title} on ${machine}`, caches, growth, ({gpus}) => gpus),
        lines(second, "US dollars a year over users (middle of the range)", caches, growth, ({usd}) => usd),
        stack(third, caches), "</svg>\n"
    ].join("\n");
}

function lines(y: number, title: string, caches: readonly CachePlan[], growth: readonly GrowthPoint[], valuesOf: (point: GrowthPoint) => GrowthPoint["gpus"]): string {
    const values = growth.flatMap((point) => Object.values(valuesOf(point)).filter((value) => value !== null && value > 0) as number[]);
    const users = growth.map((point) => point.users);
    const x = logScale(users, left, width - right), log = logScale(values, y + panelHeight, y);
    const parts = [heading(y, title), ...axes(x, log, y)];
    for (const [index, {name, title: label}] of caches.entries()) {
        const points = growth.flatMap((point) => {
            const value = valuesOf(point)[name];
            return typeof value === "number" && value > 0 ? [`${x(point.users).toFixed(1)},${log(value).toFixed(1)}`] : [];
        });
        const color = lineColors[index % lineColors.length]!;
        if (points.length > 0) parts.push(`<polyline points="${points.join(" ")}" fill="none" stroke="${color}" stroke-width="2"${name.startsWith("stock") ? ' stroke-dasharray="6 4"' : ""}/>`);
        parts.push(legend(y + 6 + index * 18, color, label));
    }
    return parts.join("\n");
}

/** One value makes a scale, too. */
function logScale(values: readonly number[], from: number, to: number): ScaleLogarithmic<number, number> {
    const [least, most] = values.length === 0 ? [1, 10] : [Math.min(...values), Math.max(...values)];
    return scaleLog([least, most > least ? most : 2 * least], [from, to]);
}

function axes(x: ScaleLogarithmic<number, number>, y: ScaleLogarithmic<number, number>, panelTop: number): string[] {
    const bottom = panelTop + panelHeight, end = width - right, ticks = x.ticks(6);
    return [
        `<path d="M${left} ${panelTop}V${bottom}H${end}" fill="none" stroke="#333333"/>`,
        ...ticks.filter((tick) => firstDigit(tick) === 1 || ticks.length < 12)
            .map((tick) => `<text x="${x(tick).toFixed(1)}" y="${bottom + 18}" text-anchor="middle">${short(tick)}</text>`),
        ...y.ticks(6).filter((tick) => [1, 2, 5].includes(firstDigit(tick))).map((tick) =>
            `<path d="M${left} ${y(tick).toFixed(1)}H${end}" stroke="#dddddd"/><text x="${left - 8}" y="${(y(tick) + 4).toFixed(1)}" text-anchor="end">${short(tick)}</text>`),
        `<text x="${(left + end) / 2}" y="${bottom + 38}" text-anchor="middle">users</text>`
    ];
}

function stack(y: number, caches: readonly CachePlan[]): string {
    const x = scaleLinear([0, Math.max(...caches.map(({bytes}) => bytes)) / 2 ** 20], [left, width - right]);
    const band = scaleBand(caches.map(({title}) => title), [y, y + caches.length * (barHeight + 6)]).padding(0.2);
    const names = (Object.keys(partColors) as (keyof Parts)[]).filter((name) => caches.some(({parts}) => parts[name] > 0));
    return [
        heading(y, "Memory of one user by part, MiB, nothing shared"),
        ...caches.map((cache) => `<text x="${left - 8}" y="${band(cache.title)! + band.bandwidth() / 2 + 4}" text-anchor="end">${escape(cache.title)}</text>${bar(cache, x, band(cache.title)!, band.bandwidth())}`),
        ...x.ticks(6).map((tick) => `<text x="${x(tick).toFixed(1)}" y="${band.range()[1] + 16}" text-anchor="middle">${short(tick)}</text>`),
        ...names.map((name, index) => legend(y + 6 + index * 18, partColors[name], partTitles[name]))
    ].join("\n");
}

function bar({parts}: CachePlan, x: ScaleLinear<number, number>, y: number, height: number): string {
    let from = 0;
    return (Object.keys(partColors) as (keyof Parts)[]).map((name) => {
        const start = from, size = Math.max(0, parts[name]) / 2 ** 20;
        from += size;
        return size === 0 ? "" : `<rect x="${x(start).toFixed(1)}" y="${y.toFixed(1)}" width="${(x(from) - x(start)).toFixed(1)}" height="${height.toFixed(1)}" fill="${partColors[name]}"/>`;
    }).join("");
}

const heading = (y: number, text: string): string => `<text x="${left}" y="${y - 14}" font-size="14">${escape(text)}</text>`;

const legend = (y: number, color: string, text: string): string =>
    `<rect x="${width - right + 14}" y="${y - 8}" width="14" height="6" fill="${color}"/><text x="${width - right + 34}" y="${y}">${escape(text)}</text>`;

const firstDigit = (value: number): number => Number(value.toExponential()[0]);

const short = (value: number): string => new Intl.NumberFormat("en", {notation: "compact", maximumFractionDigits: 1}).format(value);

const escape = (text: string): string => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
