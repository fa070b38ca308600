import * as echarts from "echarts";
import {paretoFront, type SweepPoint} from "./pareto.js";

export const sweepChart = (points: readonly SweepPoint[], tokens: number): string =>
    frontChart(points, `stock F16 bytes over resident bytes at ${tokens.toLocaleString("en")} tokens`);

/** A ratio of bytes against KLD as SVG. A line joins the points of the Pareto front. Their names stand below it, the others' above. */
export function frontChart(points: readonly SweepPoint[], ratioName: string): string {
    const front = new Set(paretoFront(points));
    const chart = echarts.init(null, null, {renderer: "svg", ssr: true, width: 760, height: 460});
    const at = ({memoryRatio, kld}: SweepPoint) => [memoryRatio, kld];
    const labelled = (point: SweepPoint) => ({
        value: at(point),
        label: {
            formatter: point.name, rotate: front.has(point) ? -40 : 60, align: "left", verticalAlign: "middle",
            position: front.has(point) ? [9, 9] : [9, 0]
        },
        symbol: point.name.startsWith("stock") ? "diamond" : "circle",
        itemStyle: {color: point.name.startsWith("stock") ? "#999999" : front.has(point) ? "#1f77b4" : "#9ecae1"}
    });
    chart.setOption({
        animation: false,
        backgroundColor: "#ffffff",
        title: {text: "KL divergence from F16, nats (blue line: Pareto front)", left: 12, top: 8, textStyle: {fontSize: 13, fontWeight: "normal"}},
        grid: {left: 60, right: 60, top: 44, bottom: 48},
        xAxis: {
            type: "value", name: ratioName, nameLocation: "middle", nameGap: 28, min: 1
        },
        yAxis: {type: "log", axisLabel: {formatter: (value: number) => String(Number(value.toPrecision(1)))}},
        series: [
            {type: "line", data: [...front].map(at), showSymbol: false, silent: true, lineStyle: {color: "#1f77b4", width: 1.5}},
            {
                type: "scatter", symbolSize: 9, silent: true, data: points.map(labelled),
                label: {show: true, fontSize: 10, color: "#333333"}
            }
        ]
    });
    const svg = chart.renderToSVGString();
    chart.dispose();
    return svg;
}
