/* The simple part: a net, its trainer, its plan and their arrays in one piece of memory. */
#include "internal.h"

#include <string.h>

#ifndef PYNN_WITHOUT_TRAINING

/* Where things begin, in bytes from the start of the memory. */
typedef struct learner_layout {
    size_t params, moments, workspace;
} learner_layout;

static size_t aligned_size(size_t bytes)
{
    const size_t more = pynni_add(bytes, PYNN_MEMORY_ALIGNMENT - 1);
    return more == SIZE_MAX ? SIZE_MAX : more / PYNN_MEMORY_ALIGNMENT * PYNN_MEMORY_ALIGNMENT;
}

static pynn_status lay_out_learner(learner_layout *layout, const pynn_net *net)
{
    size_t plan, array = 0;
    PYNNI_TRY(pynn_plan_bytes(&plan, net));
    PYNNI_TRY(pynni_bytes(&array, net->param_count));
    layout->params = aligned_size(plan);
    layout->moments = pynni_add(layout->params, aligned_size(array));
    layout->workspace = pynni_add(layout->moments, aligned_size(pynni_mul(2, array)));
    return layout->workspace > SIZE_MAX / 2 ? PYNNI_BAD(PYNN_TOO_LARGE, SIZE) : PYNN_OK;
}

/* The order of the rows in an epoch stands at the start of the workspace. */
static size_t order_bytes(size_t rows) { return aligned_size(pynni_mul(rows, sizeof(uint32_t))); }

/* Any optimizer may be chosen later: those that clip need most. */
pynn_status pynn_learner_bytes(size_t *bytes, const pynn_layer *layers, size_t layer_count, size_t rows, size_t batch)
{
    const pynn_optimizer clipped = {.clip_norm = 1.0};
    pynn_net net;
    pynn_plan plan;
    learner_layout layout;
    size_t longest = 0, predicted;
    if (bytes == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    if (rows == 0) return PYNNI_BAD(PYNN_BAD_SIZE, SIZE);
    PYNNI_TRY(pynn_net_init(&net, layers, layer_count));
    PYNNI_TRY(lay_out_learner(&layout, &net));
    predicted = batch != 0 ? batch : rows;
    batch = pynni_smaller(predicted, rows);
    plan = pynni_describe(&net, NULL);
    PYNNI_TRY(pynni_bytes(&longest, pynni_larger(pynni_floats_of_net(&net, batch, pynni_train_needs(&clipped)),
                                                 pynni_predict_floats(&plan, predicted))));
    longest = pynni_add(layout.workspace, pynni_add(order_bytes(rows), longest));
    if (longest > SIZE_MAX / 2) return PYNNI_BAD(PYNN_TOO_LARGE, SIZE);
    *bytes = longest;
    return PYNN_OK;
}

/* Adam, or what this build has instead. */
static pynn_optimizer first_optimizer(void)
{
    if (PYNNI_HAS_OPTIMIZER(PYNN_ADAM)) return pynn_adam();
    return PYNNI_HAS_OPTIMIZER(PYNN_ADAMW) ? pynn_adamw() : pynn_sgd();
}

pynn_status pynn_learner_init(pynn_learner *learner, const pynn_layer *layers, size_t layer_count, pynn_memory memory)
{
    unsigned char *start = memory.start;
    pynn_learner made = {.trainer.optimizer = first_optimizer()};
    learner_layout layout;
    if (learner == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, LEARNER);
    PYNNI_TRY(pynn_net_init(&made.net, layers, layer_count));
    PYNNI_TRY(lay_out_learner(&layout, &made.net));
    PYNNI_TRY(pynni_check_memory(memory, layout.workspace / sizeof(float)));
    made.trainer.params = (float *)(start + layout.params);
    made.trainer.moments = (float *)(start + layout.moments);
    made.workspace = (pynn_memory){start + layout.workspace, memory.bytes - layout.workspace};
    PYNNI_TRY(pynn_plan_init(&made.plan, &(pynn_model){.net = &made.net, .params = made.trainer.params}, memory));
    PYNNI_TRY(pynn_params_init(made.trainer.params, &made.net, made.trainer.seed));
    memset(made.trainer.moments, 0, layout.workspace - layout.moments);
    *learner = made;
    return PYNN_OK;
}

static pynn_status check_learner(const pynn_learner *learner)
{
    if (learner == NULL || learner->plan == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, LEARNER);
    return learner->reserved_epochs == 0 ? PYNN_OK : PYNNI_BAD(PYNN_BAD_VALUE, LEARNER);
}

pynn_status pynn_learner_train(pynn_learner *learner, const pynn_data *data, size_t batch)
{
    pynn_memory workspace;
    pynn_batches batches = {.size = batch};
    pynn_totals before;
    pynn_status status;
    uint32_t *order;
    PYNNI_TRY(check_learner(learner));
    if (data == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, DATA);
    workspace = learner->workspace;
    if (order_bytes(data->rows) > workspace.bytes) return PYNNI_BAD(PYNN_BAD_MEMORY, MEMORY);
    order = workspace.start;
    workspace.start = (unsigned char *)workspace.start + order_bytes(data->rows);
    workspace.bytes -= order_bytes(data->rows);
    batches.order = order;
    PYNNI_TRY(pynn_permutation(order, data->rows, learner->trainer.seed, learner->epochs));
    before = learner->trainer.totals;
    learner->trainer.totals = (pynn_totals){0.0, 0.0};
    status = pynn_train_steps(&learner->trainer, learner->plan, data, &batches, workspace);
    if (status == PYNN_OK) learner->epochs++;
    else if (status != PYNN_LOSS_NOT_FINITE && status != PYNN_PARAMETER_NOT_FINITE)
        learner->trainer.totals = before; /* the call was refused */
    return status;
}

pynn_status pynn_learner_predict(float *y, const pynn_learner *learner, const float *x, size_t rows)
{
    const pynn_data data = {.x = x, .rows = rows};
    PYNNI_TRY(check_learner(learner));
    return pynn_predict(y, learner->plan, &data, NULL, learner->workspace);
}

#endif
