/* Many optimizer steps in one call. */
#include "internal.h"

#ifndef PYNN_WITHOUT_TRAINING

/* The arithmetic of a step, in multiply-adds, that makes one more worker pay: some 30 microseconds. */
enum { WORK_OF_WORKER = 1000000 };

pynn_status pynn_threads_advise(size_t *workers, const pynn_net *net, size_t batch, size_t available)
{
    size_t work;
    if (workers == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    PYNNI_TRY(pynni_check_net(net));
    if (batch == 0 || available == 0) return PYNNI_BAD(PYNN_BAD_SIZE, SIZE);
    work = pynni_mul(pynni_mul(3, net->param_count), batch) / WORK_OF_WORKER;
    *workers = pynni_smaller(pynni_larger(work, 1), available);
    return PYNN_OK;
}

int pynni_train_needs(const pynn_optimizer *optimizer)
{
    return PYNNI_NEEDS_LOSSES | PYNNI_NEEDS_INPUTS | PYNNI_NEEDS_PACKED |
           (pynni_clips(optimizer) ? PYNNI_NEEDS_GRADS : PYNNI_NEEDS_STRIPS);
}

pynn_status pynn_train_bytes(size_t *bytes, const pynn_plan *plan, const pynn_trainer *trainer, size_t batch)
{
    pynn_optimizer optimizer;
    if (bytes == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    PYNNI_TRY(pynni_check_plan(plan));
    if (trainer == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, TRAINER);
    PYNNI_TRY(pynni_optimizer_check(&optimizer, &trainer->optimizer));
    PYNNI_TRY(pynni_check_executor(trainer->executor));
    if (batch == 0) return PYNNI_BAD(PYNN_BAD_SIZE, SIZE);
    return pynni_layout_bytes(bytes, plan, batch, trainer->executor, pynni_train_needs(&optimizer));
}

/* By its sign and size. */
static int is_finite_total(double x) { return pynni_within(x, 0.0, DBL_MAX) || pynni_within(-x, 0.0, DBL_MAX); }

/* One step. PYNN_LOSS_NOT_FINITE leaves all as it was. */
static pynn_status train_step(pynn_trainer *trainer, const pynni_pass *pass, const pynni_batch *batch,
                              const pynn_optimizer *optimizer, double learning_rate, int32_t loss)
{
    const pynn_plan *plan = pass->plan;
    const double divisor = pynni_loss_divisor(batch);
    double total;
    size_t failed;
    pynni_step step;
    if (!pynni_is_positive(divisor)) return PYNN_OK;
    pynni_loss_scales(pass->layout.scales, batch, divisor, plan->outputs, loss);
    if (batch->targets->normalise != PYNN_BY_WEIGHTS && !pynni_all_finite(pass->layout.scales, batch->rows))
        return PYNN_LOSS_NOT_FINITE;
    PYNNI_TRY(pynni_pass_batch(pass, batch, NULL, loss));
    total = pynni_loss_total(0.0, pass->layout.losses, batch);
    if (!is_finite_total(total)) return PYNN_LOSS_NOT_FINITE;
    if (batch->targets->normalise == PYNN_BY_NUMBER && !is_finite_total(total / divisor)) return PYNN_LOSS_NOT_FINITE;
    pynni_step_begin(&step, trainer, plan, optimizer, learning_rate);
    if (pass->layout.grads != NULL) {
        PYNNI_TRY(pynni_pass_grads(pass, pass->layout.grads));
        failed = pynni_step_apply_all(&step, pass->layout.grads, plan, optimizer);
    } else {
        PYNNI_TRY(pynni_pass_learn(pass, &step, &failed));
    }
    if (failed < plan->layer_count) {
        trainer->failed_layer = failed;
        return PYNN_PARAMETER_NOT_FINITE;
    }
    trainer->totals.loss += total;
    trainer->totals.weight += divisor;
    return PYNN_OK;
}

/* All steps of a call, checked. */
typedef struct train_call {
    pynni_batch data; /* the rows of all batches */
    pynn_optimizer optimizer;
    size_t size, steps;
    const double *learning_rates;
    int32_t loss;
} train_call;

static pynn_status check_batches(train_call *t, const pynn_data *data, const pynn_batches *batches)
{
    if (batches == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, BATCHES);
    PYNNI_CHECK_RESERVE(batches->reserved, BATCHES_RESERVED);
    t->data.rows = batches->count != 0 ? batches->count : data->rows;
    t->data.order = batches->order;
    if (data->rows == 0) return PYNNI_BAD(PYNN_BAD_SIZE, DATA_ROWS);
    if (batches->order == NULL && batches->count > data->rows) return PYNNI_BAD(PYNN_BAD_INDEX, BATCHES_COUNT);
    t->size = batches->size != 0 ? pynni_smaller(batches->size, t->data.rows) : t->data.rows;
    t->steps = (t->data.rows - 1) / t->size + 1;
    t->learning_rates = batches->learning_rates;
    for (size_t k = 0; t->learning_rates != NULL && k < t->steps; k++)
        if (!pynni_is_rate(t->learning_rates[k])) return PYNNI_BAD(PYNN_BAD_VALUE, BATCHES_LEARNING_RATES);
    return PYNN_OK;
}

static pynn_status check_training(train_call *t, const pynn_trainer *trainer, const pynn_plan *plan,
                                  const pynn_data *data, const pynn_batches *batches)
{
    pynn_status status;
    PYNNI_TRY(pynni_check_plan(plan));
    PYNNI_TRY(pynni_trainer_check(&t->optimizer, trainer, plan));
    status = pynni_loss_choose(&t->loss, trainer->loss, plan->last);
    if (status != PYNN_OK) return PYNNI_BAD(pynn_status_code(status), TRAINER_LOSS);
    PYNNI_TRY(pynni_check_data(&t->data.x_stride, data, plan->inputs));
    PYNNI_TRY(check_batches(t, data, batches));
    t->data.x = data->x;
    t->data.targets = &data->targets;
    return pynni_loss_check(&t->data, data->rows, plan->outputs, t->loss);
}

/* Batch number k. */
static pynni_batch batch_at(const train_call *t, size_t k)
{
    pynni_batch batch = t->data;
    const size_t first = k * t->size;
    batch.rows = pynni_smaller(t->data.rows - first, t->size);
    if (batch.order != NULL) batch.order += first;
    else batch.first = first;
    return batch;
}

/* Rows of the next batch come while this one is computed. */
static void fetch_small(const pynni_batch *batch, size_t inputs)
{
    const size_t rows = pynni_batch_is_small(batch, inputs) ? batch->rows : 0;
    for (size_t r = 0; r < rows; r++) pynni_batch_fetch(batch, inputs, r);
}

pynn_status pynn_train_steps(pynn_trainer *trainer, const pynn_plan *plan, const pynn_data *data,
                             const pynn_batches *batches, pynn_memory workspace)
{
    train_call t = {0};
    pynni_batch batch, next = {0};
    pynn_mask mask = {0};
    pynni_pass pass = {.plan = plan, .mask = &mask};
    pynn_status status = PYNN_OK;
    uint64_t environment;
    size_t workers;
    int needs;
    PYNNI_TRY(check_training(&t, trainer, plan, data, batches));
    needs = pynni_train_needs(&t.optimizer);
    workers = pynni_workers(trainer->executor);
    PYNNI_TRY(pynni_check_workspace(workspace, pynni_lay_out(&pass.layout, NULL, plan, t.size, workers, needs), plan));
    environment = pynni_environment_enter();
    pynni_lay_out(&pass.layout, workspace.start, plan, t.size, workers, needs);
    pass.executor = trainer->executor;
    pass.nodes = pynni_nodes_until(plan, pynni_loss_end(t.loss));
    pass.x = pass.layout.inputs;
    pass.x_stride = plan->inputs;
    mask.seed = trainer->seed;
    batch = batch_at(&t, 0);
    for (size_t k = 0; k < t.steps && status == PYNN_OK; k++, batch = next) {
        pass.rows = batch.rows;
        mask.step = (uint32_t)trainer->state.steps;
        if (k + 1 < t.steps) {
            next = batch_at(&t, k + 1);
            fetch_small(&next, plan->inputs);
        }
        status = train_step(trainer, &pass, &batch, &t.optimizer,
                            t.learning_rates != NULL ? t.learning_rates[k] : t.optimizer.learning_rate, t.loss);
    }
    pynni_environment_leave(environment);
    return status;
}

#endif
