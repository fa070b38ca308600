// How many elements share a scale. In an anonymous namespace, as each instruction set compiles it.

namespace {

// 64, which the compiler knows.
struct GroupOf64 {
    static constexpr int most = kGroup;   // elements of an array for a group
    static constexpr int sums = kGroup;   // of one for its sums, which whole vectors are added to
    constexpr int size() const { return kGroup; }
    constexpr int padded() const { return kGroup; }
};

// Any other number; arrays have zeros behind it, up to whole lanes.
struct GroupOfSome {
    static constexpr int most = kMostGroup;
    static constexpr int sums = kMostGroup + 16;
    int elements;
    int size() const { return elements; }
    int padded() const { return (elements + 15) / 16 * 16; }
};

// Calls work(group) with that of a head's size.
template <typename Work>
inline void with_group(int dim, const Work& work) {
    if (dim % kGroup == 0) work(GroupOf64());
    else work(GroupOfSome{group_of(dim)});
}

}  // namespace
