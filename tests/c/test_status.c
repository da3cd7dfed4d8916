/*
 * Every status has a text of its own and is given by at least one call; a refusal names its argument, and a refused
 * call writes nothing. Out of reach are PYNN_BAD_ARITHMETIC, which takes a compiler or a machine that breaks the rules,
 * and PYNN_NO_THREADS. Calls that do not fit together are in tests/c/test_misuse.c.
 */
#include "nets.h"

#include <sys/wait.h>

static void test_texts(void)
{
    const char *unknown = pynn_status_text(-1);
    char version[40];
    for (int32_t a = PYNN_OK; a <= PYNN_NO_THREADS; a++) {
        const char *text = pynn_status_text(a);
        if (!CHECK(text != NULL && text[0] != '\0', "status %d has no text", a)) continue;
        CHECK(strcmp(text, unknown) != 0, "status %d is unknown", a);
        for (int32_t b = PYNN_OK; b < a; b++)
            CHECK(strcmp(text, pynn_status_text(b)) != 0, "statuses %d and %d: %s", a, b, text);
        CHECK(pynn_status_code(a) == a, "code %d of %d", pynn_status_code(a), a);
        CHECK(strcmp(pynn_status_argument(a), "") == 0, "status %d names %s", a, pynn_status_argument(a));
    }
    CHECK(unknown != NULL && unknown[0] != '\0', "no text for an unknown status");
    CHECK(strcmp(pynn_status_text(PYNN_NO_THREADS + 1), unknown) == 0, "%s", pynn_status_text(PYNN_NO_THREADS + 1));
    CHECK(strcmp(pynn_status_text(INT32_MAX), unknown) == 0, "%s", pynn_status_text(INT32_MAX));
    CHECK(strcmp(pynn_status_text(INT32_MIN), unknown) == 0, "%s", pynn_status_text(INT32_MIN));
    CHECK(pynn_status_argument(INT32_MAX) != NULL && pynn_status_argument(INT32_MIN) != NULL, "NULL");
    CHECK(pynn_status_argument(-1) != NULL, "NULL");
    snprintf(version, sizeof version, "%d.%d.%d", PYNN_VERSION_MAJOR, PYNN_VERSION_MINOR, PYNN_VERSION_PATCH);
    CHECK(strcmp(pynn_version(), version) == 0, "%s, not %s", pynn_version(), version);
    CHECK(pynn_version_number() == PYNN_VERSION_NUMBER, "%d", pynn_version_number());
    CHECK(pynn_contract() == PYNN_CONTRACT, "%d", pynn_contract());
}

/* A refusal keeps its text, whatever argument it names. */
static void test_arguments(void)
{
    const pynn_status status = pynn_net_init(NULL, NULL, 0);
    CHECK(status != PYNN_OK && pynn_status_code(status) == PYNN_NULL_POINTER, "status %d", (int)status);
    CHECK(strcmp(pynn_status_text(status), pynn_status_text(PYNN_NULL_POINTER)) == 0, "%s", pynn_status_text(status));
    CHECK_REFUSED(PYNN_NULL_POINTER, "net", status);
}

/* ---- good arguments ---------------------------------------------------- */

/* Each call below spoils one. Outputs hold a pattern which must still be there afterwards. */
enum { ROWS = 5, IN = 3, HIDDEN = 4, OUT = 2, ORDER = 7, BATCH = 4, STEPS = 2, PLANS = 2, MOST = 64 };

static const pynn_layer layers[] = {
    {.kind = PYNN_DENSE, .inputs = IN, .outputs = HIDDEN}, {.kind = PYNN_LEAKY_RELU, .slope = 0.1},
    {.kind = PYNN_DROPOUT, .p = 0.25}, {.kind = PYNN_DENSE, .inputs = HIDDEN, .outputs = OUT}, {.kind = PYNN_SOFTMAX},
};
static pynn_net net;
static const pynn_plan *plan;
static const pynn_mask mask = {.seed = 7};
static float x[ROWS * MOST], w[MOST], t[ROWS * OUT], weights[ROWS];
static int32_t labels[ROWS];
static uint32_t order[ORDER];
static double rates[STEPS];

/* Everything that a call may write to. */
static struct {
    float params[MOST], moments[2 * MOST], grads[MOST], y[ROWS * MOST], z[ROWS * MOST], losses[ROWS];
    float more_y[PLANS][ROWS * OUT];
    uint32_t words[MOST];
    double loss;
    size_t size;
    int32_t isa;
    pynn_net net;
    pynn_state state;
    pynn_executor executor;
    pynn_learner learner;
    const pynn_plan *plan;
} out;
static unsigned char *work;
static size_t work_bytes;

/* All arguments of the larger calls; the structs are where the pointers say, or the pointers are NULL. */
static struct {
    const pynn_plan *plan, *plans[PLANS];
    pynn_data data, many_data[PLANS];
    pynn_options options;
    pynn_mask mask;
    pynn_executor executor;
    pynn_trainer trainer;
    pynn_batches batches;
    pynn_accumulation accumulation;
    pynn_tape tape;
    pynn_dense dense;
    pynn_model model;
    pynn_learner learner;
    const pynn_data *data_at;
    const pynn_options *options_at;
    const pynn_batches *batches_at;
    pynn_trainer *trainer_at;
    pynn_memory memory;
    float *y, *grads, *dx, *ys[PLANS];
    const float *dy, *gradient;
    double *loss;
    size_t *bytes;
    size_t count, data_count;
} c, before;

static void run_in_order(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    (void)context;
    for (size_t worker = 0; worker < 2; worker++) task(argument, worker);
}

static void make_good(void)
{
    memset(&c, 0, sizeof c);
    c.plan = plan;
    c.data = (pynn_data){.x = x, .rows = ROWS, .targets.labels = labels};
    for (size_t i = 0; i < PLANS; i++) {
        c.plans[i] = plan;
        c.many_data[i] = c.data;
        c.ys[i] = out.more_y[i];
    }
    c.mask = mask;
    c.executor = (pynn_executor){.workers = 2, .run = run_in_order};
    c.trainer = (pynn_trainer){.optimizer = pynn_adam(), .seed = 1, .params = out.params, .moments = out.moments};
    c.trainer.optimizer.clip_norm = 1.0;
    c.batches = (pynn_batches){.order = order, .count = ORDER, .size = BATCH, .learning_rates = rates};
    c.accumulation.rows = ROWS;
    c.data.targets.normalise = PYNN_BY_NUMBER;
    c.data.targets.divisor = ROWS;
    c.dense = (pynn_dense){.w = w, .b = w, .inputs = IN, .outputs = OUT};
    c.model = (pynn_model){.net = &net, .params = out.params};
    c.data_at = &c.data;
    c.options_at = &c.options;
    c.batches_at = &c.batches;
    c.trainer_at = &c.trainer;
    c.memory = (pynn_memory){work, work_bytes};
    c.y = out.y;
    c.grads = out.grads;
    c.dx = out.z;
    c.dy = t;
    c.gradient = w;
    c.loss = &out.loss;
    c.bytes = &out.size;
    c.count = PLANS;
    c.data_count = PLANS;
}

static int refused(int wanted, const char *argument, pynn_status got, const char *file, int line, const char *text)
{
    check_refused(wanted, argument, got, file, line, text);
    return check_that(all_pattern(&out, sizeof out) && all_pattern(work, work_bytes) && !memcmp(&c, &before, sizeof c),
                      file, line, text, "something was written");
}
#define REFUSED(wanted, argument, call) \
    (memset(&out, GUARD_PATTERN, sizeof out), memset(work, GUARD_PATTERN, work_bytes), memcpy(&before, &c, sizeof c), \
     refused((int)(wanted), (argument), (call), __FILE__, __LINE__, #call))

/* A call that is good but for what the last arguments do. */
#define SPOILT(wanted, argument, call, ...) \
    do { \
        make_good(); \
        __VA_ARGS__; \
        REFUSED(wanted, argument, call()); \
    } while (0)

static pynn_status predict(void) { return pynn_predict(c.y, c.plan, c.data_at, c.options_at, c.memory); }
static pynn_status predict_many(void)
{
    return pynn_predict_many(c.ys, c.plans, c.count, c.data_at != NULL ? c.many_data : NULL, c.data_count, c.options_at,
                             c.memory);
}
static pynn_status forward(void) { return pynn_forward(c.y, &c.tape, c.plan, c.data_at, c.options_at, c.memory); }
static pynn_status loss_and_grad(void)
{
    return pynn_loss_and_grad(c.loss, c.grads, c.plan, c.data_at, c.options_at, c.memory);
}
static pynn_status input_grad(void)
{
    return pynn_input_grad(c.loss, c.dx, c.plan, c.data_at, c.options_at, c.memory);
}
static pynn_status vjp(void) { return pynn_vjp(c.dx, c.dy, c.plan, c.data_at, c.options_at, c.memory); }
static pynn_status accumulate(void)
{
    return pynn_accumulate(&c.accumulation, c.grads, c.plan, c.data_at, c.options_at, c.memory);
}
static pynn_status train(void) { return pynn_train_steps(c.trainer_at, c.plan, c.data_at, c.batches_at, c.memory); }
static pynn_status update(void) { return pynn_update(c.trainer_at, c.plan, c.gradient, rates[0]); }
static pynn_status plan_init(void) { return pynn_plan_init(&out.plan, &c.model, c.memory); }
static pynn_status dense_forward(void) { return pynn_dense_forward(c.y, &c.dense, c.data_at); }
static pynn_status dense_backward(void)
{
    return pynn_dense_backward(c.y, c.dx, NULL, c.dy, &c.dense, c.data_at, c.memory);
}
static pynn_status loss_alone(void)
{
    return pynn_loss(c.loss, out.losses, c.y, x, c.data_at, OUT, PYNN_CROSS_ENTROPY);
}
static pynn_status rows_loss(void)
{
    return pynn_loss(c.loss, out.losses, c.y, x, c.data_at, OUT, PYNN_SQUARED_ERROR);
}
static pynn_status predict_bytes(void) { return pynn_predict_bytes(c.bytes, c.plan, ROWS, c.options_at); }
static pynn_status predict_many_bytes(void)
{
    return pynn_predict_many_bytes(c.bytes, c.plans, c.count, c.data_at != NULL ? c.many_data : NULL, c.data_count,
                                   c.options_at);
}
static pynn_status forward_bytes(void) { return pynn_forward_bytes(c.bytes, c.plan, ROWS, c.options_at); }
static pynn_status loss_and_grad_bytes(void)
{
    return pynn_loss_and_grad_bytes(c.bytes, c.plan, c.data_at, c.options_at);
}
static pynn_status input_grad_bytes(void) { return pynn_input_grad_bytes(c.bytes, c.plan, c.data_at, c.options_at); }
static pynn_status accumulate_bytes(void) { return pynn_accumulate_bytes(c.bytes, c.plan, c.options_at); }
static pynn_status train_bytes(void) { return pynn_train_bytes(c.bytes, c.plan, c.trainer_at, BATCH); }

/* What a call takes: of the options, and beside them. */
enum {
    END = 1, LOSS = 2, STRIDE = 4, MASK = 8, OPTIONS = 16, DATA = 32, TARGETS = 64, MEMORY = 128, BYTES = 256,
    MANY = 512, PLAN = 1024, TRAINER = 2048, DENSE = 4096
};
static const struct taker {
    const char *name;
    pynn_status (*call)(void);
    int takes;
} takers[] = {
    {"predict", predict, PLAN | END | STRIDE | OPTIONS | DATA | MEMORY},
    {"predict_many", predict_many, PLAN | END | STRIDE | OPTIONS | DATA | MEMORY | MANY},
    {"forward", forward, PLAN | END | MASK | OPTIONS | DATA | MEMORY},
    {"loss_and_grad", loss_and_grad, PLAN | LOSS | MASK | OPTIONS | DATA | TARGETS | MEMORY},
    {"input_grad", input_grad, PLAN | LOSS | MASK | OPTIONS | DATA | TARGETS | MEMORY},
    {"vjp", vjp, PLAN | END | MASK | OPTIONS | DATA | MEMORY},
    {"accumulate", accumulate, PLAN | LOSS | MASK | OPTIONS | DATA | TARGETS | MEMORY},
    {"train_steps", train, PLAN | DATA | TARGETS | MEMORY | TRAINER},
    {"update", update, PLAN | TRAINER},
    {"plan_init", plan_init, MEMORY},
    {"dense_forward", dense_forward, DENSE | DATA},
    {"dense_backward", dense_backward, DENSE | DATA | MEMORY},
    {"loss", loss_alone, TARGETS},
    {"predict_bytes", predict_bytes, PLAN | END | STRIDE | OPTIONS | BYTES},
    {"predict_many_bytes", predict_many_bytes, PLAN | END | STRIDE | OPTIONS | BYTES | MANY},
    {"forward_bytes", forward_bytes, PLAN | END | MASK | OPTIONS | BYTES},
    {"loss_and_grad_bytes", loss_and_grad_bytes, PLAN | LOSS | MASK | OPTIONS | BYTES},
    {"input_grad_bytes", input_grad_bytes, PLAN | END | LOSS | MASK | OPTIONS | BYTES},
    {"accumulate_bytes", accumulate_bytes, PLAN | LOSS | MASK | OPTIONS | BYTES},
    {"train_bytes", train_bytes, PLAN | BYTES},
};

static void prepare(void)
{
    fill_any(x, COUNT(x), -1.0f, 1.0f);
    fill_any(w, COUNT(w), -1.0f, 1.0f);
    for (size_t r = 0; r < ROWS; r++) {
        labels[r] = (int32_t)(r % OUT);
        t[r * OUT] = 0.25f;
        t[r * OUT + 1] = 0.75f;
        weights[r] = 1.0f;
    }
    for (size_t k = 0; k < ORDER; k++) order[k] = (uint32_t)(k % ROWS);
    for (size_t k = 0; k < STEPS; k++) rates[k] = 0.1;
    CHECK_OK(pynn_net_init(&net, layers, COUNT(layers)));
    plan = plan_from(&net, out.params);
    work_bytes = 1 << 17;
    work = aligned_bytes(work_bytes);
    for (size_t i = 0; i < COUNT(takers); i++) { /* else refusals prove nothing */
        memset(&out, 0, sizeof out);
        make_good();
        check_case("%s, all good", takers[i].name);
        CHECK_OK(takers[i].call());
    }
    check_case(" ");
}

/* ---- nets -------------------------------------------------------------- */

static pynn_status init_one(pynn_layer layer)
{
    const pynn_layer pair[] = {{.kind = PYNN_DENSE, .inputs = IN, .outputs = OUT}, layer};
    return pynn_net_init(&out.net, pair, 2);
}

#define ONE(wanted, argument, ...) REFUSED(wanted, argument, init_one((pynn_layer){__VA_ARGS__}))

static void test_net_refusals(void)
{
    static const pynn_layer gap[] = {
        {.kind = PYNN_DENSE, .inputs = 3, .outputs = 4}, {.kind = PYNN_RELU}, {.inputs = 5, .outputs = 2}};
    static const pynn_layer no_dense[] = {{.kind = PYNN_RELU}};
    static const char unused[] = "layer.epsilon, deviation, rate_factor, flags, bins, reserved";
    make_good();
    REFUSED(PYNN_NULL_POINTER, "net", pynn_net_init(NULL, layers, COUNT(layers)));
    REFUSED(PYNN_NULL_POINTER, "layers", pynn_net_init(&out.net, NULL, 1));
    REFUSED(PYNN_BAD_SIZE, "layers", pynn_net_init(&out.net, layers, 0));
    REFUSED(PYNN_TOO_LARGE, "layers", pynn_net_init(&out.net, layers, SIZE_MAX / 64));
    REFUSED(PYNN_BAD_SIZE, "layer.inputs", pynn_net_init(&out.net, gap, COUNT(gap)));
    REFUSED(PYNN_BAD_SIZE, "layers", pynn_net_init(&out.net, no_dense, 1));
    ONE(PYNN_BAD_KIND, "layer.kind", .kind = PYNN_DROPOUT + 1);
    ONE(PYNN_BAD_KIND, "layer.kind", .kind = -1);
    ONE(PYNN_BAD_KIND, "layer.init", .init = PYNN_INIT_ZEROS + 1, .inputs = OUT, .outputs = 1);
    ONE(PYNN_BAD_KIND, "layer.init", .init = -1, .inputs = OUT, .outputs = 1);
    ONE(PYNN_BAD_SIZE, "layer.outputs", .inputs = OUT);
    ONE(PYNN_BAD_SIZE, "layer.inputs", .outputs = OUT);
    ONE(PYNN_BAD_SIZE, "layer.inputs", .kind = PYNN_DENSE); /* {0} */
    ONE(PYNN_BAD_SIZE, "layer.inputs", .kind = PYNN_RELU, .inputs = OUT, .outputs = OUT);
    ONE(PYNN_BAD_SIZE, "layer.outputs", .kind = PYNN_RELU, .outputs = OUT);
    ONE(PYNN_BAD_VALUE, "layer.slope", .kind = PYNN_LEAKY_RELU, .slope = -0.1);
    ONE(PYNN_BAD_VALUE, "layer.slope", .kind = PYNN_LEAKY_RELU, .slope = (double)INFINITY);
    ONE(PYNN_BAD_VALUE, "layer.slope", .kind = PYNN_LEAKY_RELU, .slope = (double)NAN);
    ONE(PYNN_BAD_VALUE, "layer.p", .kind = PYNN_DROPOUT, .p = 1.0);
    ONE(PYNN_BAD_VALUE, "layer.p", .kind = PYNN_DROPOUT, .p = -0.1);
    ONE(PYNN_BAD_VALUE, "layer.p", .kind = PYNN_DROPOUT, .p = (double)NAN);
    for (int32_t kind = PYNN_DENSE; kind <= PYNN_DROPOUT; kind++) { /* fields that a kind does not have */
        const size_t inputs = kind == PYNN_DENSE ? OUT : 0, outputs = kind == PYNN_DENSE ? 1 : 0;
        const pynn_layer good = {.kind = kind, .inputs = inputs, .outputs = outputs};
        pynn_layer bad = good;
        check_case("layer kind %d", kind);
        make_good();
        CHECK_OK(init_one(good));
        if (kind != PYNN_DENSE) ONE(PYNN_BAD_VALUE, "layer.init", .kind = kind, .init = PYNN_INIT_ZEROS);
        if (kind != PYNN_LEAKY_RELU) {
            bad.slope = 0.5;
            REFUSED(PYNN_BAD_VALUE, "layer.slope", init_one(bad));
        }
        bad = good;
        if (kind != PYNN_DROPOUT) {
            bad.p = 0.5;
            REFUSED(PYNN_BAD_VALUE, "layer.p", init_one(bad));
        }
        for (int field = 0; field < 7; field++) {
            bad = good;
            if (field == 0) bad.epsilon = 1e-5;
            if (field == 1) bad.deviation = (double)NAN;
            if (field == 2) bad.rate_factor = 1.0;
            if (field == 3) bad.flags = 1;
            if (field == 4) bad.bins = 8;
            if (field == 5) bad.reserved[0] = 1;
            if (field == 6) bad.reserved[1] = UINT64_MAX;
            REFUSED(PYNN_BAD_VALUE, unused, init_one(bad));
        }
    }
    check_case(" ");
    REFUSED(PYNN_NULL_POINTER, "output", pynn_net_offset(NULL, &net, 0));
    REFUSED(PYNN_NULL_POINTER, "net", pynn_net_offset(&out.size, NULL, 0));
    REFUSED(PYNN_BAD_KIND, "layer", pynn_net_offset(&out.size, &net, 1));
    REFUSED(PYNN_BAD_INDEX, "layer", pynn_net_offset(&out.size, &net, COUNT(layers)));
    REFUSED(PYNN_BAD_NET, "net", pynn_net_offset(&out.size, &(pynn_net){.layers = layers, .layer_count = 1}, 0));
    REFUSED(PYNN_NULL_POINTER, "output", pynn_plan_bytes(NULL, &net));
    REFUSED(PYNN_NULL_POINTER, "net", pynn_plan_bytes(&out.size, NULL));
    REFUSED(PYNN_NULL_POINTER, "plan", pynn_plan_init(NULL, &c.model, c.memory));
    REFUSED(PYNN_NULL_POINTER, "model", pynn_plan_init(&out.plan, NULL, c.memory));
    SPOILT(PYNN_NULL_POINTER, "net", plan_init, c.model.net = NULL);
    SPOILT(PYNN_NULL_POINTER, "params", plan_init, c.model.params = NULL);
    SPOILT(PYNN_BAD_VALUE, "model.reserved", plan_init, c.model.reserved[0] = 1);
    SPOILT(PYNN_BAD_VALUE, "model.reserved", plan_init, c.model.reserved[1] = 1);
}

static void test_random_refusals(void)
{
    const pynn_layer dense = {.kind = PYNN_DENSE, .inputs = 2, .outputs = 2};
    pynn_layer bad = dense;
    make_good();
    REFUSED(PYNN_NULL_POINTER, "output", pynn_permutation(NULL, 3, 0, 0));
#if SIZE_MAX > UINT32_MAX
    REFUSED(PYNN_TOO_LARGE, "size", pynn_permutation(out.words, (size_t)UINT32_MAX + 1, 0, 0));
#endif
    REFUSED(PYNN_NULL_POINTER, "output", pynn_random_words(NULL, 3, 0, 0, 0, 0));
    REFUSED(PYNN_NULL_POINTER, "params", pynn_params_init(NULL, &net, 0));
    REFUSED(PYNN_NULL_POINTER, "net", pynn_params_init(out.params, NULL, 0));
    REFUSED(PYNN_BAD_NET, "net", pynn_params_init(out.params, &(pynn_net){.layers = layers, .layer_count = 1}, 0));
    REFUSED(PYNN_NULL_POINTER, "output", pynn_dense_init(NULL, out.y, &dense, 0, 0));
    REFUSED(PYNN_NULL_POINTER, "output", pynn_dense_init(out.y, NULL, &dense, 0, 0));
    REFUSED(PYNN_NULL_POINTER, "layer", pynn_dense_init(out.y, out.z, NULL, 0, 0));
    bad.init = PYNN_INIT_ZEROS + 1;
    REFUSED(PYNN_BAD_KIND, "layer.init", pynn_dense_init(out.y, out.z, &bad, 0, 0));
    bad = (pynn_layer){.kind = PYNN_RELU};
    REFUSED(PYNN_BAD_KIND, "layer.kind", pynn_dense_init(out.y, out.z, &bad, 0, 0));
    bad = (pynn_layer){.outputs = 2};
    REFUSED(PYNN_BAD_SIZE, "layer.inputs", pynn_dense_init(out.y, out.z, &bad, 0, 0));
    bad = (pynn_layer){.inputs = 2};
    REFUSED(PYNN_BAD_SIZE, "layer.outputs", pynn_dense_init(out.y, out.z, &bad, 0, 0));
    bad = (pynn_layer){.inputs = SIZE_MAX, .outputs = 2};
    REFUSED(PYNN_TOO_LARGE, "layer", pynn_dense_init(out.y, out.z, &bad, 0, 0));
}

/* ---- layers ------------------------------------------------------------ */

static void test_layer_refusals(void)
{
    static const pynn_layer relu = {.kind = PYNN_RELU}, gelu = {.kind = PYNN_GELU}, softmax = {.kind = PYNN_SOFTMAX};
    static const pynn_layer dense = {.inputs = 1, .outputs = 1}, unknown = {.kind = PYNN_DROPOUT + 1};
    static const pynn_layer minus = {.kind = PYNN_LEAKY_RELU, .slope = -1.0}, flags = {.kind = PYNN_RELU, .flags = 1};
    const pynn_layer not_a_number = {.kind = PYNN_LEAKY_RELU, .slope = (double)NAN};
    const pynn_layer infinite = {.kind = PYNN_LEAKY_RELU, .slope = (double)INFINITY};
    const pynn_mask bad_mask = {.reserved = {1}};
    float *y = out.y;
    SPOILT(PYNN_NULL_POINTER, "output", dense_forward, c.y = NULL);
    SPOILT(PYNN_NULL_POINTER, "dense", dense_forward, c.dense.w = NULL);
    SPOILT(PYNN_NULL_POINTER, "dense", dense_forward, c.dense.b = NULL);
    SPOILT(PYNN_BAD_SIZE, "dense", dense_forward, c.dense.inputs = 0);
    SPOILT(PYNN_BAD_SIZE, "dense", dense_forward, c.dense.outputs = 0);
    SPOILT(PYNN_TOO_LARGE, "dense", dense_forward, c.dense.inputs = SIZE_MAX / 2);
    SPOILT(PYNN_BAD_VALUE, "dense", dense_forward, c.dense.reserved[0] = 1);
    REFUSED(PYNN_NULL_POINTER, "dense", pynn_dense_forward(y, NULL, &c.data));

    SPOILT(PYNN_NULL_POINTER, "input", dense_backward, c.dy = NULL);
    SPOILT(PYNN_NULL_POINTER, "dense", dense_backward, c.dense.w = NULL);
    SPOILT(PYNN_BAD_SIZE, "dense", dense_backward, c.dense.inputs = 0);
    SPOILT(PYNN_BAD_VALUE, "dense", dense_backward, c.dense.reserved[0] = 1);
    make_good();
    REFUSED(PYNN_NULL_POINTER, "dense", pynn_dense_backward(y, NULL, NULL, x, NULL, &c.data, c.memory));
    REFUSED(PYNN_NULL_POINTER, "output", pynn_dense_backward_bytes(NULL, &c.dense));
    REFUSED(PYNN_NULL_POINTER, "dense", pynn_dense_backward_bytes(&out.size, NULL));
    REFUSED(PYNN_BAD_SIZE, "dense", pynn_dense_backward_bytes(&out.size, &(pynn_dense){0}));
    REFUSED(PYNN_TOO_LARGE, "dense",
            pynn_dense_backward_bytes(&out.size, &(pynn_dense){.inputs = SIZE_MAX, .outputs = 2}));

    REFUSED(PYNN_NULL_POINTER, "output", pynn_activation_forward(NULL, x, 3, &relu));
    REFUSED(PYNN_NULL_POINTER, "input", pynn_activation_forward(y, NULL, 3, &relu));
    REFUSED(PYNN_NULL_POINTER, "layer", pynn_activation_forward(y, x, 3, NULL));
    REFUSED(PYNN_BAD_KIND, "layer.kind", pynn_activation_forward(y, x, 3, &dense));
    REFUSED(PYNN_BAD_KIND, "layer.kind", pynn_activation_forward(y, x, 3, &softmax));
    REFUSED(PYNN_BAD_KIND, "layer.kind", pynn_activation_forward(y, x, 3, &unknown));
    REFUSED(PYNN_BAD_VALUE, "layer.slope", pynn_activation_forward(y, x, 3, &minus));
    REFUSED(PYNN_BAD_VALUE, "layer.slope", pynn_activation_forward(y, x, 3, &not_a_number));
    REFUSED(PYNN_BAD_VALUE, "layer.epsilon, deviation, rate_factor, flags, bins, reserved",
            pynn_activation_forward(y, x, 3, &flags));
    REFUSED(PYNN_TOO_LARGE, "size", pynn_activation_forward(y, x, SIZE_MAX / 2, &relu));
    REFUSED(PYNN_NULL_POINTER, "output", pynn_activation_backward(NULL, x, x, x, 3, &relu));
    REFUSED(PYNN_NULL_POINTER, "input", pynn_activation_backward(y, NULL, x, x, 3, &relu));
    REFUSED(PYNN_NULL_POINTER, "input", pynn_activation_backward(y, x, x, NULL, 3, &relu));
    REFUSED(PYNN_NULL_POINTER, "input", pynn_activation_backward(y, x, NULL, x, 3, &gelu));
    REFUSED(PYNN_NULL_POINTER, "layer", pynn_activation_backward(y, x, x, x, 3, NULL));
    REFUSED(PYNN_BAD_KIND, "layer.kind", pynn_activation_backward(y, x, x, x, 3, &softmax));
    REFUSED(PYNN_BAD_VALUE, "layer.slope", pynn_activation_backward(y, x, x, x, 3, &infinite));

    REFUSED(PYNN_NULL_POINTER, "output", pynn_softmax_forward(NULL, x, ROWS, OUT));
    REFUSED(PYNN_NULL_POINTER, "input", pynn_softmax_forward(y, NULL, ROWS, OUT));
    REFUSED(PYNN_BAD_SIZE, "size", pynn_softmax_forward(y, x, ROWS, 0));
    REFUSED(PYNN_TOO_LARGE, "size", pynn_softmax_forward(y, x, SIZE_MAX, OUT));
    REFUSED(PYNN_NULL_POINTER, "output", pynn_softmax_backward(NULL, x, x, ROWS, OUT));
    REFUSED(PYNN_NULL_POINTER, "input", pynn_softmax_backward(y, NULL, x, ROWS, OUT));
    REFUSED(PYNN_NULL_POINTER, "input", pynn_softmax_backward(y, x, NULL, ROWS, OUT));
    REFUSED(PYNN_BAD_SIZE, "size", pynn_softmax_backward(y, x, x, ROWS, 0));

    REFUSED(PYNN_NULL_POINTER, "output", pynn_dropout_forward(NULL, x, &mask, ROWS, OUT, 0.5));
    REFUSED(PYNN_NULL_POINTER, "input", pynn_dropout_forward(y, NULL, &mask, ROWS, OUT, 0.5));
    REFUSED(PYNN_NULL_POINTER, "mask", pynn_dropout_forward(y, x, NULL, ROWS, OUT, 0.5));
    REFUSED(PYNN_BAD_VALUE, "p", pynn_dropout_forward(y, x, &mask, ROWS, OUT, 1.0));
    REFUSED(PYNN_BAD_VALUE, "p", pynn_dropout_forward(y, x, &mask, ROWS, OUT, -0.5));
    REFUSED(PYNN_BAD_VALUE, "p", pynn_dropout_forward(y, x, &mask, ROWS, OUT, (double)NAN));
    REFUSED(PYNN_BAD_VALUE, "mask", pynn_dropout_forward(y, x, &bad_mask, ROWS, OUT, 0.5));
    REFUSED(PYNN_TOO_LARGE, "size", pynn_dropout_forward(y, x, &mask, SIZE_MAX, OUT, 0.5));
    REFUSED(PYNN_NULL_POINTER, "output", pynn_dropout_backward(NULL, x, &mask, ROWS, OUT, 0.5));
    REFUSED(PYNN_NULL_POINTER, "input", pynn_dropout_backward(y, NULL, &mask, ROWS, OUT, 0.5));
    REFUSED(PYNN_NULL_POINTER, "mask", pynn_dropout_backward(y, x, NULL, ROWS, OUT, 0.5));
    REFUSED(PYNN_BAD_VALUE, "p", pynn_dropout_backward(y, x, &mask, ROWS, OUT, 2.0));
    REFUSED(PYNN_BAD_VALUE, "mask", pynn_dropout_backward(y, x, &bad_mask, ROWS, OUT, 0.5));
}

/* ---- data, options, memory: every call that takes them ----------------- */

static void test_data_refusals(const struct taker *taker)
{
    SPOILT(PYNN_NULL_POINTER, "data", taker->call, c.data_at = NULL);
#define DATA_SPOILT(wanted, argument, field, value) \
    SPOILT(wanted, argument, taker->call, c.data.field = (value); c.many_data[PLANS - 1].field = (value))
    DATA_SPOILT(PYNN_NULL_POINTER, "data.x", x, NULL);
    DATA_SPOILT(PYNN_BAD_SIZE, "data.stride", stride, IN - 1);
    if (taker->call == accumulate) DATA_SPOILT(PYNN_BAD_INDEX, "data.rows", rows, SIZE_MAX);
    else DATA_SPOILT(PYNN_TOO_LARGE, taker->takes & DENSE ? "dense" : "data.rows", rows, SIZE_MAX);
    DATA_SPOILT(PYNN_TOO_LARGE, "data.rows", stride, SIZE_MAX / 2);
    DATA_SPOILT(PYNN_BAD_KIND, "data.type", type, 1);
    DATA_SPOILT(PYNN_BAD_KIND, "data.type", type, -1);
    DATA_SPOILT(PYNN_BAD_KIND, "data.type", reserved_type, 1);
    DATA_SPOILT(PYNN_BAD_VALUE, "data.reserved", reserved[0], 1);
    DATA_SPOILT(PYNN_BAD_VALUE, "data.reserved", reserved[1], 1);
}

static void test_option_refusals(const struct taker *taker)
{
    const int takes = taker->takes;
    if (takes & END) {
        SPOILT(PYNN_BAD_KIND, "options.end", taker->call, c.options.end = PYNN_SCORES + 1);
        SPOILT(PYNN_BAD_KIND, "options.end", taker->call, c.options.end = -1);
    } else {
        SPOILT(PYNN_BAD_KIND, "options.end", taker->call, c.options.end = PYNN_SCORES);
    }
    if (takes & LOSS && takes & BYTES) {
        make_good(); /* they depend on none */
    } else if (takes & LOSS) {
        SPOILT(PYNN_BAD_KIND, "options.loss", taker->call, c.options.loss = PYNN_BINARY_CROSS_ENTROPY + 1);
        SPOILT(PYNN_BAD_KIND, "options.loss", taker->call, c.options.loss = -1);
        SPOILT(PYNN_BAD_NET, "options.loss", taker->call, c.options.loss = PYNN_BINARY_CROSS_ENTROPY);
    } else {
        SPOILT(PYNN_BAD_KIND, "options.loss", taker->call, c.options.loss = PYNN_SQUARED_ERROR);
    }
    if (takes & STRIDE) {
        if (takes & DATA) SPOILT(PYNN_BAD_SIZE, "options.y_stride", taker->call, c.options.y_stride = OUT - 1);
        if (takes & DATA) SPOILT(PYNN_TOO_LARGE, "options.y_stride", taker->call, c.options.y_stride = SIZE_MAX / 2);
    } else {
        SPOILT(PYNN_BAD_VALUE, "options.y_stride", taker->call, c.options.y_stride = OUT);
    }
    if (takes & MASK) {
        SPOILT(PYNN_BAD_VALUE, "options.mask", taker->call, c.mask.layer = 1; c.options.mask = &c.mask);
        SPOILT(PYNN_BAD_VALUE, "mask", taker->call, c.mask.reserved[0] = 1; c.options.mask = &c.mask);
    } else {
        SPOILT(PYNN_BAD_VALUE, "options.mask", taker->call, c.options.mask = &c.mask);
    }
    SPOILT(PYNN_BAD_VALUE, "options.reserved", taker->call, c.options.reserved[0] = 1);
    SPOILT(PYNN_BAD_VALUE, "options.reserved", taker->call, c.options.reserved[1] = 1);
    SPOILT(PYNN_NULL_POINTER, "executor", taker->call, c.executor.run = NULL; c.options.executor = &c.executor);
    SPOILT(PYNN_BAD_SIZE, "executor", taker->call, c.executor.workers = 0; c.options.executor = &c.executor);
    SPOILT(PYNN_BAD_VALUE, "executor", taker->call, c.executor.reserved[0] = 1; c.options.executor = &c.executor);
    SPOILT(PYNN_BAD_VALUE, "executor", taker->call, c.executor.reserved[1] = 1; c.options.executor = &c.executor);
    if (takes & BYTES)
        SPOILT(PYNN_TOO_LARGE, "size", taker->call, c.executor.workers = SIZE_MAX; c.options.executor = &c.executor);
}

static void test_target_refusals(const struct taker *taker)
{
    static const float minus[] = {1, 1, 1, 1, -1}, infinite[] = {INFINITY, 1, 1, 1, 1};
    static const float nan_weights[] = {1, 1, NAN, 1, 1};
    static const float bad_pairs[][2 * ROWS] = {{1, 1, 1, -1}, {[2 * ROWS - 1] = INFINITY}, {[3] = NAN}};
    static const int32_t low[] = {0, 1, -1, 0, 1}, high[] = {0, 1, 0, 1, OUT}, far[] = {INT32_MAX, 0, 0, 0, 0},
                         farther[] = {INT32_MIN, 0, 0, 0, 0};
    SPOILT(PYNN_NULL_POINTER, "targets", taker->call, c.data.targets.labels = NULL);
    SPOILT(PYNN_BAD_KIND, "targets.labels", taker->call, c.data.targets.rows = t); /* both */
    SPOILT(PYNN_BAD_LABEL, "targets.labels", taker->call, c.data.targets.labels = low);
    SPOILT(PYNN_BAD_LABEL, "targets.labels", taker->call, c.data.targets.labels = high);
    SPOILT(PYNN_BAD_LABEL, "targets.labels", taker->call, c.data.targets.labels = far);
    SPOILT(PYNN_BAD_LABEL, "targets.labels", taker->call, c.data.targets.labels = farther);
    SPOILT(PYNN_BAD_SIZE, "targets.stride", taker->call, c.data.targets.labels = NULL; c.data.targets.rows = t;
           c.data.targets.stride = OUT - 1);
    SPOILT(PYNN_TOO_LARGE, "targets.stride", taker->call, c.data.targets.labels = NULL; c.data.targets.rows = t;
           c.data.targets.stride = SIZE_MAX / 2);
    SPOILT(PYNN_BAD_WEIGHT, "targets.weights", taker->call, c.data.targets.weights = infinite);
    SPOILT(PYNN_BAD_WEIGHT, "targets.weights", taker->call, c.data.targets.weights = nan_weights);
    if (taker->call != accumulate)
        SPOILT(PYNN_BAD_WEIGHT, "targets.weights", taker->call, c.data.targets.weights = minus;
               c.data.targets.normalise = PYNN_BY_WEIGHTS; c.data.targets.divisor = 0.0);
    for (size_t i = 0; i < COUNT(bad_pairs); i++)
        SPOILT(PYNN_BAD_WEIGHT, "targets.output_weights", taker->call, c.data.targets.output_weights = bad_pairs[i]);
    SPOILT(PYNN_BAD_WEIGHT, "targets.output_weights", taker->call, c.data.targets.output_weights = minus + 3;
           c.data.targets.same_output_weights = 1);
    SPOILT(PYNN_BAD_SIZE, "targets.output_weights_stride", taker->call, c.data.targets.output_weights = w;
           c.data.targets.output_weights_stride = OUT - 1);
    SPOILT(PYNN_TOO_LARGE, "targets.output_weights_stride", taker->call, c.data.targets.output_weights = w;
           c.data.targets.output_weights_stride = SIZE_MAX / 2);
    SPOILT(PYNN_BAD_VALUE, "targets.same_output_weights", taker->call, c.data.targets.same_output_weights = 2);
    SPOILT(PYNN_BAD_VALUE, "targets.same_output_weights", taker->call, c.data.targets.same_output_weights = -1);
    SPOILT(PYNN_BAD_KIND, "targets.normalise", taker->call, c.data.targets.normalise = PYNN_BY_NUMBER + 1);
    SPOILT(PYNN_BAD_KIND, "targets.normalise", taker->call, c.data.targets.normalise = -1);
    SPOILT(PYNN_BAD_VALUE, "targets.divisor", taker->call, c.data.targets.divisor = 0.0);
    SPOILT(PYNN_BAD_VALUE, "targets.divisor", taker->call, c.data.targets.divisor = -1.0);
    SPOILT(PYNN_BAD_VALUE, "targets.divisor", taker->call, c.data.targets.divisor = (double)INFINITY);
    SPOILT(PYNN_BAD_VALUE, "targets.divisor", taker->call, c.data.targets.divisor = (double)NAN);
    if (taker->call == accumulate) { /* needs a number, the same for all pieces */
        SPOILT(PYNN_BAD_KIND, "targets.normalise", taker->call, c.data.targets.normalise = PYNN_BY_ROWS;
               c.data.targets.divisor = 0.0);
    } else {
        SPOILT(PYNN_BAD_VALUE, "targets.divisor", taker->call, c.data.targets.normalise = PYNN_BY_ROWS);
        SPOILT(PYNN_BAD_VALUE, "targets.divisor", taker->call, c.data.targets.normalise = PYNN_BY_WEIGHTS);
    }
    SPOILT(PYNN_BAD_VALUE, "targets.reserved", taker->call, c.data.targets.reserved[0] = 1);
    SPOILT(PYNN_BAD_VALUE, "targets.reserved", taker->call, c.data.targets.reserved[1] = 1);
}

static void test_memory_refusals(const struct taker *taker)
{
    SPOILT(PYNN_NULL_POINTER, "memory", taker->call, c.memory.start = NULL);
    SPOILT(PYNN_BAD_MEMORY, "memory", taker->call, c.memory.bytes = 0);
    for (size_t off = 4; off < 64; off += off)
        SPOILT(PYNN_BAD_MEMORY, "memory", taker->call, c.memory.start = work + off; c.memory.bytes -= off);
}

static void test_taker(const struct taker *taker)
{
    check_case("%s", taker->name);
    if (taker->takes & PLAN) {
        SPOILT(PYNN_NULL_POINTER, "plan", taker->call, c.plan = NULL; c.plans[PLANS - 1] = NULL);
        SPOILT(PYNN_BAD_NET, "plan", taker->call, c.plan = (const void *)x; c.plans[PLANS - 1] = (const void *)x);
    }
    if (taker->takes & BYTES) SPOILT(PYNN_NULL_POINTER, "output", taker->call, c.bytes = NULL);
    if (taker->takes & DATA) test_data_refusals(taker);
    if (taker->takes & OPTIONS) test_option_refusals(taker);
    if (taker->takes & TARGETS) test_target_refusals(taker);
    if (taker->takes & MEMORY) test_memory_refusals(taker);
    if (taker->takes & MANY) {
        SPOILT(PYNN_BAD_SIZE, "data_count", taker->call, c.data_count = PLANS + 1);
        SPOILT(PYNN_BAD_SIZE, "data_count", taker->call, c.data_count = 0);
    }
    check_case(" ");
}

/* ---- what only one call takes ------------------------------------------ */

static void test_pass_refusals(void)
{
    const pynn_memory none = {NULL, 0};
    float *ys[PLANS] = {out.y, NULL};
    SPOILT(PYNN_NULL_POINTER, "output", predict, c.y = NULL);
    SPOILT(PYNN_NULL_POINTER, "output", predict_many, c.ys[PLANS - 1] = NULL);
    REFUSED(PYNN_NULL_POINTER, "output", pynn_predict_many(NULL, c.plans, PLANS, c.many_data, PLANS, NULL, c.memory));
    REFUSED(PYNN_NULL_POINTER, "output", pynn_predict_many(ys, c.plans, PLANS, c.many_data, 1, NULL, c.memory));
    REFUSED(PYNN_NULL_POINTER, "plan", pynn_predict_many(c.ys, NULL, PLANS, c.many_data, PLANS, NULL, c.memory));
    REFUSED(PYNN_NULL_POINTER, "plan", pynn_predict_many_bytes(&out.size, NULL, PLANS, c.many_data, PLANS, NULL));
    SPOILT(PYNN_NULL_POINTER, "output", forward, c.y = NULL);
    SPOILT(PYNN_BAD_SIZE, "data.rows", forward, c.data.rows = 0);
    make_good();
    REFUSED(PYNN_NULL_POINTER, "tape", pynn_forward(out.y, NULL, plan, &c.data, NULL, c.memory));
    REFUSED(PYNN_NULL_POINTER, "tape", pynn_backward(out.grads, out.z, t, NULL, NULL));
    REFUSED(PYNN_BAD_ORDER, "tape", pynn_backward(out.grads, out.z, t, &c.tape, NULL)); /* {0} */
    REFUSED(PYNN_BAD_SIZE, "size", pynn_forward_bytes(&out.size, plan, 0, NULL));
    REFUSED(PYNN_TOO_LARGE, "size", pynn_forward_bytes(&out.size, plan, SIZE_MAX, NULL));
    SPOILT(PYNN_NULL_POINTER, "output", loss_and_grad, c.loss = NULL);
    SPOILT(PYNN_NULL_POINTER, "grads", loss_and_grad, c.grads = NULL);
    SPOILT(PYNN_BAD_SIZE, "data.rows", loss_and_grad, c.data.rows = 0);
    SPOILT(PYNN_NULL_POINTER, "data", loss_and_grad_bytes, c.data_at = NULL);
    SPOILT(PYNN_BAD_SIZE, "data.rows", loss_and_grad_bytes, c.data.rows = 0);
    SPOILT(PYNN_NULL_POINTER, "output", input_grad, c.dx = NULL);
    SPOILT(PYNN_BAD_SIZE, "data.rows", input_grad, c.data.rows = 0);
    SPOILT(PYNN_NULL_POINTER, "data", input_grad_bytes, c.data_at = NULL);
    SPOILT(PYNN_NULL_POINTER, "output", vjp, c.dx = NULL);
    SPOILT(PYNN_NULL_POINTER, "dy", vjp, c.dy = NULL);
    SPOILT(PYNN_BAD_SIZE, "data.rows", vjp, c.data.rows = 0);
    SPOILT(PYNN_NULL_POINTER, "grads", accumulate, c.grads = NULL);
    SPOILT(PYNN_BAD_SIZE, "data.rows", accumulate, c.data.rows = 0);
    SPOILT(PYNN_BAD_VALUE, "accumulation", accumulate, c.accumulation.reserved[0] = 1);
    SPOILT(PYNN_BAD_VALUE, "accumulation", accumulate, c.accumulation.reserved[1] = 1);
    make_good();
    REFUSED(PYNN_NULL_POINTER, "accumulation", pynn_accumulate(NULL, out.grads, plan, &c.data, NULL, c.memory));
    for (size_t i = 0; i < COUNT(takers); i++) { /* memory that is just too short */
        size_t need = 0;
        pynn_status (*const call)(void) = takers[i].call;
        make_good();
        c.bytes = &need;
        if (call == predict) CHECK_OK(predict_bytes());
        else if (call == predict_many) CHECK_OK(predict_many_bytes());
        else if (call == forward) CHECK_OK(forward_bytes());
        else if (call == loss_and_grad) CHECK_OK(loss_and_grad_bytes());
        else if (call == input_grad || call == vjp) CHECK_OK(input_grad_bytes());
        else if (call == accumulate) CHECK_OK(accumulate_bytes());
        else if (call == train) CHECK_OK(train_bytes());
        else if (call == plan_init) CHECK_OK(pynn_plan_bytes(&need, &net));
        else if (call == dense_backward) CHECK_OK(pynn_dense_backward_bytes(&need, &c.dense));
        else continue;
        check_case("%s in %zu bytes less one", takers[i].name, need);
        SPOILT(PYNN_BAD_MEMORY, "memory", call, c.memory.bytes = need - 1);
        check_case(" ");
    }
    CHECK_STATUS(PYNN_BAD_MEMORY, pynn_predict(out.y, plan, &c.data, NULL, (pynn_memory){work, 0}));
    CHECK_STATUS(PYNN_NULL_POINTER, pynn_predict(out.y, plan, &c.data, NULL, none));
}

static void test_loss_refusals(void)
{
    make_good();
    REFUSED(PYNN_NULL_POINTER, "output", pynn_loss(NULL, out.losses, out.y, x, &c.data, OUT, PYNN_CROSS_ENTROPY));
    REFUSED(PYNN_NULL_POINTER, "output", pynn_loss(&out.loss, NULL, out.y, x, &c.data, OUT, PYNN_CROSS_ENTROPY));
    REFUSED(PYNN_NULL_POINTER, "input",
            pynn_loss(&out.loss, out.losses, out.y, NULL, &c.data, OUT, PYNN_CROSS_ENTROPY));
    REFUSED(PYNN_NULL_POINTER, "data", pynn_loss(&out.loss, out.losses, out.y, x, NULL, OUT, PYNN_CROSS_ENTROPY));
    REFUSED(PYNN_BAD_SIZE, "size", pynn_loss(&out.loss, out.losses, out.y, x, &c.data, 0, PYNN_CROSS_ENTROPY));
    REFUSED(PYNN_BAD_KIND, "kind", pynn_loss(&out.loss, out.losses, out.y, x, &c.data, OUT, PYNN_LOSS_AUTO));
    REFUSED(PYNN_BAD_KIND, "kind", pynn_loss(&out.loss, out.losses, out.y, x, &c.data, OUT, -1));
    REFUSED(PYNN_BAD_KIND, "kind",
            pynn_loss(&out.loss, out.losses, out.y, x, &c.data, OUT, PYNN_BINARY_CROSS_ENTROPY + 1));
    SPOILT(PYNN_TOO_LARGE, "data.rows", loss_alone, c.data.rows = SIZE_MAX);
    SPOILT(PYNN_BAD_KIND, "targets.labels", rows_loss, c.data.targets.labels = labels);
    make_good();
    REFUSED(PYNN_BAD_KIND, "targets.labels",
            pynn_loss(&out.loss, out.losses, out.y, x, &c.data, OUT, PYNN_BINARY_CROSS_ENTROPY));
    SPOILT(PYNN_BAD_KIND, "targets.labels", loss_and_grad, c.options.loss = PYNN_SQUARED_ERROR);
    SPOILT(PYNN_BAD_KIND, "targets.labels", train, c.trainer.loss = PYNN_SQUARED_ERROR);
    SPOILT(PYNN_BAD_VALUE, "data.reserved", loss_alone, c.data.reserved[1] = 1);
    SPOILT(PYNN_BAD_KIND, "data.type", loss_alone, c.data.type = 1);
}

/* ---- trainers ---------------------------------------------------------- */

static pynn_status moments_of(pynn_optimizer optimizer) { return pynn_optimizer_moments(&out.size, &optimizer); }

#define OPTIMIZER(wanted, argument, ...) REFUSED(wanted, argument, moments_of((pynn_optimizer){__VA_ARGS__}))

static void test_optimizer_refusals(void)
{
    static const double outside[] = {-0.1, 1.0, 1.5};
    static const char betas[] = "optimizer.beta1, beta2";
    make_good();
    REFUSED(PYNN_NULL_POINTER, "output", pynn_optimizer_moments(NULL, &c.trainer.optimizer));
    REFUSED(PYNN_NULL_POINTER, "optimizer", pynn_optimizer_moments(&out.size, NULL));
    OPTIMIZER(PYNN_BAD_KIND, "optimizer.kind", .kind = 3);
    OPTIMIZER(PYNN_BAD_KIND, "optimizer.kind", .kind = -1);
    for (size_t i = 0; i < COUNT(outside); i++) {
        const double bad = outside[i];
        OPTIMIZER(PYNN_BAD_VALUE, "optimizer.momentum", .momentum = bad);
        OPTIMIZER(PYNN_BAD_VALUE, betas, .kind = PYNN_ADAM, .beta1 = bad, .beta2 = 0.9, .epsilon = 1e-8);
        OPTIMIZER(PYNN_BAD_VALUE, betas, .kind = PYNN_ADAMW, .beta1 = 0.9, .beta2 = bad, .epsilon = 1e-8);
    }
    for (size_t i = 0; i < 3; i++) {
        const double bad = i == 0 ? -1.0 : i == 1 ? (double)NAN : (double)INFINITY;
        OPTIMIZER(PYNN_BAD_VALUE, "optimizer.weight_decay", .weight_decay = bad);
        OPTIMIZER(PYNN_BAD_VALUE, "optimizer.clip_norm", .clip_norm = bad);
        OPTIMIZER(PYNN_BAD_VALUE, "optimizer.learning_rate", .learning_rate = bad);
        OPTIMIZER(PYNN_BAD_VALUE, "optimizer.epsilon", .kind = PYNN_ADAM, .beta1 = 0.9, .beta2 = 0.9, .epsilon = bad);
        REFUSED(PYNN_BAD_VALUE, "learning_rate", pynn_update(&c.trainer, plan, w, bad));
    }
    OPTIMIZER(PYNN_BAD_VALUE, "optimizer.momentum", .momentum = (double)NAN);
    OPTIMIZER(PYNN_BAD_VALUE, "optimizer.nesterov", .nesterov = 1);
    OPTIMIZER(PYNN_BAD_VALUE, "optimizer.nesterov", .nesterov = 2, .momentum = 0.9);
    OPTIMIZER(PYNN_BAD_VALUE, "optimizer.epsilon", .kind = PYNN_ADAM, .beta1 = 0.9, .beta2 = 0.9, .epsilon = 1e-13);
    OPTIMIZER(PYNN_BAD_VALUE, "optimizer.epsilon", .kind = PYNN_ADAM, .beta1 = 0.9, .beta2 = 0.9); /* no default then */
    OPTIMIZER(PYNN_BAD_VALUE, "optimizer.reserved", .reserved = {1, 0});
    OPTIMIZER(PYNN_BAD_VALUE, "optimizer.reserved", .kind = PYNN_ADAM, .reserved = {0, 1});
    REFUSED(PYNN_NULL_POINTER, "trainer.state", pynn_state_restart(NULL));
}

/* What pynn_train_steps and pynn_update refuse of a trainer. */
static void test_trainer_refusals(const struct taker *taker)
{
    check_case("trainer of %s", taker->name);
    SPOILT(PYNN_NULL_POINTER, "trainer", taker->call, c.trainer_at = NULL);
    SPOILT(PYNN_NULL_POINTER, "trainer.params", taker->call, c.trainer.params = NULL);
    SPOILT(PYNN_BAD_VALUE, "trainer.params", taker->call, c.trainer.params = out.moments); /* not the plan's */
    SPOILT(PYNN_NULL_POINTER, "trainer.moments", taker->call, c.trainer.moments = NULL);
    SPOILT(PYNN_BAD_VALUE, "trainer.average, best", taker->call, c.trainer.average = out.y);
    SPOILT(PYNN_BAD_VALUE, "trainer.average, best", taker->call, c.trainer.best = out.y);
    SPOILT(PYNN_BAD_VALUE, "trainer.shards", taker->call, c.trainer.shards = 2);
    SPOILT(PYNN_BAD_VALUE, "trainer.shards", taker->call, c.trainer.shards = -1);
    for (size_t i = 0; i < 4; i++)
        SPOILT(PYNN_BAD_VALUE, "trainer.reserved", taker->call, c.trainer.reserved[i] = 1);
    SPOILT(PYNN_BAD_KIND, "optimizer.kind", taker->call, c.trainer.optimizer.kind = 9);
    SPOILT(PYNN_BAD_VALUE, "optimizer.beta1, beta2", taker->call, c.trainer.optimizer.beta1 = 2.0);
    SPOILT(PYNN_BAD_VALUE, "optimizer.learning_rate", taker->call, c.trainer.optimizer.learning_rate = -1.0);
    SPOILT(PYNN_BAD_VALUE, "optimizer.reserved", taker->call, c.trainer.optimizer.reserved[1] = 1);
    SPOILT(PYNN_BAD_VALUE, "trainer.state", taker->call, c.trainer.state.beta1_power = 0.5);
    SPOILT(PYNN_BAD_VALUE, "trainer.state", taker->call, c.trainer.state.beta2_power = 0.5);
    SPOILT(PYNN_BAD_VALUE, "trainer.state", taker->call, c.trainer.state = ((pynn_state){3, 0.9, 1.5}));
    SPOILT(PYNN_BAD_VALUE, "trainer.state", taker->call, c.trainer.state = ((pynn_state){3, -0.5, 0.5}));
    SPOILT(PYNN_BAD_VALUE, "trainer.state", taker->call, c.trainer.state = ((pynn_state){3, 0.5, (double)NAN}));
    SPOILT(PYNN_NULL_POINTER, "executor", taker->call, c.executor.run = NULL; c.trainer.executor = &c.executor);
    SPOILT(PYNN_BAD_SIZE, "executor", taker->call, c.executor.workers = 0; c.trainer.executor = &c.executor);
    SPOILT(PYNN_BAD_VALUE, "executor", taker->call, c.executor.reserved[1] = 1; c.trainer.executor = &c.executor);
    check_case(" ");
}

static void test_train_refusals(void)
{
    static const uint32_t beyond[ORDER] = {0, 1, 2, 3, 4, ROWS, 0};
    static const double bad_rates[][STEPS] = {{0.1, -0.1}, {0.1, (double)NAN}, {(double)INFINITY, 0.1}};
    SPOILT(PYNN_NULL_POINTER, "batches", train, c.batches_at = NULL);
    SPOILT(PYNN_BAD_INDEX, "batches.order", train, c.batches.order = beyond);
    SPOILT(PYNN_BAD_INDEX, "batches.order", train, c.data.rows = ROWS - 1);
    SPOILT(PYNN_BAD_INDEX, "batches.count", train, c.batches.order = NULL); /* more than there are */
    SPOILT(PYNN_BAD_SIZE, "data.rows", train, c.data.rows = 0; c.batches = (pynn_batches){0});
    for (size_t i = 0; i < COUNT(bad_rates); i++)
        SPOILT(PYNN_BAD_VALUE, "batches.learning_rates", train, c.batches.learning_rates = bad_rates[i]);
    SPOILT(PYNN_BAD_VALUE, "batches.reserved", train, c.batches.reserved[0] = 1);
    SPOILT(PYNN_BAD_VALUE, "batches.reserved", train, c.batches.reserved[1] = 1);
    SPOILT(PYNN_BAD_NET, "trainer.loss", train, c.trainer.loss = PYNN_BINARY_CROSS_ENTROPY);
    SPOILT(PYNN_BAD_KIND, "trainer.loss", train, c.trainer.loss = 9);
    SPOILT(PYNN_BAD_KIND, "trainer.loss", train, c.trainer.loss = -1);
    SPOILT(PYNN_NULL_POINTER, "grads", update, c.gradient = NULL);
    SPOILT(PYNN_NULL_POINTER, "trainer", train_bytes, c.trainer_at = NULL);
    SPOILT(PYNN_BAD_KIND, "optimizer.kind", train_bytes, c.trainer.optimizer.kind = 9);
    SPOILT(PYNN_NULL_POINTER, "executor", train_bytes, c.executor.run = NULL; c.trainer.executor = &c.executor);
    SPOILT(PYNN_BAD_SIZE, "executor", train_bytes, c.executor.workers = 0; c.trainer.executor = &c.executor);
    SPOILT(PYNN_TOO_LARGE, "size", train_bytes, c.executor.workers = SIZE_MAX; c.trainer.executor = &c.executor);
    make_good();
    REFUSED(PYNN_BAD_SIZE, "size", pynn_train_bytes(&out.size, plan, &c.trainer, 0));
    REFUSED(PYNN_TOO_LARGE, "size", pynn_train_bytes(&out.size, plan, &c.trainer, SIZE_MAX));
}

/* A loss or a parameter that is not finite: tests/c/test_train.c looks closer. */
static void test_divergence(void)
{
    memset(&out, 0, sizeof out);
    make_good();
    c.batches.learning_rates = (const double[]){3e38, 3e38};
    c.trainer.optimizer = pynn_adamw();
    c.trainer.optimizer.weight_decay = 3e38;
    c.trainer.optimizer.clip_norm = 1.0;
    CHECK_STATUS(PYNN_PARAMETER_NOT_FINITE, train());
    CHECK_STATUS(PYNN_LOSS_NOT_FINITE, train());
}

/* ---- learners ---------------------------------------------------------- */

static pynn_status learner_init(void) { return pynn_learner_init(&out.learner, layers, COUNT(layers), c.memory); }
static pynn_status learner_train(void) { return pynn_learner_train(&c.learner, c.data_at, BATCH); }
static pynn_status learner_predict(void) { return pynn_learner_predict(c.y, &c.learner, x, BATCH); }

static void make_learner(void)
{
    static void *room;
    size_t bytes = 0;
    CHECK_OK(pynn_learner_bytes(&bytes, layers, COUNT(layers), ROWS, BATCH));
    if (room == NULL) room = aligned_bytes(bytes);
    CHECK_OK(pynn_learner_init(&c.learner, layers, COUNT(layers), (pynn_memory){room, bytes}));
}

#define LEARNER_SPOILT(wanted, argument, call, ...) SPOILT(wanted, argument, call, make_learner(); __VA_ARGS__)

static void test_learner_refusals(void)
{
    static const int32_t high[] = {0, 1, 0, 1, OUT};
    make_good();
    make_learner();
    CHECK_OK(learner_train());
    CHECK_OK(learner_predict());
    REFUSED(PYNN_NULL_POINTER, "output", pynn_learner_bytes(NULL, layers, COUNT(layers), ROWS, BATCH));
    REFUSED(PYNN_NULL_POINTER, "layers", pynn_learner_bytes(&out.size, NULL, COUNT(layers), ROWS, BATCH));
    REFUSED(PYNN_BAD_SIZE, "layers", pynn_learner_bytes(&out.size, layers, 0, ROWS, BATCH));
    REFUSED(PYNN_NULL_POINTER, "learner", pynn_learner_init(NULL, layers, COUNT(layers), c.memory));
    REFUSED(PYNN_NULL_POINTER, "layers", pynn_learner_init(&out.learner, NULL, COUNT(layers), c.memory));
    REFUSED(PYNN_BAD_SIZE, "layers", pynn_learner_init(&out.learner, layers, 0, c.memory));
    SPOILT(PYNN_NULL_POINTER, "memory", learner_init, c.memory.start = NULL);
    SPOILT(PYNN_BAD_MEMORY, "memory", learner_init, c.memory.bytes = 64);
    SPOILT(PYNN_BAD_MEMORY, "memory", learner_init, c.memory.start = work + 4; c.memory.bytes -= 4);
    make_good();
    make_learner();
    REFUSED(PYNN_NULL_POINTER, "learner", pynn_learner_train(NULL, &c.data, BATCH));
    REFUSED(PYNN_NULL_POINTER, "learner", pynn_learner_predict(out.y, NULL, x, BATCH));
    REFUSED(PYNN_NULL_POINTER, "output", pynn_learner_predict(NULL, &c.learner, x, BATCH));
    REFUSED(PYNN_NULL_POINTER, "data.x", pynn_learner_predict(out.y, &c.learner, NULL, BATCH));
    LEARNER_SPOILT(PYNN_NULL_POINTER, "data", learner_train, c.data_at = NULL);
    LEARNER_SPOILT(PYNN_BAD_SIZE, "data.stride", learner_train, c.data.stride = IN - 1);
    LEARNER_SPOILT(PYNN_BAD_LABEL, "targets.labels", learner_train, c.data.targets.labels = high);
    LEARNER_SPOILT(PYNN_BAD_VALUE, "learner", learner_train, c.learner.reserved_epochs = 1);
    LEARNER_SPOILT(PYNN_BAD_KIND, "trainer.loss", learner_train, c.learner.trainer.loss = 9);
    LEARNER_SPOILT(PYNN_BAD_VALUE, "trainer.shards", learner_train, c.learner.trainer.shards = 2);
    LEARNER_SPOILT(PYNN_BAD_KIND, "optimizer.kind", learner_train, c.learner.trainer.optimizer.kind = 9);
    LEARNER_SPOILT(PYNN_BAD_MEMORY, "memory", learner_train, c.learner.workspace.bytes = 64);
    LEARNER_SPOILT(PYNN_NULL_POINTER, "learner", learner_train, memset(&c.learner, 0, sizeof c.learner)); /* {0} */
    LEARNER_SPOILT(PYNN_NULL_POINTER, "learner", learner_predict, memset(&c.learner, 0, sizeof c.learner));
}

/* ---- executors --------------------------------------------------------- */

static void test_executor_refusals(void)
{
    pynn_executor *never = NULL, *made = &out.executor;
    make_good();
    REFUSED(PYNN_NULL_POINTER, "output", pynn_threads_advise(NULL, &net, 1, 1));
    REFUSED(PYNN_NULL_POINTER, "net", pynn_threads_advise(&out.size, NULL, 1, 1));
    REFUSED(PYNN_BAD_SIZE, "size", pynn_threads_advise(&out.size, &net, 0, 1));
    REFUSED(PYNN_BAD_SIZE, "size", pynn_threads_advise(&out.size, &net, 1, 0));
    REFUSED(PYNN_NULL_POINTER, "output", pynn_threads_bytes(NULL, 1));
    REFUSED(PYNN_BAD_SIZE, "size", pynn_threads_bytes(&out.size, 0));
    REFUSED(PYNN_TOO_LARGE, "size", pynn_threads_bytes(&out.size, SIZE_MAX));
    REFUSED(PYNN_NULL_POINTER, "executor", pynn_threads_start(never, 1, c.memory));
    REFUSED(PYNN_NULL_POINTER, "memory", pynn_threads_start(made, 1, (pynn_memory){NULL, work_bytes}));
    REFUSED(PYNN_BAD_SIZE, "size", pynn_threads_start(made, 0, c.memory));
    REFUSED(PYNN_BAD_MEMORY, "memory", pynn_threads_start(made, 1, (pynn_memory){work, 8}));
    REFUSED(PYNN_BAD_MEMORY, "memory", pynn_threads_start(made, 1, (pynn_memory){work + 8, work_bytes - 8}));
    REFUSED(PYNN_TOO_LARGE, "size", pynn_threads_start(made, SIZE_MAX / 2, c.memory));
    REFUSED(PYNN_NULL_POINTER, "executor", pynn_threads_stop(NULL));
    REFUSED(PYNN_BAD_EXECUTOR, "executor", pynn_threads_stop(&c.executor)); /* the caller's own */
}

/* ---- dispatch ---------------------------------------------------------- */

static void test_isa(void)
{
    size_t lacking = 0;
    int32_t best = -1, isa = -1;
    CHECK_OK(pynn_isa_get(&best));
    for (int32_t a = 0; pynn_isa_name(a) != NULL; a++) {
        const pynn_status status = pynn_isa_set(a);
        const int32_t code = pynn_status_code(status);
        CHECK(code == PYNN_OK || code == PYNN_NO_ISA, "status %d", (int)status);
        lacking += code == PYNN_NO_ISA;
        for (int32_t b = 0; b < a; b++) CHECK(strcmp(pynn_isa_name(a), pynn_isa_name(b)) != 0, "%d and %d", a, b);
    }
    CHECK(lacking > 0, "no machine has them all");
    CHECK(strcmp(pynn_isa_name(PYNN_ISA_SCALAR), "scalar") == 0, "%s", pynn_isa_name(PYNN_ISA_SCALAR));
    CHECK(strcmp(pynn_isa_name(PYNN_ISA_NEON), "neon") == 0, "%s", pynn_isa_name(PYNN_ISA_NEON));
    CHECK(pynn_isa_name(PYNN_ISA_NEON + 1) == NULL && pynn_isa_name(-1) == NULL, "a name beyond the last");
    CHECK_OK(pynn_isa_set(PYNN_ISA_SCALAR));
    CHECK_STATUS(PYNN_NO_ISA, pynn_isa_set(PYNN_ISA_NEON + 1));
    CHECK_STATUS(PYNN_NO_ISA, pynn_isa_set(-1));
    CHECK(pynn_isa_get(&isa) == PYNN_OK && isa == PYNN_ISA_SCALAR, "a refused choice chose %d", isa);
    CHECK_REFUSED(PYNN_NULL_POINTER, "isa", pynn_isa_get(NULL));
    CHECK_OK(pynn_isa_set(best));
}

/* The environment is read at the first call, so each value needs a process of its own. */
static int with_environment(const char *value, pynn_status wanted, int32_t isa_wanted)
{
    const pid_t child = fork();
    int status = -1;
    if (child == 0) {
        uint32_t permutation[4];
        int32_t isa = -1;
        pynn_status got;
        memset(permutation, GUARD_PATTERN, sizeof permutation);
        if (setenv("PYNN_ISA", value, 1) != 0) _exit(4);
        got = pynn_status_code(pynn_permutation(permutation, 4, 0, 0));
        if (got != wanted) _exit(1);
        if (all_pattern(permutation, sizeof permutation) != (wanted != PYNN_OK)) _exit(2);
        if (pynn_status_code(pynn_isa_get(&isa)) != wanted || (isa_wanted >= 0 && isa != isa_wanted)) _exit(3);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_environment(void) /* before any other call */
{
    int code = with_environment("nonsense", PYNN_NO_ISA, -1);
    CHECK(code == 0, "PYNN_ISA=nonsense: %d", code);
    code = with_environment("scalar", PYNN_OK, PYNN_ISA_SCALAR);
    CHECK(code == 0, "PYNN_ISA=scalar: %d", code);
    code = with_environment("", PYNN_OK, -1);
    CHECK(code == 0, "PYNN_ISA empty: %d", code);
}

int main(void)
{
    test_environment();
    test_texts();
    test_arguments();
    prepare();
    for (size_t i = 0; i < COUNT(takers); i++) test_taker(&takers[i]);
    test_net_refusals();
    test_random_refusals();
    test_layer_refusals();
    test_pass_refusals();
    test_loss_refusals();
    test_optimizer_refusals();
    for (size_t i = 0; i < COUNT(takers); i++)
        if (takers[i].takes & TRAINER) test_trainer_refusals(&takers[i]);
    test_train_refusals();
    test_divergence();
    test_learner_refusals();
    test_executor_refusals();
    test_isa();
    return check_end("test_status");
}
