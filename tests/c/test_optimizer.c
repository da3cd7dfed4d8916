/*
 * Optimizers against their formulas in double, clipping by the norm that results, what decays and what does not,
 * gradients that are not finite, defaults, and where training starts. The bits are the business of
 * tests/c/test_kernels.c.
 */
#include "check.h"

enum { IN = 37, HIDDEN = 29, OUT = 5, MOST = 2048 };

static const pynn_layer layers[] = {
    {.inputs = IN, .outputs = HIDDEN}, {.kind = PYNN_RELU}, {.inputs = HIDDEN, .outputs = OUT}};
static pynn_net net;
static const pynn_plan *plan; /* of params */
static float params[MOST], moments[2 * MOST], grads[MOST];

static int is_bias(size_t i)
{
    const size_t second = (IN + 1) * HIDDEN;
    return i < second ? i >= IN * HIDDEN : i - second >= HIDDEN * OUT;
}

static pynn_trainer start(const pynn_optimizer *how, float size)
{
    fill_any(params, net.param_count, -1.0f, 1.0f);
    fill_any(grads, net.param_count, -size, size);
    memset(moments, 0, sizeof moments);
    return (pynn_trainer){.optimizer = *how, .params = params, .moments = moments, .failed_layer = 77};
}

static double norm_of(const double *g, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += g[i] * g[i];
    return sqrt(sum);
}

/* Ten steps against the textbook: 1e-6 of the parameters after each. */
static void check_formula(const pynn_optimizer *how)
{
    static double w[MOST], m[MOST], v[MOST], g[MOST];
    const size_t n = net.param_count;
    pynn_trainer trainer = start(how, 1.0f);
    double p1 = 1.0, p2 = 1.0;
    check_case("optimizer %d, momentum %g, nesterov %d, decay %g, clip %g", how->kind, how->momentum, how->nesterov,
               how->weight_decay, how->clip_norm);
    for (size_t i = 0; i < n; i++) w[i] = (double)params[i], m[i] = v[i] = 0.0;
    for (int step = 1; step <= 10; step++) {
        const double lr = 0.02 / step;
        double clip = 1.0, worst = 0.0;
        fill_any(grads, n, -1.0f, 1.0f);
        for (size_t i = 0; i < n; i++) g[i] = (double)grads[i];
        if (how->clip_norm > 0.0 && norm_of(g, n) > how->clip_norm) clip = how->clip_norm / norm_of(g, n);
        p1 *= how->beta1;
        p2 *= how->beta2;
        for (size_t i = 0; i < n; i++) {
            const double decay = is_bias(i) ? 0.0 : how->weight_decay;
            g[i] *= clip;
            if (how->kind != PYNN_ADAMW) g[i] += decay * w[i];
            if (how->kind == PYNN_SGD) {
                m[i] = how->momentum * m[i] + g[i];
                w[i] -= lr * (how->nesterov ? how->momentum * m[i] + g[i] : m[i]);
            } else {
                m[i] = how->beta1 * m[i] + (1.0 - how->beta1) * g[i];
                v[i] = how->beta2 * v[i] + (1.0 - how->beta2) * g[i] * g[i];
                if (how->kind == PYNN_ADAMW) w[i] -= lr * decay * w[i];
                w[i] -= lr * (m[i] / (1.0 - p1)) / (sqrt(v[i] / (1.0 - p2)) + how->epsilon);
            }
        }
        CHECK_OK(pynn_update(&trainer, plan, grads, lr));
        for (size_t i = 0; i < n; i++) worst = fmax(worst, fabs((double)params[i] - w[i]));
        CHECK(worst <= 1e-6, "step %d: error %g", step, worst);
        CHECK(trainer.state.steps == (uint64_t)step, "%" PRIu64 " steps", trainer.state.steps);
        if (how->kind != PYNN_SGD) {
            CHECK_NEAR(trainer.state.beta1_power, p1, 1e-15);
            CHECK_NEAR(trainer.state.beta2_power, p2, 1e-15);
        }
    }
}

static void test_formulas(void)
{
    static const pynn_optimizer recipes[] = {
        {.kind = PYNN_SGD},
        {.kind = PYNN_SGD, .weight_decay = 0.1, .clip_norm = 3.0},
        {.kind = PYNN_SGD, .momentum = 0.9, .weight_decay = 0.1},
        {.kind = PYNN_SGD, .nesterov = 1, .momentum = 0.9, .weight_decay = 0.1, .clip_norm = 3.0},
        {.kind = PYNN_SGD, .nesterov = 1, .momentum = 0.5},
        {.kind = PYNN_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8},
        {.kind = PYNN_ADAM, .beta1 = 0.8, .beta2 = 0.99, .epsilon = 1e-6, .weight_decay = 0.1, .clip_norm = 3.0},
        {.kind = PYNN_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.1},
        {.kind = PYNN_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.1, .clip_norm = 1000.0},
        {.kind = PYNN_ADAM, .epsilon = 1e-8},
    };
    for (size_t k = 0; k < COUNT(recipes); k++) check_formula(&recipes[k]);
}

/* Plain SGD is numpy's w -= lr * g: two roundings. */
static void test_sgd_bits(void)
{
    static const pynn_optimizer sgd = {.kind = PYNN_SGD};
    static float wanted[MOST];
    pynn_trainer trainer = start(&sgd, 1.0f);
    check_case("plain SGD");
    trainer.moments = NULL; /* it keeps none */
    for (size_t i = 0; i < net.param_count; i++) {
        const float step = 0.1f * grads[i];
        wanted[i] = params[i] - step;
    }
    CHECK_OK(pynn_update(&trainer, plan, grads, 0.1));
    CHECK_SAME(params, wanted, net.param_count);
}

/* With rate 1 the step is the clipped gradient. */
static void test_clipping(void)
{
    static const float sizes[] = {1e-3f, 1.0f, 1e6f, 1e15f};
    static const double limits[] = {1e-6, 0.5, 3.0, 1e4, -0.95, -1.05}; /* negative: times the norm */
    static double step[MOST], given[MOST];
    for (size_t k = 0; k < COUNT(sizes); k++) {
        for (size_t l = 0; l < COUNT(limits); l++) {
            const size_t n = net.param_count;
            pynn_optimizer how = {.kind = PYNN_SGD, .clip_norm = limits[l]};
            pynn_trainer trainer = start(&how, sizes[k]);
            double norm, clipped, dot = 0.0;
            check_case("gradient of %g, limit %g", (double)sizes[k], limits[l]);
            memset(params, 0, sizeof params);
            for (size_t i = 0; i < n; i++) given[i] = (double)grads[i];
            norm = norm_of(given, n);
            if (limits[l] < 0.0) how.clip_norm = -limits[l] * norm;
            trainer.optimizer = how;
            CHECK_OK(pynn_update(&trainer, plan, grads, 1.0));
            for (size_t i = 0; i < n; i++) step[i] = -(double)params[i];
            clipped = norm_of(step, n);
            CHECK_NEAR(clipped, fmin(norm, how.clip_norm), 1e-6 * norm);
            for (size_t i = 0; i < n; i++) dot += step[i] * given[i];
            CHECK_NEAR(dot, norm * clipped, 1e-6 * norm * clipped); /* the direction stays */
            if (norm <= how.clip_norm)
                for (size_t i = 0; i < n; i++) CHECK(params[i] == -grads[i], "element %zu was changed", i);
        }
    }
}

/* Without a gradient only decay moves a parameter, and never a bias. */
static void test_decay(void)
{
    static const pynn_optimizer recipes[] = {
        {.kind = PYNN_SGD, .weight_decay = 0.3},
        {.kind = PYNN_SGD, .momentum = 0.9, .weight_decay = 0.3},
        {.kind = PYNN_SGD, .nesterov = 1, .momentum = 0.9, .weight_decay = 0.3, .clip_norm = 1.0},
        {.kind = PYNN_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.3},
        {.kind = PYNN_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.3},
    };
    static float before[MOST];
    for (size_t k = 0; k < COUNT(recipes); k++) {
        pynn_trainer trainer = start(&recipes[k], 0.0f);
        check_case("decay, recipe %zu", k);
        memcpy(before, params, sizeof params);
        CHECK_OK(pynn_update(&trainer, plan, grads, 0.1));
        for (size_t i = 0; i < net.param_count; i++) {
            const double old = (double)before[i], new = (double)params[i];
            if (is_bias(i)) CHECK(params[i] == before[i], "bias %zu moved from %g to %g", i, old, new);
            else CHECK((old - new) * old > 0.0, "weight %zu went from %g to %g", i, old, new);
        }
        if (recipes[k].kind == PYNN_ADAMW)
            for (size_t i = 0; i < 10; i++) CHECK(params[i] == before[i] * 0.97f, "%a", (double)params[i]);
    }
}

/* Moments that fade away end at 0 and not among the subnormals. */
static void test_fading(void)
{
    static const pynn_optimizer adam = {.kind = PYNN_ADAM, .beta1 = 0.5, .beta2 = 0.5, .epsilon = 1e-8};
    pynn_trainer trainer = start(&adam, 1.0f);
    check_case("fading moments");
    for (int step = 0; step < 300; step++) {
        CHECK_OK(pynn_update(&trainer, plan, grads, 0.001));
        for (size_t i = 0; i < 2 * net.param_count; i++) {
            const float size = fabsf(moments[i]);
            if (size > 0.0f && size < 0x1p-100f) CHECK(0, "step %d: moment %zu is %a", step, i, (double)moments[i]);
        }
        memset(grads, 0, sizeof grads);
    }
    for (size_t i = 0; i < 2 * net.param_count; i++)
        CHECK(bits_of(moments[i]) == 0, "moment %zu is %a", i, (double)moments[i]);
}

/* Any parameter that becomes NaN or infinite is noticed, wherever it stands. */
static void test_not_finite(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, FLT_MAX};
    static const pynn_optimizer recipes[] = {
        {.kind = PYNN_SGD},
        {.kind = PYNN_SGD, .momentum = 0.9},
        {.kind = PYNN_SGD, .nesterov = 1, .momentum = 0.9},
        {.kind = PYNN_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8},
        {.kind = PYNN_SGD, .clip_norm = 1.0},
    };
    for (size_t k = 0; k < COUNT(recipes); k++) {
        for (size_t b = 0; b < COUNT(bad); b++) {
            for (size_t i = 0; i < net.param_count; i += 1 + any_below(9)) {
                pynn_trainer trainer = start(&recipes[k], 1.0f);
                const size_t *where = &trainer.failed_layer;
                pynn_status status;
                int spoilt = 0;
                check_case("recipe %zu, gradient %zu is %g", k, i, (double)bad[b]);
                grads[i] = bad[b];
                status = pynn_update(&trainer, plan, grads, 2.0);
                for (size_t j = 0; j < net.param_count; j++) spoilt |= !(fabsf(params[j]) <= FLT_MAX);
                CHECK((status == PYNN_PARAMETER_NOT_FINITE) == spoilt, "status %d, spoilt %d", (int)status, spoilt);
                if (b < 3 && k < 4) CHECK(spoilt, "the test itself");
                CHECK(trainer.state.steps == 1, "%" PRIu64 " steps", trainer.state.steps);
                if (!spoilt) CHECK(*where == 77, "layer %zu was named", *where);
                else if (k < 4) CHECK(*where == (i < (IN + 1) * HIDDEN ? 0 : 2), "layer %zu was named", *where);
            }
        }
    }
}

static void test_moments(void)
{
    static const pynn_optimizer recipes[] = {
        {.kind = PYNN_SGD, .weight_decay = 0.1, .clip_norm = 1.0},
        {.kind = PYNN_SGD, .momentum = 0.1},
        {.kind = PYNN_SGD, .nesterov = 1, .momentum = 0.1},
        {.kind = PYNN_ADAM, .epsilon = 1e-12},
        {.kind = PYNN_ADAMW, .epsilon = 1.0},
    };
    static const size_t wanted[] = {0, 1, 1, 2, 2};
    for (size_t k = 0; k < COUNT(recipes); k++) {
        size_t count = 99;
        CHECK_OK(pynn_optimizer_moments(&count, &recipes[k]));
        CHECK(count == wanted[k], "recipe %zu keeps %zu", k, count);
    }
}

/* ---- defaults ---------------------------------------------------------- */

static void check_fields(const pynn_optimizer *got, const pynn_optimizer *wanted)
{
    CHECK(got->kind == wanted->kind, "kind %d", got->kind);
    CHECK(got->nesterov == wanted->nesterov, "nesterov %d", got->nesterov);
    CHECK_SAME_DOUBLE(got->learning_rate, wanted->learning_rate);
    CHECK_SAME_DOUBLE(got->momentum, wanted->momentum);
    CHECK_SAME_DOUBLE(got->beta1, wanted->beta1);
    CHECK_SAME_DOUBLE(got->beta2, wanted->beta2);
    CHECK_SAME_DOUBLE(got->epsilon, wanted->epsilon);
    CHECK_SAME_DOUBLE(got->weight_decay, wanted->weight_decay);
    CHECK_SAME_DOUBLE(got->clip_norm, wanted->clip_norm);
    for (size_t i = 0; i < COUNT(got->reserved); i++) CHECK(got->reserved[i] == 0, "reserved %zu", i);
}

static void test_made(void)
{
    static const pynn_optimizer wanted[] = {
        {.kind = PYNN_SGD, .learning_rate = 0.01},
        {.kind = PYNN_ADAM, .learning_rate = 0.001, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8},
        {.kind = PYNN_ADAMW, .learning_rate = 0.001, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8,
         .weight_decay = 0.01},
    };
    const pynn_optimizer made[] = {pynn_sgd(), pynn_adam(), pynn_adamw()};
    for (size_t k = 0; k < COUNT(wanted); k++) {
        check_case("optimizer %zu as it is made", k);
        check_fields(&made[k], &wanted[k]);
    }
}

/* Three epochs of some rows; parameters, moments and state to the last bit. */
typedef struct outcome {
    float params[MOST], moments[2 * MOST];
    pynn_state state;
} outcome;

static void trained(outcome *end, const pynn_optimizer *how, const double *rates)
{
    enum { ROWS = 24, BATCH = 8, STEPS = ROWS / BATCH };
    static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char work[1 << 17];
    static float x[ROWS * IN], t[ROWS * OUT];
    const pynn_data data = {.x = x, .rows = ROWS, .targets = {.rows = t}};
    const pynn_batches batches = {.size = BATCH, .learning_rates = rates};
    pynn_trainer trainer;
    check_seed = 77;
    trainer = start(how, 0.0f);
    fill_any(x, ROWS * IN, -1.0f, 1.0f);
    fill_any(t, ROWS * OUT, -1.0f, 1.0f);
    for (int epoch = 0; epoch < 3; epoch++)
        CHECK_OK(pynn_train_steps(&trainer, plan, &data, &batches, (pynn_memory){work, sizeof work}));
    memcpy(end->params, params, sizeof params);
    memcpy(end->moments, moments, sizeof moments);
    end->state = trainer.state;
}

static void check_outcome(const outcome *got, const outcome *wanted)
{
    CHECK_SAME(got->params, wanted->params, net.param_count);
    CHECK_SAME(got->moments, wanted->moments, 2 * net.param_count);
    CHECK(got->state.steps == wanted->state.steps, "%" PRIu64 " steps", got->state.steps);
    CHECK_SAME_DOUBLE(got->state.beta1_power, wanted->state.beta1_power);
    CHECK_SAME_DOUBLE(got->state.beta2_power, wanted->state.beta2_power);
}

/* What is 0 means the default: betas and epsilon together, the learning rate alone. */
static void test_defaults(void)
{
    static const double usual[] = {0.01, 0.001, 0.001};
    const pynn_optimizer made[] = {pynn_sgd(), pynn_adam(), pynn_adamw()};
    static outcome wanted, got, before;
    for (size_t k = 0; k < COUNT(made); k++) {
        const double rates[] = {usual[k], usual[k], usual[k]}, fast[] = {0.03, 0.03, 0.03}, none[] = {0.0, 0.0, 0.0};
        pynn_optimizer how = made[k];
        check_case("defaults of optimizer %zu", k);
        trained(&wanted, &made[k], NULL);
        trained(&got, &made[k], rates);
        check_outcome(&got, &wanted);
        how.learning_rate = 0.0;
        trained(&got, &how, NULL);
        check_outcome(&got, &wanted);
        how.beta1 = how.beta2 = how.epsilon = 0.0;
        trained(&got, &how, NULL);
        check_outcome(&got, &wanted);
        how.learning_rate = 7.0; /* not looked at where rates are given */
        trained(&got, &how, rates);
        check_outcome(&got, &wanted);

        how.learning_rate = 0.03;
        trained(&got, &how, NULL);
        CHECK(memcmp(got.params, wanted.params, sizeof got.params) != 0, "learning_rate is not looked at");
        trained(&wanted, &made[k], fast);
        check_outcome(&got, &wanted);

        trained(&got, &how, none); /* a rate that is given as 0 is 0 */
        check_seed = 77;
        start(&how, 0.0f);
        memcpy(before.params, params, sizeof params);
        CHECK_SAME(got.params, before.params, net.param_count);
        CHECK(got.state.steps == 9, "%" PRIu64 " steps", got.state.steps);
    }
}

/* A learning rate of 0 that is given to an update is 0 too. */
static void test_rate_of_zero(void)
{
    static float before[MOST];
    const pynn_optimizer made[] = {pynn_sgd(), pynn_adam(), pynn_adamw()};
    for (size_t k = 0; k < COUNT(made); k++) {
        pynn_trainer trainer = start(&made[k], 1.0f);
        check_case("rate 0, optimizer %zu", k);
        memcpy(before, params, sizeof params);
        CHECK_OK(pynn_update(&trainer, plan, grads, 0.0));
        CHECK_SAME(params, before, net.param_count);
        CHECK(trainer.state.steps == 1, "%" PRIu64 " steps", trainer.state.steps);
    }
}

/* ---- the state --------------------------------------------------------- */

/* A state of zeros is the start, as are powers of 1: the first step of Adam is the learning rate. */
static void test_start(void)
{
    static float first[MOST], before[MOST];
    pynn_optimizer adam = pynn_adam();
    pynn_trainer trainer = start(&adam, 1.0f);
    check_case("the first step");
    memcpy(before, params, sizeof params);
    CHECK_OK(pynn_update(&trainer, plan, grads, 0.01));
    memcpy(first, params, sizeof params);
    for (size_t i = 0; i < net.param_count; i++)
        CHECK_NEAR(fabs((double)first[i] - (double)before[i]), 0.01, 1e-6 + 1e-9 / fabs((double)grads[i]));
    memcpy(params, before, sizeof params);
    memset(moments, 0, sizeof moments);
    trainer.state = (pynn_state){0, 1.0, 1.0};
    CHECK_OK(pynn_update(&trainer, plan, grads, 0.01));
    CHECK_SAME(params, first, net.param_count);
    CHECK_SAME_DOUBLE(trainer.state.beta1_power, 0.9);
    CHECK_SAME_DOUBLE(trainer.state.beta2_power, 0.999);

    check_case("restart"); /* moments of 0 and powers of 1, but the steps go on */
    CHECK_OK(pynn_update(&trainer, plan, grads, 0.01));
    CHECK_OK(pynn_state_restart(&trainer.state));
    CHECK(trainer.state.steps == 2, "%" PRIu64 " steps", trainer.state.steps);
    CHECK_SAME_DOUBLE(trainer.state.beta1_power, 1.0);
    CHECK_SAME_DOUBLE(trainer.state.beta2_power, 1.0);
    memcpy(params, before, sizeof params);
    memset(moments, 0, sizeof moments);
    CHECK_OK(pynn_update(&trainer, plan, grads, 0.01));
    CHECK_SAME(params, first, net.param_count);
    CHECK(trainer.state.steps == 3, "%" PRIu64 " steps", trainer.state.steps);
}

static void test_all(void)
{
    static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char plan_storage[1 << 12];
    CHECK_OK(pynn_net_init(&net, layers, COUNT(layers)));
    CHECK(net.param_count <= MOST, "%zu parameters", net.param_count);
    CHECK_OK(pynn_plan_init(&plan, &(pynn_model){.net = &net, .params = params},
                            (pynn_memory){plan_storage, sizeof plan_storage}));
    test_formulas();
    test_sgd_bits();
    test_clipping();
    test_decay();
    test_fading();
    test_not_finite();
    test_moments();
    test_made();
    test_defaults();
    test_rate_of_zero();
    test_start();
}

int main(void)
{
    every_isa(test_all);
    return check_end("test_optimizer");
}
