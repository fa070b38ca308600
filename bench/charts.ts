import * as echarts from "echarts";
import {caches} from "./caches.js";
import type {Point, SpeedFigures} from "./speed-report.js";

const colors = ["#555555", "#999999", "#c4a000", "#1f77b4", "#2ca02c", "#d62728", "#9467bd"];

/** Decode speed and memory of one sequence over depth, a line a cache, as SVG. */
export function charts(figures: SpeedFigures): {decode: string; memory: string} {
    return {
        decode: lines(figures, "decode, tokens a second", (point) => figures.decodeSpeed(point)),
        memory: lines(figures, "cache, MiB", (point) => point.bytes / 2 ** 20)
    };
}

function lines(figures: SpeedFigures, title: string, value: (point: Point) => number): string {
    const points = figures.report.points.filter((point) => point.sequences === 1);
    const names = caches.map(({name}) => name).filter((name) => points.some((point) => point.cache === name));
    const depths = [...new Set(points.map(({depth}) => depth))];
    const chart = echarts.init(null, null, {renderer: "svg", ssr: true, width: 640, height: 360});
    chart.setOption({
        animation: false,
        backgroundColor: "#ffffff",
        color: colors,
        title: {text: title, left: 12, top: 8, textStyle: {fontSize: 13, fontWeight: "normal"}},
        legend: {top: 32, left: 12, itemWidth: 18, itemHeight: 6, itemGap: 12, selectedMode: false},
        grid: {left: 52, right: 24, top: 68, bottom: 44},
        xAxis: {
            type: "value", name: "tokens in the cache", nameLocation: "middle", nameGap: 26, max: "dataMax",
            axisLabel: {customValues: depths}, axisTick: {customValues: depths}, splitLine: {show: false}
        },
        yAxis: {type: "value", min: 0},
        series: names.map((name) => ({
            name, type: "line", showSymbol: false, silent: true, color: colors[caches.findIndex((cache) => cache.name === name)]!,
            lineStyle: {width: 2, type: name.startsWith("stock") ? "dashed" : "solid"},
            data: points.filter(({cache}) => cache === name).map((point) => [point.depth, value(point)])
        }))
    });
    const svg = chart.renderToSVGString();
    chart.dispose();
    return svg;
}
