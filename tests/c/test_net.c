/*
 * Sizes and offsets: what a net's layers add up to, that no sum of sizes wraps around, and that every workspace is
 * exactly as long as it is said to be.
 */
#include "check.h"

static void test_widths(void)
{
    static const pynn_layer layers[] = {
        {PYNN_DROPOUT, 0, 0, 0, 0.1},  {PYNN_DENSE, 0, 3, 5, 0.0}, {PYNN_RELU, 0, 0, 0, 0.0},
        {PYNN_DENSE, 0, 5, 20, 0.0},   {PYNN_DENSE, 0, 20, 1, 0.0}, {PYNN_SIGMOID, 0, 0, 0, 0.0},
        {PYNN_IDENTITY, 0, 0, 0, 0.0}, {PYNN_DENSE, 0, 1, 4, 0.0},  {PYNN_SOFTMAX, 0, 0, 0, 0.0},
    };
    static const size_t dense[][2] = {{1, 0}, {3, 20}, {4, 140}, {7, 161}};
    pynn_net net, same;
    CHECK_OK(pynn_net_init(&net, layers, COUNT(layers)));
    CHECK(net.layers == layers && net.layer_count == COUNT(layers), "%zu layers", net.layer_count);
    CHECK(net.inputs == 3 && net.outputs == 4 && net.widest == 20, "%zu, %zu, %zu", net.inputs, net.outputs, net.widest);
    CHECK(net.param_count == 20 + 120 + 21 + 8, "%zu", net.param_count);
    for (size_t i = 0; i < COUNT(dense); i++) {
        size_t offset = SIZE_MAX;
        CHECK_OK(pynn_net_offset(&offset, &net, dense[i][0]));
        CHECK(offset == dense[i][1], "layer %zu at %zu, not %zu", dense[i][0], offset, dense[i][1]);
    }
    CHECK_OK(pynn_net_init(&same, layers + 1, 1));
    CHECK(same.inputs == 3 && same.outputs == 5 && same.widest == 5 && same.param_count == 20, "%zu", same.param_count);
}

/* ---- what does not fit ------------------------------------------------- */

static pynn_status init_two(size_t a, size_t b, size_t c)
{
    const pynn_layer layers[] = {{PYNN_DENSE, 0, a, b, 0.0}, {PYNN_DENSE, 0, b, c, 0.0}};
    pynn_net net;
    pynn_status status;
    memset(&net, GUARD_PATTERN, sizeof net);
    status = pynn_net_init(&net, layers, 2);
    if (status != PYNN_OK) CHECK(all_pattern(&net, sizeof net), "written in spite of status %d", (int)status);
    return status;
}

static void test_too_large(void)
{
    const size_t half = (size_t)1 << 4 * sizeof(size_t); /* half half = 0 */
    const size_t most = SIZE_MAX / 2 / sizeof(float);    /* floats that half the address space holds */
    const size_t wide = most / 8;
    const pynn_layer fat = {PYNN_DENSE, 0, 1, wide, 0.0}, widest = {PYNN_DENSE, 0, 1, most / 2, 0.0};
    const pynn_optimizer sgd = {PYNN_SGD, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
    pynn_net net;
    size_t bytes = 0;

    CHECK_STATUS(PYNN_TOO_LARGE, init_two(half, half, 1));
    CHECK_STATUS(PYNN_TOO_LARGE, init_two(1, half, half));
    CHECK_STATUS(PYNN_TOO_LARGE, init_two(half, half / 2, 1)); /* the bytes wrap, the floats do not */
    CHECK_STATUS(PYNN_TOO_LARGE, init_two(half - 1, half, 1)); /* the bias does it */
    CHECK_STATUS(PYNN_TOO_LARGE, init_two(SIZE_MAX, 1, 1));    /* inputs + 1 wraps */
    CHECK_STATUS(PYNN_TOO_LARGE, init_two(1, SIZE_MAX, 1));
    CHECK_STATUS(PYNN_TOO_LARGE, init_two(1, most / 2, 1)); /* each fits, their sum does not */
    CHECK_STATUS(PYNN_OK, init_two(1, most / 4, 1));
    CHECK_STATUS(PYNN_TOO_LARGE, init_two(most, 1, 1));
    CHECK_STATUS(PYNN_OK, init_two(most - 3, 1, 1));
    CHECK_STATUS(PYNN_TOO_LARGE, init_two(most - 2, 1, 1));

    CHECK_OK(pynn_net_init(&net, &fat, 1));
    bytes = 77;
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_pass_bytes(&bytes, &net, 1000));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_pass_bytes(&bytes, &net, SIZE_MAX));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_pass_bytes(&bytes, &net, half));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_train_bytes(&bytes, &net, &sgd, SIZE_MAX / 4, 1));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_predict_bytes(&bytes, &net, 1)); /* whole row blocks of the widest row */
    CHECK_OK(pynn_net_init(&net, &widest, 1));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_predict_bytes(&bytes, &net, 1));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_pass_bytes(&bytes, &net, 1));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_dense_backward_bytes(&bytes, half, half));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_dense_backward_bytes(&bytes, most, 2));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_dense_backward_bytes(&bytes, 2, most));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_dense_backward_bytes(&bytes, SIZE_MAX, 1));
    CHECK(bytes == 77, "refused, but gave %zu", bytes);
    {
        float one = 1.0f, y = -7.0f;
        const pynn_targets targets = {&one, 1, NULL, NULL};
        double loss = -7.0;
        CHECK_STATUS(PYNN_TOO_LARGE, pynn_dense_forward(&y, &one, half, &one, &one, 1, half, half));
        CHECK_STATUS(PYNN_TOO_LARGE, pynn_dense_forward(&y, &one, half, &one, &one, half, 1, 1));
        CHECK_STATUS(PYNN_TOO_LARGE, pynn_dense_forward(&y, &one, 1, &one, &one, half, 1, half));
        CHECK_STATUS(PYNN_TOO_LARGE, pynn_softmax_forward(&y, &one, half, half));
        CHECK_STATUS(PYNN_TOO_LARGE, pynn_loss(&loss, &y, NULL, &one, &targets, half, half, PYNN_SQUARED_ERROR));
        CHECK(y == -7.0f && loss == -7.0, "%g, %g", (double)y, loss);
    }
}

/* ---- workspaces -------------------------------------------------------- */

enum { ROWS = 200, IN = 7, OUT = 6, MOST_PARAMS = 1 << 16 };

static const pynn_layer deep[] = {
    {PYNN_DENSE, 0, IN, 33, 0.0}, {PYNN_GELU, 0, 0, 0, 0.0},   {PYNN_DROPOUT, 0, 0, 0, 0.3}, {PYNN_DENSE, 0, 33, 17, 0.0},
    {PYNN_RELU, 0, 0, 0, 0.0},    {PYNN_DENSE, 0, 17, 9, 0.0}, {PYNN_SOFTMAX, 0, 0, 0, 0.0}, {PYNN_SILU, 0, 0, 0, 0.0},
    {PYNN_DENSE, 0, 9, OUT, 0.0}, {PYNN_SIGMOID, 0, 0, 0, 0.0},
};
static const pynn_layer wide[] = { /* wide enough for packed products */
    {PYNN_DENSE, 0, IN, 201, 0.0}, {PYNN_RELU, 0, 0, 0, 0.0},    {PYNN_DENSE, 0, 201, 260, 0.0},
    {PYNN_TANH, 0, 0, 0, 0.0},     {PYNN_DENSE, 0, 260, OUT, 0.0}, {PYNN_SIGMOID, 0, 0, 0, 0.0},
};
static guarded page;
static pynn_net net;
static float params[MOST_PARAMS], moments[2 * MOST_PARAMS], grads[MOST_PARAMS], x[ROWS * IN], t[ROWS * OUT],
    y[ROWS * OUT], dx[ROWS * IN];
static uint32_t order[ROWS];

/* One call on a workspace that ends at the end of a page, or at most an alignment before it. */
typedef pynn_status on_workspace(void *work, size_t bytes, size_t rows);

static pynn_status predict(void *work, size_t bytes, size_t rows)
{
    return pynn_predict(y, &net, params, x, IN, rows, PYNN_OUTPUTS, NULL, work, bytes);
}
static pynn_status forward(void *work, size_t bytes, size_t rows)
{
    const pynn_mask mask = {1, 2, 0};
    return pynn_forward(y, &net, params, x, IN, &mask, rows, PYNN_OUTPUTS, work, bytes);
}
static pynn_status backward(void *work, size_t bytes, size_t rows)
{
    const pynn_mask mask = {1, 2, 0};
    return pynn_backward(grads, dx, y, &net, params, x, IN, &mask, rows, PYNN_OUTPUTS, work, bytes);
}
static pynn_status loss_and_grad(void *work, size_t bytes, size_t rows)
{
    const pynn_targets targets = {t, OUT, NULL, NULL};
    double loss;
    return pynn_loss_and_grad(&loss, grads, &net, params, x, IN, &targets, NULL, rows, PYNN_BINARY_CROSS_ENTROPY, work,
                              bytes);
}
static const pynn_optimizer plain = {PYNN_SGD, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
static const pynn_optimizer clipped = {PYNN_ADAM, 0, 0.0, 0.9, 0.999, 1e-8, 0.0, 0.1};
static pynn_status train_with(const pynn_optimizer *how, void *work, size_t bytes, size_t rows)
{
    const pynn_targets targets = {t, OUT, NULL, NULL};
    const double rate = 0.01;
    pynn_state state = {0, 1.0, 1.0};
    pynn_totals totals = {0.0, 0.0};
    return pynn_train_steps(params, moments, &state, &totals, NULL, &net, how, x, IN, &targets, ROWS, order, rows, rows,
                            &rate, 1, PYNN_BINARY_CROSS_ENTROPY, 3, NULL, work, bytes);
}
static pynn_status train(void *work, size_t bytes, size_t rows) { return train_with(&plain, work, bytes, rows); }
static pynn_status train_clipped(void *work, size_t bytes, size_t rows) { return train_with(&clipped, work, bytes, rows); }
static pynn_status dense_backward(void *work, size_t bytes, size_t rows)
{
    return pynn_dense_backward(dx, NULL, NULL, y, NULL, 0, params, rows, IN, OUT, work, bytes);
}

static void check_workspace(const char *name, on_workspace *call, size_t bytes, size_t rows)
{
    const size_t whole = (bytes + 63) / 64 * 64;
    unsigned char *work = guard_place(&page, whole, GUARD_AT_END);
    check_case("%s, %zu rows", name, rows);
    CHECK((uintptr_t)work % 64 == 0, "the test's own alignment");
    CHECK_OK(call(work, bytes, rows));
    CHECK(guard_intact(&page), "the workspace was underrun");
    CHECK(all_pattern(work + bytes, whole - bytes), "the workspace was overrun");
    CHECK_STATUS(PYNN_BAD_WORKSPACE, call(work, bytes - 1, rows));
    CHECK_STATUS(PYNN_BAD_WORKSPACE, call(work, 0, rows));
    CHECK_STATUS(PYNN_NULL_POINTER, call(NULL, bytes, rows));
    work = guard_place(&page, whole + 128, GUARD_AT_START);
    for (size_t off = 4; off < 64; off += off)
        CHECK_STATUS(PYNN_BAD_WORKSPACE, call(work + off, whole + 64, rows));
    CHECK(all_pattern(work, whole + 128), "written in spite of its alignment");
    check_case(" ");
}

static void test_workspaces(const pynn_layer *layers, size_t layer_count)
{
    static const size_t rows[] = {1, 2, 15, 16, 47, 48, 49, 127, 128, 129, 191, 192, 193, ROWS};
    size_t bytes = 0;
    CHECK_OK(pynn_net_init(&net, layers, layer_count));
    CHECK(net.param_count <= MOST_PARAMS, "%zu parameters", net.param_count);
    CHECK_OK(pynn_net_draw(params, &net, 5));
    fill_any(x, COUNT(x), -1.0f, 1.0f);
    fill_any(t, COUNT(t), 0.0f, 1.0f);
    for (uint32_t i = 0; i < ROWS; i++) order[i] = ROWS - 1 - i;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const size_t n = rows[i];
        CHECK_OK(pynn_predict_bytes(&bytes, &net, 1));
        check_workspace("predict", predict, bytes, n);
        CHECK_OK(pynn_pass_bytes(&bytes, &net, n));
        check_workspace("forward", forward, bytes, n);
        check_workspace("backward", backward, bytes, n);
        check_workspace("loss_and_grad", loss_and_grad, bytes, n);
        CHECK_OK(pynn_train_bytes(&bytes, &net, &plain, n, 1));
        check_workspace("train", train, bytes, n);
        CHECK_OK(pynn_train_bytes(&bytes, &net, &clipped, n, 1));
        check_workspace("train, clipped", train_clipped, bytes, n);
        CHECK_OK(pynn_dense_backward_bytes(&bytes, IN, OUT));
        check_workspace("dense_backward", dense_backward, bytes, n);
    }
}

int main(void)
{
    test_widths();
    test_too_large();
    page = guard_make(1 << 23);
    test_workspaces(deep, COUNT(deep));
    test_workspaces(wide, COUNT(wide));
    return check_end("test_net");
}
