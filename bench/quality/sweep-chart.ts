import * as echarts from "echarts";
import {paretoFront, type SweepPoint} from "./pareto.js";

/** Resident ratio against KLD, both axes from the points, as SVG; a line joins the points of the Pareto front. */
export function sweepChart(points: readonly SweepPoint[], tokens: number): string {
    const front = new Set(paretoFront(points));
    const chart = echarts.init(null, null, {renderer: "svg", ssr: true, width: 720, height: 420});
    const at = ({memoryRatio, kld}: SweepPoint) => [memoryRatio, kld];
    const labelled = (point: SweepPoint) => ({
        value: at(point), label: {formatter: point.name},
        symbol: point.name.startsWith("stock") ? "diamond" : "circle",
        itemStyle: {color: point.name.startsWith("stock") ? "#999999" : front.has(point) ? "#1f77b4" : "#9ecae1"}
    });
    chart.setOption({
        animation: false,
        backgroundColor: "#ffffff",
        title: {text: "KL divergence from F16, nats (blue line: Pareto front)", left: 12, top: 8, textStyle: {fontSize: 13, fontWeight: "normal"}},
        grid: {left: 64, right: 72, top: 44, bottom: 48},
        xAxis: {
            type: "value", name: `stock F16 bytes over resident bytes at ${tokens.toLocaleString("en")} tokens`, nameLocation: "middle", nameGap: 28,
            min: 0
        },
        yAxis: {type: "log"},
        series: [
            {type: "line", data: [...front].map(at), showSymbol: false, silent: true, lineStyle: {color: "#1f77b4", width: 1.5}},
            {
                type: "scatter", symbolSize: 9, silent: true, data: points.map(labelled),
                label: {show: true, position: "right", fontSize: 10, color: "#333333"}, labelLayout: {hideOverlap: false, moveOverlap: "shiftY"}
            }
        ]
    });
    const svg = chart.renderToSVGString();
    chart.dispose();
    return svg;
}
