#include "watch.h"

#include <algorithm>

namespace deltastore {

void Watch::extend(int32_t begin, int32_t end) {
    sums_.resize(tables_);
    if (begin != this->end()) {
        for (auto& table : sums_) table.clear();
        begin_ = begin;
    }
    const size_t rows = end - begin_;
    for (auto& table : sums_)  // all or none, as this may throw
        if (table.capacity() < rows) table.reserve(rows + rows / 8);
    for (auto& table : sums_) table.resize(rows);
}

void Watch::restart(int queries) {
    queries_ = queries;
    for (auto& table : sums_) std::fill(table.begin(), table.end(), 0);
}

void Watch::cut(int32_t from, int32_t to) {
    from = std::min(std::max(from, begin_), end());
    to = std::min(std::max(to, from), end());
    for (auto& table : sums_) {
        table.erase(table.begin() + (from - begin_), table.begin() + (to - begin_));
        if (table.capacity() > 2 * table.size() + 64) table.shrink_to_fit();
    }
}

void Watch::drop_before(int32_t position) {
    position = std::min(std::max(position, begin_), end());
    cut(begin_, position);
    begin_ = position;
}

// A hole stays, as the rows behind it keep their positions until they are shifted. With the last rows their queries' part of the sums
// goes, in proportion to the queries that saw a row.
void Watch::erase(int32_t from, int32_t to) {
    const int32_t before = end();
    if (to < before || from >= before) return;
    cut(from, to);
    for (auto& table : sums_)
        for (size_t i = 0; i < table.size(); i++) {
            const int32_t position = begin_ + int32_t(i);
            table[i] = uint32_t(double(table[i]) * (from - position) / (before - position));
        }
}

// Rows that move down into an erased hole take their sums along; any other move is forgotten.
void Watch::shift(int32_t from, int32_t to, int32_t delta) {
    if (from >= end() || to <= begin_) return;
    if (delta < 0 && to >= end()) {
        const int32_t target = from + delta;
        cut(target, from);
        begin_ = std::min(begin_, std::max(target, begin_ + delta));
        return;
    }
    cut(begin_, end());
}

void Watch::write(Writer& writer) const {
    const bool any = end() > begin_;  // where a sequence without known rows would begin to be watched says nothing
    writer.number(any ? begin_ : 0);
    writer.number(any ? int32_t(queries_) : 0);
    writer.number(uint32_t(end() - begin_));
    for (const auto& table : sums_) writer.bytes(table.data(), table.size() * sizeof(uint32_t));
}

void Watch::read(Reader& reader, int32_t sequence_end, size_t bytes) {
    const int32_t begin = reader.number<int32_t>(0, sequence_end, "first watched row");
    const int32_t queries = reader.number<int32_t>(0, INT32_MAX, "number of watched queries");
    const uint32_t most = uint32_t(std::min<size_t>(sequence_end - begin, bytes / sizeof(uint32_t) / std::max(tables_, 1)));
    const uint32_t rows = reader.number<uint32_t>(0, most, "number of watched rows");
    if (rows == 0) return;
    extend(begin, begin + int32_t(rows));
    queries_ = queries;
    for (auto& table : sums_) reader.bytes(table.data(), rows * sizeof(uint32_t));
}

}  // namespace deltastore
