/* Layers to sizes and offsets: all size arithmetic of the library is here, and none of it wraps around. */
#include "internal.h"

#include <string.h>

enum {
    FLOATS_PER_LINE = PYNN_WORKSPACE_ALIGNMENT / sizeof(float),
    WIDE_LEAST = 192,     /* columns: from here on the strides of a plain matrix hurt */
    STRIP_FLOATS = 8192,  /* of a weight gradient between product and update: a first-level cache */
    STRIP_ROWS_LEAST = 24 /* fewer rows would read the other factor of the product too often */
};
_Static_assert(STRIP_ROWS_LEAST <= PYNNI_ROW_BLOCK && STRIP_FLOATS / WIDE_LEAST <= PYNNI_ROW_BLOCK,
               "a strip of a wide layer can be copied as a block");

size_t pynni_add(size_t a, size_t b) { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }

size_t pynni_mul(size_t a, size_t b) { return b != 0 && a > SIZE_MAX / b ? SIZE_MAX : a * b; }

size_t pynni_pad(size_t floats)
{
    return floats > SIZE_MAX - FLOATS_PER_LINE ? SIZE_MAX : (floats + FLOATS_PER_LINE - 1) / FLOATS_PER_LINE * FLOATS_PER_LINE;
}

static uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits == (uint64_t)1 << 63 ? 0 : bits; /* -0 is 0 */
}

/* The bits of numbers that are not negative have their order; those of negative numbers and NaN are larger. */
int pynni_within(double x, double least, double most)
{
    return bits_of(x) >= bits_of(least) && bits_of(x) <= bits_of(most);
}

/* Half the address space, so that differences of pointers and byte counts fit too. */
pynn_status pynni_bytes(size_t *bytes, size_t floats)
{
    if (floats > SIZE_MAX / 2 / sizeof(float)) return PYNN_TOO_LARGE;
    *bytes = floats * sizeof(float);
    return PYNN_OK;
}

pynn_status pynni_check_workspace(const void *workspace, size_t workspace_bytes, size_t floats)
{
    size_t bytes = 0;
    PYNNI_TRY(pynni_bytes(&bytes, floats));
    if (bytes == 0) return PYNN_OK;
    if (workspace == NULL) return PYNN_NULL_POINTER;
    if (workspace_bytes < bytes || (uintptr_t)workspace % PYNN_WORKSPACE_ALIGNMENT != 0) return PYNN_BAD_WORKSPACE;
    return PYNN_OK;
}

pynn_status pynni_check_rows(size_t rows, size_t width, size_t stride)
{
    size_t bytes = 0;
    if (stride < width) return PYNN_BAD_SIZE;
    return pynni_bytes(&bytes, pynni_mul(rows, stride));
}

static int is_activation(int32_t kind) { return kind >= PYNN_IDENTITY && kind <= PYNN_SILU; }

static pynn_status check_layer(const pynn_layer *layer)
{
    if (layer->kind < PYNN_DENSE || layer->kind > PYNN_DROPOUT) return PYNN_BAD_KIND;
    if (layer->kind == PYNN_DENSE) {
        if (layer->init < PYNN_INIT_AUTO || layer->init > PYNN_INIT_ZEROS) return PYNN_BAD_KIND;
        return layer->inputs == 0 || layer->outputs == 0 ? PYNN_BAD_SIZE : PYNN_OK;
    }
    if (layer->inputs != 0 || layer->outputs != 0) return PYNN_BAD_SIZE;
    if (layer->kind == PYNN_LEAKY_RELU && !pynni_within(layer->value, 0.0, FLT_MAX)) return PYNN_BAD_VALUE;
    if (layer->kind == PYNN_DROPOUT && !pynni_within(layer->value, 0.0, PYNNI_MOST_DROPOUT)) return PYNN_BAD_VALUE;
    return PYNN_OK;
}

pynn_status pynn_net_init(pynn_net *net, const pynn_layer *layers, size_t layer_count)
{
    pynn_net made = {layers, layer_count, 0, 0, 0, 0};
    size_t bytes = 0;
    if (net == NULL || layers == NULL) return PYNN_NULL_POINTER;
    for (size_t i = 0; i < layer_count; i++) {
        const pynn_layer *layer = &layers[i];
        PYNNI_TRY(check_layer(layer));
        if (layer->kind != PYNN_DENSE) continue;
        if (made.inputs == 0) made.inputs = layer->inputs;
        else if (made.outputs != layer->inputs) return PYNN_BAD_SIZE;
        if (made.widest < layer->inputs) made.widest = layer->inputs;
        if (made.widest < layer->outputs) made.widest = layer->outputs;
        made.outputs = layer->outputs;
        made.param_count = pynni_add(made.param_count, pynni_mul(pynni_add(layer->inputs, 1), layer->outputs));
    }
    if (made.inputs == 0) return PYNN_BAD_SIZE;
    PYNNI_TRY(pynni_bytes(&bytes, made.param_count));
    *net = made;
    return PYNN_OK;
}

pynn_status pynni_check_net(const pynn_net *net)
{
    if (net == NULL || net->layers == NULL) return PYNN_NULL_POINTER;
    return net->layer_count == 0 || net->widest == 0 ? PYNN_BAD_SIZE : PYNN_OK;
}

pynn_status pynn_net_offset(size_t *offset, const pynn_net *net, size_t layer)
{
    size_t floats = 0;
    if (offset == NULL) return PYNN_NULL_POINTER;
    PYNNI_TRY(pynni_check_net(net));
    if (layer >= net->layer_count) return PYNN_BAD_INDEX;
    if (net->layers[layer].kind != PYNN_DENSE) return PYNN_BAD_KIND;
    for (size_t i = 0; i < layer; i++) floats += (net->layers[i].inputs + 1) * net->layers[i].outputs;
    *offset = floats;
    return PYNN_OK;
}

size_t pynni_layers_until(const pynn_net *net, int32_t end)
{
    int32_t last = net->layers[net->layer_count - 1].kind;
    return net->layer_count - (end == PYNN_SCORES && (last == PYNN_SOFTMAX || last == PYNN_SIGMOID) ? 1 : 0);
}

/* Fills in what the layers from node->begin say; the offsets are the walk's business. */
static void describe(pynni_node *node, const pynn_net *net, size_t layers)
{
    const pynn_layer *layer = &net->layers[node->begin];
    node->end = node->begin + 1;
    node->kind = layer->kind;
    node->activation = is_activation(layer->kind) ? layer->kind : PYNN_IDENTITY;
    node->value = layer->value;
    if (layer->kind != PYNN_DENSE) {
        node->outputs = node->inputs;
        return;
    }
    node->outputs = layer->outputs;
    if (node->end < layers && is_activation(layer[1].kind)) {
        node->activation = layer[1].kind;
        node->value = layer[1].value;
        node->end += 1;
    }
}

static size_t kept_by(const pynni_node *node, size_t rows)
{
    return pynni_mul(2, pynni_pad(pynni_mul(rows, node->outputs)));
}

static size_t params_of(const pynni_node *node)
{
    return node->kind == PYNN_DENSE ? (node->inputs + 1) * node->outputs : 0;
}

size_t pynni_packed(size_t k, size_t n)
{
    return pynni_mul(k, pynni_mul(n / PYNNI_PANEL + (n % PYNNI_PANEL > 0), PYNNI_PANEL));
}

int pynni_is_wide(size_t columns) { return columns >= WIDE_LEAST; }

static size_t packed_by(const pynni_node *node, size_t rows)
{
    return node->kind == PYNN_DENSE && pynni_is_wide(node->outputs) ? pynni_packed(rows, node->outputs) : 0;
}

static size_t copy_of(const pynni_node *node)
{
    return node->kind == PYNN_DENSE ? pynni_packed(node->outputs, node->inputs) : 0;
}

int pynni_node_first(pynni_node *node, const pynn_net *net, size_t layers, size_t rows)
{
    (void)rows;
    *node = (pynni_node){.inputs = net->inputs};
    if (layers == 0) return 0;
    describe(node, net, layers);
    return 1;
}

int pynni_node_next(pynni_node *node, const pynn_net *net, size_t layers, size_t rows)
{
    if (node->end >= layers) return 0;
    node->params += params_of(node);
    node->copy += copy_of(node);
    node->kept = pynni_add(node->kept, kept_by(node, rows));
    node->packed = pynni_add(node->packed, packed_by(node, rows));
    node->dropouts += node->kind == PYNN_DROPOUT;
    node->begin = node->end;
    node->inputs = node->outputs;
    describe(node, net, layers);
    return 1;
}

void pynni_node_last(pynni_node *node, const pynn_net *net, size_t layers, size_t rows)
{
    int more = pynni_node_first(node, net, layers, rows);
    while (more) more = pynni_node_next(node, net, layers, rows);
}

int pynni_node_previous(pynni_node *node, const pynn_net *net, size_t layers, size_t rows)
{
    const pynn_layer *layer;
    if (node->begin == 0) return 0;
    layer = &net->layers[node->begin - 1];
    node->begin -= is_activation(layer->kind) && node->begin >= 2 && layer[-1].kind == PYNN_DENSE ? 2 : 1;
    layer = &net->layers[node->begin];
    if (layer->kind == PYNN_DENSE) node->inputs = layer->inputs; /* else the width does not change */
    describe(node, net, layers);
    node->params -= params_of(node);
    node->copy -= copy_of(node);
    node->kept -= kept_by(node, rows);
    node->packed -= packed_by(node, rows);
    node->dropouts -= node->kind == PYNN_DROPOUT;
    return 1;
}

size_t pynni_strip_rows(size_t inputs, size_t outputs)
{
    size_t rows = STRIP_FLOATS / outputs;
    if (rows < STRIP_ROWS_LEAST) rows = STRIP_ROWS_LEAST;
    return rows < inputs ? rows : inputs;
}

size_t pynni_row_block(size_t rows)
{
    return rows == 0 ? 0 : (rows - 1) / ((rows - 1) / PYNNI_ROW_BLOCK + 1) + 1;
}

static size_t scratch_of(const pynn_net *net) { return pynni_is_wide(net->widest) ? PYNNI_SCRATCH : 0; }

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static float *take(float *workspace, size_t *used, size_t floats)
{
    size_t at = *used;
    *used = pynni_add(at, pynni_pad(floats));
    return workspace == NULL ? NULL : workspace + at;
}

size_t pynni_map_pass(pynni_map *map, void *workspace, const pynn_net *net, size_t rows, size_t workers)
{
    size_t kept = 0, packed = 0, copies = 0, strip = 0, used = 0;
    pynni_node node;
    for (int more = pynni_node_first(&node, net, net->layer_count, rows); more;
         more = pynni_node_next(&node, net, net->layer_count, rows)) {
        kept = pynni_add(kept, kept_by(&node, rows));
        packed = pynni_add(packed, packed_by(&node, rows));
        copies = pynni_add(copies, copy_of(&node));
        if (node.kind == PYNN_DENSE)
            strip = larger(strip, pynni_mul(pynni_strip_rows(node.inputs, node.outputs), node.outputs));
    }
    map->own_scratch = pynni_pad(pynni_mul(rows < PYNNI_ROW_BLOCK ? rows : PYNNI_ROW_BLOCK, net->widest));
    map->own_strip = pynni_add(map->own_scratch, scratch_of(net));
    map->own_floats = pynni_add(map->own_strip, pynni_pad(strip));
    map->kept = take(workspace, &used, kept);
    map->packed = take(workspace, &used, packed);
    map->copies = take(workspace, &used, copies);
    map->losses = take(workspace, &used, rows);
    map->scales = take(workspace, &used, rows);
    map->own = take(workspace, &used, pynni_mul(workers, map->own_floats));
    map->gathered = map->grads = NULL;
    return used;
}

size_t pynni_map_train(pynni_map *map, void *workspace, const pynn_net *net, size_t rows, size_t workers, int clips)
{
    size_t used = pynni_map_pass(map, workspace, net, rows, workers);
    map->gathered = take(workspace, &used, pynni_mul(rows, net->inputs));
    if (clips) map->grads = take(workspace, &used, net->param_count);
    return used;
}

size_t pynni_map_predict(pynni_map *map, void *workspace, const pynn_net *net, size_t workers)
{
    map->own = workspace;
    map->own_scratch = pynni_mul(2, pynni_pad(pynni_mul(PYNNI_ROW_BLOCK, net->widest)));
    map->own_floats = pynni_add(map->own_scratch, scratch_of(net));
    return pynni_mul(workers, map->own_floats);
}

pynn_status pynn_predict_bytes(size_t *bytes, const pynn_net *net, size_t workers)
{
    pynni_map map;
    if (bytes == NULL) return PYNN_NULL_POINTER;
    PYNNI_TRY(pynni_check_net(net));
    if (workers == 0) return PYNN_BAD_SIZE;
    return pynni_bytes(bytes, pynni_map_predict(&map, NULL, net, workers));
}

pynn_status pynn_pass_bytes(size_t *bytes, const pynn_net *net, size_t rows)
{
    pynni_map map;
    if (bytes == NULL) return PYNN_NULL_POINTER;
    PYNNI_TRY(pynni_check_net(net));
    if (rows == 0) return PYNN_BAD_SIZE;
    return pynni_bytes(bytes, pynni_map_pass(&map, NULL, net, rows, 1));
}

pynn_status pynn_dense_backward_bytes(size_t *bytes, size_t inputs, size_t outputs)
{
    if (bytes == NULL) return PYNN_NULL_POINTER;
    if (inputs == 0 || outputs == 0) return PYNN_BAD_SIZE;
    return pynni_bytes(bytes, pynni_packed(outputs, inputs));
}
