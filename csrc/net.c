/* Layers to a net: their checks, and sizes that do not wrap around. */
#include "internal.h"

#include <string.h>

enum { FLOATS_PER_LINE = PYNN_MEMORY_ALIGNMENT / sizeof(float) };

size_t pynni_add(size_t a, size_t b)
{
    size_t sum;
    return __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}

size_t pynni_mul(size_t a, size_t b)
{
    size_t product;
    return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

size_t pynni_pad(size_t floats)
{
    const size_t more = pynni_add(floats, FLOATS_PER_LINE - 1);
    return more == SIZE_MAX ? SIZE_MAX : more / FLOATS_PER_LINE * FLOATS_PER_LINE;
}

static uint64_t double_bits(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits == (uint64_t)1 << 63 ? 0 : bits; /* -0 is 0 */
}

/* The bits of numbers that are not negative have their order; those of negative numbers and NaN are larger. */
int pynni_within(double x, double least, double most)
{
    return double_bits(x) >= double_bits(least) && double_bits(x) <= double_bits(most);
}

int pynni_is_positive(double x) { return pynni_within(x, DBL_TRUE_MIN, DBL_MAX); }

/* Half the address space, so that differences of pointers and byte counts fit too. */
pynn_status pynni_bytes(size_t *bytes, size_t floats)
{
    if (floats > SIZE_MAX / 2 / sizeof(float)) return PYNNI_BAD(PYNN_TOO_LARGE, SIZE);
    *bytes = floats * sizeof(float);
    return PYNN_OK;
}

int pynni_have_common_bytes(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    const uintptr_t from = (uintptr_t)a, other = (uintptr_t)b;
    return from < other ? other - from < a_bytes : from - other < b_bytes;
}

pynn_status pynni_check_memory(pynn_memory memory, size_t floats)
{
    size_t bytes = 0;
    PYNNI_TRY(pynni_bytes(&bytes, floats));
    if (bytes == 0) return PYNN_OK;
    if (memory.start == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, MEMORY);
    if (memory.bytes < bytes || (uintptr_t)memory.start % PYNN_MEMORY_ALIGNMENT != 0)
        return PYNNI_BAD(PYNN_BAD_MEMORY, MEMORY);
    return PYNN_OK;
}

int pynni_fits(size_t rows, size_t width, size_t stride)
{
    return pynni_mul(rows, pynni_larger(width, stride)) <= SIZE_MAX / 2 / sizeof(float);
}

/* ---- layers ------------------------------------------------------------ */

static int has_kind(int32_t kind)
{
    return kind >= PYNN_DENSE && kind <= PYNN_DROPOUT && PYNNI_HAS_LAYER(kind);
}

/* Whether the fields that no kind of layer has are 0. */
static int is_unused(const pynn_layer *layer)
{
    const double unused[] = {layer->epsilon, layer->deviation, layer->rate_factor};
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i++)
        if (double_bits(unused[i]) != 0) return 0;
    return layer->flags == 0 && layer->bins == 0 && pynni_is_zero(layer->reserved, 2);
}

pynn_status pynni_check_layer(const pynn_layer *layer)
{
    const double most_slope = layer->kind == PYNN_LEAKY_RELU ? FLT_MAX : 0.0;
    const double most_p = layer->kind == PYNN_DROPOUT ? PYNNI_MOST_DROPOUT : 0.0;
    if (!has_kind(layer->kind)) return PYNNI_BAD(PYNN_BAD_KIND, LAYER_KIND);
    if (layer->kind == PYNN_DENSE) {
        if (layer->init < PYNN_INIT_AUTO || layer->init > PYNN_INIT_ZEROS) return PYNNI_BAD(PYNN_BAD_KIND, LAYER_INIT);
        if (layer->inputs == 0) return PYNNI_BAD(PYNN_BAD_SIZE, LAYER_INPUTS);
        if (layer->outputs == 0) return PYNNI_BAD(PYNN_BAD_SIZE, LAYER_OUTPUTS);
    } else {
        if (layer->init != 0) return PYNNI_BAD(PYNN_BAD_VALUE, LAYER_INIT);
        if (layer->inputs != 0) return PYNNI_BAD(PYNN_BAD_SIZE, LAYER_INPUTS);
        if (layer->outputs != 0) return PYNNI_BAD(PYNN_BAD_SIZE, LAYER_OUTPUTS);
    }
    if (!pynni_within(layer->slope, 0.0, most_slope)) return PYNNI_BAD(PYNN_BAD_VALUE, LAYER_SLOPE);
    if (!pynni_within(layer->p, 0.0, most_p)) return PYNNI_BAD(PYNN_BAD_VALUE, LAYER_P);
    return is_unused(layer) ? PYNN_OK : PYNNI_BAD(PYNN_BAD_VALUE, LAYER_UNUSED);
}

/* ---- net --------------------------------------------------------------- */

/* FNV-1a over words of 32 bits, whose high bits are mixed into the low ones. */
static uint32_t hash_of(const void *start, size_t bytes)
{
    const unsigned char *from = start;
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < bytes; i += sizeof hash) {
        uint32_t word;
        memcpy(&word, from + i, sizeof word);
        hash = (hash ^ word) * 16777619u;
        hash ^= hash >> 15;
    }
    return hash;
}

_Static_assert(sizeof(pynn_layer) % sizeof(uint32_t) == 0, "a layer is whole words");
_Static_assert(sizeof(pynn_layer) == 4 * sizeof(int32_t) + 2 * sizeof(size_t) + 7 * sizeof(double),
               "a layer has no padding, which would have any value");

/* The two halves of the mark by which a net that was not made, or whose layers have changed, is known. The numbers come
 * first: if they are wrong, so may be the layers' place and count. */
static uint32_t hash_of_numbers(const pynn_net *net)
{
    const size_t numbers[] = {net->layer_count, net->inputs, net->outputs, net->widest, net->param_count,
                              net->constant_count};
    return hash_of(numbers, sizeof numbers);
}

static uint32_t hash_of_layers(const pynn_net *net)
{
    return hash_of(net->layers, net->layer_count * sizeof *net->layers);
}

/* A refusal with the number of its layer, as far as it has room in the upper bits. */
static pynn_status of_layer(pynn_status status, size_t layer)
{
    const uint32_t number = (uint32_t)pynni_smaller(layer + 1, 0x7FFF);
    return status == PYNN_OK ? PYNN_OK : (pynn_status)((uint32_t)status | number << 16);
}

/* What the layers say of a net; the net is filled in whatever comes out. */
static pynn_status describe_net(pynn_net *net, const pynn_layer *layers, size_t layer_count)
{
    *net = (pynn_net){.layers = layers, .layer_count = layer_count};
    if (layer_count == 0) return PYNNI_BAD(PYNN_BAD_SIZE, LAYERS);
    if (layer_count > SIZE_MAX / 2 / sizeof *layers) return PYNNI_BAD(PYNN_TOO_LARGE, LAYERS);
    for (size_t i = 0; i < layer_count; i++) {
        const pynn_layer *layer = &layers[i];
        PYNNI_TRY(of_layer(pynni_check_layer(layer), i));
        if (layer->kind != PYNN_DENSE) continue;
        if (net->inputs == 0) net->inputs = layer->inputs;
        else if (net->outputs != layer->inputs) return of_layer(PYNNI_BAD(PYNN_BAD_SIZE, LAYER_INPUTS), i);
        net->widest = pynni_larger(net->widest, pynni_larger(layer->inputs, layer->outputs));
        net->outputs = layer->outputs;
        net->param_count = pynni_add(net->param_count, pynni_mul(pynni_add(layer->inputs, 1), layer->outputs));
    }
    if (net->inputs == 0) return PYNNI_BAD(PYNN_BAD_SIZE, LAYERS);
    if (!pynni_fits(net->param_count, 1, 1)) return PYNNI_BAD(PYNN_TOO_LARGE, LAYERS);
    net->private_mark = (uint64_t)hash_of_layers(net) << 32 | hash_of_numbers(net);
    return PYNN_OK;
}

pynn_status pynn_net_init(pynn_net *net, const pynn_layer *layers, size_t layer_count)
{
    pynn_net made;
    if (net == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, NET);
    if (layers == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, LAYERS);
    PYNNI_TRY(describe_net(&made, layers, layer_count));
    *net = made;
    return PYNN_OK;
}

pynn_status pynni_check_net(const pynn_net *net)
{
    if (net == NULL || net->layers == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, NET);
    if ((uint32_t)net->private_mark != hash_of_numbers(net) || net->private_mark >> 32 != hash_of_layers(net))
        return PYNNI_BAD(PYNN_BAD_NET, NET);
    return PYNN_OK;
}

pynn_status pynn_net_offset(size_t *offset, const pynn_net *net, size_t layer)
{
    size_t floats = 0;
    if (offset == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    PYNNI_TRY(pynni_check_net(net));
    if (layer >= net->layer_count) return PYNNI_BAD(PYNN_BAD_INDEX, LAYER);
    if (net->layers[layer].kind != PYNN_DENSE) return PYNNI_BAD(PYNN_BAD_KIND, LAYER);
    for (size_t i = 0; i < layer; i++) floats += (net->layers[i].inputs + 1) * net->layers[i].outputs;
    *offset = floats;
    return PYNN_OK;
}

int32_t pynni_activation_behind(const pynn_net *net, size_t i)
{
    const int32_t kind = i + 1 < net->layer_count ? net->layers[i + 1].kind : PYNN_IDENTITY;
    return kind >= PYNN_IDENTITY && kind <= PYNN_SILU ? kind : PYNN_IDENTITY;
}
