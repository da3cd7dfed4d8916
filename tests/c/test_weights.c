/*
 * A row of weight 0 does not touch any result, whatever it holds: inputs that are NaN, infinite, or so large that the
 * net overflows, targets that are not finite, labels out of range, output weights that are none. Every call gives what
 * it gives when those rows hold zeros, bit for bit, and the caller's arrays, which stand between guard pages and can
 * only be read, stay as they are.
 */
#include "nets.h"

enum { MOST_ROWS = 600, MOST_WIDTH = 40, IN = 6, STRIDE = 8, MOST_PARAMS = 1 << 14, MOST_WORK = 1 << 23 };

static pynn_layer layers[NET_LAYERS];
static pynn_net net;
static float params[MOST_PARAMS], first_params[MOST_PARAMS];
static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char plan_storage[1 << 12];
static const pynn_plan *plan; /* of params */

/* ---- the caller's arrays ----------------------------------------------- */

enum { X, T, LABELS, WEIGHTS, OUTPUT_WEIGHTS, ARRAYS };
static guarded arrays[ARRAYS], work_pages;

static void make_arrays(void)
{
    static const size_t widths[ARRAYS] = {STRIDE, MOST_WIDTH, 1, 1, MOST_WIDTH};
    for (size_t i = 0; i < ARRAYS; i++) arrays[i] = guard_make(MOST_ROWS * widths[i] * sizeof(float));
    work_pages = guard_make(MOST_WORK);
}

static void allow(int access)
{
    for (size_t i = 0; i < ARRAYS; i++) {
        const size_t bytes = (size_t)(arrays[i].end - arrays[i].begin);
        CHECK(mprotect(arrays[i].begin, bytes, access) == 0, "array %zu", i);
    }
}

/* A workspace of exactly these bytes, full of NaN. */
static pynn_memory workspace(size_t bytes)
{
    void *start = guard_place(&work_pages, (bytes + 63) / 64 * 64, GUARD_AT_END);
    memset(start, 0xFF, bytes);
    return (pynn_memory){start, bytes};
}

/* ---- rows -------------------------------------------------------------- */

typedef struct run {
    const char *net;
    int32_t loss;
    int labelled, drops;
} run;

/* How the arrays are filled. */
typedef struct filling {
    size_t rows, stride, outputs;
    int32_t normalise;
    int output_weights;
} filling;

/* The first rows, the ends of blocks, a whole batch of the trainings below, the last ones, and one of three between. */
static int is_left_out(size_t r, size_t rows)
{
    return r < 2 || r == 255 || r == 256 || r + 2 > rows || (r >= 12 && r < 24) || r % 3 == 1;
}

enum { WAYS = 9 };

/* What a row of weight 0 holds: `way` picks the inputs, and after all WAYS of them come the next targets. */
static void spoil(float *x, float *t, float *v, int32_t *label, const filling *f, size_t way)
{
    static const float goals[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -3.0f};
    static const int32_t wrong[] = {-1, INT32_MAX, INT32_MIN, 1000000, 0};
    const size_t round = way / WAYS;
    for (size_t i = 0; i < IN; i++) {
        switch (way % WAYS) {
        case 0: x[i] = NAN; break;
        case 1: x[i] = INFINITY; break;
        case 2: x[i] = -INFINITY; break;
        case 3: x[i] = i == 2 ? NAN : 0.5f; break;
        case 4: x[i] = i == IN - 1 ? -INFINITY : -0.25f; break;
        case 5: x[i] = FLT_MAX; break;
        case 6: x[i] = i % 2 ? FLT_MAX : -FLT_MAX; break; /* infinity less infinity further on */
        case 7: x[i] = i % 2 ? -1e30f : 2e30f; break;
        default: x[i] = 0.75f; break;
        }
    }
    for (size_t j = 0; j < f->outputs; j++) t[j] = goals[(round + j % 2) % COUNT(goals)];
    for (size_t j = 0; j < f->outputs; j++) v[j] = j % 2 ? -1.0f : NAN;
    *label = wrong[round % COUNT(wrong)];
}

/* Fills the arrays with the same rows each time; those of weight 0 hold zeros, or what spoils. */
static pynn_data fill(const run *r, const filling *f, int spoilt)
{
    const size_t rows = f->rows, n = f->outputs;
    float *x, *t, *weights, *v;
    int32_t *labels;
    size_t left_out = 0;
    allow(PROT_READ | PROT_WRITE);
    x = guard_floats(&arrays[X], (rows - 1) * f->stride + IN, GUARD_AT_END);
    t = guard_floats(&arrays[T], rows * n, GUARD_AT_END);
    labels = guard_place(&arrays[LABELS], rows * sizeof *labels, GUARD_AT_END);
    weights = guard_floats(&arrays[WEIGHTS], rows, GUARD_AT_END);
    v = guard_floats(&arrays[OUTPUT_WEIGHTS], rows * n, GUARD_AT_END);
    check_seed = 31;
    for (size_t i = 0; i < rows; i++) {
        float *xi = x + i * f->stride, *ti = t + i * n, *vi = v + i * n;
        fill_any(xi, IN, -1.5f, 1.5f);
        fill_any(ti, n, 0.0f, 1.0f / (float)n);
        fill_any(vi, n, 0.5f, 2.0f);
        labels[i] = (int32_t)any_below(n);
        weights[i] = any_float(0.25f, 2.0f);
        if (!is_left_out(i, rows)) continue;
        weights[i] = left_out % 5 == 4 ? -0.0f : 0.0f;
        memset(xi, 0, IN * sizeof *xi);
        memset(ti, 0, n * sizeof *ti);
        labels[i] = 0;
        if (spoilt) spoil(xi, ti, vi, &labels[i], f, left_out);
        left_out++;
    }
    allow(PROT_READ);
    return (pynn_data){.x = x, .rows = rows, .stride = f->stride,
                       .targets = {.rows = r->labelled ? NULL : t, .labels = r->labelled ? labels : NULL,
                                   .weights = weights, .output_weights = f->output_weights ? v : NULL,
                                   .normalise = f->normalise, .divisor = f->normalise == PYNN_BY_NUMBER ? 37.5 : 0.0}};
}

/* ---- outcomes ---------------------------------------------------------- */

/* What comes out of a call; only what it writes is compared. */
typedef struct outcome {
    double loss, weight;
    float values[MOST_ROWS * MOST_WIDTH];
    float moments[2 * MOST_PARAMS];
    pynn_state state;
} outcome;

static outcome wanted, got;

static void clear(outcome *o)
{
    memset(o, 0xFF, sizeof *o);
    memset(o->moments, 0, sizeof o->moments);
    o->loss = o->weight = 0.0;
    o->state = (pynn_state){0};
}

static void check_outcome(size_t n, size_t moments)
{
    size_t finite = 0;
    while (finite < n && fabsf(wanted.values[finite]) <= FLT_MAX) finite++;
    CHECK(finite == n, "element %zu is %g", finite, (double)wanted.values[finite]);
    CHECK(fabs(wanted.loss) <= DBL_MAX, "the loss is %g", wanted.loss);
    CHECK_SAME(got.values, wanted.values, n);
    CHECK_SAME(got.moments, wanted.moments, moments);
    CHECK_SAME_DOUBLE(got.loss, wanted.loss);
    CHECK_SAME_DOUBLE(got.weight, wanted.weight);
    CHECK(got.state.steps == wanted.state.steps, "%" PRIu64 " steps", got.state.steps);
    CHECK_SAME_DOUBLE(got.state.beta1_power, wanted.state.beta1_power);
    CHECK_SAME_DOUBLE(got.state.beta2_power, wanted.state.beta2_power);
}

/* An executor whose workers take turns, the last first. */
static void backwards(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    for (size_t worker = *(const size_t *)context; worker-- > 0;) task(argument, worker);
}

static size_t workers;
static const pynn_executor several = {.workers = 3, .context = &workers, .run = backwards};

/* ---- calls ------------------------------------------------------------- */

static const pynn_mask mask = {.seed = 12, .step = 7};

static pynn_options options_of(const run *r, int spoilt)
{
    return (pynn_options){.loss = r->loss, .mask = r->drops ? &mask : NULL, .executor = spoilt ? &several : NULL};
}

static void grad_call(outcome *o, const run *r, const filling *f, int spoilt)
{
    const pynn_data data = fill(r, f, spoilt);
    const pynn_options options = options_of(r, spoilt);
    size_t bytes = 0;
    clear(o);
    CHECK_OK(pynn_loss_and_grad_bytes(&bytes, plan, &data, &options));
    CHECK_OK(pynn_loss_and_grad(&o->loss, o->values, plan, &data, &options, workspace(bytes)));
}

static void dx_call(outcome *o, const run *r, const filling *f, int spoilt)
{
    const pynn_data data = fill(r, f, spoilt);
    const pynn_options options = options_of(r, spoilt);
    size_t bytes = 0;
    clear(o);
    CHECK_OK(pynn_input_grad_bytes(&bytes, plan, &data, &options));
    CHECK_OK(pynn_input_grad(&o->loss, o->values, plan, &data, &options, workspace(bytes)));
    for (size_t i = 0; i < f->rows * IN; i++)
        if (is_left_out(i / IN, f->rows) && !CHECK(bits_of(o->values[i]) == 0, "dx %zu of a row left out", i)) break;
}

static void part_call(outcome *o, const run *r, const filling *f, int spoilt)
{
    const pynn_data data = fill(r, f, spoilt);
    const pynn_options options = options_of(r, spoilt);
    pynn_accumulation so_far = {.rows = f->rows};
    size_t bytes = 0;
    clear(o);
    CHECK_OK(pynn_accumulate_bytes(&bytes, plan, &options));
    for (size_t first = 0; first < f->rows; first += 256) {
        pynn_data part = data;
        part.rows = f->rows - first < 256 ? f->rows - first : 256;
        part.x += first * f->stride;
        if (r->labelled) part.targets.labels += first;
        else part.targets.rows += first * f->outputs;
        part.targets.weights += first;
        if (f->output_weights) part.targets.output_weights += first * f->outputs;
        part.targets.normalise = PYNN_BY_NUMBER;
        part.targets.divisor = 37.5;
        CHECK_OK(pynn_accumulate(&so_far, o->values, plan, &part, &options, workspace(bytes)));
    }
    CHECK(so_far.done == f->rows, "%zu rows", so_far.done);
    o->loss = so_far.loss;
}

static const pynn_optimizer optimizers[] = {
    {.kind = PYNN_SGD},
    {.kind = PYNN_SGD, .momentum = 0.9, .clip_norm = 0.5},
    {.kind = PYNN_ADAM},
};
static const size_t moments_of[] = {0, 1, 2};

static void train_call(outcome *o, const run *r, const filling *f, int spoilt, size_t optimizer, size_t batch,
                       int shuffled)
{
    static uint32_t order[MOST_ROWS];
    const pynn_data data = fill(r, f, spoilt);
    const pynn_batches batches = {.order = shuffled ? order : NULL, .size = batch};
    pynn_trainer trainer = {.optimizer = optimizers[optimizer], .loss = r->loss, .seed = 9, .params = params,
                            .moments = o->moments, .executor = spoilt ? &several : NULL};
    size_t bytes = 0;
    clear(o);
    memcpy(params, first_params, sizeof params);
    CHECK_OK(pynn_train_bytes(&bytes, plan, &trainer, batch));
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        CHECK_OK(pynn_permutation(order, f->rows, 3, epoch));
        CHECK_OK(pynn_train_steps(&trainer, plan, &data, &batches, workspace(bytes)));
    }
    memcpy(o->values, params, net.param_count * sizeof *params);
    memcpy(params, first_params, sizeof params);
    o->loss = trainer.totals.loss;
    o->weight = trainer.totals.weight;
    o->state = trainer.state;
}

static void check_net(const run *r, const filling *f)
{
    check_case("%s, loss %d%s, %zu rows, stride %zu, by %d%s", r->net, r->loss, r->labelled ? ", labels" : "", f->rows,
               f->stride, f->normalise, f->output_weights ? ", output weights" : "");
    grad_call(&wanted, r, f, 0);
    grad_call(&got, r, f, 1);
    check_outcome(net.param_count, 0);
    dx_call(&wanted, r, f, 0);
    dx_call(&got, r, f, 1);
    check_outcome(f->rows * IN, 0);
    part_call(&wanted, r, f, 0);
    part_call(&got, r, f, 1);
    check_outcome(net.param_count, 0);
    for (size_t k = 0; k < COUNT(optimizers); k++) {
        const size_t batch = k == 1 ? 300 : 12;
        train_call(&wanted, r, f, 0, k, batch, k != 0);
        train_call(&got, r, f, 1, k, batch, k != 0);
        check_outcome(net.param_count, moments_of[k] * net.param_count);
        if (k == 0) /* a batch whose weights are all 0 */
            CHECK((got.state.steps == 2 * ((f->rows - 1) / batch + 1)) == (f->normalise != PYNN_BY_WEIGHTS),
                  "%" PRIu64 " steps", got.state.steps);
    }
}

static const run runs[] = {
    {"d16rd16rd3", PYNN_SQUARED_ERROR, 0, 0},
    {"d5ld4", PYNN_HALF_SQUARED_ERROR, 0, 0},
    {"d9td7", PYNN_MEAN_SQUARED_ERROR, 0, 0},
    {"d8gd8gd17m", PYNN_CROSS_ENTROPY, 0, 0},
    {"d8ud8ud3m", PYNN_CROSS_ENTROPY, 1, 0},
    {"d8pd8pd3s", PYNN_BINARY_CROSS_ENTROPY, 0, 0},
    {"d8sd8sd3s", PYNN_MEAN_SQUARED_ERROR, 0, 0},
    {"d8md8md3m", PYNN_SQUARED_ERROR, 0, 0},
    {"od9rod9god3m", PYNN_CROSS_ENTROPY, 1, 1},
    {"d9tod9uod3", PYNN_HALF_SQUARED_ERROR, 0, 1},
    {"rd5gd3r", PYNN_SQUARED_ERROR, 0, 0},
    {"gd5tgd3u", PYNN_SQUARED_ERROR, 0, 0},
    {"upd5ld3t", PYNN_HALF_SQUARED_ERROR, 0, 0},
    {"msd5id3m", PYNN_SQUARED_ERROR, 0, 0},
    {"otd5uod3s", PYNN_BINARY_CROSS_ENTROPY, 0, 1},
    {"ld5lod3s", PYNN_SQUARED_ERROR, 0, 1},
    {"d200rd9gd5m", PYNN_CROSS_ENTROPY, 1, 0},
    {"d3", PYNN_SQUARED_ERROR, 0, 0},
    {"d7pd2p", PYNN_MEAN_SQUARED_ERROR, 0, 0},
};

static void test_nets(void)
{
    for (size_t i = 0; i < COUNT(runs); i++) {
        check_seed = i + 1;
        net_from(runs[i].net, IN, layers, &net, params, MOST_PARAMS);
        memcpy(first_params, params, sizeof params);
        CHECK_OK(pynn_plan_init(&plan, &(pynn_model){.net = &net, .params = params},
                                (pynn_memory){plan_storage, sizeof plan_storage}));
        for (int way = 0; way < 4; way++) {
            const filling f = {.rows = way == 0 ? MOST_ROWS : way == 1 ? 37 : 300, .stride = way == 2 ? IN : STRIDE,
                               .outputs = net.outputs, .normalise = way < 3 ? way : 0, .output_weights = way == 3};
            check_net(&runs[i], &f);
        }
    }
}

/* ---- a loss alone ------------------------------------------------------ */

static void loss_call(outcome *o, const run *r, const filling *f, int spoilt)
{
    static const float scores[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 0.5f};
    static float y[MOST_ROWS * MOST_WIDTH], losses[MOST_ROWS];
    pynn_data data = fill(r, f, spoilt);
    data.x = NULL;
    check_seed = 8;
    clear(o);
    fill_any(y, f->rows * f->outputs, -3.0f, 3.0f);
    for (size_t i = 0; i < f->rows * f->outputs; i++) {
        const size_t row = i / f->outputs;
        if (is_left_out(row, f->rows)) y[i] = spoilt ? scores[(row + i % 2) % COUNT(scores)] : 0.0f;
    }
    CHECK_OK(pynn_loss(&o->loss, losses, o->values, y, &data, f->outputs, r->loss));
    for (size_t i = 0; i < f->rows * f->outputs; i++)
        if (is_left_out(i / f->outputs, f->rows) && !CHECK(bits_of(o->values[i]) == 0, "ds %zu", i)) break;
    for (size_t row = 0; row < f->rows; row++) /* the others' own losses follow behind */
        o->values[f->rows * f->outputs + row] = is_left_out(row, f->rows) ? 0.0f : losses[row];
}

static void test_losses(void)
{
    static const size_t widths[] = {1, 3, 15, 16, 17, MOST_WIDTH - 1};
    for (int32_t loss = PYNN_SQUARED_ERROR; loss <= PYNN_BINARY_CROSS_ENTROPY; loss++) {
        for (int labelled = 0; labelled <= (loss == PYNN_CROSS_ENTROPY); labelled++) {
            for (size_t w = 0; w < COUNT(widths); w++) {
                for (int way = 0; way < 4; way++) {
                    const run r = {.loss = loss, .labelled = labelled};
                    const filling f = {.rows = way == 1 ? 40 : 300, .stride = IN, .outputs = widths[w],
                                       .normalise = way < 3 ? way : 0, .output_weights = way == 3};
                    check_case("loss %d%s, width %zu, way %d", loss, labelled ? ", labels" : "", widths[w], way);
                    loss_call(&wanted, &r, &f, 0);
                    loss_call(&got, &r, &f, 1);
                    check_outcome(f.rows * (f.outputs + 1), 0);
                }
            }
        }
    }
}

static void test_all(void)
{
    workers = several.workers;
    test_nets();
    test_losses();
}

int main(void)
{
    make_arrays();
    every_isa(test_all);
    return check_end("test_weights");
}
