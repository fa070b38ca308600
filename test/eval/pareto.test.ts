import t from "tap";
import {paretoFront} from "../../bench/quality/pareto.js";

t.test("the Pareto front has the points that no other beats in both memory and divergence", async (t) => {
    const point = (memoryRatio: number, kld: number) => ({memoryRatio, kld});
    const [small, middle, large, dominated, sameMemory] = [point(2, 0.001), point(4, 0.01), point(8, 0.1), point(3.9, 0.02), point(4, 0.05)];
    t.strictSame(paretoFront([large, dominated, middle, sameMemory, small]), [small, middle, large]);
    t.strictSame(paretoFront([middle, point(4, 0.01)]).length, 2, "equals don't beat each other");
    t.strictSame(paretoFront([]), []);
});
