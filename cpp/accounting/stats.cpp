#include "stats.h"

#include <algorithm>

namespace deltastore {

double page_bytes_of(const SequenceTable& sequences, int sequence) {
    double bytes = 0;
    for (int table = 0; table < sequences.tables(); table++)
        for (const PageRef& reference : sequences.table(sequence, table))
            bytes += double(sequences.layout(table, reference).bytes) / sequences.pool().references(reference.page);
    return bytes;
}

size_t kept_bytes(const SequenceTable& sequences, int first_kept) {
    double bytes = 0;
    for (int sequence = first_kept; sequence < sequences.sequences(); sequence++)
        if (sequences.last_position(sequence) >= 0) bytes += page_bytes_of(sequences, sequence) + double(sequences.bookkeeping_bytes(sequence));
    return size_t(bytes);
}

CacheStats count_stats(const Layers& layers, const Tiers& tiers, const SequenceTable& sequences, const Sharing& sharing,
                       const Accounting& accounting, int first_kept) {
    const PagePool& pool = sequences.pool();
    CacheStats stats;
    stats.resident_bytes = pool.resident_bytes() + accounting.own_bytes();
    stats.peak_resident_bytes = std::max(pool.peak_bytes(), stats.resident_bytes);
    stats.pages = pool.pages();
    stats.state_bytes = accounting.state_bytes();
    stats.kept_bytes = kept_bytes(sequences, first_kept) + stats.state_bytes;
    for (int sequence = 0; sequence < first_kept; sequence++) {
        double rows = 0;
        size_t shared = 0;
        for (int table = 0; table < sequences.tables(); table++) {
            for (const PageRef& reference : sequences.table(sequence, table)) {
                rows += reference.count;
                if (sharing.shared(sequence, table, reference)) shared += sequences.layout(table, reference).bytes;
            }
        }
        const int tokens = sequences.tokens(sequence);
        const double kept = tokens == 0 ? 1 : rows / sequences.tables() / tokens;
        stats.sequences.push_back({sequence, tiers.of(sequence).name, tokens, kept, size_t(page_bytes_of(sequences, sequence)), shared});
        stats.tokens += tokens;
    }
    stats.stock_bytes = stats.tokens * layers.stock_bytes_per_token();
    return stats;
}

size_t projected_bytes(const CacheOptions& options, size_t tokens, int sequences, int ubatch) {
    size_t window_row = 0, packed_row = 0, sink_row = 0, tables = 0;
    for (const LayerShape& layer : options.layers) {
        const auto row = [&](Format format) { return layer.kv_heads * page_layout(format, layer.head, kPageRows).bytes / kPageRows; };
        window_row += row(options.packs() ? options.window_format : options.format);
        packed_row += row(options.format);
        sink_row += row(Format::f16);
        tables += layer.kv_heads;
    }
    tokens = std::min(tokens, sequences * options.sliding_window.most_kept(tokens) + ubatch);
    const size_t window_rows = size_t(options.window) + 2 * kWindowPageRows;
    const size_t open_rows = std::min(tokens, sequences * window_rows + ubatch);
    const size_t references = (tokens / kPageRows + sequences) * sizeof(PageRef);
    const size_t bytes = sequences * options.sinks * sink_row + open_rows * window_row + (tokens - open_rows) * packed_row + references * tables;
    const size_t slabs = bytes + bytes / 64 + 2 * PagePool::kSlabBytes;  // headers, and slabs that are not full
    return options.pool_limit ? std::min(slabs, options.pool_limit) : slabs;
}

}  // namespace deltastore
