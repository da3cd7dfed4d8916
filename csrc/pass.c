/*
 * The two phases of a step. First a whole net forward, and backward to the gradient of every node's score, for a block
 * of batch rows; rows do not depend on each other and the parameters are only read, so blocks may be taken in any
 * order. Then the gradients of the parameters, which sum over all rows.
 *
 * What a node keeps for the way back are two arrays (B, O): its rows, and behind them the gradient of its score (of its
 * input, if it is not dense). An activation whose derivative needs the score leaves that in the second on the way
 * forward.
 */
#include "internal.h"

static float *rows_of(const pynni_pass *pass, const pynni_node *node, size_t first)
{
    return pass->map.kept + node->kept + first * node->outputs;
}

static float *gradient_of(const pynni_pass *pass, const pynni_node *node, size_t first)
{
    return rows_of(pass, node, first) + pynni_pad(pass->rows * node->outputs);
}

static pynn_mask mask_of(const pynni_pass *pass, const pynni_node *node)
{
    pynn_mask mask = *pass->mask;
    mask.layer = node->dropouts;
    return mask;
}

/* Nothing before it learns. */
static int is_first_dense(const pynni_node *node) { return node->kind == PYNN_DENSE && node->params == 0; }

static size_t slot(int32_t activation) { return (size_t)(activation - PYNN_IDENTITY); }

static void copy_rows(const pynni_kernels *kernels, float *out, const float *in, size_t in_stride, size_t rows,
                      size_t width)
{
    if (in_stride == width) {
        width *= rows;
        rows = rows > 0;
    }
    for (size_t r = 0; r < rows; r++) kernels->forward[slot(PYNN_IDENTITY)](out + r * width, in + r * in_stride, width, 0.0f);
}

/* One node forward: out (rows, outputs) from in (rows, inputs). A score that the way back needs goes to `score`; NULL:
 * there is no way back. */
static void forward(const pynni_pass *pass, const pynni_node *node, float *out, float *score, const float *in,
                    size_t in_stride, size_t first, size_t rows)
{
    const pynni_kernels *kernels = pass->kernels;
    const float *w = pass->params + node->params;
    const int fused = node->activation == PYNN_RELU;
    float *s = score != NULL && pynni_keeps_score(node->activation) ? score : out;
    if (node->kind == PYNN_DENSE) {
        kernels->gemm(&(pynni_gemm){.c = s, .a = in, .b = w, .scratch = pynni_is_wide(node->outputs) ? pass->map.packed : NULL,
                                    .start = w + node->inputs * node->outputs,
                                    .c_stride = node->outputs, .a_row = in_stride, .a_k = 1,
                                    .b_stride = node->outputs, .m = rows, .n = node->outputs, .k = node->inputs,
                                    .end = fused ? PYNNI_END_RELU : PYNNI_END_PLAIN});
        if (!fused && node->activation != PYNN_IDENTITY)
            kernels->forward[slot(node->activation)](out, s, rows * node->outputs, (float)node->value);
        return;
    }
    if (s != out) copy_rows(kernels, s, in, in_stride, rows, node->inputs);
    if (in_stride != node->inputs) {
        copy_rows(kernels, out, in, in_stride, rows, node->inputs);
        in = out;
    }
    if (node->kind == PYNN_SOFTMAX) {
        kernels->softmax_forward(out, in, rows, node->outputs);
    } else if (node->kind == PYNN_DROPOUT && pass->mask != NULL) {
        pynn_mask mask = mask_of(pass, node);
        pynni_dropout(kernels, out, in, &mask, first, rows, node->outputs, node->value);
    } else {
        kernels->forward[slot(node->activation)](out, in, rows * node->outputs, (float)node->value);
    }
}

void pynni_pass_forward(const pynni_pass *pass, size_t first, size_t rows)
{
    const float *in = pass->x + first * pass->x_stride;
    size_t in_stride = pass->x_stride;
    pynni_node node;
    for (int more = pynni_node_first(&node, pass->net, pass->layers, pass->rows); more;
         more = pynni_node_next(&node, pass->net, pass->layers, pass->rows)) {
        float *out = rows_of(pass, &node, first);
        forward(pass, &node, out, gradient_of(pass, &node, first), in, in_stride, first, rows);
        in = out;
        in_stride = node.outputs;
    }
}

/* One node backward: the gradient of its score, in its place, from that of its rows. */
static void backward(const pynni_pass *pass, const pynni_node *node, const float *drows, size_t first, size_t rows)
{
    const pynni_kernels *kernels = pass->kernels;
    const float *out = rows_of(pass, node, first);
    float *ds = gradient_of(pass, node, first);
    if (node->kind == PYNN_SOFTMAX) {
        kernels->softmax_backward(ds, drows, out, rows, node->outputs);
        return;
    }
    if (node->kind == PYNN_DROPOUT && pass->mask != NULL) {
        pynn_mask mask = mask_of(pass, node);
        pynni_dropout(kernels, ds, drows, &mask, first, rows, node->outputs, node->value);
        drows = ds;
    } else if (node->activation == PYNN_IDENTITY && drows == ds) {
        return;
    }
    kernels->backward[slot(node->activation)](ds, drows, pynni_keeps_score(node->activation) ? ds : out,
                                              rows * node->outputs, (float)node->value);
}

/* dx (rows, I) = ds W^T of a dense node, times the derivative of the relu whose outputs are given, if any. */
static void input_grad(const pynni_pass *pass, const pynni_node *node, float *dx, const float *relu, size_t first,
                       size_t rows)
{
    pynni_dense_input_grad(pass->kernels, dx, gradient_of(pass, node, first), pass->map.copies + node->copy, relu, rows,
                           node->inputs, node->outputs);
}

/* Where the gradient of a node's rows may be put until it is taken through the activation: in the place where it will
 * end, unless the score still stands there. */
static float *incoming(const pynni_pass *pass, const pynni_node *node, size_t first)
{
    return pynni_keeps_score(node->activation) ? pass->map.scratch : gradient_of(pass, node, first);
}

/* From a node's score back to the rows of the node before it; NULL when that one's relu is already applied. */
static const float *back_to(const pynni_pass *pass, const pynni_node *before, const pynni_node *node, size_t first,
                            size_t rows)
{
    float *drows = incoming(pass, before, first);
    if (node->kind != PYNN_DENSE) return gradient_of(pass, node, first);
    if (before->activation != PYNN_RELU) {
        input_grad(pass, node, drows, NULL, first, rows);
        return drows;
    }
    input_grad(pass, node, drows, rows_of(pass, before, first), first, rows);
    return NULL;
}

void pynni_pass_backward(const pynni_pass *pass, float *dx, const float *drows, size_t first, size_t rows)
{
    pynni_node node, before;
    pynni_node_last(&node, pass->net, pass->layers, pass->rows);
    for (;;) {
        if (drows != NULL) backward(pass, &node, drows, first, rows);
        if (dx == NULL && is_first_dense(&node)) return;
        before = node;
        if (!pynni_node_previous(&before, pass->net, pass->layers, pass->rows)) break;
        drows = back_to(pass, &before, &node, first, rows);
        node = before;
    }
    if (node.kind == PYNN_DENSE) {
        input_grad(pass, &node, dx, NULL, first, rows);
    } else {
        copy_rows(pass->kernels, dx, gradient_of(pass, &node, first), node.inputs, rows, node.inputs);
    }
}

float *pynni_pass_rows(const pynni_pass *pass, size_t first, float **drows)
{
    pynni_node node;
    pynni_node_last(&node, pass->net, pass->layers, pass->rows);
    *drows = incoming(pass, &node, first);
    return rows_of(pass, &node, first);
}

void pynni_pass_transpose(const pynni_pass *pass, int with_dx)
{
    pynni_node node;
    for (int more = pynni_node_first(&node, pass->net, pass->layers, pass->rows); more;
         more = pynni_node_next(&node, pass->net, pass->layers, pass->rows)) {
        if (node.kind != PYNN_DENSE || (is_first_dense(&node) && !with_dx)) continue;
        pass->kernels->pack_turned(pass->map.copies + node.copy, pass->params + node.params, node.outputs, node.inputs);
    }
}

void pynni_pass_grads(const pynni_pass *pass, float *grads)
{
    const float *in = pass->x;
    size_t in_stride = pass->x_stride;
    pynni_node node;
    for (int more = pynni_node_first(&node, pass->net, pass->layers, pass->rows); more;
         more = pynni_node_next(&node, pass->net, pass->layers, pass->rows)) {
        if (node.kind == PYNN_DENSE) {
            const float *ds = gradient_of(pass, &node, 0);
            float *dw = grads + node.params;
            pynni_dense_weight_grad(pass->kernels, dw, ds, 0, in, in_stride, pass->rows, node.outputs, 0, node.inputs);
            pynni_dense_bias_grad(pass->kernels, dw + node.inputs * node.outputs, ds, pass->rows, node.outputs);
        }
        in = rows_of(pass, &node, 0);
        in_stride = node.outputs;
    }
}

size_t pynni_pass_learn(const pynni_pass *pass, const pynni_step *step)
{
    const float *in = pass->x;
    float *strip = pass->map.strip;
    size_t in_stride = pass->x_stride;
    pynni_node node;
    for (int more = pynni_node_first(&node, pass->net, pass->layers, pass->rows); more;
         more = pynni_node_next(&node, pass->net, pass->layers, pass->rows)) {
        if (node.kind == PYNN_DENSE) {
            const float *ds = gradient_of(pass, &node, 0);
            const size_t tall = pynni_strip_rows(node.inputs, node.outputs);
            const int packs = pynni_is_wide(node.outputs);
            int finite = 1;
            if (packs) pass->kernels->pack(pass->map.packed, ds, node.outputs, pass->rows, node.outputs);
            for (size_t first = 0; first < node.inputs; first += tall) {
                const size_t count = node.inputs - first < tall ? node.inputs - first : tall;
                pynni_dense_weight_grad(pass->kernels, strip, packs ? pass->map.packed : ds, packs, in, in_stride,
                                        pass->rows, node.outputs, first, count);
                finite &= pynni_step_apply(step, strip, node.params + first * node.outputs, count * node.outputs, 0);
            }
            pynni_dense_bias_grad(pass->kernels, strip, ds, pass->rows, node.outputs);
            finite &= pynni_step_apply(step, strip, node.params + node.inputs * node.outputs, node.outputs, 1);
            if (!finite) return node.begin;
        }
        in = rows_of(pass, &node, 0);
        in_stride = node.outputs;
    }
    return pass->net->layer_count;
}

static pynn_status check_pass(const pynn_net *net, const float *params, const float *x, size_t x_stride,
                              const float *y, size_t rows, int32_t end)
{
    if (net == NULL || params == NULL || (rows > 0 && (x == NULL || y == NULL))) return PYNN_NULL_POINTER;
    if (end != PYNN_OUTPUTS && end != PYNN_SCORES) return PYNN_BAD_KIND;
    PYNNI_TRY(pynni_check_rows(rows, net->outputs, net->outputs));
    return pynni_check_rows(rows, net->inputs, x_stride);
}

pynn_status pynn_predict(float *y, const pynn_net *net, const float *params, const float *x, size_t x_stride,
                         size_t rows, int32_t end, void *workspace, size_t workspace_bytes)
{
    pynni_pass pass;
    pynni_call call;
    size_t block;
    float *out[2];
    PYNNI_TRY(check_pass(net, params, x, x_stride, y, rows, end));
    PYNNI_TRY(pynni_check_workspace(workspace, workspace_bytes, pynni_floats_predict(net)));
    PYNNI_TRY(pynni_enter(&call));
    out[0] = workspace;
    block = pynni_row_block(net);
    out[1] = out[0] + pynni_pad(block * net->widest);
    pass = (pynni_pass){.kernels = call.kernels, .net = net, .params = params, .layers = pynni_layers_until(net, end),
                        .map = {.packed = out[1] + pynni_pad(block * net->widest)}};
    for (size_t first = 0; first < rows; first += block) {
        const size_t count = rows - first < block ? rows - first : block;
        const float *in = x + first * x_stride;
        size_t in_stride = x_stride, turn = 0;
        pynni_node node;
        for (int more = pynni_node_first(&node, net, pass.layers, count); more;
             more = pynni_node_next(&node, net, pass.layers, count)) {
            float *to = node.end == pass.layers ? y + first * net->outputs : out[turn++ % 2];
            forward(&pass, &node, to, NULL, in, in_stride, first, count);
            in = to;
            in_stride = node.outputs;
        }
    }
    pynni_leave(&call);
    return PYNN_OK;
}

/* What pynn_forward and pynn_backward begin with; y is the array at the end of the net. */
static pynn_status open_pass(pynni_pass *pass, pynni_call *call, const pynn_net *net, const float *params,
                             const float *x, size_t x_stride, const float *y, const pynn_mask *mask, size_t rows,
                             int32_t end, void *workspace, size_t workspace_bytes)
{
    PYNNI_TRY(check_pass(net, params, x, x_stride, y, rows, end));
    if (rows == 0) return PYNN_BAD_SIZE;
    *pass = (pynni_pass){.net = net, .params = params, .x = x, .x_stride = x_stride, .mask = mask,
                         .layers = pynni_layers_until(net, end), .rows = rows};
    PYNNI_TRY(pynni_check_workspace(workspace, workspace_bytes, pynni_map_pass(&pass->map, NULL, net, rows)));
    pynni_map_pass(&pass->map, workspace, net, rows);
    PYNNI_TRY(pynni_enter(call));
    pass->kernels = call->kernels;
    return PYNN_OK;
}

pynn_status pynn_forward(float *y, const pynn_net *net, const float *params, const float *x, size_t x_stride,
                         const pynn_mask *mask, size_t rows, int32_t end, void *workspace, size_t workspace_bytes)
{
    pynni_pass pass;
    pynni_call call;
    PYNNI_TRY(open_pass(&pass, &call, net, params, x, x_stride, y, mask, rows, end, workspace, workspace_bytes));
    for (size_t block = pynni_row_block(net), first = 0; first < rows; first += block) {
        const size_t count = rows - first < block ? rows - first : block;
        float *drows;
        pynni_pass_forward(&pass, first, count);
        copy_rows(pass.kernels, y + first * net->outputs, pynni_pass_rows(&pass, first, &drows), net->outputs, count,
                  net->outputs);
    }
    pynni_leave(&call);
    return PYNN_OK;
}

pynn_status pynn_backward(float *grads, float *dx, const float *dy, const pynn_net *net, const float *params,
                          const float *x, size_t x_stride, const pynn_mask *mask, size_t rows, int32_t end,
                          void *workspace, size_t workspace_bytes)
{
    pynni_pass pass;
    pynni_call call;
    PYNNI_TRY(open_pass(&pass, &call, net, params, x, x_stride, dy, mask, rows, end, workspace, workspace_bytes));
    pynni_pass_transpose(&pass, dx != NULL);
    for (size_t block = pynni_row_block(net), first = 0; first < rows; first += block) {
        const size_t count = rows - first < block ? rows - first : block;
        pynni_pass_backward(&pass, dx != NULL ? dx + first * net->inputs : NULL, dy + first * net->outputs, first,
                            count);
    }
    if (grads != NULL) pynni_pass_grads(&pass, grads);
    pynni_leave(&call);
    return PYNN_OK;
}
