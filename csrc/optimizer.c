/* The scalars of an optimizer step, and the update of a flat range of parameters. */
#include "internal.h"

static int in_unit(double x) { return pynni_within(x, 0.0, PYNNI_BELOW_ONE); }

static int is_positive(double x) { return !pynni_within(x, 0.0, 0.0); } /* of what has passed the checks */

pynn_status pynni_optimizer_check(const pynn_optimizer *optimizer)
{
    if (optimizer->kind < PYNN_SGD || optimizer->kind > PYNN_ADAMW) return PYNN_BAD_KIND;
    if (!pynni_within(optimizer->weight_decay, 0.0, FLT_MAX) || !pynni_within(optimizer->clip_norm, 0.0, DBL_MAX))
        return PYNN_BAD_VALUE;
    if (optimizer->kind == PYNN_SGD) {
        if (!in_unit(optimizer->momentum) || (optimizer->nesterov != 0 && optimizer->nesterov != 1)) return PYNN_BAD_VALUE;
        return optimizer->nesterov && !is_positive(optimizer->momentum) ? PYNN_BAD_VALUE : PYNN_OK;
    }
    if (!in_unit(optimizer->beta1) || !in_unit(optimizer->beta2)) return PYNN_BAD_VALUE;
    return pynni_within(optimizer->epsilon, 1e-12, FLT_MAX) ? PYNN_OK : PYNN_BAD_VALUE;
}

int pynni_is_rate(double learning_rate) { return pynni_within(learning_rate, 0.0, FLT_MAX); }

int pynni_is_state(const pynn_state *state)
{
    return pynni_within(state->beta1_power, 0.0, 1.0) && pynni_within(state->beta2_power, 0.0, 1.0);
}

int pynni_clips(const pynn_optimizer *optimizer) { return is_positive(optimizer->clip_norm); }

size_t pynni_moments(const pynn_optimizer *optimizer)
{
    return optimizer->kind != PYNN_SGD ? 2 : is_positive(optimizer->momentum) ? 1 : 0;
}

pynn_status pynn_optimizer_moments(size_t *count, const pynn_optimizer *optimizer)
{
    if (count == NULL || optimizer == NULL) return PYNN_NULL_POINTER;
    PYNNI_TRY(pynni_optimizer_check(optimizer));
    *count = pynni_moments(optimizer);
    return PYNN_OK;
}

static int rule_of(const pynn_optimizer *optimizer)
{
    if (optimizer->kind != PYNN_SGD) return PYNNI_RULE_ADAM;
    if (!is_positive(optimizer->momentum)) return PYNNI_RULE_SGD;
    return optimizer->nesterov ? PYNNI_RULE_NESTEROV : PYNNI_RULE_MOMENTUM;
}

void pynni_step_begin(pynni_step *step, pynn_state *state, const pynni_kernels *kernels,
                      const pynn_optimizer *optimizer, float *params, float *moments, size_t param_count,
                      double learning_rate)
{
    const int adamw = optimizer->kind == PYNN_ADAMW;
    const size_t count = pynni_moments(optimizer);
    *step = (pynni_step){
        .rule = kernels->rules[rule_of(optimizer)],
        .rates = {.clip = 1.0f,
                  .decay = adamw ? 0.0f : (float)optimizer->weight_decay,
                  .shrink = adamw ? (float)(1.0 - learning_rate * optimizer->weight_decay) : 1.0f,
                  .rate = (float)learning_rate,
                  .momentum = (float)optimizer->momentum},
        .params = params,
        .m = count >= 1 ? moments : NULL,
        .v = count >= 2 ? moments + param_count : NULL,
    };
    state->steps += 1;
    if (optimizer->kind != PYNN_SGD) {
        float root;
        state->beta1_power *= optimizer->beta1;
        state->beta2_power *= optimizer->beta2;
        root = kernels->sqrt((float)(1.0 - state->beta2_power));
        step->rates.rate = (float)(learning_rate * (double)root / (1.0 - state->beta1_power));
        step->rates.epsilon = (float)(optimizer->epsilon * (double)root);
        step->rates.beta1 = (float)optimizer->beta1;
        step->rates.rest1 = (float)(1.0 - optimizer->beta1);
        step->rates.beta2 = (float)optimizer->beta2;
        step->rates.rest2 = (float)(1.0 - optimizer->beta2);
    }
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

size_t pynni_step_apply_all(const pynni_step *step, const float *grads, const pynn_net *net)
{
    size_t offset = 0, spoilt = net->layer_count;
    for (size_t i = 0; i < net->layer_count; i++) {
        const pynn_layer *layer = &net->layers[i];
        const size_t weights = layer->inputs * layer->outputs;
        int finite = pynni_step_apply(step, grads + offset, offset, weights, 0);
        offset += weights;
        finite &= pynni_step_apply(step, grads + offset, offset, layer->outputs, 1);
        offset += layer->outputs;
        if (!finite && spoilt == net->layer_count) spoilt = i;
    }
    return spoilt;
}

float pynni_clip_factor(const pynni_kernels *kernels, const float *grads, size_t n, double clip_norm)
{
    double sum = 0.0;
    float norm;
    for (size_t i = 0; i < n; i += PYNNI_CHUNK)
        sum += (double)kernels->sum_of_squares(grads + i, n - i < PYNNI_CHUNK ? n - i : PYNNI_CHUNK);
    norm = kernels->sqrt((float)sum);
    return (double)norm > clip_norm ? (float)(clip_norm / (double)norm) : 1.0f;
}

pynn_status pynn_update(float *params, float *moments, pynn_state *state, size_t *where, const float *grads,
                        const pynn_net *net, const pynn_optimizer *optimizer, double learning_rate)
{
    pynni_call call;
    pynni_step step;
    size_t spoilt;
    if (params == NULL || state == NULL || grads == NULL || optimizer == NULL) return PYNN_NULL_POINTER;
    PYNNI_TRY(pynni_check_net(net));
    PYNNI_TRY(pynni_optimizer_check(optimizer));
    if (moments == NULL && pynni_moments(optimizer) > 0) return PYNN_NULL_POINTER;
    if (!pynni_is_rate(learning_rate) || !pynni_is_state(state)) return PYNN_BAD_VALUE;
    PYNNI_TRY(pynni_enter(&call));
    pynni_step_begin(&step, state, call.kernels, optimizer, params, moments, net->param_count, learning_rate);
    if (pynni_clips(optimizer))
        step.rates.clip = pynni_clip_factor(call.kernels, grads, net->param_count, optimizer->clip_norm);
    spoilt = pynni_step_apply_all(&step, grads, net);
    pynni_leave(&call);
    if (spoilt == net->layer_count) return PYNN_OK;
    if (where != NULL) *where = spoilt;
    return PYNN_PARAMETER_NOT_FINITE;
}
