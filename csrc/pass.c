/*
 * The two phases of a step. First a whole net forward, and backward to the gradient of every node's score, for a block
 * of batch rows; rows do not depend on each other and the parameters are only read, so blocks may be taken in any
 * order. Then the gradients of the parameters, which sum over all rows.
 *
 * A node keeps two arrays (B, O) for the way back: its rows, and the gradient of its score (of its input, if it is not
 * dense). An activation whose derivative needs the score leaves that in the second on the way forward.
 */
#include "internal.h"

#include <string.h>

#ifndef PYNN_WITHOUT_TRAINING

enum {
    STRIPS_PER_WORKER = 8,     /* so many strips to choose from make even work */
    STRIP_LEAST = 6,           /* rows: a product works on 6 at once */
    TRANSPOSE_TOGETHER = 65536 /* parameters: fewer are transposed sooner than workers are called */
};

static const pynni_node *node_of(const pynni_pass *pass, size_t i) { return &pass->plan->nodes[i]; }

static float *rows_of(const pynni_pass *pass, size_t i, size_t first)
{
    return pass->layout.slots[i].rows + first * node_of(pass, i)->outputs;
}

static float *gradient_of(const pynni_pass *pass, size_t i, size_t first)
{
    return pass->layout.slots[i].gradient + first * node_of(pass, i)->outputs;
}

/* The gradient of a score packed, if that is wide; else NULL. */
static float *packed_of(const pynni_pass *pass, size_t i)
{
    return pynni_is_wide(node_of(pass, i)->outputs) ? pass->layout.slots[i].packed : NULL;
}

/* A worker's own memory. */
static float *own_memory(const pynni_pass *pass, size_t worker)
{
    return pass->layout.own + worker * pass->layout.own_floats;
}

/* For a product of so many columns. */
static float *own_scratch(const pynni_pass *pass, size_t worker, size_t columns)
{
    return pynni_is_wide(columns) ? own_memory(pass, worker) + pass->layout.own_scratch : NULL;
}

/* Nothing before it learns. */
static int is_first_dense(const pynni_node *node) { return node->kind == PYNN_DENSE && node->params == 0; }

static int drops_out(const pynni_pass *pass, const pynni_node *node)
{
    return PYNNI_HAS_LAYER(PYNN_DROPOUT) && node->kind == PYNN_DROPOUT && pass->mask != NULL;
}

static void drop_out(const pynni_pass *pass, const pynni_node *node, float *out, const float *in, size_t first,
                     size_t rows)
{
    pynn_mask mask = *pass->mask;
    mask.layer = node->dropouts;
    pynni_dropout(pass->plan->kernels, out, in, &mask, pass->rows_before + first, rows, node->outputs, node->p);
}

/* ---- forward ----------------------------------------------------------- */

void pynni_pass_forward(const pynni_pass *pass, size_t worker, size_t first, size_t rows)
{
    const float *in = pass->x + first * pass->x_stride;
    size_t in_stride = pass->x_stride;
    for (size_t i = 0; i < pass->nodes; i++) {
        const pynni_node *node = node_of(pass, i);
        float *out = rows_of(pass, i, first);
        const int drops = drops_out(pass, node);
        if (drops && in_stride == node->inputs) {
            drop_out(pass, node, out, in, first, rows);
        } else {
            pynni_node_forward(pass->plan, node, out, node->outputs, gradient_of(pass, i, first), in, in_stride, rows,
                               own_scratch(pass, worker, node->outputs));
            if (drops) drop_out(pass, node, out, out, first, rows); /* of rows that lay apart */
        }
        in = out;
        in_stride = node->outputs;
    }
}

static void clear_not_finite(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!pynni_all_finite(x + i, 1)) x[i] = 0.0f;
}

void pynni_pass_leave_out(const pynni_pass *pass, const pynni_batch *batch, size_t first, size_t rows)
{
    for (size_t r = first; batch->targets->weights != NULL && r < first + rows; r++) {
        if (!pynni_is_left_out(batch, r)) continue;
        for (size_t i = 0; i < pass->nodes; i++) {
            const pynni_node *node = node_of(pass, i);
            clear_not_finite(rows_of(pass, i, r), node->outputs);
            if (pynni_keeps_score(node->activation)) clear_not_finite(gradient_of(pass, i, r), node->outputs);
        }
    }
}

/* ---- backward ---------------------------------------------------------- */

/* One node backward: the gradient of its score, in its place, from that of its rows. */
static void backward_node(const pynni_pass *pass, size_t i, const float *drows, size_t first, size_t rows)
{
    const pynni_node *node = node_of(pass, i);
    const pynni_kernels *kernels = pass->plan->kernels;
    const size_t n = rows * node->outputs;
    const float *out = rows_of(pass, i, first);
    float *ds = gradient_of(pass, i, first);
    if (PYNNI_HAS_LAYER(PYNN_SOFTMAX) && node->kind == PYNN_SOFTMAX) {
        PYNNI_KERNEL(kernels, softmax_backward)(ds, drows, out, rows, node->outputs);
        return;
    }
    if (drops_out(pass, node)) {
        drop_out(pass, node, ds, drows, first, rows);
        drows = ds;
    } else if (node->kind == PYNN_DROPOUT || (node->kind == PYNN_DENSE && node->activation == PYNN_IDENTITY)) {
        if (drows != ds) PYNNI_KERNEL(kernels, forward)[0](ds, drows, n, 0.0f); /* identity */
        return;
    }
    PYNNI_KERNEL(kernels, backward)[node->activation - PYNN_IDENTITY](
        ds, drows, pynni_keeps_score(node->activation) ? ds : out, n,
        PYNNI_HAS_LAYER(PYNN_LEAKY_RELU) ? (float)node->slope : 0.0f);
}

static const float *transposed_of(const pynni_pass *pass, const pynni_node *node)
{
    if (PYNNI_TAKES_PLAIN_WEIGHTS) return pass->plan->params + node->params;
    return is_first_dense(node) ? pass->layout.first_transposed : pass->layout.transposed + node->transposed;
}

/* dx (rows, I) = ds W^T of a dense node, times the derivative of the relu whose outputs are given, if any. */
static void input_grad(const pynni_pass *pass, size_t i, size_t worker, float *dx, const float *relu, size_t first,
                       size_t rows)
{
    const pynni_node *node = node_of(pass, i);
    pynni_dense_input_grad(pass->plan->kernels, dx, gradient_of(pass, i, first), transposed_of(pass, node), relu, rows,
                           node->inputs, node->outputs, own_scratch(pass, worker, node->inputs));
}

/* Where the gradient of a node's rows may be put until it is taken through the activation: in the place where it will
 * end, unless the score still stands there. */
static float *incoming(const pynni_pass *pass, size_t i, size_t worker, size_t first)
{
    return pynni_keeps_score(node_of(pass, i)->activation) ? own_memory(pass, worker) : gradient_of(pass, i, first);
}

/* From the score of node i back to the rows of the node before it; NULL when that one's relu is already applied. */
static const float *back_to_rows(const pynni_pass *pass, size_t i, size_t worker, size_t first, size_t rows)
{
    const int fuses = PYNNI_HAS_LAYER(PYNN_RELU) && node_of(pass, i - 1)->activation == PYNN_RELU;
    float *drows = incoming(pass, i - 1, worker, first);
    if (node_of(pass, i)->kind != PYNN_DENSE) return gradient_of(pass, i, first);
    input_grad(pass, i, worker, drows, fuses ? rows_of(pass, i - 1, first) : NULL, first, rows);
    return fuses ? NULL : drows;
}

/* A wide gradient, as the products of the second phase want it. */
static void pack_gradient(const pynni_pass *pass, size_t i, size_t first, size_t rows)
{
    const pynni_node *node = node_of(pass, i);
    const size_t panel = pynni_panel(pass->plan->kernels);
    PYNNI_KERNEL(pass->plan->kernels, pack)(packed_of(pass, i) + first * panel, pass->rows * panel,
                                            gradient_of(pass, i, first), node->outputs, rows, node->outputs);
}

void pynni_pass_backward(const pynni_pass *pass, size_t worker, float *dx, const float *drows, size_t first,
                         size_t rows)
{
    const pynni_node *start = node_of(pass, 0);
    for (size_t i = pass->nodes - 1;; i--) {
        const pynni_node *node = node_of(pass, i);
        if (drows != NULL) backward_node(pass, i, drows, first, rows);
        if (packed_of(pass, i) != NULL) pack_gradient(pass, i, first, rows);
        if (dx == NULL && is_first_dense(node)) return;
        if (i == 0) break;
        drows = back_to_rows(pass, i, worker, first, rows);
    }
    if (start->kind == PYNN_DENSE) input_grad(pass, 0, worker, dx, NULL, first, rows);
    else PYNNI_KERNEL(pass->plan->kernels, forward)[0](dx, gradient_of(pass, 0, first), rows * start->inputs, 0.0f);
}

float *pynni_pass_rows(const pynni_pass *pass, size_t worker, size_t first, float **drows)
{
    *drows = incoming(pass, pass->nodes - 1, worker, first);
    return rows_of(pass, pass->nodes - 1, first);
}

/* ---- blocks of rows ---------------------------------------------------- */

typedef struct blocks_job {
    const pynni_pass *pass;
    pynni_block *block;
    const void *argument;
} blocks_job;

static void blocks_worker(void *argument, size_t worker)
{
    const blocks_job *job = argument;
    size_t first, end, block;
    pynni_split(&first, &end, job->pass->rows, worker, pynni_workers(job->pass->executor));
    block = pynni_row_block(end - first);
    for (; first < end; first += block) job->block(job->argument, worker, first, pynni_smaller(end - first, block));
}

pynn_status pynni_pass_blocks(const pynni_pass *pass, pynni_block *block, const void *argument)
{
    blocks_job job = {pass, block, argument};
    return pynni_run(pass->executor, blocks_worker, &job);
}

/* ---- transposed weights ------------------------------------------------ */

typedef struct transpose_job {
    const pynni_pass *pass;
    int with_dx;
} transpose_job;

static void transpose_worker(void *argument, size_t worker)
{
    const transpose_job *job = argument;
    const pynni_pass *pass = job->pass;
    const size_t panel = pynni_panel(pass->plan->kernels);
    for (size_t i = 0; i < pass->nodes; i++) {
        const pynni_node *node = node_of(pass, i);
        size_t first, end;
        if (node->kind != PYNN_DENSE || (is_first_dense(node) && !job->with_dx)) continue;
        pynni_split(&first, &end, (node->inputs - 1) / panel + 1, worker, pynni_workers(pass->executor));
        first *= panel;
        end = pynni_smaller(end * panel, node->inputs);
        if (first < end) {
            const size_t row = first * node->outputs;
            float *to = is_first_dense(node) ? pass->layout.first_transposed
                                             : pass->layout.transposed + node->transposed;
            PYNNI_KERNEL(pass->plan->kernels, pack_transposed)(to + row, pass->plan->params + node->params + row,
                                                               node->outputs, end - first);
        }
    }
}

pynn_status pynni_pass_transpose(const pynni_pass *pass, int with_dx)
{
    transpose_job job = {pass, with_dx};
    if (PYNNI_TAKES_PLAIN_WEIGHTS) return PYNN_OK;
    if (pass->plan->param_count >= TRANSPOSE_TOGETHER) return pynni_run(pass->executor, transpose_worker, &job);
    for (size_t worker = 0; worker < pynni_workers(pass->executor); worker++) transpose_worker(&job, worker);
    return PYNN_OK;
}

/* ---- gradients of the parameters --------------------------------------- */

/* The second phase. Strips are whole rows of a weight gradient, or a bias gradient; who has the first parameter of a
 * strip in its range does the strip. */
typedef struct learn_job {
    const pynni_pass *pass;
    const pynni_step *step; /* NULL: only the gradients */
    float *grads;           /* NULL: they are handed to the step strip by strip */
} learn_job;

/* Rows of a strip: fewer where workers would else wait for each other. */
static size_t strip_rows(const pynni_pass *pass, const pynni_node *node)
{
    const size_t tall = pynni_strip_rows(node->inputs, node->outputs), workers = pynni_workers(pass->executor);
    const size_t even = pass->plan->param_count / (workers * STRIPS_PER_WORKER) / node->outputs;
    if (workers == 1 || even >= tall) return tall;
    return even > STRIP_LEAST ? even : pynni_smaller(tall, STRIP_LEAST);
}

/* The strip of rows first .. first + count of a weight gradient, or of the bias gradient where first is node->inputs.
 * Gives 0 if a new parameter is not finite. */
static int learn_strip(const learn_job *job, size_t i, size_t worker, const float *in, size_t in_stride, size_t first,
                       size_t count)
{
    const pynni_pass *pass = job->pass;
    const pynni_node *node = node_of(pass, i);
    const size_t offset = node->params + first * node->outputs;
    const float *ds = gradient_of(pass, i, 0);
    const float *packed = packed_of(pass, i);
    const int is_bias = first == node->inputs;
    float *dw = job->grads != NULL ? job->grads + offset : own_memory(pass, worker) + pass->layout.own_strip;
    if (is_bias) {
        pynni_dense_bias_grad(pass->plan->kernels, dw, ds, pass->rows, node->outputs);
    } else {
        pynni_dense_weight_grad(pass->plan->kernels, dw, packed != NULL ? packed : ds, packed != NULL, in, in_stride,
                                pass->rows, node->outputs, first, count, own_scratch(pass, worker, node->outputs));
    }
    return job->step == NULL || pynni_step_apply(job->step, dw, offset, count * node->outputs, is_bias);
}

/* The strips of a dense node that begin within from .. to. Gives 0 if a new parameter is not finite. */
static int learn_node(const learn_job *job, size_t i, size_t worker, const float *in, size_t in_stride, size_t from,
                      size_t to)
{
    const pynni_node *node = node_of(job->pass, i);
    const size_t tall = strip_rows(job->pass, node);
    int finite = 1;
    for (size_t first = 0, count; first <= node->inputs; first += count) {
        const size_t offset = node->params + first * node->outputs, rest = node->inputs - first;
        count = rest == 0 ? 1 : pynni_smaller(rest, tall);
        if (offset >= from && offset < to) finite &= learn_strip(job, i, worker, in, in_stride, first, count);
    }
    return finite;
}

static void learn_worker(void *argument, size_t worker)
{
    const learn_job *job = argument;
    const pynni_pass *pass = job->pass;
    const float *in = pass->x;
    size_t in_stride = pass->x_stride, failed = pass->plan->layer_count, from, to;
    pynni_split(&from, &to, pass->plan->param_count, worker, pynni_workers(pass->executor));
    for (size_t i = 0; i < pass->nodes; i++) {
        const pynni_node *node = node_of(pass, i);
        if (node->kind == PYNN_DENSE && !learn_node(job, i, worker, in, in_stride, from, to))
            failed = pynni_smaller(failed, node->layer);
        in = rows_of(pass, i, 0);
        in_stride = node->outputs;
    }
    memcpy(own_memory(pass, worker), &failed, sizeof failed);
}

pynn_status pynni_pass_grads(const pynni_pass *pass, float *grads)
{
    learn_job job = {pass, NULL, grads};
    return pynni_run(pass->executor, learn_worker, &job);
}

pynn_status pynni_pass_learn(const pynni_pass *pass, const pynni_step *step, size_t *failed)
{
    learn_job job = {pass, step, NULL};
    PYNNI_TRY(pynni_run(pass->executor, learn_worker, &job));
    *failed = pass->plan->layer_count;
    for (size_t worker = 0; worker < pynni_workers(pass->executor); worker++) {
        size_t found;
        memcpy(&found, own_memory(pass, worker), sizeof found);
        *failed = pynni_smaller(*failed, found);
    }
    return PYNN_OK;
}

#endif
