/*
 * Random nets and data, each computed in several ways that must give the same bits: layer by layer, in passes, in
 * parts, in training, by workers in any order, in every instruction set. Arrays stand at the ends of their pages or at
 * odd places; memory is as long as the library asks for, NaN before, and refused when a byte is missing.
 *
 *     fuzz [SECONDS [SEED]]      SEED + n is the seed of net number n; with 0 seconds there is one net
 */
#include "nets.h"

#include <signal.h>
#include <time.h>

enum { MOST_ROWS = 700, MOST_WIDTH = 300, MOST_PARAMS = 1 << 19, MOST_WORKERS = 4, MOST_STEPS = 5, MOST_PLANS = 5 };
enum { MOST_FLOATS = MOST_ROWS * (MOST_WIDTH + 4) };

/* ---- arrays ------------------------------------------------------------ */

enum {
    AT_X, AT_T, AT_WEIGHTS, AT_OUTPUT_WEIGHTS, AT_LABELS, AT_ORDER, AT_RATES, AT_PARAMS, AT_MOMENTS, AT_GRADS, AT_Y,
    AT_DX, AT_PLAN, AT_OTHER_PLAN, AT_SMALL_PLAN, AT_MEMORY, AT_OTHER_MEMORY, AT_THREADS, PAGES
};
static guarded pages[PAGES];

static float *floats(int page, size_t n) { return guard_floats(&pages[page], n, (int)any_below(GUARD_PLACES)); }

/* Memory that is NaN, and ends at the end of a page or less than an alignment before it. */
static pynn_memory nan_memory(int page, size_t bytes)
{
    const size_t whole = (bytes + PYNN_MEMORY_ALIGNMENT - 1) / PYNN_MEMORY_ALIGNMENT * PYNN_MEMORY_ALIGNMENT;
    const pynn_memory memory = {guard_place(&pages[page], whole, GUARD_AT_END), bytes};
    memset(memory.start, 0xFF, bytes);
    return memory;
}

static void check_pages(void)
{
    for (int i = 0; i < PAGES; i++) CHECK(guard_intact(&pages[i]), "page %d was written to beyond its array", i);
}

static void check_tail(pynn_memory memory)
{
    const size_t tail = (PYNN_MEMORY_ALIGNMENT - memory.bytes % PYNN_MEMORY_ALIGNMENT) % PYNN_MEMORY_ALIGNMENT;
    CHECK(all_pattern((char *)memory.start + memory.bytes, tail), "memory was written to beyond its end");
}

/* A call that takes `memory`, of which `ask` tells the bytes; first with a byte less, which must leave out as it is. */
#define EXACTLY(ask, call, out, n)                                                       \
    do {                                                                                 \
        size_t bytes = 0;                                                                \
        pynn_memory memory;                                                              \
        CHECK_OK(ask);                                                                   \
        memory = nan_memory(AT_MEMORY, bytes);                                           \
        if (bytes > 0) {                                                                 \
            memory.bytes--;                                                              \
            CHECK_REFUSED(PYNN_BAD_MEMORY, "memory", call);                              \
            CHECK(all_pattern(out, (n) * sizeof *(out)), "refused, but written to");     \
            memory.bytes++;                                                              \
        }                                                                                \
        CHECK_OK(call);                                                                  \
        check_tail(memory);                                                              \
    } while (0)

/* ---- executors --------------------------------------------------------- */

static pynn_executor threads; /* of the library */
static uint64_t orders;       /* a generator of its own */

static size_t order_below(size_t n)
{
    orders = orders * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(orders >> 33) % n;
}

/* Workers in any order, one after the other. */
static void run_in_any_order(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    const size_t workers = *(const size_t *)context;
    size_t left[MOST_WORKERS] = {0, 1, 2, 3};
    for (size_t n = workers; n > 0; n--) {
        const size_t i = order_below(n);
        task(argument, left[i]);
        left[i] = left[n - 1];
    }
}

static const pynn_executor *any_executor(void)
{
    static size_t workers[MOST_WORKERS] = {1, 2, 3, 4};
    static pynn_executor own[MOST_WORKERS];
    const size_t i = any_below(MOST_WORKERS);
    own[i] = (pynn_executor){.workers = workers[i], .context = &workers[i], .run = run_in_any_order};
    switch (any_below(3)) {
    case 0: return NULL;
    case 1: return &threads;
    default: return &own[i];
    }
}

static void start_threads(void)
{
    const size_t workers = 1 + any_below(MOST_WORKERS);
    size_t bytes = 0;
    pynn_memory memory;
    CHECK_OK(pynn_threads_bytes(&bytes, workers));
    memory = nan_memory(AT_THREADS, bytes);
    memory.bytes--;
    CHECK_REFUSED(PYNN_BAD_MEMORY, "memory", pynn_threads_start(&threads, workers, memory));
    memory.bytes++;
    CHECK_OK(pynn_threads_start(&threads, workers, memory));
}

/* ---- the problem ------------------------------------------------------- */

static char text[160];
static pynn_layer layers[NET_LAYERS];
static size_t widths[NET_LAYERS + 1];
static pynn_net net;
static float start_params[MOST_PARAMS]; /* of every training */
static float *params;                   /* of the plan */
static const pynn_plan *plan;
static pynn_data data;
static float *x, *t, *weights, *output_weights; /* what data points to */
static int32_t *labels;
static int32_t loss_kind, loss_choice; /* the kind, and what is asked for, which may be PYNN_LOSS_AUTO */
static pynn_mask mask;

static size_t any_of(const size_t *list, size_t n) { return list[any_below(n)]; }

static size_t any_width(int wide)
{
    static const size_t small[] = {1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65};
    static const size_t large[] = {100, 127, 128, 129, 191, 192, 193, 255, 256, 257, 300};
    return wide && any_below(2) ? any_of(large, COUNT(large)) : any_of(small, COUNT(small));
}

static void any_net(void)
{
    static const char behind[] = NET_ACTIVATIONS "om";
    const int wide = any_below(4) == 0;
    const size_t denses = 1 + any_below(4), inputs = any_width(wide);
    size_t used = 0;
    if (any_below(6) == 0) text[used++] = behind[any_below(sizeof behind - 1)];
    for (size_t i = 0; i < denses; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "d%zu", any_width(wide));
        for (size_t n = any_below(3); n > 0; n--) text[used++] = behind[any_below(sizeof behind - 1)];
    }
    if (any_below(2)) text[used++] = "ms"[any_below(2)];
    text[used] = '\0';
    net_from(text, inputs, layers, &net, start_params, MOST_PARAMS);
    for (size_t i = 0; i < net.layer_count; i++) {
        if (layers[i].kind == PYNN_LEAKY_RELU) layers[i].slope = any_below(4) ? any_float(0.0f, 2.0f) : 0.0;
        if (layers[i].kind == PYNN_DROPOUT) layers[i].p = any_below(4) ? any_float(0.0f, 0.9f) : 0.0;
    }
    CHECK_OK(pynn_net_init(&net, layers, net.layer_count));
    widths[0] = net.inputs;
    for (size_t i = 0; i < net.layer_count; i++)
        widths[i + 1] = layers[i].kind == PYNN_DENSE ? layers[i].outputs : widths[i];
    if (any_below(8) == 0) /* some that saturate, and losses that are not finite */
        for (size_t i = 0; i < net.param_count; i++) start_params[i] *= 40.0f;
}

static size_t any_rows(void)
{
    static const size_t counts[] = {1,   1,   2,   3,   4,   5,   6,   7,   8,   9,   12,  15,  16,  17,  31,  64,  65,
                                    100, 191, 192, 193, 200, 255, 256, 257, 300, 385, 512, 513, 600, 700};
    const size_t work = any_below(8) ? 300000 : 3000000; /* products of a pass */
    size_t rows = any_of(counts, COUNT(counts));
    while (rows > 1 && rows * net.param_count > work) rows /= 2;
    return rows;
}

/* Rows `stride` apart, the last without what lies behind it. */
static float *any_matrix(int page, size_t rows, size_t width, size_t stride, float least, float most)
{
    const size_t n = (rows - 1) * stride + width;
    float *m = floats(page, n);
    for (size_t i = 0; i < n; i++) m[i] = any_below(8) ? any_float(least, most) : 0.0f;
    return m;
}

static size_t any_stride(size_t width) { return any_below(2) ? 0 : width + any_below(4); }

static size_t or_width(size_t stride, size_t width) { return stride != 0 ? stride : width; }

static int32_t any_loss(int32_t last)
{
    const int32_t squared = PYNN_SQUARED_ERROR + (int32_t)any_below(3);
    if (last == PYNN_SOFTMAX && any_below(4)) return PYNN_CROSS_ENTROPY;
    if (last == PYNN_SIGMOID && any_below(4)) return PYNN_BINARY_CROSS_ENTROPY;
    return squared;
}

static int32_t auto_loss(int32_t last)
{
    if (last == PYNN_SOFTMAX) return PYNN_CROSS_ENTROPY;
    return last == PYNN_SIGMOID ? PYNN_BINARY_CROSS_ENTROPY : PYNN_MEAN_SQUARED_ERROR;
}

/* Target rows of a cross-entropy sum to 1, or are one of the labels. */
static void any_goal(pynn_targets *targets, size_t rows)
{
    const size_t outputs = net.outputs;
    targets->stride = any_stride(outputs);
    t = any_matrix(AT_T, rows, outputs, or_width(targets->stride, outputs), 0.0f, 1.0f);
    labels = guard_place(&pages[AT_LABELS], rows * sizeof *labels, GUARD_AT_END);
    for (size_t r = 0; r < rows; r++) {
        float *row = t + r * or_width(targets->stride, outputs), sum = 0.0f;
        labels[r] = (int32_t)any_below(outputs);
        for (size_t j = 0; j < outputs; j++) sum += row[j];
        for (size_t j = 0; j < outputs && loss_kind == PYNN_CROSS_ENTROPY; j++)
            row[j] = sum > 0.0f ? row[j] / sum : (float)(j == (size_t)labels[r]);
    }
    if (loss_kind == PYNN_CROSS_ENTROPY && any_below(2)) targets->labels = labels;
    else targets->rows = t;
}

static void any_weights(pynn_targets *targets, size_t rows)
{
    const size_t outputs = net.outputs;
    const int zero = any_below(16) == 0;
    targets->normalise = (int32_t)any_below(3);
    if (targets->normalise == PYNN_BY_NUMBER) targets->divisor = 0.25 + (double)any_below(100);
    weights = any_matrix(AT_WEIGHTS, rows, 1, 1, targets->normalise == PYNN_BY_WEIGHTS ? 0.0f : -1.0f, 2.0f);
    for (size_t r = 0; r < rows; r++)
        if (zero || any_below(4) == 0) weights[r] = any_below(2) ? 0.0f : -0.0f;
    if (any_below(3)) targets->weights = weights;
    if (any_below(3)) return;
    targets->same_output_weights = (int32_t)any_below(2);
    targets->output_weights_stride = any_stride(outputs);
    targets->output_weights = output_weights =
        any_matrix(AT_OUTPUT_WEIGHTS, targets->same_output_weights ? 1 : rows, outputs,
                   or_width(targets->output_weights_stride, outputs), 0.0f, 2.0f);
}

static void make_plan(const pynn_plan **made, int page, const pynn_net *of, const float *numbers)
{
    const pynn_model model = {.net = of, .params = numbers};
    const pynn_plan *before = *made;
    size_t bytes = 0;
    pynn_memory memory;
    CHECK_OK(pynn_plan_bytes(&bytes, of));
    memory = nan_memory(page, bytes);
    memory.bytes--;
    CHECK_REFUSED(PYNN_BAD_MEMORY, "memory", pynn_plan_init(made, &model, memory));
    CHECK(*made == before, "refused, but given");
    memory.bytes++;
    CHECK_OK(pynn_plan_init(made, &model, memory));
}

static void any_problem(void)
{
    int32_t last;
    size_t rows;
    any_net();
    last = layers[net.layer_count - 1].kind;
    rows = any_rows();
    check_case("%s, %zu inputs, %zu rows", text, net.inputs, rows);
    params = floats(AT_PARAMS, net.param_count);
    memcpy(params, start_params, net.param_count * sizeof *params);
    plan = NULL;
    make_plan(&plan, AT_PLAN, &net, params);
    loss_kind = any_loss(last);
    loss_choice = loss_kind == auto_loss(last) && any_below(2) ? PYNN_LOSS_AUTO : loss_kind;
    data = (pynn_data){.rows = rows, .stride = any_stride(net.inputs)};
    data.x = x = any_matrix(AT_X, rows, net.inputs, or_width(data.stride, net.inputs), -2.0f, 2.0f);
    any_goal(&data.targets, rows);
    any_weights(&data.targets, rows);
    mask = (pynn_mask){.seed = any_bits(), .step = (uint32_t)any_bits()};
    start_threads();
}

static void spoil_one(float *row, size_t n)
{
    static const float spoilt[] = {NAN, INFINITY, -INFINITY};
    row[any_below(n)] = spoilt[any_below(3)];
}

static double weight_of(const pynn_targets *targets, size_t r)
{
    return targets->weights != NULL ? (double)targets->weights[r] : 1.0;
}

static int is_left_out(const pynn_targets *targets, size_t r)
{
    return targets->weights != NULL && fpclassify(targets->weights[r]) == FP_ZERO;
}

/* Rows of weight 0 may hold anything. */
static void spoil(void)
{
    pynn_targets *targets = &data.targets;
    for (size_t r = 0; r < data.rows; r++) {
        if (!is_left_out(targets, r) || any_below(3) == 0) continue;
        spoil_one(x + r * or_width(data.stride, net.inputs), net.inputs);
        spoil_one(t + r * or_width(targets->stride, net.outputs), net.outputs);
        labels[r] = any_below(2) ? -1 : INT32_MAX;
        if (targets->output_weights != NULL && !targets->same_output_weights)
            spoil_one(output_weights + r * or_width(targets->output_weights_stride, net.outputs), net.outputs);
    }
}

/* ---- layer by layer ---------------------------------------------------- */

/* What stands before each layer and behind the last, and its gradients: all other results are held against these. */
static float kept[NET_LAYERS + 1][MOST_FLOATS], d_kept[NET_LAYERS + 1][MOST_FLOATS];
static float wanted[MOST_PARAMS]; /* gradients of the parameters */

static size_t layers_until(int32_t end)
{
    const int32_t last = layers[net.layer_count - 1].kind;
    return net.layer_count - (end == PYNN_SCORES && (last == PYNN_SOFTMAX || last == PYNN_SIGMOID));
}

static size_t loss_layers(void)
{
    const int crosses = loss_kind == PYNN_CROSS_ENTROPY || loss_kind == PYNN_BINARY_CROSS_ENTROPY;
    return layers_until(crosses ? PYNN_SCORES : PYNN_OUTPUTS);
}

static pynn_dense dense_at(const float *numbers, size_t i)
{
    size_t at = 0;
    CHECK_OK(pynn_net_offset(&at, &net, i));
    return (pynn_dense){.w = numbers + at, .b = numbers + at + widths[i] * widths[i + 1], .inputs = widths[i],
                        .outputs = widths[i + 1]};
}

static uint32_t dropouts_before(size_t i)
{
    uint32_t count = 0;
    while (i-- > 0) count += layers[i].kind == PYNN_DROPOUT;
    return count;
}

static pynn_mask mask_at(const pynn_mask *of, size_t i)
{
    pynn_mask own = *of;
    own.layer = dropouts_before(i);
    return own;
}

static void forward_by_layers(const float *numbers, const pynn_data *rows, const pynn_mask *drops)
{
    const size_t count = rows->rows;
    for (size_t r = 0; r < count; r++)
        memcpy(kept[0] + r * net.inputs, rows->x + r * or_width(rows->stride, net.inputs), net.inputs * sizeof(float));
    for (size_t i = 0; i < net.layer_count; i++) {
        const size_t n = count * widths[i];
        float *out = kept[i + 1];
        if (layers[i].kind == PYNN_DENSE) {
            const pynn_dense dense = dense_at(numbers, i);
            const pynn_data in = {.x = i == 0 ? rows->x : kept[i], .rows = count, .stride = i == 0 ? rows->stride : 0};
            CHECK_OK(pynn_dense_forward(out, &dense, &in));
        } else if (layers[i].kind == PYNN_SOFTMAX) {
            CHECK_OK(pynn_softmax_forward(out, kept[i], count, widths[i]));
        } else if (layers[i].kind != PYNN_DROPOUT) {
            CHECK_OK(pynn_activation_forward(out, kept[i], n, &layers[i]));
        } else if (drops != NULL) {
            const pynn_mask own = mask_at(drops, i);
            CHECK_OK(pynn_dropout_forward(out, kept[i], &own, count, widths[i], layers[i].p));
        } else {
            memcpy(out, kept[i], n * sizeof *out);
        }
    }
}

static void dense_backward(const float *numbers, size_t i, const pynn_data *in)
{
    const pynn_dense dense = dense_at(numbers, i);
    float *dw = wanted + (dense.w - numbers), *dx = floats(AT_DX, in->rows * widths[i]);
    EXACTLY(pynn_dense_backward_bytes(&bytes, &dense),
            pynn_dense_backward(dx, dw, dw + dense.inputs * dense.outputs, d_kept[i + 1], &dense, in, memory), dx,
            in->rows * widths[i]);
    memcpy(d_kept[i], dx, in->rows * widths[i] * sizeof *dx);
}

/* From d_kept[end] to `wanted` and d_kept[0]. */
static void backward_by_layers(const float *numbers, size_t rows, const pynn_mask *drops, size_t end)
{
    memset(wanted, 0, net.param_count * sizeof *wanted);
    for (size_t i = end; i-- > 0;) {
        const size_t n = rows * widths[i];
        float *in = d_kept[i], *out = d_kept[i + 1];
        if (layers[i].kind == PYNN_DENSE) {
            dense_backward(numbers, i, &(pynn_data){.x = kept[i], .rows = rows});
        } else if (layers[i].kind == PYNN_SOFTMAX) {
            CHECK_OK(pynn_softmax_backward(in, out, kept[i + 1], rows, widths[i]));
        } else if (layers[i].kind != PYNN_DROPOUT) {
            CHECK_OK(pynn_activation_backward(in, out, kept[i], kept[i + 1], n, &layers[i]));
        } else if (drops != NULL) {
            const pynn_mask own = mask_at(drops, i);
            CHECK_OK(pynn_dropout_backward(in, out, &own, rows, widths[i], layers[i].p));
        } else {
            memcpy(in, out, n * sizeof *in);
        }
    }
}

static int are_finite(const float *row, size_t n)
{
    while (n > 0 && isfinite(row[n - 1])) n--;
    return n == 0;
}

/* The rows as they enter: those of weight 0 whose inputs are not finite as +0. */
static pynn_data entering(const pynn_data *rows)
{
    static float entered[MOST_FLOATS];
    pynn_data copy = *rows;
    for (size_t r = 0; r < rows->rows; r++) {
        const float *from = rows->x + r * or_width(rows->stride, net.inputs);
        const int counts = !is_left_out(&rows->targets, r) || are_finite(from, net.inputs);
        for (size_t i = 0; i < net.inputs; i++) entered[r * net.inputs + i] = counts ? from[i] : 0.0f;
    }
    copy.x = entered;
    copy.stride = 0;
    return copy;
}

/* Inside the net, what is not finite in rows of weight 0 counts as +0 on the way back. */
static void leave_out(const pynn_data *rows)
{
    for (size_t r = 0; r < rows->rows; r++) {
        if (!is_left_out(&rows->targets, r)) continue;
        for (size_t i = 0; i <= net.layer_count; i++)
            for (size_t j = 0; j < widths[i]; j++)
                if (!isfinite(kept[i][r * widths[i] + j])) kept[i][r * widths[i] + j] = 0.0f;
    }
}

/* What the loss of rows is divided by. */
static double divisor_of(const pynn_data *rows)
{
    double sum = 0.0;
    if (rows->targets.normalise == PYNN_BY_NUMBER) return rows->targets.divisor;
    if (rows->targets.normalise == PYNN_BY_ROWS) return (double)rows->rows;
    for (size_t r = 0; r < rows->rows; r++) sum += weight_of(&rows->targets, r);
    return sum;
}

/* The loss, its gradients in `wanted` and d_kept[0], and in *total the sum of w_r loss_r. */
static double loss_by_layers(double *total, const float *numbers, const pynn_data *rows, const pynn_mask *drops)
{
    static float losses[MOST_ROWS];
    const size_t end = loss_layers();
    const pynn_data entered = entering(rows);
    double loss = 0.0;
    forward_by_layers(numbers, &entered, drops);
    leave_out(rows);
    CHECK_OK(pynn_loss(&loss, losses, d_kept[end], kept[end], rows, net.outputs, loss_kind));
    backward_by_layers(numbers, rows->rows, drops, end);
    *total = 0.0;
    for (size_t r = 0; r < rows->rows; r++)
        if (!is_left_out(&rows->targets, r)) *total += weight_of(&rows->targets, r) * (double)losses[r];
    return loss;
}

/* ---- the same in every instruction set --------------------------------- */

static uint64_t records[16];
static size_t record_count, records_wanted;

static void record(const float *result, size_t n)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (result[i] != result[i] ? 0x7FC00000u : bits_of(result[i]))) * 1099511628211u;
    if (records_wanted == 0) records[record_count] = hash;
    else CHECK(records[record_count] == hash, "result %zu is not that of the first instruction set", record_count);
    record_count++;
}

/* ---- the ways to compute ----------------------------------------------- */

static void check_predict(void)
{
    const size_t first = any_below(data.rows), rows = any_below(data.rows - first + 1), outputs = net.outputs;
    const pynn_data part = {.x = x + first * or_width(data.stride, net.inputs), .rows = rows, .stride = data.stride};
    const pynn_options options = {.end = (int32_t)any_below(2), .y_stride = any_stride(outputs),
                                  .executor = any_executor()};
    const size_t stride = or_width(options.y_stride, outputs), n = rows > 0 ? (rows - 1) * stride + outputs : 0;
    const float *result = kept[layers_until(options.end)] + first * outputs;
    float *y = floats(AT_Y, n);
    EXACTLY(pynn_predict_bytes(&bytes, plan, rows, &options), pynn_predict(y, plan, &part, &options, memory), y, n);
    for (size_t r = 0; r < rows; r++) {
        CHECK_SAME(y + r * stride, result + r * outputs, outputs);
        if (r + 1 == rows) break;
        CHECK(all_pattern(y + r * stride + outputs, (stride - outputs) * sizeof *y), "written to behind row %zu", r);
    }
}

/* A few plans of two nets with two arrays of parameters each, on the same data or on data of their own. */
static void check_predict_many(const pynn_plan *const *given, const pynn_net *const *nets, size_t count)
{
    static float alone[MOST_FLOATS];
    const int shared = (int)any_below(2);
    const pynn_options options = {.end = (int32_t)any_below(2), .executor = any_executor()};
    const pynn_plan *plans[MOST_PLANS];
    pynn_data own[MOST_PLANS];
    size_t starts[MOST_PLANS + 1] = {0}, chosen[MOST_PLANS], n = 1 + any_below(MOST_PLANS);
    float *many[MOST_PLANS], *y;
    for (size_t i = 0; i < n; i++) {
        chosen[i] = any_below(shared ? 2 : count);
        plans[i] = given[chosen[i]];
        own[i] = data;
        own[i].rows = shared ? data.rows : any_below(data.rows + 1);
        own[i].stride = or_width(data.stride, net.inputs);
        starts[i + 1] = starts[i] + own[i].rows * nets[chosen[i]]->outputs;
    }
    y = floats(AT_Y, starts[n]);
    for (size_t i = 0; i < n; i++) many[i] = y + starts[i];
    EXACTLY(pynn_predict_many_bytes(&bytes, plans, n, own, shared ? 1 : n, &options),
            pynn_predict_many(many, plans, n, own, shared ? 1 : n, &options, memory), y, starts[n]);
    for (size_t i = 0; i < n; i++) {
        const pynn_options one = {.end = options.end};
        size_t bytes = 0;
        CHECK_OK(pynn_predict_bytes(&bytes, plans[i], own[i].rows, &one));
        CHECK_OK(pynn_predict(alone, plans[i], &own[i], &one, nan_memory(AT_MEMORY, bytes)));
        CHECK_SAME(many[i], alone, starts[i + 1] - starts[i]);
    }
}

static void check_many(void)
{
    static float other_params[MOST_PARAMS], small_params[4096];
    static pynn_layer small_layers[NET_LAYERS];
    pynn_net small;
    const pynn_net *const nets[] = {&net, &net, &small};
    const pynn_plan *plans[3] = {plan, NULL, NULL};
    CHECK_OK(pynn_params_init(other_params, &net, any_bits()));
    net_from("d7gd3m", 1 + any_below(net.inputs), small_layers, &small, small_params, COUNT(small_params));
    make_plan(&plans[1], AT_OTHER_PLAN, &net, other_params);
    make_plan(&plans[2], AT_SMALL_PLAN, &small, small_params);
    check_predict_many(plans, nets, 3);
}

/* A gradient that is not flushed where it comes in. */
static void any_gradient(float *dy, size_t n)
{
    for (size_t i = 0; i < n; i++) dy[i] = any_below(4) ? any_float(-1.0f, 1.0f) : 0.0f;
}

static void check_forward_backward(void)
{
    const pynn_mask *drops = any_below(2) ? &mask : NULL;
    const pynn_options options = {.end = (int32_t)any_below(2), .mask = drops, .executor = any_executor()};
    const pynn_executor *executor = any_below(2) ? options.executor : NULL;
    const size_t end = layers_until(options.end), n = data.rows * net.outputs;
    const int which = 1 + (int)any_below(3);
    pynn_tape tape = {0};
    float *y = floats(AT_Y, n), *dy, *grads, *dx;
    forward_by_layers(params, &data, drops);
    record(kept[end], n);
    EXACTLY(pynn_forward_bytes(&bytes, plan, data.rows, &options),
            pynn_forward(y, &tape, plan, &data, &options, memory), y, n);
    CHECK_SAME(y, kept[end], n);
    any_gradient(d_kept[end], n);
    dy = floats(AT_Y, n);
    memcpy(dy, d_kept[end], n * sizeof *dy);
    grads = which & 1 ? floats(AT_GRADS, net.param_count) : NULL;
    dx = which & 2 ? floats(AT_DX, data.rows * net.inputs) : NULL;
    CHECK_OK(pynn_backward(grads, dx, dy, &tape, executor));
    CHECK_STATUS(PYNN_BAD_ORDER, pynn_backward(grads, dx, dy, &tape, executor));
    check_pages();
    {
        static float result[MOST_FLOATS];
        if (dx != NULL) memcpy(result, dx, data.rows * net.inputs * sizeof *dx);
        backward_by_layers(params, data.rows, drops, end); /* takes AT_DX */
        if (dx != NULL) CHECK_SAME(result, d_kept[0], data.rows * net.inputs);
    }
    if (grads != NULL) CHECK_SAME(grads, wanted, net.param_count);
    record(wanted, net.param_count);
    record(d_kept[0], data.rows * net.inputs);
}

static void check_vjp(void)
{
    const pynn_options options = {.end = (int32_t)any_below(2), .mask = any_below(2) ? &mask : NULL,
                                  .executor = any_executor()};
    const size_t end = layers_until(options.end), n = data.rows * net.outputs, n_in = data.rows * net.inputs;
    float *dy = floats(AT_Y, n), *dx;
    any_gradient(dy, n);
    memcpy(d_kept[end], dy, n * sizeof *dy);
    forward_by_layers(params, &data, options.mask);
    backward_by_layers(params, data.rows, options.mask, end);
    dx = floats(AT_DX, n_in);
    EXACTLY(pynn_input_grad_bytes(&bytes, plan, &data, &options), pynn_vjp(dx, dy, plan, &data, &options, memory), dx,
            n_in);
    CHECK_SAME(dx, d_kept[0], n_in);
}

/* In parts of whole blocks of 256 rows. */
static void check_parts(double loss_wanted, double total, const pynn_mask *drops)
{
    const pynn_targets *whole = &data.targets;
    const pynn_options options = {.loss = loss_choice, .mask = drops, .executor = any_executor()};
    const double divisor = divisor_of(&data);
    pynn_accumulation accumulation = {.rows = data.rows};
    float *grads = floats(AT_GRADS, net.param_count);
    size_t rows;
    if (!(divisor > 0.0)) return;
    for (size_t first = 0; first < data.rows; first += rows) {
        pynn_data part = data;
        rows = 256 * (1 + any_below(2));
        if (rows > data.rows - first) rows = data.rows - first;
        part.rows = rows;
        part.x += first * or_width(data.stride, net.inputs);
        if (whole->rows != NULL) part.targets.rows += first * or_width(whole->stride, net.outputs);
        if (whole->labels != NULL) part.targets.labels += first;
        if (whole->weights != NULL) part.targets.weights += first;
        if (whole->output_weights != NULL && !whole->same_output_weights)
            part.targets.output_weights += first * or_width(whole->output_weights_stride, net.outputs);
        part.targets.normalise = PYNN_BY_NUMBER;
        part.targets.divisor = divisor;
        if (first == 0) {
            EXACTLY(pynn_accumulate_bytes(&bytes, plan, &options),
                    pynn_accumulate(&accumulation, grads, plan, &part, &options, memory), grads, net.param_count);
        } else {
            size_t bytes = 0;
            CHECK_OK(pynn_accumulate_bytes(&bytes, plan, &options));
            CHECK_OK(pynn_accumulate(&accumulation, grads, plan, &part, &options, nan_memory(AT_MEMORY, bytes)));
        }
    }
    CHECK(accumulation.done == data.rows, "%zu rows are done", accumulation.done);
    CHECK_SAME_DOUBLE(accumulation.loss, total);
    CHECK_SAME_DOUBLE(accumulation.loss / divisor, loss_wanted);
    CHECK_SAME(grads, wanted, net.param_count);
}

static void check_loss(void)
{
    const pynn_mask *drops = any_below(2) ? &mask : NULL;
    const size_t n_in = data.rows * net.inputs;
    double total, loss = -1.0;
    const double loss_wanted = loss_by_layers(&total, params, &data, drops);
    float *grads = floats(AT_GRADS, net.param_count), *dx;
    record(wanted, net.param_count);
    {
        const pynn_options options = {.loss = loss_choice, .mask = drops, .executor = any_executor()};
        EXACTLY(pynn_loss_and_grad_bytes(&bytes, plan, &data, &options),
                pynn_loss_and_grad(&loss, grads, plan, &data, &options, memory), grads, net.param_count);
        CHECK_SAME_DOUBLE(loss, loss_wanted);
        CHECK_SAME(grads, wanted, net.param_count);
    }
    dx = floats(AT_DX, n_in);
    {
        const pynn_options options = {.loss = loss_choice, .mask = drops, .executor = any_executor()};
        const int with_loss = (int)any_below(2);
        loss = loss_wanted;
        EXACTLY(pynn_input_grad_bytes(&bytes, plan, &data, &options),
                pynn_input_grad(with_loss ? &loss : NULL, dx, plan, &data, &options, memory), dx, n_in);
        CHECK_SAME_DOUBLE(loss, loss_wanted);
        CHECK_SAME(dx, d_kept[0], n_in);
    }
    check_parts(loss_wanted, total, drops);
}

/* Rows of weight 0 do not touch a result, but for the sign of a zero: +0 times another number may be -0. */
static void check_spoilt(void)
{
    static float before[MOST_PARAMS];
    double total, loss = loss_by_layers(&total, params, &data, NULL);
    memcpy(before, wanted, net.param_count * sizeof *before);
    spoil();
    CHECK_SAME_DOUBLE(loss_by_layers(&total, params, &data, NULL), loss);
    for (size_t i = 0; i < net.param_count; i++)
        if (fpclassify(wanted[i]) == FP_ZERO && fpclassify(before[i]) == FP_ZERO) wanted[i] = before[i];
    CHECK_SAME(wanted, before, net.param_count);
}

/* ---- training ---------------------------------------------------------- */

static pynn_optimizer any_optimizer(void)
{
    const int32_t kind = (int32_t)any_below(3);
    pynn_optimizer how = kind == PYNN_SGD ? pynn_sgd() : kind == PYNN_ADAM ? pynn_adam() : pynn_adamw();
    if (any_below(4) == 0) how = (pynn_optimizer){.kind = kind};
    if (any_below(2)) how.learning_rate = any_float(1e-4f, 0.1f);
    if (kind == PYNN_SGD && any_below(3)) how.momentum = any_float(0.1f, 0.95f);
    if (how.momentum > 0.0) how.nesterov = (int32_t)any_below(2);
    if (kind != PYNN_SGD && any_below(2)) how.beta1 = any_float(0.0f, 0.95f), how.beta2 = 0.99, how.epsilon = 1e-6;
    if (any_below(2)) how.weight_decay = any_float(0.0f, 0.1f);
    if (any_below(3) == 0) how.clip_norm = any_float(0.01f, 1.0f);
    return how;
}

/* One batch, side by side. */
static float batch_x[MOST_FLOATS], batch_t[MOST_FLOATS], batch_weights[MOST_ROWS], batch_output_weights[MOST_FLOATS];
static int32_t batch_labels[MOST_ROWS];

static pynn_data gathered(const uint32_t *order, size_t first, size_t rows)
{
    const pynn_targets *from = &data.targets;
    pynn_data batch = data;
    batch.rows = rows;
    batch.stride = batch.targets.stride = 0;
    batch.x = batch_x;
    if (from->rows != NULL) batch.targets.rows = batch_t;
    if (from->labels != NULL) batch.targets.labels = batch_labels;
    if (from->weights != NULL) batch.targets.weights = batch_weights;
    if (from->output_weights != NULL && !from->same_output_weights) {
        batch.targets.output_weights = batch_output_weights;
        batch.targets.output_weights_stride = 0;
    }
    for (size_t r = 0; r < rows; r++) {
        const size_t row = order != NULL ? order[first + r] : first + r, o = net.outputs;
        memcpy(batch_x + r * net.inputs, x + row * or_width(data.stride, net.inputs), net.inputs * sizeof(float));
        memcpy(batch_t + r * o, t + row * or_width(from->stride, o), o * sizeof(float));
        batch_labels[r] = labels[row];
        batch_weights[r] = weights[row];
        if (batch.targets.output_weights == batch_output_weights)
            memcpy(batch_output_weights + r * o, output_weights + row * or_width(from->output_weights_stride, o),
                   o * sizeof(float));
    }
    return batch;
}

static int is_plain(const pynn_optimizer *how)
{
    return how->kind == PYNN_SGD && !(how->momentum > 0.0) && !(how->weight_decay > 0.0) && !(how->clip_norm > 0.0);
}

/* One step by single layers and pynn_update. */
static pynn_status step_by_layers(pynn_trainer *trainer, const pynn_plan *made, const pynn_data *batch, double rate)
{
    static float before[MOST_PARAMS];
    const pynn_mask drops = {.seed = trainer->seed, .step = (uint32_t)trainer->state.steps};
    const double divisor = divisor_of(batch);
    double total;
    pynn_status status;
    if (!(divisor > 0.0)) return PYNN_OK;
    loss_by_layers(&total, trainer->params, batch, &drops);
    if (!isfinite(total)) return PYNN_LOSS_NOT_FINITE;
    memcpy(before, trainer->params, net.param_count * sizeof *before);
    status = pynn_update(trainer, made, wanted, rate);
    if (is_plain(&trainer->optimizer)) {
        for (size_t i = 0; i < net.param_count; i++) before[i] -= (float)rate * wanted[i];
        CHECK_SAME(trainer->params, before, net.param_count);
    }
    if (status != PYNN_OK) return status;
    trainer->totals.loss += total;
    trainer->totals.weight += divisor;
    return PYNN_OK;
}

static double default_rate(const pynn_optimizer *how)
{
    return how->learning_rate > 0.0 ? how->learning_rate : how->kind == PYNN_SGD ? 0.01 : 0.001;
}

static pynn_batches any_batches(uint32_t *order, double *rates)
{
    pynn_batches batches = {0};
    size_t steps;
    if (any_below(3)) {
        batches.order = order;
        batches.count = 1 + any_below(data.rows);
        for (size_t r = 0; r < batches.count; r++) order[r] = (uint32_t)any_below(data.rows);
    } else if (any_below(2)) {
        batches.count = 1 + any_below(data.rows);
    }
    steps = 1 + any_below(MOST_STEPS);
    if (any_below(4)) batches.size = ((batches.count != 0 ? batches.count : data.rows) - 1) / steps + 1;
    for (size_t k = 0; k < MOST_STEPS; k++) rates[k] = any_below(8) ? any_float(1e-4f, 0.05f) : 0.0;
    if (any_below(2)) batches.learning_rates = rates;
    return batches;
}

static void check_training(void)
{
    static float other[MOST_PARAMS], other_moments[2 * MOST_PARAMS];
    const pynn_plan *other_plan = NULL;
    uint32_t *order = guard_place(&pages[AT_ORDER], data.rows * sizeof *order, GUARD_AT_END);
    double *rates = guard_place(&pages[AT_RATES], MOST_STEPS * sizeof *rates, GUARD_AT_END);
    const pynn_batches batches = any_batches(order, rates);
    const size_t count = batches.count != 0 ? batches.count : data.rows;
    const size_t size = batches.size != 0 ? batches.size : count;
    pynn_trainer trainer = {.optimizer = any_optimizer(), .loss = loss_choice, .shards = (int32_t)any_below(2),
                            .seed = any_bits(), .params = params, .executor = any_executor(), .failed_layer = 77};
    pynn_trainer reference;
    size_t moments = 0, bytes = 0;
    pynn_status status = PYNN_OK, got;
    CHECK_OK(pynn_optimizer_moments(&moments, &trainer.optimizer));
    trainer.moments = floats(AT_MOMENTS, moments * net.param_count);
    for (size_t i = 0; i < moments * net.param_count; i++) trainer.moments[i] = 0.0f;
    if (any_below(2)) {
        trainer.state = (pynn_state){.steps = 1 + any_bits() % 1000, .beta1_power = 0.125, .beta2_power = 0.75};
        for (size_t i = 0; i < moments * net.param_count; i++) trainer.moments[i] = any_float(0.0f, 0.1f);
    }
    memcpy(params, start_params, net.param_count * sizeof *params);
    memcpy(other, start_params, net.param_count * sizeof *other);
    memcpy(other_moments, trainer.moments, moments * net.param_count * sizeof *other_moments);
    reference = trainer;
    reference.params = other;
    reference.moments = other_moments;
    make_plan(&other_plan, AT_OTHER_PLAN, &net, other);

    CHECK_OK(pynn_train_bytes(&bytes, plan, &trainer, size));
    {
        pynn_memory memory = nan_memory(AT_MEMORY, bytes);
        memory.bytes--;
        CHECK_REFUSED(PYNN_BAD_MEMORY, "memory", pynn_train_steps(&trainer, plan, &data, &batches, memory));
        CHECK_SAME(params, start_params, net.param_count);
        memory.bytes++;
        got = pynn_train_steps(&trainer, plan, &data, &batches, memory);
        check_tail(memory);
    }
    for (size_t k = 0; k * size < count && status == PYNN_OK; k++) {
        const size_t rows = count - k * size < size ? count - k * size : size;
        const pynn_data batch = gathered(batches.order, k * size, rows);
        const double rate = batches.learning_rates != NULL ? rates[k] : default_rate(&trainer.optimizer);
        status = step_by_layers(&reference, other_plan, &batch, rate);
    }
    CHECK_STATUS(status, got);
    CHECK(trainer.state.steps == reference.state.steps, "%" PRIu64 " steps, not %" PRIu64, trainer.state.steps,
          reference.state.steps);
    CHECK(trainer.failed_layer == reference.failed_layer, "layer %zu failed, not %zu", trainer.failed_layer,
          reference.failed_layer);
    CHECK_SAME_DOUBLE(trainer.totals.loss, reference.totals.loss);
    CHECK_SAME_DOUBLE(trainer.totals.weight, reference.totals.weight);
    if (status != PYNN_PARAMETER_NOT_FINITE) {
        CHECK_SAME_DOUBLE(trainer.state.beta1_power, reference.state.beta1_power);
        CHECK_SAME_DOUBLE(trainer.state.beta2_power, reference.state.beta2_power);
        CHECK_SAME(params, other, net.param_count);
        CHECK_SAME(trainer.moments, other_moments, moments * net.param_count);
        record(params, net.param_count);
    }
}

/* A learner against a trainer that goes the same way. */
static void check_learner(void)
{
    static float other[MOST_PARAMS], moments[2 * MOST_PARAMS];
    static uint32_t order[MOST_ROWS];
    const size_t batch = 1 + any_below(data.rows), n = data.rows < batch ? data.rows : batch;
    pynn_trainer trainer = {.optimizer = pynn_adam(), .params = other, .moments = moments};
    const pynn_batches batches = {.order = order, .size = batch};
    const pynn_plan *other_plan = NULL;
    pynn_learner learner;
    pynn_memory memory;
    size_t bytes = 0;
    float *y;
    if (loss_kind != auto_loss(layers[net.layer_count - 1].kind)) return;
    CHECK_OK(pynn_learner_bytes(&bytes, layers, net.layer_count, data.rows, batch));
    memory = nan_memory(AT_MEMORY, bytes);
    memory.bytes--;
    if (pynn_learner_init(&learner, layers, net.layer_count, memory) == PYNN_OK) {
        y = floats(AT_Y, n * net.outputs);
        learner.trainer.optimizer.clip_norm = 1.0; /* which needs most */
        CHECK(pynn_status_code(pynn_learner_train(&learner, &data, batch)) == PYNN_BAD_MEMORY ||
                  pynn_status_code(pynn_learner_predict(y, &learner, batch_x, n)) == PYNN_BAD_MEMORY,
              "a learner in memory that is too short");
    }
    memory.bytes++;
    memset(memory.start, 0xFF, bytes);
    CHECK_OK(pynn_learner_init(&learner, layers, net.layer_count, memory));
    CHECK_OK(pynn_params_init(other, &net, 0));
    CHECK_SAME(learner.trainer.params, other, net.param_count);
    if (any_below(2)) learner.trainer.optimizer.clip_norm = trainer.optimizer.clip_norm = 0.25;
    memset(moments, 0, 2 * net.param_count * sizeof *moments);
    make_plan(&other_plan, AT_OTHER_PLAN, &net, other);
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        pynn_status status;
        CHECK_OK(pynn_permutation(order, data.rows, 0, epoch));
        CHECK_OK(pynn_train_bytes(&bytes, other_plan, &trainer, batch));
        trainer.totals = (pynn_totals){0};
        status = pynn_train_steps(&trainer, other_plan, &data, &batches, nan_memory(AT_OTHER_MEMORY, bytes));
        CHECK_STATUS(status, pynn_learner_train(&learner, &data, batch));
        if (status != PYNN_OK) break;
        CHECK_SAME(learner.trainer.params, other, net.param_count);
        CHECK_SAME_DOUBLE(learner.trainer.totals.loss, trainer.totals.loss);
        CHECK_SAME_DOUBLE(learner.trainer.totals.weight, trainer.totals.weight);
    }
    check_tail(memory);
    memcpy(batch_x, kept[0], n * net.inputs * sizeof *batch_x);
    y = floats(AT_Y, n * net.outputs);
    CHECK_OK(pynn_learner_predict(y, &learner, batch_x, n));
    forward_by_layers(learner.trainer.params, &(pynn_data){.x = batch_x, .rows = n}, NULL);
    CHECK_SAME(y, kept[net.layer_count], n * net.outputs);
}

/* ---- one net ----------------------------------------------------------- */

static uint64_t net_seed;

static void one_net(void)
{
    record_count = 0;
    any_problem();
    check_forward_backward();
    check_vjp();
    forward_by_layers(params, &data, NULL);
    for (size_t i = 0; i < 3; i++) check_predict();
    check_many();
    check_spoilt();
    forward_by_layers(params, &data, NULL);
    check_predict();
    check_loss();
    for (size_t i = 0; i < 2; i++) check_training();
    check_learner();
    check_pages();
    CHECK_OK(pynn_threads_stop(&threads));
    check_pages();
    records_wanted = record_count;
}

static void say_seed(void)
{
    fprintf(stderr, "fuzz: the net of seed %" PRIu64 " fails; `fuzz 0` and this seed is that net alone\n", net_seed);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
extern void __sanitizer_set_death_callback(void (*callback)(void));
static void watch(void) { __sanitizer_set_death_callback(say_seed); }
#else
static void crashed(int number)
{
    say_seed();
    signal(number, SIG_DFL);
    raise(number);
}

static void watch(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < COUNT(signals); i++) signal(signals[i], crashed);
}
#endif

int main(int argc, char **argv)
{
    const double seconds = argc > 1 ? strtod(argv[1], NULL) : 10.0;
    const time_t start = time(NULL);
    const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)start * 1000000u;
    size_t count = 0;
    for (int32_t isa = 0; pynn_isa_name(isa) != NULL; isa++)
        if (pynn_status_code(pynn_isa_set(isa)) != PYNN_NO_ISA) CHECK_OK(pynn_isa_set(isa));
    for (int i = 0; i < PAGES; i++) pages[i] = guard_make(i == AT_MEMORY || i == AT_OTHER_MEMORY ? 1 << 26 : 1 << 22);
    watch();
    do {
        net_seed = seed + count++;
        orders = check_seed = net_seed;
        any_bits();
        records_wanted = 0;
        every_isa(one_net);
        if (check_failures > 0) {
            say_seed();
            return 1;
        }
    } while (difftime(time(NULL), start) < seconds);
    printf("fuzz: %zu nets, %zu checks passed\n", count, check_count);
    return 0;
}
