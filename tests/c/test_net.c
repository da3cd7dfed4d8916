/*
 * Sizes and offsets: what a net's layers add up to, that no sum of sizes wraps around, and that all memory is exactly
 * as long as it is said to be, on every instruction set.
 */
#include "nets.h"

static void test_widths(void)
{
    static const pynn_layer layers[] = {
        {.kind = PYNN_DROPOUT, .p = 0.1},
        {.kind = PYNN_DENSE, .inputs = 3, .outputs = 5},
        {.kind = PYNN_RELU},
        {.kind = PYNN_DENSE, .inputs = 5, .outputs = 20},
        {.kind = PYNN_DENSE, .inputs = 20, .outputs = 1},
        {.kind = PYNN_SIGMOID},
        {.kind = PYNN_IDENTITY},
        {.kind = PYNN_DENSE, .inputs = 1, .outputs = 4},
        {.kind = PYNN_SOFTMAX},
    };
    static const size_t dense[][2] = {{1, 0}, {3, 20}, {4, 140}, {7, 161}};
    pynn_net net, same;
    CHECK_OK(pynn_net_init(&net, layers, COUNT(layers)));
    CHECK(net.layers == layers && net.layer_count == COUNT(layers), "%zu layers", net.layer_count);
    CHECK(net.inputs == 3 && net.outputs == 4, "%zu, %zu", net.inputs, net.outputs);
    CHECK(net.widest == 20, "%zu", net.widest);
    CHECK(net.param_count == 20 + 120 + 21 + 8 && net.constant_count == 0, "%zu", net.param_count);
    for (size_t i = 0; i < COUNT(dense); i++) {
        size_t offset = SIZE_MAX;
        CHECK_OK(pynn_net_offset(&offset, &net, dense[i][0]));
        CHECK(offset == dense[i][1], "layer %zu at %zu, not %zu", dense[i][0], offset, dense[i][1]);
    }
    CHECK_OK(pynn_net_init(&same, layers + 1, 1));
    CHECK(same.inputs == 3 && same.outputs == 5 && same.widest == 5 && same.param_count == 20, "%zu", same.param_count);
}

/* ---- what does not fit ------------------------------------------------- */

static pynn_layer dense_of(size_t inputs, size_t outputs)
{
    return (pynn_layer){.kind = PYNN_DENSE, .inputs = inputs, .outputs = outputs};
}

static pynn_status init_two(size_t a, size_t b, size_t c)
{
    const pynn_layer layers[] = {dense_of(a, b), dense_of(b, c)};
    pynn_net net;
    pynn_status status;
    memset(&net, GUARD_PATTERN, sizeof net);
    status = pynn_net_init(&net, layers, 2);
    if (status != PYNN_OK) CHECK(all_pattern(&net, sizeof net), "written in spite of status %d", (int)status);
    return status;
}

static pynn_status dense_backward_bytes(size_t *bytes, size_t inputs, size_t outputs)
{
    return pynn_dense_backward_bytes(bytes, &(pynn_dense){.inputs = inputs, .outputs = outputs});
}

static void test_too_large(void)
{
    const size_t half = (size_t)1 << 4 * sizeof(size_t); /* half half = 0 */
    const size_t most = SIZE_MAX / 2 / sizeof(float);    /* floats that half the address space holds */
    const pynn_layer fat[] = {dense_of(1, most / 8), {.kind = PYNN_TANH}, {.kind = PYNN_SOFTMAX}};
    const pynn_layer fattest[] = {dense_of(1, most / 2), {.kind = PYNN_TANH}, {.kind = PYNN_SOFTMAX}};
    const float one = 1.0f;
    pynn_trainer trainer = {.params = NULL};
    pynn_net net;
    const pynn_plan *plan;
    pynn_data data = {.x = &one, .rows = 1000};
    size_t bytes = 0;

    CHECK_REFUSED(PYNN_TOO_LARGE, "layers", init_two(half, half, 1));
    CHECK_REFUSED(PYNN_TOO_LARGE, "layers", init_two(1, half, half));
    CHECK_REFUSED(PYNN_TOO_LARGE, "layers", init_two(half, half / 2, 1)); /* the bytes wrap, the floats do not */
    CHECK_REFUSED(PYNN_TOO_LARGE, "layers", init_two(half - 1, half, 1)); /* the bias does it */
    CHECK_REFUSED(PYNN_TOO_LARGE, "layers", init_two(SIZE_MAX, 1, 1));    /* inputs + 1 wraps */
    CHECK_REFUSED(PYNN_TOO_LARGE, "layers", init_two(1, SIZE_MAX, 1));
    CHECK_REFUSED(PYNN_TOO_LARGE, "layers", init_two(1, most / 2, 1)); /* each fits, their sum does not */
    CHECK_OK(init_two(1, most / 4, 1));
    CHECK_REFUSED(PYNN_TOO_LARGE, "layers", init_two(most, 1, 1));
    CHECK_OK(init_two(most - 3, 1, 1));
    CHECK_REFUSED(PYNN_TOO_LARGE, "layers", init_two(most - 2, 1, 1));

    CHECK_OK(pynn_net_init(&net, fat, COUNT(fat)));
    plan = plan_from(&net, &one); /* what is not read may be too short */
    bytes = 77;
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_predict_bytes(&bytes, plan, 1000, NULL)); /* whole row blocks */
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_predict_bytes(&bytes, plan, SIZE_MAX, NULL));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_forward_bytes(&bytes, plan, 1000, NULL));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_forward_bytes(&bytes, plan, SIZE_MAX, NULL));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_forward_bytes(&bytes, plan, half, NULL));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_loss_and_grad_bytes(&bytes, plan, &data, NULL));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_input_grad_bytes(&bytes, plan, &data, NULL));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_accumulate_bytes(&bytes, plan, NULL));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_predict_many_bytes(&bytes, &plan, 1, &data, 1, NULL));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_train_bytes(&bytes, plan, &trainer, SIZE_MAX / 4));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_learner_bytes(&bytes, fat, COUNT(fat), 1000, 1000));
    CHECK_OK(pynn_net_init(&net, fattest, COUNT(fattest)));
    plan = plan_from(&net, &one);
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_predict_bytes(&bytes, plan, 2, NULL));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_forward_bytes(&bytes, plan, 1, NULL));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_learner_bytes(&bytes, fattest, COUNT(fattest), 1, 1));
    CHECK_STATUS(PYNN_TOO_LARGE, dense_backward_bytes(&bytes, half, half));
    CHECK_STATUS(PYNN_TOO_LARGE, dense_backward_bytes(&bytes, most, 2));
    CHECK_STATUS(PYNN_TOO_LARGE, dense_backward_bytes(&bytes, 2, most));
    CHECK_STATUS(PYNN_TOO_LARGE, dense_backward_bytes(&bytes, SIZE_MAX, 1));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_learner_bytes(&bytes, (pynn_layer[]){dense_of(1, 1)}, 1, SIZE_MAX, 1));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_learner_bytes(&bytes, (pynn_layer[]){dense_of(1, 1)}, 1, half * half - 1, 1));
    CHECK(bytes == 77, "refused, but gave %zu", bytes);
    {
        float y = -7.0f;
        double loss = -7.0;
        const pynn_data rows_of_half = {.x = &one, .rows = half, .targets.rows = &one};
        const pynn_data one_row = {.x = &one, .rows = 1, .stride = half};
        const pynn_dense square = {.w = &one, .b = &one, .inputs = half, .outputs = half};
        const pynn_dense tall = {.w = &one, .b = &one, .inputs = half, .outputs = 1};
        const pynn_dense flat = {.w = &one, .b = &one, .inputs = 1, .outputs = half};
        CHECK_STATUS(PYNN_TOO_LARGE, pynn_dense_forward(&y, &square, &one_row));
        CHECK_STATUS(PYNN_TOO_LARGE, pynn_dense_forward(&y, &tall, &rows_of_half));
        CHECK_STATUS(PYNN_TOO_LARGE, pynn_dense_forward(&y, &flat, &rows_of_half));
        CHECK_STATUS(PYNN_TOO_LARGE, pynn_softmax_forward(&y, &one, half, half));
        CHECK_STATUS(PYNN_TOO_LARGE, pynn_loss(&loss, &y, NULL, &one, &rows_of_half, half, PYNN_SQUARED_ERROR));
        CHECK(y == -7.0f && loss == -7.0, "%g, %g", (double)y, loss);
    }
}

/* ---- memory ------------------------------------------------------------ */

enum { ROWS = 200, IN = 7, OUT = 6, MOST_PARAMS = 1 << 16, PLANS = 3 };

static const char *const nets[] = {
    "d33god17rd9mud6s",   /* one of almost everything */
    "d201rd260td6s",      /* wide enough for packed products */
    "od6",                /* no row between layers but the dropped one */
    "d6ls",
};
static guarded page;
static pynn_layer layers[NET_LAYERS];
static pynn_net net;
static const pynn_plan *plan;
static float params[MOST_PARAMS], moments[2 * MOST_PARAMS], grads[MOST_PARAMS], x[ROWS * IN], t[ROWS * OUT],
    weights[ROWS], y[PLANS * ROWS * OUT], dx[ROWS * IN];
static uint32_t order[ROWS];
static const pynn_executor *executor;

/* Workers that come one after the other. */
static void in_order(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    for (size_t worker = 0; worker < *(const size_t *)context; worker++) task(argument, worker);
}

/* A weight in five is 0, and the row of that weight is not finite. */
static pynn_data data_of(size_t rows, int weighted)
{
    for (size_t r = 0; r < ROWS; r++) weights[r] = weighted && r % 5 == 3 ? 0.0f : 1.0f;
    fill_any(x, COUNT(x), -1.0f, 1.0f);
    for (size_t r = 3; weighted && r < ROWS; r += 5) x[r * IN] = NAN;
    return (pynn_data){.x = x, .rows = rows, .targets = {.rows = t, .weights = weighted ? weights : NULL}};
}

/* One call on memory that ends at the end of a page, or at most an alignment before it. */
typedef pynn_status on_memory(pynn_memory memory, size_t rows);

static pynn_status predict(pynn_memory memory, size_t rows)
{
    const pynn_data data = data_of(rows, 0);
    return pynn_predict(y, plan, &data, &(pynn_options){.executor = executor}, memory);
}
static pynn_status predict_many(pynn_memory memory, size_t rows)
{
    const pynn_data data = data_of(rows, 0);
    float *const ys[] = {y, y + ROWS * OUT, y + 2 * ROWS * OUT};
    const pynn_plan *const plans[] = {plan, plan, plan};
    return pynn_predict_many(ys, plans, PLANS, &data, 1, &(pynn_options){.executor = executor}, memory);
}
static pynn_status forward_backward(pynn_memory memory, size_t rows)
{
    const pynn_data data = data_of(rows, 0);
    const pynn_mask mask = {.seed = 1, .step = 2};
    pynn_tape tape = {0};
    const pynn_status status =
        pynn_forward(y, &tape, plan, &data, &(pynn_options){.mask = &mask, .executor = executor}, memory);
    return status != PYNN_OK ? status : pynn_backward(grads, dx, y, &tape, executor);
}
static pynn_status loss_and_grad(pynn_memory memory, size_t rows)
{
    const pynn_data data = data_of(rows, 0);
    double loss;
    return pynn_loss_and_grad(&loss, grads, plan, &data, &(pynn_options){.executor = executor}, memory);
}
static pynn_status weighted_grad(pynn_memory memory, size_t rows)
{
    const pynn_data data = data_of(rows, 1);
    double loss;
    return pynn_loss_and_grad(&loss, grads, plan, &data, &(pynn_options){.executor = executor}, memory);
}
static pynn_status input_grad(pynn_memory memory, size_t rows)
{
    const pynn_data data = data_of(rows, 1);
    return pynn_input_grad(NULL, dx, plan, &data, &(pynn_options){.executor = executor}, memory);
}
static pynn_status vjp(pynn_memory memory, size_t rows)
{
    const pynn_data data = data_of(rows, 1);
    return pynn_vjp(dx, t, plan, &data, &(pynn_options){.executor = executor}, memory);
}
static pynn_status accumulate(pynn_memory memory, size_t rows)
{
    pynn_data data = data_of(rows, 1);
    pynn_accumulation accumulation = {.rows = rows};
    data.targets.normalise = PYNN_BY_NUMBER;
    data.targets.divisor = 17.0;
    return pynn_accumulate(&accumulation, grads, plan, &data, &(pynn_options){.executor = executor}, memory);
}
static pynn_trainer trainer_of(pynn_optimizer optimizer)
{
    return (pynn_trainer){
        .optimizer = optimizer, .params = params, .moments = moments, .seed = 3, .executor = executor};
}
static pynn_optimizer plain(void)
{
    pynn_optimizer optimizer = pynn_sgd();
    optimizer.learning_rate = 1e-6;
    return optimizer;
}
static pynn_optimizer clipped(void)
{
    pynn_optimizer optimizer = pynn_adam();
    optimizer.learning_rate = 1e-6;
    optimizer.clip_norm = 0.1;
    return optimizer;
}
static pynn_status train_with(pynn_optimizer optimizer, pynn_memory memory, size_t rows)
{
    const pynn_data data = data_of(ROWS, 1);
    pynn_trainer trainer = trainer_of(optimizer);
    const pynn_batches batches = {.order = order, .count = rows};
    memset(moments, 0, sizeof moments);
    return pynn_train_steps(&trainer, plan, &data, &batches, memory);
}
static pynn_status train(pynn_memory memory, size_t rows) { return train_with(plain(), memory, rows); }
static pynn_status train_clipped(pynn_memory memory, size_t rows) { return train_with(clipped(), memory, rows); }
static pynn_status dense_backward(pynn_memory memory, size_t rows)
{
    const pynn_dense dense = {.w = params, .inputs = IN, .outputs = OUT};
    return pynn_dense_backward(dx, NULL, NULL, y, &dense, &(pynn_data){.rows = rows}, memory);
}
static pynn_status plan_init(pynn_memory memory, size_t rows)
{
    const pynn_plan *made = NULL;
    (void)rows;
    return pynn_plan_init(&made, &(pynn_model){.net = &net, .params = params}, memory);
}

static void check_memory(const char *name, on_memory *call, size_t bytes, size_t rows)
{
    const size_t whole = (bytes + 63) / 64 * 64;
    unsigned char *start = guard_place(&page, whole, GUARD_AT_END);
    check_case("%s, %zu rows, %zu workers", name, rows, executor != NULL ? executor->workers : 1);
    CHECK((uintptr_t)start % 64 == 0, "the test's own alignment");
    CHECK_OK(call((pynn_memory){start, bytes}, rows));
    CHECK(guard_intact(&page), "the memory was underrun");
    CHECK(all_pattern(start + bytes, whole - bytes), "the memory was overrun");
    if (bytes > 0) {
        CHECK_REFUSED(PYNN_BAD_MEMORY, "memory", call((pynn_memory){start, bytes - 1}, rows));
        CHECK_REFUSED(PYNN_BAD_MEMORY, "memory", call((pynn_memory){start, 0}, rows));
        CHECK_REFUSED(PYNN_NULL_POINTER, "memory", call((pynn_memory){NULL, bytes}, rows));
        start = guard_place(&page, whole + 128, GUARD_AT_START);
        for (size_t off = 4; off < 64; off += off)
            CHECK_REFUSED(PYNN_BAD_MEMORY, "memory", call((pynn_memory){start + off, whole + 64}, rows));
        CHECK(all_pattern(start, whole + 128), "written in spite of its alignment");
    }
    check_case(" ");
}

static void make_net(const char *text)
{
    net_from(text, IN, layers, &net, params, MOST_PARAMS);
    plan = plan_from(&net, params);
    fill_any(t, COUNT(t), 0.0f, 1.0f);
    for (uint32_t i = 0; i < ROWS; i++) order[i] = ROWS - 1 - i;
}

static void check_memories(size_t n)
{
    const pynn_options options = {.executor = executor};
    const pynn_plan *const plans[] = {plan, plan, plan};
    pynn_trainer trainer = trainer_of(plain());
    pynn_data data = data_of(n, 0);
    size_t bytes = 0, weighted = 0;
    CHECK_OK(pynn_predict_bytes(&bytes, plan, n, &options));
    check_memory("predict", predict, bytes, n);
    CHECK_OK(pynn_predict_many_bytes(&bytes, plans, PLANS, &data, 1, &options));
    check_memory("predict_many", predict_many, bytes, n);
    CHECK_OK(pynn_forward_bytes(&bytes, plan, n, &options));
    check_memory("forward and backward", forward_backward, bytes, n);
    CHECK_OK(pynn_loss_and_grad_bytes(&bytes, plan, &data, &options));
    check_memory("loss_and_grad", loss_and_grad, bytes, n);
    data = data_of(n, 1);
    CHECK_OK(pynn_loss_and_grad_bytes(&weighted, plan, &data, &options));
    CHECK(weighted >= bytes, "%zu bytes with weights, %zu without", weighted, bytes);
    check_memory("loss_and_grad, weights", weighted_grad, weighted, n);
    CHECK_OK(pynn_input_grad_bytes(&bytes, plan, &data, &options));
    check_memory("input_grad", input_grad, bytes, n);
    check_memory("vjp", vjp, bytes, n);
    CHECK_OK(pynn_accumulate_bytes(&bytes, plan, &options));
    check_memory("accumulate", accumulate, bytes, n);
    CHECK_OK(pynn_train_bytes(&bytes, plan, &trainer, n));
    check_memory("train", train, bytes, n);
    trainer.optimizer = clipped();
    CHECK_OK(pynn_train_bytes(&bytes, plan, &trainer, n));
    check_memory("train, clipped", train_clipped, bytes, n);
    CHECK_OK(dense_backward_bytes(&bytes, IN, OUT));
    check_memory("dense_backward", dense_backward, bytes, n);
}

static void test_memory(const char *text)
{
    static const size_t rows[] = {1, 2, 15, 16, 47, 48, 49, 127, 128, 129, 191, 192, 193, ROWS};
    size_t workers = 3, bytes = 0;
    const pynn_executor three = {.workers = workers, .context = &workers, .run = in_order};
    make_net(text);
    CHECK_OK(pynn_plan_bytes(&bytes, &net));
    check_memory("plan_init", plan_init, bytes, 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        executor = NULL;
        check_memories(rows[i]);
        executor = &three;
        check_memories(rows[i]);
    }
}

/* ---- bytes ------------------------------------------------------------- */

enum { SIZES = 1000 };
static size_t sizes[SIZES], size_count;

static void note_size(pynn_status status, size_t bytes)
{
    CHECK_OK(status);
    CHECK(size_count < SIZES, "too many sizes");
    if (size_count < SIZES) sizes[size_count++] = bytes;
}

/* The bytes of all calls for all nets. */
static void note_sizes(void)
{
    static const size_t rows[] = {1, 5, 100, 192, 193, 1000};
    size_count = 0;
    for (size_t i = 0; i < COUNT(nets); i++) {
        size_t bytes = 0;
        make_net(nets[i]);
        note_size(pynn_plan_bytes(&bytes, &net), bytes);
        note_size(pynn_accumulate_bytes(&bytes, plan, NULL), bytes);
        for (size_t k = 0; k < COUNT(rows); k++) {
            for (size_t workers = 1; workers <= 4; workers += 3) {
                const pynn_executor many = {.workers = workers, .context = &workers, .run = in_order};
                const pynn_options options = {.executor = &many};
                pynn_data data = {.x = x, .rows = rows[k], .targets = {.rows = t, .weights = weights}};
                pynn_trainer trainer;
                executor = &many;
                trainer = trainer_of(clipped());
                note_size(pynn_predict_bytes(&bytes, plan, rows[k], &options), bytes);
                note_size(pynn_predict_many_bytes(&bytes, &plan, 1, &data, 1, &options), bytes);
                note_size(pynn_forward_bytes(&bytes, plan, rows[k], &options), bytes);
                note_size(pynn_loss_and_grad_bytes(&bytes, plan, &data, &options), bytes);
                note_size(pynn_input_grad_bytes(&bytes, plan, &data, &options), bytes);
                note_size(pynn_train_bytes(&bytes, plan, &trainer, rows[k]), bytes);
            }
            note_size(pynn_learner_bytes(&bytes, layers, net.layer_count, rows[k], rows[k]), bytes);
        }
        note_size(dense_backward_bytes(&bytes, 3 + 70 * i, 5 + 90 * i), bytes);
    }
}

/* Bytes do not depend on the instruction set. */
static void test_same_bytes(void)
{
    static size_t first[SIZES], first_count;
    note_sizes();
    if (first_count == 0) {
        first_count = size_count;
        memcpy(first, sizes, sizeof first);
    }
    CHECK(size_count == first_count, "%zu sizes, not %zu", size_count, first_count);
    for (size_t i = 0; i < size_count; i++)
        CHECK(sizes[i] == first[i], "size %zu is %zu, not %zu", i, sizes[i], first[i]);
}

static size_t predict_bytes_of(const char *text, size_t inputs, size_t rows)
{
    size_t bytes = SIZE_MAX;
    net_from(text, inputs, layers, &net, params, MOST_PARAMS);
    CHECK_OK(pynn_predict_bytes(&bytes, plan_from(&net, params), rows, NULL));
    return bytes;
}

/* Little memory for little work. */
static void test_few_bytes(void)
{
    pynn_trainer trainer = {.optimizer = pynn_sgd(), .params = params};
    size_t bytes, before = 0, most;
    CHECK(predict_bytes_of("d16rd3", 4, 1) <= 256, "%zu bytes", predict_bytes_of("d16rd3", 4, 1));
    CHECK(predict_bytes_of("d16rd3m", 4, 1) <= 256, "%zu bytes", predict_bytes_of("d16rd3m", 4, 1));
    CHECK(predict_bytes_of("d64rd10m", 64, 1) <= 1024, "%zu bytes", predict_bytes_of("d64rd10m", 64, 1));
    net_from("d64rd10m", 64, layers, &net, params, MOST_PARAMS);
    CHECK_OK(pynn_train_bytes(&bytes, plan_from(&net, params), &trainer, 1));
    CHECK(bytes <= net.param_count * sizeof(float) + 2048, "%zu bytes for %zu parameters", bytes, net.param_count);
    most = predict_bytes_of("d33rd31gd5m", 9, SIZE_MAX);
    CHECK(most < 300 * 33 * 2 * sizeof(float), "%zu bytes for all rows there are", most); /* "some hundred" */
    for (size_t rows = 1; rows < 1000; rows++) {
        bytes = predict_bytes_of("d33rd31gd5m", 9, rows);
        CHECK(bytes >= before, "%zu rows need %zu bytes, a row less %zu", rows, bytes, before);
        CHECK(bytes <= most, "%zu rows need %zu bytes, not %zu", rows, bytes, most);
        before = bytes;
    }
}

/* Memory for so many rows is enough for fewer. */
static void test_fewer_rows(void)
{
    pynn_trainer trainer = {.optimizer = pynn_sgd(), .params = params};
    make_net("d33god17rd9mud6s");
    for (size_t rows = 2; rows < 600; rows++) {
        const pynn_data less = {.x = x, .rows = rows - 1}, more = {.x = x, .rows = rows};
        size_t few = 0, many = 0;
        CHECK_OK(pynn_forward_bytes(&few, plan, rows - 1, NULL));
        CHECK_OK(pynn_forward_bytes(&many, plan, rows, NULL));
        CHECK(few <= many, "forward: %zu rows need %zu bytes, a row less %zu", rows, many, few);
        CHECK_OK(pynn_train_bytes(&few, plan, &trainer, rows - 1));
        CHECK_OK(pynn_train_bytes(&many, plan, &trainer, rows));
        CHECK(few <= many, "train: %zu rows need %zu bytes, a row less %zu", rows, many, few);
        CHECK_OK(pynn_loss_and_grad_bytes(&few, plan, &less, NULL));
        CHECK_OK(pynn_loss_and_grad_bytes(&many, plan, &more, NULL));
        CHECK(few <= many, "loss_and_grad: %zu rows need %zu bytes, a row less %zu", rows, many, few);
        CHECK_OK(pynn_input_grad_bytes(&few, plan, &less, NULL));
        CHECK_OK(pynn_input_grad_bytes(&many, plan, &more, NULL));
        CHECK(few <= many, "input_grad: %zu rows need %zu bytes, a row less %zu", rows, many, few);
    }
}

int main(void)
{
    test_widths();
    test_too_large();
    page = guard_make(1 << 24);
    for (size_t i = 0; i < COUNT(nets); i++) test_memory(nets[i]);
    every_isa(test_same_bytes);
    test_few_bytes();
    test_fewer_rows();
    return check_end("test_net");
}
