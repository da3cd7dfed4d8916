/* A net becomes nodes; nodes and rows become sizes and offsets of memory. */
#include "internal.h"

enum {
    WIDE_LEAST = 192, /* columns: from here on the strides of a plain matrix hurt */
#ifdef PYNNI_SMALL
    STRIP_FLOATS = 64,
    STRIP_ROWS_LEAST = 1
#else
    STRIP_FLOATS = 8192,  /* of a weight gradient between product and update: a first-level cache */
    STRIP_ROWS_LEAST = 24 /* fewer rows would read the other factor of the product too often */
#endif
};
_Static_assert(STRIP_ROWS_LEAST <= PYNNI_ROW_BLOCK && STRIP_FLOATS / WIDE_LEAST <= PYNNI_ROW_BLOCK,
               "a strip of a wide layer can be copied as a block");

#define PLAN_MARK 0x70796e6e706c616eu

size_t pynni_packed(size_t k, size_t n)
{
    return pynni_mul(k, pynni_mul(n / PYNNI_PANEL + (n % PYNNI_PANEL > 0), PYNNI_PANEL));
}

#ifndef PYNNI_SMALL
int pynni_is_wide(size_t columns) { return columns >= WIDE_LEAST; }
#endif

size_t pynni_strip_rows(size_t inputs, size_t outputs)
{
    return pynni_smaller(pynni_larger(STRIP_FLOATS / outputs, STRIP_ROWS_LEAST), inputs);
}

size_t pynni_row_block(size_t rows)
{
    return rows == 0 ? 0 : (rows - 1) / ((rows - 1) / PYNNI_ROW_BLOCK + 1) + 1;
}

/* ---- nodes ------------------------------------------------------------- */

static int ends_with_head(const pynn_net *net, size_t layer)
{
    const int32_t kind = net->layers[layer].kind;
    return layer + 1 == net->layer_count && (kind == PYNN_SOFTMAX || kind == PYNN_SIGMOID);
}

/* The node that begins with a layer, and in *next the layer after it. */
static pynni_node node_at(const pynn_net *net, size_t layer, size_t inputs, size_t *next)
{
    const pynn_layer *first = &net->layers[layer], *activation = first;
    pynni_node node = {.kind = first->kind, .activation = PYNN_IDENTITY, .inputs = inputs, .outputs = inputs,
                       .layer = layer};
    *next = layer + 1;
    if (first->kind == PYNN_DENSE) {
        node.inputs = first->inputs;
        node.outputs = first->outputs;
        node.activation = pynni_activation_behind(net, layer);
        if (*next < net->layer_count && ends_with_head(net, *next)) node.activation = PYNN_IDENTITY;
        else if (node.activation != PYNN_IDENTITY) activation = &net->layers[(*next)++]; /* identity flushes alone */
    } else if (first->kind <= PYNN_SILU) {
        node.activation = first->kind;
    }
    if (PYNNI_HAS_LAYER(PYNN_LEAKY_RELU)) node.slope = activation->slope;
    if (PYNNI_HAS_LAYER(PYNN_DROPOUT)) node.p = first->p;
    return node;
}

static size_t count_nodes(const pynn_net *net)
{
    size_t count = 0;
    for (size_t layer = 0; layer < net->layer_count; count++) node_at(net, layer, 0, &layer);
    return count;
}

static size_t plan_floats(size_t nodes)
{
    const size_t bytes = pynni_add(sizeof(pynn_plan), pynni_mul(nodes, sizeof(pynni_node)));
    return bytes > SIZE_MAX / 2 ? SIZE_MAX : (bytes - 1) / sizeof(float) + 1;
}

pynn_status pynn_plan_bytes(size_t *bytes, const pynn_net *net)
{
    if (bytes == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    PYNNI_TRY(pynni_check_net(net));
    return pynni_bytes(bytes, pynni_pad(plan_floats(count_nodes(net))));
}

/* Adds the next node to what a plan says of all its nodes, and tells the node where it stands. */
static void add_node(pynn_plan *plan, pynni_node *node, size_t *params, uint32_t *dropouts)
{
    node->dropouts = *dropouts;
    node->params = *params;
    node->transposed = plan->transposed;
    *dropouts += node->kind == PYNN_DROPOUT;
    if (node->kind != PYNN_DENSE) return;
#ifndef PYNN_WITHOUT_TRAINING
    {
        const size_t floats = pynni_pad(pynni_packed(node->outputs, node->inputs));
        if (*params == 0) plan->first_transposed = floats;
        else plan->transposed = pynni_add(plan->transposed, floats);
        plan->strip = pynni_larger(plan->strip, pynni_strip_rows(node->inputs, node->outputs) * node->outputs);
    }
#endif
    plan->widest_columns = pynni_larger(plan->widest_columns, node->outputs);
    *params += (node->inputs + 1) * node->outputs;
}

pynn_plan pynni_describe(const pynn_net *net, pynni_node *nodes)
{
    pynn_plan plan = {.inputs = net->inputs, .outputs = net->outputs, .widest = net->widest,
                      .param_count = net->param_count, .layer_count = net->layer_count,
                      .last = net->layers[net->layer_count - 1].kind};
    size_t layer = 0, width = net->inputs, params = 0;
    uint32_t dropouts = 0;
    while (layer < net->layer_count) {
        pynni_node node = node_at(net, layer, width, &layer);
        add_node(&plan, &node, &params, &dropouts);
        width = node.outputs;
        if (layer < net->layer_count) plan.widest_inside = pynni_larger(plan.widest_inside, width);
        if (nodes != NULL) nodes[plan.node_count] = node;
        plan.node_count++;
    }
    plan.score_count = plan.node_count - (ends_with_head(net, net->layer_count - 1) ? 1 : 0);
    return plan;
}

pynn_status pynn_plan_init(const pynn_plan **plan, const pynn_model *model, pynn_memory memory)
{
    pynn_plan *made = memory.start;
    const pynn_net *net;
    pynni_call call;
    if (plan == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, PLAN);
    if (model == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, MODEL);
    net = model->net;
    PYNNI_TRY(pynni_check_net(net));
    if (model->params == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, PARAMS);
    if (model->constants != NULL) return PYNNI_BAD(PYNN_BAD_VALUE, MODEL_CONSTANTS);
    PYNNI_CHECK_RESERVE(model->reserved, MODEL_RESERVED);
    PYNNI_TRY(pynni_check_memory(memory, pynni_pad(plan_floats(count_nodes(net)))));
    if (pynni_have_common_bytes(made, plan_floats(count_nodes(net)) * sizeof(float), model->params,
                                net->param_count * sizeof(float)))
        return PYNNI_BAD(PYNN_BAD_MEMORY, MEMORY);
    PYNNI_TRY(pynni_enter(&call));
    *made = pynni_describe(net, made->nodes);
    made->params = model->params;
    made->kernels = call.kernels;
    made->mark = PLAN_MARK;
    pynni_leave(&call);
    *plan = made;
    return PYNN_OK;
}

pynn_status pynni_check_plan(const pynn_plan *plan)
{
    if (plan == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, PLAN);
    return plan->mark == PLAN_MARK ? PYNN_OK : PYNNI_BAD(PYNN_BAD_NET, PLAN);
}

pynn_status pynni_check_workspace(pynn_memory workspace, size_t floats, const pynn_plan *plan)
{
    const size_t bytes = floats * sizeof(float);
    const size_t plan_bytes = sizeof *plan + plan->node_count * sizeof plan->nodes[0];
    PYNNI_TRY(pynni_check_memory(workspace, floats));
    if (bytes > 0 && (pynni_have_common_bytes(workspace.start, bytes, plan, plan_bytes) ||
                      pynni_have_common_bytes(workspace.start, bytes, plan->params, plan->param_count * sizeof(float))))
        return PYNNI_BAD(PYNN_BAD_MEMORY, MEMORY);
    return PYNN_OK;
}

size_t pynni_nodes_until(const pynn_plan *plan, int32_t end)
{
    return end == PYNN_SCORES ? plan->score_count : plan->node_count;
}

/* ---- data and options -------------------------------------------------- */

pynn_status pynni_check_data_fields(const pynn_data *data)
{
    if (data == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, DATA);
    if (data->type != 0 || data->reserved_type != 0) return PYNNI_BAD(PYNN_BAD_KIND, DATA_TYPE);
    PYNNI_CHECK_RESERVE(data->reserved, DATA_RESERVED);
    return PYNN_OK;
}

pynn_status pynni_check_data(size_t *stride, const pynn_data *data, size_t inputs)
{
    PYNNI_TRY(pynni_check_data_fields(data));
    *stride = data->stride != 0 ? data->stride : inputs;
    if (*stride < inputs) return PYNNI_BAD(PYNN_BAD_SIZE, DATA_STRIDE);
    if (data->rows > 0 && data->x == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, DATA_X);
    if (data->rows > 1 && !pynni_fits(data->rows, inputs, *stride)) return PYNNI_BAD(PYNN_TOO_LARGE, DATA_ROWS);
    return PYNN_OK;
}

pynn_status pynni_check_mask(const pynn_mask *mask)
{
    if (mask == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, MASK);
    PYNNI_CHECK_RESERVE(mask->reserved, MASK);
    return PYNN_OK;
}

const pynn_options pynni_no_options = {0};

pynn_status pynni_check_options(const pynn_options **options, int takes)
{
    const pynn_options *given = *options;
    if (given == NULL) {
        *options = &pynni_no_options;
        return PYNN_OK;
    }
    if (given->end != PYNN_OUTPUTS && !(takes & PYNNI_TAKES_END && given->end == PYNN_SCORES))
        return PYNNI_BAD(PYNN_BAD_KIND, OPTIONS_END);
    if (given->loss != 0 && !(takes & PYNNI_TAKES_LOSS)) return PYNNI_BAD(PYNN_BAD_KIND, OPTIONS_LOSS);
    if (given->y_stride != 0 && !(takes & PYNNI_TAKES_STRIDE)) return PYNNI_BAD(PYNN_BAD_VALUE, OPTIONS_Y_STRIDE);
    if (given->mask != NULL) {
        if (!(takes & PYNNI_TAKES_MASK) || given->mask->layer != 0) return PYNNI_BAD(PYNN_BAD_VALUE, OPTIONS_MASK);
        PYNNI_TRY(pynni_check_mask(given->mask));
    }
    PYNNI_CHECK_RESERVE(given->reserved, OPTIONS_RESERVED);
    return pynni_check_executor(given->executor);
}

#ifndef PYNN_WITHOUT_TRAINING

/* ---- memory of a pass -------------------------------------------------- */

/* Memory that is given out piece by piece, each from a cache line on; with start NULL it is only counted. */
typedef struct arena {
    float *start;
    size_t used;
} arena;

static float *allot(arena *a, size_t floats)
{
    float *piece = a->start != NULL ? a->start + a->used : NULL;
    a->used = pynni_add(a->used, pynni_pad(floats));
    return piece;
}

static size_t floats_of_bytes(size_t bytes) { return (bytes + sizeof(float) - 1) / sizeof(float); }

/* What a node keeps. */
static pynni_slot allot_slot(arena *a, const pynni_node *node, size_t rows, int needs)
{
    const size_t floats = pynni_mul(rows, node->outputs);
    const int packs = needs & PYNNI_NEEDS_PACKED && node->kind == PYNN_DENSE && pynni_is_wide(node->outputs);
    pynni_slot slot;
    slot.rows = allot(a, floats);
    slot.gradient = allot(a, floats);
    slot.packed = packs ? allot(a, pynni_packed(rows, node->outputs)) : NULL;
    return slot;
}

static void allot_head(pynni_layout *layout, arena *a, const pynn_plan *plan, int needs)
{
    if (needs & PYNNI_NEEDS_STAMP) allot(a, 1);
    layout->slots = (void *)allot(a, floats_of_bytes(pynni_mul(plan->node_count, sizeof(pynni_slot))));
}

static void allot_rest(pynni_layout *layout, arena *a, const pynn_plan *plan, size_t rows, size_t workers, int needs)
{
    const size_t losses = needs & PYNNI_NEEDS_LOSSES ? rows : 0;
    layout->transposed = allot(a, PYNNI_TAKES_PLAIN_WEIGHTS ? 0 : plan->transposed);
    layout->first_transposed =
        allot(a, needs & PYNNI_NEEDS_DX && !PYNNI_TAKES_PLAIN_WEIGHTS ? plan->first_transposed : 0);
    layout->losses = allot(a, losses);
    layout->scales = allot(a, losses);
    layout->inputs = needs & PYNNI_NEEDS_INPUTS ? allot(a, pynni_mul(rows, plan->inputs)) : NULL;
    layout->grads = needs & PYNNI_NEEDS_GRADS ? allot(a, plan->param_count) : NULL;
    layout->own_scratch = pynni_pad(pynni_mul(pynni_smaller(rows, PYNNI_ROW_BLOCK), plan->widest));
    layout->own_strip = pynni_add(layout->own_scratch, pynni_is_wide(plan->widest) ? PYNNI_SCRATCH : 0);
    layout->own_floats = pynni_add(layout->own_strip, needs & PYNNI_NEEDS_STRIPS ? pynni_pad(plan->strip) : 0);
    layout->own = allot(a, pynni_mul(workers, layout->own_floats));
}

size_t pynni_lay_out(pynni_layout *layout, void *start, const pynn_plan *plan, size_t rows, size_t workers, int needs)
{
    arena a = {start, 0};
    allot_head(layout, &a, plan, needs);
    for (size_t i = 0; i < plan->node_count; i++) {
        const pynni_slot slot = allot_slot(&a, &plan->nodes[i], rows, needs);
        if (start != NULL) layout->slots[i] = slot;
    }
    allot_rest(layout, &a, plan, rows, workers, needs);
    return a.used;
}

size_t pynni_floats_of_net(const pynn_net *net, size_t rows, int needs)
{
    const pynn_plan plan = pynni_describe(net, NULL);
    pynni_layout layout;
    arena a = {NULL, 0};
    size_t layer = 0, width = net->inputs;
    allot_head(&layout, &a, &plan, needs);
    while (layer < net->layer_count) {
        const pynni_node node = node_at(net, layer, width, &layer);
        allot_slot(&a, &node, rows, needs);
        width = node.outputs;
    }
    allot_rest(&layout, &a, &plan, rows, 1, needs);
    return a.used;
}

pynn_status pynni_layout_bytes(size_t *bytes, const pynn_plan *plan, size_t rows, const pynn_executor *executor,
                               int needs)
{
    pynni_layout layout;
    return pynni_bytes(bytes, pynni_lay_out(&layout, NULL, plan, rows, pynni_workers(executor), needs));
}

#endif
