/* Loss and gradients of a batch: in the parameters, in the inputs, in parts, and from any gradient of the outputs. */
#include "internal.h"

#include <string.h>

#ifndef PYNN_WITHOUT_TRAINING

enum {
    GATHER_AHEAD = 1024, /* floats that are on their way while others are copied */
    SMALL_BATCH = 4096   /* floats */
};

/* ---- the first phase --------------------------------------------------- */

#ifndef PYNNI_SMALL

void pynni_batch_fetch(const pynni_batch *batch, size_t inputs, size_t r)
{
    const size_t row = pynni_batch_row(batch, r);
    const float *x = batch->x + row * batch->x_stride;
    for (size_t i = 0; i < inputs; i += PYNN_MEMORY_ALIGNMENT / sizeof(float)) __builtin_prefetch(x + i);
    if (batch->targets->labels != NULL) __builtin_prefetch(batch->targets->labels + row);
}

int pynni_batch_is_small(const pynni_batch *batch, size_t inputs) { return batch->rows * inputs <= SMALL_BATCH; }

#endif

/* Rows first .. first + rows of a batch, side by side; a row of weight 0 that is not finite becomes +0. */
static void gather(float *gathered, const pynni_batch *batch, size_t inputs, size_t first, size_t rows)
{
    const size_t end = first + rows, ahead = GATHER_AHEAD / inputs + 1;
    const int weighted = batch->targets->weights != NULL;
    size_t fetched = pynni_batch_is_small(batch, inputs) ? end : first;
    for (size_t r = first; r < end; r++) {
        float *out = gathered + r * inputs;
        for (; fetched < end && fetched <= r + ahead; fetched++) pynni_batch_fetch(batch, inputs, fetched);
        memcpy(out, batch->x + pynni_batch_row(batch, r) * batch->x_stride, inputs * sizeof *out);
        if (weighted && pynni_is_left_out(batch, r) && !pynni_all_finite(out, inputs))
            memset(out, 0, inputs * sizeof *out);
    }
}

typedef struct batch_job {
    const pynni_pass *pass;
    const pynni_batch *batch;
    float *dx;
    int32_t loss;
} batch_job;

static void batch_block(const void *argument, size_t worker, size_t first, size_t rows)
{
    const batch_job *job = argument;
    const pynni_pass *pass = job->pass;
    const pynni_layout *layout = &pass->layout;
    const size_t inputs = pass->plan->inputs;
    float *out, *drows;
    if (layout->inputs != NULL) gather(layout->inputs, job->batch, inputs, first, rows);
    pynni_pass_forward(pass, worker, first, rows);
    pynni_pass_leave_out(pass, job->batch, first, rows);
    out = pynni_pass_rows(pass, worker, first, &drows);
    pynni_loss_block(pass->plan->kernels, layout->losses + first, drows, out, job->batch, layout->scales, first, rows,
                     pass->plan->outputs, job->loss);
    pynni_pass_backward(pass, worker, job->dx != NULL ? job->dx + first * inputs : NULL, drows, first, rows);
}

pynn_status pynni_pass_batch(const pynni_pass *pass, const pynni_batch *batch, float *dx, int32_t loss)
{
    const batch_job job = {pass, batch, dx, loss};
    PYNNI_TRY(pynni_pass_transpose(pass, dx != NULL));
    return pynni_pass_blocks(pass, batch_block, &job);
}

/* ---- gradients of a loss ----------------------------------------------- */

/* A checked call for the gradient of a loss. */
typedef struct gradient_call {
    pynni_pass pass;
    pynni_batch batch;
    int32_t loss;
    int needs;
} gradient_call;

/* What the memory depends on: plan, rows, weights and workers. Strips of the gradient need none: they are what comes
 * out. */
static pynn_status check_extent(gradient_call *call, const pynn_plan *plan, const pynn_data *data,
                                const pynn_options **options, int takes, int needs)
{
    PYNNI_TRY(pynni_check_plan(plan));
    if (data == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, DATA);
    if (data->rows == 0) return PYNNI_BAD(PYNN_BAD_SIZE, DATA_ROWS);
    PYNNI_TRY(pynni_check_options(options, takes));
    *call = (gradient_call){.pass = {.plan = plan, .mask = (*options)->mask, .executor = (*options)->executor},
                            .needs = needs | PYNNI_NEEDS_LOSSES};
    if (data->targets.weights != NULL && needs & PYNNI_NEEDS_PACKED) call->needs |= PYNNI_NEEDS_INPUTS;
    return PYNN_OK;
}

/* All but the memory. */
static pynn_status check_call(gradient_call *call, const pynn_plan *plan, const pynn_data *data,
                              const pynn_options *options, int needs)
{
    PYNNI_TRY(check_extent(call, plan, data, &options, PYNNI_TAKES_LOSS | PYNNI_TAKES_MASK, needs));
    PYNNI_TRY(pynni_loss_choose(&call->loss, options->loss, plan->last));
    call->pass.nodes = pynni_nodes_until(plan, pynni_loss_end(call->loss));
    PYNNI_TRY(pynni_check_data(&call->batch.x_stride, data, plan->inputs));
    call->batch.x = data->x;
    call->batch.rows = data->rows;
    call->batch.targets = &data->targets;
    return pynni_loss_check(&call->batch, data->rows, plan->outputs, call->loss);
}

/* Whether a row of weight 0 has inputs that are not finite. */
static int must_copy(const pynni_batch *batch, size_t inputs)
{
    for (size_t r = 0; batch->targets->weights != NULL && r < batch->rows; r++)
        if (pynni_is_left_out(batch, r) && !pynni_all_finite(batch->x + r * batch->x_stride, inputs)) return 1;
    return 0;
}

/* Lays out the memory for the rows of the batch, which are used in place where they can be. */
static void begin_batch(gradient_call *call, void *start)
{
    pynni_pass *pass = &call->pass;
    const int copies = call->needs & PYNNI_NEEDS_INPUTS && must_copy(&call->batch, pass->plan->inputs);
    pass->rows = call->batch.rows;
    pynni_lay_out(&pass->layout, start, pass->plan, pass->rows, pynni_workers(pass->executor), call->needs);
    if (!copies) pass->layout.inputs = NULL;
    pass->x = copies ? pass->layout.inputs : call->batch.x;
    pass->x_stride = copies ? pass->plan->inputs : call->batch.x_stride;
}

static size_t floats_of(const gradient_call *call, size_t rows)
{
    pynni_layout layout;
    return pynni_lay_out(&layout, NULL, call->pass.plan, rows, pynni_workers(call->pass.executor), call->needs);
}

/* The loss of the batch, and one of its gradients; the other is NULL. */
static pynn_status compute_gradient(double *loss, float *grads, float *dx, gradient_call *call, void *start)
{
    const pynn_plan *plan = call->pass.plan;
    const double divisor = pynni_loss_divisor(&call->batch);
    begin_batch(call, start);
    if (!pynni_is_positive(divisor)) {
        *loss = 0.0;
        if (grads != NULL) memset(grads, 0, plan->param_count * sizeof *grads);
        if (dx != NULL) memset(dx, 0, call->batch.rows * plan->inputs * sizeof *dx);
        return PYNN_OK;
    }
    pynni_loss_scales(call->pass.layout.scales, &call->batch, divisor, plan->outputs, call->loss);
    PYNNI_TRY(pynni_pass_batch(&call->pass, &call->batch, dx, call->loss));
    *loss = pynni_loss_total(0.0, call->pass.layout.losses, &call->batch) / divisor;
    return grads != NULL ? pynni_pass_grads(&call->pass, grads) : PYNN_OK;
}

static pynn_status measure_gradient(size_t *bytes, const pynn_plan *plan, const pynn_data *data,
                                    const pynn_options *options, int takes, int needs)
{
    gradient_call call;
    if (bytes == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    PYNNI_TRY(check_extent(&call, plan, data, &options, takes, needs));
    return pynni_layout_bytes(bytes, plan, data->rows, options->executor, call.needs);
}

/* Checks everything, and computes the loss and one of its gradients. */
static pynn_status run_gradient(double *loss, float *grads, float *dx, const pynn_plan *plan, const pynn_data *data,
                                const pynn_options *options, pynn_memory workspace)
{
    gradient_call call;
    uint64_t environment;
    pynn_status status;
    PYNNI_TRY(check_call(&call, plan, data, options, grads != NULL ? PYNNI_NEEDS_PACKED : PYNNI_NEEDS_DX));
    PYNNI_TRY(pynni_check_workspace(workspace, floats_of(&call, data->rows), plan));
    environment = pynni_environment_enter();
    status = compute_gradient(loss, grads, dx, &call, workspace.start);
    pynni_environment_leave(environment);
    return status;
}

pynn_status pynn_loss_and_grad_bytes(size_t *bytes, const pynn_plan *plan, const pynn_data *data,
                                     const pynn_options *options)
{
    return measure_gradient(bytes, plan, data, options, PYNNI_TAKES_LOSS | PYNNI_TAKES_MASK, PYNNI_NEEDS_PACKED);
}

pynn_status pynn_loss_and_grad(double *loss, float *grads, const pynn_plan *plan, const pynn_data *data,
                               const pynn_options *options, pynn_memory workspace)
{
    if (loss == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    if (grads == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, GRADS);
    return run_gradient(loss, grads, NULL, plan, data, options, workspace);
}

pynn_status pynn_input_grad_bytes(size_t *bytes, const pynn_plan *plan, const pynn_data *data,
                                  const pynn_options *options)
{
    return measure_gradient(bytes, plan, data, options, PYNNI_TAKES_LOSS | PYNNI_TAKES_MASK | PYNNI_TAKES_END,
                            PYNNI_NEEDS_DX);
}

pynn_status pynn_input_grad(double *loss, float *dx, const pynn_plan *plan, const pynn_data *data,
                            const pynn_options *options, pynn_memory workspace)
{
    double ignored;
    if (dx == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    return run_gradient(loss != NULL ? loss : &ignored, NULL, dx, plan, data, options, workspace);
}

/* ---- in parts ---------------------------------------------------------- */

/* Floats of a pass over one block of rule 2, and behind it the gradient of that block. */
enum { PART_NEEDS = PYNNI_NEEDS_PACKED | PYNNI_NEEDS_LOSSES | PYNNI_NEEDS_INPUTS | PYNNI_NEEDS_GRADS };

pynn_status pynn_accumulate_bytes(size_t *bytes, const pynn_plan *plan, const pynn_options *options)
{
    if (bytes == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    PYNNI_TRY(pynni_check_plan(plan));
    PYNNI_TRY(pynni_check_options(&options, PYNNI_TAKES_LOSS | PYNNI_TAKES_MASK));
    return pynni_layout_bytes(bytes, plan, PYNNI_BLOCK, options->executor, PART_NEEDS);
}

static pynn_status check_part(const pynn_accumulation *accumulation, const float *grads, const pynn_data *data)
{
    if (accumulation == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, ACCUMULATION);
    if (data == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, DATA);
    if (accumulation->done > accumulation->rows || data->rows > accumulation->rows - accumulation->done)
        return PYNNI_BAD(PYNN_BAD_INDEX, DATA_ROWS);
    if (accumulation->done % PYNNI_BLOCK != 0) return PYNNI_BAD(PYNN_BAD_ORDER, ACCUMULATION);
    if (data->rows % PYNNI_BLOCK != 0 && data->rows != accumulation->rows - accumulation->done)
        return PYNNI_BAD(PYNN_BAD_ORDER, DATA_ROWS);
    if (data->targets.normalise != PYNN_BY_NUMBER) return PYNNI_BAD(PYNN_BAD_KIND, TARGETS_NORMALISE);
    PYNNI_CHECK_RESERVE(accumulation->reserved, ACCUMULATION);
    if (accumulation->done == 0) return PYNN_OK;
    if (accumulation->private_grads != grads) return PYNNI_BAD(PYNN_BAD_ORDER, GRADS);
    return pynni_within(data->targets.divisor, accumulation->private_divisor, accumulation->private_divisor)
               ? PYNN_OK
               : PYNNI_BAD(PYNN_BAD_ORDER, TARGETS_DIVISOR);
}

/* Rows first .. first + PYNNI_BLOCK of the targets. */
static pynn_targets block_targets(const pynn_targets *targets, const pynni_batch *batch, size_t first)
{
    pynn_targets block = *targets;
    if (block.rows != NULL) block.rows += first * batch->targets_stride;
    if (block.labels != NULL) block.labels += first;
    if (block.weights != NULL) block.weights += first;
    if (block.output_weights != NULL) block.output_weights += first * batch->output_weights_stride;
    return block;
}

/* Rule 2: the sum of a block is added to the sum so far. */
static void add_block(float *grads, const float *block, size_t n)
{
    for (size_t i = 0; i < n; i++) grads[i] += block[i];
}

static pynn_status accumulate_block(double *loss, float *grads, gradient_call *call, void *start, int is_first)
{
    pynni_pass *pass = &call->pass;
    const pynn_plan *plan = pass->plan;
    begin_batch(call, start);
    pynni_loss_scales(pass->layout.scales, &call->batch, call->batch.targets->divisor, plan->outputs, call->loss);
    PYNNI_TRY(pynni_pass_batch(pass, &call->batch, NULL, call->loss));
    *loss = pynni_loss_total(*loss, pass->layout.losses, &call->batch);
    PYNNI_TRY(pynni_pass_grads(pass, is_first ? grads : pass->layout.grads));
    if (!is_first) add_block(grads, pass->layout.grads, plan->param_count);
    return PYNN_OK;
}

pynn_status pynn_accumulate(pynn_accumulation *accumulation, float *grads, const pynn_plan *plan, const pynn_data *data,
                            const pynn_options *options, pynn_memory workspace)
{
    gradient_call call;
    pynni_batch all;
    uint64_t environment;
    pynn_status status = PYNN_OK;
    size_t first = 0;
    PYNNI_TRY(check_part(accumulation, grads, data));
    if (grads == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, GRADS);
    PYNNI_TRY(check_call(&call, plan, data, options, PART_NEEDS));
    call.needs = PART_NEEDS;
    PYNNI_TRY(pynni_check_workspace(workspace, floats_of(&call, PYNNI_BLOCK), plan));
    all = call.batch;
    environment = pynni_environment_enter();
    if (accumulation->done == 0) accumulation->loss = 0.0;
    accumulation->private_divisor = data->targets.divisor;
    accumulation->private_grads = grads;
    while (first < all.rows && status == PYNN_OK) {
        const pynn_targets targets = block_targets(all.targets, &all, first);
        call.batch.targets = &targets;
        call.batch.x = all.x + first * all.x_stride;
        call.batch.rows = pynni_smaller(all.rows - first, PYNNI_BLOCK);
        call.pass.rows_before = accumulation->done;
        status = accumulate_block(&accumulation->loss, grads, &call, workspace.start, accumulation->done == 0);
        if (status == PYNN_OK) accumulation->done += call.batch.rows;
        else accumulation->private_grads = NULL; /* spoilt: no part may follow */
        first += call.batch.rows;
    }
    pynni_environment_leave(environment);
    return status;
}

/* ---- from any gradient of the outputs ---------------------------------- */

/* The forward or the backward pass of all rows. */
typedef struct rows_job {
    const pynni_pass *pass;
    float *y;        /* forward: what comes out, or NULL */
    const float *dy; /* backward: its gradient */
    float *dx;       /* backward: or NULL */
} rows_job;

static void forward_block(const void *argument, size_t worker, size_t first, size_t rows)
{
    const rows_job *job = argument;
    const size_t width = job->pass->plan->outputs;
    float *drows;
    pynni_pass_forward(job->pass, worker, first, rows);
    if (job->y != NULL)
        memcpy(job->y + first * width, pynni_pass_rows(job->pass, worker, first, &drows), rows * width * sizeof(float));
}

static void backward_block(const void *argument, size_t worker, size_t first, size_t rows)
{
    const rows_job *job = argument;
    const pynn_plan *plan = job->pass->plan;
    pynni_pass_backward(job->pass, worker, job->dx != NULL ? job->dx + first * plan->inputs : NULL,
                        job->dy + first * plan->outputs, first, rows);
}

static pynn_status run_forward(const pynni_pass *pass, float *y)
{
    const rows_job job = {.pass = pass, .y = y};
    return pynni_pass_blocks(pass, forward_block, &job);
}

static pynn_status run_backward(const pynni_pass *pass, float *dx, const float *dy)
{
    const rows_job job = {.pass = pass, .dy = dy, .dx = dx};
    PYNNI_TRY(pynni_pass_transpose(pass, dx != NULL));
    return pynni_pass_blocks(pass, backward_block, &job);
}

/* What a pass without a loss begins with. */
static pynn_status check_pass(pynni_pass *pass, const pynn_plan *plan, const pynn_data *data,
                              const pynn_options **options)
{
    size_t stride;
    PYNNI_TRY(pynni_check_plan(plan));
    PYNNI_TRY(pynni_check_options(options, PYNNI_TAKES_END | PYNNI_TAKES_MASK));
    PYNNI_TRY(pynni_check_data(&stride, data, plan->inputs));
    if (data->rows == 0) return PYNNI_BAD(PYNN_BAD_SIZE, DATA_ROWS);
    if (!pynni_fits(data->rows, plan->outputs, 0)) return PYNNI_BAD(PYNN_TOO_LARGE, DATA_ROWS);
    *pass = (pynni_pass){.plan = plan, .x = data->x, .x_stride = stride, .mask = (*options)->mask,
                         .nodes = pynni_nodes_until(plan, (*options)->end), .rows = data->rows,
                         .executor = (*options)->executor};
    return PYNN_OK;
}

/* Lays out the memory of a pass if it is long enough. */
static pynn_status take_memory(pynni_pass *pass, pynn_memory workspace, int needs)
{
    const size_t workers = pynni_workers(pass->executor);
    const size_t floats = pynni_lay_out(&pass->layout, NULL, pass->plan, pass->rows, workers, needs);
    PYNNI_TRY(pynni_check_workspace(workspace, floats, pass->plan));
    pynni_lay_out(&pass->layout, workspace.start, pass->plan, pass->rows, workers, needs);
    return PYNN_OK;
}

pynn_status pynn_vjp(float *dx, const float *dy, const pynn_plan *plan, const pynn_data *data,
                     const pynn_options *options, pynn_memory workspace)
{
    pynni_pass pass;
    uint64_t environment;
    pynn_status status;
    if (dx == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    if (dy == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, DY);
    PYNNI_TRY(check_pass(&pass, plan, data, &options));
    PYNNI_TRY(take_memory(&pass, workspace, PYNNI_NEEDS_DX | PYNNI_NEEDS_LOSSES));
    environment = pynni_environment_enter();
    status = run_forward(&pass, NULL);
    if (status == PYNN_OK) status = run_backward(&pass, dx, dy);
    pynni_environment_leave(environment);
    return status;
}

/* ---- tape -------------------------------------------------------------- */

enum { TAPE_NEEDS = PYNNI_NEEDS_STAMP | PYNNI_NEEDS_PACKED | PYNNI_NEEDS_DX };
enum { TAPE_EMPTY = 0, TAPE_PLAIN = 0x70796e31, TAPE_MASKED = 0x70796e32 };

/* What stands at the start of a workspace whose forward pass can be followed by a backward pass. Every other use of the
 * workspace begins with something else. */
typedef struct tape_stamp {
    const pynn_tape *tape;
    const pynn_plan *plan;
} tape_stamp;

pynn_status pynn_forward_bytes(size_t *bytes, const pynn_plan *plan, size_t rows, const pynn_options *options)
{
    if (bytes == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    PYNNI_TRY(pynni_check_plan(plan));
    PYNNI_TRY(pynni_check_options(&options, PYNNI_TAKES_END | PYNNI_TAKES_MASK));
    if (rows == 0) return PYNNI_BAD(PYNN_BAD_SIZE, SIZE);
    return pynni_layout_bytes(bytes, plan, rows, options->executor, TAPE_NEEDS);
}

pynn_status pynn_forward(float *y, pynn_tape *tape, const pynn_plan *plan, const pynn_data *data,
                         const pynn_options *options, pynn_memory workspace)
{
    pynni_pass pass;
    uint64_t environment;
    pynn_status status;
    const tape_stamp stamp = {tape, plan};
    if (y == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    if (tape == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, TAPE);
    PYNNI_TRY(check_pass(&pass, plan, data, &options));
    PYNNI_TRY(take_memory(&pass, workspace, TAPE_NEEDS));
    memset(workspace.start, 0, sizeof stamp);
    environment = pynni_environment_enter();
    status = run_forward(&pass, y);
    pynni_environment_leave(environment);
    PYNNI_TRY(status);
    memcpy(workspace.start, &stamp, sizeof stamp);
    *tape = (pynn_tape){.private_pointer = {plan, pass.x, workspace.start},
                        .private_size = {pass.rows, pass.x_stride, workspace.bytes},
                        .private_end = options->end,
                        .private_state = pass.mask != NULL ? TAPE_MASKED : TAPE_PLAIN};
    if (pass.mask != NULL) tape->private_mask = *pass.mask;
    return PYNN_OK;
}

pynn_status pynn_backward(float *grads, float *dx, const float *dy, pynn_tape *tape, const pynn_executor *executor)
{
    pynni_pass pass;
    pynn_memory workspace;
    tape_stamp stamp;
    uint64_t environment;
    pynn_status status;
    if (tape == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, TAPE);
    if (tape->private_state != TAPE_PLAIN && tape->private_state != TAPE_MASKED)
        return PYNNI_BAD(PYNN_BAD_ORDER, TAPE);
    if (dy == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, DY);
    PYNNI_TRY(pynni_check_executor(executor));
    pass = (pynni_pass){.plan = tape->private_pointer[0], .x = tape->private_pointer[1],
                        .rows = tape->private_size[0], .x_stride = tape->private_size[1],
                        .mask = tape->private_state == TAPE_MASKED ? &tape->private_mask : NULL, .executor = executor};
    workspace = (pynn_memory){(void *)(uintptr_t)tape->private_pointer[2], tape->private_size[2]};
    memcpy(&stamp, workspace.start, sizeof stamp);
    if (stamp.tape != tape || stamp.plan != pass.plan) return PYNNI_BAD(PYNN_BAD_ORDER, TAPE);
    PYNNI_TRY(pynni_check_plan(pass.plan));
    pass.nodes = pynni_nodes_until(pass.plan, tape->private_end);
    PYNNI_TRY(take_memory(&pass, workspace, TAPE_NEEDS));
    environment = pynni_environment_enter();
    status = run_backward(&pass, dx, dy);
    if (status == PYNN_OK && grads != NULL) status = pynni_pass_grads(&pass, grads);
    pynni_environment_leave(environment);
    memset(workspace.start, 0, sizeof stamp);
    *tape = (pynn_tape){0};
    return status;
}

#endif
