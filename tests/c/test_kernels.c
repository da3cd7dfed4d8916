/*
 * Every kernel against the oracle bit for bit, and products also against double, for every instruction set: shapes on
 * both sides of every tile, arrays at any alignment and against guard pages, strides, awkward values, in place.
 */
#include "nets.h"
#include "oracle.h"

static const size_t widths[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 15, 16, 17, 31, 33, 64, 67};
static const size_t depths[] = {1, 2, 7, 255, 256, 257, 300, 513, 784};

enum { MOST = 1 << 20 };
static guarded pages[5];

static size_t any_width(void) { return widths[any_below(COUNT(widths))]; }
static int any_place(void) { return (int)any_below(GUARD_PLACES); }

static float *any_array(guarded *g, size_t n, float least, float most)
{
    float *x = guard_floats(g, n, any_place());
    fill_any(x, n, least, most);
    return x;
}

static float *awkward_array(guarded *g, size_t n)
{
    float *x = guard_floats(g, n, any_place());
    for (size_t i = 0; i < n; i++) x[i] = any_awkward();
    return x;
}

static void check_guards(void)
{
    for (size_t i = 0; i < COUNT(pages); i++) CHECK(guard_intact(&pages[i]), "array %zu was overrun", i);
}

/* ---- products ---------------------------------------------------------- */

/* The error of a sum of n products in units of eps sum |a b|; blocks of 256 keep it far below the customary 16. */
static double error_ratio(float got, double start, const float *a, size_t a_step, const float *b, size_t b_step,
                          size_t n)
{
    double sum = start, size = fabs(start);
    for (size_t k = 0; k < n; k++) {
        const double term = (double)a[k * a_step] * (double)b[k * b_step];
        sum += term;
        size += fabs(term);
    }
    return size > 0.0 ? fabs((double)got - sum) / (0x1p-23 * size) : fabs((double)got) > 0.0 ? 1e9 : 0.0;
}

static void check_dense(size_t rows, size_t inputs, size_t outputs, size_t gap, float least)
{
    static float wanted[MOST];
    const size_t stride = inputs + gap;
    const float *x = any_array(&pages[0], rows > 0 ? (rows - 1) * stride + inputs : 0, least, 1.0f);
    const float *w = any_array(&pages[1], inputs * outputs, least, 1.0f);
    const float *b = any_array(&pages[2], outputs, least, 1.0f);
    const pynn_dense dense = {.w = w, .b = b, .inputs = inputs, .outputs = outputs};
    float *s = guard_floats(&pages[3], rows * outputs, any_place());
    double worst = 0.0;
    check_case("dense %zu x %zu x %zu", rows, inputs, outputs);
    CHECK_OK(pynn_dense_forward(s, &dense, &(pynn_data){.x = x, .rows = rows, .stride = stride}));
    o_dense_forward(wanted, x, stride, w, b, rows, inputs, outputs);
    CHECK_SAME(s, wanted, rows * outputs);
    for (size_t i = 0; i < rows * outputs; i += 1 + rows * outputs / 64) {
        const double ratio = error_ratio(s[i], (double)b[i % outputs], x + i / outputs * stride, 1, w + i % outputs,
                                         outputs, inputs);
        worst = ratio > worst ? ratio : worst;
    }
    CHECK(worst < 8.0, "%zu x %zu x %zu: error ratio %g", rows, inputs, outputs, worst);
    check_guards();
}

static void check_dense_backward(size_t rows, size_t inputs, size_t outputs, size_t gap)
{
    static float wanted[MOST], work[MOST];
    const size_t stride = inputs + gap;
    const float *x = any_array(&pages[0], rows > 0 ? (rows - 1) * stride + inputs : 0, -1.0f, 1.0f);
    const float *w = any_array(&pages[1], inputs * outputs, -1.0f, 1.0f);
    float *ds = any_array(&pages[2], rows * outputs, -1.0f, 1.0f);
    const pynn_data data = {.x = x, .rows = rows, .stride = stride}, none = {.rows = rows};
    const pynn_dense dense = {.inputs = inputs, .outputs = outputs};
    const pynn_dense weights = {.w = w, .inputs = inputs, .outputs = outputs};
    pynn_memory workspace = {(void *)(((uintptr_t)work + 63) / 64 * 64), 0};
    float *out;
    for (size_t i = 0; i < rows * outputs; i += 3) ds[i] *= 0x1p-99f; /* some of dx is flushed */
    check_case("dense backward %zu x %zu x %zu", rows, inputs, outputs);
    CHECK_OK(pynn_dense_backward_bytes(&workspace.bytes, &dense));

    out = guard_floats(&pages[3], inputs * outputs, any_place());
    CHECK_OK(pynn_dense_backward(NULL, out, NULL, ds, &dense, &data, (pynn_memory){0}));
    o_dense_backward(NULL, wanted, NULL, ds, x, stride, w, rows, inputs, outputs);
    CHECK_SAME(out, wanted, inputs * outputs);
    check_guards();

    out = guard_floats(&pages[3], outputs, any_place());
    CHECK_OK(pynn_dense_backward(NULL, NULL, out, ds, &dense, &none, (pynn_memory){0}));
    o_dense_backward(NULL, NULL, wanted, ds, NULL, 0, NULL, rows, inputs, outputs);
    CHECK_SAME(out, wanted, outputs);
    check_guards();

    out = guard_floats(&pages[3], rows * inputs, any_place());
    CHECK_OK(pynn_dense_backward(out, NULL, NULL, ds, &weights, &none, workspace));
    o_dense_backward(wanted, NULL, NULL, ds, NULL, 0, w, rows, inputs, outputs);
    CHECK_SAME(out, wanted, rows * inputs);
    check_guards();
}

static void test_products(void)
{
    for (size_t i = 0; i < COUNT(widths); i++) { /* every pair of the sizes that are tiled, the third at random */
        for (size_t j = 0; j < COUNT(widths); j++) {
            for (int again = 0; again < 3; again++) {
                check_dense(widths[i], any_width(), widths[j], any_below(2) * any_below(9), -1.0f);
                check_dense_backward(any_width(), widths[i], widths[j], any_below(4));
                check_dense_backward(widths[i], widths[j], any_width(), 0);
            }
        }
    }
    for (size_t i = 0; i < COUNT(depths); i++) { /* blocks: of inputs forward, of rows and outputs backward */
        for (int again = 0; again < 3; again++) {
            check_dense(any_width(), depths[i], any_width(), 0, -1.0f);
            check_dense(1, depths[i], 1 + any_below(200), any_below(20), 0.0f);
            check_dense_backward(depths[i], any_width(), 1 + any_below(20), 0);
            check_dense_backward(1 + any_below(9), 1 + any_below(20), depths[i], any_below(3));
        }
    }
    for (size_t rows = 1; rows <= 40; rows++) check_dense(rows, 5, 1 + any_below(40), any_below(40), -1.0f);
    for (size_t outputs = 1; outputs <= 150; outputs++) check_dense(1, 3, outputs, 1, -1.0f);
    check_dense(0, 5, 7, 0, -1.0f);
    check_dense_backward(0, 5, 7, 0); /* sums over no rows are 0 */
}

/* A sum of products carries NaN and infinity, and in the column where they are only. */
static void test_product_values(void)
{
    static float x[40 * 300], w[300 * 40], b[40], s[40 * 40], wanted[40 * 40];
    check_case("awkward products");
    for (int round = 0; round < 20; round++) {
        const size_t inputs = round % 2 ? 300 : 13, rows = 1 + any_below(40), outputs = 1 + any_below(40);
        for (size_t i = 0; i < rows * inputs; i++) x[i] = any_below(50) ? any_float(-1, 1) : any_awkward();
        for (size_t i = 0; i < inputs * outputs; i++) w[i] = any_below(50) ? any_float(-1, 1) : any_awkward();
        for (size_t i = 0; i < outputs; i++) b[i] = any_below(9) ? -0.0f : any_awkward();
        CHECK_OK(pynn_dense_forward(s, &(pynn_dense){.w = w, .b = b, .inputs = inputs, .outputs = outputs},
                                    &(pynn_data){.x = x, .rows = rows}));
        o_dense_forward(wanted, x, inputs, w, b, rows, inputs, outputs);
        CHECK_SAME(s, wanted, rows * outputs);
    }
}

/* fma without the instruction: any operands, and sums that nearly cancel or are nearly halfway between two floats. */
static void test_fma(void)
{
    size_t wrong = 0;
    check_case("fma");
    for (size_t i = 0; i < 400000; i++) {
        const float a = i % 4 ? any_float(-2.0f, 2.0f) : any_awkward();
        const float b = i % 4 ? float_of(bits_of(any_float(1.0f, 2.0f)) & ~0u << any_below(24)) : any_awkward();
        const float power = float_of((uint32_t)(127 - 40 + any_below(80)) << 23);
        float c = i % 4 == 1 ? -a * b : i % 4 == 2 ? a * b * power : any_awkward();
        if (i % 8 == 5) c = float_of(bits_of(c) ^ (uint32_t)any_below(4));
        if (!same_float(library_fma(a, b, c), fmaf(a, b, c)) && wrong++ < 3)
            CHECK(0, "fma(%a, %a, %a) is %a, not %a", (double)a, (double)b, (double)c, (double)library_fma(a, b, c),
                  (double)fmaf(a, b, c));
    }
    CHECK(wrong == 0, "%zu wrong", wrong);
}

/* ---- elementwise ------------------------------------------------------- */

static pynn_layer activation_layer(int32_t kind, double slope)
{
    return (pynn_layer){.kind = kind, .slope = kind == PYNN_LEAKY_RELU ? slope : 0.0};
}

static void check_activation(int32_t kind, size_t n, double slope)
{
    const pynn_layer layer = activation_layer(kind, slope);
    static float s_wanted[MOST], wanted[MOST];
    const float *s = awkward_array(&pages[0], n);
    float *a = guard_floats(&pages[1], n, any_place()), *da, *ds;
    for (size_t i = 0; i < n; i++) s_wanted[i] = o_activation(s[i], kind, (float)slope);
    check_case("activation %d, n %zu", kind, n);
    CHECK_OK(pynn_activation_forward(a, s, n, &layer));
    CHECK_SAME(a, s_wanted, n);

    da = awkward_array(&pages[2], n);
    for (size_t i = 0; i < n; i++)
        if (i % 3 == 0) da[i] = any_float(-2.0f, 2.0f);
    for (size_t i = 0; i < n; i++) wanted[i] = o_activation_back(da[i], s[i], a[i], kind, (float)slope);
    ds = guard_floats(&pages[3], n, any_place());
    CHECK_OK(pynn_activation_backward(ds, da, s, a, n, &layer));
    CHECK_SAME(ds, wanted, n);
    CHECK_OK(pynn_activation_backward(da, da, s, a, n, &layer));
    CHECK_SAME(da, wanted, n);

    memcpy(a, s, n * sizeof(float));
    CHECK_OK(pynn_activation_forward(a, a, n, &layer));
    CHECK_SAME(a, s_wanted, n);
    check_guards();
}

static void test_activations(void)
{
    static const double slopes[] = {0.01, 0.0, 1.0, 3.5};
    for (int32_t kind = PYNN_IDENTITY; kind <= PYNN_SILU; kind++) {
        for (size_t n = 0; n <= 40; n++) check_activation(kind, n, slopes[n % COUNT(slopes)]);
        check_activation(kind, 5000, 0.3);
    }
    { /* what the rules promise of relu */
        const float s[] = {-0.0f, 0.0f, -1.0f, 0x1p-149f, INFINITY, -INFINITY, NAN};
        const float wanted[] = {0.0f, 0.0f, 0.0f, 0x1p-149f, INFINITY, 0.0f, NAN};
        const float ones[] = {1, 1, 1, 1, 1, 1, 1}, slope[] = {0, 0, 0, 1, 1, 0, 1};
        const pynn_layer relu = {.kind = PYNN_RELU};
        float a[COUNT(s)], ds[COUNT(s)];
        CHECK_OK(pynn_activation_forward(a, s, COUNT(s), &relu));
        CHECK_SAME(a, wanted, COUNT(s));
        CHECK_OK(pynn_activation_backward(ds, ones, s, a, COUNT(s), &relu));
        CHECK_SAME(ds, slope, COUNT(s));
    }
}

/* The formulas in double: the elementary functions have their own test, this one is about which goes where. */
static void test_activation_values(void)
{
    enum { N = 4001 };
    static float s[N], a[N], da[N], ds[N];
    check_case("activations in double");
    for (size_t i = 0; i < N; i++) {
        s[i] = (float)((double)i - 2000) / 200.0f;
        da[i] = any_float(0.5f, 1.0f);
    }
    for (int32_t kind = PYNN_IDENTITY; kind <= PYNN_SILU; kind++) {
        const pynn_layer layer = activation_layer(kind, 0.25);
        double worst = 0.0, worst_back = 0.0;
        CHECK_OK(pynn_activation_forward(a, s, N, &layer));
        CHECK_OK(pynn_activation_backward(ds, da, s, a, N, &layer));
        for (size_t i = 0; i < N; i++) {
            const double x = (double)s[i], q = 1.0 / (1.0 + exp(-x)), cdf = 0.5 * erfc(-x / sqrt(2.0));
            const double pdf = exp(-0.5 * x * x) / sqrt(2.0 * acos(-1.0));
            const double y[] = {x, x > 0 ? x : 0, x > 0 ? x : 0.25 * x, q, tanh(x), log1p(exp(x)), x * cdf, x * q};
            const double d[] = {1, x > 0, x > 0 ? 1 : 0.25, q * (1 - q), 1 - tanh(x) * tanh(x), q, cdf + x * pdf,
                                q + x * q * (1 - q)};
            const double size = 1.0 + fabs(y[kind - PYNN_IDENTITY]);
            worst = fmax(worst, fabs((double)a[i] - y[kind - PYNN_IDENTITY]) / size);
            worst_back = fmax(worst_back, fabs((double)ds[i] - (double)da[i] * d[kind - PYNN_IDENTITY]));
        }
        CHECK(worst <= 1e-6, "kind %d: error %g", kind, worst);
        CHECK(worst_back <= 1e-6, "kind %d backward: error %g", kind, worst_back);
    }
}

/* ---- softmax ----------------------------------------------------------- */

static void check_softmax(size_t rows, size_t width, int awkward)
{
    static float wanted[MOST];
    const size_t n = rows * width;
    float *s = awkward ? awkward_array(&pages[0], n) : any_array(&pages[0], n, -20.0f, 20.0f);
    float *h = guard_floats(&pages[1], n, any_place()), *dh, *ds;
    check_case("softmax %zu x %zu", rows, width);
    o_softmax(wanted, s, rows, width);
    CHECK_OK(pynn_softmax_forward(h, s, rows, width));
    CHECK_SAME(h, wanted, n);
    for (size_t r = 0; r < rows && !awkward; r++) {
        double sum = 0.0;
        for (size_t i = 0; i < width; i++) sum += (double)h[r * width + i];
        CHECK_NEAR(sum, 1.0, 1e-6);
    }
    CHECK_OK(pynn_softmax_forward(s, s, rows, width));
    CHECK_SAME(s, wanted, n);

    dh = awkward ? awkward_array(&pages[2], n) : any_array(&pages[2], n, -1.0f, 1.0f);
    ds = guard_floats(&pages[3], n, any_place());
    o_softmax_back(wanted, dh, h, rows, width);
    CHECK_OK(pynn_softmax_backward(ds, dh, h, rows, width));
    CHECK_SAME(ds, wanted, n);
    CHECK_OK(pynn_softmax_backward(dh, dh, h, rows, width));
    CHECK_SAME(dh, wanted, n);
    check_guards();
}

static void test_softmax(void)
{
    for (size_t i = 0; i < COUNT(widths); i++) {
        check_softmax(1 + any_below(5), widths[i], 0);
        check_softmax(1 + any_below(9), widths[i], 1);
    }
    check_softmax(3, 1000, 0);
    check_softmax(0, 5, 0);
}

/* A row that cannot be normalised becomes a NaN row, and its neighbours do not notice. */
static void test_softmax_rows(void)
{
    enum { WIDTH = 21, ROWS = 5 };
    static const float spoilers[][2] = {{NAN, 0.0f}, {INFINITY, 0.0f}, {-INFINITY, -INFINITY}, {NAN, NAN}};
    check_case("softmax rows");
    for (size_t k = 0; k < COUNT(spoilers); k++) {
        float s[ROWS * WIDTH], h[ROWS * WIDTH], alone[WIDTH];
        fill_any(s, ROWS * WIDTH, -9.0f, 9.0f);
        for (size_t i = 0; i < WIDTH; i++) s[3 * WIDTH + i] = spoilers[k][1];
        s[3 * WIDTH + any_below(WIDTH)] = spoilers[k][0];
        CHECK_OK(pynn_softmax_forward(h, s, ROWS, WIDTH));
        for (size_t r = 0; r < ROWS; r++) {
            size_t nans = 0;
            for (size_t i = 0; i < WIDTH; i++) nans += h[r * WIDTH + i] != h[r * WIDTH + i];
            CHECK(nans == (r == 3 ? WIDTH : 0), "spoiler %zu: %zu NaN in row %zu", k, nans, r);
            CHECK_OK(pynn_softmax_forward(alone, s + r * WIDTH, 1, WIDTH));
            CHECK_SAME(h + r * WIDTH, alone, WIDTH);
        }
    }
    { /* one -inf is a probability of 0, and huge scores are no harm */
        const float s[] = {-INFINITY, 3e38f, -3e38f, 3e38f}, wanted[] = {0.0f, 0.5f, 0.0f, 0.5f};
        float h[4];
        CHECK_OK(pynn_softmax_forward(h, s, 1, 4));
        CHECK_SAME(h, wanted, 4);
    }
}

/* ---- losses ------------------------------------------------------------ */

static void check_loss(int32_t kind, size_t rows, size_t width, size_t gap, int labelled, int awkward)
{
    static float wanted[MOST], losses_wanted[1024];
    static int32_t labels[1024];
    const size_t n = rows * width, stride = width + gap;
    float *y = guard_floats(&pages[0], n, any_place());
    float *t = guard_floats(&pages[1], rows > 0 ? (rows - 1) * stride + width : 0, any_place());
    float *weights = guard_floats(&pages[2], rows, any_place());
    float *ds = guard_floats(&pages[3], n, any_place()), *losses = guard_floats(&pages[4], rows, any_place());
    const pynn_targets targets = {.rows = labelled ? NULL : t, .stride = stride, .labels = labelled ? labels : NULL,
                                  .weights = any_below(2) ? weights : NULL};
    const pynn_data data = {.rows = rows, .targets = targets};
    double loss = -1.0, again = -1.0, loss_wanted;
    for (size_t i = 0; i < n; i++) y[i] = awkward && any_below(3) == 0 ? any_awkward() : any_float(-9.0f, 9.0f);
    for (size_t r = 0; r < rows; r++) {
        labels[r] = (int32_t)any_below(width);
        weights[r] = any_below(4) ? any_float(0.0f, 2.0f) : 0.0f;
        for (size_t i = 0; i < width; i++) t[r * stride + i] = any_below(3) ? any_float(0.0f, 1.0f) : 0.0f;
    }
    check_case("loss %d, %zu x %zu", kind, rows, width);
    loss_wanted = o_loss(losses_wanted, wanted, y, &targets, NULL, rows, width, kind, NULL);
    CHECK_OK(pynn_loss(&loss, losses, ds, y, &data, width, kind));
    for (size_t r = 0; data.targets.weights != NULL && r < rows; r++) /* that of a row of weight 0 has no meaning */
        if (!(weights[r] > 0.0f)) losses_wanted[r] = losses[r];
    CHECK_SAME(losses, losses_wanted, rows);
    CHECK_SAME(ds, wanted, n);
    CHECK_SAME_DOUBLE(loss, loss_wanted);
    check_guards();
    memset(losses, GUARD_PATTERN, rows * sizeof(float));
    CHECK_OK(pynn_loss(&again, losses, NULL, y, &data, width, kind));
    CHECK_SAME(losses, losses_wanted, rows);
    CHECK_SAME_DOUBLE(again, loss_wanted);
    check_guards();
}

static void test_losses(void)
{
    for (int32_t kind = PYNN_SQUARED_ERROR; kind <= PYNN_BINARY_CROSS_ENTROPY; kind++) {
        for (size_t i = 0; i < COUNT(widths); i++) {
            check_loss(kind, 1 + any_below(30), widths[i], any_below(3), 0, 0);
            check_loss(kind, 1 + any_below(30), widths[i], 0, 0, 1);
            if (kind != PYNN_CROSS_ENTROPY) continue;
            check_loss(kind, 1 + any_below(30), widths[i], 0, 1, 0);
            check_loss(kind, 1 + any_below(30), widths[i], 0, 1, 1);
        }
        check_loss(kind, 0, 5, 0, 0, 0);
        check_loss(kind, 300, 10, 0, 0, 0);
    }
}

/* ---- optimizers -------------------------------------------------------- */

static void check_update(const pynn_optimizer *how, size_t inputs, size_t outputs, float size)
{
    static float wanted[MOST], m_wanted[MOST];
    const pynn_layer layer = {.kind = PYNN_DENSE, .init = PYNN_INIT_ZEROS, .inputs = inputs, .outputs = outputs};
    pynn_trainer trainer = {.optimizer = *how};
    pynn_state state_wanted = {0, 1.0, 1.0};
    pynn_net net;
    const pynn_plan *plan;
    size_t n, count;
    float *w, *g, *m;
    check_case("optimizer %d, %zu x %zu", how->kind, inputs, outputs);
    CHECK_OK(pynn_net_init(&net, &layer, 1));
    CHECK_OK(pynn_optimizer_moments(&count, how));
    n = net.param_count;
    w = any_array(&pages[0], n, -1.0f, 1.0f);
    g = guard_floats(&pages[1], n, any_place());
    m = guard_floats(&pages[2], count * n, any_place());
    memset(m, 0, count * n * sizeof(float));
    memset(m_wanted, 0, count * n * sizeof(float));
    memcpy(wanted, w, n * sizeof(float));
    trainer.params = w;
    trainer.moments = count ? m : NULL;
    plan = plan_from(&net, w);
    for (int step = 0; step < 4; step++) {
        for (size_t i = 0; i < n; i++) g[i] = any_below(20) ? any_float(-size, size) : 0x1p-140f;
        CHECK_OK(pynn_update(&trainer, plan, g, 0.01 + 0.01 * step));
        o_update(wanted, m_wanted, &state_wanted, g, &net, how, 0.01 + 0.01 * step);
        CHECK_SAME(w, wanted, n);
        CHECK_SAME(m, m_wanted, count * n);
        CHECK(trainer.state.steps == state_wanted.steps, "%" PRIu64, trainer.state.steps);
        CHECK_SAME_DOUBLE(trainer.state.beta1_power, state_wanted.beta1_power);
        CHECK_SAME_DOUBLE(trainer.state.beta2_power, state_wanted.beta2_power);
    }
    check_guards();
}

static void test_updates(void)
{
    static const pynn_optimizer recipes[] = {
        {.kind = PYNN_SGD},
        {.kind = PYNN_SGD, .weight_decay = 0.01, .clip_norm = 1.0},
        {.kind = PYNN_SGD, .momentum = 0.9},
        {.kind = PYNN_SGD, .momentum = 0.9, .weight_decay = 0.01, .clip_norm = 0.5},
        {.kind = PYNN_SGD, .nesterov = 1, .momentum = 0.9},
        {.kind = PYNN_SGD, .nesterov = 1, .momentum = 0.5, .weight_decay = 0.01, .clip_norm = 2.0},
        {.kind = PYNN_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8},
        {.kind = PYNN_ADAM, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-6, .weight_decay = 0.02, .clip_norm = 0.7},
        {.kind = PYNN_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01},
        {.kind = PYNN_ADAMW, .epsilon = 1e-12, .weight_decay = 0.5, .clip_norm = 3.0},
    };
    for (size_t k = 0; k < COUNT(recipes); k++) {
        for (size_t i = 0; i < COUNT(widths); i++) check_update(&recipes[k], 1 + any_below(9), widths[i], 1.0f);
        check_update(&recipes[k], 123, 77, 1.0f); /* more than one chunk of 4096 */
        check_update(&recipes[k], 5, 5, 0x1p-98f); /* moments on both sides of the flush */
    }
}

static void test_all(void)
{
    test_products();
    test_product_values();
    test_activations();
    test_activation_values();
    test_softmax();
    test_softmax_rows();
    test_losses();
    test_updates();
}

int main(void)
{
    for (size_t i = 0; i < COUNT(pages); i++) pages[i] = guard_make(MOST * sizeof(float));
    test_fma();
    every_isa(test_all);
    return check_end("test_kernels");
}
