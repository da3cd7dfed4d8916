/*
 * Training: a step that can be checked by hand, many steps in one call against one step at a time, every instruction
 * set against the scalar one over long runs, what happens when a run diverges, the caller's floating-point environment,
 * and digests of whole runs, which must come out the same from any compiler with any flags.
 *
 *     test_train            the tests
 *     test_train --print    tests/c/golden.h, as this build would have it
 */
#include "digest.h"
#include "golden.h"

#include <fenv.h>

enum { MOST_ROWS = 700, MOST_IN = 40, MOST_OUT = 12, MOST_PARAMS = 32768, MOST_STEPS = 600 };

static pynn_layer layers[12];
static pynn_net net;
static float params[MOST_PARAMS], moments[2 * MOST_PARAMS], grads[MOST_PARAMS];
static float other_params[MOST_PARAMS], other_moments[2 * MOST_PARAMS];
static float x[MOST_ROWS * (MOST_IN + 3)], t[MOST_ROWS * MOST_OUT], weights[MOST_ROWS];
static int32_t labels[MOST_ROWS];
static uint32_t order[MOST_ROWS];
static double rates[MOST_STEPS];
static float gathered[MOST_ROWS * MOST_IN], gathered_t[MOST_ROWS * MOST_OUT], gathered_weights[MOST_ROWS];
static int32_t gathered_labels[MOST_ROWS];
static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char work_storage[1 << 22], plan_storage[2][1 << 12];

static pynn_memory workspace(size_t bytes)
{
    CHECK(bytes <= sizeof work_storage, "a workspace of %zu bytes", bytes);
    return (pynn_memory){work_storage, bytes};
}

/* The net with an array of parameters; there are two plans at a time. */
static const pynn_plan *plan_of(const float *values, size_t which)
{
    const pynn_plan *plan = NULL;
    CHECK_OK(pynn_plan_init(&plan, &(pynn_model){.net = &net, .params = values},
                            (pynn_memory){plan_storage[which], sizeof plan_storage[which]}));
    return plan;
}

/* Who works; NULL: the calling thread. */
static const pynn_executor *executor;

static pynn_memory train_memory(const pynn_plan *plan, const pynn_trainer *trainer, size_t batch)
{
    size_t bytes = 0;
    CHECK_OK(pynn_train_bytes(&bytes, plan, trainer, batch));
    return workspace(bytes);
}

static const pynn_optimizer optimizers[] = {
    {.kind = PYNN_SGD},
    {.kind = PYNN_SGD, .momentum = 0.9, .weight_decay = 0.001},
    {.kind = PYNN_SGD, .momentum = 0.9, .nesterov = 1, .clip_norm = 1.0},
    {.kind = PYNN_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8},
    {.kind = PYNN_ADAMW, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = 0.05, .clip_norm = 0.5},
};
static const char *const optimizer_names[] = {"sgd", "momentum", "nesterov_clipped", "adam", "adamw_clipped"};

static pynn_layer dense(size_t in, size_t out)
{
    return (pynn_layer){.kind = PYNN_DENSE, .inputs = in, .outputs = out};
}

static pynn_layer layer_of(int32_t kind)
{
    return (pynn_layer){.kind = kind, .slope = kind == PYNN_LEAKY_RELU ? 0.125 : 0.0};
}

/* A net of dense layers in - hidden - hidden - out with the activation between them, a dropout if p > 0, and a head. */
static void make_net(size_t in, size_t hidden, size_t out, int32_t activation, double p, int32_t head)
{
    size_t n = 0;
    layers[n++] = dense(in, hidden);
    layers[n++] = layer_of(activation);
    if (p > 0.0) layers[n++] = (pynn_layer){.kind = PYNN_DROPOUT, .p = p};
    layers[n++] = dense(hidden, hidden);
    layers[n++] = layer_of(activation);
    if (p > 0.0) layers[n++] = (pynn_layer){.kind = PYNN_DROPOUT, .p = p};
    layers[n++] = dense(hidden, out);
    if (head != PYNN_DENSE) layers[n++] = layer_of(head);
    CHECK_OK(pynn_net_init(&net, layers, n));
    CHECK(net.param_count <= MOST_PARAMS, "%zu parameters", net.param_count);
}

static int32_t head_of(int32_t loss)
{
    return loss == PYNN_CROSS_ENTROPY ? PYNN_SOFTMAX : loss == PYNN_BINARY_CROSS_ENTROPY ? PYNN_SIGMOID : PYNN_DENSE;
}

/* Rows that a small net can learn something from: targets follow from sums of inputs. Every value is exact. */
static void make_data(size_t rows, size_t in, size_t stride, size_t out)
{
    for (size_t r = 0; r < rows; r++) {
        float total = 0.0f;
        for (size_t i = 0; i < in; i++) {
            const float value = (float)((int)(any_bits() >> 54) - 512) * 0x1p-9f;
            x[r * stride + i] = value;
            total += i % 2 ? value : -value;
        }
        for (size_t j = 0; j < out; j++) t[r * out + j] = total > (float)j - 0.5f * (float)out ? 1.0f : 0.0f;
        labels[r] = (int32_t)(any_bits() % 4 == 0 ? any_below(out) : total > 0.0f ? 0 : out - 1);
        weights[r] = (float)(any_bits() >> 62) * 0.5f;
    }
}

/* Parameters and moments as they are at first, and who trains them. */
static pynn_trainer start(const pynn_optimizer *how, int32_t loss, uint64_t seed)
{
    CHECK_OK(pynn_params_init(params, &net, 3));
    memset(moments, 0, sizeof moments);
    return (pynn_trainer){.optimizer = *how, .loss = loss, .seed = seed, .params = params, .moments = moments,
                          .executor = executor, .failed_layer = 1234};
}

/* ---- a step by hand ---------------------------------------------------- */

/* x = 3, w1 = 1, b1 = 1 gives 4, relu keeps it; w2 = 2, b2 = -5 gives 3; t = 1, so that L = 4 and dL/dy = 4. */
static void test_by_hand(void)
{
    static const pynn_layer two[] = {{.inputs = 1, .outputs = 1}, {.kind = PYNN_RELU}, {.inputs = 1, .outputs = 1}};
    static const float gradients[] = {24.0f, 8.0f, 16.0f, 4.0f}, learned[] = {-2.0f, 0.0f, 0.0f, -5.5f};
    const float input = 3.0f, target = 1.0f;
    const pynn_data data = {.x = &input, .rows = 1, .targets = {.rows = &target}};
    const pynn_options options = {.loss = PYNN_SQUARED_ERROR};
    const uint32_t first = 0;
    const double rate = 0.125;
    const pynn_batches batches = {.order = &first, .count = 1, .size = 1, .learning_rates = &rate};
    const pynn_memory work = workspace(sizeof work_storage);
    const pynn_plan *plan;
    float w[] = {1.0f, 1.0f, 2.0f, -5.0f}, g[4], out = 0.0f, dx = 0.0f, dy = 4.0f;
    pynn_trainer trainer = {.loss = PYNN_SQUARED_ERROR, .params = w};
    pynn_tape tape = {0};
    double loss = 0.0;
    check_case("by hand");
    CHECK_OK(pynn_net_init(&net, two, 3));
    plan = plan_of(w, 0);
    CHECK_OK(pynn_predict(&out, plan, &data, NULL, work));
    CHECK(out == 3.0f, "%g", (double)out);
    CHECK_OK(pynn_loss_and_grad(&loss, g, plan, &data, &options, work));
    CHECK_SAME_DOUBLE(loss, 4.0);
    CHECK_SAME(g, gradients, 4);
    CHECK_OK(pynn_forward(&out, &tape, plan, &data, NULL, work));
    CHECK_OK(pynn_backward(g, &dx, &dy, &tape, NULL));
    CHECK_SAME(g, gradients, 4);
    CHECK(dx == 8.0f, "%g", (double)dx);
    loss = 0.0;
    dx = 0.0f;
    CHECK_OK(pynn_input_grad(&loss, &dx, plan, &data, &options, work));
    CHECK_SAME_DOUBLE(loss, 4.0);
    CHECK(dx == 8.0f, "%g", (double)dx);
    dx = 0.0f;
    CHECK_OK(pynn_vjp(&dx, &dy, plan, &data, NULL, work));
    CHECK(dx == 8.0f, "%g", (double)dx);
    CHECK_OK(pynn_train_steps(&trainer, plan, &data, &batches, work));
    CHECK_SAME(w, learned, 4);
    CHECK(trainer.state.steps == 1, "%" PRIu64, trainer.state.steps);
    CHECK_SAME_DOUBLE(trainer.totals.loss, 4.0);
    CHECK_SAME_DOUBLE(trainer.totals.weight, 1.0);
}

/* ---- many steps in one call, and one at a time ------------------------- */

typedef struct run {
    size_t in, stride, hidden, out, rows, count, batch;
    int32_t activation, loss;
    int labelled, weighted;
    double dropout;
} run;

static pynn_data data_of(const run *r)
{
    return (pynn_data){.x = x, .rows = r->rows, .stride = r->stride,
                       .targets = {.rows = r->labelled ? NULL : t, .labels = r->labelled ? labels : NULL,
                                   .weights = r->weighted ? weights : NULL}};
}

static void check_run(const run *r, const pynn_optimizer *how)
{
    const size_t steps = (r->count - 1) / r->batch + 1;
    const uint64_t seed = 99;
    const pynn_data data = data_of(r);
    const pynn_batches batches = {.order = order, .count = r->count, .size = r->batch, .learning_rates = rates};
    const pynn_plan *plan = plan_of(params, 0), *other = plan_of(other_params, 1);
    pynn_trainer trainer = start(how, r->loss, seed), alone = trainer;
    pynn_memory work = train_memory(plan, &trainer, r->batch);
    size_t bytes = 0;
    alone.params = other_params;
    alone.moments = other_moments;
    CHECK_OK(pynn_permutation(order, r->rows, 8, 0));
    for (size_t k = r->rows; k < r->count; k++) order[k] = (uint32_t)(k % r->rows); /* some rows twice */
    for (size_t k = 0; k < steps; k++) rates[k] = 0.01 / (1.0 + 0.1 * (double)k);
    if (r->weighted) /* the second batch counts for nothing */
        for (size_t k = r->batch; k < 2 * r->batch && k < r->count; k++) weights[order[k]] = 0.0f;
    memcpy(other_params, params, sizeof params);
    memcpy(other_moments, moments, sizeof moments);
    CHECK_OK(pynn_train_steps(&trainer, plan, &data, &batches, work));
    CHECK(trainer.failed_layer == 1234, "a layer was named: %zu", trainer.failed_layer);

    for (size_t k = 0; k < steps; k++) {
        const size_t from = k * r->batch, n = r->count - from < r->batch ? r->count - from : r->batch;
        const pynn_mask mask = {.seed = seed, .step = (uint32_t)alone.state.steps};
        const pynn_options options = {.loss = r->loss, .mask = &mask};
        const pynn_data batch = {.x = gathered, .rows = n,
                                 .targets = {.rows = r->labelled ? NULL : gathered_t,
                                             .labels = r->labelled ? gathered_labels : NULL,
                                             .weights = r->weighted ? gathered_weights : NULL}};
        double loss = 0.0, weight = 0.0, total = 0.0;
        for (size_t i = 0; i < n; i++) {
            const size_t row = order[from + i];
            memcpy(gathered + i * r->in, x + row * r->stride, r->in * sizeof *x);
            memcpy(gathered_t + i * r->out, t + row * r->out, r->out * sizeof *t);
            gathered_labels[i] = labels[row];
            gathered_weights[i] = weights[row];
            weight += r->weighted ? (double)weights[row] : 1.0;
        }
        if (!(weight > 0.0)) continue;
        CHECK_OK(pynn_loss_and_grad_bytes(&bytes, other, &batch, &options));
        CHECK_OK(pynn_loss_and_grad(&loss, grads, other, &batch, &options, workspace(bytes)));
        CHECK_OK(pynn_update(&alone, other, grads, rates[k]));
        total = loss * weight;
        alone.totals.loss += total;
        alone.totals.weight += weight;
    }
    CHECK_SAME(params, other_params, net.param_count);
    CHECK_SAME(moments, other_moments, 2 * net.param_count);
    CHECK(trainer.state.steps == alone.state.steps, "%" PRIu64 " steps, not %" PRIu64, trainer.state.steps,
          alone.state.steps);
    CHECK_SAME_DOUBLE(trainer.state.beta1_power, alone.state.beta1_power);
    CHECK_SAME_DOUBLE(trainer.state.beta2_power, alone.state.beta2_power);
    CHECK_SAME_DOUBLE(trainer.totals.weight, alone.totals.weight);
    CHECK_NEAR(trainer.totals.loss, alone.totals.loss, 1e-12 * fabs(alone.totals.loss));
    if (r->weighted && steps > 2)
        CHECK(trainer.state.steps < steps, "%" PRIu64 " of %zu steps", trainer.state.steps, steps);
}

static void test_runs(void)
{
    static const run runs[] = {
        {7, 9, 13, 3, 50, 50, 16, PYNN_RELU, PYNN_CROSS_ENTROPY, 1, 0, 0.0},
        {7, 7, 13, 3, 50, 50, 16, PYNN_GELU, PYNN_CROSS_ENTROPY, 0, 1, 0.3},
        {5, 5, 16, 4, 90, 90, 8, PYNN_TANH, PYNN_BINARY_CROSS_ENTROPY, 0, 1, 0.0},
        {5, 6, 16, 2, 30, 70, 70, PYNN_SILU, PYNN_MEAN_SQUARED_ERROR, 0, 0, 0.1}, /* one batch, rows twice */
        {5, 5, 9, 1, 40, 33, 1, PYNN_LEAKY_RELU, PYNN_SQUARED_ERROR, 0, 0, 0.0},
        {8, 11, 33, 10, 650, 650, 300, PYNN_RELU, PYNN_CROSS_ENTROPY, 1, 0, 0.25}, /* several blocks */
        {40, 40, 100, 5, 60, 60, 25, PYNN_SOFTPLUS, PYNN_HALF_SQUARED_ERROR, 0, 0, 0.0}, /* several strips */
        {3, 3, 128, 3, 20, 20, 20, PYNN_SIGMOID, PYNN_SQUARED_ERROR, 0, 1, 0.5},
        {9, 9, 160, 12, 40, 40, 100, PYNN_RELU, PYNN_CROSS_ENTROPY, 1, 0, 0.0}, /* a batch longer than the data */
    };
    for (size_t i = 0; i < COUNT(runs); i++) {
        const run *r = &runs[i];
        for (size_t k = 0; k < COUNT(optimizers); k++) {
            check_case("run %zu, %s", i, optimizer_names[k]);
            make_net(r->in, r->hidden, r->out, r->activation, r->dropout, head_of(r->loss));
            make_data(r->rows, r->in, r->stride, r->out);
            check_run(r, &optimizers[k]);
        }
    }
}

/* Widths at which products are packed. */
static void test_wide_runs(void)
{
    static const run wide = {20, 20, 200, 3, 60, 60, 30, PYNN_RELU, PYNN_CROSS_ENTROPY, 1, 0, 0.0};
    for (size_t k = 0; k < COUNT(optimizers); k += 2) {
        const size_t in = wide.in, hidden = wide.hidden;
        check_case("wide run, %s", optimizer_names[k]);
        layers[0] = dense(in, 40);
        layers[1] = layer_of(PYNN_RELU);
        layers[2] = dense(40, hidden);
        layers[3] = layer_of(PYNN_GELU);
        layers[4] = dense(hidden, wide.out);
        layers[5] = layer_of(PYNN_SOFTMAX);
        CHECK_OK(pynn_net_init(&net, layers, 6));
        make_data(wide.rows, in, wide.stride, wide.out);
        check_run(&wide, &optimizers[k]);
    }
}

/* ---- digests ----------------------------------------------------------- */

/* `epochs` shuffled epochs; the digest of all that training has made. No arithmetic here or in make_data needs
 * rounding, so that the caller may have set it as he likes. */
static uint64_t train_digest(const run *r, const pynn_optimizer *how, uint32_t epochs)
{
    const size_t steps = (r->count - 1) / r->batch + 1;
    const pynn_data data = data_of(r);
    const pynn_batches batches = {.order = order, .count = r->count, .size = r->batch, .learning_rates = rates};
    const pynn_plan *plan = plan_of(params, 0);
    pynn_trainer trainer = start(how, r->loss, 5);
    const pynn_memory work = train_memory(plan, &trainer, r->batch);
    size_t count = 0;
    uint64_t hash = FNV_START;
    CHECK_OK(pynn_optimizer_moments(&count, how));
    for (uint32_t epoch = 0; epoch < epochs; epoch++) {
        for (size_t k = 0; k < steps; k++) rates[k] = epoch % 2 ? 0x1p-6 : 0x1p-7;
        CHECK_OK(pynn_permutation(order, r->count, 8, epoch));
        CHECK_OK(pynn_train_steps(&trainer, plan, &data, &batches, work));
    }
    hash = fnv_floats(hash, params, net.param_count);
    hash = fnv_floats(hash, moments, count * net.param_count);
    hash = fnv(hash, trainer.state.steps, 8);
    hash = fnv_double(hash, trainer.state.beta1_power);
    hash = fnv_double(hash, trainer.state.beta2_power);
    hash = fnv_double(hash, trainer.totals.loss);
    return fnv_double(hash, trainer.totals.weight);
}

/* 500 steps of a small net: an optimizer with relu, or an activation with Adam. */
static uint64_t long_run(size_t optimizer, int32_t activation)
{
    static const run small = {8, 8, 16, 4, 200, 200, 40, 0, PYNN_CROSS_ENTROPY, 1, 0, 0.0};
    check_seed = 7;
    make_net(small.in, small.hidden, small.out, activation, 0.0, PYNN_SOFTMAX);
    make_data(small.rows, small.in, small.stride, small.out);
    return train_digest(&small, &optimizers[optimizer], 100);
}

static uint64_t optimizer_run(size_t i) { return long_run(i, PYNN_RELU); }
static uint64_t activation_run(size_t i) { return long_run(3, PYNN_IDENTITY + (int32_t)i); }

static const char *const loss_names[] = {"squared", "half_squared", "mean_squared", "cross_entropy", "binary"};

/* Every loss, with dropout and weights, and inner sizes beyond a block of 256: inputs of a layer, rows of a batch. */
static uint64_t loss_run(size_t loss)
{
    const run r = {12, 14, 20, 3, 330, 330, 300, PYNN_SILU, PYNN_SQUARED_ERROR + (int32_t)loss, 0, 1, 0.25};
    check_seed = 11 + loss;
    make_net(r.in, r.hidden, r.out, r.activation, r.dropout, head_of(r.loss));
    make_data(r.rows, r.in, r.stride, r.out);
    for (size_t i = 0; r.loss == PYNN_CROSS_ENTROPY && i < r.rows; i++) /* rows that sum to 1 */
        t[i * 3] = 0.5f, t[i * 3 + 1] = labels[i] ? 0.375f : 0.125f, t[i * 3 + 2] = labels[i] ? 0.125f : 0.375f;
    return train_digest(&r, &optimizers[loss], 3);
}

static uint64_t wide_run(size_t which)
{
    const run r = {10, 10, 0, 12, 40, 40, 20, 0, PYNN_CROSS_ENTROPY, 1, 0, 0.0};
    const int32_t activation = which ? PYNN_GELU : PYNN_RELU;
    check_seed = 23 + which;
    layers[0] = (pynn_layer){.init = PYNN_INIT_HE_UNIFORM, .inputs = r.in, .outputs = 300};
    layers[1] = layer_of(activation);
    layers[2] = (pynn_layer){.init = PYNN_INIT_GLOROT_NORMAL, .inputs = 300, .outputs = 67};
    layers[3] = layer_of(PYNN_SOFTPLUS);
    layers[4] = (pynn_layer){.init = PYNN_INIT_GLOROT_UNIFORM, .inputs = 67, .outputs = r.out};
    layers[5] = layer_of(PYNN_SOFTMAX);
    CHECK_OK(pynn_net_init(&net, layers, 6));
    make_data(r.rows, r.in, r.stride, r.out);
    return train_digest(&r, &optimizers[which ? 4 : 1], 2);
}

/* An activation and its derivative over floats of all sizes. */
static uint64_t function_run(size_t i)
{
    enum { N = 8192 };
    static float s[N], a[N], da[N];
    const pynn_layer layer = layer_of(PYNN_IDENTITY + (int32_t)i);
    for (size_t k = 0; k < N; k++) {
        s[k] = k % 2 ? (float)((int)(k / 2) - 2048) * 0x1p-6f : float_of((uint32_t)(k << 19 | 0x5A5A5));
        if (!(fabsf(s[k]) <= FLT_MAX)) s[k] = 0.0f;
        da[k] = (float)((int)(k % 17) - 8);
    }
    CHECK_OK(pynn_activation_forward(a, s, N, &layer));
    CHECK_OK(pynn_activation_backward(da, da, s, a, N, &layer));
    return fnv_floats(fnv_floats(FNV_START, a, N), da, N);
}

static uint64_t init_run(size_t init)
{
    static float w[4000], b[40];
    const pynn_layer layer = {.init = PYNN_INIT_HE_NORMAL + (int32_t)init, .inputs = 100, .outputs = 40};
    CHECK_OK(pynn_dense_init(w, b, &layer, 0x123456789ABCDEF, 2));
    return fnv_floats(FNV_START, w, 4000);
}

/* ---- the table of digests ---------------------------------------------- */

static const char *const activation_names[] = {"identity", "relu", "leaky_relu", "sigmoid",
                                               "tanh",     "softplus", "gelu",   "silu"};
static const char *const init_names[] = {"he_normal", "he_uniform", "glorot_normal", "glorot_uniform"};
static const char *const wide_names[] = {"relu", "gelu"};

static const struct digests {
    const char *kind;
    const char *const *names;
    size_t count;
    uint64_t (*run)(size_t);
} tables[] = {
    {"optimizer", optimizer_names, COUNT(optimizer_names), optimizer_run},
    {"activation", activation_names, COUNT(activation_names), activation_run},
    {"loss", loss_names, COUNT(loss_names), loss_run},
    {"wide", wide_names, COUNT(wide_names), wide_run},
    {"function", activation_names, COUNT(activation_names), function_run},
    {"draw", init_names, COUNT(init_names), init_run},
};

static void print_golden(void)
{
    printf("/* Digests of the runs of tests/c/test_train.c, the same on every machine; made by test_train --print. "
           "They change\n"
           " * only with the arithmetic contract. */\n"
           "static const struct golden {\n"
           "    const char *kind, *name;\n"
           "    uint64_t digest;\n"
           "} goldens[] = {\n");
    for (size_t i = 0; i < COUNT(tables); i++)
        for (size_t k = 0; k < tables[i].count; k++)
            printf("    {\"%s\", \"%s\", 0x%016" PRIx64 "u},\n", tables[i].kind, tables[i].names[k], tables[i].run(k));
    printf("};\n");
}

/* Runs with every instruction set; the first is the scalar one. */
static void test_golden(void)
{
    static uint64_t scalar[COUNT(tables)][16];
    size_t found = 0;
    int32_t isa = -1;
    CHECK_OK(pynn_isa_get(&isa));
    for (size_t i = 0; i < COUNT(tables); i++) {
        for (size_t k = 0; k < tables[i].count; k++) {
            const struct golden *g = goldens, *end = goldens + COUNT(goldens);
            const uint64_t digest = tables[i].run(k);
            check_case("digest %s %s", tables[i].kind, tables[i].names[k]);
            if (isa == PYNN_ISA_SCALAR) scalar[i][k] = digest;
            CHECK(digest == scalar[i][k], "%016" PRIx64 ", not %016" PRIx64 " as scalar", digest, scalar[i][k]);
            while (g < end && (strcmp(g->kind, tables[i].kind) != 0 || strcmp(g->name, tables[i].names[k]) != 0)) g++;
            if (!CHECK(g < end, "no digest is stored")) continue;
            found++;
            CHECK(digest == g->digest, "%016" PRIx64 ", not %016" PRIx64, digest, g->digest);
        }
    }
    CHECK(found == COUNT(goldens), "%zu of %zu stored digests were made", found, COUNT(goldens));
}

/* The digests again, with the work shared out: by an executor of our own, whose workers take turns backwards, and by
 * the library's threads. */
static void backwards(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    for (size_t worker = *(const size_t *)context; worker-- > 0;) task(argument, worker);
}

static void test_executors(void)
{
    static const size_t workers[] = {1, 2, 3, 7};
    for (size_t i = 2; i < 4; i++) { /* losses, and wide nets */
        for (size_t k = 0; k < tables[i].count; k++) {
            const uint64_t wanted = tables[i].run(k);
            for (size_t w = 0; w < COUNT(workers); w++) {
                size_t count = workers[w], bytes = 0;
                pynn_executor one = {.workers = count, .context = &count, .run = backwards};
                pynn_memory memory;
                uint64_t digest;
                check_case("digest %s %s, %zu workers", tables[i].kind, tables[i].names[k], count);
                executor = &one;
                digest = tables[i].run(k);
                CHECK(digest == wanted, "%016" PRIx64 ", not %016" PRIx64, digest, wanted);
                CHECK_OK(pynn_threads_bytes(&bytes, count));
                memory = memory_of(bytes);
                CHECK_OK(pynn_threads_start(&one, count, memory));
                digest = tables[i].run(k);
                CHECK(digest == wanted, "threads: %016" PRIx64 ", not %016" PRIx64, digest, wanted);
                CHECK_OK(pynn_threads_stop(&one));
                free(memory.start);
                executor = NULL;
            }
        }
    }
}

/* Long runs learn: what the digests are of is worth being the same. */
static void test_learning(void)
{
    const size_t rows = 256;
    const pynn_data data = {.x = x, .rows = rows, .targets = {.rows = t}};
    const pynn_batches batches = {.order = order, .size = 32, .learning_rates = rates};
    const pynn_optimizer adam = pynn_adam();
    const pynn_plan *plan;
    pynn_trainer trainer;
    double first = 0.0;
    check_case("learning");
    check_seed = 5;
    make_net(4, 16, 1, PYNN_TANH, 0.0, PYNN_DENSE);
    make_data(rows, 4, 4, 1);
    for (size_t r = 0; r < rows; r++) t[r] = 0.5f * x[4 * r] * x[4 * r + 1] - x[4 * r + 2];
    plan = plan_of(params, 0);
    trainer = start(&adam, PYNN_SQUARED_ERROR, 0);
    for (uint32_t epoch = 0; epoch < 60; epoch++) {
        for (size_t k = 0; k < 8; k++) rates[k] = 0.01;
        trainer.totals = (pynn_totals){0};
        CHECK_OK(pynn_permutation(order, rows, 1, epoch));
        CHECK_OK(pynn_train_steps(&trainer, plan, &data, &batches, train_memory(plan, &trainer, 32)));
        if (epoch == 0) first = trainer.totals.loss;
    }
    CHECK(trainer.totals.loss < 0.02 * first, "the loss went from %g to %g", first, trainer.totals.loss);
    CHECK(trainer.state.steps == 480, "%" PRIu64 " steps", trainer.state.steps);
}

/* ---- divergence -------------------------------------------------------- */

static void test_loss_not_finite(void)
{
    static float before_params[MOST_PARAMS], before_moments[2 * MOST_PARAMS];
    const pynn_data data = {.x = x, .rows = 6, .targets = {.rows = t}};
    const pynn_batches good = {.count = 4, .size = 2, .learning_rates = rates};
    const pynn_batches all = {.count = 6, .size = 2, .learning_rates = rates};
    for (size_t k = 0; k < COUNT(optimizers); k++) {
        const pynn_plan *plan;
        pynn_trainer trainer, before;
        pynn_memory work;
        check_case("loss not finite, %s", optimizer_names[k]);
        make_net(3, 8, 2, PYNN_RELU, 0.0, PYNN_DENSE);
        make_data(6, 3, 3, 2);
        for (size_t i = 0; i < 3; i++) rates[i] = 0.01;
        plan = plan_of(params, 0);
        before = start(&optimizers[k], PYNN_SQUARED_ERROR, 0);
        work = train_memory(plan, &before, 2);
        CHECK_OK(pynn_train_steps(&before, plan, &data, &good, work)); /* two good steps, for comparison */
        memcpy(before_params, params, sizeof params);
        memcpy(before_moments, moments, sizeof moments);
        t[5 * 2] = k % 2 ? INFINITY : NAN; /* a third step that fails */
        trainer = start(&optimizers[k], PYNN_SQUARED_ERROR, 0);
        CHECK_STATUS(PYNN_LOSS_NOT_FINITE, pynn_train_steps(&trainer, plan, &data, &all, work));
        CHECK_SAME(params, before_params, net.param_count);
        CHECK_SAME(moments, before_moments, 2 * net.param_count);
        CHECK(trainer.state.steps == 2 && before.state.steps == 2, "%" PRIu64 " steps", trainer.state.steps);
        CHECK_SAME_DOUBLE(trainer.state.beta1_power, before.state.beta1_power);
        CHECK_SAME_DOUBLE(trainer.state.beta2_power, before.state.beta2_power);
        CHECK_SAME_DOUBLE(trainer.totals.loss, before.totals.loss);
        CHECK_SAME_DOUBLE(trainer.totals.weight, before.totals.weight);
        CHECK(trainer.failed_layer == 1234, "a layer was named: %zu", trainer.failed_layer);
    }
}

/* The layer whose parameters are spoilt is named. A moment that overflows the next update spoils just the one. */
static void test_parameter_not_finite(void)
{
    static const size_t dense_layers[] = {0, 2, 4};
    const pynn_data data = {.x = x, .rows = 4, .targets = {.rows = t}};
    const pynn_batches one = {.learning_rates = rates};
    for (size_t k = 1; k < COUNT(optimizers); k++) {
        for (size_t which = 0; which < COUNT(dense_layers); which++) {
            for (int bias = 0; bias < 2; bias++) {
                const pynn_layer *layer = &layers[dense_layers[which]];
                const pynn_plan *plan;
                pynn_trainer trainer;
                size_t at = 0, weight_count;
                check_case("layer %zu not finite, %s", dense_layers[which], optimizer_names[k]);
                make_net(3, 8, 2, PYNN_TANH, 0.0, PYNN_DENSE);
                make_data(4, 3, 3, 2);
                plan = plan_of(params, 0);
                trainer = start(&optimizers[k], PYNN_SQUARED_ERROR, 0);
                CHECK_OK(pynn_net_offset(&at, &net, dense_layers[which]));
                weight_count = layer->inputs * layer->outputs;
                moments[at + (bias ? weight_count : any_below(weight_count))] = 3e38f;
                rates[0] = 10.0;
                CHECK_STATUS(PYNN_PARAMETER_NOT_FINITE,
                             pynn_train_steps(&trainer, plan, &data, &one, train_memory(plan, &trainer, 4)));
                CHECK(trainer.failed_layer == dense_layers[which], "layer %zu", trainer.failed_layer);
                CHECK(trainer.state.steps == 1, "%" PRIu64 " steps", trainer.state.steps);
            }
        }
    }
    for (size_t which = 0; which < 3; which++) { /* plain SGD: a chain of single weights, where one gradient is 100 */
        static const pynn_layer one_weight = {.inputs = 1, .outputs = 1};
        const pynn_layer chain[] = {one_weight, one_weight, one_weight};
        float w[] = {1.0f, 0.0f, 1.0f, 0.0f, 1.0f, 0.0f}, input = 1.0f, target = 0.5f;
        const pynn_data row = {.x = &input, .rows = 1, .targets = {.rows = &target}};
        pynn_trainer trainer = {.loss = PYNN_SQUARED_ERROR, .params = w, .failed_layer = 1234};
        const pynn_plan *plan;
        check_case("layer %zu not finite, plain", which);
        CHECK_OK(pynn_net_init(&net, chain, 3));
        plan = plan_of(w, 0);
        w[2 * which] = 0.01f;
        *(which == 0 ? &input : &w[2 * which - 2]) = 100.0f;
        rates[0] = 1e38;
        CHECK_STATUS(PYNN_PARAMETER_NOT_FINITE,
                     pynn_train_steps(&trainer, plan, &row, &one, train_memory(plan, &trainer, 1)));
        CHECK(trainer.failed_layer == which, "layer %zu", trainer.failed_layer);
    }
}

/* ---- the caller's floating-point environment --------------------------- */

#if defined(__SSE2__)
#include <immintrin.h>
enum { KEPT = 0xFFC0, FLUSHING = 0x8040, UNMASKED = 0x1F80 };
static uint64_t control_get(void) { return _mm_getcsr(); }
static void control_set(uint64_t control) { _mm_setcsr((uint32_t)control); }
#elif defined(__aarch64__)
enum { KEPT = -1, FLUSHING = 1 << 24, UNMASKED = 0 };
static uint64_t control_get(void)
{
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return control;
}
static void control_set(uint64_t control) { __asm__ volatile("msr fpcr, %0" : : "r"(control)); }
#else
enum { KEPT = 0, FLUSHING = 0, UNMASKED = 0 };
static uint64_t control_get(void) { return 0; }
static void control_set(uint64_t control) { (void)control; }
#endif

static const int roundings[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};

static void test_environment(void)
{
    static const struct { const struct digests *table; size_t which; } picks[] = {
        {&tables[2], 0}, {&tables[2], 1}, {&tables[2], 2}, {&tables[2], 3}, {&tables[2], 4}, {&tables[3], 1},
        {&tables[4], 3}, {&tables[4], 4}, {&tables[4], 5}, {&tables[4], 6}, {&tables[4], 7}, {&tables[5], 0},
        {&tables[5], 3},
    };
    const uint64_t before = control_get();
    for (size_t i = 0; i < COUNT(picks); i++) {
        const uint64_t wanted = picks[i].table->run(picks[i].which);
        for (size_t k = 0; k < 2 * COUNT(roundings); k++) {
            uint64_t foreign, after, digest;
            int rounding;
            if (fesetround(roundings[k / 2]) != 0) continue;
            if (k % 2) control_set(control_get() | (uint64_t)FLUSHING);
            foreign = control_get();
            digest = picks[i].table->run(picks[i].which);
            after = control_get();
            rounding = fegetround();
            control_set(before);
            fesetround(FE_TONEAREST);
            check_case("digest %s %zu, rounding %d, flushing %zu", picks[i].table->kind, picks[i].which,
                       roundings[k / 2], k % 2);
            CHECK(digest == wanted, "%016" PRIx64 ", not %016" PRIx64, digest, wanted);
            CHECK((after & (uint64_t)KEPT) == (foreign & (uint64_t)KEPT) && rounding == roundings[k / 2],
                  "the environment was %" PRIx64 " and is %" PRIx64, foreign, after);
        }
    }
}

/* Exceptions that trap: NaN and infinity are values like any other. */
static void test_traps(void)
{
    float s[] = {NAN, INFINITY, -INFINITY, 0.0f, FLT_MAX, 0x1p-140f}, h[6];
    const uint64_t before = control_get();
    uint64_t after;
    pynn_status first, second;
    check_case("traps");
    control_set((before & ~(uint64_t)0x3F) & ~(uint64_t)UNMASKED);
    first = pynn_softmax_forward(h, s, 2, 3);
    second = pynn_activation_forward(s, s, 6, &(pynn_layer){.kind = PYNN_GELU});
    after = control_get();
    control_set(before);
    CHECK_OK(first);
    CHECK_OK(second);
    CHECK((after & (uint64_t)UNMASKED) == 0, "the environment is %" PRIx64, after);
}

static void test_all(void)
{
    test_by_hand();
    test_runs();
    test_wide_runs();
    test_golden();
    test_loss_not_finite();
    test_parameter_not_finite();
    test_environment();
    test_traps();
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--print") == 0) {
        print_golden();
        return check_failures > 0;
    }
    every_isa(test_all);
    test_executors();
    test_learning();
    return check_end("test_train");
}
