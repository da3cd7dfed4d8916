/*
 * Whole nets against the oracle, which goes layer by layer and knows nothing of blocks, panels and fused activations:
 * outputs, gradients of parameters and inputs, to the bit, for every instruction set.
 */
#include "nets.h"
#include "oracle.h"

enum { MOST_ROWS = 600, MOST_WIDTH = 300, MOST_PARAMS = 200000 };

static pynn_layer layers[NET_LAYERS];
static pynn_net net;
static float params[MOST_PARAMS], grads[MOST_PARAMS], wanted[MOST_PARAMS];
static float x[MOST_ROWS * MOST_WIDTH], y[MOST_ROWS * MOST_WIDTH], dy[MOST_ROWS * MOST_WIDTH], dx[MOST_ROWS * MOST_WIDTH];
static float t[MOST_ROWS * (MOST_WIDTH + 2)], weights[MOST_ROWS];
static int32_t labels[MOST_ROWS];
static guarded page;

static void make_net(const char *text, size_t inputs)
{
    net_from(text, inputs, layers, &net, params, MOST_PARAMS);
    CHECK(net.widest <= MOST_WIDTH, "%s is too wide for the test", text);
}

static void *workspace(size_t bytes) { return guard_place(&page, (bytes + 63) / 64 * 64, GUARD_AT_END); }

static size_t pass_bytes(size_t rows)
{
    size_t bytes = 0;
    CHECK_OK(pynn_pass_bytes(&bytes, &net, rows));
    return bytes;
}

/* An executor whose workers take turns, the last first. */
static void backwards(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    for (size_t worker = *(const size_t *)context; worker-- > 0;) task(argument, worker);
}

/* ---- one net, one batch ------------------------------------------------ */

static void check_predict(const o_trace *trace, size_t rows, size_t stride, int32_t end)
{
    const size_t n = rows * net.outputs;
    const float *result = trace->x[o_layers(&net, end)];
    size_t bytes = 0;
    void *work;
    CHECK_OK(pynn_predict_bytes(&bytes, &net, 1));
    work = workspace(bytes);
    CHECK_OK(pynn_predict(y, &net, params, x, stride, rows, end, NULL, work, bytes));
    CHECK_SAME(y, result, n);
    for (size_t r = 0; r < rows; r += 1 + rows / 3) { /* a row alone gives the same bits */
        CHECK_OK(pynn_predict(dx, &net, params, x + r * stride, stride, 1, end, NULL, work, bytes));
        CHECK_SAME(dx, result + r * net.outputs, net.outputs);
    }
    {
        size_t workers = 2 + any_below(4);
        const pynn_executor executor = {workers, &workers, backwards};
        memset(y, GUARD_PATTERN, n * sizeof *y);
        CHECK_OK(pynn_predict_bytes(&bytes, &net, workers));
        CHECK_OK(pynn_predict(y, &net, params, x, stride, rows, end, &executor, workspace(bytes), bytes));
        CHECK_SAME(y, result, n);
    }
    CHECK(guard_intact(&page), "the workspace was underrun");
}

static void check_pass(o_trace *trace, size_t rows, size_t stride, const pynn_mask *mask, int32_t end)
{
    const size_t n = rows * net.outputs, bytes = pass_bytes(rows), last = o_layers(&net, end);
    const int32_t head = net.layers[last - 1].kind;
    void *work = workspace(bytes);
    o_forward(trace, &net, params, x, stride, mask, rows);
    CHECK_OK(pynn_forward(y, &net, params, x, stride, mask, rows, end, work, bytes));
    CHECK_SAME(y, trace->x[last], n);
    fill_any(dy, n, -1.0f, 1.0f);
    for (size_t i = 0; i < n; i++) trace->dx[last][i] = dy[i];
    if (head == PYNN_DENSE) /* a gradient that comes in below 2^-100 would be flushed here */
        for (size_t i = 0; i < n; i++) trace->dx[last][i] = o_flush(dy[i]);
    memset(wanted, 0, net.param_count * sizeof(float));
    o_backward(trace, wanted, &net, params, mask, rows, last);
    memset(grads, GUARD_PATTERN, net.param_count * sizeof(float));
    CHECK_OK(pynn_backward(grads, dx, dy, &net, params, x, stride, mask, rows, end, work, bytes));
    CHECK_SAME(grads, wanted, net.param_count);
    CHECK_SAME(dx, trace->dx[0], rows * net.inputs);
    CHECK(guard_intact(&page), "the workspace was underrun");

    CHECK_OK(pynn_forward(y, &net, params, x, stride, mask, rows, end, work, bytes)); /* each alone */
    memset(grads, GUARD_PATTERN, net.param_count * sizeof(float));
    CHECK_OK(pynn_backward(grads, NULL, dy, &net, params, x, stride, mask, rows, end, work, bytes));
    CHECK_SAME(grads, wanted, net.param_count);
    CHECK_OK(pynn_forward(y, &net, params, x, stride, mask, rows, end, work, bytes));
    memset(dx, GUARD_PATTERN, rows * net.inputs * sizeof(float));
    CHECK_OK(pynn_backward(NULL, dx, dy, &net, params, x, stride, mask, rows, end, work, bytes));
    CHECK_SAME(dx, trace->dx[0], rows * net.inputs);
}

static void check_loss_and_grad(o_trace *trace, size_t rows, size_t stride, const pynn_mask *mask, int32_t kind,
                                int labelled, int weighted)
{
    const pynn_targets targets = {labelled ? NULL : t, net.outputs + 2, labelled ? labels : NULL, weighted ? weights : NULL};
    const size_t bytes = pass_bytes(rows);
    double loss = -1.0, loss_wanted;
    for (size_t r = 0; r < rows; r++) {
        labels[r] = (int32_t)any_below(net.outputs);
        weights[r] = any_below(4) ? any_float(0.0f, 2.0f) : 0.0f;
    }
    loss_wanted = o_loss_and_grad(trace, wanted, &net, params, x, stride, &targets, mask, rows, kind);
    memset(grads, GUARD_PATTERN, net.param_count * sizeof(float));
    CHECK_OK(pynn_loss_and_grad(&loss, grads, &net, params, x, stride, &targets, mask, rows, kind, workspace(bytes), bytes));
    CHECK_SAME(grads, wanted, net.param_count);
    CHECK_SAME_DOUBLE(loss, loss_wanted);
    CHECK(guard_intact(&page), "the workspace was underrun");
}

static void check_net(const char *text, size_t inputs, size_t rows)
{
    const size_t stride = inputs + any_below(4);
    const pynn_mask mask = {any_bits(), (uint32_t)any_below(1000), 77};
    int32_t last;
    o_trace trace;
    check_case("net %s, %zu inputs, %zu rows", text, inputs, rows);
    CHECK(rows <= MOST_ROWS && stride <= MOST_WIDTH, "too large for the test");
    make_net(text, inputs);
    trace = o_trace_make(&net, rows);
    last = net.layers[net.layer_count - 1].kind;
    fill_any(x, rows * stride, -1.0f, 1.0f);
    fill_any(t, rows * (net.outputs + 2), 0.0f, 1.0f);
    o_forward(&trace, &net, params, x, stride, NULL, rows);
    for (int32_t end = PYNN_OUTPUTS; end <= PYNN_SCORES; end++) check_predict(&trace, rows, stride, end);
    for (int32_t end = PYNN_OUTPUTS; end <= PYNN_SCORES; end++) {
        if (o_layers(&net, end) == 0) continue;
        check_pass(&trace, rows, stride, end == PYNN_OUTPUTS ? &mask : NULL, end);
    }
    for (int32_t kind = PYNN_SQUARED_ERROR; kind <= PYNN_BINARY_CROSS_ENTROPY; kind++) {
        if (kind == PYNN_CROSS_ENTROPY && last != PYNN_SOFTMAX) continue;
        if (kind == PYNN_BINARY_CROSS_ENTROPY && last != PYNN_SIGMOID) continue;
        check_loss_and_grad(&trace, rows, stride, kind % 2 ? &mask : NULL, kind, 0, kind % 2);
        if (kind == PYNN_CROSS_ENTROPY) check_loss_and_grad(&trace, rows, stride, NULL, kind, 1, 1);
    }
    o_trace_free(&trace);
}

static void test_nets(void)
{
    static const char *const texts[] = {
        "d1",      "d7",         "d5r",          "d4l",        "d6s",          "d3m",       "d5rd3m",
        "d8gd9ud5pd4",           "d9td7sd5ld3s", "od5rod4",    "d6od7god3m",   "rd5md4s",   "d5sgd6us",
        "d5iid4id3", "d7mgd4",   "gd5",          "md4rrd2",    "d6rtd3m",      "ood4",      "d17rd16gd15td3m",
    };
    static const size_t rows[] = {1, 3, 17, 130};
    for (size_t i = 0; i < COUNT(texts); i++)
        for (size_t j = 0; j < COUNT(rows); j++) check_net(texts[i], 1 + any_below(9), rows[j]);
}

/* Rows beyond a row block and a block of 256; widths beyond a strip, a panel and a block of 256. */
static void test_large(void)
{
    check_net("d33rd31gd5m", 9, 600);
    check_net("d8pd4", 40, 257);
    check_net("d200rd192gd10m", 40, 33);
    check_net("d260rd300sd3", 5, 20);
    check_net("d300md257rd2s", 7, 15);
    check_net("od193tod201", 3, 129);
}

/* Rows of all kinds of values: a row that is NaN spoils no other row of the outputs. */
static void test_awkward(void)
{
    size_t bytes = 0;
    o_trace trace;
    check_case("awkward rows");
    make_net("d20rd12gd9m", 7);
    trace = o_trace_make(&net, 50);
    for (size_t i = 0; i < 50 * 7; i++) x[i] = i / 7 % 3 ? any_float(-1.0f, 1.0f) : any_awkward();
    o_forward(&trace, &net, params, x, 7, NULL, 50);
    CHECK_OK(pynn_predict_bytes(&bytes, &net, 1));
    CHECK_OK(pynn_predict(y, &net, params, x, 7, 50, PYNN_OUTPUTS, NULL, workspace(bytes), bytes));
    CHECK_SAME(y, trace.x[trace.layers], 50 * 9);
    o_trace_free(&trace);
}

/* Gradients that fade below 2^-100 on their way back are 0 from there on. */
static void test_flush(void)
{
    const pynn_targets targets = {t, 3, NULL, NULL};
    size_t flushed = 0, bytes;
    double loss = 0.0, loss_wanted;
    o_trace trace;
    check_case("fading gradients");
    make_net("d6ld5td4gd3", 4);
    bytes = pass_bytes(5);
    trace = o_trace_make(&net, 5);
    for (size_t i = 0; i < net.param_count; i++) params[i] *= 0x1p-24f;
    fill_any(x, 5 * 4, -1.0f, 1.0f);
    fill_any(t, 5 * 3, -0x1p-20f, 0x1p-20f);
    loss_wanted = o_loss_and_grad(&trace, wanted, &net, params, x, 4, &targets, NULL, 5, PYNN_SQUARED_ERROR);
    CHECK_OK(pynn_loss_and_grad(&loss, grads, &net, params, x, 4, &targets, NULL, 5, PYNN_SQUARED_ERROR,
                                workspace(bytes), bytes));
    CHECK_SAME(grads, wanted, net.param_count);
    CHECK_SAME_DOUBLE(loss, loss_wanted);
    for (size_t i = 0; i < 5 * 6; i++) flushed += bits_of(trace.dx[1][i]) == 0;
    CHECK(flushed > 0, "the test itself: nothing was flushed");
    o_trace_free(&trace);
}

/* A batch in parts of whole blocks gives the bits of the batch at once; most is that of the weights, 0 for none. */
static void check_parts(const char *text, size_t inputs, size_t part, int32_t kind, float most, const pynn_mask *mask)
{
    enum { ROWS = 2 * 256 + 77 };
    const float *given = most > 0.0f ? weights : NULL;
    pynn_targets targets = {t, 0, NULL, given};
    double loss = 0.0, loss_wanted = 1.0, weight = 0.0;
    size_t bytes = 0;
    check_case("%s in parts of %zu rows", text, part);
    make_net(text, inputs);
    targets.stride = net.outputs + 1;
    if (kind == PYNN_CROSS_ENTROPY) targets = (pynn_targets){NULL, 0, labels, given};
    for (size_t r = 0; r < ROWS; r++) labels[r] = (int32_t)any_below(net.outputs);
    fill_any(x, ROWS * inputs, -2.0f, 2.0f);
    fill_any(t, ROWS * (net.outputs + 1), 0.0f, 1.0f);
    for (size_t r = 0; r < ROWS; r++) weights[r] = r % 5 == 0 ? 0.0f : any_float(0.0f, most);
    for (size_t r = 0; r < ROWS; r++) weight += given != NULL ? (double)weights[r] : 1.0;
    bytes = pass_bytes(ROWS);
    CHECK_OK(pynn_loss_and_grad(&loss_wanted, wanted, &net, params, x, inputs, &targets, mask, ROWS, kind,
                                workspace(bytes), bytes));
    CHECK_OK(pynn_part_bytes(&bytes, &net));
    memset(grads, GUARD_PATTERN, sizeof grads);
    for (size_t first = 0; first < ROWS; first += part) {
        pynn_targets rest = {.stride = targets.stride, .weights = given != NULL ? weights + first : NULL};
        if (targets.rows != NULL) rest.rows = targets.rows + first * targets.stride;
        else rest.labels = targets.labels + first;
        CHECK_OK(pynn_loss_and_grad_part(&loss, grads, &net, params, x + first * inputs, inputs, &rest, mask,
                                         ROWS - first < part ? ROWS - first : part, first, weight, kind,
                                         workspace(bytes), bytes));
    }
    CHECK_SAME(grads, wanted, net.param_count);
    CHECK_SAME_DOUBLE(loss / weight, loss_wanted);
}

static void test_parts(void)
{
    const pynn_mask mask = {.seed = 3, .step = 5};
    pynn_targets targets = {t, 2, NULL, weights};
    double loss = 1.0;
    size_t bytes = 0;
    for (size_t part = 256; part <= 768; part += 256) {
        check_parts("d19rod7gd3m", 6, part, PYNN_CROSS_ENTROPY, 2.0f, &mask);
        check_parts("d201tod5", 11, part, PYNN_MEAN_SQUARED_ERROR, 2.0f, &mask);
        check_parts("d19rod7gd3s", 6, part, PYNN_BINARY_CROSS_ENTROPY, 0.0f, NULL);
    }
    check_case("parts without weight");
    make_net("d2", 3);
    memset(weights, 0, sizeof weights);
    memset(grads, GUARD_PATTERN, sizeof grads);
    memset(wanted, 0, sizeof wanted);
    x[4] = INFINITY;
    CHECK_OK(pynn_part_bytes(&bytes, &net));
    for (size_t first = 0; first <= 256; first += 256)
        CHECK_OK(pynn_loss_and_grad_part(&loss, grads, &net, params, x, 3, &targets, NULL, 256, first, 0.0,
                                         PYNN_SQUARED_ERROR, workspace(bytes), bytes));
    CHECK_SAME(grads, wanted, net.param_count);
    CHECK_SAME_DOUBLE(loss, 0.0);
}

/* No rows: nothing to predict, and nothing is written. */
static void test_no_rows(void)
{
    size_t bytes = 0;
    check_case("no rows");
    make_net("d3rd2", 4);
    CHECK_OK(pynn_predict_bytes(&bytes, &net, 1));
    memset(y, GUARD_PATTERN, sizeof y);
    CHECK_OK(pynn_predict(y, &net, params, x, 4, 0, PYNN_OUTPUTS, NULL, workspace(bytes), bytes));
    CHECK_OK(pynn_predict(NULL, &net, params, NULL, 4, 0, PYNN_OUTPUTS, NULL, workspace(bytes), bytes));
    CHECK(all_pattern(y, sizeof y), "something was written");
}

static void test_all(void)
{
    test_nets();
    test_large();
    test_awkward();
    test_flush();
    test_parts();
    test_no_rows();
}

int main(void)
{
    page = guard_make(1 << 25);
    every_isa(test_all);
    return check_end("test_pass");
}
