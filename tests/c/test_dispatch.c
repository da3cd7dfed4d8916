/* What a caller's floating-point environment must not change: which arguments are refused, and what comes out. */
#include "nets.h"

#include "environment.h"

static const pynn_layer layers[] = {
    {.kind = PYNN_DENSE, .inputs = 2, .outputs = 3}, {.kind = PYNN_TANH}, {.inputs = 3, .outputs = 2}};
static const float x[6] = {1.0f, -2.0f, 0.5f, 3.0f, -0.25f, 0.75f}, t[6] = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f};
static float params[17], grads[17], again[17];
static _Alignas(64) char room[1 << 13];
static const pynn_memory workspace = {room, sizeof room};
static pynn_net net;
static const pynn_plan *plan;

/* Subnormal hyper-parameters and weights mean the same to a caller whose arithmetic takes them for zero. */
static void test_arguments(void)
{
    const pynn_optimizer tiny_momentum = {.kind = PYNN_SGD, .momentum = 1e-310};
    const float minus[3] = {1.0f, -1e-40f, 1.0f};
    const pynn_data data = {.rows = 3, .targets = {.rows = t, .weights = minus}};
    pynn_data divided = {.rows = 3, .targets = {.rows = t, .normalise = PYNN_BY_NUMBER, .divisor = 1e-310}};
    pynn_trainer momentum = {.optimizer = tiny_momentum, .params = params};
    pynn_trainer clips = {.optimizer = {.clip_norm = 1e-310}, .params = params}, plain = {.params = params};
    pynn_trainer tiny_epsilon = {.optimizer = {.kind = PYNN_ADAM, .epsilon = 1e-310}, .params = params};
    pynn_trainer tiny_powers = {.params = params, .state = {0, 1e-310, 1.0}};
    const unsigned before = environment();
    size_t count = 9, clipped = 0, unclipped = 0;
    float losses[3];
    double loss;
    pynn_status moments_status, update_status, weight_status, divisor_status, epsilon_status, powers_status;
    set_environment(before | FLUSHES);
    moments_status = pynn_optimizer_moments(&count, &tiny_momentum);
    update_status = pynn_update(&momentum, plan, grads, 0.1);
    weight_status = pynn_loss(&loss, losses, NULL, x, &data, 2, PYNN_SQUARED_ERROR);
    divisor_status = pynn_loss(&loss, losses, NULL, x, &divided, 2, PYNN_SQUARED_ERROR);
    epsilon_status = pynn_update(&tiny_epsilon, plan, grads, 0.1);
    powers_status = pynn_update(&tiny_powers, plan, grads, 0.1);
    (void)pynn_train_bytes(&clipped, plan, &clips, 3);
    (void)pynn_train_bytes(&unclipped, plan, &plain, 3);
    CHECK(environment() == (before | FLUSHES), "%x", environment());
    set_environment(before);
    CHECK_OK(moments_status);
    CHECK(count == 1, "%zu", count);
    CHECK_REFUSED(PYNN_NULL_POINTER, "trainer.moments", update_status);
    CHECK_REFUSED(PYNN_BAD_WEIGHT, "targets.weights", weight_status);
    CHECK_OK(divisor_status);
    CHECK_REFUSED(PYNN_BAD_VALUE, "optimizer.epsilon", epsilon_status);
    CHECK_REFUSED(PYNN_BAD_VALUE, "trainer.state", powers_status);
    CHECK(clipped > unclipped, "%zu, %zu", clipped, unclipped);
}

/* The same loss and gradient in every rounding mode, and the mode is the caller's afterwards. */
static void test_rounding(void)
{
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    const pynn_data data = {.x = x, .rows = 3, .targets.rows = t};
    const pynn_options options = {.loss = PYNN_SQUARED_ERROR};
    double loss = 0.0, other = 0.0;
    CHECK_OK(pynn_loss_and_grad(&loss, grads, plan, &data, &options, workspace));
    for (size_t i = 0; i < COUNT(modes); i++) {
        pynn_status status;
        int mode;
        if (fesetround(modes[i]) != 0) continue;
        status = pynn_loss_and_grad(&other, again, plan, &data, &options, workspace);
        mode = fegetround();
        fesetround(FE_TONEAREST);
        CHECK(mode == modes[i], "mode %d became %d", modes[i], mode);
        CHECK_OK(status);
        CHECK(other == loss, "mode %d: loss %a, not %a", modes[i], other, loss);
        CHECK(memcmp(again, grads, sizeof grads) == 0, "mode %d", modes[i]);
    }
}

/* Sums over nothing: no rows, or rows whose weights are all 0, whatever else they hold. */
static void test_nothing(void)
{
    static const float wild[6] = {INFINITY, 3e38f, -INFINITY, 1.0f, 2.0f, -3e38f}, none[3] = {0.0f, 0.0f, 0.0f};
    const pynn_data data = {.x = wild, .rows = 3, .targets = {.rows = t, .weights = none}};
    const pynn_dense dense = {.inputs = 2, .outputs = 3};
    const pynn_options options = {.loss = PYNN_SQUARED_ERROR};
    float ds[6], losses[3], dw[6], db[3], dx[6];
    double loss = 1.0;
    memset(ds, 1, sizeof ds);
    CHECK_OK(pynn_loss(&loss, losses, ds, wild, &data, 2, PYNN_SQUARED_ERROR));
    for (size_t i = 0; i < COUNT(ds); i++) CHECK(bits_of(ds[i]) == 0, "ds %zu is %a", i, (double)ds[i]);
    CHECK(loss == 0.0, "%a", loss);
    memset(grads, 1, sizeof grads);
    loss = 1.0;
    CHECK_OK(pynn_loss_and_grad(&loss, grads, plan, &data, &options, workspace));
    for (size_t i = 0; i < COUNT(grads); i++) CHECK(grads[i] == 0.0f, "gradient %zu is %a", i, (double)grads[i]);
    CHECK(loss == 0.0, "%a", loss);
    memset(dx, 1, sizeof dx);
    loss = 1.0;
    CHECK_OK(pynn_input_grad(&loss, dx, plan, &data, &options, workspace));
    for (size_t i = 0; i < COUNT(dx); i++) CHECK(dx[i] == 0.0f, "dx %zu is %a", i, (double)dx[i]);
    CHECK(loss == 0.0, "%a", loss);
    memset(dw, 1, sizeof dw);
    memset(db, 1, sizeof db);
    CHECK_OK(pynn_dense_backward(NULL, dw, db, NULL, &dense, &(pynn_data){.rows = 0}, (pynn_memory){NULL, 0}));
    for (size_t i = 0; i < COUNT(dw); i++) CHECK(dw[i] == 0.0f, "dw %zu is %a", i, (double)dw[i]);
    for (size_t i = 0; i < COUNT(db); i++) CHECK(db[i] == 0.0f, "db %zu is %a", i, (double)db[i]);
}

/* A plan computes on the instruction set that was chosen when it was made, whatever is chosen afterwards. */
static void test_plan_keeps(void)
{
    const pynn_data data = {.x = x, .rows = 3};
    float y[6], z[6];
    int32_t isa = -1, now = -1;
    CHECK_OK(pynn_predict(y, plan, &data, NULL, workspace));
    CHECK_OK(pynn_isa_get(&isa));
    CHECK_OK(pynn_isa_set(PYNN_ISA_SCALAR));
    CHECK_OK(pynn_predict(z, plan, &data, NULL, workspace));
    CHECK(pynn_isa_get(&now) == PYNN_OK && now == PYNN_ISA_SCALAR, "a prediction chose %d", now);
    CHECK_SAME(z, y, 6);
    CHECK_OK(pynn_isa_set(isa));
}

static void test_all(void)
{
    plan = plan_from(&net, params);
    CHECK_OK(pynn_params_init(params, &net, 0));
    test_arguments();
    test_rounding();
    test_nothing();
    test_plan_keeps();
}

int main(void)
{
    CHECK_OK(pynn_net_init(&net, layers, COUNT(layers)));
    every_isa(test_all);
    return check_end("test_dispatch");
}
