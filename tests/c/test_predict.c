/*
 * Predictions of many nets in one call have the bits of single ones, for one data or one data each, for any number of
 * workers; rows may lie apart on both sides.
 */
#include "nets.h"

enum { ROWS = 230, MOST_IN = 9, MOST_OUT = 12, MOST_PARAMS = 1 << 16, NETS = 9, GAP = 3 };

static const struct { const char *text; size_t inputs; } nets[NETS] = {
    {"d7", 5}, {"d16rd3m", 5}, {"od4gd7s", 5}, {"d201rd260td6s", 5}, {"rd2m", 5},
    {"d33ld31ud5p", 9}, {"d1", 1}, {"md3", 4}, {"d12", 7},
};
static pynn_layer layers[NETS][NET_LAYERS];
static pynn_net made[NETS];
static const pynn_plan *plans[NETS];
static float params[NETS][MOST_PARAMS];
static float x[NETS][ROWS * (MOST_IN + GAP)], y[NETS][ROWS * (MOST_OUT + GAP)], wanted[ROWS * MOST_OUT];
static guarded page;

static void make_nets(void)
{
    for (size_t i = 0; i < NETS; i++) {
        net_from(nets[i].text, nets[i].inputs, layers[i], &made[i], params[i], MOST_PARAMS);
        plans[i] = plan_from(&made[i], params[i]);
        fill_any(x[i], COUNT(x[i]), -1.0f, 1.0f);
    }
}

/* One net alone, rows side by side. */
static void predict_alone(const pynn_plan *plan, const pynn_data *data, int32_t end)
{
    static pynn_memory room;
    const pynn_options options = {.end = end};
    size_t bytes = 0;
    CHECK_OK(pynn_predict_bytes(&bytes, plan, data->rows, &options));
    if (room.bytes < bytes) {
        free(room.start);
        room = memory_of(bytes);
    }
    CHECK_OK(pynn_predict(wanted, plan, data, &options, room));
}

static void in_order(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    for (size_t worker = 0; worker < *(const size_t *)context; worker++) task(argument, worker);
}

/* The first `count` nets from net `first` on, in memory that ends where nothing may be touched. */
static void check_many(size_t first, size_t count, const pynn_data *data, size_t data_count,
                       const pynn_options *options)
{
    float *ys[NETS] = {NULL};
    size_t bytes = 0;
    pynn_memory memory;
    check_case("nets %zu .. %zu, data for %zu, end %d, y stride %zu, %zu workers", first, first + count, data_count,
               options->end, options->y_stride, options->executor != NULL ? options->executor->workers : 1);
    memset(y, GUARD_PATTERN, sizeof y);
    for (size_t i = 0; i < count; i++) ys[i] = data[data_count == 1 ? 0 : i].rows > 0 ? y[i] : NULL;
    CHECK_OK(pynn_predict_many_bytes(&bytes, plans + first, count, data, data_count, options));
    memory = (pynn_memory){guard_place(&page, (bytes + 63) / 64 * 64, GUARD_AT_END), bytes};
    CHECK_OK(pynn_predict_many(ys, plans + first, count, data, data_count, options, memory));
    CHECK(guard_intact(&page), "the memory was underrun");
    for (size_t i = 0; i < count; i++) {
        const pynn_data *own = &data[data_count == 1 ? 0 : i];
        const size_t outputs = made[first + i].outputs, stride = options->y_stride > 0 ? options->y_stride : outputs;
        predict_alone(plans[first + i], own, options->end);
        for (size_t r = 0; r < own->rows; r++) {
            CHECK_SAME(y[i] + r * stride, wanted + r * outputs, outputs);
            CHECK(all_pattern(y[i] + r * stride + outputs, (stride - outputs) * sizeof(float)), "behind row %zu", r);
        }
        CHECK(all_pattern(y[i] + own->rows * stride, sizeof y[i] - own->rows * stride * sizeof(float)),
              "net %zu: written behind the last row", i);
    }
    check_case(" ");
}

static void check_workers(const pynn_executor *executor)
{
    static const size_t rows[] = {1, 3, ROWS};
    for (int32_t end = PYNN_OUTPUTS; end <= PYNN_SCORES; end++) {
        for (size_t k = 0; k < COUNT(rows); k++) {
            const pynn_options dense = {.end = end, .executor = executor};
            const pynn_options apart = {.end = end, .y_stride = MOST_OUT + GAP, .executor = executor};
            const pynn_data one = {.x = x[0], .rows = rows[k], .stride = 5 + any_below(GAP)};
            pynn_data each[NETS];
            for (size_t count = 0; count <= 5; count++) check_many(0, count, &one, 1, &dense);
            check_many(0, 5, &one, 1, &apart);
            for (size_t i = 0; i < NETS; i++)
                each[i] = (pynn_data){
                    .x = x[i], .rows = any_below(rows[k] + 1), .stride = made[i].inputs + any_below(GAP)};
            each[2] = (pynn_data){.x = NULL}; /* no rows */
            check_many(0, NETS, each, NETS, &dense);
            check_many(0, NETS, each, NETS, &apart);
            check_many(4, 1, &each[4], 1, &dense);
        }
    }
}

static void test_many(void)
{
    make_nets();
    check_workers(NULL);
    for (size_t workers = 1; workers <= 4; workers++) {
        const pynn_executor executor = {.workers = workers, .context = &workers, .run = in_order};
        check_workers(&executor);
    }
}

/* On threads, and with plans of different instruction sets in one call. */
static void test_threads(void)
{
    int32_t best = 0;
    make_nets();
    CHECK_OK(pynn_isa_get(&best));
    for (size_t i = 0; i < NETS; i++) {
        const int32_t isa = (int32_t)i % (best + 1);
        if (pynn_isa_set(isa) == PYNN_OK) plans[i] = plan_from(&made[i], params[i]);
    }
    CHECK_OK(pynn_isa_set(best));
    for (size_t workers = 2; workers <= 4; workers++) {
        pynn_executor executor;
        pynn_memory memory;
        size_t bytes = 0;
        if (pynn_threads_bytes(&bytes, workers) == PYNN_NO_THREADS) continue;
        memory = memory_of(bytes);
        CHECK_OK(pynn_threads_start(&executor, workers, memory));
        check_workers(&executor);
        CHECK_OK(pynn_threads_stop(&executor));
        free(memory.start);
    }
}

/* One plan, in as many calls as there are. */
static void test_same_plan(void)
{
    const pynn_data one = {.x = x[0], .rows = 17};
    const pynn_plan *const same[] = {plans[3], plans[3], plans[3]};
    float *const ys[] = {y[0], y[1], y[2]};
    size_t bytes = 0;
    CHECK_OK(pynn_predict_many_bytes(&bytes, same, 3, &one, 1, NULL));
    CHECK_OK(pynn_predict_many(ys, same, 3, &one, 1, NULL, memory_of(bytes)));
    predict_alone(plans[3], &one, PYNN_OUTPUTS);
    for (size_t i = 0; i < 3; i++) CHECK_SAME(y[i], wanted, 17 * made[3].outputs);
}

/* What a plan predicts follows the numbers in the arrays it points to. */
static void test_changed_params(void)
{
    const pynn_data one = {.x = x[1], .rows = 17};
    static float before[17 * MOST_OUT];
    predict_alone(plans[1], &one, PYNN_OUTPUTS);
    memcpy(before, wanted, sizeof before);
    params[1][0] += 1.0f;
    predict_alone(plans[1], &one, PYNN_OUTPUTS);
    CHECK(memcmp(before, wanted, sizeof before) != 0, "the new weight was not seen");
    params[1][0] -= 1.0f;
}

int main(void)
{
    page = guard_make(1 << 22);
    every_isa(test_many);
    test_threads();
    test_same_plan();
    test_changed_params();
    return check_end("test_predict");
}
