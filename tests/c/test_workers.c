/*
 * Gradients with the work shared out: one to four workers, in turns and on threads, give the same bits. Training has
 * its own test in tests/c/test_train.c.
 */
#include "nets.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

enum { MOST_ROWS = 300, MOST_WIDTH = 24, IN = 7, STRIDE = 9, MOST_PARAMS = 1 << 14, MOST_WORKERS = 4 };

static pynn_layer layers[NET_LAYERS];
static pynn_net net;
static const pynn_plan *plan; /* of params */
static float params[MOST_PARAMS], x[MOST_ROWS * STRIDE], t[MOST_ROWS * MOST_WIDTH], dy[MOST_ROWS * MOST_WIDTH];
static float weights[MOST_ROWS];
static int32_t labels[MOST_ROWS];
static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char work_storage[1 << 23], plan_storage[1 << 12];

/* A workspace of exactly these bytes, full of NaN. */
static pynn_memory workspace(size_t bytes)
{
    CHECK(bytes <= sizeof work_storage, "a workspace of %zu bytes", bytes);
    memset(work_storage, 0xFF, bytes);
    return (pynn_memory){work_storage, bytes};
}

/* What every gradient call gives. */
typedef struct outcome {
    double loss, input_loss, part_loss;
    float grads[MOST_PARAMS], part_grads[MOST_PARAMS], back_grads[MOST_PARAMS];
    float dx[MOST_ROWS * IN], product[MOST_ROWS * IN], back_dx[MOST_ROWS * IN], y[MOST_ROWS * MOST_WIDTH];
} outcome;

static void run(outcome *o, const pynn_data *data, int32_t loss, const pynn_mask *mask, const pynn_executor *executor)
{
    const pynn_options of_loss = {.loss = loss, .mask = mask, .executor = executor};
    const pynn_options of_pass = {.end = PYNN_SCORES, .mask = mask, .executor = executor};
    pynn_accumulation so_far = {.rows = data->rows};
    pynn_tape tape = {0};
    size_t bytes = 0;
    memset(o, GUARD_PATTERN, sizeof *o);
    CHECK_OK(pynn_loss_and_grad_bytes(&bytes, plan, data, &of_loss));
    CHECK_OK(pynn_loss_and_grad(&o->loss, o->grads, plan, data, &of_loss, workspace(bytes)));
    CHECK_OK(pynn_input_grad_bytes(&bytes, plan, data, &of_loss));
    CHECK_OK(pynn_input_grad(&o->input_loss, o->dx, plan, data, &of_loss, workspace(bytes)));
    CHECK_OK(pynn_input_grad_bytes(&bytes, plan, data, &of_pass));
    CHECK_OK(pynn_vjp(o->product, dy, plan, data, &of_pass, workspace(bytes)));
    CHECK_OK(pynn_accumulate_bytes(&bytes, plan, &of_loss));
    for (size_t first = 0; first < data->rows; first += 256) {
        pynn_data part = *data;
        part.rows = data->rows - first < 256 ? data->rows - first : 256;
        part.x += first * STRIDE;
        if (part.targets.labels != NULL) part.targets.labels += first;
        else part.targets.rows += first * net.outputs;
        part.targets.weights += first;
        part.targets.normalise = PYNN_BY_NUMBER;
        part.targets.divisor = 100.0;
        CHECK_OK(pynn_accumulate(&so_far, o->part_grads, plan, &part, &of_loss, workspace(bytes)));
    }
    o->part_loss = so_far.loss;
    CHECK_OK(pynn_forward_bytes(&bytes, plan, data->rows, &of_pass));
    CHECK_OK(pynn_forward(o->y, &tape, plan, data, &of_pass, workspace(bytes)));
    CHECK_OK(pynn_backward(o->back_grads, o->back_dx, dy, &tape, executor));
}

static void check_outcome(const outcome *got, const outcome *wanted)
{
    CHECK_SAME_DOUBLE(got->loss, wanted->loss);
    CHECK_SAME_DOUBLE(got->input_loss, wanted->loss);
    CHECK_SAME_DOUBLE(got->part_loss, wanted->part_loss);
    CHECK_SAME(got->grads, wanted->grads, net.param_count);
    CHECK_SAME(got->part_grads, wanted->part_grads, net.param_count);
    CHECK_SAME(got->back_grads, wanted->back_grads, net.param_count);
    CHECK_SAME(got->dx, wanted->dx, MOST_ROWS * IN);
    CHECK_SAME(got->product, wanted->product, MOST_ROWS * IN);
    CHECK_SAME(got->back_dx, wanted->back_dx, MOST_ROWS * IN);
    CHECK_SAME(got->back_dx, got->product, MOST_ROWS * IN);
    CHECK_SAME(got->y, wanted->y, MOST_ROWS * MOST_WIDTH);
}

/* An executor whose workers take turns, the last first. */
static void backwards(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    for (size_t worker = *(const size_t *)context; worker-- > 0;) task(argument, worker);
}

static void test_gradients(void)
{
    static const struct { const char *net; int32_t loss; int labelled, drops; } nets[] = {
        {"d16rd16rd3", PYNN_SQUARED_ERROR, 0, 0},          {"d17gd9ud17m", PYNN_CROSS_ENTROPY, 1, 0},
        {"od9tod9od3s", PYNN_BINARY_CROSS_ENTROPY, 0, 1},  {"d8md8pd3", PYNN_MEAN_SQUARED_ERROR, 0, 0},
        {"d30rd200gd10m", PYNN_CROSS_ENTROPY, 0, 0},       {"d1", PYNN_HALF_SQUARED_ERROR, 0, 0},
    };
    static const size_t lengths[] = {1, 2, 65, MOST_ROWS};
    static outcome wanted, got;
    const pynn_mask mask = {.seed = 4, .step = 9};
    for (size_t i = 0; i < COUNT(nets); i++) {
        net_from(nets[i].net, IN, layers, &net, params, MOST_PARAMS);
        CHECK_OK(pynn_plan_init(&plan, &(pynn_model){.net = &net, .params = params},
                                (pynn_memory){plan_storage, sizeof plan_storage}));
        fill_any(x, COUNT(x), -1.5f, 1.5f);
        fill_any(t, COUNT(t), 0.0f, 1.0f);
        fill_any(dy, COUNT(dy), -1.0f, 1.0f);
        for (size_t r = 0; r < MOST_ROWS; r++) {
            labels[r] = (int32_t)any_below(net.outputs);
            weights[r] = r % 4 == 2 ? 0.0f : any_float(0.5f, 2.0f);
        }
        for (size_t k = 0; k < COUNT(lengths); k++) {
            const pynn_data data = {.x = x, .rows = lengths[k], .stride = STRIDE,
                                    .targets = {.rows = nets[i].labelled ? NULL : t,
                                                .labels = nets[i].labelled ? labels : NULL, .weights = weights}};
            const pynn_mask *drops = nets[i].drops ? &mask : NULL;
            run(&wanted, &data, nets[i].loss, drops, NULL);
            for (size_t workers = 1; workers <= MOST_WORKERS; workers++) {
                pynn_executor executor = {.workers = workers, .context = &workers, .run = backwards};
                pynn_memory memory;
                size_t bytes = 0;
                check_case("%s, %zu rows, %zu workers", nets[i].net, data.rows, workers);
                run(&got, &data, nets[i].loss, drops, &executor);
                check_outcome(&got, &wanted);
                CHECK_OK(pynn_threads_bytes(&bytes, workers));
                memory = memory_of(bytes);
                CHECK_OK(pynn_threads_start(&executor, workers, memory));
                run(&got, &data, nets[i].loss, drops, &executor);
                CHECK_OK(pynn_threads_stop(&executor));
                free(memory.start);
                check_outcome(&got, &wanted);
            }
        }
    }
}

/* Whether a thread other than the caller's has run a task, and whether it let a signal through. */
static pthread_t caller;
static int others, unblocked;

static void look_at_signals(void *argument, size_t worker)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGALRM, SIGCHLD};
    const struct timespec moment = {0, 2000000};
    sigset_t blocked;
    (void)argument, (void)worker;
    if (pthread_equal(pthread_self(), caller)) { /* leaves the others time to come */
        nanosleep(&moment, NULL);
        return;
    }
    sigemptyset(&blocked);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    for (size_t i = 0; i < COUNT(signals); i++)
        if (!sigismember(&blocked, signals[i])) __atomic_store_n(&unblocked, signals[i], __ATOMIC_RELAXED);
    __atomic_store_n(&others, 1, __ATOMIC_RELAXED);
}

/* Signals of the program go to its own threads, and those of the caller stay as they were. */
static void test_signals(void)
{
    pynn_executor executor;
    sigset_t before, after;
    size_t bytes = 0;
    caller = pthread_self();
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    CHECK_OK(pynn_threads_bytes(&bytes, 3));
    CHECK_OK(pynn_threads_start(&executor, 3, memory_of(bytes)));
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    CHECK(sigismember(&before, SIGINT) == sigismember(&after, SIGINT), "the caller's signals have changed");
    for (int tries = 0; tries < 500 && !others; tries++) executor.run(executor.context, look_at_signals, NULL);
    CHECK(others, "no thread but the caller's has run");
    CHECK(unblocked == 0, "signal %d reaches a thread of the library", unblocked);
    CHECK_OK(pynn_threads_stop(&executor));
}

int main(void)
{
    test_signals();
    every_isa(test_gradients);
    return check_end("test_workers");
}
