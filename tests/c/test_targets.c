/*
 * What a loss is divided by, and weights of single outputs: values and gradients against the arithmetic contract
 * written out again (oracle.h), in every instruction set, alone, through a net and in training; what they leave as it
 * was; and what is refused.
 */
#include "nets.h"
#include "oracle.h"

enum { MOST_ROWS = 300, MOST_WIDTH = 40, STRIDE = 45, IN = 5, MOST_PARAMS = 4096 };

static pynn_layer layers[NET_LAYERS];
static pynn_net net;
static const pynn_plan *plan; /* of params */
static float params[MOST_PARAMS], first_params[MOST_PARAMS], moments[2 * MOST_PARAMS];
static float grads[MOST_PARAMS], wanted_grads[MOST_PARAMS];
static float x[MOST_ROWS * IN], t[MOST_ROWS * STRIDE], v[MOST_ROWS * STRIDE], weights[MOST_ROWS];
static float y[MOST_ROWS * MOST_WIDTH], ds[MOST_ROWS * MOST_WIDTH], losses[MOST_ROWS];
static float wanted_ds[MOST_ROWS * MOST_WIDTH], wanted_losses[MOST_ROWS];
static int32_t labels[MOST_ROWS];
static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char work_storage[1 << 21], plan_storage[1 << 12];
static const pynn_memory work = {work_storage, sizeof work_storage};

static void fill_data(size_t rows, size_t n, int32_t loss)
{
    fill_any(x, rows * IN, -1.5f, 1.5f);
    fill_any(y, rows * n, -5.0f, 5.0f);
    for (size_t r = 0; r < rows; r++) {
        float sum = 0.0f;
        labels[r] = (int32_t)any_below(n);
        weights[r] = r % 5 == 2 ? 0.0f : any_float(0.25f, 3.0f);
        for (size_t j = 0; j < n; j++) {
            t[r * STRIDE + j] = any_below(4) ? any_float(0.0f, 1.0f) : 0.0f;
            v[r * STRIDE + j] = any_below(5) ? any_float(0.0f, 3.0f) : 0.0f;
            sum += t[r * STRIDE + j];
        }
        if (loss != PYNN_CROSS_ENTROPY) continue;
        if (!(sum > 0.0f)) t[r * STRIDE] = sum = 1.0f;
        for (size_t j = 0; j < n; j++) t[r * STRIDE + j] /= sum;
    }
}

static const char *head_of(int32_t loss)
{
    return loss == PYNN_CROSS_ENTROPY ? "m" : loss == PYNN_BINARY_CROSS_ENTROPY ? "s" : "";
}

static void make_net(const char *text)
{
    net_from(text, IN, layers, &net, params, MOST_PARAMS);
    memcpy(first_params, params, sizeof params);
    CHECK_OK(pynn_plan_init(&plan, &(pynn_model){.net = &net, .params = params},
                            (pynn_memory){plan_storage, sizeof plan_storage}));
}

/* Rows and output weights with a stride, weights of rows where normalise leaves them. */
static pynn_targets targets_of(int labelled, int32_t normalise)
{
    return (pynn_targets){.rows = labelled ? NULL : t, .stride = STRIDE, .labels = labelled ? labels : NULL,
                          .weights = weights, .normalise = normalise,
                          .divisor = normalise == PYNN_BY_NUMBER ? 17.3 : 0.0};
}

/* ---- against the contract ---------------------------------------------- */

static void check_loss(const pynn_targets *targets, size_t rows, size_t n, int32_t kind)
{
    const pynn_data data = {.rows = rows, .targets = *targets};
    double loss = -1.0, wanted;
    CHECK_OK(pynn_loss(&loss, losses, ds, y, &data, n, kind));
    wanted = o_loss(wanted_losses, wanted_ds, y, targets, NULL, rows, n, kind, NULL);
    CHECK_SAME_DOUBLE(loss, wanted);
    CHECK_SAME(ds, wanted_ds, rows * n);
    for (size_t r = 0; r < rows; r++)
        if (targets->weights == NULL || targets->weights[r] < 0.0f || targets->weights[r] > 0.0f)
            CHECK_SAME(&losses[r], &wanted_losses[r], 1);
    CHECK_OK(pynn_loss(&loss, losses, NULL, y, &data, n, kind));
    CHECK_SAME_DOUBLE(loss, wanted);
}

/* Every loss, with and without weights of rows and outputs, divided by everything. */
static void test_losses(void)
{
    static const size_t widths[] = {1, 2, 7, 15, 16, 17, 31, 32, 33, MOST_WIDTH};
    for (int32_t kind = PYNN_SQUARED_ERROR; kind <= PYNN_BINARY_CROSS_ENTROPY; kind++) {
        for (int labelled = 0; labelled <= (kind == PYNN_CROSS_ENTROPY); labelled++) {
            for (size_t w = 0; w < COUNT(widths); w++) {
                for (int way = 0; way < 18; way++) {
                    const size_t rows = way % 3 == 0 ? 1 : 13, n = widths[w];
                    pynn_targets targets = targets_of(labelled, way / 6);
                    check_case("loss %d%s, width %zu, way %d", kind, labelled ? ", labels" : "", n, way);
                    fill_data(rows, n, kind);
                    if (way % 3 != 0) targets.output_weights = v;
                    if (way % 3 == 1) targets.output_weights_stride = STRIDE;
                    if (way % 3 == 2) targets.same_output_weights = 1;
                    if (way % 2 == 0) targets.weights = NULL;
                    else if (targets.normalise != PYNN_BY_WEIGHTS) weights[0] = -1.25f;
                    check_loss(&targets, rows, n, kind);
                }
            }
        }
    }
}

/* A stride of 0 means dense rows. */
static void test_dense(void)
{
    enum { ROWS = 9, N = 21 };
    for (int32_t kind = PYNN_SQUARED_ERROR; kind <= PYNN_BINARY_CROSS_ENTROPY; kind++) {
        pynn_targets targets = {.rows = t, .output_weights = v, .weights = weights};
        check_case("dense rows, loss %d", kind);
        fill_data(ROWS, N, kind);
        fill_any(t, ROWS * N, 0.0f, 1.0f);
        fill_any(v, ROWS * N, 0.0f, 3.0f);
        check_loss(&targets, ROWS, N, kind);
        targets.stride = targets.output_weights_stride = N;
        check_loss(&targets, ROWS, N, kind);
    }
}

/* Through a net, as gradient and in training, where rows come in any order. */
static void test_nets(void)
{
    static uint32_t order[MOST_ROWS];
    for (int32_t loss = PYNN_SQUARED_ERROR; loss <= PYNN_BINARY_CROSS_ENTROPY; loss++) {
        for (int labelled = 0; labelled <= (loss == PYNN_CROSS_ENTROPY); labelled++) {
            for (int way = 0; way < 9; way++) {
                enum { ROWS = MOST_ROWS, BATCH = 70 };
                const pynn_options options = {.loss = loss};
                const pynn_batches batches = {.order = order, .size = BATCH};
                pynn_data data = {.x = x, .rows = ROWS, .targets = targets_of(labelled, way / 3)};
                pynn_trainer trainer = {.loss = loss, .params = params, .moments = moments};
                pynn_totals totals = {0};
                o_trace trace;
                char text[32];
                double value = -1.0, wanted;
                check_case("net, loss %d%s, way %d", loss, labelled ? ", labels" : "", way);
                snprintf(text, sizeof text, "d8td%d%s", way == 4 ? 17 : 3, head_of(loss));
                make_net(text);
                fill_data(ROWS, net.outputs, loss);
                for (size_t r = 3; way / 3 != PYNN_BY_WEIGHTS && r < ROWS; r += 4) weights[r] = -weights[r];
                if (way % 3 != 0) data.targets.output_weights = v;
                if (way % 3 == 1) data.targets.output_weights_stride = STRIDE;
                if (way % 3 == 2) data.targets.same_output_weights = 1;

                trace = o_trace_make(&net, ROWS);
                wanted = o_loss_and_grad(&trace, wanted_grads, &net, params, x, IN, &data.targets, NULL, ROWS, loss);
                CHECK_OK(pynn_loss_and_grad(&value, grads, plan, &data, &options, work));
                CHECK_SAME_DOUBLE(value, wanted);
                CHECK_SAME(grads, wanted_grads, net.param_count);
                CHECK_OK(pynn_input_grad(&value, ds, plan, &data, &options, work));
                CHECK_SAME_DOUBLE(value, wanted);
                CHECK_SAME(ds, trace.dx[0], ROWS * IN);

                CHECK_OK(pynn_permutation(order, ROWS, 4, 0));
                CHECK_OK(pynn_train_steps(&trainer, plan, &data, &batches, work));
                for (size_t first = 0; first < ROWS; first += BATCH) { /* the same by hand */
                    const size_t rows = ROWS - first < BATCH ? ROWS - first : BATCH;
                    const size_t n = o_layers(&net, o_loss_end(loss));
                    double divisor = 0.0, mean;
                    for (size_t r = 0; r < rows; r++)
                        memcpy(y + r * IN, x + order[first + r] * IN, IN * sizeof *x); /* gathered */
                    o_forward(&trace, &net, first_params, y, IN, NULL, rows);
                    mean = o_loss(losses, trace.dx[n], trace.x[n], &data.targets, order + first, rows, net.outputs,
                                  loss, &divisor);
                    totals.loss += mean * divisor;
                    totals.weight += divisor;
                    o_backward(&trace, grads, &net, first_params, NULL, rows, n);
                    for (size_t i = 0; i < net.param_count; i++) first_params[i] -= (float)0.01 * grads[i];
                }
                CHECK_SAME(params, first_params, net.param_count);
                CHECK_SAME_DOUBLE(trainer.totals.weight, totals.weight);
                CHECK_NEAR(trainer.totals.loss, totals.loss, 1e-12 * (1.0 + fabs(totals.loss)));
                CHECK(trainer.state.steps == 5, "%" PRIu64 " steps", trainer.state.steps);
                o_trace_free(&trace);
            }
        }
    }
}

/* ---- the same bits ----------------------------------------------------- */

/* What one step of training makes of a loss. */
typedef struct outcome {
    double loss, value;
    float params[MOST_PARAMS], grads[MOST_PARAMS], dx[MOST_ROWS * IN];
    pynn_totals totals;
} outcome;

static void run(outcome *o, const pynn_data *data, int32_t loss)
{
    const pynn_options options = {.loss = loss};
    const pynn_batches batches = {0};
    pynn_trainer trainer = {.optimizer = {.kind = PYNN_ADAM}, .loss = loss, .params = params, .moments = moments};
    memset(moments, 0, sizeof moments);
    memcpy(params, first_params, sizeof params);
    CHECK_OK(pynn_loss(&o->loss, losses, ds, y, data, net.outputs, loss));
    CHECK_OK(pynn_loss_and_grad(&o->value, o->grads, plan, data, &options, work));
    CHECK_OK(pynn_input_grad(NULL, o->dx, plan, data, &options, work));
    CHECK_OK(pynn_train_steps(&trainer, plan, data, &batches, work));
    memcpy(o->params, params, sizeof params);
    memcpy(params, first_params, sizeof params);
    o->totals = trainer.totals;
}

static void check_same_outcome(const outcome *got, const outcome *wanted, size_t rows)
{
    CHECK_SAME_DOUBLE(got->loss, wanted->loss);
    CHECK_SAME_DOUBLE(got->value, wanted->value);
    CHECK_SAME(got->grads, wanted->grads, net.param_count);
    CHECK_SAME(got->dx, wanted->dx, rows * IN);
    CHECK_SAME(got->params, wanted->params, net.param_count);
    CHECK_SAME_DOUBLE(got->totals.loss, wanted->totals.loss);
    CHECK_SAME_DOUBLE(got->totals.weight, wanted->totals.weight);
}

static void test_same_bits(void)
{
    static outcome wanted, got;
    for (int32_t loss = PYNN_SQUARED_ERROR; loss <= PYNN_BINARY_CROSS_ENTROPY; loss++) {
        for (int labelled = 0; labelled <= (loss == PYNN_CROSS_ENTROPY); labelled++) {
            const size_t rows = 270;
            pynn_data data = {.x = x, .rows = rows, .targets = targets_of(labelled, PYNN_BY_WEIGHTS)};
            char text[32];
            double sum = 0.0;
            snprintf(text, sizeof text, "d8gd18%s", head_of(loss));
            make_net(text);
            fill_data(rows, net.outputs, loss);
            for (size_t r = 0; r < rows; r++) sum += (double)weights[r];

            check_case("by the sum of the weights, loss %d", loss);
            run(&wanted, &data, loss);
            CHECK_SAME_DOUBLE(wanted.totals.weight, sum);
            data.targets.normalise = PYNN_BY_NUMBER;
            data.targets.divisor = sum;
            run(&got, &data, loss);
            check_same_outcome(&got, &wanted, rows);

            if (loss != PYNN_CROSS_ENTROPY || labelled) { /* output weights of 1 */
                check_case("output weights of 1, loss %d", loss);
                for (size_t i = 0; i < COUNT(v); i++) v[i] = 1.0f;
                data.targets.output_weights = v;
                run(&got, &data, loss);
                check_same_outcome(&got, &wanted, rows);
                data.targets.same_output_weights = 1;
                run(&got, &data, loss);
                check_same_outcome(&got, &wanted, rows);
                data.targets.output_weights = NULL;
                data.targets.same_output_weights = 0;
            }

            check_case("by the number of rows, loss %d", loss);
            data.targets = targets_of(labelled, PYNN_BY_WEIGHTS);
            data.targets.weights = NULL;
            run(&wanted, &data, loss);
            for (size_t r = 0; r < rows; r++) weights[r] = 1.0f;
            data.targets = targets_of(labelled, PYNN_BY_ROWS);
            run(&got, &data, loss);
            check_same_outcome(&got, &wanted, rows);
            data.targets.weights = NULL;
            run(&got, &data, loss);
            check_same_outcome(&got, &wanted, rows);
            CHECK_SAME_DOUBLE(got.totals.weight, (double)rows);
        }
    }
}

/* One row of output weights for all is that row, for each. */
static void test_one_row(void)
{
    enum { ROWS = 20, N = 19 };
    for (int32_t kind = PYNN_SQUARED_ERROR; kind <= PYNN_BINARY_CROSS_ENTROPY; kind++) {
        pynn_data data = {.rows = ROWS, .targets = targets_of(0, PYNN_BY_WEIGHTS)};
        double loss = -1.0, wanted = -2.0;
        check_case("one row of output weights, loss %d", kind);
        fill_data(ROWS, N, kind);
        data.targets.output_weights = v;
        data.targets.same_output_weights = 1;
        CHECK_OK(pynn_loss(&wanted, wanted_losses, wanted_ds, y, &data, N, kind));
        for (size_t r = 1; r < ROWS; r++) memcpy(v + r * N, v, N * sizeof *v);
        data.targets.same_output_weights = 0;
        CHECK_OK(pynn_loss(&loss, losses, ds, y, &data, N, kind));
        CHECK_SAME_DOUBLE(loss, wanted);
        CHECK_SAME(ds, wanted_ds, ROWS * N);
    }
}

/* An output of weight 0 is a mask: it has no gradient but what softmax hands on from the others. */
static void test_mask(void)
{
    enum { ROWS = 6, N = 5 };
    for (int32_t kind = PYNN_SQUARED_ERROR; kind <= PYNN_BINARY_CROSS_ENTROPY; kind++) {
        pynn_data data = {.rows = ROWS, .targets = targets_of(0, PYNN_BY_ROWS)};
        double loss = -1.0;
        if (kind == PYNN_CROSS_ENTROPY) continue;
        check_case("a mask, loss %d", kind);
        fill_data(ROWS, N, kind);
        for (size_t i = 0; i < ROWS * N; i++) v[i] = i % 3 == 0 ? 0.0f : 1.0f;
        data.targets.weights = NULL;
        data.targets.output_weights = v;
        CHECK_OK(pynn_loss(&loss, losses, ds, y, &data, N, kind));
        for (size_t i = 0; i < ROWS * N; i++)
            CHECK((bits_of(ds[i]) == 0) == (i % 3 == 0), "element %zu is %g", i, (double)ds[i]);
    }
}

/* ---- batches without weight -------------------------------------------- */

/* By rows or by a number, a batch of weights 0 is a step with a gradient of 0; by weights it is skipped. */
static void test_empty_batch(void)
{
    enum { ROWS = 12, BATCH = 4 };
    static const pynn_optimizer momentum = {.kind = PYNN_SGD, .momentum = 0.5};
    for (int32_t normalise = PYNN_BY_WEIGHTS; normalise <= PYNN_BY_NUMBER; normalise++) {
        const pynn_batches batches = {.size = BATCH}, one = {.size = BATCH, .count = BATCH};
        pynn_data data = {.x = x, .rows = ROWS, .targets = targets_of(0, normalise)};
        pynn_trainer trainer = {.optimizer = momentum, .loss = PYNN_SQUARED_ERROR, .params = params,
                                .moments = moments};
        const int skips = normalise == PYNN_BY_WEIGHTS;
        const double each = normalise == PYNN_BY_ROWS ? BATCH : 17.3;
        double sum = 0.0;
        check_case("a batch without weight, by %d", normalise);
        make_net("d4td2");
        fill_data(ROWS, net.outputs, PYNN_SQUARED_ERROR);
        for (size_t r = 0; r < ROWS; r++) weights[r] = r / BATCH == 1 ? 0.0f : 0.5f + (float)r;
        for (size_t r = 0; r < ROWS; r++) sum += (double)weights[r];
        memset(moments, 0, sizeof moments);
        CHECK_OK(pynn_train_steps(&trainer, plan, &data, &one, work)); /* the first batch, and then by hand */
        memcpy(first_params, params, sizeof params);
        memcpy(grads, moments, sizeof grads);
        data.x += BATCH * IN;
        data.targets.rows += BATCH * STRIDE;
        data.targets.weights += BATCH;
        data.rows = BATCH;
        trainer.totals = (pynn_totals){0};
        CHECK_OK(pynn_train_steps(&trainer, plan, &data, &one, work));
        CHECK(trainer.state.steps == (skips ? 1 : 2), "%" PRIu64 " steps", trainer.state.steps);
        CHECK_SAME_DOUBLE(trainer.totals.loss, 0.0);
        CHECK_SAME_DOUBLE(trainer.totals.weight, skips ? 0.0 : each);
        for (size_t i = 0; i < net.param_count && !skips; i++) {
            grads[i] = 0.5f * grads[i];
            first_params[i] -= (float)0.01 * grads[i];
        }
        CHECK_SAME(moments, grads, net.param_count);
        CHECK_SAME(params, first_params, net.param_count);

        data = (pynn_data){.x = x, .rows = ROWS, .targets = targets_of(0, normalise)};
        trainer.totals = (pynn_totals){0};
        CHECK_OK(pynn_train_steps(&trainer, plan, &data, &batches, work));
        CHECK(trainer.state.steps == (skips ? 3 : 5), "%" PRIu64 " steps", trainer.state.steps);
        CHECK_SAME_DOUBLE(trainer.totals.weight, skips ? sum : each + each + each);
    }
}

/* Weights that cancel out are no reason to skip. */
static void test_negative(void)
{
    enum { ROWS = 4 };
    const pynn_options options = {.loss = PYNN_SQUARED_ERROR};
    pynn_data data = {.x = x, .rows = ROWS, .targets = targets_of(0, PYNN_BY_ROWS)};
    double loss = 0.0;
    check_case("weights that cancel out");
    make_net("d4td2");
    fill_data(ROWS, net.outputs, PYNN_SQUARED_ERROR);
    for (size_t r = 0; r < ROWS; r++) weights[r] = r % 2 ? 1.0f : -1.0f;
    CHECK_OK(pynn_loss_and_grad(&loss, grads, plan, &data, &options, work));
    for (size_t r = 0; r < ROWS; r++) weights[r] = -weights[r];
    CHECK_OK(pynn_loss_and_grad(&loss, wanted_grads, plan, &data, &options, work));
    for (size_t i = 0; i < net.param_count; i++)
        CHECK_NEAR((double)grads[i], -(double)wanted_grads[i], 1e-6 * fabs((double)grads[i]));
    CHECK(bits_of(grads[0]) << 1 != 0, "the gradient is 0");
}

/* ---- refusals ---------------------------------------------------------- */

/* Every call that has a loss refuses with this code, of this argument, and writes nothing. */
static void check_refused_everywhere(int code, const char *argument, const pynn_targets *targets, int32_t loss)
{
    const pynn_data data = {.x = x, .rows = 6, .targets = *targets};
    const pynn_options options = {.loss = loss};
    const pynn_batches batches = {0};
    pynn_trainer trainer = {.loss = loss, .params = params}, before = trainer;
    pynn_accumulation so_far = {.rows = 6};
    double value = 5.5;
    memset(grads, GUARD_PATTERN, sizeof grads);
    memset(ds, GUARD_PATTERN, sizeof ds);
    memset(losses, GUARD_PATTERN, sizeof losses);
    CHECK_REFUSED(code, argument, pynn_loss(&value, losses, ds, y, &data, net.outputs, loss));
    CHECK_REFUSED(code, argument, pynn_loss_and_grad(&value, grads, plan, &data, &options, work));
    CHECK_REFUSED(code, argument, pynn_input_grad(&value, ds, plan, &data, &options, work));
    CHECK_REFUSED(code, argument, pynn_train_steps(&trainer, plan, &data, &batches, work));
    if (targets->normalise == PYNN_BY_NUMBER)
        CHECK_REFUSED(code, argument, pynn_accumulate(&so_far, grads, plan, &data, &options, work));
    CHECK_SAME_DOUBLE(value, 5.5);
    CHECK(all_pattern(grads, sizeof grads) && all_pattern(ds, sizeof ds) && all_pattern(losses, sizeof losses),
          "a refused call wrote");
    CHECK(memcmp(&trainer, &before, sizeof trainer) == 0 && so_far.done == 0, "a refused call changed its state");
    CHECK_SAME(params, first_params, net.param_count);
}

static void test_refusals(void)
{
    static const float no_numbers[] = {NAN, INFINITY, -INFINITY};
    static const double bad_divisors[] = {0.0, -0.0, -1.0, NAN, INFINITY, -INFINITY};
    static const double good_divisors[] = {DBL_MAX, DBL_MIN, 1e-300, 1.0};
    const int32_t loss = PYNN_SQUARED_ERROR;
    pynn_data data = {.rows = 6};
    pynn_targets targets;
    double value = 0.0;
    make_net("d4td3");
    fill_data(6, 3, loss);
    for (int32_t normalise = PYNN_BY_WEIGHTS; normalise <= PYNN_BY_NUMBER; normalise++) {
        const float kept = weights[4];
        targets = targets_of(0, normalise);
        check_case("weights, by %d", normalise);
        for (size_t k = 0; k < COUNT(no_numbers); k++) {
            weights[4] = no_numbers[k];
            check_refused_everywhere(PYNN_BAD_WEIGHT, "targets.weights", &targets, loss);
        }
        weights[4] = -0x1p-149f;
        if (normalise == PYNN_BY_WEIGHTS) {
            check_refused_everywhere(PYNN_BAD_WEIGHT, "targets.weights", &targets, loss);
        } else {
            data.targets = targets;
            CHECK_OK(pynn_loss(&value, losses, ds, y, &data, 3, loss));
        }
        weights[4] = kept;
        check_case("output weights, by %d", normalise);
        targets.output_weights = v;
        targets.output_weights_stride = STRIDE;
        for (size_t k = 0; k <= COUNT(no_numbers); k++) {
            const float kept_here = v[5 * STRIDE + 2], kept_first = v[1];
            v[5 * STRIDE + 2] = k < COUNT(no_numbers) ? no_numbers[k] : -0x1p-149f;
            check_refused_everywhere(PYNN_BAD_WEIGHT, "targets.output_weights", &targets, loss);
            targets.same_output_weights = 1; /* the other rows are not there */
            data.targets = targets;
            CHECK_OK(pynn_loss(&value, losses, ds, y, &data, 3, loss));
            v[1] = v[5 * STRIDE + 2];
            check_refused_everywhere(PYNN_BAD_WEIGHT, "targets.output_weights", &targets, loss);
            targets.same_output_weights = 0;
            v[1] = kept_first;
            v[5 * STRIDE + 2] = kept_here;
        }
    }
    for (size_t k = 0; k < COUNT(bad_divisors); k++) {
        check_case("divisor %g", bad_divisors[k]);
        targets = targets_of(0, PYNN_BY_NUMBER);
        targets.divisor = bad_divisors[k];
        check_refused_everywhere(PYNN_BAD_VALUE, "targets.divisor", &targets, loss);
    }
    for (size_t k = 0; k < COUNT(good_divisors); k++) {
        check_case("divisor %g", good_divisors[k]);
        targets = targets_of(0, PYNN_BY_NUMBER);
        targets.divisor = good_divisors[k];
        data.targets = targets;
        CHECK_OK(pynn_loss(&value, losses, ds, y, &data, 3, loss));
        targets.normalise = PYNN_BY_WEIGHTS;
        check_refused_everywhere(PYNN_BAD_VALUE, "targets.divisor", &targets, loss);
        targets.normalise = PYNN_BY_ROWS;
        check_refused_everywhere(PYNN_BAD_VALUE, "targets.divisor", &targets, loss);
    }
    check_case("settings");
    targets = targets_of(0, PYNN_BY_WEIGHTS);
    targets.normalise = -1;
    check_refused_everywhere(PYNN_BAD_KIND, "targets.normalise", &targets, loss);
    targets.normalise = PYNN_BY_NUMBER + 1;
    check_refused_everywhere(PYNN_BAD_KIND, "targets.normalise", &targets, loss);
    targets = targets_of(0, PYNN_BY_WEIGHTS);
    targets.output_weights = v;
    targets.same_output_weights = 2;
    check_refused_everywhere(PYNN_BAD_VALUE, "targets.same_output_weights", &targets, loss);
    targets.same_output_weights = 0;
    targets.output_weights_stride = 2;
    check_refused_everywhere(PYNN_BAD_SIZE, "targets.output_weights_stride", &targets, loss);
    targets.output_weights_stride = 0;
    targets.reserved[1] = 1;
    check_refused_everywhere(PYNN_BAD_VALUE, "targets.reserved", &targets, loss);
}

static void test_all(void)
{
    test_losses();
    test_dense();
    test_nets();
    test_same_bits();
    test_one_row();
    test_mask();
    test_empty_batch();
    test_negative();
    test_refusals();
}

int main(void)
{
    every_isa(test_all);
    return check_end("test_targets");
}
