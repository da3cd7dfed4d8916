/*
 * Rows with weights, some of them 0, and nothing but ordinary numbers: losses, gradients and trainings have the bits
 * that version 0.1 of the library gave them. The digests were made with that version.
 */
#include "digest.h"
#include "nets.h"

enum { MOST_ROWS = 600, MOST_WIDTH = 40, IN = 9, STRIDE = 11, MOST_PARAMS = 1 << 15 };

static pynn_layer layers[NET_LAYERS];
static pynn_net net;
static const pynn_plan *plan; /* of params */
static float params[MOST_PARAMS], grads[MOST_PARAMS], moments[2 * MOST_PARAMS];
static float x[MOST_ROWS * STRIDE], dx[MOST_ROWS * IN];
static float y[MOST_ROWS * MOST_WIDTH], ds[MOST_ROWS * MOST_WIDTH], losses[MOST_ROWS];
static float t[MOST_ROWS * MOST_WIDTH], weights[MOST_ROWS];
static int32_t labels[MOST_ROWS];
static uint32_t order[MOST_ROWS];
static double rates[MOST_ROWS];
static _Alignas(64) unsigned char work_storage[1 << 23], plan_storage[1 << 12];

/* ---- runs -------------------------------------------------------------- */

typedef struct run {
    const char *name, *net;
    int32_t loss;
    int labelled, drops;
    uint64_t digest;
} run;

/* Every third row counts for nothing, and so do the rows 60 to 89. */
static void make_data(const run *r, size_t rows, size_t n)
{
    fill_any(x, MOST_ROWS * STRIDE, -2.0f, 2.0f);
    fill_any(t, rows * n, 0.0f, 1.0f);
    for (size_t i = 0; i < rows; i++) {
        labels[i] = (int32_t)any_below(n);
        weights[i] = i % 3 == 1 || (i >= 60 && i < 90) ? 0.0f : any_float(0.25f, 4.0f);
        if (r->loss != PYNN_CROSS_ENTROPY) continue;
        for (size_t j = 0; j < n; j++) t[i * n + j] = j == (size_t)labels[i] ? 0.5f : 0.5f / (float)n;
    }
}

static pynn_targets targets_of(const run *r, size_t n)
{
    return (pynn_targets){.rows = r->labelled ? NULL : t, .stride = n, .labels = r->labelled ? labels : NULL,
                          .weights = weights};
}

/* ---- calls, and what they make ----------------------------------------- */

static uint64_t loss_call(uint64_t hash, const run *r, size_t rows, size_t n)
{
    const pynn_data data = {.rows = rows, .targets = targets_of(r, n)};
    double loss = 0.0;
    CHECK_OK(pynn_loss(&loss, losses, ds, y, &data, n, r->loss));
    return fnv_double(hash, loss);
}

static void make_plan(void)
{
    CHECK_OK(pynn_plan_init(&plan, &(pynn_model){.net = &net, .params = params},
                            (pynn_memory){plan_storage, sizeof plan_storage}));
}

static const pynn_memory work = {work_storage, sizeof work_storage};
static const pynn_mask mask = {.seed = 77, .step = 5};

static uint64_t grad_call(uint64_t hash, const run *r, size_t rows)
{
    const pynn_data data = {.x = x, .rows = rows, .stride = STRIDE, .targets = targets_of(r, net.outputs)};
    const pynn_options options = {.loss = r->loss, .mask = r->drops ? &mask : NULL};
    double loss = 0.0;
    CHECK_OK(pynn_loss_and_grad(&loss, grads, plan, &data, &options, work));
    return fnv_double(hash, loss);
}

/* Two parts, of 256 rows and of the others. */
static uint64_t part_call(uint64_t hash, const run *r, size_t rows)
{
    const pynn_options options = {.loss = r->loss, .mask = r->drops ? &mask : NULL};
    pynn_accumulation so_far = {.rows = rows};
    double weight = 0.0;
    for (size_t i = 0; i < rows; i++) weight += (double)weights[i];
    for (size_t first = 0; first < rows; first += 256) {
        const size_t n = rows - first < 256 ? rows - first : 256;
        pynn_data data = {.x = x + first * STRIDE, .rows = n, .stride = STRIDE, .targets = targets_of(r, net.outputs)};
        if (r->labelled) data.targets.labels += first;
        else data.targets.rows += first * net.outputs;
        data.targets.weights += first;
        data.targets.normalise = PYNN_BY_NUMBER;
        data.targets.divisor = weight;
        CHECK_OK(pynn_accumulate(&so_far, grads, plan, &data, &options, work));
    }
    return fnv_double(hash, so_far.loss);
}

static void dx_call(const run *r, size_t rows)
{
    const pynn_data data = {.x = x, .rows = rows, .stride = STRIDE, .targets = targets_of(r, net.outputs)};
    const pynn_options options = {.loss = r->loss, .mask = r->drops ? &mask : NULL};
    CHECK_OK(pynn_input_grad(NULL, dx, plan, &data, &options, work));
}

/* Two epochs. */
static uint64_t train_call(uint64_t hash, const run *r, size_t rows, size_t batch)
{
    const pynn_data data = {.x = x, .rows = rows, .stride = STRIDE, .targets = targets_of(r, net.outputs)};
    const pynn_batches batches = {.order = order, .count = rows, .size = batch, .learning_rates = rates};
    static const pynn_optimizer optimizers[] = {
        {.kind = PYNN_SGD},
        {.kind = PYNN_SGD, .momentum = 0.9, .weight_decay = 0.001},
        {.kind = PYNN_SGD, .momentum = 0.9, .nesterov = 1, .clip_norm = 0.1},
        {.kind = PYNN_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8},
        {.kind = PYNN_ADAMW, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = 0.05, .clip_norm = 0.5},
    };
    static float first[MOST_PARAMS];
    memcpy(first, params, sizeof params);
    for (size_t k = 0; k < COUNT(optimizers); k++) {
        pynn_trainer trainer = {.optimizer = optimizers[k], .loss = r->loss, .seed = 5, .params = params,
                                .moments = moments};
        memcpy(params, first, sizeof params);
        memset(moments, 0, sizeof moments);
        for (uint32_t epoch = 0; epoch < 2; epoch++) {
            CHECK_OK(pynn_permutation(order, rows, 3, epoch));
            CHECK_OK(pynn_train_steps(&trainer, plan, &data, &batches, work));
        }
        hash = fnv_floats(hash, params, net.param_count);
        hash = fnv_floats(hash, moments, 2 * net.param_count);
        hash = fnv(hash, trainer.state.steps, 8);
        hash = fnv_double(hash, trainer.totals.loss);
        hash = fnv_double(hash, trainer.totals.weight);
    }
    return hash;
}

static uint64_t loss_digest(const run *r)
{
    static const size_t widths[] = {1, 3, 16, 17, MOST_WIDTH};
    uint64_t hash = FNV_START;
    for (size_t k = 0; k < COUNT(widths); k++) {
        const size_t n = widths[k];
        make_data(r, MOST_ROWS, n);
        fill_any(y, MOST_ROWS * n, -6.0f, 6.0f);
        hash = loss_call(hash, r, MOST_ROWS, n);
        hash = fnv_floats(hash, ds, MOST_ROWS * n);
        for (size_t i = 0; i < MOST_ROWS; i++)
            if (weights[i] > 0.0f) hash = fnv_floats(hash, &losses[i], 1);
    }
    return hash;
}

/* Batches of several lengths, whole and in parts, then trainings. */
static uint64_t net_digest(const run *r)
{
    static const size_t lengths[] = {1, 7, 256, 300, MOST_ROWS};
    uint64_t hash = FNV_START;
    net_from(r->net, IN, layers, &net, params, MOST_PARAMS);
    make_plan();
    make_data(r, MOST_ROWS, net.outputs);
    for (size_t k = 0; k < COUNT(lengths); k++) {
        hash = grad_call(hash, r, lengths[k]);
        hash = fnv_floats(hash, grads, net.param_count);
        hash = part_call(hash, r, lengths[k]);
        hash = fnv_floats(hash, grads, net.param_count);
        dx_call(r, lengths[k]);
        hash = fnv_floats(hash, dx, lengths[k] * net.inputs);
    }
    for (size_t k = 0; k < COUNT(rates); k++) rates[k] = 0.01 / (1.0 + 0.1 * (double)k);
    hash = train_call(hash, r, 100, 8);
    return train_call(hash, r, MOST_ROWS, 300);
}

static const run runs[] = {
    {"squared", NULL, PYNN_SQUARED_ERROR, 0, 0, 0x0dd00d9d9a3f190cu},
    {"half squared", NULL, PYNN_HALF_SQUARED_ERROR, 0, 0, 0xd27308b48966abe2u},
    {"mean squared", NULL, PYNN_MEAN_SQUARED_ERROR, 0, 0, 0x6ea784925635831du},
    {"cross-entropy, rows", NULL, PYNN_CROSS_ENTROPY, 0, 0, 0x078875901beff99bu},
    {"cross-entropy, labels", NULL, PYNN_CROSS_ENTROPY, 1, 0, 0x9e9346bd0f7a08e9u},
    {"binary", NULL, PYNN_BINARY_CROSS_ENTROPY, 0, 0, 0xa0c06da27ae37465u},
    {"relu", "d16rd16rd3", PYNN_SQUARED_ERROR, 0, 0, 0x745872001b0e2232u},
    {"leaky relu", "d17ld16ld5", PYNN_HALF_SQUARED_ERROR, 0, 0, 0x5604cf1dcfd066b4u},
    {"tanh, dropout", "d13tod9tod4m", PYNN_CROSS_ENTROPY, 1, 1, 0xbd5861fc5f89d44bu},
    {"gelu", "d20gd7gd17m", PYNN_CROSS_ENTROPY, 0, 0, 0x0564a2e113010373u},
    {"silu, dropout", "od12uod12ud2s", PYNN_BINARY_CROSS_ENTROPY, 0, 1, 0xc41e40bcc4d83d1cu},
    {"softplus", "d8pd8pd1", PYNN_MEAN_SQUARED_ERROR, 0, 0, 0x7d884d5f3e4f61a5u},
    {"sigmoid inside and last", "d9sd6sd3s", PYNN_MEAN_SQUARED_ERROR, 0, 0, 0xf1d400a58334c3ffu},
    {"softmax inside and last", "d10md8md4m", PYNN_SQUARED_ERROR, 0, 0, 0x019714fa1b62ec10u},
    {"identity, nothing else", "d4id3", PYNN_SQUARED_ERROR, 0, 0, 0xc4019ecdf6e0398fu},
    {"a wide one", "d40rd200gd10m", PYNN_CROSS_ENTROPY, 1, 0, 0x99445fb8ed46ea2au},
};

static uint64_t digest_of(size_t i)
{
    check_seed = 100 + i;
    return runs[i].net == NULL ? loss_digest(&runs[i]) : net_digest(&runs[i]);
}

static void test_all(void)
{
    for (size_t i = 0; i < COUNT(runs); i++) {
        uint64_t digest;
        check_case("%s", runs[i].name);
        digest = digest_of(i);
        CHECK(digest == runs[i].digest, "0x%016" PRIx64 "u, not 0x%016" PRIx64 "u", digest, runs[i].digest);
    }
}

int main(void)
{
    every_isa(test_all);
    return check_end("test_bits");
}
