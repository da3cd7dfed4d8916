/* Predictions: rows through all nodes, block by block, keeping nothing. */
#include "internal.h"

#include <string.h>

/* A copy of rows, of which one side may have a stride. */
static void copy_matrix(const pynni_kernels *kernels, float *out, size_t out_stride, const float *in, size_t in_stride,
                        size_t rows, size_t width)
{
    if (out_stride == width && in_stride == width) {
        width *= rows;
        rows = rows > 0;
    }
    for (size_t r = 0; r < rows; r++)
        PYNNI_KERNEL(kernels, forward)[0](out + r * out_stride, in + r * in_stride, width, 0.0f); /* identity */
}

/* An activation of rows that may lie apart. */
static void activate(const pynn_plan *plan, const pynni_node *node, float *out, size_t out_stride, const float *in,
                     size_t in_stride, size_t rows)
{
    pynni_activation_forward *const f = PYNNI_KERNEL(plan->kernels, forward)[node->activation - PYNN_IDENTITY];
    const float slope = PYNNI_HAS_LAYER(PYNN_LEAKY_RELU) ? (float)node->slope : 0.0f;
    size_t width = node->outputs;
    if (out_stride == width && in_stride == width) {
        width *= rows;
        rows = 1;
    }
    for (size_t r = 0; r < rows; r++) f(out + r * out_stride, in + r * in_stride, width, slope);
}

static void forward_dense(const pynn_plan *plan, const pynni_node *node, float *out, size_t out_stride, float *score,
                          const float *in, size_t in_stride, size_t rows, float *scratch)
{
    const float *w = plan->params + node->params;
    const int fused = PYNNI_HAS_LAYER(PYNN_RELU) && node->activation == PYNN_RELU;
    const int apart = score != NULL && pynni_keeps_score(node->activation);
    float *s = apart ? score : out;
    const size_t s_stride = apart ? node->outputs : out_stride;
    PYNNI_KERNEL(plan->kernels, gemm)(&(pynni_gemm){
        .c = s, .a = in, .b = w, .scratch = pynni_is_wide(node->outputs) ? scratch : NULL,
        .start = w + node->inputs * node->outputs, .c_stride = s_stride, .a_row = in_stride, .a_k = 1,
        .b_stride = node->outputs, .m = rows, .n = node->outputs, .k = node->inputs,
        .finish = fused ? PYNNI_FINISH_RELU : PYNNI_FINISH_PLAIN});
    if (!fused && node->activation != PYNN_IDENTITY) activate(plan, node, out, out_stride, s, s_stride, rows);
}

void pynni_node_forward(const pynn_plan *plan, const pynni_node *node, float *out, size_t out_stride, float *score,
                        const float *in, size_t in_stride, size_t rows, float *scratch)
{
    const size_t width = node->outputs;
    if (node->kind == PYNN_DENSE) {
        forward_dense(plan, node, out, out_stride, score, in, in_stride, rows, scratch);
    } else if (PYNNI_HAS_LAYER(PYNN_SOFTMAX) && node->kind == PYNN_SOFTMAX) {
        if (out_stride == width && in_stride == width) {
            PYNNI_KERNEL(plan->kernels, softmax_forward)(out, in, rows, width);
        } else {
            for (size_t r = 0; r < rows; r++)
                PYNNI_KERNEL(plan->kernels, softmax_forward)(out + r * out_stride, in + r * in_stride, 1, width);
        }
    } else if (node->activation != PYNN_IDENTITY) {
        if (score != NULL && pynni_keeps_score(node->activation)) {
            copy_matrix(plan->kernels, score, width, in, in_stride, rows, width);
            in = score;
            in_stride = width;
        }
        activate(plan, node, out, out_stride, in, in_stride, rows);
    } else {
        copy_matrix(plan->kernels, out, out_stride, in, in_stride, rows, width);
    }
}

/* ---- memory ------------------------------------------------------------ */

/* Of one worker that predicts up to `rows` rows: one buffer for the rows between nodes, or two to alternate between,
 * and scratch. */
typedef struct buffers {
    size_t buffer, scratch; /* floats */
    size_t floats;          /* of all */
} buffers;

static buffers buffers_for(const pynn_plan *plan, size_t rows)
{
    const size_t between = plan->node_count - 1, block = pynni_smaller(rows, PYNNI_ROW_BLOCK);
    buffers b;
    b.buffer = pynni_pad(pynni_mul(block, plan->widest_inside));
    b.scratch = pynni_is_wide(plan->widest_columns) && block >= PYNNI_PACK_ROWS ? PYNNI_SCRATCH : 0;
    b.floats = pynni_add(pynni_mul(between > 1 ? 2 : between, b.buffer), b.scratch);
    return b;
}

size_t pynni_predict_floats(const pynn_plan *plan, size_t rows) { return buffers_for(plan, rows).floats; }

/* Rows of the worker who has most. */
static size_t most_rows(size_t rows, size_t workers)
{
    return workers == 1 ? rows : rows / workers + (rows % workers > 0);
}

pynn_status pynn_predict_bytes(size_t *bytes, const pynn_plan *plan, size_t rows, const pynn_options *options)
{
    size_t workers;
    if (bytes == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    PYNNI_TRY(pynni_check_plan(plan));
    PYNNI_TRY(pynni_check_options(&options, PYNNI_TAKES_END | PYNNI_TAKES_STRIDE));
    workers = pynni_workers(options->executor);
    return pynni_bytes(bytes, pynni_mul(workers, buffers_for(plan, most_rows(rows, workers)).floats));
}

/* ---- one net ----------------------------------------------------------- */

/* What stands in the memory is no forward pass from here on, even if its first worker should leave it alone. */
static void end_tape(float *memory, size_t floats)
{
#ifndef PYNN_WITHOUT_TRAINING
    if (floats > 0) memset(memory, 0, sizeof(void *));
#else
    (void)memory, (void)floats;
#endif
}

/* Checked rows of a prediction. */
typedef struct predicting {
    const pynn_plan *plan;
    const float *x;
    float *y;
    size_t x_stride, y_stride, rows, nodes;
} predicting;

static void predict_block(const predicting *p, const buffers *b, float *memory, size_t first, size_t rows)
{
    const float *in = p->x + first * p->x_stride;
    float *scratch = b->scratch > 0 ? memory + b->floats - b->scratch : NULL;
    size_t in_stride = p->x_stride;
    for (size_t i = 0; i < p->nodes; i++) {
        const pynni_node *node = &p->plan->nodes[i];
        const int is_last = i + 1 == p->nodes;
        float *out = is_last ? p->y + first * p->y_stride : memory + i % 2 * b->buffer;
        const size_t out_stride = is_last ? p->y_stride : node->outputs;
        pynni_node_forward(p->plan, node, out, out_stride, NULL, in, in_stride, rows, scratch);
        in = out;
        in_stride = out_stride;
    }
}

static void predict_range(const predicting *p, const buffers *b, float *memory, size_t first, size_t end)
{
    const size_t block = pynni_row_block(end - first);
    for (; first < end; first += block) predict_block(p, b, memory, first, pynni_smaller(end - first, block));
}

typedef struct predict_job {
    const predicting *p;
    buffers b;
    float *memory;
    size_t workers;
} predict_job;

static void predict_worker(void *argument, size_t worker)
{
    const predict_job *job = argument;
    size_t first, end;
    pynni_split(&first, &end, job->p->rows, worker, job->workers);
    predict_range(job->p, &job->b, job->b.floats > 0 ? job->memory + worker * job->b.floats : NULL, first, end);
}

/* Whether two matrices have a float in common. Columns of one table do not: their strides are equal, and they stand
 * apart in each row. */
static int overlap(const float *a, size_t a_stride, size_t a_width, const float *b, size_t b_stride, size_t b_width,
                   size_t rows)
{
    const uintptr_t a0 = (uintptr_t)a, b0 = (uintptr_t)b;
    const uintptr_t a1 = a0 + ((rows - 1) * a_stride + a_width) * sizeof *a;
    const uintptr_t b1 = b0 + ((rows - 1) * b_stride + b_width) * sizeof *b;
    size_t apart;
    if (a1 <= b0 || b1 <= a0) return 0;
    if (a_stride != b_stride) return 1;
    apart = (size_t)(a0 < b0 ? b0 - a0 : a0 - b0) % (a_stride * sizeof *a);
    if (a0 > b0) apart = a_stride * sizeof *a - apart;
    return apart < a_width * sizeof *a || apart + b_width * sizeof *a > a_stride * sizeof *a;
}

/* What there is to predict; the arguments have been checked, or will be. */
static predicting describe_prediction(float *y, const pynn_plan *plan, const pynn_data *data,
                                      const pynn_options *options)
{
    return (predicting){.plan = plan, .x = data->x, .y = y, .rows = data->rows,
                        .x_stride = data->stride != 0 ? data->stride : plan->inputs,
                        .y_stride = options->y_stride != 0 ? options->y_stride : plan->outputs,
                        .nodes = pynni_nodes_until(plan, options->end)};
}

static pynn_status check_prediction(predicting *p, float *y, const pynn_plan *plan, const pynn_data *data,
                                    const pynn_options *options)
{
    size_t x_stride;
    PYNNI_TRY(pynni_check_plan(plan));
    PYNNI_TRY(pynni_check_data(&x_stride, data, plan->inputs));
    *p = describe_prediction(y, plan, data, options);
    if (p->y_stride < plan->outputs) return PYNNI_BAD(PYNN_BAD_SIZE, OPTIONS_Y_STRIDE);
    if (p->rows > 1 && !pynni_fits(p->rows, plan->outputs, p->y_stride))
        return PYNNI_BAD(PYNN_TOO_LARGE, OPTIONS_Y_STRIDE);
    if (p->rows == 0) return PYNN_OK;
    if (y == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    if (overlap(p->x, p->x_stride, plan->inputs, y, p->y_stride, plan->outputs, p->rows))
        return PYNNI_BAD(PYNN_BAD_MEMORY, OUTPUT);
    return PYNN_OK;
}

pynn_status pynn_predict(float *y, const pynn_plan *plan, const pynn_data *data, const pynn_options *options,
                         pynn_memory workspace)
{
    predicting p;
    predict_job job = {.p = &p, .memory = workspace.start};
    uint64_t environment;
    pynn_status status = PYNN_OK;
    PYNNI_TRY(pynni_check_options(&options, PYNNI_TAKES_END | PYNNI_TAKES_STRIDE));
    PYNNI_TRY(check_prediction(&p, y, plan, data, options));
    job.workers = pynni_workers(options->executor);
    job.b = buffers_for(plan, most_rows(p.rows, job.workers));
    PYNNI_TRY(pynni_check_workspace(workspace, pynni_mul(job.workers, job.b.floats), plan));
    end_tape(job.memory, job.b.floats);
    environment = pynni_environment_enter();
    if (job.workers == 1) predict_range(&p, &job.b, job.memory, 0, p.rows); /* a tiny net feels what a job costs */
    else status = pynni_run(options->executor, predict_worker, &job);
    pynni_environment_leave(environment);
    return status;
}

/* ---- many nets --------------------------------------------------------- */

typedef struct many_job {
    float *const *y;
    const pynn_plan *const *plans;
    const pynn_data *data;
    const pynn_options *options;
    float *memory;
    size_t count, data_count, workers;
    size_t floats; /* of one worker */
} many_job;

static const pynn_data *data_of(const many_job *job, size_t i) { return &job->data[job->data_count == 1 ? 0 : i]; }

/* PYNN_OK, or what is wrong with the nets, their data and the options; floats is what the largest of them needs. */
static pynn_status check_many(many_job *job, int has_y)
{
    if (job->plans == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, PLAN);
    if (job->data == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, DATA);
    if (has_y && job->y == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    if (job->data_count != 1 && job->data_count != job->count) return PYNNI_BAD(PYNN_BAD_SIZE, DATA_COUNT);
    PYNNI_TRY(pynni_check_options(&job->options, PYNNI_TAKES_END | PYNNI_TAKES_STRIDE));
    for (size_t i = 0; i < job->count; i++) {
        predicting p;
        PYNNI_TRY(pynni_check_plan(job->plans[i]));
        if (has_y) PYNNI_TRY(check_prediction(&p, job->y[i], job->plans[i], data_of(job, i), job->options));
        job->floats = pynni_larger(job->floats, buffers_for(job->plans[i], data_of(job, i)->rows).floats);
    }
    job->workers = pynni_workers(job->options->executor);
    return PYNN_OK;
}

static void predict_many_worker(void *argument, size_t worker)
{
    const many_job *job = argument;
    float *memory = job->floats > 0 ? job->memory + worker * job->floats : NULL;
    size_t first, end;
    pynni_split(&first, &end, job->count, worker, job->workers);
    for (size_t i = first; i < end; i++) {
        const predicting p = describe_prediction(job->y[i], job->plans[i], data_of(job, i), job->options);
        const buffers b = buffers_for(job->plans[i], p.rows);
        predict_range(&p, &b, memory, 0, p.rows);
    }
}

pynn_status pynn_predict_many_bytes(size_t *bytes, const pynn_plan *const *plans, size_t count, const pynn_data *data,
                                    size_t data_count, const pynn_options *options)
{
    many_job job = {.plans = plans, .data = data, .options = options, .count = count, .data_count = data_count};
    if (bytes == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    PYNNI_TRY(check_many(&job, 0));
    return pynni_bytes(bytes, pynni_mul(job.workers, job.floats));
}

pynn_status pynn_predict_many(float *const *y, const pynn_plan *const *plans, size_t count, const pynn_data *data,
                              size_t data_count, const pynn_options *options, pynn_memory workspace)
{
    many_job job = {.y = y, .plans = plans, .data = data, .options = options, .memory = workspace.start,
                    .count = count, .data_count = data_count};
    uint64_t environment;
    pynn_status status;
    PYNNI_TRY(check_many(&job, 1));
    PYNNI_TRY(pynni_check_memory(workspace, pynni_mul(job.workers, job.floats)));
    for (size_t i = 0; i < count; i++)
        PYNNI_TRY(pynni_check_workspace(workspace, pynni_mul(job.workers, job.floats), plans[i]));
    end_tape(job.memory, job.floats);
    environment = pynni_environment_enter();
    status = pynni_run(job.options->executor, predict_many_worker, &job);
    pynni_environment_leave(environment);
    return status;
}
