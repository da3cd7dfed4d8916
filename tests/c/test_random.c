/*
 * Random numbers: the generator against published answers, and words, permutations, initial weights and dropout masks
 * against the rules written out again; then what they are for, by their moments.
 */
#include "oracle.h"

/* ---- the generator ----------------------------------------------------- */

/* Known answers of Random123 1.09 for philox4x32-10: counter, key, output. */
static const uint32_t answers[][10] = {
    {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
    {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, /* gives */
     0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
    {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, /* gives */
     0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
};

static void test_known_answers(void)
{
    static const uint32_t first[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    uint32_t words[64];
    for (size_t i = 0; i < COUNT(answers); i++) { /* the oracle's own generator; some counters the library never uses */
        uint32_t counter[4];
        memcpy(counter, answers[i], sizeof counter);
        o_philox(counter, answers[i][4], answers[i][5]);
        for (size_t k = 0; k < 4; k++)
            CHECK(counter[k] == answers[i][6 + k], "answer %zu: %08" PRIx32 ", not %08" PRIx32, i, counter[k],
                  answers[i][6 + k]);
    }
    CHECK_OK(pynn_random_words(words, 64, 0, 0, 0, 0)); /* the words of counter 0 are 16 elements apart */
    for (size_t k = 0; k < 4; k++)
        CHECK(words[16 * k] == first[k], "word %zu: %08" PRIx32 ", not %08" PRIx32, k, words[16 * k], first[k]);
}

static void test_words(void)
{
    static const uint64_t starts[] = {0, 1, 15, 16, 63, 64, 65, 0xFFFFFFFF, 0x100000000, 0x1234567890, UINT64_MAX / 2};
    static const size_t lengths[] = {0, 1, 2, 63, 64, 65, 200};
    uint32_t words[201];
    for (size_t i = 0; i < COUNT(starts); i++) {
        for (size_t j = 0; j < COUNT(lengths); j++) {
            const uint64_t seed = any_bits();
            const uint32_t step = (uint32_t)any_bits(), stream = (uint32_t)any_bits();
            const size_t n = lengths[j];
            memset(words, GUARD_PATTERN, sizeof words);
            CHECK_OK(pynn_random_words(words, n, starts[i], seed, step, stream));
            for (size_t k = 0; k < n; k++) {
                const uint32_t wanted = o_word(starts[i] + k, seed, step, stream);
                if (!CHECK(words[k] == wanted, "element %" PRIu64 " + %zu", starts[i], k)) break;
            }
            CHECK(all_pattern(words + n, sizeof words - n * sizeof *words), "more than %zu words", n);
        }
    }
}

/* ---- permutations ------------------------------------------------------ */

/* floor(x n / 2^64) for n <= 2^32, by long multiplication in four digits. */
static uint32_t scaled(uint64_t x, uint64_t n)
{
    uint64_t carry = 0;
    for (int digit = 0; digit < 4; digit++) carry = (x >> 16 * digit & 0xFFFF) * n + (carry >> 16);
    return (uint32_t)(carry >> 16);
}

enum { MOST_ORDER = 600000 };

static void check_permutation(size_t n, uint64_t seed, uint32_t epoch)
{
    static uint32_t order[MOST_ORDER + 4], wanted[MOST_ORDER];
    memset(order, GUARD_PATTERN, (n + 4) * sizeof *order);
    CHECK_OK(pynn_permutation(n > 0 ? order : NULL, n, seed, epoch));
    for (uint32_t k = 0; k < n; k++) wanted[k] = k;
    for (size_t k = n > 0 ? n - 1 : 0; k >= 1; k--) {
        const uint64_t low = o_word(2 * k, seed, epoch, o_stream(O_SHUFFLE, 0));
        const uint64_t high = o_word(2 * k + 1, seed, epoch, o_stream(O_SHUFFLE, 0));
        const uint32_t j = scaled(high << 32 | low, (uint64_t)k + 1), swapped = wanted[k];
        wanted[k] = wanted[j];
        wanted[j] = swapped;
    }
    CHECK(memcmp(order, wanted, n * sizeof *order) == 0, "n %zu, epoch %" PRIu32, n, epoch);
    CHECK(all_pattern(order + n, 4 * sizeof *order), "more than %zu", n);
}

static void test_permutation(void)
{
    static const size_t sizes[] = {0, 1, 2, 3, 10, 31, 32, 33, 34, 64, 65, 100, 1000, 20011};
    check_case("permutation");
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (uint32_t epoch = 0; epoch < 3; epoch++) check_permutation(sizes[i], any_bits(), epoch);
}

/* All 24 orders of 4 are about as frequent: chi-square with 23 degrees of freedom, 49.7 at one in a thousand. */
static void test_permutation_fair(void)
{
    enum { EPOCHS = 24000 };
    size_t seen[256] = {0};
    double chi = 0.0;
    size_t kinds = 0;
    for (uint32_t epoch = 0; epoch < EPOCHS; epoch++) {
        uint32_t order[4];
        if (pynn_permutation(order, 4, 12345, epoch) != PYNN_OK) break;
        seen[(order[0] * 4 + order[1]) * 4 + order[2]]++;
    }
    for (size_t i = 0; i < COUNT(seen); i++) {
        const double apart = (double)seen[i] - EPOCHS / 24.0;
        if (seen[i] == 0) continue;
        kinds++;
        chi += apart * apart / (EPOCHS / 24.0);
    }
    CHECK(kinds == 24 && chi < 49.7, "%zu orders, chi-square %g", kinds, chi);
}

/* ---- initial weights --------------------------------------------------- */

static float unit(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }

static float o_initial(size_t e, size_t inputs, size_t outputs, int32_t init, uint64_t seed, uint32_t layer)
{
    const uint32_t stream = o_stream(O_INIT, layer);
    const int he = init == PYNN_INIT_HE_NORMAL || init == PYNN_INIT_HE_UNIFORM;
    const double variance = 2.0 / (double)(he ? inputs : inputs + outputs);
    if (init == PYNN_INIT_ZEROS) return 0.0f;
    if (init == PYNN_INIT_HE_UNIFORM || init == PYNN_INIT_GLOROT_UNIFORM) {
        const float a = sqrtf((float)(3.0 * variance));
        return fmaf(unit(o_word(e, seed, 0, stream)), 2.0f * a, -a);
    } else {
        const float u = (float)((o_word(2 * e, seed, 0, stream) >> 8) + 1) * 0x1p-24f;
        const float cosine = m_cospi(2.0f * unit(o_word(2 * e + 1, seed, 0, stream)));
        return sqrtf(-2.0f * m_log(u)) * cosine * sqrtf((float)variance);
    }
}

static void check_init(size_t inputs, size_t outputs, int32_t init, uint64_t seed, uint32_t number)
{
    static float w[5000], b[5000];
    const pynn_layer layer = {.init = init, .inputs = inputs, .outputs = outputs};
    const size_t n = inputs * outputs;
    memset(w, GUARD_PATTERN, sizeof w);
    memset(b, GUARD_PATTERN, sizeof b);
    check_case("init %d, %zu x %zu", init, inputs, outputs);
    CHECK_OK(pynn_dense_init(w, b, &layer, seed, number));
    for (size_t e = 0; e < n; e++) {
        const float wanted = o_initial(e, inputs, outputs, init, seed, number);
        if (!CHECK_SAME(w + e, &wanted, 1)) break;
    }
    for (size_t j = 0; j < outputs; j++) CHECK(bits_of(b[j]) == 0, "bias %zu is %g", j, (double)b[j]);
    CHECK(all_pattern(w + n, sizeof w - n * sizeof *w) && all_pattern(b + outputs, sizeof b - outputs * sizeof *b),
          "more than the layer");
}

static void test_init(void)
{
    static const size_t shapes[][2] = {{1, 1}, {3, 2}, {7, 9}, {8, 8}, {31, 1}, {1, 33}, {63, 3}, {64, 65}};
    for (int32_t init = PYNN_INIT_HE_NORMAL; init <= PYNN_INIT_ZEROS; init++)
        for (size_t i = 0; i < COUNT(shapes); i++)
            check_init(shapes[i][0], shapes[i][1], init, any_bits(), (uint32_t)any_below(5));
}

/* Of a layer alone, AUTO is glorot_uniform. */
static void test_init_auto(void)
{
    float w[12], b[3], wanted[12], zeros[3];
    pynn_layer layer = {.init = PYNN_INIT_GLOROT_UNIFORM, .inputs = 4, .outputs = 3};
    check_case("init of a layer alone");
    CHECK_OK(pynn_dense_init(wanted, zeros, &layer, 9, 1));
    layer.init = PYNN_INIT_AUTO;
    CHECK_OK(pynn_dense_init(w, b, &layer, 9, 1));
    CHECK_SAME(w, wanted, 12);
    CHECK_SAME(b, zeros, 3);
}

/* Every dense layer has a stream of its own; AUTO asks the activation that follows. */
static void test_params_init(void)
{
    static const int32_t best[][2] = {
        {PYNN_RELU, PYNN_INIT_HE_NORMAL},         {PYNN_LEAKY_RELU, PYNN_INIT_HE_NORMAL},
        {PYNN_SOFTPLUS, PYNN_INIT_HE_NORMAL},     {PYNN_GELU, PYNN_INIT_HE_NORMAL},
        {PYNN_SILU, PYNN_INIT_HE_NORMAL},         {PYNN_SIGMOID, PYNN_INIT_GLOROT_UNIFORM},
        {PYNN_TANH, PYNN_INIT_GLOROT_UNIFORM},    {PYNN_IDENTITY, PYNN_INIT_GLOROT_UNIFORM},
        {PYNN_SOFTMAX, PYNN_INIT_GLOROT_UNIFORM}, {PYNN_DENSE, PYNN_INIT_GLOROT_UNIFORM},
    };
    for (size_t i = 0; i < COUNT(best); i++) {
        const int last = best[i][0] == PYNN_DENSE;
        const pynn_layer layers[] = {
            {.init = PYNN_INIT_HE_UNIFORM, .inputs = 4, .outputs = 6},
            {.kind = PYNN_DROPOUT, .p = 0.5},
            {.inputs = 6, .outputs = 5},
            {.kind = best[i][0], .inputs = last ? 5 : 0, .outputs = last ? 5 : 0,
             .slope = best[i][0] == PYNN_LEAKY_RELU ? 0.1 : 0.0},
            {.inputs = 5, .outputs = 3},
        };
        static const size_t dense[] = {0, 2, 4};
        static float params[200];
        const uint64_t seed = any_bits();
        pynn_net net;
        check_case("before layer kind %d", best[i][0]);
        CHECK_OK(pynn_net_init(&net, layers, COUNT(layers)));
        CHECK_OK(pynn_params_init(params, &net, seed));
        for (uint32_t k = 0; k < COUNT(dense); k++) {
            const pynn_layer *layer = &layers[dense[k]];
            const int32_t init = k == 0 ? layer->init : k == 1 ? best[i][1] : PYNN_INIT_GLOROT_UNIFORM;
            const uint32_t number = k + (last && k == 2);
            const size_t weights = layer->inputs * layer->outputs;
            size_t at = 0;
            CHECK_OK(pynn_net_offset(&at, &net, dense[k]));
            for (size_t e = 0; e < weights; e++) {
                const float wanted = o_initial(e, layer->inputs, layer->outputs, init, seed, number);
                if (!CHECK_SAME(params + at + e, &wanted, 1)) break;
            }
            for (size_t j = 0; j < layer->outputs; j++)
                CHECK(bits_of(params[at + weights + j]) == 0, "bias %zu of layer %zu", j, dense[k]);
        }
    }
}

static void test_moments(void)
{
    enum { IN = 300, OUT = 200, N = IN * OUT };
    static float w[N], b[OUT];
    for (int32_t init = PYNN_INIT_HE_NORMAL; init <= PYNN_INIT_GLOROT_UNIFORM; init++) {
        const int uniform = init == PYNN_INIT_HE_UNIFORM || init == PYNN_INIT_GLOROT_UNIFORM;
        const int he = init == PYNN_INIT_HE_NORMAL || init == PYNN_INIT_HE_UNIFORM;
        const double variance = he ? 2.0 / IN : 2.0 / (IN + OUT), bound = sqrt(3.0 * variance), size = sqrt(variance);
        const pynn_layer layer = {.init = init, .inputs = IN, .outputs = OUT};
        double sum = 0.0, square = 0.0, cube = 0.0, fourth = 0.0, most = 0.0, apart = 0.0;
        check_case("moments of init %d", init);
        CHECK_OK(pynn_dense_init(w, b, &layer, 42, 0));
        for (size_t i = 0; i < N; i++) {
            const double z = (double)w[i] / size;
            sum += z;
            square += z * z;
            cube += z * z * z;
            fourth += z * z * z * z;
            most = fmax(most, fabs(z));
            if (i > 0) apart += z * (double)w[i - 1] / size;
        }
        CHECK_NEAR(sum / N, 0.0, 4.0 / sqrt(N));
        CHECK_NEAR(square / N, 1.0, 4.0 * sqrt(2.0 / N));
        CHECK_NEAR(cube / N, 0.0, 4.0 * sqrt(15.0 / N));
        CHECK_NEAR(fourth / N, uniform ? 1.8 : 3.0, 4.0 * sqrt(96.0 / N));
        CHECK_NEAR(apart / N, 0.0, 4.0 / sqrt(N));
        most *= uniform ? size / bound : 1.0;
        if (uniform) CHECK(most <= 1.0 + 0x1p-23 && most > 0.999, "%g of the bound", most);
        else CHECK(most > 3.5 && most < 5.9, "%g standard deviations", most); /* sqrt(-2 log 2^-24) is 5.77 */
    }
}

/* ---- dropout ----------------------------------------------------------- */

static void check_dropout(size_t rows, size_t width, double p)
{
    static float x[4200], y[4200], wanted[4200];
    const pynn_mask mask = {.seed = any_bits(), .step = (uint32_t)any_bits(), .layer = (uint32_t)any_below(3)};
    const size_t n = rows * width;
    for (size_t e = 0; e < n; e++) x[e] = any_below(20) ? any_float(-1.0f, 1.0f) : any_awkward();
    check_case("dropout %zu x %zu, p %g", rows, width, p);
    for (size_t e = 0; e < n; e++) wanted[e] = o_dropped(x[e], &mask, e, p);
    memset(y, GUARD_PATTERN, sizeof y);
    CHECK_OK(pynn_dropout_forward(y, x, &mask, rows, width, p));
    CHECK_SAME(y, wanted, n);
    CHECK(all_pattern(y + n, sizeof y - n * sizeof *y), "more than %zu", n);
    memcpy(y, x, n * sizeof *y);
    CHECK_OK(pynn_dropout_forward(y, y, &mask, rows, width, p));
    CHECK_SAME(y, wanted, n);
    for (size_t e = 0; e < n; e++) wanted[e] = o_flush(wanted[e]);
    CHECK_OK(pynn_dropout_backward(y, x, &mask, rows, width, p));
    CHECK_SAME(y, wanted, n);
    CHECK_OK(pynn_dropout_backward(x, x, &mask, rows, width, p));
    CHECK_SAME(x, wanted, n);
}

static void test_dropout(void)
{
    static const double ps[] = {0.0, 0.5, 0.25, 0.1, 0.999, 1e-9, 0x1p-17, 0.99999, 0.75};
    static const size_t widths[] = {1, 3, 63, 64, 65, 127, 128, 129, 300};
    for (size_t i = 0; i < COUNT(ps); i++)
        for (size_t j = 0; j < COUNT(widths); j++) check_dropout(1 + any_below(13), widths[j], ps[i]);
    check_dropout(0, 5, 0.5);
    { /* a mask keeps its share, and is another one at every step, layer and seed */
        enum { N = 60000 };
        static float ones[N], y[N];
        double kept = 0.0, both = 0.0;
        for (size_t i = 0; i < N; i++) ones[i] = 1.0f;
        for (uint32_t other = 0; other < 4; other++) {
            const pynn_mask mask = {.seed = other == 1 ? 8 : 7, .step = other == 2, .layer = other == 3};
            static float before[N];
            memcpy(before, y, sizeof y);
            CHECK_OK(pynn_dropout_forward(y, ones, &mask, 600, 100, 0.3));
            kept = both = 0.0;
            for (size_t i = 0; i < N; i++) kept += y[i] > 0.0f, both += y[i] > 0.0f && before[i] > 0.0f;
            check_case("mask %" PRIu32, other);
            CHECK_NEAR(kept / N, 0.7, 4.0 * sqrt(0.21 / N));
            if (other > 0) CHECK_NEAR(both / N, 0.49, 4.0 * sqrt(0.25 / N));
        }
    }
}

static void test_all(void)
{
    test_known_answers();
    test_words();
    test_permutation();
    test_permutation_fair();
    test_init();
    test_init_auto();
    test_params_init();
    test_moments();
    test_dropout();
}

int main(void)
{
    every_isa(test_all);
    check_case("a long permutation"); /* in which the low halves of the 64-bit numbers count too */
    check_permutation(MOST_ORDER, 1, 0);
    return check_end("test_random");
}
