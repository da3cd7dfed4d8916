/*
 * Whole nets against the oracle, which goes layer by layer and knows nothing of blocks, panels and fused activations:
 * outputs, gradients of parameters and inputs, to the bit, for every instruction set.
 */
#include "nets.h"
#include "oracle.h"

enum { MOST_ROWS = 600, MOST_WIDTH = 300, MOST_PARAMS = 200000 };

static pynn_layer layers[NET_LAYERS];
static pynn_net net;
static const pynn_plan *plan;
static float params[MOST_PARAMS], grads[MOST_PARAMS], wanted[MOST_PARAMS];
static float x[MOST_ROWS * MOST_WIDTH], y[MOST_ROWS * MOST_WIDTH];
static float dy[MOST_ROWS * MOST_WIDTH], dx[MOST_ROWS * MOST_WIDTH];
static float t[MOST_ROWS * (MOST_WIDTH + 2)], weights[MOST_ROWS];
static int32_t labels[MOST_ROWS];
static guarded page;

static void make_net(const char *text, size_t inputs)
{
    net_from(text, inputs, layers, &net, params, MOST_PARAMS);
    plan = plan_from(&net, params);
    CHECK(net.widest <= MOST_WIDTH, "%s is too wide for the test", text);
}

/* A workspace that ends where nothing may be touched. */
static pynn_memory workspace(size_t bytes)
{
    return (pynn_memory){guard_place(&page, (bytes + 63) / 64 * 64, GUARD_AT_END), bytes};
}

static pynn_memory predict_workspace(size_t rows, const pynn_options *options)
{
    size_t bytes = 0;
    CHECK_OK(pynn_predict_bytes(&bytes, plan, rows, options));
    return workspace(bytes);
}

static pynn_memory forward_workspace(size_t rows, const pynn_options *options)
{
    size_t bytes = 0;
    CHECK_OK(pynn_forward_bytes(&bytes, plan, rows, options));
    return workspace(bytes);
}

/* An executor whose workers come one after the other, the last first. */
static void backwards(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    for (size_t worker = *(const size_t *)context; worker-- > 0;) task(argument, worker);
}

/* ---- one net, one batch ------------------------------------------------ */

static void check_predict(const o_trace *trace, size_t rows, size_t stride, int32_t end)
{
    const size_t n = rows * net.outputs, wide = net.outputs + any_below(4);
    const float *result = trace->x[o_layers(&net, end)];
    const pynn_data data = {.x = x, .rows = rows, .stride = stride};
    pynn_options options = {.end = end};
    CHECK_OK(pynn_predict(y, plan, &data, &options, predict_workspace(rows, &options)));
    CHECK_SAME(y, result, n);
    for (size_t r = 0; r < rows; r += 1 + rows / 3) { /* a row alone gives the same bits */
        const pynn_data row = {.x = x + r * stride, .rows = 1};
        CHECK_OK(pynn_predict(dx, plan, &row, &options, predict_workspace(1, &options)));
        CHECK_SAME(dx, result + r * net.outputs, net.outputs);
    }
    {
        size_t workers = 2 + any_below(4);
        const pynn_executor executor = {.workers = workers, .context = &workers, .run = backwards};
        options.executor = &executor;
        memset(y, GUARD_PATTERN, n * sizeof *y);
        CHECK_OK(pynn_predict(y, plan, &data, &options, predict_workspace(rows, &options)));
        CHECK_SAME(y, result, n);
        options.y_stride = wide; /* what lies between the rows stays */
        memset(y, GUARD_PATTERN, rows * wide * sizeof *y);
        CHECK_OK(pynn_predict(y, plan, &data, &options, predict_workspace(rows, &options)));
        for (size_t r = 0; r < rows; r++) {
            CHECK_SAME(y + r * wide, result + r * net.outputs, net.outputs);
            CHECK(all_pattern(y + r * wide + net.outputs, (wide - net.outputs) * sizeof *y), "behind row %zu", r);
        }
    }
    CHECK(guard_intact(&page), "the workspace was underrun");
}

static void check_pass(o_trace *trace, size_t rows, size_t stride, const pynn_mask *mask, int32_t end)
{
    const size_t n = rows * net.outputs, last = o_layers(&net, end);
    const int32_t head = net.layers[last - 1].kind;
    size_t workers = 1 + any_below(4);
    const pynn_executor executor = {.workers = workers, .context = &workers, .run = backwards};
    const pynn_data data = {.x = x, .rows = rows, .stride = stride};
    const pynn_options options = {.end = end, .mask = mask, .executor = &executor};
    const pynn_memory memory = forward_workspace(rows, &options);
    pynn_tape tape = {0};
    o_forward(trace, &net, params, x, stride, mask, rows);
    CHECK_OK(pynn_forward(y, &tape, plan, &data, &options, memory));
    CHECK_SAME(y, trace->x[last], n);
    fill_any(dy, n, -1.0f, 1.0f);
    for (size_t i = 0; i < n; i++) trace->dx[last][i] = dy[i];
    if (head == PYNN_DENSE) /* a gradient that comes in below 2^-100 would be flushed here */
        for (size_t i = 0; i < n; i++) trace->dx[last][i] = o_flush(dy[i]);
    memset(wanted, 0, net.param_count * sizeof(float));
    o_backward(trace, wanted, &net, params, mask, rows, last);
    memset(grads, GUARD_PATTERN, net.param_count * sizeof(float));
    CHECK_OK(pynn_backward(grads, dx, dy, &tape, &executor));
    CHECK_SAME(grads, wanted, net.param_count);
    CHECK_SAME(dx, trace->dx[0], rows * net.inputs);
    CHECK(guard_intact(&page), "the workspace was underrun");

    CHECK_OK(pynn_forward(y, &tape, plan, &data, &options, memory)); /* each alone */
    memset(grads, GUARD_PATTERN, net.param_count * sizeof(float));
    CHECK_OK(pynn_backward(grads, NULL, dy, &tape, NULL));
    CHECK_SAME(grads, wanted, net.param_count);
    CHECK_OK(pynn_forward(y, &tape, plan, &data, &options, memory));
    memset(dx, GUARD_PATTERN, rows * net.inputs * sizeof(float));
    CHECK_OK(pynn_backward(NULL, dx, dy, &tape, &executor));
    CHECK_SAME(dx, trace->dx[0], rows * net.inputs);
}

static void check_loss_and_grad(o_trace *trace, size_t rows, size_t stride, const pynn_mask *mask, int32_t kind,
                                int labelled, int weighted)
{
    const pynn_targets targets = {.rows = labelled ? NULL : t, .stride = labelled ? 0 : net.outputs + 2,
                                  .labels = labelled ? labels : NULL, .weights = weighted ? weights : NULL};
    const pynn_data data = {.x = x, .rows = rows, .stride = stride, .targets = targets};
    double loss_wanted;
    for (size_t r = 0; r < rows; r++) {
        labels[r] = (int32_t)any_below(net.outputs);
        weights[r] = any_below(4) ? any_float(0.0f, 2.0f) : 0.0f;
    }
    loss_wanted = o_loss_and_grad(trace, wanted, &net, params, x, stride, &targets, mask, rows, kind);
    for (size_t workers = 1; workers <= 4; workers += 1 + any_below(3)) {
        const pynn_executor executor = {.workers = workers, .context = &workers, .run = backwards};
        const pynn_options options = {.loss = kind, .mask = mask, .executor = workers > 1 ? &executor : NULL};
        double loss = -1.0;
        size_t bytes = 0;
        memset(grads, GUARD_PATTERN, net.param_count * sizeof(float));
        CHECK_OK(pynn_loss_and_grad_bytes(&bytes, plan, &data, &options));
        CHECK_OK(pynn_loss_and_grad(&loss, grads, plan, &data, &options, workspace(bytes)));
        CHECK_SAME(grads, wanted, net.param_count);
        CHECK_SAME_DOUBLE(loss, loss_wanted);
        CHECK(guard_intact(&page), "the workspace was underrun");
    }
}

static void check_net(const char *text, size_t inputs, size_t rows)
{
    const size_t stride = inputs + any_below(4);
    const pynn_mask mask = {.seed = any_bits(), .step = (uint32_t)any_below(1000)};
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
    const pynn_data data = {.x = x, .rows = 50};
    o_trace trace;
    check_case("awkward rows");
    make_net("d20rd12gd9m", 7);
    trace = o_trace_make(&net, 50);
    for (size_t i = 0; i < 50 * 7; i++) x[i] = i / 7 % 3 ? any_float(-1.0f, 1.0f) : any_awkward();
    o_forward(&trace, &net, params, x, 7, NULL, 50);
    CHECK_OK(pynn_predict(y, plan, &data, NULL, predict_workspace(50, NULL)));
    CHECK_SAME(y, trace.x[trace.layers], 50 * 9);
    o_trace_free(&trace);
}

/* Gradients that fade below 2^-100 on their way back are 0 from there on. */
static void test_flush(void)
{
    const pynn_targets targets = {.rows = t, .stride = 3};
    const pynn_data data = {.x = x, .rows = 5, .targets = targets};
    const pynn_options options = {.loss = PYNN_SQUARED_ERROR};
    size_t flushed = 0, bytes = 0;
    double loss = 0.0, loss_wanted;
    o_trace trace;
    check_case("fading gradients");
    make_net("d6ld5td4gd3", 4);
    trace = o_trace_make(&net, 5);
    for (size_t i = 0; i < net.param_count; i++) params[i] *= 0x1p-24f;
    fill_any(x, 5 * 4, -1.0f, 1.0f);
    fill_any(t, 5 * 3, -0x1p-20f, 0x1p-20f);
    loss_wanted = o_loss_and_grad(&trace, wanted, &net, params, x, 4, &targets, NULL, 5, PYNN_SQUARED_ERROR);
    CHECK_OK(pynn_loss_and_grad_bytes(&bytes, plan, &data, &options));
    CHECK_OK(pynn_loss_and_grad(&loss, grads, plan, &data, &options, workspace(bytes)));
    CHECK_SAME(grads, wanted, net.param_count);
    CHECK_SAME_DOUBLE(loss, loss_wanted);
    for (size_t i = 0; i < 5 * 6; i++) flushed += bits_of(trace.dx[1][i]) == 0;
    CHECK(flushed > 0, "the test itself: nothing was flushed");
    o_trace_free(&trace);
}

/* A batch that comes in pieces of whole blocks gives the bits of the batch at once; most is that of the weights, 0 for
 * none. */
static void check_pieces(const char *text, size_t inputs, size_t piece, int32_t kind, float most, const pynn_mask *mask)
{
    enum { ROWS = 2 * 256 + 77 };
    const float *given = most > 0.0f ? weights : NULL;
    size_t workers = 1 + any_below(3);
    const pynn_executor executor = {.workers = workers, .context = &workers, .run = backwards};
    const pynn_options options = {.loss = kind, .mask = mask, .executor = &executor};
    pynn_data data = {.x = x, .rows = ROWS, .targets.weights = given};
    pynn_accumulation all = {.rows = ROWS};
    double loss_wanted = 1.0, weight = 0.0;
    size_t bytes = 0;
    check_case("%s in pieces of %zu rows, %zu workers", text, piece, workers);
    make_net(text, inputs);
    data.targets.rows = kind == PYNN_CROSS_ENTROPY ? NULL : t;
    data.targets.stride = kind == PYNN_CROSS_ENTROPY ? 0 : net.outputs + 1;
    data.targets.labels = kind == PYNN_CROSS_ENTROPY ? labels : NULL;
    for (size_t r = 0; r < ROWS; r++) labels[r] = (int32_t)any_below(net.outputs);
    fill_any(x, ROWS * inputs, -2.0f, 2.0f);
    fill_any(t, ROWS * (net.outputs + 1), 0.0f, 1.0f);
    for (size_t r = 0; r < ROWS; r++) weights[r] = r % 5 == 0 ? 0.0f : any_float(0.0f, most);
    for (size_t r = 0; r < ROWS; r++) weight += given != NULL ? (double)weights[r] : 1.0;
    CHECK_OK(pynn_loss_and_grad_bytes(&bytes, plan, &data, &options));
    CHECK_OK(pynn_loss_and_grad(&loss_wanted, wanted, plan, &data, &options, workspace(bytes)));
    CHECK_OK(pynn_accumulate_bytes(&bytes, plan, &options));
    memset(grads, GUARD_PATTERN, sizeof grads);
    for (size_t first = 0; first < ROWS; first += piece) {
        pynn_data next = data;
        next.x += first * inputs;
        next.rows = ROWS - first < piece ? ROWS - first : piece;
        if (next.targets.rows != NULL) next.targets.rows += first * next.targets.stride;
        if (next.targets.labels != NULL) next.targets.labels += first;
        if (given != NULL) next.targets.weights += first;
        next.targets.normalise = PYNN_BY_NUMBER;
        next.targets.divisor = weight;
        CHECK_OK(pynn_accumulate(&all, grads, plan, &next, &options, workspace(bytes)));
        CHECK(all.rows == ROWS && all.done == first + next.rows, "%zu of %zu rows", all.done, all.rows);
    }
    CHECK_SAME(grads, wanted, net.param_count);
    CHECK_SAME_DOUBLE(all.loss / weight, loss_wanted);
}

static void test_pieces(void)
{
    const pynn_mask mask = {.seed = 3, .step = 5};
    const pynn_data data = {.x = x, .rows = 256,
                            .targets = {.rows = t, .weights = weights, .normalise = PYNN_BY_NUMBER, .divisor = 1.0}};
    const pynn_options options = {.loss = PYNN_SQUARED_ERROR};
    pynn_accumulation all = {.rows = 512};
    size_t bytes = 0;
    for (size_t piece = 256; piece <= 768; piece += 256) {
        check_pieces("d19rod7gd3m", 6, piece, PYNN_CROSS_ENTROPY, 2.0f, &mask);
        check_pieces("d201tod5", 11, piece, PYNN_MEAN_SQUARED_ERROR, 2.0f, &mask);
        check_pieces("d19rod7gd3s", 6, piece, PYNN_BINARY_CROSS_ENTROPY, 0.0f, NULL);
    }
    check_case("pieces without weight");
    make_net("d2", 3);
    memset(weights, 0, sizeof weights);
    memset(grads, GUARD_PATTERN, sizeof grads);
    memset(wanted, 0, sizeof wanted);
    x[4] = INFINITY;
    CHECK_OK(pynn_accumulate_bytes(&bytes, plan, &options));
    for (size_t first = 0; first <= 256; first += 256)
        CHECK_OK(pynn_accumulate(&all, grads, plan, &data, &options, workspace(bytes)));
    CHECK_SAME(grads, wanted, net.param_count);
    CHECK_SAME_DOUBLE(all.loss, 0.0);
    CHECK(all.done == 512, "%zu rows", all.done);
}

/* No rows: nothing to predict, and nothing is written. */
static void test_no_rows(void)
{
    const pynn_data none = {.x = x}, nothing = {.x = NULL};
    check_case("no rows");
    make_net("d3rd2", 4);
    memset(y, GUARD_PATTERN, sizeof y);
    CHECK_OK(pynn_predict(y, plan, &none, NULL, predict_workspace(0, NULL)));
    CHECK_OK(pynn_predict(NULL, plan, &nothing, NULL, predict_workspace(0, NULL)));
    CHECK_OK(pynn_predict(NULL, plan, &nothing, NULL, (pynn_memory){NULL, 0}));
    CHECK(all_pattern(y, sizeof y), "something was written");
}

static void test_all(void)
{
    test_nets();
    test_large();
    test_awkward();
    test_flush();
    test_pieces();
    test_no_rows();
}

int main(void)
{
    page = guard_make(1 << 25);
    every_isa(test_all);
    return check_end("test_pass");
}
