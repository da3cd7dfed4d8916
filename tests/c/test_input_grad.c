/*
 * Gradients in the inputs: pynn_vjp has the bits of a forward and a backward pass, pynn_input_grad those of a forward
 * pass, a loss and a backward pass, for every activation; and they agree with differences of the loss.
 */
#include "nets.h"

enum { ROWS = 23, IN = 6, OUT = 4, MOST_PARAMS = 1 << 16 };

static const char *const nets[] = {
    "d5id4", "d5rd4", "d5ld4", "d5sd4", "d5td4", "d5pd4", "d5gd4", "d5ud4", "d5md4",         /* every kind inside */
    "d4i", "d4r", "d4l", "d4s", "d4t", "d4p", "d4g", "d4u", "d4m", "d4",                     /* and at the end */
    "id4", "rd4", "ld4", "sd4", "td4", "pd4", "gd4", "ud4", "md4", "od4", "god4o",           /* and first */
    "d9god7td4m", "d9pod7ud4s", "d200rd193gd4", "d19d17rrd4ms",
};
static pynn_layer layers[NET_LAYERS];
static pynn_net net;
static const pynn_plan *plan;
static float params[MOST_PARAMS], grads[MOST_PARAMS], x[ROWS * (IN + 2)], t[ROWS * OUT], v[ROWS * OUT], weights[ROWS];
static float y[ROWS * OUT], dy[ROWS * OUT], losses[ROWS], dx[ROWS * IN], wanted[ROWS * IN];
static pynn_memory workspace;

static void make_net(const char *text)
{
    net_from(text, IN, layers, &net, params, MOST_PARAMS);
    plan = plan_from(&net, params);
    fill_any(x, COUNT(x), -1.0f, 1.0f);
    fill_any(dy, COUNT(dy), -1.0f, 1.0f);
    fill_any(v, COUNT(v), 0.0f, 2.0f);
    for (size_t r = 0; r < ROWS; r++) {
        float sum = 0.0f;
        for (size_t j = 0; j < OUT; j++) sum += t[r * OUT + j] = any_float(0.0f, 1.0f);
        for (size_t j = 0; j < OUT; j++) t[r * OUT + j] /= sum;
        weights[r] = r % 4 == 1 ? 0.0f : any_float(0.0f, 2.0f);
    }
}

/* The facing function of a forward pass: dx from dy. */
static void pass_back(const pynn_data *data, const pynn_options *options)
{
    pynn_tape tape = {0};
    CHECK_OK(pynn_forward(y, &tape, plan, data, options, workspace));
    CHECK_OK(pynn_backward(NULL, wanted, dy, &tape, options->executor));
}

static void in_order(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    for (size_t worker = 0; worker < *(const size_t *)context; worker++) task(argument, worker);
}

static void check_vjp(const pynn_mask *mask, size_t stride)
{
    const pynn_data data = {.x = x, .rows = ROWS, .stride = stride};
    for (int32_t end = PYNN_OUTPUTS; end <= PYNN_SCORES; end++) {
        for (size_t workers = 1; workers <= 4; workers += 3) {
            const pynn_executor executor = {.workers = workers, .context = &workers, .run = in_order};
            const pynn_options options = {.end = end, .mask = mask, .executor = &executor};
            pass_back(&data, &options);
            memset(dx, GUARD_PATTERN, sizeof dx);
            CHECK_OK(pynn_vjp(dx, dy, plan, &data, &options, workspace));
            CHECK_SAME(dx, wanted, ROWS * IN);
        }
    }
}

static int is_cross_entropy(int32_t loss) { return loss == PYNN_CROSS_ENTROPY || loss == PYNN_BINARY_CROSS_ENTROPY; }

static int fits(int32_t loss)
{
    const int32_t last = layers[net.layer_count - 1].kind;
    if (loss == PYNN_CROSS_ENTROPY) return last == PYNN_SOFTMAX;
    return loss != PYNN_BINARY_CROSS_ENTROPY || last == PYNN_SIGMOID;
}

static void check_input_grad(int32_t loss, const pynn_targets *targets, const pynn_mask *mask, size_t stride)
{
    const pynn_data data = {.x = x, .rows = ROWS, .stride = stride, .targets = *targets};
    const pynn_options pass = {.end = is_cross_entropy(loss) ? PYNN_SCORES : PYNN_OUTPUTS, .mask = mask};
    const pynn_options named = {.loss = loss, .mask = mask};
    double value = -1.0, alone = -2.0, in_params = -3.0;
    pynn_tape tape = {0};
    CHECK_OK(pynn_forward(y, &tape, plan, &data, &pass, workspace));
    CHECK_OK(pynn_loss(&alone, losses, dy, y, &data, OUT, loss));
    CHECK_OK(pynn_backward(NULL, wanted, dy, &tape, NULL));
    CHECK_OK(pynn_loss_and_grad(&in_params, grads, plan, &data, &named, workspace));
    for (size_t workers = 1; workers <= 4; workers += 3) {
        const pynn_executor executor = {.workers = workers, .context = &workers, .run = in_order};
        const pynn_options options = {.loss = loss, .mask = mask, .executor = &executor};
        memset(dx, GUARD_PATTERN, sizeof dx);
        CHECK_OK(pynn_input_grad(&value, dx, plan, &data, &options, workspace));
        CHECK_SAME(dx, wanted, ROWS * IN);
        CHECK_SAME_DOUBLE(value, alone);
        CHECK_SAME_DOUBLE(value, in_params);
        memset(dx, GUARD_PATTERN, sizeof dx);
        CHECK_OK(pynn_input_grad(NULL, dx, plan, &data, &options, workspace));
        CHECK_SAME(dx, wanted, ROWS * IN);
    }
}

static void test_bits(void)
{
    const pynn_mask mask = {.seed = 5, .step = 9};
    for (size_t i = 0; i < COUNT(nets); i++) {
        make_net(nets[i]);
        for (size_t stride = IN; stride <= IN + 2; stride += 2) {
            check_case("vjp of %s, stride %zu", nets[i], stride);
            check_vjp(NULL, stride);
            check_vjp(&mask, stride);
            for (int32_t loss = PYNN_SQUARED_ERROR; loss <= PYNN_BINARY_CROSS_ENTROPY; loss++) {
                const pynn_targets plain = {.rows = t}, weighted = {.rows = t, .weights = weights};
                const pynn_targets all = {
                    .rows = t, .weights = weights, .output_weights = v, .normalise = PYNN_BY_ROWS};
                if (!fits(loss)) continue;
                check_case("input gradient of %s, loss %d, stride %zu", nets[i], loss, stride);
                check_input_grad(loss, &plain, NULL, stride);
                check_input_grad(loss, &weighted, &mask, stride);
                check_input_grad(loss, &all, NULL, stride);
            }
        }
    }
    check_case(" ");
}

/* Rows of weight 0 get a gradient of 0 and leave the others alone, whatever they hold. */
static void test_left_out(void)
{
    static float clean[ROWS * (IN + 2)];
    for (size_t i = 0; i < COUNT(nets); i++) {
        const pynn_data data = {.x = x, .rows = ROWS, .targets = {.rows = t, .weights = weights}};
        double loss = -1.0, other = -2.0;
        check_case("rows of weight 0 of %s", nets[i]);
        make_net(nets[i]);
        memcpy(clean, x, sizeof clean);
        CHECK_OK(pynn_input_grad(&loss, wanted, plan, &data, NULL, workspace));
        for (size_t r = 1; r < ROWS; r += 4) {
            x[r * IN + any_below(IN)] = r % 8 == 1 ? NAN : INFINITY;
            t[r * OUT + any_below(OUT)] = r % 8 == 1 ? -INFINITY : NAN;
        }
        CHECK_OK(pynn_input_grad(&other, dx, plan, &data, NULL, workspace));
        CHECK_SAME_DOUBLE(other, loss);
        CHECK_SAME(dx, wanted, ROWS * IN);
        for (size_t r = 1; r < ROWS; r += 4)
            for (size_t k = 0; k < IN; k++) CHECK(dx[r * IN + k] == 0.0f, "row %zu: %g", r, (double)dx[r * IN + k]);
    }
    check_case(" ");
}

static double loss_at(const pynn_data *data, const pynn_options *options)
{
    double loss = (double)NAN;
    CHECK_OK(pynn_loss_and_grad(&loss, grads, plan, data, options, workspace));
    return loss;
}

/* Central differences of a float loss are rough, and a corner of a relu may lie between: most of them must agree. */
static void test_differences(void)
{
    const float h = 1.0f / 128.0f;
    const pynn_mask mask = {.seed = 5, .step = 9};
    for (size_t i = 0; i < COUNT(nets); i++) {
        const pynn_data data = {.x = x, .rows = ROWS, .targets = {.rows = t, .weights = weights}};
        const pynn_options options = {.mask = &mask};
        double apart = 0.0, size = 0.0, loss = 0.0;
        check_case("differences of %s", nets[i]);
        make_net(nets[i]);
        CHECK_OK(pynn_input_grad(&loss, dx, plan, &data, &options, workspace));
        for (size_t k = 0; k < ROWS * IN; k++) {
            const float kept = x[k];
            double above, below;
            x[k] = kept + h;
            above = loss_at(&data, &options);
            x[k] = kept - h;
            below = loss_at(&data, &options);
            x[k] = kept;
            apart += fabs((above - below) / (2.0 * (double)h) - (double)dx[k]);
            size += fabs((double)dx[k]);
        }
        CHECK(size > 0.0, "no gradient");
        CHECK(apart <= 0.1 * size, "differences are %g away from a gradient of %g", apart, size);
        CHECK_SAME_DOUBLE(loss_at(&data, &options), loss);
    }
    check_case(" ");
}

static void test_all(void)
{
    test_bits();
    test_left_out();
}

int main(void)
{
    workspace = memory_of(1 << 21);
    every_isa(test_all);
    test_differences();
    return check_end("test_input_grad");
}
