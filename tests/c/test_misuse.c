/*
 * Calls that do not fit together are refused and write nothing: backward passes without their forward pass, nets that
 * have changed, batches in pieces that do not add up, predictions in place, executors that leave workers out or are not
 * the library's own, arrays that are not the plan's.
 */
#include "nets.h"

enum { ROWS = 20, IN = 5, OUT = 3, MOST_PARAMS = 4096, WORKERS = 4 };

static pynn_layer layers[NET_LAYERS];
static pynn_net net;
static const pynn_plan *plan;
static float params[MOST_PARAMS], moments[2 * MOST_PARAMS], grads[MOST_PARAMS], wanted[MOST_PARAMS];
static float x[600 * IN], t[600 * OUT], y[ROWS * OUT], dy[ROWS * OUT], dx[ROWS * IN], wanted_dx[ROWS * IN];
static pynn_memory workspace, other_workspace;

static void make_net(const char *text)
{
    net_from(text, IN, layers, &net, params, MOST_PARAMS);
    plan = plan_from(&net, params);
    fill_any(x, COUNT(x), -1.0f, 1.0f);
    fill_any(t, COUNT(t), 0.0f, 1.0f);
    fill_any(dy, COUNT(dy), -1.0f, 1.0f);
    memset(moments, 0, sizeof moments);
}

static pynn_data rows_of(size_t rows) { return (pynn_data){.x = x, .rows = rows, .targets.rows = t}; }

/* ---- backward passes --------------------------------------------------- */

static pynn_status forward(pynn_tape *tape)
{
    const pynn_data data = rows_of(ROWS);
    return pynn_forward(y, tape, plan, &data, NULL, workspace);
}

/* A backward pass that must be refused, and that must not write. */
static void check_refused_backward(pynn_tape *tape)
{
    static pynn_tape before;
    memcpy(&before, tape, sizeof before);
    memset(grads, GUARD_PATTERN, sizeof grads);
    memset(dx, GUARD_PATTERN, sizeof dx);
    CHECK_REFUSED(PYNN_BAD_ORDER, "tape", pynn_backward(grads, dx, dy, tape, NULL));
    CHECK(all_pattern(grads, sizeof grads) && all_pattern(dx, sizeof dx), "gradients were written");
    CHECK(memcmp(&before, tape, sizeof before) == 0, "the tape was written");
}

static void check_good_backward(pynn_tape *tape)
{
    CHECK_OK(pynn_backward(grads, dx, dy, tape, NULL));
    CHECK_SAME(grads, wanted, net.param_count);
    CHECK_SAME(dx, wanted_dx, ROWS * IN);
}

/* Other calls that use the workspace of a forward pass. */
static void predict_over(void)
{
    const pynn_data data = rows_of(ROWS);
    CHECK_OK(pynn_predict(y, plan, &data, NULL, workspace));
}
static void predict_one_over(void)
{
    const pynn_data data = rows_of(1);
    CHECK_OK(pynn_predict(y, plan, &data, NULL, workspace));
}
static void learn_over(void)
{
    const pynn_data data = rows_of(ROWS);
    double loss;
    CHECK_OK(pynn_loss_and_grad(&loss, grads, plan, &data, NULL, workspace));
}
static void input_grad_over(void)
{
    const pynn_data data = rows_of(ROWS);
    CHECK_OK(pynn_input_grad(NULL, dx, plan, &data, NULL, workspace));
}
static void vjp_over(void)
{
    const pynn_data data = rows_of(ROWS);
    CHECK_OK(pynn_vjp(dx, dy, plan, &data, NULL, workspace));
}
static void forward_over(void)
{
    const pynn_data data = rows_of(1);
    pynn_tape other = {0};
    CHECK_OK(pynn_forward(y, &other, plan, &data, NULL, workspace));
}
static void accumulate_over(void)
{
    pynn_data data = rows_of(1);
    pynn_accumulation all = {.rows = 1};
    data.targets.normalise = PYNN_BY_NUMBER;
    data.targets.divisor = 1.0;
    CHECK_OK(pynn_accumulate(&all, grads, plan, &data, NULL, workspace));
}
static void train_over(void)
{
    static const double nothing[1] = {0.0};
    const pynn_data data = rows_of(ROWS);
    pynn_trainer trainer = {.params = params, .moments = moments};
    CHECK_OK(pynn_train_steps(&trainer, plan, &data, &(pynn_batches){.learning_rates = nothing}, workspace));
}
static void dense_over(void)
{
    const pynn_dense dense = {.w = params, .inputs = IN, .outputs = OUT};
    CHECK_OK(pynn_dense_backward(dx, NULL, NULL, dy, &dense, &(pynn_data){.rows = ROWS}, workspace));
}
static void plan_over(void)
{
    const pynn_plan *made;
    CHECK_OK(pynn_plan_init(&made, &(pynn_model){.net = &net, .params = params}, workspace));
}
static void in_order(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    for (size_t worker = 0; worker < *(const size_t *)context; worker++) task(argument, worker);
}
/* The first of the nets needs no memory, so that only what the second worker gets is written to. */
static void predict_many_over(void)
{
    static const pynn_layer one[] = {{.inputs = IN, .outputs = OUT}};
    static float simple_y[ROWS * OUT];
    const pynn_data data = rows_of(ROWS);
    float *const ys[] = {simple_y, y};
    size_t workers = 2;
    const pynn_executor executor = {.workers = workers, .context = &workers, .run = in_order};
    const pynn_plan *plans[2] = {NULL, plan};
    pynn_net simple;
    CHECK_OK(pynn_net_init(&simple, one, 1));
    plans[0] = plan_from(&simple, params);
    CHECK_OK(pynn_predict_many(ys, plans, 2, &data, 1, &(pynn_options){.executor = &executor}, workspace));
}

static void test_backward(void)
{
    static void (*const over[])(void) = {predict_over, predict_one_over, learn_over, input_grad_over,
                                         vjp_over, forward_over, accumulate_over, train_over,
                                         dense_over, plan_over, predict_many_over};
    static const char *const texts[] = {"d4pd3", "d4gd3", "d4ud3", "d4td3m", "pd3s"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        pynn_tape tape = {0}, other = {0}, saved;
        pynn_data data;
        check_case("backward of %s", texts[i]);
        make_net(texts[i]);
        CHECK_OK(forward(&tape)); /* what is right */
        CHECK_OK(pynn_backward(wanted, wanted_dx, dy, &tape, NULL));
        check_refused_backward(&tape); /* twice */
        memset(&tape, 0, sizeof tape);
        check_refused_backward(&tape); /* without a forward pass */
        CHECK_OK(forward(&tape));
        check_refused_backward(&other); /* the tape of another pass */
        check_good_backward(&tape);     /* which a refusal has not spoilt */
        CHECK_OK(forward(&tape));
        CHECK_REFUSED(PYNN_NULL_POINTER, "dy", pynn_backward(grads, dx, NULL, &tape, NULL));
        check_good_backward(&tape);
        CHECK_OK(forward(&tape));
        saved = tape;
        check_good_backward(&tape);
        tape = saved;
        check_refused_backward(&tape); /* twice, the tape put back */
        for (size_t k = 0; k < COUNT(over); k++) {
            check_case("backward of %s after call %zu on its workspace", texts[i], k);
            CHECK_OK(forward(&tape));
            over[k]();
            check_refused_backward(&tape);
        }
        check_case("backward of %s", texts[i]);
        data = rows_of(ROWS);
        CHECK_OK(forward(&tape)); /* each in a workspace of its own */
        CHECK_OK(pynn_forward(y, &other, plan, &data, NULL, other_workspace));
        check_good_backward(&tape);
        check_good_backward(&other);
        CHECK_OK(forward(&tape));
        data.rows = 0; /* a forward pass that is refused leaves the one before it */
        CHECK_REFUSED(PYNN_BAD_SIZE, "data.rows", pynn_forward(y, &tape, plan, &data, NULL, workspace));
        check_good_backward(&tape);
    }
    check_case(" ");
}

/* ---- nets and plans ---------------------------------------------------- */

static void check_refused_net(const pynn_net *bad, int code, const char *why)
{
    size_t size = 77;
    const pynn_plan *made = NULL;
    const pynn_model model = {.net = bad, .params = params};
    check_case("net: %s", why);
    memset(grads, GUARD_PATTERN, sizeof grads);
    memset(workspace.start, GUARD_PATTERN, 1024);
    CHECK_REFUSED(code, "net", pynn_plan_bytes(&size, bad));
    CHECK_REFUSED(code, "net", pynn_plan_init(&made, &model, workspace));
    CHECK_REFUSED(code, "net", pynn_net_offset(&size, bad, 0));
    CHECK_REFUSED(code, "net", pynn_params_init(grads, bad, 0));
    CHECK_REFUSED(code, "net", pynn_threads_advise(&size, bad, 1, 1));
    CHECK(size == 77 && made == NULL, "%zu", size);
    CHECK(all_pattern(grads, sizeof grads) && all_pattern(workspace.start, 1024), "something was written");
    check_case(" ");
}

static void test_nets(void)
{
    guarded page = guard_make(sizeof layers);
    pynn_net bad;
    make_net("d6ld4od3m");
    memset(&bad, 0, sizeof bad);
    check_refused_net(&bad, PYNN_NULL_POINTER, "zeros");
    bad = net;
    bad.layers = NULL;
    check_refused_net(&bad, PYNN_NULL_POINTER, "no layers");
    bad = (pynn_net){.layers = layers, .layer_count = net.layer_count};
    check_refused_net(&bad, PYNN_BAD_NET, "filled by hand");
    bad = net;
    bad.private_mark = 0;
    check_refused_net(&bad, PYNN_BAD_NET, "without its mark");
    for (int i = 0; i < 1000; i++) {
        uint64_t bits[sizeof bad / sizeof(uint64_t) + 1];
        for (size_t k = 0; k < COUNT(bits); k++) bits[k] = any_bits();
        memcpy((void *)&bad, bits, sizeof bad);
        check_refused_net(&bad, PYNN_BAD_NET, "garbage");
    }
    for (int field = 0; field < 7; field++) { /* the layers end where nothing may be read */
        pynn_layer *copy = guard_place(&page, net.layer_count * sizeof *copy, GUARD_AT_END);
        memcpy(copy, layers, net.layer_count * sizeof *copy);
        bad = net;
        bad.layers = copy;
        if (field == 0) bad.layer_count--;
        if (field == 1) bad.layer_count++;
        if (field == 2) bad.inputs++;
        if (field == 3) bad.outputs++;
        if (field == 4) bad.widest++;
        if (field == 5) bad.param_count++;
        if (field == 6) bad.constant_count++;
        check_refused_net(&bad, PYNN_BAD_NET, "a changed number");
    }
    for (size_t i = 0; i < net.layer_count; i++) { /* layers that are others now */
        for (int field = 0; field < 7; field++) {
            const pynn_layer kept = layers[i];
            if (field == 0) layers[i].kind = kept.kind == PYNN_TANH ? PYNN_RELU : PYNN_TANH;
            if (field == 1) layers[i].init = PYNN_INIT_HE_NORMAL;
            if (field == 2) layers[i].inputs++;
            if (field == 3) layers[i].outputs++;
            if (field == 4) layers[i].slope = 0.25;
            if (field == 5) layers[i].p = 0.5;
            if (field == 6) layers[i].reserved[1] = 1;
            check_refused_net(&net, PYNN_BAD_NET, "a changed layer");
            layers[i] = kept;
        }
    }
    CHECK_OK(pynn_plan_init(&plan, &(pynn_model){.net = &net, .params = params}, workspace)); /* all as it was */
    CHECK_OK(pynn_plan_init(&plan, &(pynn_model){.net = &net, .params = params}, workspace)); /* and again */
}

/* A plan keeps neither net nor layers. */
static void test_changed_layers(void)
{
    const pynn_data data = rows_of(ROWS);
    static float first[MOST_PARAMS], y_wanted[ROWS * OUT];
    pynn_trainer trainer = {.optimizer = pynn_adam(), .params = params, .moments = moments};
    pynn_totals totals;
    size_t count;
    make_net("d6ld4od3m");
    check_case("a plan whose layers have changed");
    count = net.param_count;
    memcpy(first, params, sizeof first);
    CHECK_OK(pynn_predict(y_wanted, plan, &data, NULL, workspace));
    CHECK_OK(pynn_train_steps(&trainer, plan, &data, &(pynn_batches){.size = 7}, workspace));
    memcpy(wanted, params, sizeof wanted);
    memcpy(params, first, sizeof params);
    memset(moments, 0, sizeof moments);
    totals = trainer.totals;
    trainer.totals = (pynn_totals){0};
    trainer.state = (pynn_state){0};
    memset(layers, GUARD_PATTERN, sizeof layers);
    memset(&net, GUARD_PATTERN, sizeof net);
    CHECK_OK(pynn_predict(y, plan, &data, NULL, workspace));
    CHECK_SAME(y, y_wanted, ROWS * OUT);
    CHECK_OK(pynn_train_steps(&trainer, plan, &data, &(pynn_batches){.size = 7}, workspace));
    CHECK_SAME(params, wanted, count);
    CHECK_SAME_DOUBLE(trainer.totals.loss, totals.loss);
    CHECK(totals.weight > 0.0, "nothing was trained");
    check_case(" ");
}

/* Memory in which no plan stands. */
static void check_refused_plan(const pynn_plan *bad, const char *why)
{
    pynn_data data = rows_of(ROWS);
    pynn_trainer trainer = {.params = params}, before;
    pynn_accumulation all = {.rows = ROWS};
    pynn_tape tape = {0};
    float *const ys[] = {y, y};
    const pynn_plan *const plans[] = {plan, bad};
    size_t bytes = 77;
    double loss = -7.0;
    check_case("plan: %s", why);
    memset(y, GUARD_PATTERN, sizeof y);
    memset(grads, GUARD_PATTERN, sizeof grads);
    memset(workspace.start, GUARD_PATTERN, 1024);
    memcpy(&before, &trainer, sizeof before);
    CHECK_REFUSED(PYNN_BAD_NET, "plan", pynn_predict(y, bad, &data, NULL, workspace));
    CHECK_REFUSED(PYNN_BAD_NET, "plan", pynn_predict_many(ys, plans, 2, &data, 1, NULL, workspace));
    CHECK_REFUSED(PYNN_BAD_NET, "plan", pynn_forward(y, &tape, bad, &data, NULL, workspace));
    CHECK_REFUSED(PYNN_BAD_NET, "plan", pynn_loss_and_grad(&loss, grads, bad, &data, NULL, workspace));
    CHECK_REFUSED(PYNN_BAD_NET, "plan", pynn_input_grad(&loss, grads, bad, &data, NULL, workspace));
    CHECK_REFUSED(PYNN_BAD_NET, "plan", pynn_vjp(grads, dy, bad, &data, NULL, workspace));
    CHECK_REFUSED(PYNN_BAD_NET, "plan", pynn_train_steps(&trainer, bad, &data, &(pynn_batches){0}, workspace));
    CHECK_REFUSED(PYNN_BAD_NET, "plan", pynn_update(&trainer, bad, wanted, 0.1));
    CHECK_REFUSED(PYNN_BAD_NET, "plan", pynn_predict_bytes(&bytes, bad, 1, NULL));
    CHECK_REFUSED(PYNN_BAD_NET, "plan", pynn_train_bytes(&bytes, bad, &trainer, 1));
    data.targets.normalise = PYNN_BY_NUMBER;
    data.targets.divisor = 1.0;
    CHECK_REFUSED(PYNN_BAD_NET, "plan", pynn_accumulate(&all, grads, bad, &data, NULL, workspace));
    CHECK(bytes == 77 && loss == -7.0 && all.done == 0, "%zu, %g", bytes, loss);
    CHECK(memcmp(&before, &trainer, sizeof before) == 0, "the trainer was written");
    CHECK(all_pattern(y, sizeof y) && all_pattern(grads, sizeof grads) && all_pattern(workspace.start, 1024),
          "something was written");
    check_case(" ");
}

static void test_plans(void)
{
    size_t bytes = 0;
    pynn_memory room;
    const pynn_plan *made;
    make_net("d6ld4od3m");
    CHECK_OK(pynn_plan_bytes(&bytes, &net));
    room = memory_of(bytes);
    memset(room.start, 0, bytes);
    check_refused_plan(room.start, "zeros");
    memset(room.start, 0xFF, bytes);
    check_refused_plan(room.start, "garbage");
    CHECK_OK(pynn_plan_init(&made, &(pynn_model){.net = &net, .params = params}, room));
    CHECK((const void *)made == room.start, "the plan is not at the start of its memory");
    memset(room.start, 0, bytes);
    check_refused_plan(made, "zeroed");
    free(room.start);
}

/* Training of an array that is not the plan's would not be seen by it. */
static void test_foreign_params(void)
{
    static float copy[MOST_PARAMS], kept[MOST_PARAMS];
    const pynn_data data = rows_of(ROWS);
    pynn_trainer trainer = {.optimizer = pynn_adam(), .params = copy, .moments = moments};
    make_net("d6td3");
    memcpy(copy, params, sizeof copy);
    memcpy(kept, params, sizeof kept);
    CHECK_REFUSED(PYNN_BAD_VALUE, "trainer.params",
                  pynn_train_steps(&trainer, plan, &data, &(pynn_batches){0}, workspace));
    CHECK_REFUSED(PYNN_BAD_VALUE, "trainer.params", pynn_update(&trainer, plan, grads, 0.1));
    trainer.params = params + 1;
    CHECK_REFUSED(PYNN_BAD_VALUE, "trainer.params", pynn_update(&trainer, plan, grads, 0.1));
    CHECK_SAME(copy, kept, net.param_count);
    CHECK_SAME(params, kept, net.param_count);
    for (size_t i = 0; i < COUNT(moments); i++) CHECK(bits_of(moments[i]) == 0, "moment %zu", i);
    CHECK(trainer.state.steps == 0 && trainer.totals.weight == 0.0, "counted");
}

/* ---- batches in pieces ------------------------------------------------- */

static pynn_status accumulate(pynn_accumulation *all, size_t rows)
{
    pynn_data data = rows_of(rows);
    data.targets.normalise = PYNN_BY_NUMBER;
    data.targets.divisor = 600.0;
    return pynn_accumulate(all, grads, plan, &data, NULL, workspace);
}

static void check_refused_piece(int code, const char *argument, pynn_accumulation all, size_t rows)
{
    pynn_accumulation before;
    check_case("%zu rows after %zu of %zu", rows, all.done, all.rows);
    memcpy(&before, &all, sizeof before);
    memset(grads, GUARD_PATTERN, sizeof grads);
    memset(workspace.start, GUARD_PATTERN, 1024);
    CHECK_REFUSED(code, argument, accumulate(&all, rows));
    CHECK(memcmp(&all, &before, sizeof all) == 0, "the accumulation was written");
    CHECK(all_pattern(grads, sizeof grads) && all_pattern(workspace.start, 1024), "something was written");
    check_case(" ");
}

static void test_pieces(void)
{
    pynn_accumulation all = {.rows = 600};
    make_net("d4td3");
    CHECK_OK(accumulate(&all, 256));
    CHECK_OK(accumulate(&all, 256));
    CHECK_OK(accumulate(&all, 88));
    CHECK(all.done == 600, "%zu rows", all.done);
    check_refused_piece(PYNN_BAD_INDEX, "data.rows", all, 1);   /* it is complete */
    check_refused_piece(PYNN_BAD_INDEX, "data.rows", all, 256);
    check_refused_piece(PYNN_BAD_ORDER, "data.rows", (pynn_accumulation){.rows = 600}, 255); /* and more must follow */
    check_refused_piece(PYNN_BAD_ORDER, "data.rows", (pynn_accumulation){.rows = 600}, 257);
    check_refused_piece(PYNN_BAD_ORDER, "data.rows", (pynn_accumulation){.rows = 600, .done = 256}, 343);
    check_refused_piece(PYNN_BAD_ORDER, "accumulation", (pynn_accumulation){.rows = 600, .done = 255}, 256);
    check_refused_piece(PYNN_BAD_ORDER, "accumulation", (pynn_accumulation){.rows = 600, .done = 599}, 1);
    check_refused_piece(PYNN_BAD_INDEX, "data.rows", (pynn_accumulation){.rows = 255}, 256); /* more than there are */
    check_refused_piece(PYNN_BAD_INDEX, "data.rows", (pynn_accumulation){.rows = 600, .done = 512}, 256);
    check_refused_piece(PYNN_BAD_INDEX, "data.rows", (pynn_accumulation){0}, 256);
    check_refused_piece(PYNN_BAD_SIZE, "data.rows", (pynn_accumulation){0}, 0);
    check_refused_piece(PYNN_BAD_SIZE, "data.rows", (pynn_accumulation){.rows = 600}, 0);
    check_refused_piece(PYNN_BAD_INDEX, "data.rows", (pynn_accumulation){.rows = 600, .done = SIZE_MAX - 255}, 256);
    check_refused_piece(PYNN_BAD_INDEX, "data.rows", (pynn_accumulation){.rows = 256, .done = SIZE_MAX - 511}, 512);
    all = (pynn_accumulation){.rows = SIZE_MAX, .done = SIZE_MAX - 255};
    check_refused_piece(PYNN_BAD_INDEX, "data.rows", all, 512);
    all = (pynn_accumulation){.rows = SIZE_MAX};
    CHECK_OK(accumulate(&all, 256));
    all.done = SIZE_MAX - 511; /* what does not wrap is allowed */
    CHECK_OK(accumulate(&all, 256));
    CHECK(all.done == SIZE_MAX - 255, "%zu rows", all.done);
}

/* All parts have one divisor and one array of gradients. */
static void test_other_pieces(void)
{
    static float other[MOST_PARAMS];
    pynn_accumulation all = {.rows = 600};
    pynn_data data = rows_of(256);
    make_net("d4td3");
    CHECK_OK(accumulate(&all, 256));
    data.targets.normalise = PYNN_BY_NUMBER;
    data.targets.divisor = 256.0; /* of the part */
    CHECK_REFUSED(PYNN_BAD_ORDER, "targets.divisor", pynn_accumulate(&all, grads, plan, &data, NULL, workspace));
    data.targets.divisor = 600.0;
    CHECK_REFUSED(PYNN_BAD_ORDER, "grads", pynn_accumulate(&all, other, plan, &data, NULL, workspace));
    CHECK(all.done == 256, "%zu rows", all.done);
    CHECK_OK(pynn_accumulate(&all, grads, plan, &data, NULL, workspace));
}

/* ---- optimizers -------------------------------------------------------- */

/* A field that a kind does not use, and powers that were not saved with the steps. */
static void test_optimizer_fields(void)
{
    const pynn_optimizer wrong[] = {
        {.kind = PYNN_ADAM, .momentum = 0.9},
        {.kind = PYNN_ADAMW, .nesterov = 1},
        {.kind = PYNN_SGD, .beta1 = 0.9},
        {.kind = PYNN_SGD, .beta2 = 0.9},
        {.kind = PYNN_SGD, .epsilon = 1e-8},
    };
    static const char *const names[] = {"optimizer.momentum", "optimizer.nesterov", "optimizer.beta1, beta2",
                                        "optimizer.beta1, beta2", "optimizer.epsilon"};
    const pynn_optimizer no_memory = {.kind = PYNN_ADAM, .epsilon = 1e-8}; /* betas of 0 */
    pynn_trainer trainer = {.optimizer = pynn_adam(), .params = params, .moments = moments, .state = {.steps = 100}};
    size_t count = 7;
    make_net("d4td3");
    for (size_t i = 0; i < COUNT(wrong); i++)
        CHECK_REFUSED(PYNN_BAD_VALUE, names[i], pynn_optimizer_moments(&count, &wrong[i]));
    CHECK(count == 7, "%zu moments", count);
    memset(grads, 0, sizeof grads);
    CHECK_REFUSED(PYNN_BAD_VALUE, "trainer.state", pynn_update(&trainer, plan, grads, 0.1));
    trainer.state.beta1_power = trainer.state.beta2_power = 0.5;
    CHECK_OK(pynn_update(&trainer, plan, grads, 0.1));
    trainer.state = (pynn_state){.steps = 100};
    trainer.optimizer = no_memory;
    CHECK_OK(pynn_update(&trainer, plan, grads, 0.1));
    trainer.state = (pynn_state){.steps = 100000}; /* 0.9^100000 is 0 */
    trainer.optimizer = pynn_adam();
    CHECK_OK(pynn_update(&trainer, plan, grads, 0.1));
}

/* A refused layer is named by its number. */
static void test_refused_layer(void)
{
    pynn_layer wrong[] = {{.kind = PYNN_DENSE, .inputs = 2, .outputs = 3}, {.kind = PYNN_RELU, .slope = 0.1},
                           {.kind = PYNN_DENSE, .inputs = 4, .outputs = 1}};
    pynn_net made;
    pynn_status status = pynn_net_init(&made, wrong, 3);
    CHECK_REFUSED(PYNN_BAD_VALUE, "layer.slope", status);
    CHECK(pynn_status_layer(status) == 1, "layer %d", (int)pynn_status_layer(status));
    wrong[1].slope = 0.0;
    status = pynn_net_init(&made, wrong, 3);
    CHECK_REFUSED(PYNN_BAD_SIZE, "layer.inputs", status);
    CHECK(pynn_status_layer(status) == 2, "layer %d", (int)pynn_status_layer(status));
    CHECK(pynn_status_layer(PYNN_OK) == -1 && pynn_status_layer(pynn_net_init(NULL, wrong, 3)) == -1, "no layer");
}

/* A factor of the gradient that overflows is seen before anything is updated. */
static void test_tiny_divisor(void)
{
    static float kept[MOST_PARAMS];
    pynn_data data = rows_of(4);
    pynn_trainer trainer = {.optimizer = pynn_sgd(), .params = params};
    make_net("d4td3");
    memcpy(kept, params, sizeof kept);
    data.targets.normalise = PYNN_BY_NUMBER;
    data.targets.divisor = 1e-300;
    CHECK_STATUS(PYNN_LOSS_NOT_FINITE, pynn_train_steps(&trainer, plan, &data, &(pynn_batches){0}, workspace));
    CHECK_SAME(params, kept, net.param_count);
    CHECK(trainer.state.steps == 0, "counted");
    data.targets.divisor = 4.0;
    CHECK_OK(pynn_train_steps(&trainer, plan, &data, &(pynn_batches){0}, workspace));
}

static void test_constants(void)
{
    const pynn_model model = {.net = &net, .params = params, .constants = params};
    const pynn_plan *found = NULL;
    make_net("d4td3");
    CHECK_REFUSED(PYNN_BAD_VALUE, "model.constants", pynn_plan_init(&found, &model, memory_of(4096)));
}

/* ---- one memory for two things ----------------------------------------- */

static void test_shared_memory(void)
{
    static float kept[MOST_PARAMS];
    const pynn_data data = rows_of(1);
    const pynn_model model = {.net = &net, .params = params};
    pynn_trainer trainer = {.optimizer = pynn_adam(), .params = params, .moments = moments};
    const pynn_plan *found = NULL;
    pynn_memory shared = {(void *)(uintptr_t)plan, 1u << 16};
    double loss;
    make_net("d4td3");
    shared.start = (void *)(uintptr_t)plan;
    memcpy(kept, params, sizeof kept);
    CHECK_REFUSED(PYNN_BAD_MEMORY, "memory", pynn_predict(grads, plan, &data, NULL, shared));
    CHECK_REFUSED(PYNN_BAD_MEMORY, "memory", pynn_train_steps(&trainer, plan, &data, &(pynn_batches){0}, shared));
    CHECK_REFUSED(PYNN_BAD_MEMORY, "memory", pynn_loss_and_grad(&loss, grads, plan, &data, NULL, shared));
    shared.start = (void *)(((uintptr_t)params + 63) / 64 * 64);
    CHECK_REFUSED(PYNN_BAD_MEMORY, "memory", pynn_predict(grads, plan, &data, NULL, shared));
    CHECK_REFUSED(PYNN_BAD_MEMORY, "memory", pynn_plan_init(&found, &model, shared));
    CHECK(found == NULL, "a plan over its parameters");
    CHECK_SAME(params, kept, net.param_count);
    CHECK_OK(pynn_predict(grads, plan, &data, NULL, workspace));
}

/* ---- predictions in place ---------------------------------------------- */

static float table[2 * ROWS * (IN + OUT) + 200];

static void check_place(int code, size_t x_at, size_t x_stride, size_t y_at, size_t y_stride, size_t rows)
{
    const pynn_data data = {.x = table + x_at, .rows = rows, .stride = x_stride};
    const pynn_options options = {.y_stride = y_stride};
    const size_t apart = y_stride > 0 ? y_stride : OUT, x_apart = x_stride > 0 ? x_stride : IN;
    float *const ys[] = {y, table + y_at};
    const pynn_plan *const plans[] = {plan, plan};
    static float before[COUNT(table)], apart_y[ROWS * OUT];
    check_case("%zu rows, x at %zu with stride %zu, y at %zu with stride %zu", rows, x_at, x_stride, y_at, y_stride);
    CHECK(y_at + rows * apart <= COUNT(table) && x_at + rows * x_apart <= COUNT(table), "the table is too short");
    fill_any(table, COUNT(table), -1.0f, 1.0f);
    memcpy(before, table, sizeof before);
    CHECK_OK(pynn_predict(apart_y, plan, &data, NULL, workspace));
    if (code != PYNN_OK) {
        CHECK_REFUSED(code, "output", pynn_predict(table + y_at, plan, &data, &options, workspace));
        if (y_stride == 0)
            CHECK_REFUSED(code, "output", pynn_predict_many(ys, plans, 2, &data, 1, &options, workspace));
        CHECK(memcmp(table, before, sizeof table) == 0, "something was written");
        return;
    }
    CHECK_OK(pynn_predict(table + y_at, plan, &data, &options, workspace));
    for (size_t r = 0; r < rows; r++) {
        CHECK_SAME(table + y_at + r * apart, apart_y + r * OUT, OUT);
        memcpy(table + y_at + r * apart, before + y_at + r * apart, OUT * sizeof(float));
    }
    CHECK(memcmp(table, before, sizeof table) == 0, "something else was written");
    check_case(" ");
}

static void test_in_place(void)
{
    const size_t wide = IN + OUT;
    make_net("d4td3");
    for (size_t rows = 1; rows <= ROWS; rows += ROWS - 1) {
        const size_t at = ROWS * OUT, end = at + rows * IN;
        check_place(PYNN_BAD_MEMORY, at, 0, at, 0, rows);                    /* in place */
        check_place(PYNN_BAD_MEMORY, at, 0, end - 1, 0, rows);               /* by one float */
        check_place(PYNN_BAD_MEMORY, at, 0, at + 1 - rows * OUT, 0, rows);
        check_place(PYNN_BAD_MEMORY, at, 0, at + 2, 0, rows);
        check_place(PYNN_OK, at, 0, end, 0, rows);                           /* side by side */
        check_place(PYNN_OK, at, 0, at - rows * OUT, 0, rows);
        check_place(PYNN_OK, at, wide, at + IN, wide, rows);                 /* columns of one table */
        check_place(PYNN_OK, at + OUT, wide, at, wide, rows);
        check_place(PYNN_OK, at, wide + 2, at + IN + 1, wide + 2, rows);
        check_place(PYNN_BAD_MEMORY, at, wide, at + IN - 1, wide, rows);     /* by one column */
        check_place(PYNN_BAD_MEMORY, at + OUT - 1, wide, at, wide, rows);
    }
    check_place(PYNN_BAD_MEMORY, 60, wide - 1, 60 + IN, wide - 1, ROWS);     /* into the next row */
    check_place(PYNN_BAD_MEMORY, 60 + OUT, wide - 1, 60, wide - 1, ROWS);
    check_place(PYNN_OK, 60, wide, 60 + IN + 2 * wide, wide, ROWS);          /* some rows further on */
    check_place(PYNN_OK, 60 + 2 * wide, wide, 60 + IN, wide, ROWS);
    check_place(PYNN_BAD_MEMORY, 60, wide, 60 + IN - 1 + 2 * wide, wide, ROWS);
    check_place(PYNN_BAD_MEMORY, 60, wide, 60 + IN, wide + 1, ROWS);         /* columns that drift */
}

/* ---- executors --------------------------------------------------------- */

/* What an executor does wrong, in its call number `fails_at`, if it gets so far. */
enum { SKIPS_LAST, SKIPS_FIRST, SKIPS_ALL, REPEATS, REPEATS_AND_SKIPS, ADDS, FAULTS };

typedef struct fault {
    size_t workers, calls, fails_at;
    int kind;
} fault;

static void run_wrong(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    fault *f = context;
    const int fails = f->calls++ == f->fails_at;
    for (size_t worker = 0; worker < f->workers; worker++) {
        const int is_last = worker + 1 == f->workers;
        if (fails && f->kind == SKIPS_ALL) continue;
        if (fails && f->kind == SKIPS_LAST && is_last) continue;
        if (fails && f->kind == SKIPS_FIRST && worker == 0) continue;
        if (fails && f->kind == REPEATS_AND_SKIPS && is_last) task(argument, 0);
        else task(argument, worker);
        if (fails && f->kind == REPEATS && is_last) task(argument, worker);
        if (fails && f->kind == ADDS && is_last) task(argument, f->workers);
    }
}

typedef pynn_status on_executor(const pynn_executor *executor);

static pynn_status predict_on(const pynn_executor *executor)
{
    const pynn_data data = rows_of(ROWS);
    return pynn_predict(y, plan, &data, &(pynn_options){.executor = executor}, workspace);
}
static pynn_status predict_many_on(const pynn_executor *executor)
{
    static float ys_room[WORKERS][ROWS * OUT];
    const pynn_data data = rows_of(ROWS);
    float *const ys[] = {ys_room[0], ys_room[1], ys_room[2], ys_room[3]};
    const pynn_plan *const plans[] = {plan, plan, plan, plan};
    return pynn_predict_many(ys, plans, 4, &data, 1, &(pynn_options){.executor = executor}, workspace);
}
static pynn_status loss_and_grad_on(const pynn_executor *executor)
{
    const pynn_data data = rows_of(ROWS);
    double loss;
    return pynn_loss_and_grad(&loss, grads, plan, &data, &(pynn_options){.executor = executor}, workspace);
}
static pynn_status input_grad_on(const pynn_executor *executor)
{
    const pynn_data data = rows_of(ROWS);
    return pynn_input_grad(NULL, dx, plan, &data, &(pynn_options){.executor = executor}, workspace);
}
static pynn_status vjp_on(const pynn_executor *executor)
{
    const pynn_data data = rows_of(ROWS);
    return pynn_vjp(dx, dy, plan, &data, &(pynn_options){.executor = executor}, workspace);
}
static pynn_status forward_on(const pynn_executor *executor)
{
    const pynn_data data = rows_of(ROWS);
    pynn_tape tape = {0};
    return pynn_forward(y, &tape, plan, &data, &(pynn_options){.executor = executor}, workspace);
}
static pynn_status backward_on(const pynn_executor *executor)
{
    pynn_tape tape = {0};
    CHECK_OK(forward(&tape));
    return pynn_backward(grads, dx, dy, &tape, executor);
}
static pynn_status accumulate_on(const pynn_executor *executor)
{
    pynn_data data = rows_of(ROWS);
    pynn_accumulation all = {.rows = ROWS};
    data.targets.normalise = PYNN_BY_NUMBER;
    data.targets.divisor = 1.0;
    return pynn_accumulate(&all, grads, plan, &data, &(pynn_options){.executor = executor}, workspace);
}
static pynn_status train_on(const pynn_executor *executor)
{
    const pynn_data data = rows_of(ROWS);
    pynn_trainer trainer = {.params = params, .executor = executor};
    return pynn_train_steps(&trainer, plan, &data, &(pynn_batches){.size = 9}, workspace);
}
static pynn_status train_clipped_on(const pynn_executor *executor)
{
    const pynn_data data = rows_of(ROWS);
    pynn_trainer trainer = {.optimizer.clip_norm = 0.1, .params = params, .executor = executor};
    return pynn_train_steps(&trainer, plan, &data, &(pynn_batches){.size = 9}, workspace);
}

static void test_wrong_executors(void)
{
    static on_executor *const calls[] = {predict_on, predict_many_on, loss_and_grad_on, input_grad_on, vjp_on,
                                         forward_on, backward_on, accumulate_on, train_on, train_clipped_on};
    make_net("d6gd4td3");
    for (size_t i = 0; i < COUNT(calls); i++) {
        for (size_t workers = 2; workers <= WORKERS; workers++) {
            for (int kind = 0; kind < FAULTS; kind++) {
                size_t fails_at = 0;
                for (int failed = 1; failed; fails_at++) { /* in each of its calls, until there are no more */
                    fault f = {.workers = workers, .fails_at = fails_at, .kind = kind};
                    const pynn_executor executor = {.workers = workers, .context = &f, .run = run_wrong};
                    pynn_status status;
                    check_case("call %zu, %zu workers, fault %d in run %zu", i, workers, kind, fails_at);
                    status = calls[i](&executor);
                    failed = f.calls > fails_at;
                    if (failed) CHECK_REFUSED(PYNN_BAD_EXECUTOR, "executor", status);
                    else CHECK_OK(status);
                }
                CHECK(fails_at >= 2, "the executor was never run");
            }
        }
    }
    check_case(" ");
}

/* A worker that there is no memory for gets no work. */
static void test_too_many_workers(void)
{
    static guarded page;
    fault f = {.workers = 2, .kind = ADDS};
    const pynn_executor executor = {.workers = 2, .context = &f, .run = run_wrong};
    const pynn_options options = {.executor = &executor};
    const pynn_data data = rows_of(ROWS);
    size_t bytes = 0;
    double loss;
    make_net("d6gd4td3");
    check_case("a worker too many");
    if (page.begin == NULL) page = guard_make(1 << 16);
    CHECK_OK(pynn_predict_bytes(&bytes, plan, ROWS, &options));
    CHECK_REFUSED(PYNN_BAD_EXECUTOR, "executor",
                  pynn_predict(y, plan, &data, &options,
                               (pynn_memory){guard_place(&page, (bytes + 63) / 64 * 64, GUARD_AT_END), bytes}));
    f.calls = 0;
    CHECK_OK(pynn_loss_and_grad_bytes(&bytes, plan, &data, &options));
    CHECK_REFUSED(PYNN_BAD_EXECUTOR, "executor",
                  pynn_loss_and_grad(&loss, grads, plan, &data, &options,
                                     (pynn_memory){guard_place(&page, (bytes + 63) / 64 * 64, GUARD_AT_END), bytes}));
    check_case(" ");
}

/* A forward pass whose executor failed cannot be followed by a backward pass. */
static void test_failed_forward(void)
{
    fault f = {.workers = 2, .kind = SKIPS_LAST};
    const pynn_executor executor = {.workers = 2, .context = &f, .run = run_wrong};
    const pynn_data data = rows_of(ROWS);
    pynn_tape tape = {0};
    make_net("d6gd4td3");
    check_case("a failed forward pass");
    CHECK_OK(forward(&tape));
    CHECK_REFUSED(PYNN_BAD_EXECUTOR, "executor",
                  pynn_forward(y, &tape, plan, &data, &(pynn_options){.executor = &executor}, workspace));
    check_refused_backward(&tape);
    check_case(" ");
}

static void never_run(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    (void)context, (void)task, (void)argument;
}

/* Only what pynn_threads_start has made is stopped, and once. */
static void test_stop(void)
{
    pynn_executor executor, copy, own = {.workers = 3, .run = never_run}, before, nothing = {0};
    size_t bytes = 0;
    pynn_memory memory;
    const void *foreign[256], *kept[256];
    check_case("threads");
    for (size_t i = 0; i < COUNT(foreign); i++) foreign[i] = &own; /* whatever it is taken for */
    memcpy(kept, foreign, sizeof kept);
    own.context = foreign;
    before = own;
    CHECK_REFUSED(PYNN_BAD_EXECUTOR, "executor", pynn_threads_stop(&own)); /* the caller's own */
    CHECK(memcmp(&own, &before, sizeof own) == 0 && memcmp(foreign, kept, sizeof kept) == 0, "something was written");
    CHECK_STATUS(PYNN_BAD_EXECUTOR, pynn_threads_stop(&nothing));
    if (pynn_threads_bytes(&bytes, 3) == PYNN_NO_THREADS) return;
    memory = memory_of(bytes);
    CHECK_OK(pynn_threads_start(&executor, 3, memory));
    copy = before = executor;
    CHECK_REFUSED(PYNN_BAD_EXECUTOR, "executor", pynn_threads_stop(&copy));
    CHECK(memcmp(&copy, &before, sizeof copy) == 0, "the copy was written");
    make_net("d6gd4td3");
    CHECK_OK(train_on(&executor)); /* it still works, and so does a copy */
    CHECK_OK(train_on(&copy));
    CHECK_OK(pynn_threads_stop(&executor));
    CHECK(executor.workers == 0 && executor.run == NULL && executor.context == NULL, "an executor after its end");
    CHECK_STATUS(PYNN_BAD_EXECUTOR, pynn_threads_stop(&executor)); /* twice */
    CHECK_REFUSED(PYNN_BAD_EXECUTOR, "executor", pynn_threads_stop(&copy));
    CHECK_REFUSED(PYNN_NULL_POINTER, "executor", train_on(&executor));
    executor = copy;
    CHECK_REFUSED(PYNN_BAD_EXECUTOR, "executor", pynn_threads_stop(&executor)); /* put back */
    CHECK_OK(pynn_threads_start(&executor, 2, memory)); /* the memory can be used again */
    CHECK_OK(train_on(&executor));
    CHECK_OK(pynn_threads_stop(&executor));
    free(memory.start);
    check_case(" ");
}

/* ---- states ------------------------------------------------------------ */

static pynn_status train_state(pynn_state *state, double rate)
{
    const pynn_data data = rows_of(ROWS);
    pynn_trainer trainer = {.optimizer = pynn_adam(), .params = params, .moments = moments, .state = *state};
    pynn_status status;
    trainer.optimizer.learning_rate = rate;
    status = pynn_train_steps(&trainer, plan, &data, &(pynn_batches){0}, workspace);
    *state = trainer.state;
    return status;
}

static void test_states(void)
{
    static float first[MOST_PARAMS];
    static const pynn_state wrong[] = {{0, 0.5, 1.0}, {0, 1.0, 0.5}, {0, 0.5, 0.5}, {0, 1e-310, 1.0}, {0, 0.9, 0.999}};
    pynn_state zero = {0}, one = {0, 1.0, 1.0}, later, fresh = {0};
    size_t moved = 0;
    check_case("states");
    make_net("d6td3");
    memcpy(first, params, sizeof first);
    CHECK_OK(train_state(&zero, 0.01));
    for (size_t i = 0; i < net.param_count; i++) { /* a first step of Adam is about the learning rate */
        const float step = fabsf(params[i] - first[i]);
        moved += step > 0.009f && step < 0.01001f;
        CHECK(step < 0.01001f, "parameter %zu moved by %g", i, (double)step);
    }
    CHECK(moved > net.param_count * 9 / 10, "only %zu of %zu parameters moved so", moved, net.param_count);
    memcpy(wanted, params, sizeof wanted);
    memcpy(params, first, sizeof params);
    memset(moments, 0, sizeof moments);
    CHECK_OK(train_state(&one, 0.01));
    CHECK_SAME(params, wanted, net.param_count);
    CHECK(zero.steps == 1 && one.steps == 1, "%" PRIu64 ", %" PRIu64, zero.steps, one.steps);
    CHECK_SAME_DOUBLE(zero.beta1_power, 0.9);
    CHECK_SAME_DOUBLE(one.beta1_power, 0.9);
    CHECK_SAME_DOUBLE(zero.beta2_power, 0.999);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        pynn_state state = wrong[i];
        CHECK_REFUSED(PYNN_BAD_VALUE, "trainer.state", train_state(&state, 0.01));
        CHECK(memcmp(&state, &wrong[i], sizeof state) == 0, "state %zu was written", i);
        CHECK_SAME(params, wanted, net.param_count);
    }
    later = (pynn_state){7, 0.5, 0.5}; /* what is refused at the start is right later on */
    CHECK_OK(train_state(&later, 0.01));

    CHECK_OK(pynn_state_restart(&one)); /* moments that start afresh */
    CHECK(one.steps == 1, "%" PRIu64 " steps", one.steps);
    CHECK(one.beta1_power == 1.0 && one.beta2_power == 1.0, "%g, %g", one.beta1_power, one.beta2_power);
    memcpy(params, wanted, sizeof params);
    memset(moments, 0, sizeof moments);
    CHECK_OK(train_state(&one, 0.01));
    CHECK(one.steps == 2, "%" PRIu64 " steps", one.steps);
    memcpy(first, params, sizeof first);
    memcpy(params, wanted, sizeof params);
    memset(moments, 0, sizeof moments);
    CHECK_OK(train_state(&fresh, 0.01));
    CHECK_SAME(params, first, net.param_count);
    check_case(" ");
}

static void test_all(void)
{
    test_backward();
    test_changed_layers();
    test_foreign_params();
    test_pieces();
    test_other_pieces();
    test_tiny_divisor();
    test_constants();
    test_shared_memory();
    test_optimizer_fields();
    test_refused_layer();
    test_in_place();
    test_wrong_executors();
    test_too_many_workers();
    test_failed_forward();
    test_states();
}

int main(void)
{
    workspace = memory_of(1 << 17);
    other_workspace = memory_of(1 << 17);
    every_isa(test_all);
    test_nets();
    test_plans();
    test_stop();
    return check_end("test_misuse");
}
