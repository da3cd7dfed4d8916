/* The self-test: trainings, predictions, functions and random numbers that are fixed to the last bit, and the digests
 * that version 1 of the contract gives them. It sees the library as a program does, through pynn.h alone. Its inputs
 * are random words of rule 10, made into floats by operations that are exact in any floating-point environment. */
#include "arith.h"

#include "config.h"

#include <string.h>

#ifndef PYNN_WITHOUT_TRAINING

#define TRY(expression)                         \
    do {                                        \
        pynn_status status_ = (expression);     \
        if (status_ != PYNN_OK) return status_; \
    } while (0)

/* ---- SHA-256 (FIPS 180-4) ---------------------------------------------- */

enum { HASH_BLOCK = 64 };

typedef struct sha256 {
    uint32_t state[8];
    uint64_t length; /* bytes so far */
    unsigned char block[HASH_BLOCK];
} sha256;

static const uint32_t round_constants[64] = {
    0x428a2f98u, 0x71374491u, 0xb5c0fbcfu, 0xe9b5dba5u, 0x3956c25bu, 0x59f111f1u, 0x923f82a4u, 0xab1c5ed5u,
    0xd807aa98u, 0x12835b01u, 0x243185beu, 0x550c7dc3u, 0x72be5d74u, 0x80deb1feu, 0x9bdc06a7u, 0xc19bf174u,
    0xe49b69c1u, 0xefbe4786u, 0x0fc19dc6u, 0x240ca1ccu, 0x2de92c6fu, 0x4a7484aau, 0x5cb0a9dcu, 0x76f988dau,
    0x983e5152u, 0xa831c66du, 0xb00327c8u, 0xbf597fc7u, 0xc6e00bf3u, 0xd5a79147u, 0x06ca6351u, 0x14292967u,
    0x27b70a85u, 0x2e1b2138u, 0x4d2c6dfcu, 0x53380d13u, 0x650a7354u, 0x766a0abbu, 0x81c2c92eu, 0x92722c85u,
    0xa2bfe8a1u, 0xa81a664bu, 0xc24b8b70u, 0xc76c51a3u, 0xd192e819u, 0xd6990624u, 0xf40e3585u, 0x106aa070u,
    0x19a4c116u, 0x1e376c08u, 0x2748774cu, 0x34b0bcb5u, 0x391c0cb3u, 0x4ed8aa4au, 0x5b9cca4fu, 0x682e6ff3u,
    0x748f82eeu, 0x78a5636fu, 0x84c87814u, 0x8cc70208u, 0x90befffau, 0xa4506cebu, 0xbef9a3f7u, 0xc67178f2u,
};

static uint32_t rotated(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void hash_block(sha256 *h)
{
    uint32_t w[64], s[8];
    for (size_t i = 0; i < 16; i++) {
        const unsigned char *b = h->block + 4 * i;
        w[i] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
    for (size_t i = 16; i < 64; i++) {
        const uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) + w[i - 7] +
               (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
    }
    memcpy(s, h->state, sizeof s);
    for (size_t i = 0; i < 64; i++) {
        const uint32_t up = s[7] + (rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25)) +
                            ((s[4] & s[5]) ^ (~s[4] & s[6])) + round_constants[i] + w[i];
        const uint32_t down = (rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22)) +
                              ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += up;
        s[0] = up + down;
    }
    for (size_t i = 0; i < 8; i++) h->state[i] += s[i];
}

static void hash_byte(sha256 *h, unsigned char byte)
{
    h->block[h->length++ % HASH_BLOCK] = byte;
    if (h->length % HASH_BLOCK == 0) hash_block(h);
}

static void hash_begin(sha256 *h)
{
    *h = (sha256){.state = {0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au, 0x510e527fu, 0x9b05688cu, 0x1f83d9abu,
                            0x5be0cd19u}};
}

static void hash_end(char digest[PYNN_DIGEST], sha256 *h)
{
    const uint64_t bits = 8 * h->length;
    hash_byte(h, 0x80);
    while (h->length % HASH_BLOCK != HASH_BLOCK - 8) hash_byte(h, 0);
    for (int shift = 56; shift >= 0; shift -= 8) hash_byte(h, (unsigned char)(bits >> shift));
    for (size_t i = 0; i < PYNN_DIGEST - 1; i++)
        digest[i] = "0123456789abcdef"[h->state[i / 8] >> (28 - i % 8 * 4) & 15u];
    digest[PYNN_DIGEST - 1] = '\0';
}

/* Rule 12: little-endian bytes. */
static void hash_integer(sha256 *h, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++) hash_byte(h, (unsigned char)(x >> 8 * i));
}

static uint32_t float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Rule 12: sign and payload of a NaN are not specified, so all of them are one. */
static void hash_float_array(sha256 *h, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = float_bits(x[i]);
        hash_integer(h, (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits, 4);
    }
}

static void hash_double(sha256 *h, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    hash_integer(h, bits, 8);
}

/* ---- the runs ---------------------------------------------------------- */

enum { INPUTS = 3 << 24, TARGETS, LABELS, WEIGHTS, DRAWN }; /* streams of random words */
enum { BY_LABEL = 1, WEIGHTED = 2, SUBNORMAL = 4 };

/* A training on `rows` rows in batches, `epochs` times, then predictions and gradients. The net is dense, first, dense,
 * second, dense, and what the loss needs at its end. */
typedef struct training {
    int32_t first, second, loss, flags;
    const pynn_optimizer *optimizer;
    double rate;
    size_t rows, batch, epochs, inputs, hidden, middle, outputs;
} training;

typedef struct selftest {
    const char *name, *golden;
    pynn_status (*other)(sha256 *h); /* instead of a training */
    training training;
} selftest;

static pynn_status random_numbers(sha256 *h);
static pynn_status functions(sha256 *h);
static pynn_status losses(sha256 *h);

static const pynn_optimizer sgd = {.kind = PYNN_SGD};
static const pynn_optimizer sgd_l2 = {.kind = PYNN_SGD, .weight_decay = 0.01};
static const pynn_optimizer momentum = {.kind = PYNN_SGD, .momentum = 0.9};
static const pynn_optimizer nesterov_clipped = {.kind = PYNN_SGD, .nesterov = 1, .momentum = 0.8, .weight_decay = 0.001,
                                                .clip_norm = 0.5};
static const pynn_optimizer adam = {.kind = PYNN_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
static const pynn_optimizer adam_l2 = {.kind = PYNN_ADAM, .beta1 = 0.8, .beta2 = 0.99, .epsilon = 1e-6,
                                       .weight_decay = 0.01};
static const pynn_optimizer adamw = {.kind = PYNN_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8,
                                     .weight_decay = 0.1};
static const pynn_optimizer adamw_clipped = {.kind = PYNN_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8,
                                             .weight_decay = 0.1, .clip_norm = 0.25};

#define TRAINING(...) NULL, {__VA_ARGS__}

static const selftest selftest_runs[] = {
    {"random numbers", "8143603710b513bf6fcc2d20730cbb36002c09537fcf0ab72468094bb91c91e3", random_numbers, {0}},
    {"functions", "22bd94cf9a41781bfca3f122c686c6ae192b5f27a3c7d0de347fe29a045a900e", functions, {0}},
    {"losses", "304e4733420c99505c213ffd5193896631df43aa10e128a42a459d5f8284601c", losses, {0}},
    {"identity", "f285e1e81e8274603fd000d4d5ebe6c63a70ff8217c39da0d3640292877a8885",
     TRAINING(PYNN_IDENTITY, PYNN_IDENTITY, PYNN_CROSS_ENTROPY, BY_LABEL, &adam, 0.01, 23, 8, 5, 5, 7, 6, 3)},
    {"relu", "0aada7fdd6817f91037dd6addfc25409f9e8e59aaa8c383db4b10c57b7058869",
     TRAINING(PYNN_RELU, PYNN_RELU, PYNN_CROSS_ENTROPY, BY_LABEL, &adam, 0.01, 23, 8, 5, 5, 7, 6, 3)},
    {"leaky relu", "d04675fa94bd3f4c171224c15d50f1d81d0903b390d823cd6ed69f4c46511760",
     TRAINING(PYNN_LEAKY_RELU, PYNN_LEAKY_RELU, PYNN_CROSS_ENTROPY, BY_LABEL, &adam, 0.01, 23, 8, 5, 5, 7, 6, 3)},
    {"sigmoid", "efdb44229ccf78abdc912e8197fe12862b71ce9e611313d72f57246ade803e20",
     TRAINING(PYNN_SIGMOID, PYNN_SIGMOID, PYNN_CROSS_ENTROPY, BY_LABEL, &adam, 0.01, 23, 8, 5, 5, 7, 6, 3)},
    {"tanh", "f857cd47d4c7b1ddee0de770ea4befb99903f5acbc5732422ea79337ad2f9781",
     TRAINING(PYNN_TANH, PYNN_TANH, PYNN_CROSS_ENTROPY, BY_LABEL, &adam, 0.01, 23, 8, 5, 5, 7, 6, 3)},
    {"softplus", "5cdfdde05927d041bc847d6cbcf026014f6312132ea269de05e2487e3e1be075",
     TRAINING(PYNN_SOFTPLUS, PYNN_SOFTPLUS, PYNN_CROSS_ENTROPY, BY_LABEL, &adam, 0.01, 23, 8, 5, 5, 7, 6, 3)},
    {"gelu", "f72ff90387b5af912347db4dd5ea8b585f3bcf951d544c43f0da2ff204aae6c7",
     TRAINING(PYNN_GELU, PYNN_GELU, PYNN_CROSS_ENTROPY, BY_LABEL, &adam, 0.01, 23, 8, 5, 5, 7, 6, 3)},
    {"silu", "53372c88a323ca6a5b0b0dc6865f71ef30bdae8192ee2b58f7b057979c59fb68",
     TRAINING(PYNN_SILU, PYNN_SILU, PYNN_CROSS_ENTROPY, BY_LABEL, &adam, 0.01, 23, 8, 5, 5, 7, 6, 3)},
    {"softmax inside", "e444a06fcd79df04a623aa5b5973ae6e2b433f2d621b5483e7e3d1263c1a9fff",
     TRAINING(PYNN_SOFTMAX, PYNN_RELU, PYNN_MEAN_SQUARED_ERROR, 0, &adam, 0.01, 23, 8, 5, 5, 7, 21, 3)},
    {"dropout", "56c7b89261a60c453776c7a65cd2c0eefd3ad8137ca32af7622a2851ae47c0ff",
     TRAINING(PYNN_DROPOUT, PYNN_DROPOUT, PYNN_CROSS_ENTROPY, BY_LABEL, &adam, 0.01, 23, 8, 5, 5, 19, 12, 3)},
    {"squared error", "ff127ea20c9d24e42eb46494805494fba5bc16b4e848ea3baac0d850d8bfc436",
     TRAINING(PYNN_TANH, PYNN_RELU, PYNN_SQUARED_ERROR, 0, &sgd, 0.005, 19, 7, 4, 4, 9, 8, 5)},
    {"half squared error", "bac13bc0026595b91d5f4d7493d0a4e3c529e6a04c4129e416762d5ccc681cbc",
     TRAINING(PYNN_TANH, PYNN_RELU, PYNN_HALF_SQUARED_ERROR, 0, &sgd, 0.01, 19, 7, 4, 4, 9, 8, 17)},
    {"mean squared error", "fd8a501b34c2ab4e8b4bf3b1f180bfd5365f8a07f193d9ee4ce03170b37d4359",
     TRAINING(PYNN_TANH, PYNN_RELU, PYNN_MEAN_SQUARED_ERROR, 0, &sgd, 0.05, 19, 7, 4, 4, 9, 8, 3)},
    {"cross entropy, labels", "fdab4f67ee08b070e831a63697260c3e626aa7cc581560189c6e15e454df0894",
     TRAINING(PYNN_TANH, PYNN_RELU, PYNN_CROSS_ENTROPY, BY_LABEL, &sgd, 0.05, 19, 7, 4, 4, 9, 8, 19)},
    {"cross entropy, rows", "c660657d3430b308ae3d42509741893c476139ca4f881e567557fe32a899789b",
     TRAINING(PYNN_TANH, PYNN_RELU, PYNN_CROSS_ENTROPY, 0, &sgd, 0.05, 19, 7, 4, 4, 9, 8, 6)},
    {"binary cross entropy", "8c5e9779faac87c23780cf1850b81ad0cbef9a974921daf8014f4c844dd0e565",
     TRAINING(PYNN_TANH, PYNN_RELU, PYNN_BINARY_CROSS_ENTROPY, 0, &sgd, 0.05, 19, 7, 4, 4, 9, 8, 18)},
    {"sgd, l2 decay", "ebc7a935f01c48324ff579c3988258ea6b0d3ec7ab94ea1d0002360a0665181c",
     TRAINING(PYNN_RELU, PYNN_TANH, PYNN_CROSS_ENTROPY, BY_LABEL, &sgd_l2, 0.1, 21, 6, 4, 6, 11, 5, 2)},
    {"momentum", "81cf1f83fedc462e5718cc5a3ddd1e5b0221f19b85b53a96b7084d9b2e5cf5dd",
     TRAINING(PYNN_RELU, PYNN_TANH, PYNN_CROSS_ENTROPY, BY_LABEL, &momentum, 0.05, 21, 6, 4, 6, 11, 5, 2)},
    {"nesterov, clipped", "af00166e42b5909217109c93d2d7f8af94c15fb8890d75a466a60bb8eba2a9f8",
     TRAINING(PYNN_RELU, PYNN_TANH, PYNN_CROSS_ENTROPY, BY_LABEL, &nesterov_clipped, 0.05, 21, 6, 4, 6, 11, 5, 2)},
    {"adam, l2 decay", "848acf340ab88f213d6c367aaa9b43d33be0241aaba515f7dc4cc9ad3128644e",
     TRAINING(PYNN_RELU, PYNN_TANH, PYNN_CROSS_ENTROPY, BY_LABEL, &adam_l2, 0.02, 21, 6, 4, 6, 11, 5, 2)},
    {"adamw", "3cf88fc97b49ee5db060ae2d0e94eecbdc7d4bfe1c72832d8456b35db5766879",
     TRAINING(PYNN_RELU, PYNN_TANH, PYNN_CROSS_ENTROPY, BY_LABEL, &adamw, 0.02, 21, 6, 4, 6, 11, 5, 2)},
    {"adamw, clipped", "da29dba03afe3f667bed58e091cf7e70292409b3221fb3bff49f9b1deceddd51",
     TRAINING(PYNN_RELU, PYNN_TANH, PYNN_MEAN_SQUARED_ERROR, 0, &adamw_clipped, 0.02, 11, 4, 2, 37, 101, 13, 2)},
    {"one of everything", "24f7e279b160e1d1b7c8c3e5e80d98882592260573bc8c12ae688978d0841ab4",
     TRAINING(PYNN_SOFTPLUS, PYNN_GELU, PYNN_BINARY_CROSS_ENTROPY, 0, &adam, 0.01, 3, 1, 4, 1, 1, 1, 1)},
    {"prime sizes", "7327159f3e5ea177bc3e844e445a3f6829e52bebdc6899b64a9bde757b62c562",
     TRAINING(PYNN_SILU, PYNN_LEAKY_RELU, PYNN_CROSS_ENTROPY, BY_LABEL, &momentum, 0.02, 37, 13, 3, 31, 67, 17, 7)},
    {"wide layers", "bb11ad0f52b355a2295626872b988752ec26c243ec92d5010b04153fcf938b08",
     TRAINING(PYNN_RELU, PYNN_GELU, PYNN_CROSS_ENTROPY, BY_LABEL, &adam, 0.001, 29, 29, 2, 19, 200, 71, 33)},
    {"long sums of wide layers", "8c9a05c74ffa89eafa5eeb289724885db474404850cc30ce127f643f090bee49",
     TRAINING(PYNN_RELU, PYNN_TANH, PYNN_CROSS_ENTROPY, BY_LABEL, &sgd, 0.01, 21, 21, 2, 257, 193, 2, 2)},
    {"300 inputs", "35f0d6eab7545fce101ddc63465e43f2980ba0342b9cbb5d6beb642c2636a5b4",
     TRAINING(PYNN_TANH, PYNN_RELU, PYNN_CROSS_ENTROPY, BY_LABEL, &momentum, 0.01, 11, 4, 2, 300, 3, 4, 2)},
    {"300 outputs", "3e3ed6b5d862085da709cdaf0ea9b072ef697084ad88718d952df7409fa71bf0",
     TRAINING(PYNN_SIGMOID, PYNN_TANH, PYNN_SQUARED_ERROR, 0, &sgd, 0.0001, 9, 5, 2, 3, 5, 300, 2)},
    {"523 rows in a batch", "814a9a8d640c24494173fa9f9d49d2ddf3bcd6c97074d5cb6464c6a09b6c1719",
     TRAINING(PYNN_GELU, PYNN_DROPOUT, PYNN_CROSS_ENTROPY, BY_LABEL | WEIGHTED, &adam, 0.01, 523, 523, 2, 3, 4, 3, 2)},
    {"weights, some 0", "783ac787f9ccd5b3165cc3b07a5c271638a01eb05ccb82f4c22d238cfeef9c89",
     TRAINING(PYNN_TANH, PYNN_DROPOUT, PYNN_MEAN_SQUARED_ERROR, WEIGHTED, &adam, 0.01, 25, 2, 4, 3, 6, 5, 2)},
    {"subnormal inputs", "834f217d094147a69e481a775b5dbf88a86daeb75c2cd655f63261404d0d5739",
     TRAINING(PYNN_LEAKY_RELU, PYNN_IDENTITY, PYNN_SQUARED_ERROR, SUBNORMAL, &momentum, 0.05, 12, 5, 3, 5, 6, 7, 2)},
    {"1000 steps of adam", "7b2ea180795ee7eba6e7ba09acf20f0b38a375edb4380b367f07b007c3b3ab9d",
     TRAINING(PYNN_TANH, PYNN_SILU, PYNN_CROSS_ENTROPY, BY_LABEL, &adam, 0.003, 20, 10, 500, 4, 6, 5, 3)},
};
enum { RUNS = sizeof selftest_runs / sizeof selftest_runs[0] };

const char *pynn_selftest_name(size_t number) { return number < RUNS ? selftest_runs[number].name : NULL; }

/* ---- numbers ----------------------------------------------------------- */

enum { SAMPLES = 64, SEED = 1 };

/* n words of a stream, each through f. */
static pynn_status from_words(float *x, size_t n, uint32_t stream, float (*f)(uint32_t word))
{
    uint32_t words[SAMPLES];
    for (size_t i = 0; i < n; i += SAMPLES) {
        const size_t count = n - i < SAMPLES ? n - i : SAMPLES;
        TRY(pynn_random_words(words, count, i, SEED, 0, stream));
        for (size_t j = 0; j < count; j++) x[i + j] = f(words[j]);
    }
    return PYNN_OK;
}

static float float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

static float small(uint32_t word) { return (float)((int32_t)(word >> 8) - (1 << 23)) * 0x1p-22f; } /* -2 <= x < 2 */
static float large(uint32_t word) { return (float)((int32_t)(word >> 8) - (1 << 23)) * 0x1p-18f; } /* -32 <= x < 32 */
static float unit(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }                         /* 0 <= x < 1 */
static float quarters(uint32_t word) { return (float)(word >> 30) * 0.25f; }                       /* 0 .. 0.75 */
static float subnormal(uint32_t word) { return float_of_bits(word & 0x807fffffu); }

static pynn_status random_numbers(sha256 *h)
{
    enum { ROWS = 11, COLUMNS = 13, ORDERED = 300 };
    float w[ROWS * COLUMNS], b[COLUMNS];
    uint32_t words[ORDERED];
    TRY(pynn_random_words(words, ORDERED, ((uint64_t)1 << 40) - 7, 0xfedcba9876543210u, 0xffffffffu, DRAWN));
    for (size_t i = 0; i < ORDERED; i++) hash_integer(h, words[i], 4);
    TRY(pynn_permutation(words, ORDERED, SEED, 3));
    for (size_t i = 0; i < ORDERED; i++) hash_integer(h, words[i], 4);
    for (int32_t init = PYNN_INIT_HE_NORMAL; init <= PYNN_INIT_GLOROT_UNIFORM; init++) {
        const pynn_layer dense = {.kind = PYNN_DENSE, .init = init, .inputs = ROWS, .outputs = COLUMNS};
        TRY(pynn_dense_init(w, b, &dense, SEED, 5));
        hash_float_array(h, w, ROWS * COLUMNS);
    }
    return PYNN_OK;
}

#define LEAKY_SLOPE 0.1
#define DROPOUT_PROBABILITY 0.3

static pynn_layer layer_of(int32_t kind)
{
    return (pynn_layer){.kind = kind, .slope = kind == PYNN_LEAKY_RELU ? LEAKY_SLOPE : 0.0,
                        .p = kind == PYNN_DROPOUT ? DROPOUT_PROBABILITY : 0.0};
}

/* Every activation, forward and backward, at 2^14 floats spread over all 2^32. */
static pynn_status functions(sha256 *h)
{
    const uint32_t stride = 262147; /* a prime near 2^18 */
    float s[SAMPLES], a[SAMPLES], da[SAMPLES];
    for (int32_t kind = PYNN_IDENTITY; kind <= PYNN_SILU; kind++) {
        const pynn_layer activation = layer_of(kind);
        for (uint32_t first = 0; first < 1u << 14; first += SAMPLES) {
            for (uint32_t i = 0; i < SAMPLES; i++) s[i] = float_of_bits((first + i) * stride);
            TRY(from_words(da, SAMPLES, DRAWN, small));
            TRY(pynn_activation_forward(a, s, SAMPLES, &activation));
            TRY(pynn_activation_backward(da, da, s, a, SAMPLES, &activation));
            hash_float_array(h, a, SAMPLES);
            hash_float_array(h, da, SAMPLES);
        }
    }
    return PYNN_OK;
}

/* Softmax and every loss over rows of scores from -32 to 32, of widths on both sides of rule 3's sixteen lanes. */
static pynn_status losses(sha256 *h)
{
    static const size_t widths[] = {1, 2, 15, 16, 17, 40};
    enum { ROWS = 3, WIDEST = 40 };
    float s[ROWS * WIDEST], t[ROWS * WIDEST], out[ROWS * WIDEST], each[ROWS];
    int32_t labels[ROWS];
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        const size_t width = widths[i], n = ROWS * width;
        TRY(from_words(s, n, INPUTS, large));
        TRY(from_words(t, n, TARGETS, unit));
        TRY(pynn_softmax_forward(out, s, ROWS, width));
        hash_float_array(h, out, n);
        TRY(pynn_softmax_backward(t, t, out, ROWS, width));
        hash_float_array(h, t, n);
        TRY(from_words(t, n, TARGETS, unit));
        for (size_t r = 0; r < ROWS; r++) labels[r] = (int32_t)(r * 7 % width);
        for (int32_t kind = PYNN_SQUARED_ERROR; kind <= PYNN_BINARY_CROSS_ENTROPY + 1; kind++) {
            const int by_label = kind > PYNN_BINARY_CROSS_ENTROPY;
            const pynn_data data = {.rows = ROWS, .targets = {.rows = by_label ? NULL : t,
                                                              .labels = by_label ? labels : NULL}};
            double loss;
            TRY(pynn_loss(&loss, each, out, s, &data, width, by_label ? PYNN_CROSS_ENTROPY : kind));
            hash_double(h, loss);
            hash_float_array(h, each, ROWS);
            hash_float_array(h, out, n);
        }
    }
    return PYNN_OK;
}

/* ---- trainings --------------------------------------------------------- */

enum { LAYERS = 6, MOST_STEPS = 16 };
static pynn_layer dense_layer(size_t inputs, size_t outputs)
{
    return (pynn_layer){.kind = PYNN_DENSE, .inputs = inputs, .outputs = outputs};
}

static pynn_status make_net(pynn_net *net, pynn_layer layers[LAYERS], const training *run)
{
    size_t count = LAYERS;
    layers[0] = dense_layer(run->inputs, run->hidden);
    layers[1] = layer_of(run->first);
    layers[2] = dense_layer(run->hidden, run->middle);
    layers[3] = layer_of(run->second);
    layers[4] = dense_layer(run->middle, run->outputs);
    if (run->loss == PYNN_CROSS_ENTROPY) layers[5] = layer_of(PYNN_SOFTMAX);
    else if (run->loss == PYNN_BINARY_CROSS_ENTROPY) layers[5] = layer_of(PYNN_SIGMOID);
    else count = LAYERS - 1;
    return pynn_net_init(net, layers, count);
}

/* The arrays of a training. */
typedef struct arrays {
    float *x, *t, *weights, *params, *moments, *grads, *y, *dx;
    size_t moment_count;
    int32_t *labels;
    uint32_t *order;
    const pynn_plan *plan;
    pynn_memory workspace;
} arrays;

/* Takes n numbers of 4 bytes from the memory, and the bytes up to the next alignment; with memory NULL only counts. */
static void *take_numbers(size_t *used, void *memory, size_t n)
{
    void *start = memory != NULL ? (unsigned char *)memory + *used : NULL;
    *used += (n * sizeof(float) + PYNN_MEMORY_ALIGNMENT - 1) / PYNN_MEMORY_ALIGNMENT * PYNN_MEMORY_ALIGNMENT;
    return start;
}

/* The longest workspace of a run. */
static pynn_status measure_workspace(size_t *bytes, const training *run, const pynn_net *net,
                                     const pynn_executor *executor)
{
    _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char memory[2048];
    static const float any_params[1];
    const float any_weights[1] = {1.0f};
    const pynn_data data = {.rows = run->rows, .targets.weights = any_weights};
    const pynn_options options = {.executor = executor};
    const pynn_trainer trainer = {.optimizer = *run->optimizer, .executor = executor};
    const pynn_plan *plan;
    size_t needed[4];
    TRY(pynn_plan_init(&plan, &(pynn_model){.net = net, .params = any_params}, (pynn_memory){memory, sizeof memory}));
    TRY(pynn_predict_bytes(&needed[0], plan, run->rows, &options));
    TRY(pynn_train_bytes(&needed[1], plan, &trainer, run->batch));
    TRY(pynn_loss_and_grad_bytes(&needed[2], plan, &data, NULL));
    TRY(pynn_forward_bytes(&needed[3], plan, run->rows, NULL));
    *bytes = 0;
    for (size_t i = 0; i < 4; i++) *bytes = *bytes > needed[i] ? *bytes : needed[i];
    return PYNN_OK;
}

/* Lays the arrays out in memory, unless that is NULL, and gives the bytes they need. */
static pynn_status lay_out_arrays(size_t *bytes, arrays *a, void *memory, const training *run, const pynn_net *net,
                                  const pynn_executor *executor)
{
    size_t used = 0, plan, moments, workspace;
    void *plan_memory;
    TRY(pynn_optimizer_moments(&moments, run->optimizer));
    TRY(pynn_plan_bytes(&plan, net));
    TRY(measure_workspace(&workspace, run, net, executor));
    *a = (arrays){
        .x = take_numbers(&used, memory, run->rows * run->inputs),
        .t = take_numbers(&used, memory, run->rows * run->outputs),
        .weights = take_numbers(&used, memory, run->rows),
        .params = take_numbers(&used, memory, net->param_count),
        .moments = take_numbers(&used, memory, moments * net->param_count),
        .grads = take_numbers(&used, memory, net->param_count),
        .y = take_numbers(&used, memory, run->rows * run->outputs),
        .dx = take_numbers(&used, memory, run->rows * run->inputs),
        .labels = take_numbers(&used, memory, run->rows),
        .order = take_numbers(&used, memory, run->rows),
        .moment_count = moments * net->param_count,
    };
    plan_memory = take_numbers(&used, memory, plan / sizeof(float) + 1);
    a->workspace = (pynn_memory){take_numbers(&used, memory, 0), workspace};
    if (workspace > SIZE_MAX / 2 - used) return PYNN_TOO_LARGE;
    *bytes = used + workspace;
    if (memory == NULL) return PYNN_OK;
    return pynn_plan_init(&a->plan, &(pynn_model){.net = net, .params = a->params}, (pynn_memory){plan_memory, plan});
}

/* Targets are rows of numbers from 0 to 1; for a cross-entropy u, 1 - u, 0, 0 ... */
static pynn_status fill(const arrays *a, const training *run, const pynn_net *net)
{
    const size_t numbers = run->rows * run->outputs;
    TRY(from_words(a->x, run->rows * run->inputs, INPUTS, run->flags & SUBNORMAL ? subnormal : small));
    TRY(from_words(a->t, numbers, TARGETS, unit));
    for (size_t i = 0; run->loss == PYNN_CROSS_ENTROPY && i < numbers; i++) {
        if (i % run->outputs == 1) a->t[i] = 1.0f - a->t[i - 1];
        else if (i % run->outputs > 1) a->t[i] = 0.0f;
    }
    TRY(from_words(a->weights, run->rows, WEIGHTS, quarters));
    TRY(pynn_random_words(a->order, run->rows, 0, SEED, 0, LABELS));
    for (size_t r = 0; r < run->rows; r++) a->labels[r] = (int32_t)(a->order[r] % run->outputs);
    memset(a->moments, 0, a->moment_count * sizeof *a->moments);
    return pynn_params_init(a->params, net, SEED);
}

static pynn_status train_run(sha256 *h, const training *run, const arrays *a, const pynn_data *data,
                             pynn_trainer *trainer)
{
    double rates[MOST_STEPS];
    const pynn_batches batches = {.order = a->order, .size = run->batch, .learning_rates = rates};
    for (size_t k = 0; k < MOST_STEPS; k++) rates[k] = run->rate;
    for (uint32_t epoch = 0; epoch < run->epochs; epoch++) {
        trainer->totals = (pynn_totals){0.0, 0.0};
        TRY(pynn_permutation(a->order, run->rows, SEED, epoch));
        TRY(pynn_train_steps(trainer, a->plan, data, &batches, a->workspace));
        hash_double(h, trainer->totals.loss);
        hash_double(h, trainer->totals.weight);
    }
    return PYNN_OK;
}

/* Gradients of another step, of the loss and of the outputs. */
static pynn_status hash_gradients(sha256 *h, const training *run, const arrays *a, const pynn_data *data,
                                  const pynn_net *net, uint64_t steps)
{
    const pynn_mask mask = {.seed = SEED, .step = (uint32_t)steps};
    pynn_tape tape = {0};
    double loss;
    TRY(pynn_loss_and_grad(&loss, a->grads, a->plan, data, &(pynn_options){.loss = run->loss, .mask = &mask},
                           a->workspace));
    hash_double(h, loss);
    hash_float_array(h, a->grads, net->param_count);
    TRY(pynn_forward(a->y, &tape, a->plan, data, &(pynn_options){.mask = &mask}, a->workspace));
    TRY(pynn_backward(a->grads, a->dx, a->y, &tape, NULL));
    hash_float_array(h, a->grads, net->param_count);
    hash_float_array(h, a->dx, run->rows * run->inputs);
    return PYNN_OK;
}

/* Trains, and hashes the losses, all that training changes, predictions, and gradients of another step. */
static pynn_status train_and_predict(sha256 *h, const training *run, const pynn_executor *executor, void *memory)
{
    pynn_layer layers[LAYERS];
    pynn_net net;
    arrays a;
    pynn_data data;
    pynn_trainer trainer = {.optimizer = *run->optimizer, .loss = run->loss, .seed = SEED, .executor = executor};
    size_t bytes;
    TRY(make_net(&net, layers, run));
    TRY(lay_out_arrays(&bytes, &a, memory, run, &net, executor));
    TRY(fill(&a, run, &net));
    data = (pynn_data){.x = a.x, .rows = run->rows,
                       .targets = {.rows = run->flags & BY_LABEL ? NULL : a.t,
                                   .labels = run->flags & BY_LABEL ? a.labels : NULL,
                                   .weights = run->flags & WEIGHTED ? a.weights : NULL}};
    trainer.params = a.params;
    trainer.moments = a.moments;

    TRY(train_run(h, run, &a, &data, &trainer));
    hash_float_array(h, a.params, net.param_count);
    hash_float_array(h, a.moments, a.moment_count);
    hash_integer(h, trainer.state.steps, 8);
    hash_double(h, trainer.state.beta1_power);
    hash_double(h, trainer.state.beta2_power);

    for (int32_t end = PYNN_OUTPUTS; end <= PYNN_SCORES; end++) {
        TRY(pynn_predict(a.y, a.plan, &data, &(pynn_options){.end = end, .executor = executor}, a.workspace));
        hash_float_array(h, a.y, run->rows * run->outputs);
    }
    return hash_gradients(h, run, &a, &data, &net, trainer.state.steps);
}

static pynn_status measure_runs(size_t *bytes, const pynn_executor *executor)
{
    size_t most = 0;
    for (size_t i = 0; i < RUNS; i++) {
        pynn_layer layers[LAYERS];
        pynn_net net;
        arrays a;
        size_t needed;
        if (selftest_runs[i].other != NULL) continue;
        TRY(make_net(&net, layers, &selftest_runs[i].training));
        TRY(lay_out_arrays(&needed, &a, NULL, &selftest_runs[i].training, &net, executor));
        if (most < needed) most = needed;
    }
    *bytes = most;
    return PYNN_OK;
}

/* Only its workers count. */
static void run_nothing(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    (void)context, (void)task, (void)argument;
}

pynn_status pynn_selftest_bytes(size_t *bytes, size_t workers)
{
    const pynn_executor executor = {.workers = workers, .run = run_nothing};
    if (bytes == NULL) return PYNN_NULL_POINTER;
    return measure_runs(bytes, workers == 1 ? NULL : &executor);
}

pynn_status pynn_selftest(char digest[PYNN_DIGEST], size_t number, const pynn_executor *executor,
                          pynn_memory workspace)
{
    size_t bytes;
    sha256 h;
    if (digest == NULL) return PYNN_NULL_POINTER;
    digest[0] = '\0';
    if (workspace.start == NULL || (executor != NULL && executor->run == NULL)) return PYNN_NULL_POINTER;
    if (number >= RUNS) return PYNN_BAD_INDEX;
    TRY(measure_runs(&bytes, executor));
    if (workspace.bytes < bytes || (uintptr_t)workspace.start % PYNN_MEMORY_ALIGNMENT != 0) return PYNN_BAD_MEMORY;
    hash_begin(&h);
    if (selftest_runs[number].other != NULL) TRY(selftest_runs[number].other(&h));
    else TRY(train_and_predict(&h, &selftest_runs[number].training, executor, workspace.start));
    hash_end(digest, &h);
    return strcmp(digest, selftest_runs[number].golden) == 0 ? PYNN_OK : PYNN_BAD_ARITHMETIC;
}

#endif
