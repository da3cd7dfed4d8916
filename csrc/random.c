/* Everything random is a function of a seed and a position (docs/arithmetic.md, rule 10), so that neither threads nor
 * the order of calls can change it. */
#include "internal.h"

static uint32_t stream_of(uint32_t purpose, uint32_t layer) { return purpose << 24 | (layer & 0xFFFFFFu); }

pynn_status pynn_random_words(uint32_t *words, size_t n, uint64_t first, uint64_t seed, uint32_t step, uint32_t stream)
{
    uint32_t made[PYNNI_WORDS];
    pynni_call call;
    if (words == NULL && n > 0) return PYNN_NULL_POINTER;
    if (n > UINT64_MAX - first) return PYNN_TOO_LARGE;
    PYNNI_TRY(pynni_enter(&call));
    for (size_t i = 0; i < n; i++) {
        uint64_t element = first + i;
        if (i == 0 || element % PYNNI_WORDS == 0) call.kernels->words(made, element / PYNNI_WORDS, seed, step, stream);
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
    if (order == NULL && n > 0) return PYNN_NULL_POINTER;
    if (n > UINT32_MAX) return PYNN_TOO_LARGE;
    PYNNI_TRY(pynni_enter(&call));
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    for (size_t i = n; i-- > 1;) {
        uint64_t element = 2 * (uint64_t)i, chunk = element / PYNNI_WORDS;
        uint32_t low, high, j, swapped;
        if (chunk != chunk_made) {
            call.kernels->words(words, chunk, seed, epoch, stream_of(PYNNI_STREAM_SHUFFLE, 0));
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

static void draw(const pynni_kernels *kernels, float *w, float *b, size_t inputs, size_t outputs, int32_t init,
                 uint64_t seed, uint32_t layer)
{
    uint32_t words[PYNNI_WORDS];
    int normal = init == PYNN_INIT_HE_NORMAL || init == PYNN_INIT_GLOROT_NORMAL;
    int he = init == PYNN_INIT_HE_NORMAL || init == PYNN_INIT_HE_UNIFORM;
    double fan = he ? (double)inputs : (double)inputs + (double)outputs;
    float spread = kernels->sqrt((float)((normal ? 2.0 : 6.0) / fan)); /* uniform on (-a, a) has the variance a^2 / 3 */
    size_t n = inputs * outputs, step = normal ? PYNNI_WORDS / 2 : PYNNI_WORDS;
    for (size_t i = 0; i < outputs; i++) b[i] = 0.0f;
    for (size_t i = 0; i < n; i += step) {
        size_t count = n - i < step ? n - i : step;
        if (init == PYNN_INIT_ZEROS) {
            for (size_t j = 0; j < count; j++) w[i + j] = 0.0f;
            continue;
        }
        kernels->words(words, i / step, seed, 0, stream_of(PYNNI_STREAM_INIT, layer));
        (normal ? kernels->normal : kernels->uniform)(w + i, words, count, spread);
    }
}

pynn_status pynn_dense_draw(float *w, float *b, size_t inputs, size_t outputs, int32_t init, uint64_t seed,
                            uint32_t layer)
{
    pynni_call call;
    if (w == NULL || b == NULL) return PYNN_NULL_POINTER;
    if (init < PYNN_INIT_AUTO || init > PYNN_INIT_ZEROS) return PYNN_BAD_KIND;
    if (inputs == 0 || outputs == 0) return PYNN_BAD_SIZE;
    PYNNI_TRY(pynni_check_rows(inputs, outputs, outputs));
    PYNNI_TRY(pynni_enter(&call));
    draw(call.kernels, w, b, inputs, outputs, init == PYNN_INIT_AUTO ? PYNN_INIT_GLOROT_UNIFORM : init, seed, layer);
    pynni_leave(&call);
    return PYNN_OK;
}

static int32_t best_init(int32_t activation)
{
    switch (activation) {
    case PYNN_RELU:
    case PYNN_LEAKY_RELU:
    case PYNN_SOFTPLUS:
    case PYNN_GELU:
    case PYNN_SILU:
        return PYNN_INIT_HE_NORMAL;
    default:
        return PYNN_INIT_GLOROT_UNIFORM;
    }
}

pynn_status pynn_net_draw(float *params, const pynn_net *net, uint64_t seed)
{
    pynni_call call;
    pynni_node node;
    uint32_t dense = 0;
    if (params == NULL) return PYNN_NULL_POINTER;
    PYNNI_TRY(pynni_check_net(net));
    PYNNI_TRY(pynni_enter(&call));
    for (int more = pynni_node_first(&node, net, net->layer_count, 0); more;
         more = pynni_node_next(&node, net, net->layer_count, 0)) {
        int32_t init = net->layers[node.begin].init;
        if (node.kind != PYNN_DENSE) continue;
        draw(call.kernels, params + node.params, params + node.params + node.inputs * node.outputs, node.inputs,
             node.outputs, init == PYNN_INIT_AUTO ? best_init(node.activation) : init, seed, dense++);
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
        const size_t count = n - i < rest ? n - i : rest;
        kernels->words(words, (start + i) / per_chunk, mask->seed, mask->step,
                       stream_of(PYNNI_STREAM_DROPOUT, mask->layer));
        kernels->dropout(y + i, x + i, words, at, count, threshold, scale);
        i += count;
    }
}
