/*
 * Gradients against central differences: the whole core compiled in double (how: see tests/c/simd_double.h), so that an
 * error of one part in a million is an error of the formulas and not of the arithmetic. Every activation with every loss,
 * at several widths and batch lengths, and every layer that a net may have, in several places.
 */
#include "nets.h"

enum { MOST_PARAMS = 8192, MOST_ROWS = 17, MOST_WIDTH = 64, IN = 5, SAMPLES = 40, DIRECTIONS = 6 };

#define STEP 1e-5      /* of the differences */
#define TOLERANCE 1e-6 /* of the norm of a gradient */
#define KINK 2e-4      /* scores of relu and leaky relu keep this distance from 0 */

static pynn_layer layers[NET_LAYERS];
static pynn_net net;
static float params[MOST_PARAMS], grads[MOST_PARAMS], again[MOST_PARAMS];
static float x[MOST_ROWS * MOST_WIDTH], dx[MOST_ROWS * MOST_WIDTH];
static float y[MOST_ROWS * MOST_WIDTH], ds[MOST_ROWS * MOST_WIDTH], losses[MOST_ROWS];
static float t[MOST_ROWS * MOST_WIDTH], weights[MOST_ROWS];
static int32_t labels[MOST_ROWS];
static void *work;
static size_t work_bytes;

/* What the loss is a function of, besides parameters and inputs. */
static struct {
    size_t rows;
    int32_t loss, end;
    pynn_targets targets;
    const pynn_mask *mask;
} at;

static double loss_here(void)
{
    double loss = 0.0;
    CHECK_OK(pynn_forward(y, &net, params, x, net.inputs, at.mask, at.rows, at.end, work, work_bytes));
    CHECK_OK(pynn_loss(&loss, losses, NULL, y, &at.targets, at.rows, net.outputs, at.loss));
    return loss;
}

/* The derivative along `direction`, in the n elements of p. */
static double difference(float *p, const double *direction, size_t n)
{
    static float saved[MOST_PARAMS];
    double above, below;
    memcpy(saved, p, n * sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = saved[i] + STEP * direction[i];
    above = loss_here();
    for (size_t i = 0; i < n; i++) p[i] = saved[i] - STEP * direction[i];
    below = loss_here();
    memcpy(p, saved, n * sizeof *p);
    return (above - below) / (2.0 * STEP);
}

/* Elements one by one, all or a sample, and directions that take all of them together. */
static void check_gradient(const char *of, float *p, const float *g, size_t n)
{
    static double direction[MOST_PARAMS];
    double norm = 0.0, sampled = 0.0, apart = 0.0;
    for (size_t i = 0; i < n; i++) norm += g[i] * g[i];
    norm = sqrt(norm);
    memset(direction, 0, sizeof direction);
    for (size_t k = 0; k < n && k < SAMPLES; k++) {
        const size_t i = n <= SAMPLES ? k : any_below(n);
        double error;
        direction[i] = 1.0;
        error = difference(p, direction, n) - g[i];
        direction[i] = 0.0;
        sampled += g[i] * g[i];
        apart += error * error;
    }
    CHECK(sqrt(apart) <= TOLERANCE * sqrt(sampled) + 1e-10, "d%s: %g apart, of a norm of %g", of, sqrt(apart), sqrt(sampled));
    for (size_t k = 0; k < DIRECTIONS && n > SAMPLES; k++) {
        double length = 0.0, slope = 0.0, error;
        for (size_t i = 0; i < n; i++) {
            direction[i] = any_float(-1.0, 1.0);
            length += direction[i] * direction[i];
        }
        for (size_t i = 0; i < n; i++) {
            direction[i] /= sqrt(length);
            slope += direction[i] * g[i];
        }
        error = fabs(difference(p, direction, n) - slope);
        CHECK(error <= TOLERANCE * norm + 1e-10, "d%s in a direction: %g apart, of a norm of %g", of, error, norm);
    }
}

/* Layer by layer: how close any score comes to the kink of a relu. */
static double nearest_kink(void)
{
    static float a[MOST_ROWS * MOST_WIDTH], b[MOST_ROWS * MOST_WIDTH];
    size_t width = net.inputs, offset = 0;
    double nearest = 1.0;
    uint32_t dropouts = 0;
    memcpy(a, x, at.rows * width * sizeof *a);
    for (size_t i = 0; i < net.layer_count; i++) {
        const pynn_layer *layer = &layers[i];
        const size_t n = at.rows * width;
        if (layer->kind == PYNN_DENSE) {
            const float *w = params + offset;
            CHECK_OK(pynn_dense_forward(b, a, width, w, w + width * layer->outputs, at.rows, width, layer->outputs));
            offset += (width + 1) * layer->outputs;
            width = layer->outputs;
            memcpy(a, b, at.rows * width * sizeof *a);
        } else if (layer->kind == PYNN_SOFTMAX) {
            CHECK_OK(pynn_softmax_forward(a, a, at.rows, width));
        } else if (layer->kind == PYNN_DROPOUT) {
            if (at.mask == NULL) continue;
            CHECK_OK(pynn_dropout_forward(a, a, &(pynn_mask){at.mask->seed, at.mask->step, dropouts++}, at.rows, width,
                                          layer->value));
        } else {
            const int has_kink = layer->kind == PYNN_RELU || layer->kind == PYNN_LEAKY_RELU;
            for (size_t k = 0; k < n && has_kink; k++)
                if (a[k] > 0.0 || a[k] < 0.0) nearest = fmin(nearest, fabs(a[k])); /* dropped ones stay at 0 */
            CHECK_OK(pynn_activation_forward(a, a, n, layer->kind, layer->value));
        }
    }
    return nearest;
}

static void check_net(const char *text, size_t rows, int32_t loss, int labelled, int weighted, int drops)
{
    const pynn_mask mask = {any_bits(), 3, 0};
    double given = -1.0, recomputed;
    int tries = 0;
    check_case("net %s, %zu rows, loss %d%s%s%s", text, rows, loss, labelled ? ", labels" : "", weighted ? ", weights" : "",
               drops ? ", dropout" : "");
    at.rows = rows;
    at.loss = loss;
    at.mask = drops ? &mask : NULL;
    at.end = loss == PYNN_CROSS_ENTROPY || loss == PYNN_BINARY_CROSS_ENTROPY ? PYNN_SCORES : PYNN_OUTPUTS;
    do {
        net_from(text, IN, layers, &net, params, MOST_PARAMS);
        fill_any(x, rows * net.inputs, -1.5, 1.5);
    } while (nearest_kink() < KINK && ++tries < 500);
    CHECK(tries < 500, "no inputs away from the kinks");
    at.targets = (pynn_targets){labelled ? NULL : t, net.outputs, labelled ? labels : NULL, weighted ? weights : NULL};
    for (size_t r = 0; r < rows; r++) {
        double sum = 0.0;
        labels[r] = (int32_t)any_below(net.outputs);
        weights[r] = r % 3 == 1 ? 0.0 : any_float(0.5, 2.0);
        for (size_t j = 0; j < net.outputs; j++) sum += t[r * net.outputs + j] = any_float(0.0, 1.0);
        for (size_t j = 0; j < net.outputs && loss == PYNN_CROSS_ENTROPY; j++) t[r * net.outputs + j] /= sum;
    }
    CHECK_OK(pynn_pass_bytes(&work_bytes, &net, rows));
    work = aligned_bytes(work_bytes);

    CHECK_OK(pynn_loss_and_grad(&given, grads, &net, params, x, net.inputs, &at.targets, at.mask, rows, loss, work, work_bytes));
    recomputed = loss_here();
    CHECK_NEAR(given, recomputed, 1e-14 * (1.0 + fabs(recomputed)));
    CHECK_OK(pynn_loss(&given, losses, ds, y, &at.targets, rows, net.outputs, loss));
    CHECK_OK(pynn_forward(y, &net, params, x, net.inputs, at.mask, rows, at.end, work, work_bytes));
    CHECK_OK(pynn_backward(again, dx, ds, &net, params, x, net.inputs, at.mask, rows, at.end, work, work_bytes));
    for (size_t i = 0; i < net.param_count; i++)
        if (!CHECK_NEAR(again[i], grads[i], 1e-14 * (1.0 + fabs(grads[i])))) break;
    check_gradient("params", params, grads, net.param_count);
    check_gradient("x", x, dx, rows * net.inputs);
    free(work);
}

/* Every activation with every loss. */
static void test_grid(void)
{
    static const size_t widths[] = {1, 7, 64}, batches[] = {1, 3, 17};
    for (size_t a = 0; NET_ACTIVATIONS[a] != '\0'; a++) {
        for (int32_t loss = PYNN_SQUARED_ERROR; loss <= PYNN_BINARY_CROSS_ENTROPY; loss++) {
            for (size_t w = 0; w < COUNT(widths); w++) {
                for (size_t b = 0; b < COUNT(batches); b++) {
                    const char *head = loss == PYNN_CROSS_ENTROPY ? "m" : loss == PYNN_BINARY_CROSS_ENTROPY ? "s" : "";
                    const size_t outputs = loss == PYNN_CROSS_ENTROPY || widths[w] == 7 ? 3 : widths[w];
                    char text[64];
                    snprintf(text, sizeof text, "d%zu%cd%zu%cd%zu%s", widths[w], NET_ACTIVATIONS[a],
                             widths[w], NET_ACTIVATIONS[a], w == 2 ? 4 : outputs, head);
                    check_net(text, batches[b], loss, loss == PYNN_CROSS_ENTROPY && b == 2, (w + b) % 2 == 1, 0);
                }
            }
        }
    }
}

/* Every layer in unusual places. */
static void test_places(void)
{
    static const struct { const char *text; int32_t loss; int labelled, drops; } nets[] = {
        {"d6md4td3", PYNN_SQUARED_ERROR, 0, 0},          {"d6rmd3m", PYNN_CROSS_ENTROPY, 0, 0},
        {"d6mgd3m", PYNN_CROSS_ENTROPY, 1, 0},           {"d6td3m", PYNN_SQUARED_ERROR, 0, 0},
        {"d6gd4m", PYNN_MEAN_SQUARED_ERROR, 0, 0},       {"d6pd4s", PYNN_HALF_SQUARED_ERROR, 0, 0},
        {"d9rod7tod3m", PYNN_CROSS_ENTROPY, 1, 1},       {"od9god7uod2s", PYNN_BINARY_CROSS_ENTROPY, 0, 1},
        {"od9rod4o", PYNN_SQUARED_ERROR, 0, 1},          {"d9ood4", PYNN_SQUARED_ERROR, 0, 1},
        {"d9ogd4p", PYNN_SQUARED_ERROR, 0, 1},           {"d9god4u", PYNN_SQUARED_ERROR, 0, 0},
        {"gd4u", PYNN_SQUARED_ERROR, 0, 0},              {"md4g", PYNN_MEAN_SQUARED_ERROR, 0, 0},
        {"td5sgd4", PYNN_SQUARED_ERROR, 0, 0},           {"d5upgtsd3", PYNN_SQUARED_ERROR, 0, 0},
        {"d5d4d3", PYNN_HALF_SQUARED_ERROR, 0, 0},       {"d5iid4id3i", PYNN_SQUARED_ERROR, 0, 0},
        {"d5rrd4lld3", PYNN_SQUARED_ERROR, 0, 0},        {"d5r", PYNN_SQUARED_ERROR, 0, 0},
        {"d5l", PYNN_SQUARED_ERROR, 0, 0},               {"d5t", PYNN_MEAN_SQUARED_ERROR, 0, 0},
        {"d1", PYNN_SQUARED_ERROR, 0, 0},                {"d3mm", PYNN_SQUARED_ERROR, 0, 0},
        {"d1m", PYNN_CROSS_ENTROPY, 1, 0},               {"d4md4md4m", PYNN_CROSS_ENTROPY, 0, 0},
    };
    for (size_t i = 0; i < COUNT(nets); i++) {
        check_net(nets[i].text, 17, nets[i].loss, nets[i].labelled, 0, nets[i].drops);
        check_net(nets[i].text, 3, nets[i].loss, nets[i].labelled, 1, nets[i].drops);
        check_net(nets[i].text, 1, nets[i].loss, nets[i].labelled, 0, nets[i].drops);
    }
}

/* Nets at random. */
static void test_random_nets(void)
{
    static const char middle[] = NET_ACTIVATIONS "mo";
    for (int turn = 0; turn < 100; turn++) {
        const int32_t loss = (int32_t)any_below(5);
        const size_t depth = 1 + any_below(4);
        char text[100];
        size_t n = 0;
        for (size_t k = 0; k < depth; k++) {
            n += (size_t)snprintf(text + n, sizeof text - n, "d%zu", 2 + any_below(9));
            for (size_t extra = any_below(3); extra > 0; extra--) text[n++] = middle[any_below(sizeof middle - 1)];
        }
        snprintf(text + n, sizeof text - n, "d3%s",
                 loss == PYNN_CROSS_ENTROPY ? "m" : loss == PYNN_BINARY_CROSS_ENTROPY ? "s" : "");
        check_net(text, 1 + any_below(MOST_ROWS), loss, loss == PYNN_CROSS_ENTROPY && turn % 2, turn % 3 == 0, turn % 4 != 0);
    }
}

/* The layers' own functions: the derivative of a weighted sum of what they put out. */
static void test_layers_alone(void)
{
    enum { ROWS = 4, WIDTH = 6, N = ROWS * WIDTH };
    static const pynn_mask mask = {5, 2, 1};
    float s[N], a[N], c[N], d[N];
    for (int32_t kind = PYNN_IDENTITY; kind <= PYNN_DROPOUT; kind++) {
        double error = 0.0, norm = 0.0;
        check_case("layer kind %d alone", kind);
        fill_any(s, N, -2.0, 2.0);
        fill_any(c, N, -1.0, 1.0);
        for (size_t i = 0; i < N; i++)
            if (fabs(s[i]) < KINK) s[i] = 1.0;
#define FORWARD(to, from) \
    (kind == PYNN_SOFTMAX   ? pynn_softmax_forward(to, from, ROWS, WIDTH) \
     : kind == PYNN_DROPOUT ? pynn_dropout_forward(to, from, &mask, ROWS, WIDTH, 0.4) \
                            : pynn_activation_forward(to, from, N, kind, 0.125))
        CHECK_OK(FORWARD(a, s));
        if (kind == PYNN_SOFTMAX) CHECK_OK(pynn_softmax_backward(d, c, a, ROWS, WIDTH));
        else if (kind == PYNN_DROPOUT) CHECK_OK(pynn_dropout_backward(d, c, &mask, ROWS, WIDTH, 0.4));
        else CHECK_OK(pynn_activation_backward(d, c, s, a, N, kind, 0.125));
        for (size_t i = 0; i < N; i++) {
            const float kept = s[i];
            double slope = 0.0;
            s[i] = kept + STEP;
            CHECK_OK(FORWARD(a, s));
            for (size_t k = 0; k < N; k++) slope += c[k] * a[k];
            s[i] = kept - STEP;
            CHECK_OK(FORWARD(a, s));
            for (size_t k = 0; k < N; k++) slope -= c[k] * a[k];
            s[i] = kept;
            slope /= 2.0 * STEP;
            error += (slope - d[i]) * (slope - d[i]);
            norm += d[i] * d[i];
        }
        CHECK(sqrt(error) <= TOLERANCE * sqrt(norm), "%g apart, of a norm of %g", sqrt(error), sqrt(norm));
    }
}

int main(void)
{
    CHECK_OK(pynn_isa_set(PYNN_ISA_SCALAR)); /* first of all: the known answers are those of binary32 */
    CHECK(sizeof(float) == sizeof(double), "compiled without -Dfloat=double");
    test_layers_alone();
    test_grid();
    test_places();
    test_random_nets();
    return check_end("test_gradients");
}
