/* {0} means the defaults: each field that is left at 0 gives the same bits as the number that its comment names. */
#include "nets.h"

enum { ROWS = 11, IN = 5, OUT = 3, BATCH = 4, STEPS = 3, MOST_PARAMS = 512 };

static pynn_layer layers[NET_LAYERS];
static pynn_net net;
static const pynn_plan *plan;
static float first[MOST_PARAMS], params[MOST_PARAMS], wanted[MOST_PARAMS], moments[2 * MOST_PARAMS];
static float x[ROWS * IN], t[ROWS * OUT], v[ROWS * OUT], y[ROWS * OUT], other[ROWS * OUT];
static pynn_memory workspace;

static void make_net(const char *text)
{
    net_from(text, IN, layers, &net, first, MOST_PARAMS);
    plan = plan_from(&net, params);
    memcpy(params, first, sizeof params);
    fill_any(x, COUNT(x), -1.0f, 1.0f);
    fill_any(t, COUNT(t), 0.0f, 1.0f);
    fill_any(v, COUNT(v), 0.0f, 2.0f);
}

/* Trains from the same start; gives the totals. */
static pynn_totals train(pynn_trainer trainer, const pynn_data *data, const pynn_batches *batches)
{
    memcpy(params, first, sizeof params);
    memset(moments, 0, sizeof moments);
    trainer.params = params;
    trainer.moments = moments;
    CHECK_OK(pynn_train_steps(&trainer, plan, data, batches, workspace));
    CHECK(trainer.state.steps > 0 && trainer.totals.weight > 0.0, "nothing was trained");
    CHECK(memcmp(params, first, net.param_count * sizeof(float)) != 0, "nothing was learnt");
    return trainer.totals;
}

/* The same bits from both trainers, data and batches. */
static void check_same_training(const pynn_trainer *a, const pynn_data *a_data, const pynn_batches *a_batches,
                                const pynn_trainer *b, const pynn_data *b_data, const pynn_batches *b_batches)
{
    const pynn_totals a_totals = train(*a, a_data, a_batches);
    pynn_totals b_totals;
    memcpy(wanted, params, sizeof wanted);
    b_totals = train(*b, b_data, b_batches);
    CHECK_SAME(params, wanted, net.param_count);
    CHECK_SAME_DOUBLE(b_totals.loss, a_totals.loss);
    CHECK_SAME_DOUBLE(b_totals.weight, a_totals.weight);
}

static void test_optimizers(void)
{
    const pynn_data data = {.x = x, .rows = ROWS, .targets.rows = t};
    const pynn_batches batches = {.size = BATCH};
    static const struct { pynn_optimizer less, more; } pairs[] = {
        {{0}, {.kind = PYNN_SGD, .learning_rate = 0.01}},
        {{.momentum = 0.9}, {.kind = PYNN_SGD, .learning_rate = 0.01, .momentum = 0.9}},
        {{.kind = PYNN_ADAM},
         {.kind = PYNN_ADAM, .learning_rate = 0.001, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8}},
        {{.kind = PYNN_ADAMW},
         {.kind = PYNN_ADAMW, .learning_rate = 0.001, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8}},
        {{.kind = PYNN_ADAM, .learning_rate = 0.02, .clip_norm = 0.5},
         {.kind = PYNN_ADAM, .learning_rate = 0.02, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .clip_norm = 0.5}},
    };
    const pynn_optimizer sgd = pynn_sgd(), adam = pynn_adam(), adamw = pynn_adamw();
    make_net("d4td3");
    for (size_t i = 0; i < COUNT(pairs); i++) {
        const pynn_trainer less = {.optimizer = pairs[i].less}, more = {.optimizer = pairs[i].more};
        check_case("optimizer %zu", i);
        check_same_training(&less, &data, &batches, &more, &data, &batches);
    }
    check_case(" ");
    CHECK(sgd.kind == PYNN_SGD && sgd.learning_rate == 0.01 && sgd.momentum == 0.0, "%g", sgd.learning_rate);
    CHECK(adam.kind == PYNN_ADAM && adam.learning_rate == 0.001, "%g", adam.learning_rate);
    CHECK(adam.beta1 == 0.9 && adam.beta2 == 0.999 && adam.epsilon == 1e-8, "%g, %g", adam.beta1, adam.beta2);
    CHECK(adamw.kind == PYNN_ADAMW && adamw.learning_rate == 0.001, "%g", adamw.learning_rate);
    CHECK(adamw.beta1 == 0.9 && adamw.beta2 == 0.999 && adamw.epsilon == 1e-8, "%g, %g", adamw.beta1, adamw.beta2);
    CHECK(adamw.weight_decay == 0.01 && adam.weight_decay == 0.0 && sgd.weight_decay == 0.0, "%g", adamw.weight_decay);
    CHECK(sgd.clip_norm == 0.0 && adam.clip_norm == 0.0 && adamw.clip_norm == 0.0, "%g", sgd.clip_norm);
}

/* A rate of 0 in the batches is 0, not the default. */
static void test_rate_of_nothing(void)
{
    const pynn_data data = {.x = x, .rows = ROWS, .targets.rows = t};
    const double nothing = 0.0;
    pynn_trainer trainer = {.params = params};
    make_net("d4td3");
    CHECK_OK(pynn_train_steps(&trainer, plan, &data, &(pynn_batches){.learning_rates = &nothing}, workspace));
    CHECK_SAME(params, first, net.param_count);
    CHECK(trainer.state.steps == 1, "%" PRIu64 " steps", trainer.state.steps);
    CHECK_OK(pynn_update(&trainer, plan, first, 0.0));
    CHECK_SAME(params, first, net.param_count);
    CHECK(trainer.state.steps == 2, "%" PRIu64 " steps", trainer.state.steps);
}

/* The loss that follows from the last layer. */
static void test_losses(void)
{
    static const struct { const char *net; int32_t loss; } ends[] = {
        {"d4td3m", PYNN_CROSS_ENTROPY}, {"d4td3s", PYNN_BINARY_CROSS_ENTROPY}, {"d4td3", PYNN_MEAN_SQUARED_ERROR},
        {"d4td3r", PYNN_MEAN_SQUARED_ERROR}, {"d4td3mo", PYNN_MEAN_SQUARED_ERROR}, {"d4td3so", PYNN_MEAN_SQUARED_ERROR},
    };
    for (size_t i = 0; i < COUNT(ends); i++) {
        const pynn_data data = {.x = x, .rows = ROWS, .targets.rows = t};
        const pynn_trainer less = {0}, more = {.loss = ends[i].loss};
        const pynn_options options = {.loss = ends[i].loss};
        double loss = -1.0, named = -2.0;
        check_case("loss of %s", ends[i].net);
        make_net(ends[i].net);
        check_same_training(&less, &data, &(pynn_batches){0}, &more, &data, &(pynn_batches){0});
        CHECK_OK(pynn_loss_and_grad(&named, wanted, plan, &data, &options, workspace));
        CHECK_OK(pynn_loss_and_grad(&loss, moments, plan, &data, NULL, workspace));
        CHECK_SAME(moments, wanted, net.param_count);
        CHECK_SAME_DOUBLE(loss, named);
        CHECK_OK(pynn_input_grad(&named, wanted, plan, &data, &options, workspace));
        CHECK_OK(pynn_input_grad(&loss, moments, plan, &data, NULL, workspace));
        CHECK_SAME(moments, wanted, ROWS * IN);
        CHECK_SAME_DOUBLE(loss, named);
        CHECK_OK(pynn_input_grad(NULL, moments, plan, &data, NULL, workspace)); /* the loss may be left out */
        CHECK_SAME(moments, wanted, ROWS * IN);
    }
    check_case(" ");
}

static void test_batches(void)
{
    const pynn_data data = {.x = x, .rows = ROWS, .targets.rows = t};
    static uint32_t order[ROWS];
    static const double rates[STEPS] = {0.05, 0.05, 0.05};
    const pynn_trainer trainer = {.optimizer = {.kind = PYNN_ADAM, .learning_rate = 0.05}};
    const pynn_batches all = {0}, spelled = {.order = order, .count = ROWS, .size = ROWS, .learning_rates = rates};
    const pynn_batches size = {.size = BATCH}, few = {.count = 7, .size = 3};
    const pynn_batches sized = {.order = order, .count = ROWS, .size = BATCH, .learning_rates = rates};
    const pynn_batches fewer = {.order = order, .count = 7, .size = 3, .learning_rates = rates};
    const pynn_batches some = {.order = order, .size = BATCH}, large = {.size = ROWS + 100};
    for (uint32_t r = 0; r < ROWS; r++) order[r] = r;
    make_net("d4td3");
    check_case("batches");
    check_same_training(&trainer, &data, &all, &trainer, &data, &spelled);
    check_same_training(&trainer, &data, &size, &trainer, &data, &sized);
    check_same_training(&trainer, &data, &few, &trainer, &data, &fewer);
    check_same_training(&trainer, &data, &some, &trainer, &data, &sized);
    check_same_training(&trainer, &data, &large, &trainer, &data, &spelled);
    check_case(" ");
}

static void test_strides(void)
{
    const pynn_trainer trainer = {0};
    const pynn_batches all = {0};
    const pynn_data less = {.x = x, .rows = ROWS, .targets = {.rows = t, .output_weights = v}};
    pynn_data more = {.x = x, .rows = ROWS, .stride = IN,
                      .targets = {.rows = t, .stride = OUT, .output_weights = v, .output_weights_stride = OUT}};
    check_case("strides");
    make_net("d4td3");
    check_same_training(&trainer, &less, &all, &trainer, &more, &all);
    CHECK_OK(pynn_predict(other, plan, &more, &(pynn_options){.y_stride = OUT}, workspace));
    CHECK_OK(pynn_predict(y, plan, &less, NULL, workspace));
    CHECK_SAME(y, other, ROWS * OUT);
    CHECK_OK(pynn_predict(y, plan, &less, &(pynn_options){0}, workspace));
    CHECK_SAME(y, other, ROWS * OUT);
    {
        const pynn_dense dense = {.w = params, .b = params, .inputs = IN, .outputs = OUT};
        CHECK_OK(pynn_dense_forward(other, &dense, &more));
        CHECK_OK(pynn_dense_forward(y, &dense, &less));
        CHECK_SAME(y, other, ROWS * OUT);
    }
    check_case(" ");
}

/* Powers of 0 are those of a beginning, where a state is at its beginning. */
static void test_state(void)
{
    const pynn_data data = {.x = x, .rows = ROWS, .targets.rows = t};
    const pynn_batches batches = {.size = BATCH};
    check_case("state");
    make_net("d4td3");
    for (int32_t kind = PYNN_SGD; kind <= PYNN_ADAMW; kind++) {
        const pynn_trainer less = {.optimizer.kind = kind};
        for (int powers = 0; powers < 4; powers++) {
            pynn_trainer more = less;
            more.state = (pynn_state){0, powers % 2, powers / 2};
            check_same_training(&less, &data, &batches, &more, &data, &batches);
        }
    }
    check_case(" ");
}

static void test_all(void)
{
    test_optimizers();
    test_rate_of_nothing();
    test_losses();
    test_batches();
    test_strides();
    test_state();
}

int main(void)
{
    workspace = memory_of(1 << 16);
    every_isa(test_all);
    return check_end("test_defaults");
}
