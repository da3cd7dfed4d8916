/* What a caller's floating-point environment must not change: which arguments are refused, and what comes out. */
#include "check.h"

#include "environment.h"

static const pynn_layer layers[] = {{PYNN_DENSE, 0, 2, 3, 0}, {PYNN_TANH, 0, 0, 0, 0}, {PYNN_DENSE, 0, 3, 2, 0}};
static const float x[6] = {1.0f, -2.0f, 0.5f, 3.0f, -0.25f, 0.75f}, t[6] = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f};
static float params[17], grads[17], again[17];
static _Alignas(64) char workspace[1 << 17];
static pynn_net net;

/* Subnormal hyper-parameters and weights mean the same to a caller whose arithmetic takes them for zero. */
static void test_arguments(void)
{
    const pynn_optimizer tiny_momentum = {PYNN_SGD, 0, 1e-310, 0, 0, 0, 0, 0};
    const pynn_optimizer tiny_clip = {PYNN_SGD, 0, 0, 0, 0, 0, 0, 1e-310}, plain = {PYNN_SGD, 0, 0, 0, 0, 0, 0, 0};
    const float minus[3] = {1.0f, -1e-40f, 1.0f};
    const pynn_targets targets = {t, 2, NULL, minus};
    pynn_state state = {0, 1.0, 1.0};
    const unsigned before = environment();
    size_t count = 9, clipped = 0, unclipped = 0;
    float losses[3];
    double loss;
    pynn_status moments_status, update_status, weight_status;
    set_environment(before | FLUSHES);
    moments_status = pynn_optimizer_moments(&count, &tiny_momentum);
    update_status = pynn_update(params, NULL, &state, NULL, grads, &net, &tiny_momentum, 0.1);
    weight_status = pynn_loss(&loss, losses, NULL, x, &targets, 3, 2, PYNN_SQUARED_ERROR);
    (void)pynn_train_bytes(&clipped, &net, &tiny_clip, 3, 1);
    (void)pynn_train_bytes(&unclipped, &net, &plain, 3, 1);
    CHECK(environment() == (before | FLUSHES), "%x", environment());
    set_environment(before);
    CHECK_STATUS(PYNN_OK, moments_status);
    CHECK(count == 1, "%zu", count);
    CHECK_STATUS(PYNN_NULL_POINTER, update_status);
    CHECK_STATUS(PYNN_BAD_WEIGHT, weight_status);
    CHECK(clipped > unclipped, "%zu, %zu", clipped, unclipped);
}

/* The same loss and gradient in every rounding mode, and the mode is the caller's afterwards. */
static void test_rounding(void)
{
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    const pynn_targets targets = {t, 2, NULL, NULL};
    double loss = 0.0, other = 0.0;
    CHECK_OK(pynn_loss_and_grad(&loss, grads, &net, params, x, 2, &targets, NULL, 3, PYNN_SQUARED_ERROR, workspace,
                                sizeof workspace));
    for (size_t i = 0; i < COUNT(modes); i++) {
        pynn_status status;
        int mode;
        if (fesetround(modes[i]) != 0) continue;
        status = pynn_loss_and_grad(&other, again, &net, params, x, 2, &targets, NULL, 3, PYNN_SQUARED_ERROR, workspace,
                                    sizeof workspace);
        mode = fegetround();
        fesetround(FE_TONEAREST);
        CHECK(mode == modes[i], "mode %d became %d", modes[i], mode);
        CHECK_STATUS(PYNN_OK, status);
        CHECK(other == loss && memcmp(again, grads, sizeof grads) == 0, "mode %d: loss %a, not %a", modes[i], other, loss);
    }
}

/* Sums over nothing: no rows, or rows whose weights are all 0, whatever else they hold. */
static void test_nothing(void)
{
    static const float wild[6] = {INFINITY, 3e38f, -INFINITY, 1.0f, 2.0f, -3e38f}, none[3] = {0.0f, 0.0f, 0.0f};
    const pynn_targets targets = {t, 2, NULL, none};
    float ds[6], losses[3], dw[6], db[3];
    double loss = 1.0;
    memset(ds, 1, sizeof ds);
    CHECK_OK(pynn_loss(&loss, losses, ds, wild, &targets, 3, 2, PYNN_SQUARED_ERROR));
    for (size_t i = 0; i < COUNT(ds); i++) CHECK(ds[i] == 0.0f, "ds %zu is %a", i, (double)ds[i]);
    CHECK(loss == 0.0, "%a", loss);
    memset(grads, 1, sizeof grads);
    CHECK_OK(pynn_loss_and_grad(&loss, grads, &net, params, wild, 2, &targets, NULL, 3, PYNN_SQUARED_ERROR, workspace,
                                sizeof workspace));
    for (size_t i = 0; i < COUNT(grads); i++) CHECK(grads[i] == 0.0f, "gradient %zu is %a", i, (double)grads[i]);
    memset(dw, 1, sizeof dw);
    memset(db, 1, sizeof db);
    CHECK_OK(pynn_dense_backward(NULL, dw, db, NULL, NULL, 2, NULL, 0, 2, 3, NULL, 0));
    for (size_t i = 0; i < COUNT(dw); i++) CHECK(dw[i] == 0.0f, "dw %zu is %a", i, (double)dw[i]);
    for (size_t i = 0; i < COUNT(db); i++) CHECK(db[i] == 0.0f, "db %zu is %a", i, (double)db[i]);
}

static void test_all(void)
{
    CHECK_OK(pynn_net_draw(params, &net, 0));
    test_arguments();
    test_rounding();
    test_nothing();
}

int main(void)
{
    CHECK_OK(pynn_net_init(&net, layers, COUNT(layers)));
    every_isa(test_all);
    return check_end("test_dispatch");
}
