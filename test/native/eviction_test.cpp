// What attention is watched for: the sums, against softmax in double precision; which rows are refined; which heads look things up. Also: the
// memory of evicted rows comes back.
#include <map>
#include <numeric>
#include <set>

#include "cache_model.h"
#include "definition.h"

using namespace deltastore;

static constexpr float kInfinity = std::numeric_limits<float>::infinity();

static CacheOptions options_of(Format format, const char* scorer) {
    CacheOptions options;
    options.layers = {{4, 2, {64, 64}}, {6, 1, {96, 72}}, {3, 1, {192, 128, /*latent*/ true}}};
    options.format = format;
    options.window_format = window_format_of(format);
    options.window = 32;
    options.max_sequences = 2;
    options.eviction = Eviction{0.4, schedule_by_name("uniform"), scorer_by_name(scorer), 100};
    return options;
}

// What RetrievalHeads adds up, by its definition.
struct Heads {
    std::map<std::pair<int, int>, std::pair<double, double>> sums;  // (layer, query head): echo, induction
    int queries = 0;
    double score(int layer, int head) const {
        const auto& [echo, induction] = sums.at({layer, head});
        return std::max(echo, induction) / queries;
    }
    void add(int layer, int head, const Turn& turn, const std::vector<float>& query, const DefinedAttention& seen, const float* own, const float* next) {
        const size_t dim = query.size();
        double scores[2] = {};
        for (size_t e = 0; e < dim; e++) {
            double turned = 0;
            for (size_t d = 0; d < dim; d++) turned += double(query[d]) * (*turn)[d * dim + e];
            scores[0] += turned * own[e];
            scores[1] += turned * next[e];
        }
        const auto weight = [&](double score) { return std::exp(score - seen.maximum) / (std::exp(score - seen.maximum) + seen.sum); };
        auto& [echo, induction] = sums[{layer, head}];
        echo += weight(scores[0]);
        induction += weight(scores[1]);
    }
};

using Weights = std::vector<std::map<int32_t, double>>;  // [table]: position -> attention received from watched queries

// Computes ubatches as the graph does, with queries that like some rows, and adds up what the watched ones give.
static void compute(CacheModel& model, const std::vector<int>& ubatches, int threads, Random& random, Weights* weights, Heads* heads = nullptr) {
    const auto& layers = model.cache.options().layers;
    for (int count : ubatches) {
        std::vector<Token> tokens;
        for (int i = 0; i < count; i++) tokens.push_back({1, model.next_position(1) + i});
        CHECK(model.reserve({tokens}) == Failure::none);
        model.write(0, threads);
        const auto& eviction = model.cache.options().eviction;
        const bool last_ones = eviction && eviction->scorer->watch == WatchedQueries::last;
        if (weights && last_ones) weights->assign(weights->size(), {});
        for (int layer = 0; layer < int(layers.size()); layer++) {
            const LayerShape& shape = layers[layer];
            const HeadShape& head = shape.head;
            const std::vector<float> queries = random.gaussians(size_t(count) * shape.query_heads * head.key_dim);
            std::vector<float> output(size_t(count) * shape.query_heads * head.value_dim);
            AttentionInput input{};
            input.queries = {queries.data(), head.key_dim * sizeof(float), size_t(count) * head.key_dim * sizeof(float)};
            input.output = output.data();
            input.output_token_stride = shape.query_heads * head.value_dim * sizeof(float);
            input.output_head_stride = head.value_dim * sizeof(float);
            input.scale = 1.5f / std::sqrt(float(head.key_dim));
            in_parallel(threads, [&](int thread) { model.cache.attend(layer, input, thread, threads); });
            if (!weights && !heads) continue;
            const int group = shape.query_heads / shape.kv_heads;
            for (int kv_head = 0; kv_head < shape.kv_heads; kv_head++) {
                const int table = model.cache.layers().table(layer, kv_head);
                const PageTable& references = model.cache.table().table(1, table);
                std::vector<DefinedRow> rows;
                std::vector<std::vector<float>> keys(references.size());
                const std::vector<float> value(head.value_dim);
                for (size_t i = 0; i < references.size(); i++) {
                    const PageRef& reference = references[i];
                    keys[i].resize(size_t(reference.count) * head.key_dim);
                    const float* centre = format_info(reference.format).packed ? model.cache.centres().at(reference.centre, table) : nullptr;
                    read_rows(model.cache.place().at(reference.page), model.cache.table().layout(table, reference), reference.format, head, centre, reference.begin,
                              reference.count, keys[i].data(), nullptr);
                    for (int r = 0; r < reference.count; r++)
                        rows.push_back({keys[i].data() + size_t(r) * head.key_dim, value.data(), model.positions_of(table, reference)[r]});
                }
                for (int t = 0; t < count; t++) {
                    const int32_t position = tokens[t].position;
                    if (weights && last_ones && t + kLastQueries < count) continue;
                    const bool some = weights && !eviction;
                    if (some && position % kWatchStep != 0) continue;
                    for (int h = kv_head * group; h < (kv_head + 1) * group; h++) {
                        const float* from = queries.data() + (size_t(h) * count + t) * head.key_dim;
                        std::vector<float> query(from, from + head.key_dim);
                        for (float& x : query) x *= input.scale;
                        const DefinedAttention expected = define_attention(rows, query.data(), head.key_dim, head.value_dim, position, 0, 0);
                        if (heads && t + 1 < count) {
                            const auto own = std::find_if(rows.begin(), rows.end(), [&](const DefinedRow& row) { return row.position == position; });
                            heads->add(layer, h, model.cache.options().far_turns[layer], query, expected, own->key, (own + 1)->key);
                        }
                        for (size_t r = 0; weights && r < rows.size(); r++)
                            if (!some || position - rows[r].position <= model.cache.options().window) (*weights)[table][rows[r].position] += expected.weights[r];
                    }
                }
            }
        }
        model.cache.finish();
        if (heads) heads->queries += count - 1;
    }
}

// Queries that positions turn by a matrix: scores against softmax in double precision, the same for any number of threads.
static void check_heads(Format format, uint64_t seed) {
    CacheOptions options = options_of(format, "attention");
    Random random(seed);
    for (const LayerShape& layer : options.layers) {
        auto turn = std::make_shared<std::vector<float>>(random.gaussians(size_t(layer.head.key_dim) * layer.head.key_dim));
        for (float& x : *turn) x /= std::sqrt(float(layer.head.key_dim));
        options.far_turns.push_back(turn);
    }
    CacheModel model(options, *select_kernels(), seed), other(options, *select_kernels(), seed);
    Heads expected;
    Random same = random;
    compute(model, {150, 1, 1, 40, 200}, 1, random, nullptr, &expected);
    compute(other, {150, 1, 1, 40, 200}, 3, same, nullptr);
    for (int layer = 0; layer < int(options.layers.size()); layer++)
        for (int h = 0; h < options.layers[layer].query_heads; h++) {
            const float score = model.cache.heads().score(layer, h, 1);
            CHECK_EQUAL(score, other.cache.heads().score(layer, h, 1));
            CHECK_AT_LEAST(expected.score(layer, h), 1e-3);
            CHECK_AT_MOST(std::abs(score / expected.score(layer, h) - 1), 0.05);
        }
    CHECK_EQUAL(model.cache.heads().score(0, 2, 2), std::max(model.cache.heads().score(0, 2, 1), model.cache.heads().score(0, 3, 1)));
    // Once enough queries were measured, nothing changes any more.
    compute(model, {RetrievalHeads::kQueries}, 2, random, nullptr);
    const float settled = model.cache.heads().score(0, 0, 4);
    compute(model, {100}, 2, random, nullptr);
    CHECK_EQUAL(model.cache.heads().score(0, 0, 4), settled);
}

// Sums against the definition (7-bit queries move packed weights by some percent), the same for any number of threads; then the rows with
// the highest scores stay, but for those that are near the limit.
static void check_watched(Format format, const char* scorer, uint64_t seed) {
    const CacheOptions options = options_of(format, scorer);
    const std::vector<int> ubatches = {150, 1, 1, 1, 40, 200, 3, 60};
    CacheModel model(options, *select_kernels(), seed), other(options, *select_kernels(), seed);
    Weights expected(model.cache.table().tables());
    Random random(seed), same(seed);
    compute(model, ubatches, 1, random, &expected);
    compute(other, ubatches, 3, same, nullptr);
    const Watch &watch = *model.cache.watch(1), &threaded = *other.cache.watch(1);
    for (int table = 0; table < model.cache.table().tables(); table++) {
        double difference = 0, sum = 0;
        for (int32_t p = options.sinks; p < model.next_position(1); p++) {
            CHECK_EQUAL(*threaded.sum(table, p), *watch.sum(table, p));
            difference += std::abs(*watch.sum(table, p) * kWatchUnit - expected[table][p]);
            sum += expected[table][p];
        }
        CHECK_AT_LEAST(sum, 1.0);
        CHECK_AT_MOST(difference / sum, format_info(format).packed ? 0.03 : 1e-3);
    }
    if (std::strcmp(scorer, "h2o") != 0) return;
    model.evict(1, *options.eviction, true);
    model.compare();
    model.compare_rows();
    for (int table = 0; table < model.cache.table().tables(); table++) {
        double least_kept = kInfinity, best_gone = 0;
        for (const ModelToken& token : model.sequences[1]) {
            if (token.position < options.sinks || token.position >= model.next_position(1) - 2 * kPageRows) continue;
            const double score = expected[table][token.position];
            if (token.evicted.count(table)) best_gone = std::max(best_gone, score);
            else least_kept = std::min(least_kept, score);
        }
        CHECK_AT_MOST(best_gone, 1.2 * least_kept);
    }
}

// In a page that is packed at once, the rows whose values add most are refined. Rows near the limit may go either way.
static void check_refined_choice(Format format, uint64_t seed) {
    CacheOptions options = options_of(format, "recency");
    options.eviction.reset();
    CacheModel model(options, *select_kernels(), seed), other(options, *select_kernels(), seed);
    Weights expected(model.cache.table().tables());
    Random random(seed), same(seed);
    const int count = options.sinks + 4 * kPageRows + options.window + 1;
    compute(model, {count}, 1, random, &expected);
    compute(other, {count}, 3, same, nullptr);
    int pages = 0;
    for (int table = 0; table < model.cache.table().tables(); table++) {
        const PageTable &references = model.cache.table().table(1, table), &threaded = other.cache.table().table(1, table);
        for (size_t i = 0; i < references.size(); i++) {
            const PageRef& reference = references[i];
            if (reference.format != format || reference.count < kPageRows) continue;
            const PageLayout& layout = model.cache.table().layout(table, reference);
            const uint8_t* page = model.cache.place().at(reference.page);
            CHECK(std::memcmp(page, other.cache.place().at(threaded[i].page), layout.bytes) == 0);
            if (model.cache.table().shape(table).latent) {  // no values that could be refined
                CHECK_EQUAL(layout.refined, 0);
                continue;
            }
            CHECK_EQUAL(refined_rows(page, layout), format_info(format).refined);
            std::set<int> refined;
            for (int r = 0; r < format_info(format).refined; r++) refined.insert(page[layout.refined_rows + r] - 1);
            double least_refined = kInfinity, best_plain = 0;
            for (int r = 0; r < kPageRows; r++) {
                const int32_t position = reference.position + r;
                const double score = expected[table][position] *
                                     value_norm(format, model.cache.table().shape(table), page, layout, r);
                if (refined.count(r)) least_refined = std::min(least_refined, score);
                else best_plain = std::max(best_plain, score);
            }
            CHECK_AT_MOST(best_plain, 1.2 * least_refined);
            pages++;
        }
    }
    CHECK_AT_LEAST(pages, 6);
    CHECK_EQUAL(model.cache.watch(1)->end(), count);
    CHECK_AT_LEAST(model.cache.watch(1)->begin(), count - options.window - kPageRows);  // packed rows are forgotten
}

// Eviction gives memory back: what is kept takes its share of it.
static void check_memory() {
    CacheOptions options = options_of(Format::k4v2, "attention");
    CacheModel model(options, *select_kernels(), 1);
    for (int i = 0; i < 20; i++) CHECK(model.add(0, 500) == Failure::none);
    const size_t before = model.cache.stats().resident_bytes;
    model.evict(0, *options.eviction, true);
    model.compare();
    model.compare_rows();
    CHECK_AT_MOST(model.cache.stats().resident_bytes, before * 0.52);
    CHECK_AT_MOST(std::abs(model.cache.stats().sequences[0].kept - 0.4), 0.001);
    CHECK(!model.cache.eviction_due(0));
    CHECK(model.add(0, 100) == Failure::none);
    CHECK(model.cache.eviction_due(0));
}

// Others that share the pages keep all their rows.
static void check_shared_pages() {
    CacheOptions options = options_of(Format::k4v4, "attention");
    CacheModel model(options, *select_kernels(), 1);
    CHECK(model.add(0, 700) == Failure::none);
    CHECK(model.fork(0, 1, 0, 600) == Failure::none);
    model.evict(0, *options.eviction, true);
    model.compare();
    model.compare_rows();
    model.evict(1, *options.eviction, true);
    model.erase(0, 0, INT32_MAX);
    model.compare();
    model.compare_rows();
}

int main(int argc, char** argv) {
    check::begin(argc, argv);
    std::printf("# kernel %s\n", select_kernels()->name);
    const uint64_t seed = check::state().seed;
    for (const Format format : kTierFormats)
        for (const char* scorer : {"h2o", "snapkv"})
            check::run(std::string("eviction: sums of attention are those of the definition, and the highest rows stay, over ") + format_info(format).name + ", for " + scorer,
                       [&] { check_watched(format, scorer, seed); });
    for (const Format format : {Format::f16, Format::k4v2})
        check::run(std::string("eviction: scores of retrieval heads are those of the definition, over ") + format_info(format).name, [&] { check_heads(format, seed); });
    for (const Format format : {Format::k4v2r6, Format::k3v2r14})
        check::run(std::string("eviction: the rows whose values add most are refined, ") + format_info(format).name, [&] { check_refined_choice(format, seed); });
    check::run("eviction: the memory of evicted rows comes back", check_memory);
    check::run("eviction: shared pages keep all their rows", check_shared_pages);
    return check::finish();
}
