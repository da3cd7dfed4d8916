/* Loss and gradient of a batch, and many optimizer steps in one call. */
#include "internal.h"

#include <string.h>

enum {
    GATHER_AHEAD = 1024, /* floats that are on their way while others are copied */
    SMALL_BATCH = 4096   /* floats of a batch that is fetched as a whole, during the step before */
};

pynn_status pynn_train_bytes(size_t *bytes, const pynn_net *net, const pynn_optimizer *optimizer, size_t batch,
                             size_t workers)
{
    pynni_map map;
    if (bytes == NULL || optimizer == NULL) return PYNN_NULL_POINTER;
    PYNNI_TRY(pynni_check_net(net));
    PYNNI_TRY(pynni_optimizer_check(optimizer));
    if (batch == 0 || workers == 0) return PYNN_BAD_SIZE;
    return pynni_bytes(bytes, pynni_map_train(&map, NULL, net, batch, workers, pynni_clips(optimizer)));
}

/* Rows come from anywhere in the data, so they are fetched ahead of their use. */
static void fetch(const pynni_batch *batch, size_t inputs, size_t r)
{
    const float *row = batch->x + batch->order[r] * batch->x_stride;
    for (size_t i = 0; i < inputs; i += PYNN_WORKSPACE_ALIGNMENT / sizeof(float)) __builtin_prefetch(row + i);
    if (batch->targets->labels != NULL) __builtin_prefetch(batch->targets->labels + batch->order[r]);
}

static int is_small(const pynni_batch *batch, size_t inputs) { return batch->rows * inputs <= SMALL_BATCH; }

/* Rows first .. first + rows of a batch, side by side. */
static void gather(float *gathered, const pynni_batch *batch, size_t inputs, size_t first, size_t rows)
{
    const size_t end = first + rows, ahead = GATHER_AHEAD / inputs + 1;
    size_t fetched = is_small(batch, inputs) ? end : first;
    for (size_t r = first; r < end; r++) {
        for (; fetched < end && fetched <= r + ahead; fetched++) fetch(batch, inputs, fetched);
        memcpy(gathered + r * inputs, batch->x + batch->order[r] * batch->x_stride, inputs * sizeof(float));
    }
}

/* The first phase: rows forward, loss, and back to the gradient of every score, block by block. */
typedef struct passing {
    const pynni_pass *pass;
    const pynni_batch *batch;
    int32_t loss_kind;
} passing;

static void pass_share(void *argument, size_t worker)
{
    const passing *job = argument;
    const pynni_pass *pass = job->pass;
    const pynni_map *map = &pass->map;
    size_t from, to, block;
    pynni_share(&from, &to, job->batch->rows, worker, pynni_workers(pass->executor));
    block = pynni_row_block(to - from);
    for (size_t first = from; first < to; first += block) {
        const size_t rows = to - first < block ? to - first : block;
        float *out, *drows;
        if (map->gathered != NULL) gather(map->gathered, job->batch, pass->net->inputs, first, rows);
        pynni_pass_forward(pass, worker, first, rows);
        out = pynni_pass_rows(pass, worker, first, &drows);
        pynni_loss_block(pass->kernels, map->losses + first, drows, out, job->batch, map->scales, first, rows,
                         pass->net->outputs, job->loss_kind);
        pynni_pass_backward(pass, worker, NULL, drows, first, rows);
    }
}

static void pass_rows(const pynni_pass *pass, const pynni_batch *batch, int32_t loss_kind)
{
    passing job = {pass, batch, loss_kind};
    pynni_pass_turn(pass, 0);
    pynni_run(pass->executor, pass_share, &job);
}

static int is_finite(double x) { return x >= -DBL_MAX && x <= DBL_MAX; }

static pynn_status check_batch(const double *loss, const float *grads, const pynn_net *net, const float *params,
                               const float *x, size_t x_stride, const pynn_targets *targets, size_t rows,
                               int32_t loss_kind)
{
    if (loss == NULL || grads == NULL || params == NULL || x == NULL) return PYNN_NULL_POINTER;
    PYNNI_TRY(pynni_check_net(net));
    if (rows == 0) return PYNN_BAD_SIZE;
    PYNNI_TRY(pynni_check_rows(rows, net->inputs, x_stride));
    PYNNI_TRY(pynni_loss_check(targets, NULL, rows, rows, net->outputs, loss_kind));
    return pynni_loss_check_net(net, loss_kind);
}

pynn_status pynn_loss_and_grad(double *loss, float *grads, const pynn_net *net, const float *params, const float *x,
                               size_t x_stride, const pynn_targets *targets, const pynn_mask *mask, size_t rows,
                               int32_t loss_kind, void *workspace, size_t workspace_bytes)
{
    const pynni_batch batch = {.x = x, .x_stride = x_stride, .targets = targets, .rows = rows};
    pynni_pass pass = {.net = net, .params = params, .x = x, .x_stride = x_stride, .mask = mask, .rows = rows};
    pynni_call call;
    double weight;
    PYNNI_TRY(check_batch(loss, grads, net, params, x, x_stride, targets, rows, loss_kind));
    PYNNI_TRY(pynni_check_workspace(workspace, workspace_bytes, pynni_map_pass(&pass.map, NULL, net, rows, 1)));
    pynni_map_pass(&pass.map, workspace, net, rows, 1);
    pass.layers = pynni_layers_until(net, pynni_loss_end(loss_kind));
    PYNNI_TRY(pynni_enter(&call));
    pass.kernels = call.kernels;
    weight = pynni_loss_weight(&batch);
    if (weight > 0.0) {
        pynni_loss_scales(pass.map.scales, &batch, weight, net->outputs, loss_kind);
        pass_rows(&pass, &batch, loss_kind);
        *loss = pynni_loss_total(0.0, pass.map.losses, &batch) / weight;
        pynni_pass_grads(&pass, grads);
    } else {
        *loss = 0.0;
        memset(grads, 0, net->param_count * sizeof *grads);
    }
    pynni_leave(&call);
    return PYNN_OK;
}

/* Floats of a pass over one block of rule 2, and behind it the gradient of that block. */
static size_t floats_of_part(const pynn_net *net)
{
    pynni_map map;
    return pynni_add(pynni_map_pass(&map, NULL, net, PYNNI_BLOCK, 1), pynni_pad(net->param_count));
}

pynn_status pynn_part_bytes(size_t *bytes, const pynn_net *net)
{
    if (bytes == NULL) return PYNN_NULL_POINTER;
    PYNNI_TRY(pynni_check_net(net));
    return pynni_bytes(bytes, floats_of_part(net));
}

/* Rule 2: the sum of a block is added to the sum so far. */
static void add_block(float *grads, const float *block, size_t n)
{
    for (size_t i = 0; i < n; i++) grads[i] += block[i];
}

pynn_status pynn_loss_and_grad_part(double *loss, float *grads, const pynn_net *net, const float *params,
                                    const float *x, size_t x_stride, const pynn_targets *targets,
                                    const pynn_mask *mask, size_t rows, size_t first, double weight,
                                    int32_t loss_kind, void *workspace, size_t workspace_bytes)
{
    pynni_pass pass = {.net = net, .params = params, .x_stride = x_stride, .mask = mask};
    pynni_call call;
    float *block;
    PYNNI_TRY(check_batch(loss, grads, net, params, x, x_stride, targets, rows, loss_kind));
    if (first % PYNNI_BLOCK != 0) return PYNN_BAD_INDEX;
    if (!pynni_within(weight, 0.0, DBL_MAX)) return PYNN_BAD_WEIGHT;
    PYNNI_TRY(pynni_check_workspace(workspace, workspace_bytes, floats_of_part(net)));
    block = (float *)workspace + floats_of_part(net) - pynni_pad(net->param_count);
    pass.layers = pynni_layers_until(net, pynni_loss_end(loss_kind));
    PYNNI_TRY(pynni_enter(&call));
    pass.kernels = call.kernels;
    if (first == 0) *loss = 0.0;
    if (first == 0 && !(weight > 0.0)) memset(grads, 0, net->param_count * sizeof *grads);
    for (size_t r = 0; r < rows && weight > 0.0; r += PYNNI_BLOCK) {
        const pynn_targets goal = {.rows = targets->rows != NULL ? targets->rows + r * targets->stride : NULL,
                                   .stride = targets->stride,
                                   .labels = targets->labels != NULL ? targets->labels + r : NULL,
                                   .weights = targets->weights != NULL ? targets->weights + r : NULL};
        const pynni_batch batch = {.x = x + r * x_stride, .x_stride = x_stride, .targets = &goal,
                                   .rows = rows - r < PYNNI_BLOCK ? rows - r : PYNNI_BLOCK};
        pass.x = batch.x;
        pass.rows = batch.rows;
        pass.rows_before = first + r;
        pynni_map_pass(&pass.map, workspace, net, batch.rows, 1);
        pynni_loss_scales(pass.map.scales, &batch, weight, net->outputs, loss_kind);
        pass_rows(&pass, &batch, loss_kind);
        *loss = pynni_loss_total(*loss, pass.map.losses, &batch);
        pynni_pass_grads(&pass, pass.rows_before == 0 ? grads : block);
        if (pass.rows_before > 0) add_block(grads, block, net->param_count);
    }
    pynni_leave(&call);
    return PYNN_OK;
}

/* One step. PYNN_LOSS_NOT_FINITE leaves all as it was. */
static pynn_status train_step(const pynni_pass *pass, const pynni_batch *batch, float *params, float *moments,
                              pynn_state *state, pynn_totals *totals, size_t *where, const pynn_optimizer *optimizer,
                              double learning_rate, int32_t loss_kind)
{
    const double weight = pynni_loss_weight(batch);
    double total;
    size_t spoilt;
    pynni_step step;
    if (!(weight > 0.0)) return PYNN_OK;
    pynni_loss_scales(pass->map.scales, batch, weight, pass->net->outputs, loss_kind);
    pass_rows(pass, batch, loss_kind);
    total = pynni_loss_total(0.0, pass->map.losses, batch);
    if (!is_finite(total)) return PYNN_LOSS_NOT_FINITE;
    pynni_step_begin(&step, state, pass->kernels, optimizer, params, moments, pass->net->param_count, learning_rate);
    if (pass->map.grads != NULL) {
        pynni_pass_grads(pass, pass->map.grads);
        step.rates.clip =
            pynni_clip_factor(pass->kernels, pass->map.grads, pass->net->param_count, optimizer->clip_norm);
        spoilt = pynni_step_apply_all(&step, pass->map.grads, pass->net);
    } else {
        spoilt = pynni_pass_learn(pass, &step);
    }
    if (spoilt < pass->net->layer_count) {
        *where = spoilt;
        return PYNN_PARAMETER_NOT_FINITE;
    }
    totals->loss += total;
    totals->weight += weight;
    return PYNN_OK;
}

/* Batch number k of the rows of `data`, which are taken `batch` at a time. */
static pynni_batch batch_at(const pynni_batch *data, size_t batch, size_t k)
{
    pynni_batch found = *data;
    found.order += k * batch;
    found.rows = data->rows - k * batch < batch ? data->rows - k * batch : batch;
    return found;
}

pynn_status pynn_train_steps(float *params, float *moments, pynn_state *state, pynn_totals *totals, size_t *where,
                             const pynn_net *net, const pynn_optimizer *optimizer, const float *x, size_t x_stride,
                             const pynn_targets *targets, size_t data_rows, const uint32_t *order, size_t count,
                             size_t batch, const double *learning_rates, size_t steps, int32_t loss_kind, uint64_t seed,
                             const pynn_executor *executor, void *workspace, size_t workspace_bytes)
{
    size_t ignored, longest = batch < count ? batch : count;
    pynn_status status = PYNN_OK;
    pynni_call call;
    pynn_mask mask = {.seed = seed};
    pynni_pass pass = {.net = net, .params = params, .mask = &mask, .executor = executor};
    const pynni_batch data = {.x = x, .x_stride = x_stride, .targets = targets, .order = order, .rows = count};
    if (params == NULL || state == NULL || totals == NULL || optimizer == NULL || x == NULL || order == NULL ||
        learning_rates == NULL)
        return PYNN_NULL_POINTER;
    PYNNI_TRY(pynni_check_net(net));
    PYNNI_TRY(pynni_optimizer_check(optimizer));
    if (moments == NULL && pynni_moments(optimizer) > 0) return PYNN_NULL_POINTER;
    if (batch == 0 || count == 0 || steps == 0 || steps != (count - 1) / batch + 1) return PYNN_BAD_SIZE;
    for (size_t k = 0; k < steps; k++) {
        if (!pynni_is_rate(learning_rates[k])) return PYNN_BAD_VALUE;
    }
    PYNNI_TRY(pynni_check_rows(data_rows, net->inputs, x_stride));
    PYNNI_TRY(pynni_loss_check(targets, order, count, data_rows, net->outputs, loss_kind));
    PYNNI_TRY(pynni_loss_check_net(net, loss_kind));
    PYNNI_TRY(pynni_check_executor(executor));
    {
        const size_t workers = pynni_workers(executor);
        const int clips = pynni_clips(optimizer);
        PYNNI_TRY(pynni_check_workspace(workspace, workspace_bytes,
                                        pynni_map_train(&pass.map, NULL, net, longest, workers, clips)));
        pynni_map_train(&pass.map, workspace, net, longest, workers, clips);
    }
    if (!pynni_is_state(state)) return PYNN_BAD_VALUE;
    pass.layers = pynni_layers_until(net, pynni_loss_end(loss_kind));
    pass.x = pass.map.gathered;
    pass.x_stride = net->inputs;
    PYNNI_TRY(pynni_enter(&call));
    pass.kernels = call.kernels;
    for (size_t k = 0; k < steps && status == PYNN_OK; k++) {
        const pynni_batch now = batch_at(&data, batch, k);
        pass.rows = now.rows;
        mask.step = (uint32_t)state->steps;
        if (k + 1 < steps) {
            const pynni_batch next = batch_at(&data, batch, k + 1);
            const size_t fetched = is_small(&next, net->inputs) ? next.rows : 0;
            for (size_t r = 0; r < fetched; r++) fetch(&next, net->inputs, r);
        }
        status = train_step(&pass, &now, params, moments, state, totals, where != NULL ? where : &ignored, optimizer,
                            learning_rates[k], loss_kind);
    }
    pynni_leave(&call);
    return status;
}
