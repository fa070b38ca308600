#include "transform_book.h"

#include <cstring>

namespace deltastore {

static constexpr char kBook[] = "DSTB";
static constexpr uint32_t kBookVersion = 1;

std::vector<int> key_dims_of_layers(const StoredHead& head) {
    std::vector<int> dims;
    for (int table = 0; table < head.tables(); table++) {
        dims.resize(size_t(head.layer_of(table)) + 1);
        dims.back() = head.shapes()[table].key_dim;
    }
    return dims;
}

void TransformBook::write(const StoredHead& head, Writer& writer) const {
    writer.bytes(kBook, 4);
    writer.number(kBookVersion);
    writer.number(uint32_t(head.made_with().size()));
    writer.bytes(head.made_with().data(), head.made_with().size());
    turns.write(writer);
    widths.write(writer);
    write_frequencies(level_frequencies, writer);
    for (const UnitAxes& axes : units) {
        axes.joint->write(writer);
        for (const auto& single : axes.single) single->write(writer);
    }
}

TransformBook TransformBook::read(const StoredHead& head, Reader& reader) {
    char magic[4];
    reader.bytes(magic, sizeof magic);
    const uint32_t version = reader.number<uint32_t>();
    if (std::memcmp(magic, kBook, sizeof magic) != 0 || version != kBookVersion) throw CodedError("STATE_FOREIGN", "The book is of another codec or version");
    Bytes made_with(head.made_with().size());
    const uint32_t size = reader.number<uint32_t>();
    if (size == made_with.size()) reader.bytes(made_with.data(), made_with.size());
    if (size != made_with.size() || made_with != head.made_with()) throw CodedError("STATE_MODEL_MISMATCH", "The book is of another model");
    TransformBook book;
    book.turns = KeyTurns::read(key_dims_of_layers(head), reader);
    book.widths = GaussianTables(reader);
    book.level_frequencies = read_frequencies(reader);
    if (book.level_frequencies.size() != kLevels) throw CodedError("STATE_DAMAGED", "The book has another number of levels");
    book.levels = FrequencyTable(book.level_frequencies);
    for (const Unit& unit : units_of(head.shapes())) {
        UnitAxes axes{unit, {}, nullptr, {}};
        for (int table = unit.first; table < unit.first + unit.count; table++) axes.dims.push_back(dims_of(head.shapes()[table], unit.keys));
        axes.joint = std::make_unique<Axes>(axes.dims, reader);
        for (int dims : axes.dims)
            if (unit.count > 1) axes.single.push_back(std::make_unique<Axes>(std::vector<int>{dims}, reader));
        book.units.push_back(std::move(axes));
    }
    return book;
}

}  // namespace deltastore
