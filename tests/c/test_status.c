/*
 * Every status has a text of its own and is given by at least one call; a refused call writes nothing. Out of
 * reach are PYNN_BAD_ARITHMETIC, which takes a compiler or a machine that breaks the rules, and PYNN_NO_THREADS.
 */
#include "check.h"

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
    }
    CHECK(unknown != NULL && unknown[0] != '\0', "no text for an unknown status");
    CHECK(strcmp(pynn_status_text(PYNN_NO_THREADS + 1), unknown) == 0, "%s", pynn_status_text(PYNN_NO_THREADS + 1));
    CHECK(strcmp(pynn_status_text(INT32_MAX), unknown) == 0, "%s", pynn_status_text(INT32_MAX));
    CHECK(strcmp(pynn_status_text(INT32_MIN), unknown) == 0, "%s", pynn_status_text(INT32_MIN));
    snprintf(version, sizeof version, "%d.%d.%d", PYNN_VERSION_MAJOR, PYNN_VERSION_MINOR, PYNN_VERSION_PATCH);
    CHECK(strcmp(pynn_version(), version) == 0, "%s, not %s", pynn_version(), version);
}

/* ---- refusals ---------------------------------------------------------- */

/* Good arguments; each call below spoils one. Outputs hold a pattern which must still be there afterwards. */
enum { ROWS = 5, IN = 3, HIDDEN = 4, OUT = 2, ORDER = 7, BATCH = 4, STEPS = 2, MOST = 64 };

static const pynn_layer layers[] = {
    {PYNN_DENSE, PYNN_INIT_AUTO, IN, HIDDEN, 0.0}, {PYNN_LEAKY_RELU, 0, 0, 0, 0.1},         {PYNN_DROPOUT, 0, 0, 0, 0.25},
    {PYNN_DENSE, PYNN_INIT_AUTO, HIDDEN, OUT, 0.0}, {PYNN_SOFTMAX, 0, 0, 0, 0.0},
};
static pynn_net net;
static const pynn_optimizer adam = {PYNN_ADAM, 0, 0.0, 0.9, 0.999, 1e-8, 0.0, 1.0};
static const pynn_mask mask = {7, 0, 0};
static float x[ROWS * MOST], w[MOST], t[ROWS * OUT], weights[ROWS];
static int32_t labels[ROWS];
static uint32_t order[ORDER];
static double rates[STEPS];

/* Everything that a call may write to. */
static struct {
    float params[MOST], moments[2 * MOST], grads[MOST], y[ROWS * MOST], z[ROWS * MOST], losses[ROWS];
    uint32_t words[MOST];
    double loss;
    size_t size, where;
    pynn_net net;
    pynn_state state;
    pynn_totals totals;
    pynn_executor executor;
} out;
static void *work;
static size_t work_bytes;

static int refused(int wanted, int got, const char *file, int line, const char *text)
{
    check_status(wanted, got, file, line, text);
    return check_that(all_pattern(&out, sizeof out) && all_pattern(work, work_bytes), file, line, text,
                      "something was written");
}
#define REFUSED(wanted, call) \
    (memset(&out, GUARD_PATTERN, sizeof out), memset(work, GUARD_PATTERN, work_bytes), \
     refused((int)(wanted), (int)(call), __FILE__, __LINE__, #call))

static void prepare(void)
{
    size_t bytes = 0;
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
    CHECK_OK(pynn_train_bytes(&bytes, &net, &adam, BATCH + ROWS, 1));
    work_bytes = bytes;
    work = aligned_bytes(bytes);
}

static pynn_status init_one(pynn_layer layer)
{
    const pynn_layer pair[] = {{PYNN_DENSE, PYNN_INIT_AUTO, IN, OUT, 0.0}, layer};
    return pynn_net_init(&out.net, pair, 2);
}

static void test_net_refusals(void)
{
    static const pynn_layer gap[] = {{PYNN_DENSE, 0, 3, 4, 0.0}, {PYNN_RELU, 0, 0, 0, 0.0}, {PYNN_DENSE, 0, 5, 2, 0.0}};
    static const pynn_layer no_dense[] = {{PYNN_RELU, 0, 0, 0, 0.0}};
    REFUSED(PYNN_NULL_POINTER, pynn_net_init(NULL, layers, COUNT(layers)));
    REFUSED(PYNN_NULL_POINTER, pynn_net_init(&out.net, NULL, 1));
    REFUSED(PYNN_BAD_SIZE, pynn_net_init(&out.net, layers, 0));
    REFUSED(PYNN_BAD_SIZE, pynn_net_init(&out.net, gap, COUNT(gap)));
    REFUSED(PYNN_BAD_SIZE, pynn_net_init(&out.net, no_dense, 1));
    REFUSED(PYNN_BAD_KIND, init_one((pynn_layer){PYNN_DROPOUT + 1, 0, 0, 0, 0.0}));
    REFUSED(PYNN_BAD_KIND, init_one((pynn_layer){-1, 0, 0, 0, 0.0}));
    REFUSED(PYNN_BAD_KIND, init_one((pynn_layer){PYNN_DENSE, PYNN_INIT_ZEROS + 1, OUT, 1, 0.0}));
    REFUSED(PYNN_BAD_KIND, init_one((pynn_layer){PYNN_DENSE, -1, OUT, 1, 0.0}));
    REFUSED(PYNN_BAD_SIZE, init_one((pynn_layer){PYNN_DENSE, 0, OUT, 0, 0.0}));
    REFUSED(PYNN_BAD_SIZE, init_one((pynn_layer){PYNN_DENSE, 0, 0, OUT, 0.0}));
    REFUSED(PYNN_BAD_SIZE, init_one((pynn_layer){PYNN_RELU, 0, OUT, OUT, 0.0}));
    REFUSED(PYNN_BAD_VALUE, init_one((pynn_layer){PYNN_LEAKY_RELU, 0, 0, 0, -0.1}));
    REFUSED(PYNN_BAD_VALUE, init_one((pynn_layer){PYNN_LEAKY_RELU, 0, 0, 0, (double)INFINITY}));
    REFUSED(PYNN_BAD_VALUE, init_one((pynn_layer){PYNN_LEAKY_RELU, 0, 0, 0, (double)NAN}));
    REFUSED(PYNN_BAD_VALUE, init_one((pynn_layer){PYNN_DROPOUT, 0, 0, 0, 1.0}));
    REFUSED(PYNN_BAD_VALUE, init_one((pynn_layer){PYNN_DROPOUT, 0, 0, 0, -0.1}));
    REFUSED(PYNN_BAD_VALUE, init_one((pynn_layer){PYNN_DROPOUT, 0, 0, 0, (double)NAN}));
    REFUSED(PYNN_NULL_POINTER, pynn_net_offset(NULL, &net, 0));
    REFUSED(PYNN_NULL_POINTER, pynn_net_offset(&out.size, NULL, 0));
    REFUSED(PYNN_BAD_KIND, pynn_net_offset(&out.size, &net, 1));
    REFUSED(PYNN_BAD_INDEX, pynn_net_offset(&out.size, &net, COUNT(layers)));
    REFUSED(PYNN_NULL_POINTER, pynn_predict_bytes(NULL, &net, 1));
    REFUSED(PYNN_NULL_POINTER, pynn_predict_bytes(&out.size, NULL, 1));
    REFUSED(PYNN_NULL_POINTER, pynn_pass_bytes(NULL, &net, 1));
    REFUSED(PYNN_NULL_POINTER, pynn_pass_bytes(&out.size, NULL, 1));
    REFUSED(PYNN_BAD_SIZE, pynn_pass_bytes(&out.size, &net, 0));
    REFUSED(PYNN_TOO_LARGE, pynn_pass_bytes(&out.size, &net, SIZE_MAX));
    REFUSED(PYNN_NULL_POINTER, pynn_train_bytes(NULL, &net, &adam, 1, 1));
    REFUSED(PYNN_NULL_POINTER, pynn_train_bytes(&out.size, NULL, &adam, 1, 1));
    REFUSED(PYNN_NULL_POINTER, pynn_train_bytes(&out.size, &net, NULL, 1, 1));
    REFUSED(PYNN_BAD_SIZE, pynn_train_bytes(&out.size, &net, &adam, 0, 1));
    REFUSED(PYNN_TOO_LARGE, pynn_train_bytes(&out.size, &net, &adam, SIZE_MAX, 1));
    REFUSED(PYNN_NULL_POINTER, pynn_dense_backward_bytes(NULL, 1, 1));
    REFUSED(PYNN_TOO_LARGE, pynn_dense_backward_bytes(&out.size, SIZE_MAX, 2));
}

static void test_random_refusals(void)
{
    REFUSED(PYNN_NULL_POINTER, pynn_permutation(NULL, 3, 0, 0));
#if SIZE_MAX > UINT32_MAX
    REFUSED(PYNN_TOO_LARGE, pynn_permutation(out.words, (size_t)UINT32_MAX + 1, 0, 0));
#endif
    REFUSED(PYNN_NULL_POINTER, pynn_random_words(NULL, 3, 0, 0, 0, 0));
    REFUSED(PYNN_NULL_POINTER, pynn_net_draw(NULL, &net, 0));
    REFUSED(PYNN_NULL_POINTER, pynn_net_draw(out.params, NULL, 0));
    REFUSED(PYNN_NULL_POINTER, pynn_dense_draw(NULL, out.y, 2, 2, 0, 0, 0));
    REFUSED(PYNN_NULL_POINTER, pynn_dense_draw(out.y, NULL, 2, 2, 0, 0, 0));
    REFUSED(PYNN_BAD_KIND, pynn_dense_draw(out.y, out.z, 2, 2, PYNN_INIT_ZEROS + 1, 0, 0));
    REFUSED(PYNN_BAD_SIZE, pynn_dense_draw(out.y, out.z, 0, 2, 0, 0, 0));
    REFUSED(PYNN_BAD_SIZE, pynn_dense_draw(out.y, out.z, 2, 0, 0, 0, 0));
    REFUSED(PYNN_TOO_LARGE, pynn_dense_draw(out.y, out.z, SIZE_MAX, 2, 0, 0, 0));
}

static void test_layer_refusals(void)
{
    float *y = out.y, *z = out.z;
    REFUSED(PYNN_NULL_POINTER, pynn_dense_forward(NULL, x, IN, w, w, ROWS, IN, OUT));
    REFUSED(PYNN_NULL_POINTER, pynn_dense_forward(y, NULL, IN, w, w, ROWS, IN, OUT));
    REFUSED(PYNN_NULL_POINTER, pynn_dense_forward(y, x, IN, NULL, w, ROWS, IN, OUT));
    REFUSED(PYNN_NULL_POINTER, pynn_dense_forward(y, x, IN, w, NULL, ROWS, IN, OUT));
    REFUSED(PYNN_BAD_SIZE, pynn_dense_forward(y, x, IN - 1, w, w, ROWS, IN, OUT));
    REFUSED(PYNN_BAD_SIZE, pynn_dense_forward(y, x, IN, w, w, ROWS, 0, OUT));
    REFUSED(PYNN_BAD_SIZE, pynn_dense_forward(y, x, IN, w, w, ROWS, IN, 0));
    REFUSED(PYNN_TOO_LARGE, pynn_dense_forward(y, x, IN, w, w, SIZE_MAX / 2, IN, OUT));
    REFUSED(PYNN_TOO_LARGE, pynn_dense_forward(y, x, SIZE_MAX / 2, w, w, ROWS, SIZE_MAX / 2, OUT));

    REFUSED(PYNN_NULL_POINTER, pynn_dense_backward(y, NULL, NULL, NULL, x, IN, w, ROWS, IN, OUT, work, work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_dense_backward(y, NULL, NULL, x, x, IN, NULL, ROWS, IN, OUT, work, work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_dense_backward(NULL, y, NULL, x, NULL, IN, w, ROWS, IN, OUT, work, work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_dense_backward(y, z, NULL, x, x, IN, w, ROWS, IN, OUT, NULL, work_bytes));
    REFUSED(PYNN_BAD_WORKSPACE, pynn_dense_backward(y, z, NULL, x, x, IN, w, ROWS, IN, OUT, work, IN * OUT * 4 - 1));
    REFUSED(PYNN_BAD_WORKSPACE,
            pynn_dense_backward(y, z, NULL, x, x, IN, w, ROWS, IN, OUT, (char *)work + 4, work_bytes - 4));
    REFUSED(PYNN_BAD_SIZE, pynn_dense_backward(y, z, NULL, x, x, IN - 1, w, ROWS, IN, OUT, work, work_bytes));

    REFUSED(PYNN_NULL_POINTER, pynn_activation_forward(NULL, x, 3, PYNN_RELU, 0.0));
    REFUSED(PYNN_NULL_POINTER, pynn_activation_forward(y, NULL, 3, PYNN_RELU, 0.0));
    REFUSED(PYNN_BAD_KIND, pynn_activation_forward(y, x, 3, PYNN_DENSE, 0.0));
    REFUSED(PYNN_BAD_KIND, pynn_activation_forward(y, x, 3, PYNN_SOFTMAX, 0.0));
    REFUSED(PYNN_BAD_VALUE, pynn_activation_forward(y, x, 3, PYNN_LEAKY_RELU, -1.0));
    REFUSED(PYNN_BAD_VALUE, pynn_activation_forward(y, x, 3, PYNN_LEAKY_RELU, (double)NAN));
    REFUSED(PYNN_TOO_LARGE, pynn_activation_forward(y, x, SIZE_MAX / 2, PYNN_RELU, 0.0));
    REFUSED(PYNN_NULL_POINTER, pynn_activation_backward(NULL, x, x, x, 3, PYNN_RELU, 0.0));
    REFUSED(PYNN_NULL_POINTER, pynn_activation_backward(y, NULL, x, x, 3, PYNN_RELU, 0.0));
    REFUSED(PYNN_NULL_POINTER, pynn_activation_backward(y, x, x, NULL, 3, PYNN_RELU, 0.0));
    REFUSED(PYNN_NULL_POINTER, pynn_activation_backward(y, x, NULL, x, 3, PYNN_GELU, 0.0));
    REFUSED(PYNN_BAD_KIND, pynn_activation_backward(y, x, x, x, 3, PYNN_SILU + 1, 0.0));
    REFUSED(PYNN_BAD_VALUE, pynn_activation_backward(y, x, x, x, 3, PYNN_LEAKY_RELU, (double)INFINITY));

    REFUSED(PYNN_NULL_POINTER, pynn_softmax_forward(NULL, x, ROWS, OUT));
    REFUSED(PYNN_NULL_POINTER, pynn_softmax_forward(y, NULL, ROWS, OUT));
    REFUSED(PYNN_BAD_SIZE, pynn_softmax_forward(y, x, ROWS, 0));
    REFUSED(PYNN_TOO_LARGE, pynn_softmax_forward(y, x, SIZE_MAX, OUT));
    REFUSED(PYNN_NULL_POINTER, pynn_softmax_backward(NULL, x, x, ROWS, OUT));
    REFUSED(PYNN_NULL_POINTER, pynn_softmax_backward(y, NULL, x, ROWS, OUT));
    REFUSED(PYNN_NULL_POINTER, pynn_softmax_backward(y, x, NULL, ROWS, OUT));
    REFUSED(PYNN_BAD_SIZE, pynn_softmax_backward(y, x, x, ROWS, 0));

    REFUSED(PYNN_NULL_POINTER, pynn_dropout_forward(NULL, x, &mask, ROWS, OUT, 0.5));
    REFUSED(PYNN_NULL_POINTER, pynn_dropout_forward(y, NULL, &mask, ROWS, OUT, 0.5));
    REFUSED(PYNN_NULL_POINTER, pynn_dropout_forward(y, x, NULL, ROWS, OUT, 0.5));
    REFUSED(PYNN_BAD_VALUE, pynn_dropout_forward(y, x, &mask, ROWS, OUT, 1.0));
    REFUSED(PYNN_BAD_VALUE, pynn_dropout_forward(y, x, &mask, ROWS, OUT, -0.5));
    REFUSED(PYNN_BAD_VALUE, pynn_dropout_forward(y, x, &mask, ROWS, OUT, (double)NAN));
    REFUSED(PYNN_TOO_LARGE, pynn_dropout_forward(y, x, &mask, SIZE_MAX, OUT, 0.5));
    REFUSED(PYNN_NULL_POINTER, pynn_dropout_backward(NULL, x, &mask, ROWS, OUT, 0.5));
    REFUSED(PYNN_NULL_POINTER, pynn_dropout_backward(y, NULL, &mask, ROWS, OUT, 0.5));
    REFUSED(PYNN_NULL_POINTER, pynn_dropout_backward(y, x, NULL, ROWS, OUT, 0.5));
    REFUSED(PYNN_BAD_VALUE, pynn_dropout_backward(y, x, &mask, ROWS, OUT, 2.0));
}

static pynn_status loss_of(pynn_targets targets, int32_t kind)
{
    return pynn_loss(&out.loss, out.losses, out.y, x, &targets, ROWS, OUT, kind);
}

static void test_loss_refusals(void)
{
    static const float nan_weights[] = {1, 1, NAN, 1, 1}, minus[] = {1, 1, 1, 1, -1}, infinite[] = {INFINITY, 1, 1, 1, 1};
    static const int32_t low[] = {0, 1, -1, 0, 1}, high[] = {0, 1, 0, 1, OUT}, far[] = {INT32_MAX, 0, 0, 0, 0},
                         farther[] = {INT32_MIN, 0, 0, 0, 0};
    const pynn_targets good = {t, OUT, NULL, NULL};
    REFUSED(PYNN_NULL_POINTER, pynn_loss(NULL, out.losses, out.y, x, &good, ROWS, OUT, PYNN_SQUARED_ERROR));
    REFUSED(PYNN_NULL_POINTER, pynn_loss(&out.loss, NULL, out.y, x, &good, ROWS, OUT, PYNN_SQUARED_ERROR));
    REFUSED(PYNN_NULL_POINTER,
            pynn_loss(&out.loss, out.losses, out.y, NULL, &good, ROWS, OUT, PYNN_SQUARED_ERROR));
    REFUSED(PYNN_NULL_POINTER, pynn_loss(&out.loss, out.losses, out.y, x, NULL, ROWS, OUT, PYNN_SQUARED_ERROR));
    REFUSED(PYNN_BAD_SIZE, pynn_loss(&out.loss, out.losses, out.y, x, &good, ROWS, 0, PYNN_SQUARED_ERROR));
    REFUSED(PYNN_TOO_LARGE, pynn_loss(&out.loss, out.losses, out.y, x, &good, SIZE_MAX, 2, PYNN_SQUARED_ERROR));
    REFUSED(PYNN_NULL_POINTER, loss_of((pynn_targets){NULL, OUT, NULL, NULL}, PYNN_SQUARED_ERROR));
    REFUSED(PYNN_BAD_KIND, loss_of((pynn_targets){t, OUT, labels, NULL}, PYNN_CROSS_ENTROPY));
    REFUSED(PYNN_BAD_KIND, loss_of(good, PYNN_BINARY_CROSS_ENTROPY + 1));
    REFUSED(PYNN_BAD_KIND, loss_of(good, -1));
    REFUSED(PYNN_BAD_KIND, loss_of((pynn_targets){NULL, 0, labels, NULL}, PYNN_SQUARED_ERROR));
    REFUSED(PYNN_BAD_KIND, loss_of((pynn_targets){NULL, 0, labels, NULL}, PYNN_BINARY_CROSS_ENTROPY));
    REFUSED(PYNN_BAD_SIZE, loss_of((pynn_targets){t, OUT - 1, NULL, NULL}, PYNN_SQUARED_ERROR));
    REFUSED(PYNN_BAD_LABEL, loss_of((pynn_targets){NULL, 0, low, NULL}, PYNN_CROSS_ENTROPY));
    REFUSED(PYNN_BAD_LABEL, loss_of((pynn_targets){NULL, 0, high, NULL}, PYNN_CROSS_ENTROPY));
    REFUSED(PYNN_BAD_LABEL, loss_of((pynn_targets){NULL, 0, far, NULL}, PYNN_CROSS_ENTROPY));
    REFUSED(PYNN_BAD_LABEL, loss_of((pynn_targets){NULL, 0, farther, NULL}, PYNN_CROSS_ENTROPY));
    REFUSED(PYNN_BAD_WEIGHT, loss_of((pynn_targets){t, OUT, NULL, nan_weights}, PYNN_SQUARED_ERROR));
    REFUSED(PYNN_BAD_WEIGHT, loss_of((pynn_targets){t, OUT, NULL, minus}, PYNN_SQUARED_ERROR));
    REFUSED(PYNN_BAD_WEIGHT, loss_of((pynn_targets){t, OUT, NULL, infinite}, PYNN_SQUARED_ERROR));
}

static void test_pass_refusals(void)
{
    static const int32_t high[] = {0, 1, 0, 1, OUT};
    const pynn_targets good = {NULL, 0, labels, NULL}, bad = {NULL, 0, high, NULL}, rows = {t, OUT, NULL, NULL};
    float *y = out.y, *g = out.grads;
    size_t need = 0;
    CHECK_OK(pynn_predict_bytes(&need, &net, 1));
    REFUSED(PYNN_NULL_POINTER, pynn_predict(NULL, &net, w, x, IN, ROWS, 0, NULL, work, work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_predict(y, NULL, w, x, IN, ROWS, 0, NULL, work, work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_predict(y, &net, NULL, x, IN, ROWS, 0, NULL, work, work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_predict(y, &net, w, NULL, IN, ROWS, 0, NULL, work, work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_predict(y, &net, w, x, IN, ROWS, 0, NULL, NULL, work_bytes));
    REFUSED(PYNN_BAD_WORKSPACE, pynn_predict(y, &net, w, x, IN, ROWS, 0, NULL, work, need - 1));
    REFUSED(PYNN_BAD_KIND, pynn_predict(y, &net, w, x, IN, ROWS, 2, NULL, work, work_bytes));
    REFUSED(PYNN_BAD_KIND, pynn_predict(y, &net, w, x, IN, ROWS, -1, NULL, work, work_bytes));
    REFUSED(PYNN_BAD_SIZE, pynn_predict(y, &net, w, x, IN - 1, ROWS, 0, NULL, work, work_bytes));
    REFUSED(PYNN_TOO_LARGE, pynn_predict(y, &net, w, x, IN, SIZE_MAX, 0, NULL, work, work_bytes));

    REFUSED(PYNN_NULL_POINTER, pynn_forward(NULL, &net, w, x, IN, &mask, ROWS, 0, work, work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_forward(y, NULL, w, x, IN, &mask, ROWS, 0, work, work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_forward(y, &net, NULL, x, IN, &mask, ROWS, 0, work, work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_forward(y, &net, w, NULL, IN, &mask, ROWS, 0, work, work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_forward(y, &net, w, x, IN, &mask, ROWS, 0, NULL, work_bytes));
    REFUSED(PYNN_BAD_WORKSPACE, pynn_forward(y, &net, w, x, IN, &mask, ROWS, 0, work, 64));
    REFUSED(PYNN_BAD_KIND, pynn_forward(y, &net, w, x, IN, &mask, ROWS, 7, work, work_bytes));
    REFUSED(PYNN_BAD_SIZE, pynn_forward(y, &net, w, x, IN, &mask, 0, 0, work, work_bytes));
    REFUSED(PYNN_BAD_SIZE, pynn_forward(y, &net, w, x, 0, &mask, ROWS, 0, work, work_bytes));

    REFUSED(PYNN_NULL_POINTER, pynn_backward(g, y, NULL, &net, w, x, IN, &mask, ROWS, 0, work, work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_backward(g, y, x, NULL, w, x, IN, &mask, ROWS, 0, work, work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_backward(g, y, x, &net, NULL, x, IN, &mask, ROWS, 0, work, work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_backward(g, y, x, &net, w, NULL, IN, &mask, ROWS, 0, work, work_bytes));
    REFUSED(PYNN_BAD_WORKSPACE, pynn_backward(g, y, x, &net, w, x, IN, &mask, ROWS, 0, work, 64));
    REFUSED(PYNN_BAD_KIND, pynn_backward(g, y, x, &net, w, x, IN, &mask, ROWS, 2, work, work_bytes));

#define GRAD(net_, targets_, rows_, kind_) \
    pynn_loss_and_grad(&out.loss, g, net_, w, x, IN, targets_, &mask, rows_, kind_, work, work_bytes)
    REFUSED(PYNN_NULL_POINTER, GRAD(NULL, &good, ROWS, PYNN_CROSS_ENTROPY));
    REFUSED(PYNN_NULL_POINTER, GRAD(&net, NULL, ROWS, PYNN_CROSS_ENTROPY));
    REFUSED(PYNN_BAD_SIZE, GRAD(&net, &good, 0, PYNN_CROSS_ENTROPY));
    REFUSED(PYNN_BAD_KIND, GRAD(&net, &good, ROWS, 5));
    REFUSED(PYNN_BAD_NET, GRAD(&net, &rows, ROWS, PYNN_BINARY_CROSS_ENTROPY));
    REFUSED(PYNN_BAD_LABEL, GRAD(&net, &bad, ROWS, PYNN_CROSS_ENTROPY));
    REFUSED(PYNN_NULL_POINTER, pynn_loss_and_grad(NULL, g, &net, w, x, IN, &good, &mask, ROWS, PYNN_CROSS_ENTROPY, work,
                                                  work_bytes));
    REFUSED(PYNN_NULL_POINTER, pynn_loss_and_grad(&out.loss, NULL, &net, w, x, IN, &good, &mask, ROWS,
                                                  PYNN_CROSS_ENTROPY, work, work_bytes));
    REFUSED(PYNN_BAD_WORKSPACE, pynn_loss_and_grad(&out.loss, g, &net, w, x, IN, &good, &mask, ROWS,
                                                   PYNN_CROSS_ENTROPY, work, 128));

#define PART(net_, targets_, rows_, first_, weight_, bytes_)                                                         \
    pynn_loss_and_grad_part(&out.loss, g, net_, w, x, IN, targets_, &mask, rows_, first_, weight_, PYNN_CROSS_ENTROPY, \
                            work, bytes_)
    REFUSED(PYNN_NULL_POINTER, pynn_part_bytes(NULL, &net));
    REFUSED(PYNN_NULL_POINTER, pynn_part_bytes(&out.size, NULL));
    REFUSED(PYNN_NULL_POINTER, PART(NULL, &good, ROWS, 0, 1.0, work_bytes));
    REFUSED(PYNN_NULL_POINTER, PART(&net, NULL, ROWS, 0, 1.0, work_bytes));
    REFUSED(PYNN_BAD_SIZE, PART(&net, &good, 0, 0, 1.0, work_bytes));
    REFUSED(PYNN_BAD_LABEL, PART(&net, &bad, ROWS, 0, 1.0, work_bytes));
    REFUSED(PYNN_BAD_INDEX, PART(&net, &good, ROWS, 255, 1.0, work_bytes));
    REFUSED(PYNN_BAD_WEIGHT, PART(&net, &good, ROWS, 256, -1.0, work_bytes));
    REFUSED(PYNN_BAD_WEIGHT, PART(&net, &good, ROWS, 256, (double)NAN, work_bytes));
    REFUSED(PYNN_BAD_WORKSPACE, PART(&net, &good, ROWS, 256, 1.0, 128));
}

static pynn_status moments_of(pynn_optimizer optimizer) { return pynn_optimizer_moments(&out.size, &optimizer); }

static pynn_status update(const pynn_optimizer *optimizer, double rate)
{
    return pynn_update(out.params, out.moments, &out.state, NULL, w, &net, optimizer, rate);
}

static void test_optimizer_refusals(void)
{
    static const double outside[] = {-0.1, 1.0, 1.5}, never[] = {-1.0};
    REFUSED(PYNN_NULL_POINTER, pynn_optimizer_moments(NULL, &adam));
    REFUSED(PYNN_NULL_POINTER, pynn_optimizer_moments(&out.size, NULL));
    REFUSED(PYNN_BAD_KIND, moments_of((pynn_optimizer){3, 0, 0, 0, 0, 1e-8, 0, 0}));
    REFUSED(PYNN_BAD_KIND, moments_of((pynn_optimizer){-1, 0, 0, 0, 0, 1e-8, 0, 0}));
    for (size_t i = 0; i < COUNT(outside); i++) {
        REFUSED(PYNN_BAD_VALUE, moments_of((pynn_optimizer){PYNN_SGD, 0, outside[i], 0, 0, 0, 0, 0}));
        REFUSED(PYNN_BAD_VALUE, moments_of((pynn_optimizer){PYNN_ADAM, 0, 0, outside[i], 0.9, 1e-8, 0, 0}));
        REFUSED(PYNN_BAD_VALUE, moments_of((pynn_optimizer){PYNN_ADAMW, 0, 0, 0.9, outside[i], 1e-8, 0, 0}));
    }
    for (size_t i = 0; i < 3; i++) {
        const double bad = i == 0 ? never[0] : i == 1 ? (double)NAN : (double)INFINITY;
        REFUSED(PYNN_BAD_VALUE, moments_of((pynn_optimizer){PYNN_SGD, 0, 0, 0, 0, 0, bad, 0}));
        REFUSED(PYNN_BAD_VALUE, moments_of((pynn_optimizer){PYNN_SGD, 0, 0, 0, 0, 0, 0, bad}));
        REFUSED(PYNN_BAD_VALUE, moments_of((pynn_optimizer){PYNN_ADAM, 0, 0, 0.9, 0.9, bad, 0, 0}));
        REFUSED(PYNN_BAD_VALUE, update(&adam, bad));
    }
    REFUSED(PYNN_BAD_VALUE, moments_of((pynn_optimizer){PYNN_SGD, 0, (double)NAN, 0, 0, 0, 0, 0}));
    REFUSED(PYNN_BAD_VALUE, moments_of((pynn_optimizer){PYNN_SGD, 1, 0.0, 0, 0, 0, 0, 0}));
    REFUSED(PYNN_BAD_VALUE, moments_of((pynn_optimizer){PYNN_ADAM, 0, 0, 0.9, 0.9, 1e-13, 0, 0}));
    REFUSED(PYNN_NULL_POINTER, pynn_update(NULL, out.moments, &out.state, NULL, w, &net, &adam, 0.1));
    REFUSED(PYNN_NULL_POINTER, pynn_update(out.params, NULL, &out.state, NULL, w, &net, &adam, 0.1));
    REFUSED(PYNN_NULL_POINTER, pynn_update(out.params, out.moments, NULL, NULL, w, &net, &adam, 0.1));
    REFUSED(PYNN_NULL_POINTER, pynn_update(out.params, out.moments, &out.state, NULL, NULL, &net, &adam, 0.1));
    REFUSED(PYNN_NULL_POINTER, pynn_update(out.params, out.moments, &out.state, NULL, w, NULL, &adam, 0.1));
    REFUSED(PYNN_NULL_POINTER, update(NULL, 0.1));
}

/* All arguments of pynn_train_steps, to be spoilt one at a time. */
typedef struct train_call {
    float *params, *moments;
    pynn_state *state;
    pynn_totals *totals;
    const pynn_net *net;
    const pynn_optimizer *optimizer;
    const float *x;
    size_t x_stride;
    pynn_targets targets;
    size_t data_rows;
    const uint32_t *order;
    size_t count, batch;
    const double *rates;
    size_t steps;
    int32_t loss;
    void *work;
    size_t work_bytes;
    const pynn_executor *executor;
} train_call;

static pynn_status train(train_call c)
{
    return pynn_train_steps(c.params, c.moments, c.state, c.totals, &out.where, c.net, c.optimizer, c.x, c.x_stride,
                            &c.targets, c.data_rows, c.order, c.count, c.batch, c.rates, c.steps, c.loss, 1, c.executor,
                            c.work, c.work_bytes);
}

#define SPOILT(wanted, ...) \
    do { \
        train_call c = {out.params, out.moments, &out.state, &out.totals, &net, &adam, x, IN, \
                        {NULL, 0, labels, NULL}, ROWS, order, ORDER, BATCH, rates, STEPS, PYNN_CROSS_ENTROPY, work, \
                        work_bytes, NULL}; \
        __VA_ARGS__; \
        REFUSED(wanted, train(c)); \
    } while (0)

static void never_run(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    (void)context, (void)task, (void)argument;
    CHECK(0, "an executor without workers was run");
}

static void test_executor_refusals(void)
{
    const pynn_executor nobody = {2, NULL, NULL}, idle = {0, NULL, never_run};
    pynn_executor *never = NULL, *made = &out.executor;
    REFUSED(PYNN_NULL_POINTER, pynn_predict(out.y, &net, w, x, IN, ROWS, 0, &nobody, work, work_bytes));
    SPOILT(PYNN_NULL_POINTER, c.executor = &nobody);
    REFUSED(PYNN_BAD_SIZE, pynn_predict(out.y, &net, w, x, IN, ROWS, 0, &idle, work, work_bytes));
    SPOILT(PYNN_BAD_SIZE, c.executor = &idle);
    REFUSED(PYNN_BAD_SIZE, pynn_predict_bytes(&out.size, &net, 0));
    REFUSED(PYNN_BAD_SIZE, pynn_train_bytes(&out.size, &net, &adam, 1, 0));
    REFUSED(PYNN_TOO_LARGE, pynn_predict_bytes(&out.size, &net, SIZE_MAX));
    REFUSED(PYNN_TOO_LARGE, pynn_train_bytes(&out.size, &net, &adam, 1, SIZE_MAX));
    REFUSED(PYNN_NULL_POINTER, pynn_threads_advise(NULL, &net, 1, 1));
    REFUSED(PYNN_NULL_POINTER, pynn_threads_advise(&out.size, NULL, 1, 1));
    REFUSED(PYNN_BAD_SIZE, pynn_threads_advise(&out.size, &net, 0, 1));
    REFUSED(PYNN_BAD_SIZE, pynn_threads_advise(&out.size, &net, 1, 0));
    REFUSED(PYNN_NULL_POINTER, pynn_threads_bytes(NULL, 1));
    REFUSED(PYNN_BAD_SIZE, pynn_threads_bytes(&out.size, 0));
    REFUSED(PYNN_TOO_LARGE, pynn_threads_bytes(&out.size, SIZE_MAX));
    REFUSED(PYNN_NULL_POINTER, pynn_threads_start(never, work, work_bytes, 1));
    REFUSED(PYNN_NULL_POINTER, pynn_threads_start(made, NULL, work_bytes, 1));
    REFUSED(PYNN_BAD_SIZE, pynn_threads_start(made, work, work_bytes, 0));
    REFUSED(PYNN_BAD_WORKSPACE, pynn_threads_start(made, work, 8, 1));
    REFUSED(PYNN_BAD_WORKSPACE, pynn_threads_start(made, (char *)work + 8, work_bytes - 8, 1));
    REFUSED(PYNN_BAD_WORKSPACE, pynn_threads_start(made, work, work_bytes, SIZE_MAX / 2));
    REFUSED(PYNN_NULL_POINTER, pynn_threads_stop(NULL));
}

static void test_train_refusals(void)
{
    static const int32_t high[] = {0, 1, 0, 1, OUT};
    static const float minus[] = {1, 1, 1, 1, -1};
    static const uint32_t beyond[ORDER] = {0, 1, 2, 3, 4, ROWS, 0};
    static const double bad_rate[] = {0.1, -0.1}, nan_rate[] = {0.1, (double)NAN}, inf_rate[] = {(double)INFINITY, 0.1};
    static const pynn_optimizer bad = {PYNN_ADAM, 0, 0, 2.0, 0.9, 1e-8, 0, 0};
    size_t need = 0;
    CHECK_OK(pynn_train_bytes(&need, &net, &adam, BATCH, 1));
    SPOILT(PYNN_NULL_POINTER, c.params = NULL);
    SPOILT(PYNN_NULL_POINTER, c.moments = NULL);
    SPOILT(PYNN_NULL_POINTER, c.state = NULL);
    SPOILT(PYNN_NULL_POINTER, c.totals = NULL);
    SPOILT(PYNN_NULL_POINTER, c.net = NULL);
    SPOILT(PYNN_NULL_POINTER, c.optimizer = NULL);
    SPOILT(PYNN_NULL_POINTER, c.x = NULL);
    SPOILT(PYNN_NULL_POINTER, c.targets.labels = NULL);
    SPOILT(PYNN_NULL_POINTER, c.order = NULL);
    SPOILT(PYNN_NULL_POINTER, c.rates = NULL);
    SPOILT(PYNN_NULL_POINTER, c.work = NULL);
    SPOILT(PYNN_BAD_SIZE, c.x_stride = IN - 1);
    SPOILT(PYNN_BAD_SIZE, c.count = 0);
    SPOILT(PYNN_BAD_SIZE, c.batch = 0);
    SPOILT(PYNN_BAD_SIZE, c.steps = STEPS - 1);
    SPOILT(PYNN_BAD_SIZE, c.steps = STEPS + 1);
    SPOILT(PYNN_TOO_LARGE, c.data_rows = SIZE_MAX);
    SPOILT(PYNN_BAD_INDEX, c.order = beyond);
    SPOILT(PYNN_BAD_INDEX, c.data_rows = ROWS - 1);
    SPOILT(PYNN_BAD_LABEL, c.targets.labels = high);
    SPOILT(PYNN_BAD_WEIGHT, c.targets.weights = minus);
    SPOILT(PYNN_BAD_NET, c.targets = ((pynn_targets){t, OUT, NULL, NULL}); c.loss = PYNN_BINARY_CROSS_ENTROPY);
    SPOILT(PYNN_BAD_KIND, c.loss = PYNN_SQUARED_ERROR);
    SPOILT(PYNN_BAD_KIND, c.loss = 9);
    SPOILT(PYNN_BAD_VALUE, c.rates = bad_rate);
    SPOILT(PYNN_BAD_VALUE, c.rates = nan_rate);
    SPOILT(PYNN_BAD_VALUE, c.rates = inf_rate);
    SPOILT(PYNN_BAD_VALUE, c.optimizer = &bad);
    SPOILT(PYNN_BAD_WORKSPACE, c.work_bytes = need - 1);
    SPOILT(PYNN_BAD_WORKSPACE, c.work = (char *)c.work + 4; c.work_bytes -= 4);
}

/* A loss or a parameter that is not finite: tests/c/test_train.c looks closer. */
static void test_divergence(void)
{
    train_call c = {out.params, out.moments, &out.state, &out.totals, &net, &adam, x, IN,
                    {NULL, 0, labels, NULL}, ROWS, order, ORDER, BATCH, rates, STEPS, PYNN_CROSS_ENTROPY, work, work_bytes,
                    NULL};
    memset(&out, 0, sizeof out);
    out.state = (pynn_state){0, 1.0, 1.0};
    c.rates = (const double[]){3e38, 3e38};
    c.optimizer = &(const pynn_optimizer){PYNN_ADAMW, 0, 0.0, 0.9, 0.999, 1e-8, 3e38, 1.0};
    CHECK_STATUS(PYNN_PARAMETER_NOT_FINITE, train(c));
    CHECK_STATUS(PYNN_LOSS_NOT_FINITE, train(c));
}

/* ---- dispatch ---------------------------------------------------------- */

static void test_isa(void)
{
    size_t lacking = 0;
    int32_t best = -1, isa = -1;
    CHECK_OK(pynn_isa_get(&best));
    for (int32_t a = 0; pynn_isa_name(a) != NULL; a++) {
        const pynn_status status = pynn_isa_set(a);
        CHECK(status == PYNN_OK || status == PYNN_NO_ISA, "status %d", (int)status);
        lacking += status == PYNN_NO_ISA;
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
    CHECK_STATUS(PYNN_NULL_POINTER, pynn_isa_get(NULL));
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
        got = pynn_permutation(permutation, 4, 0, 0);
        if (got != wanted) _exit(1);
        if (all_pattern(permutation, sizeof permutation) != (wanted != PYNN_OK)) _exit(2);
        if (pynn_isa_get(&isa) != wanted || (isa_wanted >= 0 && isa != isa_wanted)) _exit(3);
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
    prepare();
    test_net_refusals();
    test_random_refusals();
    test_layer_refusals();
    test_loss_refusals();
    test_pass_refusals();
    test_optimizer_refusals();
    test_executor_refusals();
    test_train_refusals();
    test_divergence();
    test_isa();
    return check_end("test_status");
}
