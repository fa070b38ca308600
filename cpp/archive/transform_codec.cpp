#include "transform_codec.h"

#include <algorithm>
#include <cmath>

#include "transform_training.h"

namespace deltastore {

namespace {

// Values' steps are shorter than keys', relative to how large the rows are, by so many 1 / kOctave octaves: their errors reach the output as they are.
constexpr int kShorterSteps = 5;
// The newest rows' steps are a quarter as long.
constexpr int kFinerSteps = 16;
constexpr int kLevelWidth = kOctave / 4;  // of a level
constexpr int kLeastStep = -100, kMostStep = 100;

int step_of(const Unit& unit, int step) { return unit.keys ? step : step - kShorterSteps; }

int width_of(const Axes& axes, int axis, int level, int step) {
    return std::min(axes.width(axis) + level * kLevelWidth - step, kWidest);
}

// Axes along which rows of that level can reach half a step.
int axes_within(const Axes& axes, int level, int step) {
    int count = 0;
    while (count < axes.dims() && width_of(axes, count, level, step) >= kLeastClass) count++;
    return count;
}

int32_t rounded(float x) {
    const float within = std::clamp(x, -1e6f, 1e6f);
    return int32_t(within + (within < 0 ? -0.5f : 0.5f));
}

// How large the row is, against what is usual along the axes that matter.
int level_of(const Axes& axes, const float* along, int step) {
    const int count = axes_within(axes, 0, step);
    if (count == 0) return 0;
    double sum = 0;
    for (int axis = 0; axis < count; axis++) {
        const double x = double(along[axis]) * axes.inverse_deviation(axis);
        sum += x * x;
    }
    return std::clamp(int(std::lround(2 * std::log2(std::max(sum / count, 1e-9)))), -kLevelOffset, kLevels - 1 - kLevelOffset);
}

// Rows of the parts that have them, one part after the other. A matrix of many parts' rows is multiplied sooner than many matrices.
struct Stack {
    std::vector<size_t> parts;
    std::vector<int> begins{0};  // of each part's rows, and the end
    int rows() const { return begins.back(); }
    int rows(size_t i) const { return begins[i + 1] - begins[i]; }
};

template <typename Run>
Stack stack_of(const std::vector<RunsByTable<Run>>& parts, const std::vector<bool>& chosen, int table) {
    Stack stack;
    for (size_t part = 0; part < parts.size(); part++) {
        if (!chosen[part] || parts[part].rows(table) == 0) continue;
        stack.parts.push_back(part);
        stack.begins.push_back(stack.rows() + parts[part].rows(table));
    }
    return stack;
}

// First the rows of parts whose tables have the same tokens, of all tables together; then those of the others, table after table.
template <typename Run, typename Each>
void for_stacks(const StoredHead& head, const UnitAxes& unit, const std::vector<RunsByTable<Run>>& parts, std::vector<bool> even, Each each) {
    each(unit.unit, *unit.joint, stack_of(parts, even, unit.unit.first));
    even.flip();
    if (unit.unit.count == 1) return;
    for (int t = 0; t < unit.unit.count; t++) {
        const int table = unit.unit.first + t;
        each(single_unit(unit.unit, table, head.shapes()[table]), *unit.single[t], stack_of(parts, even, table));
    }
}

}  // namespace

TransformCodec::TransformCodec(const StoredHead& head, const CodecOptions& options, Reader& book, const Kernels& kernels)
    : head_(head), kernels_(kernels), book_(TransformBook::read(head, book)), step_(step_for(options.ratio)) {}

// The shortest step at which rows of all heads take at most their F16 bytes / ratio.
int TransformCodec::step_for(float ratio) const {
    double bits = 0;
    for (const UnitAxes& unit : book_.units) bits += 16.0 * unit.unit.dims;
    for (int step = kLeastStep; step < kMostStep; step++) {
        double coded = 0;
        for (const UnitAxes& unit : book_.units)
            for (int axis = 0; axis < unit.unit.dims; axis++) coded += book_.widths.bits(width_of(*unit.joint, axis, 0, step_of(unit.unit, step)));
        if (coded <= bits / ratio) return step;
    }
    return kMostStep;
}

void TransformCodec::encode(const RowRuns& runs, bool fine, Writer& writer) const {
    std::vector<Writer> writers{writer};
    encode_all({runs}, fine, writers);
}

void TransformCodec::decode(RowRuns& runs, Reader& reader) const {
    std::vector<RowRuns> parts(1);
    parts[0].swap(runs);
    std::vector<Reader> readers{reader};
    decode_all(parts, readers);
    parts[0].swap(runs);
}

void TransformCodec::encode_all(const std::vector<RowRuns>& parts, bool fine, std::vector<Writer>& writers) const {
    std::vector<RowRuns> turned;
    for (const RowRuns& runs : parts) turned.push_back(turned_back(head_, book_.turns, runs));
    std::vector<RunsByTable<RowRun>> tables;
    for (RowRuns& runs : turned) tables.emplace_back(runs, head_.tables());
    const int step = std::max(kLeastStep, fine ? step_ - kFinerSteps : step_);
    for (Writer& writer : writers) writer.number(int16_t(step));
    for (const UnitAxes& unit : book_.units) {
        std::vector<bool> even;
        for (size_t part = 0; part < parts.size(); part++) {
            even.push_back(tables[part].is_even(unit.unit));
            writers[part].number<uint8_t>(even.back());
        }
        for_stacks(head_, unit, tables, even, [&](const Unit& of, const Axes& axes, const Stack& stack) {
            if (stack.rows() == 0) return;
            std::vector<float> rows(size_t(stack.rows()) * of.dims), along(size_t(stack.rows()) * axes.padded());
            for (size_t i = 0; i < stack.parts.size(); i++)
                tables[stack.parts[i]].for_rows(of, &rows[size_t(stack.begins[i]) * of.dims], of.dims,
                                                [](const float* from, float* to, int dims) { std::copy_n(from, dims, to); });
            axes.transform(kernels_, rows.data(), stack.rows(), axes_within(axes, kLevels - 1 - kLevelOffset, step_of(of, step)), along.data());
            for (size_t i = 0; i < stack.parts.size(); i++)
                put_rows(axes, step_of(of, step), &along[size_t(stack.begins[i]) * axes.padded()], stack.rows(i), writers[stack.parts[i]]);
        });
    }
}

void TransformCodec::decode_all(std::vector<RowRuns>& parts, std::vector<Reader>& readers) const {
    std::vector<RunsByTable<RowRun>> tables;
    for (RowRuns& runs : parts) tables.emplace_back(runs, head_.tables());
    std::vector<int> steps;
    for (Reader& reader : readers) steps.push_back(reader.number<int16_t>(kLeastStep, kMostStep, "step"));
    for (const UnitAxes& unit : book_.units) {
        std::vector<bool> even;
        for (size_t part = 0; part < parts.size(); part++) {
            even.push_back(tables[part].is_even(unit.unit));
            if ((readers[part].number<uint8_t>(0, 1, "evenness") != 0) != even.back())
                throw CodedError("STATE_DAMAGED", "Coded rows of the state are of other tokens than it says");
        }
        for_stacks(head_, unit, tables, even, [&](const Unit& of, const Axes& axes, const Stack& stack) {
            if (stack.rows() == 0) return;
            CodedRows coded;
            for (size_t i = 0; i < stack.parts.size(); i++) get_rows(axes, step_of(of, steps[stack.parts[i]]), stack.rows(i), readers[stack.parts[i]], coded);
            std::vector<float> rows(size_t(stack.rows()) * axes.padded());
            axes.restore(kernels_, coded, rows.data());
            for (size_t i = 0; i < stack.parts.size(); i++)
                tables[stack.parts[i]].for_rows(of, &rows[size_t(stack.begins[i]) * axes.padded()], axes.padded(),
                                                [](float* to, const float* from, int dims) { std::copy_n(from, dims, to); });
        });
    }
    KeyTurns::Angles angles;
    for (RowRuns& runs : parts)
        for (RowRun& run : runs) book_.turns.turn(head_.layer_of(run.table), 1, run.positions, head_.shapes()[run.table].key_dim, run.keys.data(), angles);
}

void TransformCodec::put_rows(const Axes& axes, int step, const float* along, int count, Writer& writer) const {
    const float each = std::exp2(float(-step) / kOctave);
    RangeEncoder encoder;
    for (int r = 0; r < count; r++, along += axes.padded()) {
        const int level = level_of(axes, along, step), within = axes_within(axes, level, step);
        encoder.put(book_.levels, level + kLevelOffset);
        for (int axis = 0; axis < within; axis++)
            book_.widths.put(encoder, width_of(axes, axis, level, step), rounded(along[axis] * each));
    }
    encoder.write(writer);
}

void TransformCodec::get_rows(const Axes& axes, int step, int count, Reader& reader, CodedRows& coded) const {
    const float each = std::exp2(float(step) / kOctave);
    RangeDecoder decoder(uint64_t(count) * (3 * axes.dims() + 1) + 4, reader);
    for (int r = 0; r < count; r++) {
        const int level = decoder.get(book_.levels) - kLevelOffset, within = axes_within(axes, level, step);
        size_t at = coded.axes.size();
        coded.axes.resize(at + within);
        coded.values.resize(at + within);
        for (int axis = 0; axis < within; axis++) {
            const int32_t value = book_.widths.get(decoder, width_of(axes, axis, level, step));
            coded.axes[at] = uint16_t(axis);
            coded.values[at] = float(value) * each;
            at += value != 0;
        }
        coded.axes.resize(at);
        coded.values.resize(at);
        coded.ends.push_back(uint32_t(at));
    }
    decoder.finish();
}

}  // namespace deltastore
