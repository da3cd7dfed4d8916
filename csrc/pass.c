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

#include <string.h>

enum {
    STRIPS_PER_WORKER = 8, /* so many strips to choose from make fair shares */
    STRIP_LEAST = 6,       /* rows: a product works on 6 at once */
    TURN_TOGETHER = 65536  /* parameters: fewer are transposed sooner than workers are called */
};

static float *rows_of(const pynni_pass *pass, const pynni_node *node, size_t first)
{
    return pass->map.kept + node->kept + first * node->outputs;
}

static float *gradient_of(const pynni_pass *pass, const pynni_node *node, size_t first)
{
    return rows_of(pass, node, first) + pynni_pad(pass->rows * node->outputs);
}

/* A worker's own memory. */
static float *own_of(const pynni_pass *pass, size_t worker) { return pass->map.own + worker * pass->map.own_floats; }

/* For a product of so many columns. */
static float *scratch_of(const pynni_pass *pass, size_t worker, size_t columns)
{
    return pynni_is_wide(columns) ? own_of(pass, worker) + pass->map.own_scratch : NULL;
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
static void forward(const pynni_pass *pass, const pynni_node *node, size_t worker, float *out, float *score,
                    const float *in, size_t in_stride, size_t first, size_t rows)
{
    const pynni_kernels *kernels = pass->kernels;
    const float *w = pass->params + node->params;
    const int fused = node->activation == PYNN_RELU;
    float *s = score != NULL && pynni_keeps_score(node->activation) ? score : out;
    if (node->kind == PYNN_DENSE) {
        kernels->gemm(&(pynni_gemm){.c = s, .a = in, .b = w, .scratch = scratch_of(pass, worker, node->outputs),
                                    .start = w + node->inputs * node->outputs, .relu = NULL,
                                    .c_stride = node->outputs, .a_row = in_stride, .a_k = 1,
                                    .b_stride = node->outputs, .b_panel = 0, .m = rows, .n = node->outputs,
                                    .k = node->inputs,
                                    .finish = fused ? PYNNI_FINISH_RELU : PYNNI_FINISH_PLAIN});
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
        pynni_dropout(kernels, out, in, &mask, pass->rows_before + first, rows, node->outputs, node->value);
    } else {
        kernels->forward[slot(node->activation)](out, in, rows * node->outputs, (float)node->value);
    }
}

void pynni_pass_forward(const pynni_pass *pass, size_t worker, size_t first, size_t rows)
{
    const float *in = pass->x + first * pass->x_stride;
    size_t in_stride = pass->x_stride;
    pynni_node node;
    for (int more = pynni_node_first(&node, pass->net, pass->layers, pass->rows); more;
         more = pynni_node_next(&node, pass->net, pass->layers, pass->rows)) {
        float *out = rows_of(pass, &node, first);
        forward(pass, &node, worker, out, gradient_of(pass, &node, first), in, in_stride, first, rows);
        in = out;
        in_stride = node.outputs;
    }
}

/* A dense layer that nothing follows, or a dropout that does not drop. */
static int has_no_derivative(const pynni_node *node)
{
    return node->kind == PYNN_DROPOUT || (node->kind == PYNN_DENSE && node->end == node->begin + 1);
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
        pynni_dropout(kernels, ds, drows, &mask, pass->rows_before + first, rows, node->outputs, node->value);
        drows = ds;
    } else if (has_no_derivative(node)) {
        if (drows != ds) copy_rows(kernels, ds, drows, node->outputs, rows, node->outputs);
        return;
    }
    kernels->backward[slot(node->activation)](ds, drows, pynni_keeps_score(node->activation) ? ds : out,
                                              rows * node->outputs, (float)node->value);
}

/* dx (rows, I) = ds W^T of a dense node, times the derivative of the relu whose outputs are given, if any. */
static void input_grad(const pynni_pass *pass, const pynni_node *node, size_t worker, float *dx, const float *relu,
                       size_t first, size_t rows)
{
    pynni_dense_input_grad(pass->kernels, dx, gradient_of(pass, node, first), pass->map.copies + node->copy, relu, rows,
                           node->inputs, node->outputs, scratch_of(pass, worker, node->inputs));
}

/* Where the gradient of a node's rows may be put until it is taken through the activation: in the place where it will
 * end, unless the score still stands there. */
static float *incoming(const pynni_pass *pass, const pynni_node *node, size_t worker, size_t first)
{
    return pynni_keeps_score(node->activation) ? own_of(pass, worker) : gradient_of(pass, node, first);
}

/* From a node's score back to the rows of the node before it; NULL when that one's relu is already applied. */
static const float *back_to(const pynni_pass *pass, const pynni_node *before, const pynni_node *node, size_t worker,
                            size_t first, size_t rows)
{
    float *drows = incoming(pass, before, worker, first);
    if (node->kind != PYNN_DENSE) return gradient_of(pass, node, first);
    if (before->activation != PYNN_RELU) {
        input_grad(pass, node, worker, drows, NULL, first, rows);
        return drows;
    }
    input_grad(pass, node, worker, drows, rows_of(pass, before, first), first, rows);
    return NULL;
}

/* A wide gradient, as the products of the second phase want it. */
static void pack_gradient(const pynni_pass *pass, const pynni_node *node, size_t first, size_t rows)
{
    const size_t panel = pass->kernels->panel;
    if (node->kind != PYNN_DENSE || !pynni_is_wide(node->outputs)) return;
    pass->kernels->pack(pass->map.packed + node->packed + first * panel, pass->rows * panel,
                        gradient_of(pass, node, first), node->outputs, rows, node->outputs);
}

void pynni_pass_backward(const pynni_pass *pass, size_t worker, float *dx, const float *drows, size_t first, size_t rows)
{
    pynni_node node, before;
    pynni_node_last(&node, pass->net, pass->layers, pass->rows);
    for (;;) {
        if (drows != NULL) backward(pass, &node, drows, first, rows);
        pack_gradient(pass, &node, first, rows);
        if (dx == NULL && is_first_dense(&node)) return;
        before = node;
        if (!pynni_node_previous(&before, pass->net, pass->layers, pass->rows)) break;
        drows = back_to(pass, &before, &node, worker, first, rows);
        node = before;
    }
    if (node.kind == PYNN_DENSE) {
        input_grad(pass, &node, worker, dx, NULL, first, rows);
    } else {
        copy_rows(pass->kernels, dx, gradient_of(pass, &node, first), node.inputs, rows, node.inputs);
    }
}

float *pynni_pass_rows(const pynni_pass *pass, size_t worker, size_t first, float **drows)
{
    pynni_node node;
    pynni_node_last(&node, pass->net, pass->layers, pass->rows);
    *drows = incoming(pass, &node, worker, first);
    return rows_of(pass, &node, first);
}

/* The transposed weights that the way back needs. */
typedef struct turning {
    const pynni_pass *pass;
    int with_dx;
} turning;

static void turn_share(void *argument, size_t worker)
{
    const turning *job = argument;
    const pynni_pass *pass = job->pass;
    const size_t panel = pass->kernels->panel;
    pynni_node node;
    for (int more = pynni_node_first(&node, pass->net, pass->layers, pass->rows); more;
         more = pynni_node_next(&node, pass->net, pass->layers, pass->rows)) {
        size_t first, end;
        if (node.kind != PYNN_DENSE || (is_first_dense(&node) && !job->with_dx)) continue;
        pynni_share(&first, &end, (node.inputs - 1) / panel + 1, worker, pynni_workers(pass->executor));
        first *= panel;
        end = end * panel < node.inputs ? end * panel : node.inputs;
        if (first < end)
            pass->kernels->pack_turned(pass->map.copies + node.copy + first * node.outputs,
                                       pass->params + node.params + first * node.outputs, node.outputs, end - first);
    }
}

void pynni_pass_turn(const pynni_pass *pass, int with_dx)
{
    turning job = {pass, with_dx};
    if (pass->net->param_count >= TURN_TOGETHER) {
        pynni_run(pass->executor, turn_share, &job);
    } else {
        for (size_t worker = 0; worker < pynni_workers(pass->executor); worker++) turn_share(&job, worker);
    }
}

/* The second phase. Strips are whole rows of a weight gradient, or a bias gradient; who starts in a worker's share of
 * the parameters is done by that worker. */
typedef struct learning {
    const pynni_pass *pass;
    const pynni_step *step; /* NULL: only the gradients */
    float *grads;           /* NULL: they are handed to the step strip by strip */
} learning;

/* Rows of a strip: fewer where workers would else wait for each other. */
static size_t strip_rows(const pynni_pass *pass, const pynni_node *node)
{
    const size_t tall = pynni_strip_rows(node->inputs, node->outputs), workers = pynni_workers(pass->executor);
    const size_t fair = pass->net->param_count / (workers * STRIPS_PER_WORKER) / node->outputs;
    return workers == 1 || fair >= tall ? tall : fair > STRIP_LEAST ? fair : tall < STRIP_LEAST ? tall : STRIP_LEAST;
}

/* The strip of rows first .. first + count of a weight gradient, or of the bias gradient where first is node->inputs.
 * Gives 0 if a new parameter is not finite. */
static int learn_strip(const learning *job, const pynni_node *node, size_t worker, const float *in, size_t in_stride,
                       size_t first, size_t count)
{
    const pynni_pass *pass = job->pass;
    const size_t offset = node->params + first * node->outputs;
    const float *ds = gradient_of(pass, node, 0);
    const int packed = pynni_is_wide(node->outputs), is_bias = first == node->inputs;
    float *dw = job->grads != NULL ? job->grads + offset : own_of(pass, worker) + pass->map.own_strip;
    if (is_bias) {
        pynni_dense_bias_grad(pass->kernels, dw, ds, pass->rows, node->outputs);
    } else {
        pynni_dense_weight_grad(pass->kernels, dw, packed ? pass->map.packed + node->packed : ds, packed, in, in_stride,
                                pass->rows, node->outputs, first, count, scratch_of(pass, worker, node->outputs));
    }
    return job->step == NULL || pynni_step_apply(job->step, dw, offset, count * node->outputs, is_bias);
}

static void learn_share(void *argument, size_t worker)
{
    const learning *job = argument;
    const pynni_pass *pass = job->pass;
    const float *in = pass->x;
    size_t in_stride = pass->x_stride, spoilt = pass->net->layer_count, from, to;
    pynni_node node;
    pynni_share(&from, &to, pass->net->param_count, worker, pynni_workers(pass->executor));
    for (int more = pynni_node_first(&node, pass->net, pass->layers, pass->rows); more;
         more = pynni_node_next(&node, pass->net, pass->layers, pass->rows)) {
        if (node.kind == PYNN_DENSE) {
            const size_t tall = strip_rows(pass, &node);
            int finite = 1;
            for (size_t first = 0, count; first <= node.inputs; first += count) {
                const size_t offset = node.params + first * node.outputs, rest = node.inputs - first;
                count = rest == 0 ? 1 : rest < tall ? rest : tall;
                if (offset >= from && offset < to)
                    finite &= learn_strip(job, &node, worker, in, in_stride, first, count);
            }
            if (!finite && spoilt == pass->net->layer_count) spoilt = node.begin;
        }
        in = rows_of(pass, &node, 0);
        in_stride = node.outputs;
    }
    memcpy(own_of(pass, worker), &spoilt, sizeof spoilt);
}

void pynni_pass_grads(const pynni_pass *pass, float *grads)
{
    learning job = {pass, NULL, grads};
    pynni_run(pass->executor, learn_share, &job);
}

size_t pynni_pass_learn(const pynni_pass *pass, const pynni_step *step)
{
    learning job = {pass, step, NULL};
    size_t spoilt = pass->net->layer_count;
    pynni_run(pass->executor, learn_share, &job);
    for (size_t worker = 0; worker < pynni_workers(pass->executor); worker++) {
        size_t found;
        memcpy(&found, own_of(pass, worker), sizeof found);
        if (found < spoilt) spoilt = found;
    }
    return spoilt;
}

static pynn_status check_pass(const pynn_net *net, const float *params, const float *x, size_t x_stride,
                              const float *y, size_t rows, int32_t end)
{
    PYNNI_TRY(pynni_check_net(net));
    if (params == NULL || (rows > 0 && (x == NULL || y == NULL))) return PYNN_NULL_POINTER;
    if (end != PYNN_OUTPUTS && end != PYNN_SCORES) return PYNN_BAD_KIND;
    PYNNI_TRY(pynni_check_rows(rows, net->outputs, net->outputs));
    return pynni_check_rows(rows, net->inputs, x_stride);
}

/* A call of pynn_predict. */
typedef struct predicting {
    const pynni_pass *pass;
    float *y;
} predicting;

static void predict_share(void *argument, size_t worker)
{
    const predicting *job = argument;
    const pynni_pass *pass = job->pass;
    const pynn_net *net = pass->net;
    const size_t half = pass->map.own_scratch / 2;
    float *out = own_of(pass, worker);
    size_t from, to, block;
    pynni_share(&from, &to, pass->rows, worker, pynni_workers(pass->executor));
    block = pynni_row_block(to - from);
    for (size_t first = from; first < to; first += block) {
        const size_t count = to - first < block ? to - first : block;
        const float *in = pass->x + first * pass->x_stride;
        size_t in_stride = pass->x_stride, turn = 0;
        pynni_node node;
        for (int more = pynni_node_first(&node, net, pass->layers, count); more;
             more = pynni_node_next(&node, net, pass->layers, count)) {
            float *next = node.end == pass->layers ? job->y + first * net->outputs : out + turn++ % 2 * half;
            forward(pass, &node, worker, next, NULL, in, in_stride, first, count);
            in = next;
            in_stride = node.outputs;
        }
    }
}

pynn_status pynn_predict(float *y, const pynn_net *net, const float *params, const float *x, size_t x_stride,
                         size_t rows, int32_t end, const pynn_executor *executor, void *workspace,
                         size_t workspace_bytes)
{
    pynni_pass pass = {.net = net, .params = params, .x = x, .x_stride = x_stride, .rows = rows, .executor = executor};
    predicting job = {&pass, y};
    pynni_call call;
    PYNNI_TRY(check_pass(net, params, x, x_stride, y, rows, end));
    PYNNI_TRY(pynni_check_executor(executor));
    PYNNI_TRY(pynni_check_workspace(workspace, workspace_bytes,
                                    pynni_map_predict(&pass.map, workspace, net, pynni_workers(executor))));
    pass.layers = pynni_layers_until(net, end);
    PYNNI_TRY(pynni_enter(&call));
    pass.kernels = call.kernels;
    pynni_run(executor, predict_share, &job);
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
    PYNNI_TRY(pynni_check_workspace(workspace, workspace_bytes, pynni_map_pass(&pass->map, NULL, net, rows, 1)));
    pynni_map_pass(&pass->map, workspace, net, rows, 1);
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
    for (size_t block = pynni_row_block(rows), first = 0; first < rows; first += block) {
        const size_t count = rows - first < block ? rows - first : block;
        float *drows;
        pynni_pass_forward(&pass, 0, first, count);
        copy_rows(pass.kernels, y + first * net->outputs, pynni_pass_rows(&pass, 0, first, &drows), net->outputs, count,
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
    pynni_pass_turn(&pass, dx != NULL);
    for (size_t block = pynni_row_block(rows), first = 0; first < rows; first += block) {
        const size_t count = rows - first < block ? rows - first : block;
        pynni_pass_backward(&pass, 0, dx != NULL ? dx + first * net->inputs : NULL, dy + first * net->outputs, first,
                            count);
    }
    if (grads != NULL) pynni_pass_grads(&pass, grads);
    pynni_leave(&call);
    return PYNN_OK;
}
