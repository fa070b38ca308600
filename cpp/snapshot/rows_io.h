// Page references and their rows as bytes: what state files and snapshots have in common.
#pragma once

#include <array>
#include <vector>

#include "byte_io.h"
#include "cache.h"

namespace deltastore {

// What a state that finds no room is refused with: POOL_LIMIT_REACHED or OUT_OF_MEMORY.
CodedError no_room(const PagePool& pool);

// Positions from here on are nobody's: none overflows by what comes behind it.
inline constexpr int32_t kMostPosition = INT32_MAX - 2 * kPageRows * (1 + kMostGap);

// Rows of F16 pages may be written in parts, from multiples of this on.
inline constexpr int kPartRows = 16;

// Sequences read so far, whose pages are given back to the pool unless they reach their sequence.
struct Staging {
    // A page that may get more rows; none if the reference has no rows.
    struct Arriving {
        PageRef reference;
        bool in_scratch = false;  // without a page of its own, as there may be one already that is the same
        std::vector<uint8_t> scratch;
    };

    Staging(SequenceTable& sequences, int table_count) : sequences(sequences), tables(table_count), arriving(table_count) {}
    Staging(Staging&&) = default;
    ~Staging();

    SequenceTable& sequences;
    int id = 0;
    Extent extent;
    std::vector<PageTable> tables;
    std::vector<Arriving> arriving;  // [table]
};

// {i32 position, u16 count, u16 rows, u16 first row, u8 format, u8 centre, u8 kind}. `centre`: the number that the reader will know the
// reference's centre by.
void write_head(const PageRef& reference, uint8_t centre, Writer& writer);

// Whether the reference's whole page is written, which it is if it is coded or has gaps. Else the f16 keys and values of the rows in use are.
bool is_whole(const PageRef& reference);

// What is written of a reference's page.
struct Field {
    size_t offset = 0, bytes = 0;
};
inline constexpr int kFields = 8;
using Fields = std::array<Field, kFields>;  // in the page's order
Fields fields_of(const PageLayout& layout, const HeadShape& shape, const PageRef& reference);
Fields fields_of(const SequenceTable& sequences, int table, const PageRef& reference);
// The same bytes in as few pieces as can be.
std::vector<Field> whole_fields(const PageLayout& layout, const HeadShape& shape, const PageRef& reference);

// The head and all fields.
void write_reference(const SequenceTable& sequences, int table, const PageRef& reference, uint8_t centre, Writer& writer);

// The cache's number for each centre that references name. Without `numbers` these are the same.
struct CentreNumbers {
    size_t count;
    const uint8_t* numbers = nullptr;
};

// The head of a reference that has no page yet. `before`: the reference in front of it, or null. Throws CodedError STATE_DAMAGED.
PageRef read_head(CentreNumbers centres, Reader& reader, const PageRef* before);

// Whose equal page a reference may take instead of its own.
enum class Twins { none, all };

// Reads the head of the next reference and finds its page: a new one, or the last reference's where the rows of one page come in parts. Its fields
// are read next. Throws CodedError: STATE_DAMAGED, POOL_LIMIT_REACHED or OUT_OF_MEMORY.
PageRef begin_reference(Staging& staged, int table, CentreNumbers centres, Reader& reader, Twins twins);
void read_field(Staging& staged, int table, const Field& field, Reader& reader);
// Once its fields are read. Throws CodedError: as above.
void finish_reference(Staging& staged, int table);
// Once there are no more. Throws CodedError: as above.
void finish_tables(Staging& staged);

// Begins and finishes, for what write_reference() wrote. The number of its rows.
int read_reference(Staging& staged, int table, CentreNumbers centres, Reader& reader);

void write_extent(const Extent& extent, Writer& writer);
// Throws CodedError STATE_DAMAGED if it does not fit a sequence of that many tokens.
Extent read_extent(uint32_t tokens, Reader& reader);

// A vector taken from keys, [table][key dim]. Throws CodedError STATE_DAMAGED.
std::vector<float> read_centre(const Cache& cache, Reader& reader);

void write_shapes(const Cache& cache, Writer& writer);
// Throws CodedError STATE_MODEL_MISMATCH or STATE_FORMAT_MISMATCH if they are not the cache's.
void read_shapes(const Cache& cache, Reader& reader);

}  // namespace deltastore
