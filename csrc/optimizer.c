/* Optimizers: their checks, the scalars of a step, and the update of a flat range of parameters. */
#include "internal.h"

#include <math.h>

#ifndef PYNN_WITHOUT_TRAINING

static int in_unit(double x) { return pynni_within(x, 0.0, PYNNI_BELOW_ONE); }

static int is_zero(double x) { return pynni_within(x, 0.0, 0.0); }

/* ---- defaults ---------------------------------------------------------- */

pynn_optimizer pynn_sgd(void) { return (pynn_optimizer){.kind = PYNN_SGD, .learning_rate = 0.01}; }

pynn_optimizer pynn_adam(void)
{
    return (pynn_optimizer){.kind = PYNN_ADAM, .learning_rate = 0.001, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
}

pynn_optimizer pynn_adamw(void)
{
    pynn_optimizer adamw = pynn_adam();
    adamw.kind = PYNN_ADAMW;
    adamw.weight_decay = 0.01;
    return adamw;
}

/* Whether it is Adam or AdamW, in a build that has one of them. */
static int is_adam(const pynn_optimizer *optimizer)
{
    return (PYNNI_HAS_OPTIMIZER(PYNN_ADAM) || PYNNI_HAS_OPTIMIZER(PYNN_ADAMW)) && optimizer->kind != PYNN_SGD;
}

static void fill_defaults(pynn_optimizer *optimizer)
{
    const pynn_optimizer defaults = is_adam(optimizer) ? pynn_adam() : pynn_sgd();
    if (is_zero(optimizer->learning_rate)) optimizer->learning_rate = defaults.learning_rate;
    if (is_adam(optimizer) && is_zero(optimizer->beta1) && is_zero(optimizer->beta2) && is_zero(optimizer->epsilon)) {
        optimizer->beta1 = defaults.beta1;
        optimizer->beta2 = defaults.beta2;
        optimizer->epsilon = defaults.epsilon;
    }
}

/* ---- checks ------------------------------------------------------------ */

pynn_status pynni_optimizer_check(pynn_optimizer *checked, const pynn_optimizer *optimizer)
{
    if (optimizer == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OPTIMIZER);
    if (optimizer->kind < PYNN_SGD || optimizer->kind > PYNN_ADAMW || !PYNNI_HAS_OPTIMIZER(optimizer->kind))
        return PYNNI_BAD(PYNN_BAD_KIND, OPTIMIZER_KIND);
    if (!pynni_is_rate(optimizer->learning_rate)) return PYNNI_BAD(PYNN_BAD_VALUE, OPTIMIZER_LEARNING_RATE);
    if (!pynni_within(optimizer->weight_decay, 0.0, FLT_MAX)) return PYNNI_BAD(PYNN_BAD_VALUE, OPTIMIZER_WEIGHT_DECAY);
    if (!pynni_within(optimizer->clip_norm, 0.0, DBL_MAX)) return PYNNI_BAD(PYNN_BAD_VALUE, OPTIMIZER_CLIP_NORM);
    PYNNI_CHECK_RESERVE(optimizer->reserved, OPTIMIZER_RESERVED);
    *checked = *optimizer;
    fill_defaults(checked);
    if (is_adam(checked)) {
        if (!is_zero(checked->momentum)) return PYNNI_BAD(PYNN_BAD_VALUE, OPTIMIZER_MOMENTUM);
        if (checked->nesterov != 0) return PYNNI_BAD(PYNN_BAD_VALUE, OPTIMIZER_NESTEROV);
        if (!in_unit(checked->beta1) || !in_unit(checked->beta2)) return PYNNI_BAD(PYNN_BAD_VALUE, OPTIMIZER_BETA);
        return pynni_within(checked->epsilon, 1e-12, FLT_MAX) ? PYNN_OK : PYNNI_BAD(PYNN_BAD_VALUE, OPTIMIZER_EPSILON);
    }
    if (!is_zero(checked->beta1) || !is_zero(checked->beta2)) return PYNNI_BAD(PYNN_BAD_VALUE, OPTIMIZER_BETA);
    if (!is_zero(checked->epsilon)) return PYNNI_BAD(PYNN_BAD_VALUE, OPTIMIZER_EPSILON);
    if (!in_unit(checked->momentum)) return PYNNI_BAD(PYNN_BAD_VALUE, OPTIMIZER_MOMENTUM);
    if ((checked->nesterov != 0 && checked->nesterov != 1) || (checked->nesterov && is_zero(checked->momentum)))
        return PYNNI_BAD(PYNN_BAD_VALUE, OPTIMIZER_NESTEROV);
    return PYNN_OK;
}

/* Powers of 0 or 1 at the start, else any that a beta can have. */
static int is_state(const pynn_state *state)
{
    const double powers[] = {state->beta1_power, state->beta2_power};
    for (size_t i = 0; i < 2; i++) {
        if (!pynni_within(powers[i], 0.0, 1.0)) return 0;
        if (state->steps == 0 && !is_zero(powers[i]) && !pynni_within(powers[i], 1.0, 1.0)) return 0;
    }
    return 1;
}

/* Powers of 0 after so few steps that no power of a beta of 1/2 or more can be 0: they were not saved. */
static int has_lost_powers(const pynn_state *state, const pynn_optimizer *adam)
{
    if (state->steps == 0 || state->steps > 1000) return 0;
    return (is_zero(state->beta1_power) && pynni_within(adam->beta1, 0.5, 1.0)) ||
           (is_zero(state->beta2_power) && pynni_within(adam->beta2, 0.5, 1.0));
}

pynn_status pynni_trainer_check(pynn_optimizer *optimizer, const pynn_trainer *trainer, const pynn_plan *plan)
{
    if (trainer == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, TRAINER);
    PYNNI_TRY(pynni_optimizer_check(optimizer, &trainer->optimizer));
    if (trainer->shards != 0 && trainer->shards != 1) return PYNNI_BAD(PYNN_BAD_VALUE, TRAINER_SHARDS);
    if (trainer->average != NULL || trainer->best != NULL) return PYNNI_BAD(PYNN_BAD_VALUE, TRAINER_AVERAGE);
    if (trainer->params == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, TRAINER_PARAMS);
    if (trainer->params != plan->params) return PYNNI_BAD(PYNN_BAD_VALUE, TRAINER_PARAMS);
    if (trainer->moments == NULL && pynni_moments(optimizer) > 0) return PYNNI_BAD(PYNN_NULL_POINTER, TRAINER_MOMENTS);
    if (!is_state(&trainer->state) || (is_adam(optimizer) && has_lost_powers(&trainer->state, optimizer)))
        return PYNNI_BAD(PYNN_BAD_VALUE, TRAINER_STATE);
    PYNNI_CHECK_RESERVE(trainer->reserved, TRAINER_RESERVED);
    return pynni_check_executor(trainer->executor);
}

pynn_status pynn_state_restart(pynn_state *state)
{
    if (state == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, TRAINER_STATE);
    state->beta1_power = state->beta2_power = 1.0;
    return PYNN_OK;
}

int pynni_is_rate(double learning_rate) { return pynni_within(learning_rate, 0.0, FLT_MAX); }

int pynni_clips(const pynn_optimizer *optimizer) { return !is_zero(optimizer->clip_norm); }

static int rule_of(const pynn_optimizer *optimizer)
{
    if (is_adam(optimizer)) return PYNNI_RULE_ADAM;
    if (is_zero(optimizer->momentum)) return PYNNI_RULE_SGD;
    return optimizer->nesterov ? PYNNI_RULE_NESTEROV : PYNNI_RULE_MOMENTUM;
}

size_t pynni_moments(const pynn_optimizer *optimizer)
{
#define RULE_MOMENTS(kind, name, optimizers, moments) moments,
    static const unsigned char moments_of[] = {PYNNI_RULE_LIST(RULE_MOMENTS)};
    return moments_of[rule_of(optimizer)];
}

pynn_status pynn_optimizer_moments(size_t *count, const pynn_optimizer *optimizer)
{
    pynn_optimizer checked;
    if (count == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    PYNNI_TRY(pynni_optimizer_check(&checked, optimizer));
    *count = pynni_moments(&checked);
    return PYNN_OK;
}

/* ---- a step ------------------------------------------------------------ */

/* Counts the step, and computes the scalars of Adam. */
static void begin_adam(pynni_rates *rates, pynn_state *state, const pynni_kernels *kernels,
                       const pynn_optimizer *optimizer, double learning_rate)
{
    float root;
    state->beta1_power *= optimizer->beta1;
    state->beta2_power *= optimizer->beta2;
    root = PYNNI_KERNEL(kernels, square_root)((float)(1.0 - state->beta2_power));
    rates->rate = (float)(learning_rate * (double)root / (1.0 - state->beta1_power));
    rates->epsilon = (float)(optimizer->epsilon * (double)root);
    rates->beta1 = (float)optimizer->beta1;
    rates->rest1 = (float)(1.0 - optimizer->beta1);
    rates->beta2 = (float)optimizer->beta2;
    rates->rest2 = (float)(1.0 - optimizer->beta2);
}

void pynni_step_begin(pynni_step *step, pynn_trainer *trainer, const pynn_plan *plan, const pynn_optimizer *optimizer,
                      double learning_rate)
{
    const int adamw = PYNNI_HAS_OPTIMIZER(PYNN_ADAMW) && optimizer->kind == PYNN_ADAMW;
    const size_t count = pynni_moments(optimizer);
    pynn_state *state = &trainer->state;
    *step = (pynni_step){
        .rule = PYNNI_KERNEL(plan->kernels, rules)[rule_of(optimizer)],
        .rates = {.clip = 1.0f,
                  .decay = adamw ? 0.0f : (float)optimizer->weight_decay,
                  .shrink = adamw ? (float)(1.0 - learning_rate * optimizer->weight_decay) : 1.0f,
                  .rate = (float)learning_rate,
                  .momentum = (float)optimizer->momentum},
        .params = trainer->params,
        .m = count >= 1 ? trainer->moments : NULL,
        .v = count >= 2 ? trainer->moments + plan->param_count : NULL,
    };
    if (state->steps == 0) pynn_state_restart(state);
    state->steps += 1;
    if (is_adam(optimizer)) begin_adam(&step->rates, state, plan->kernels, optimizer, learning_rate);
}

int pynni_step_apply(const pynni_step *step, const float *g, size_t offset, size_t n, int is_bias)
{
    pynni_rates rates = step->rates;
    if (is_bias) {
        rates.decay = 0.0f;
        rates.shrink = 1.0f;
    }
    return step->rule(step->params + offset, step->m != NULL ? step->m + offset : NULL,
                      step->v != NULL ? step->v + offset : NULL, g, n, &rates);
}

/* Rule 7: the factor that brings a gradient down to the given norm. */
static float clip_factor(const pynni_kernels *kernels, const float *grads, size_t n, double clip_norm)
{
    double sum = 0.0;
    float norm;
    for (size_t i = 0; i < n; i += PYNNI_CHUNK)
        sum += (double)PYNNI_KERNEL(kernels, sum_of_squares)(grads + i, pynni_smaller(n - i, PYNNI_CHUNK));
    norm = PYNNI_KERNEL(kernels, square_root)((float)sum);
    return pynni_within((double)norm, clip_norm, HUGE_VAL) ? (float)(clip_norm / (double)norm) : 1.0f;
}

size_t pynni_step_apply_all(pynni_step *step, const float *grads, const pynn_plan *plan,
                            const pynn_optimizer *optimizer)
{
    size_t failed = plan->layer_count;
    if (pynni_clips(optimizer))
        step->rates.clip = clip_factor(plan->kernels, grads, plan->param_count, optimizer->clip_norm);
    for (size_t i = 0; i < plan->node_count; i++) {
        const pynni_node *node = &plan->nodes[i];
        const size_t weights = node->inputs * node->outputs, bias = node->params + weights;
        int finite;
        if (node->kind != PYNN_DENSE) continue;
        finite = pynni_step_apply(step, grads + node->params, node->params, weights, 0);
        finite &= pynni_step_apply(step, grads + bias, bias, node->outputs, 1);
        if (!finite && failed == plan->layer_count) failed = node->layer;
    }
    return failed;
}

pynn_status pynn_update(pynn_trainer *trainer, const pynn_plan *plan, const float *grads, double learning_rate)
{
    pynn_optimizer optimizer;
    pynni_step step;
    uint64_t environment;
    size_t failed;
    PYNNI_TRY(pynni_check_plan(plan));
    PYNNI_TRY(pynni_trainer_check(&optimizer, trainer, plan));
    if (grads == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, GRADS);
    if (!pynni_is_rate(learning_rate)) return PYNNI_BAD(PYNN_BAD_VALUE, LEARNING_RATE);
    environment = pynni_environment_enter();
    pynni_step_begin(&step, trainer, plan, &optimizer, learning_rate);
    failed = pynni_step_apply_all(&step, grads, plan, &optimizer);
    pynni_environment_leave(environment);
    if (failed == plan->layer_count) return PYNN_OK;
    trainer->failed_layer = failed;
    return PYNN_PARAMETER_NOT_FINITE;
}

#endif
