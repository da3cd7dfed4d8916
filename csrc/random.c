/* Everything random is a function of a seed and a position (docs/arithmetic.md, rule 10), so that neither threads nor
 * the order of calls can change it. */
#include "internal.h"

static uint32_t stream_of(uint32_t purpose, uint32_t layer) { return purpose << 24 | (layer & 0xFFFFFFu); }

pynn_status pynn_random_words(uint32_t *words, size_t n, uint64_t first, uint64_t seed, uint32_t step, uint32_t stream)
{
    uint32_t made[PYNNI_WORDS];
    pynni_call call;
    if (words == NULL && n > 0) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    if (n > UINT64_MAX - first) return PYNNI_BAD(PYNN_TOO_LARGE, SIZE);
    PYNNI_TRY(pynni_enter(&call));
    for (size_t i = 0; i < n; i++) {
        uint64_t element = first + i;
        if (i == 0 || element % PYNNI_WORDS == 0)
            PYNNI_KERNEL(call.kernels, words)(made, element / PYNNI_WORDS, seed, step, stream);
        words[i] = made[element % PYNNI_WORDS];
    }
    pynni_leave(&call);
    return PYNN_OK;
}

/* floor(x n / 2^64) */
static uint32_t scale_down(uint64_t x, uint64_t n)
{
    return (uint32_t)(((x >> 32) * n + ((x & 0xFFFFFFFFu) * n >> 32)) >> 32);
}

pynn_status pynn_permutation(uint32_t *order, size_t n, uint64_t seed, uint32_t epoch)
{
    uint32_t words[PYNNI_WORDS];
    uint64_t chunk_made = UINT64_MAX;
    pynni_call call;
    if (order == NULL && n > 0) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    if (n > UINT32_MAX) return PYNNI_BAD(PYNN_TOO_LARGE, SIZE);
    PYNNI_TRY(pynni_enter(&call));
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    for (size_t i = n; i-- > 1;) {
        uint64_t element = 2 * (uint64_t)i, chunk = element / PYNNI_WORDS;
        uint32_t low, high, j, swapped;
        if (chunk != chunk_made) {
            PYNNI_KERNEL(call.kernels, words)(words, chunk, seed, epoch, stream_of(PYNNI_STREAM_SHUFFLE, 0));
            chunk_made = chunk;
        }
        low = words[element % PYNNI_WORDS];
        high = words[element % PYNNI_WORDS + 1];
        j = scale_down((uint64_t)high << 32 | low, (uint64_t)i + 1);
        swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
    pynni_leave(&call);
    return PYNN_OK;
}

static void init_dense(const pynni_kernels *kernels, float *w, float *b, const pynn_layer *dense, int32_t init,
                       uint64_t seed, uint32_t number)
{
    uint32_t words[PYNNI_WORDS];
    const int normal = init == PYNN_INIT_HE_NORMAL || init == PYNN_INIT_GLOROT_NORMAL;
    const int he = init == PYNN_INIT_HE_NORMAL || init == PYNN_INIT_HE_UNIFORM;
    const double fan = he ? (double)dense->inputs : (double)dense->inputs + (double)dense->outputs;
    const float spread = /* uniform on (-a, a) has the variance a^2 / 3 */
        PYNNI_KERNEL(kernels, square_root)((float)((normal ? 2.0 : 6.0) / fan));
    const size_t n = dense->inputs * dense->outputs, step = normal ? PYNNI_WORDS / 2 : PYNNI_WORDS;
    for (size_t i = 0; i < dense->outputs; i++) b[i] = 0.0f;
    for (size_t i = 0; i < n; i += step) {
        const size_t count = pynni_smaller(n - i, step);
        if (init == PYNN_INIT_ZEROS) {
            for (size_t j = 0; j < count; j++) w[i + j] = 0.0f;
            continue;
        }
        PYNNI_KERNEL(kernels, words)(words, i / step, seed, 0, stream_of(PYNNI_STREAM_INIT, number));
        if (normal) PYNNI_KERNEL(kernels, normal)(w + i, words, count, spread);
        else PYNNI_KERNEL(kernels, uniform)(w + i, words, count, spread);
    }
}

pynn_status pynn_dense_init(float *w, float *b, const pynn_layer *dense, uint64_t seed, uint32_t number)
{
    pynni_call call;
    if (w == NULL || b == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    if (dense == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, LAYER);
    if (dense->kind != PYNN_DENSE) return PYNNI_BAD(PYNN_BAD_KIND, LAYER_KIND);
    PYNNI_TRY(pynni_check_layer(dense));
    if (!pynni_fits(dense->inputs, dense->outputs, 0)) return PYNNI_BAD(PYNN_TOO_LARGE, LAYER);
    PYNNI_TRY(pynni_enter(&call));
    init_dense(call.kernels, w, b, dense, dense->init == PYNN_INIT_AUTO ? PYNN_INIT_GLOROT_UNIFORM : dense->init, seed,
               number);
    pynni_leave(&call);
    return PYNN_OK;
}

static int32_t best_init(int32_t activation)
{
#define BEST_INIT(kind, name, keeps_score, init) PYNN_INIT_##init,
    static const unsigned char best[] = {PYNNI_ACTIVATION_LIST(BEST_INIT)};
    return best[activation - PYNN_IDENTITY];
}

pynn_status pynn_params_init(float *params, const pynn_net *net, uint64_t seed)
{
    pynni_call call;
    uint32_t number = 0;
    if (params == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, PARAMS);
    PYNNI_TRY(pynni_check_net(net));
    PYNNI_TRY(pynni_enter(&call));
    for (size_t i = 0; i < net->layer_count; i++) {
        const pynn_layer *dense = &net->layers[i];
        float *b = params + dense->inputs * dense->outputs;
        if (dense->kind != PYNN_DENSE) continue;
        init_dense(call.kernels, params, b, dense,
                   dense->init == PYNN_INIT_AUTO ? best_init(pynni_activation_behind(net, i)) : dense->init, seed,
                   number++);
        params = b + dense->outputs;
    }
    pynni_leave(&call);
    return PYNN_OK;
}

void pynni_dropout(const pynni_kernels *kernels, float *y, const float *x, const pynn_mask *mask, size_t first,
                   size_t rows, size_t width, double p)
{
    const uint32_t threshold = (uint32_t)(65536.0 * p + 0.5);
    const float scale = (float)(65536.0 / (65536.0 - (double)threshold));
    const size_t per_chunk = 2 * PYNNI_WORDS, n = rows * width;
    const uint64_t start = (uint64_t)first * width;
    uint32_t words[PYNNI_WORDS];
    for (size_t i = 0; i < n;) {
        const size_t at = (size_t)((start + i) % per_chunk), rest = per_chunk - at;
        const size_t count = pynni_smaller(n - i, rest);
        PYNNI_KERNEL(kernels, words)(words, (start + i) / per_chunk, mask->seed, mask->step,
                                     stream_of(PYNNI_STREAM_DROPOUT, mask->layer));
        PYNNI_KERNEL(kernels, dropout)(y + i, x + i, words, at, count, threshold, scale);
        i += count;
    }
}
