/*
 * The simple half of pynn.h: a net of a few lines learns, in exactly the memory that it says it needs, and has the bits
 * of the full half doing the same by hand.
 */
#include "nets.h"

/* ---- exclusive or ------------------------------------------------------ */

static const pynn_layer xor_layers[] = {
    {.kind = PYNN_DENSE, .inputs = 2, .outputs = 8}, {.kind = PYNN_TANH},
    {.kind = PYNN_DENSE, .inputs = 8, .outputs = 1}, {.kind = PYNN_SIGMOID}};
static const float xor_x[] = {0, 0, 0, 1, 1, 0, 1, 1}, xor_t[] = {0, 1, 1, 0};

static void test_xor(void)
{
    static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char memory[4096];
    const pynn_data data = {.x = xor_x, .rows = 4, .targets.rows = xor_t};
    pynn_learner learner;
    double first = 0.0, mean = 0.0;
    check_case("exclusive or");
    CHECK_OK(pynn_learner_init(&learner, xor_layers, COUNT(xor_layers), (pynn_memory){memory, sizeof memory}));
    learner.trainer.optimizer.learning_rate = 0.02;
    for (int epoch = 0; epoch < 500; epoch++) {
        CHECK_OK(pynn_learner_train(&learner, &data, 0));
        mean = learner.trainer.totals.loss / learner.trainer.totals.weight;
        if (epoch == 0) first = mean;
    }
    CHECK(learner.epochs == 500 && learner.trainer.state.steps == 500, "%u epochs", (unsigned)learner.epochs);
    CHECK(mean < 0.05 * first, "the loss went from %g to %g", first, mean);
    for (size_t r = 0; r < 4; r++) {
        float y = -1.0f;
        CHECK_OK(pynn_learner_predict(&y, &learner, xor_x + 2 * r, 1));
        CHECK(fabsf(y - xor_t[r]) < 0.1f, "row %zu gives %g", r, (double)y);
    }
}

/* ---- the same by hand -------------------------------------------------- */

enum { ROWS = 37, IN = 4, OUT = 3, EPOCHS = 4, MOST_PARAMS = 1 << 16 };

static pynn_layer layers[NET_LAYERS];
static pynn_net net;
static float params[MOST_PARAMS], moments[2 * MOST_PARAMS], x[ROWS * (IN + 1)], t[ROWS * OUT], weights[ROWS];
static float y[ROWS * OUT], wanted[ROWS * OUT];
static int32_t labels[ROWS];
static uint32_t order[ROWS];
static guarded page;

/* What a caller may change before the first training. */
typedef struct recipe {
    const char *net;
    size_t batch;
    pynn_optimizer optimizer;
    uint64_t seed;
    int32_t loss;
    int labelled, weighted;
} recipe;

static pynn_data data_of(const recipe *r)
{
    fill_any(x, COUNT(x), -1.0f, 1.0f);
    fill_any(t, COUNT(t), 0.0f, 1.0f);
    for (size_t i = 0; i < ROWS; i++) {
        labels[i] = (int32_t)any_below(OUT);
        weights[i] = any_below(3) ? any_float(0.5f, 2.0f) : 0.0f;
    }
    return (pynn_data){.x = x, .rows = ROWS, .stride = IN + 1,
                       .targets = {.rows = r->labelled ? NULL : t, .labels = r->labelled ? labels : NULL,
                                   .weights = r->weighted ? weights : NULL}};
}

/* A learner in exactly its memory, step by step beside a trainer. */
static void check_recipe(const recipe *r)
{
    const pynn_data data = data_of(r);
    const pynn_batches batches = {.order = order, .size = r->batch};
    const size_t batch = r->batch > 0 ? r->batch : ROWS;
    pynn_trainer trainer = {
        .optimizer = r->optimizer, .loss = r->loss, .seed = r->seed, .params = params, .moments = moments};
    const pynn_plan *plan;
    pynn_learner learner;
    pynn_memory memory, workspace;
    size_t bytes = 0, more = 0;
    check_case("%s, batch %zu, optimizer %d", r->net, r->batch, r->optimizer.kind);
    net_from(r->net, IN, layers, &net, params, MOST_PARAMS);
    plan = plan_from(&net, params);
    CHECK_OK(pynn_params_init(params, &net, 0));
    memset(moments, 0, sizeof moments);
    CHECK_OK(pynn_train_bytes(&bytes, plan, &trainer, batch));
    CHECK_OK(pynn_predict_bytes(&more, plan, ROWS, NULL));
    workspace = memory_of(bytes > more ? bytes : more);

    CHECK_OK(pynn_learner_bytes(&bytes, layers, net.layer_count, ROWS, r->batch));
    memory = (pynn_memory){guard_place(&page, (bytes + 63) / 64 * 64, GUARD_AT_END), bytes};
    CHECK_OK(pynn_learner_init(&learner, layers, net.layer_count, memory));
    CHECK_SAME(learner.trainer.params, params, net.param_count);
    CHECK(learner.epochs == 0 && learner.net.param_count == net.param_count, "%u epochs", (unsigned)learner.epochs);
    learner.trainer.optimizer = r->optimizer;
    learner.trainer.loss = r->loss;
    learner.trainer.seed = r->seed;
    for (uint32_t epoch = 0; epoch < EPOCHS; epoch++) {
        CHECK_OK(pynn_learner_train(&learner, &data, r->batch));
        CHECK_OK(pynn_permutation(order, ROWS, r->seed, epoch));
        trainer.totals = (pynn_totals){0};
        CHECK_OK(pynn_train_steps(&trainer, plan, &data, &batches, workspace));
        CHECK_SAME(learner.trainer.params, params, net.param_count);
        CHECK_SAME_DOUBLE(learner.trainer.totals.loss, trainer.totals.loss);
        CHECK_SAME_DOUBLE(learner.trainer.totals.weight, trainer.totals.weight);
        CHECK_SAME_DOUBLE(learner.trainer.state.beta1_power, trainer.state.beta1_power);
        CHECK(learner.trainer.state.steps == trainer.state.steps, "%" PRIu64 " steps", learner.trainer.state.steps);
        CHECK(learner.epochs == epoch + 1, "%u epochs", (unsigned)learner.epochs);
        for (size_t first = 0, rows; first < ROWS; first += rows) { /* as many as it is made for, and one row */
            const pynn_data some = {.x = x + first * IN, .rows = rows = ROWS - first < batch ? ROWS - first : batch};
            CHECK_OK(pynn_predict(wanted, plan, &some, NULL, workspace));
            CHECK_OK(pynn_learner_predict(y, &learner, some.x, rows));
            CHECK_SAME(y, wanted, rows * OUT);
            CHECK_OK(pynn_learner_predict(y, &learner, some.x, 1));
            CHECK_SAME(y, wanted, OUT);
        }
    }
    CHECK(guard_intact(&page), "the memory was left");
    free(workspace.start);
    check_case(" ");
}

static void test_recipes(void)
{
    const pynn_optimizer momentum = {.kind = PYNN_SGD, .momentum = 0.9};
    const pynn_optimizer clipped = {.kind = PYNN_ADAM, .clip_norm = 0.1};
    const recipe recipes[] = {
        {.net = "d7td3s", .optimizer = pynn_adam()},
        {.net = "d7rd3m", .batch = 8, .optimizer = pynn_adam(), .labelled = 1, .weighted = 1},
        {.net = "d9god7ud3", .batch = 1, .optimizer = pynn_sgd(), .seed = 77, .weighted = 1},
        {.net = "od20od3s", .batch = ROWS - 1, .optimizer = pynn_adamw(), .seed = 3, .loss = PYNN_SQUARED_ERROR},
        {.net = "d200rd193gd3m", .batch = ROWS + 50, .optimizer = momentum, .labelled = 1},
        {.net = "d7td3s", .batch = 5, .optimizer = clipped},
        {.net = "d3", .batch = 5, .optimizer = clipped},
        {.net = "d1d3", .batch = 1, .optimizer = clipped},
        {.net = "d200d3", .batch = 1, .optimizer = clipped},
    };
    for (size_t i = 0; i < COUNT(recipes); i++) check_recipe(&recipes[i]);
}

/* ---- what a learner refuses -------------------------------------------- */

static void test_refusals(void)
{
    static float kept[64];
    const int32_t high[] = {OUT};
    pynn_data data = data_of(&(recipe){.labelled = 1});
    pynn_learner learner, before;
    pynn_memory memory;
    size_t bytes = 0, count = 0;
    check_case("refusals");
    net_from("d3m", IN, layers, &net, params, MOST_PARAMS);
    count = net.param_count;
    CHECK_OK(pynn_learner_bytes(&bytes, layers, net.layer_count, ROWS, 8));
    memory = memory_of(bytes);
    CHECK_OK(pynn_learner_init(&learner, layers, net.layer_count, memory));
    CHECK_OK(pynn_learner_train(&learner, &data, 8));
    memcpy(&before, &learner, sizeof before);
    memcpy(kept, learner.trainer.params, count * sizeof(float));
    CHECK_STATUS(PYNN_BAD_MEMORY, pynn_learner_train(&learner, &data, ROWS)); /* a larger batch than it is made for */
    data.targets.labels = high;
    data.rows = 1;
    CHECK_REFUSED(PYNN_BAD_LABEL, "targets.labels", pynn_learner_train(&learner, &data, 8));
    data.targets.labels = NULL;
    CHECK_REFUSED(PYNN_NULL_POINTER, "targets", pynn_learner_train(&learner, &data, 8));
    data.x = NULL;
    CHECK_REFUSED(PYNN_NULL_POINTER, "data.x", pynn_learner_train(&learner, &data, 8));
    data.rows = 0;
    CHECK_REFUSED(PYNN_BAD_SIZE, "data.rows", pynn_learner_train(&learner, &data, 8));
    CHECK_REFUSED(PYNN_BAD_MEMORY, "output", pynn_learner_predict(x, &learner, x, 1));
    CHECK(memcmp(&before, &learner, sizeof before) == 0, "the learner was written");
    CHECK_SAME(learner.trainer.params, kept, count);
    data = data_of(&(recipe){.labelled = 1});
    CHECK_OK(pynn_learner_train(&learner, &data, 8)); /* and goes on */
    CHECK(learner.epochs == 2, "%u epochs", (unsigned)learner.epochs);
    free(memory.start);
}

static void test_all(void)
{
    test_xor();
    test_recipes();
    test_refusals();
}

int main(void)
{
    page = guard_make(1 << 23);
    every_isa(test_all);
    return check_end("test_learner");
}
