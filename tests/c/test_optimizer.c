/*
 * Optimizers against their formulas in double, clipping by the norm that results, what decays and what does not, and
 * gradients that are not finite. The bits are the business of tests/c/test_kernels.c.
 */
#include "check.h"

enum { IN = 37, HIDDEN = 29, OUT = 5, MOST = 2048 };

static const pynn_layer layers[] = {
    {PYNN_DENSE, 0, IN, HIDDEN, 0.0}, {PYNN_RELU, 0, 0, 0, 0.0}, {PYNN_DENSE, 0, HIDDEN, OUT, 0.0}};
static pynn_net net;
static float params[MOST], moments[2 * MOST], grads[MOST];

static int is_bias(size_t i)
{
    const size_t second = (IN + 1) * HIDDEN;
    return i < second ? i >= IN * HIDDEN : i - second >= HIDDEN * OUT;
}

static void start(pynn_state *state, float size)
{
    fill_any(params, net.param_count, -1.0f, 1.0f);
    fill_any(grads, net.param_count, -size, size);
    memset(moments, 0, sizeof moments);
    *state = (pynn_state){0, 1.0, 1.0};
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
    pynn_state state;
    double p1 = 1.0, p2 = 1.0;
    start(&state, 1.0f);
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
        CHECK_OK(pynn_update(params, moments, &state, NULL, grads, &net, how, lr));
        for (size_t i = 0; i < n; i++) worst = fmax(worst, fabs((double)params[i] - w[i]));
        CHECK(worst <= 1e-6, "step %d: error %g", step, worst);
        CHECK(state.steps == (uint64_t)step, "%" PRIu64 " steps", state.steps);
        if (how->kind != PYNN_SGD) {
            CHECK_NEAR(state.beta1_power, p1, 1e-15);
            CHECK_NEAR(state.beta2_power, p2, 1e-15);
        }
    }
}

static void test_formulas(void)
{
    static const pynn_optimizer recipes[] = {
        {PYNN_SGD, 0, 0.0, 0, 0, 0, 0.0, 0.0},            {PYNN_SGD, 0, 0.0, 0, 0, 0, 0.1, 3.0},
        {PYNN_SGD, 0, 0.9, 0, 0, 0, 0.1, 0.0},            {PYNN_SGD, 1, 0.9, 0, 0, 0, 0.1, 3.0},
        {PYNN_SGD, 1, 0.5, 0, 0, 0, 0.0, 0.0},            {PYNN_ADAM, 0, 0, 0.9, 0.999, 1e-8, 0.0, 0.0},
        {PYNN_ADAM, 0, 0, 0.8, 0.99, 1e-6, 0.1, 3.0},     {PYNN_ADAMW, 0, 0, 0.9, 0.999, 1e-8, 0.1, 0.0},
        {PYNN_ADAMW, 0, 0, 0.9, 0.999, 1e-8, 0.1, 1000.0}, {PYNN_ADAM, 0, 0, 0.0, 0.0, 1e-8, 0.0, 0.0},
    };
    for (size_t k = 0; k < COUNT(recipes); k++) check_formula(&recipes[k]);
}

/* Plain SGD is numpy's w -= lr * g: two roundings. */
static void test_sgd_bits(void)
{
    static const pynn_optimizer sgd = {PYNN_SGD, 0, 0.0, 0, 0, 0, 0.0, 0.0};
    static float wanted[MOST];
    pynn_state state;
    check_case("plain SGD");
    start(&state, 1.0f);
    for (size_t i = 0; i < net.param_count; i++) {
        const float step = 0.1f * grads[i];
        wanted[i] = params[i] - step;
    }
    CHECK_OK(pynn_update(params, NULL, &state, NULL, grads, &net, &sgd, 0.1));
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
            pynn_optimizer how = {PYNN_SGD, 0, 0.0, 0, 0, 0, 0.0, limits[l]};
            pynn_state state;
            double norm, clipped, dot = 0.0;
            check_case("gradient of %g, limit %g", (double)sizes[k], limits[l]);
            start(&state, sizes[k]);
            memset(params, 0, sizeof params);
            for (size_t i = 0; i < n; i++) given[i] = (double)grads[i];
            norm = norm_of(given, n);
            if (limits[l] < 0.0) how.clip_norm = -limits[l] * norm;
            CHECK_OK(pynn_update(params, NULL, &state, NULL, grads, &net, &how, 1.0));
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
        {PYNN_SGD, 0, 0.0, 0, 0, 0, 0.3, 0.0},          {PYNN_SGD, 0, 0.9, 0, 0, 0, 0.3, 0.0},
        {PYNN_SGD, 1, 0.9, 0, 0, 0, 0.3, 1.0},          {PYNN_ADAM, 0, 0, 0.9, 0.999, 1e-8, 0.3, 0.0},
        {PYNN_ADAMW, 0, 0, 0.9, 0.999, 1e-8, 0.3, 0.0},
    };
    static float before[MOST];
    for (size_t k = 0; k < COUNT(recipes); k++) {
        pynn_state state;
        check_case("decay, recipe %zu", k);
        start(&state, 0.0f);
        memcpy(before, params, sizeof params);
        CHECK_OK(pynn_update(params, moments, &state, NULL, grads, &net, &recipes[k], 0.1));
        for (size_t i = 0; i < net.param_count; i++) {
            if (is_bias(i)) CHECK(params[i] == before[i], "bias %zu moved from %g to %g", i, (double)before[i], (double)params[i]);
            else CHECK((before[i] - params[i]) * before[i] > 0.0f, "weight %zu went from %g to %g", i, (double)before[i], (double)params[i]);
        }
        if (recipes[k].kind == PYNN_ADAMW)
            for (size_t i = 0; i < 10; i++) CHECK(params[i] == before[i] * 0.97f, "%a", (double)params[i]);
    }
}

/* Moments that fade away end at 0 and not among the subnormals. */
static void test_fading(void)
{
    static const pynn_optimizer adam = {PYNN_ADAM, 0, 0, 0.5, 0.5, 1e-8, 0.0, 0.0};
    pynn_state state;
    check_case("fading moments");
    start(&state, 1.0f);
    for (int step = 0; step < 300; step++) {
        CHECK_OK(pynn_update(params, moments, &state, NULL, grads, &net, &adam, 0.001));
        for (size_t i = 0; i < 2 * net.param_count; i++) {
            const float size = fabsf(moments[i]);
            if (size > 0.0f && size < 0x1p-100f) CHECK(0, "step %d: moment %zu is %a", step, i, (double)moments[i]);
        }
        memset(grads, 0, sizeof grads);
    }
    for (size_t i = 0; i < 2 * net.param_count; i++) CHECK(bits_of(moments[i]) == 0, "moment %zu is %a", i, (double)moments[i]);
}

/* Any parameter that becomes NaN or infinite is noticed, wherever it stands. */
static void test_not_finite(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, FLT_MAX};
    static const pynn_optimizer recipes[] = {
        {PYNN_SGD, 0, 0.0, 0, 0, 0, 0.0, 0.0},         {PYNN_SGD, 0, 0.9, 0, 0, 0, 0.0, 0.0},
        {PYNN_SGD, 1, 0.9, 0, 0, 0, 0.0, 0.0},         {PYNN_ADAM, 0, 0, 0.9, 0.999, 1e-8, 0.0, 0.0},
        {PYNN_SGD, 0, 0.0, 0, 0, 0, 0.0, 1.0},
    };
    for (size_t k = 0; k < COUNT(recipes); k++) {
        for (size_t b = 0; b < COUNT(bad); b++) {
            for (size_t i = 0; i < net.param_count; i += 1 + any_below(9)) {
                pynn_state state;
                pynn_status status;
                int spoilt = 0;
                size_t where = 77;
                check_case("recipe %zu, gradient %zu is %g", k, i, (double)bad[b]);
                start(&state, 1.0f);
                grads[i] = bad[b];
                status = pynn_update(params, moments, &state, &where, grads, &net, &recipes[k], 2.0);
                for (size_t j = 0; j < net.param_count; j++) spoilt |= !(fabsf(params[j]) <= FLT_MAX);
                CHECK((status == PYNN_PARAMETER_NOT_FINITE) == spoilt, "status %d, spoilt %d", (int)status, spoilt);
                if (b < 3 && k < 4) CHECK(spoilt, "the test itself");
                CHECK(state.steps == 1, "%" PRIu64 " steps", state.steps);
                if (!spoilt) CHECK(where == 77, "layer %zu was named", where);
                else if (k < 4) CHECK(where == (i < (IN + 1) * HIDDEN ? 0 : 2), "layer %zu was named", where);
            }
        }
    }
}

static void test_moments(void)
{
    static const pynn_optimizer recipes[] = {
        {PYNN_SGD, 0, 0.0, 0, 0, 0, 0.1, 1.0}, {PYNN_SGD, 0, 0.1, 0, 0, 0, 0.0, 0.0}, {PYNN_SGD, 1, 0.1, 0, 0, 0, 0.0, 0.0},
        {PYNN_ADAM, 0, 0, 0, 0, 1e-12, 0, 0},  {PYNN_ADAMW, 0, 0, 0, 0, 1.0, 0, 0}};
    static const size_t wanted[] = {0, 1, 1, 2, 2};
    for (size_t k = 0; k < COUNT(recipes); k++) {
        size_t count = 99;
        CHECK_OK(pynn_optimizer_moments(&count, &recipes[k]));
        CHECK(count == wanted[k], "recipe %zu keeps %zu", k, count);
    }
}

static void test_all(void)
{
    CHECK_OK(pynn_net_init(&net, layers, COUNT(layers)));
    CHECK(net.param_count <= MOST, "%zu parameters", net.param_count);
    test_formulas();
    test_sgd_bits();
    test_clipping();
    test_decay();
    test_fading();
    test_not_finite();
    test_moments();
}

int main(void)
{
    every_isa(test_all);
    return check_end("test_optimizer");
}
