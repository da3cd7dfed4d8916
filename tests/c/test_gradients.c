/*
 * Gradients against central differences: the whole core compiled in double (how: see tests/c/simd_double.h), so that an
 * error of one part in a million is an error of the formulas and not of the arithmetic. Every activation with every
 * loss, at several widths and batch lengths, weights of rows and outputs, every divisor, and every layer that a net may
 * have, in several places.
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
static float t[MOST_ROWS * MOST_WIDTH], weights[MOST_ROWS], output_weights[MOST_ROWS * (MOST_WIDTH + 3)];
static int32_t labels[MOST_ROWS];
static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char work_storage[1 << 22], plan_storage[1 << 12];
static const pynn_memory work = {work_storage, sizeof work_storage};

/* What the loss is a function of, besides parameters and inputs. */
static struct {
    const pynn_plan *plan;
    pynn_data data;
    pynn_options pass; /* to the scores, for a loss that starts from them */
    int32_t loss;
} at;

static double loss_here(void)
{
    pynn_tape tape = {0};
    double loss = 0.0;
    CHECK_OK(pynn_forward(y, &tape, at.plan, &at.data, &at.pass, work));
    CHECK_OK(pynn_loss(&loss, losses, NULL, y, &at.data, net.outputs, at.loss));
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
    apart = sqrt(apart);
    sampled = sqrt(sampled);
    CHECK(apart <= TOLERANCE * sampled + 1e-10, "d%s: %g apart, of a norm of %g", of, apart, sampled);
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
    memcpy(a, x, at.data.rows * width * sizeof *a);
    for (size_t i = 0; i < net.layer_count; i++) {
        const pynn_layer *layer = &layers[i];
        const size_t rows = at.data.rows, n = rows * width;
        if (layer->kind == PYNN_DENSE) {
            const pynn_dense dense = {.w = params + offset, .b = params + offset + width * layer->outputs,
                                      .inputs = width, .outputs = layer->outputs};
            CHECK_OK(pynn_dense_forward(b, &dense, &(pynn_data){.x = a, .rows = rows}));
            offset += (width + 1) * layer->outputs;
            width = layer->outputs;
            memcpy(a, b, rows * width * sizeof *a);
        } else if (layer->kind == PYNN_SOFTMAX) {
            CHECK_OK(pynn_softmax_forward(a, a, rows, width));
        } else if (layer->kind == PYNN_DROPOUT) {
            pynn_mask mask;
            if (at.pass.mask == NULL) continue;
            mask = *at.pass.mask;
            mask.layer = dropouts++;
            CHECK_OK(pynn_dropout_forward(a, a, &mask, rows, width, layer->p));
        } else {
            const int has_kink = layer->kind == PYNN_RELU || layer->kind == PYNN_LEAKY_RELU;
            for (size_t k = 0; k < n && has_kink; k++)
                if (a[k] > 0.0 || a[k] < 0.0) nearest = fmin(nearest, fabs(a[k])); /* dropped ones stay at 0 */
            CHECK_OK(pynn_activation_forward(a, a, n, layer));
        }
    }
    return nearest;
}

/* The last layer that a loss needs. */
static const char *head_of(int32_t loss)
{
    return loss == PYNN_CROSS_ENTROPY ? "m" : loss == PYNN_BINARY_CROSS_ENTROPY ? "s" : "";
}

/* What a net is tested with. */
typedef struct setting {
    int32_t loss;
    int labelled, weighted, drops;
    int output_weights; /* 1: of every row, 2: one row for all */
    int32_t normalise;
} setting;

static pynn_targets targets_of(const setting *how)
{
    return (pynn_targets){.rows = how->labelled ? NULL : t,
                          .labels = how->labelled ? labels : NULL,
                          .weights = how->weighted ? weights : NULL,
                          .output_weights = how->output_weights ? output_weights : NULL,
                          .output_weights_stride = how->output_weights == 1 ? net.outputs + 3 : 0,
                          .same_output_weights = how->output_weights == 2,
                          .normalise = how->normalise,
                          .divisor = how->normalise == PYNN_BY_NUMBER ? 2.75 : 0.0};
}

static void fill_targets(const setting *how, size_t rows)
{
    for (size_t r = 0; r < rows; r++) {
        const size_t n = net.outputs;
        double sum = 0.0;
        labels[r] = (int32_t)any_below(n);
        weights[r] = r % 3 == 1 ? 0.0 : any_float(0.5, 2.0);
        if (how->normalise != PYNN_BY_WEIGHTS && r % 4 == 2) weights[r] = -weights[r];
        for (size_t j = 0; j < n; j++) sum += t[r * n + j] = any_float(0.0, 1.0);
        for (size_t j = 0; j < n && how->loss == PYNN_CROSS_ENTROPY; j++) t[r * n + j] /= sum;
    }
    fill_any(output_weights, COUNT(output_weights), 0.25, 3.0);
    for (size_t i = 2; i < COUNT(output_weights); i += 5) output_weights[i] = 0.0;
}

static void check_net(const char *text, size_t rows, const setting *how)
{
    const pynn_mask mask = {.seed = any_bits(), .step = 3}, *given_mask = how->drops ? &mask : NULL;
    const pynn_options of_loss = {.loss = how->loss, .mask = given_mask};
    const int to_scores = how->loss == PYNN_CROSS_ENTROPY || how->loss == PYNN_BINARY_CROSS_ENTROPY;
    pynn_tape tape = {0};
    double given = -1.0, recomputed;
    int tries = 0;
    check_case("net %s, %zu rows, loss %d%s%s%s, output weights %d, by %d", text, rows, how->loss,
               how->labelled ? ", labels" : "", how->weighted ? ", weights" : "", how->drops ? ", dropout" : "",
               how->output_weights, how->normalise);
    at.data = (pynn_data){.x = x, .rows = rows};
    at.loss = how->loss;
    at.pass = (pynn_options){.end = to_scores ? PYNN_SCORES : PYNN_OUTPUTS, .mask = given_mask};
    do {
        net_from(text, IN, layers, &net, params, MOST_PARAMS);
        fill_any(x, rows * net.inputs, -1.5, 1.5);
    } while (nearest_kink() < KINK && ++tries < 500);
    CHECK(tries < 500, "no inputs away from the kinks");
    CHECK_OK(pynn_plan_init(&at.plan, &(pynn_model){.net = &net, .params = params},
                            (pynn_memory){plan_storage, sizeof plan_storage}));
    at.data.targets = targets_of(how);
    fill_targets(how, rows);

    CHECK_OK(pynn_loss_and_grad(&given, grads, at.plan, &at.data, &of_loss, work));
    recomputed = loss_here();
    CHECK_NEAR(given, recomputed, 1e-14 * (1.0 + fabs(recomputed)));
    CHECK_OK(pynn_loss(&given, losses, ds, y, &at.data, net.outputs, how->loss));
    CHECK_OK(pynn_forward(y, &tape, at.plan, &at.data, &at.pass, work));
    CHECK_OK(pynn_backward(again, dx, ds, &tape, NULL));
    for (size_t i = 0; i < net.param_count; i++)
        if (!CHECK_NEAR(again[i], grads[i], 1e-14 * (1.0 + fabs(grads[i])))) break;
    check_gradient("params", params, grads, net.param_count);
    check_gradient("x", x, dx, rows * net.inputs);

    CHECK_OK(pynn_input_grad(&given, again, at.plan, &at.data, &of_loss, work));
    CHECK_NEAR(given, recomputed, 1e-14 * (1.0 + fabs(recomputed)));
    for (size_t i = 0; i < rows * net.inputs; i++)
        if (!CHECK_NEAR(again[i], dx[i], 1e-14 * (1.0 + fabs(dx[i])))) break;
    CHECK_OK(pynn_vjp(again, ds, at.plan, &at.data, &at.pass, work));
    for (size_t i = 0; i < rows * net.inputs; i++)
        if (!CHECK_NEAR(again[i], dx[i], 1e-14 * (1.0 + fabs(dx[i])))) break;
}

/* Every activation with every loss. */
static void test_grid(void)
{
    static const size_t widths[] = {1, 7, 64}, batches[] = {1, 3, 17};
    for (size_t a = 0; NET_ACTIVATIONS[a] != '\0'; a++) {
        for (int32_t loss = PYNN_SQUARED_ERROR; loss <= PYNN_BINARY_CROSS_ENTROPY; loss++) {
            for (size_t w = 0; w < COUNT(widths); w++) {
                for (size_t b = 0; b < COUNT(batches); b++) {
                    const size_t outputs = loss == PYNN_CROSS_ENTROPY || widths[w] == 7 ? 3 : widths[w];
                    const setting how = {.loss = loss, .labelled = loss == PYNN_CROSS_ENTROPY && b == 2,
                                         .weighted = (w + b) % 2 == 1};
                    char text[64];
                    snprintf(text, sizeof text, "d%zu%cd%zu%cd%zu%s", widths[w], NET_ACTIVATIONS[a],
                             widths[w], NET_ACTIVATIONS[a], w == 2 ? 4 : outputs, head_of(loss));
                    check_net(text, batches[b], &how);
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
        setting how = {.loss = nets[i].loss, .labelled = nets[i].labelled, .drops = nets[i].drops};
        check_net(nets[i].text, 17, &how);
        check_net(nets[i].text, 1, &how);
        how.weighted = 1;
        check_net(nets[i].text, 3, &how);
    }
}

/* Weights of outputs, and everything that a batch can be divided by, with every loss. */
static void test_targets(void)
{
    static const size_t outputs[] = {1, 5, 16, 19};
    for (int32_t loss = PYNN_SQUARED_ERROR; loss <= PYNN_BINARY_CROSS_ENTROPY; loss++) {
        for (int labelled = 0; labelled <= (loss == PYNN_CROSS_ENTROPY); labelled++) {
            for (int weights_of = 0; weights_of < 3; weights_of++) {
                for (int32_t normalise = PYNN_BY_WEIGHTS; normalise <= PYNN_BY_NUMBER; normalise++) {
                    for (size_t k = 0; k < 2 * COUNT(outputs); k++) {
                        const setting how = {.loss = loss, .labelled = labelled, .weighted = k % 2 == 0,
                                             .output_weights = weights_of, .normalise = normalise};
                        char text[64];
                        snprintf(text, sizeof text, "d6td%zu%s", outputs[k / 2], head_of(loss));
                        check_net(text, 7, &how);
                    }
                }
            }
        }
    }
}

/* Nets at random. */
static void test_random_nets(void)
{
    static const char middle[] = NET_ACTIVATIONS "mo";
    for (int i = 0; i < 100; i++) {
        const int32_t loss = PYNN_SQUARED_ERROR + (int32_t)any_below(5);
        const setting how = {.loss = loss, .labelled = loss == PYNN_CROSS_ENTROPY && i % 2, .weighted = i % 3 == 0,
                             .drops = i % 4 != 0};
        const size_t depth = 1 + any_below(4);
        char text[100];
        size_t n = 0;
        for (size_t k = 0; k < depth; k++) {
            n += (size_t)snprintf(text + n, sizeof text - n, "d%zu", 2 + any_below(9));
            for (size_t extra = any_below(3); extra > 0; extra--) text[n++] = middle[any_below(sizeof middle - 1)];
        }
        snprintf(text + n, sizeof text - n, "d3%s", head_of(loss));
        check_net(text, 1 + any_below(MOST_ROWS), &how);
    }
}

/* The layers' own functions: the derivative of a weighted sum of what they put out. */
static void test_layers_alone(void)
{
    enum { ROWS = 4, WIDTH = 6, N = ROWS * WIDTH };
    static const pynn_mask mask = {.seed = 5, .step = 2, .layer = 1};
    float s[N], a[N], c[N], d[N];
    for (int32_t kind = PYNN_IDENTITY; kind <= PYNN_DROPOUT; kind++) {
        const pynn_layer layer = {.kind = kind, .slope = kind == PYNN_LEAKY_RELU ? 0.125 : 0.0};
        double error = 0.0, norm = 0.0;
        check_case("layer kind %d alone", kind);
        fill_any(s, N, -2.0, 2.0);
        fill_any(c, N, -1.0, 1.0);
        for (size_t i = 0; i < N; i++)
            if (fabs(s[i]) < KINK) s[i] = 1.0;
#define FORWARD(to, from) \
    (kind == PYNN_SOFTMAX   ? pynn_softmax_forward(to, from, ROWS, WIDTH) \
     : kind == PYNN_DROPOUT ? pynn_dropout_forward(to, from, &mask, ROWS, WIDTH, 0.4) \
                            : pynn_activation_forward(to, from, N, &layer))
        CHECK_OK(FORWARD(a, s));
        if (kind == PYNN_SOFTMAX) CHECK_OK(pynn_softmax_backward(d, c, a, ROWS, WIDTH));
        else if (kind == PYNN_DROPOUT) CHECK_OK(pynn_dropout_backward(d, c, &mask, ROWS, WIDTH, 0.4));
        else CHECK_OK(pynn_activation_backward(d, c, s, a, N, &layer));
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
    test_targets();
    test_random_nets();
    return check_end("test_gradients");
}
