// The cache against its model: positions, counts, statistics, and every row as it reads back.
#include "cache_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/codec.h"
#include "format/half.h"

namespace deltastore {

void CacheModel::compare() const {
    const SequenceTable& table = cache.table();
    size_t tokens = 0, sequence_bytes = 0;
    std::set<Page> pages;
    const CacheStats stats = cache.stats();
    bool pending = false;
    for (int sequence = 0; sequence < int(sequences.size()); sequence++) {
        const auto& expected = sequences[sequence];
        const ModelExtent& extent = extents[sequence];
        const int count = extent.evicted ? extent.end - extent.begin : int(expected.size());
        tokens += count;
        CHECK_EQUAL(cache.first_position(sequence), count == 0 ? -1 : extent.evicted ? extent.begin : expected.front().position);
        CHECK_EQUAL(cache.last_position(sequence), count == 0 ? -1 : extent.evicted ? extent.end - 1 : expected.back().position);
        CHECK_EQUAL(table.tokens(sequence), count);
        CHECK_AT_MOST(table.extent(sequence).until, table.extent(sequence).end);
        CHECK_EQUAL(stats.sequences[sequence].tokens, count);
        sequence_bytes += stats.sequences[sequence].resident_bytes;
        for (const ModelToken& token : expected)
            pending = pending || (token.pending != 0 && int(token.evicted.size()) < table.tables());
        for (int index = 0; index < table.tables(); index++) {
            size_t at = 0;
            const auto skip = [&] {
                while (at < expected.size() && expected[at].evicted.count(index)) at++;
            };
            skip();
            for (const PageRef& reference : table.table(sequence, index)) {
                pages.insert(reference.page);
                CHECK_AT_MOST(reference.end_row(), reference.rows);
                CHECK_AT_LEAST(reference.count, 1);
                const std::vector<int32_t> positions = positions_of(index, reference);
                CHECK_EQUAL(positions.back(), reference.end_position() - 1);
                for (int r = 0; r < reference.count && at < expected.size(); r++, at++, skip()) {
                    CHECK_EQUAL(positions[r], expected[at].position);
                    CHECK_EQUAL(reference.shift, expected[at].pending);
                }
            }
            CHECK_EQUAL(at, expected.size());
        }
    }
    CHECK_EQUAL(stats.tokens, tokens);
    CHECK_EQUAL(stats.stock_bytes, tokens * cache.layers().stock_bytes_per_token());
    CHECK_EQUAL(stats.pages, pages.size());
    CHECK_AT_LEAST(stats.resident_bytes, sequence_bytes);
    CHECK_EQUAL(has_shift(), pending);
    if (cache.options().pool_limit != 0) CHECK_AT_MOST(stats.peak_resident_bytes, cache.options().pool_limit);
}

void CacheModel::compare_rows() {
    for (int sequence = 0; sequence < int(sequences.size()); sequence++)
        for (int index = 0; index < cache.table().tables(); index++) {
            size_t at = 0;
            for (const PageRef& reference : cache.table().table(sequence, index))
                for (int r = 0; r < reference.count && check::clean(); r++) {
                    while (sequences[sequence][at].evicted.count(index)) at++;
                    compare_row(sequences[sequence][at++], index, reference, r);
                }
        }
}

// Exact rows have the bits of the halves that were written and turned. The squared error of packed rows, relative to the row less its page's
// centre, is 0.0092 at 4 bits, 0.035 at 3 and 0.106 at 2 in the mean (packing_test). Each turn of a packed key packs it again. A row whose
// largest element is m deviations adds about (m - 2.7)^2 / 64: 12 times the mean for m = 5.4.
void CacheModel::compare_row(const ModelToken& token, int index, const PageRef& reference, int r) {
    const HeadShape& shape = cache.table().shape(index);
    const bool packed = format_info(reference.format).packed;
    const PageLayout& layout = cache.table().layout(index, reference);
    std::vector<float> keys(shape.key_dim), values(shape.value_dim), key = row(token.id, index, true), value = row(token.id, index, false);
    const float* centre = packed ? cache.centres().at(reference.centre, index) : nullptr;
    read_rows(cache.place().at(reference.page), layout, reference.format, shape, centre, reference.begin + r, 1, keys.data(), values.data());
    round_to_half(key);
    round_to_half(value);
    for (int32_t delta : token.turns) {
        rotate_key(layer_of_[index], key.data(), shape.key_dim, delta);
        round_to_half(key);
    }
    if (shape.latent) value.assign(key.begin(), key.begin() + shape.value_dim);
    const std::vector<float> zeros(std::max(shape.key_dim, shape.value_dim), 0.0f);
    const FormatInfo& info = format_info(reference.format);
    if (info.coded && !packed) {  // rounded to half of 1/127 and 1/63 of the largest element, here below 3 times the deviation
        compare_groups(key, keys, zeros.data(), 4.6e-5 * (1 + token.turns.size()), false);
        compare_groups(value, values, zeros.data(), 1.9e-4 + (shape.latent ? 4.6e-5 * token.turns.size() : 0), false);
        exact_rows++;
        return;
    }
    if (!packed) {
        CHECK(std::memcmp(keys.data(), key.data(), keys.size() * sizeof(float)) == 0);
        CHECK(std::memcmp(values.data(), value.data(), values.size() * sizeof(float)) == 0);
        exact_rows++;
        return;
    }
    packed_rows++;
    if (layout.refined > 0) compare_refined(index, reference, layout, r, value, values);
    const double key_error = (info.keys == KeyCoding::lloyd3 ? 0.035 : 0.0092) * (1 + token.turns.size());
    compare_groups(key, keys, centre, key_error);
    if (shape.latent) compare_groups(value, values, centre, key_error);
    else compare_groups(value, values, zeros.data(), info.values == ValueCoding::trellis2 ? 0.106 : 0.0092);
}

void CacheModel::compare_refined(int index, const PageRef& reference, const PageLayout& layout, int r, const std::vector<float>& value,
                                 const std::vector<float>& found) {
    const uint8_t* page = cache.place().at(reference.page);
    const uint8_t* numbers = page + layout.refined_rows;
    const auto codes = std::count(numbers, numbers + refined_rows(page, layout), reference.begin + r + 1);
    CHECK_AT_MOST(codes, 1);
    if (codes == 0) return;
    std::vector<uint8_t> coarse(page, page + layout.bytes);
    std::memset(coarse.data() + layout.refined_rows, 0, format_info(reference.format).refined);
    std::vector<float> without(value.size());
    read_rows(coarse.data(), layout, reference.format, cache.table().shape(index), nullptr, reference.begin + r, 1, nullptr, without.data());
    const auto error = [&](const std::vector<float>& other) {
        double sum = 0;
        for (size_t d = 0; d < value.size(); d++) sum += std::pow(value[d] - other[d], 2);
        return sum;
    };
    CHECK_AT_MOST(error(found), 0.7 * error(without));
}

void CacheModel::compare_groups(const std::vector<float>& expected, const std::vector<float>& found, const float* centre, double mean_error,
                                bool packed) {
    const size_t group = group_of(int(expected.size()));
    for (size_t first = 0; first < expected.size(); first += group) {
        double error = 0, energy = 0;
        for (size_t d = first; d < first + group; d++) {
            error += std::pow(expected[d] - found[d], 2);
            energy += std::pow(expected[d] - centre[d], 2);
        }
        const double ratio = error / energy / mean_error;
        CHECK_AT_MOST(ratio, cache.options().others.empty() ? 12.0 : 40.0);  // rows that were coded several times
        if (!packed) continue;
        worst_error = std::max(worst_error, ratio);
        error_sum += ratio;
        packed_groups++;
    }
}

size_t CacheModel::own_bytes() const {
    size_t bytes = cache.table().bookkeeping_bytes() + cache.centres().count() * cache.centres().floats() * sizeof(float);
    for (int sequence = 0; sequence < int(sequences.size()); sequence++)
        if (const Watch* watch = cache.watch(sequence)) bytes += watch->bytes();
    return bytes;
}

bool CacheModel::same_tables(const std::vector<std::vector<PageTable>>& before) const {
    for (int sequence = 0; sequence < int(sequences.size()); sequence++)
        for (int index = 0; index < cache.table().tables(); index++) {
            const PageTable &now = cache.table().table(sequence, index), &then = before[sequence][index];
            if (now.size() != then.size()) return false;
            for (size_t i = 0; i < now.size(); i++)
                if (now[i].page != then[i].page || now[i].position != then[i].position || now[i].begin != then[i].begin ||
                    now[i].count != then[i].count || now[i].format != then[i].format || now[i].shift != then[i].shift)
                    return false;
        }
    return true;
}

std::vector<std::vector<PageTable>> CacheModel::tables() const {
    std::vector<std::vector<PageTable>> copy(sequences.size());
    for (int sequence = 0; sequence < int(sequences.size()); sequence++)
        for (int index = 0; index < cache.table().tables(); index++) copy[sequence].push_back(cache.table().table(sequence, index));
    return copy;
}

}  // namespace deltastore
