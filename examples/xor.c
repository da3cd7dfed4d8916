/*
 * Trains a net on exclusive or and prints what it has learnt. All memory is static: nothing is allocated, and the
 * program needs no library but pynn.
 *
 *     cc -O2 -I csrc examples/xor.c $(find csrc -name '*.c') -o xor
 */
#include <stdio.h>

#include "pynn.h"

enum { INPUTS = 2, HIDDEN = 8, OUTPUTS = 1, ROWS = 4, EPOCHS = 500 };
enum { PARAMETERS = (INPUTS + 1) * HIDDEN + (HIDDEN + 1) * OUTPUTS };

static const pynn_layer layers[] = {
    {.kind = PYNN_DENSE, .inputs = INPUTS, .outputs = HIDDEN},
    {.kind = PYNN_TANH},
    {.kind = PYNN_DENSE, .inputs = HIDDEN, .outputs = OUTPUTS},
    {.kind = PYNN_SIGMOID},
};
static const float x[ROWS][INPUTS] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}};
static const float t[ROWS][OUTPUTS] = {{0}, {1}, {1}, {0}};

static float params[PARAMETERS];
static float moments[2 * PARAMETERS];               /* Adam keeps two for each parameter */
static _Alignas(64) unsigned char workspace[16384]; /* pynn_train_bytes tells; too few are refused */

static int failed(pynn_status status)
{
    if (status != PYNN_OK) fprintf(stderr, "xor: %s\n", pynn_status_text((int32_t)status));
    return status != PYNN_OK;
}

static int train(const pynn_net *net)
{
    const pynn_optimizer adam = {.kind = PYNN_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
    const pynn_targets targets = {.rows = t[0], .stride = OUTPUTS};
    const double learning_rate = 0.02;
    pynn_state state = {0, 1.0, 1.0};
    uint32_t order[ROWS];
    for (uint32_t epoch = 0; epoch < EPOCHS; epoch++) {
        pynn_totals totals = {0};
        if (failed(pynn_permutation(order, ROWS, 0, epoch))) return 1;
        if (failed(pynn_train_steps(params, moments, &state, &totals, NULL, net, &adam, x[0], INPUTS, &targets, ROWS,
                                    order, ROWS, ROWS, &learning_rate, 1, PYNN_BINARY_CROSS_ENTROPY, 0, NULL, workspace,
                                    sizeof workspace)))
            return 1;
        if ((epoch + 1) % 50 == 0) printf("epoch %4u  loss %.6f\n", (unsigned)epoch + 1, totals.loss / totals.weight);
    }
    return 0;
}

static int show(const pynn_net *net)
{
    float y[ROWS][OUTPUTS];
    int wrong = 0;
    if (failed(pynn_predict(y[0], net, params, x[0], INPUTS, ROWS, PYNN_OUTPUTS, NULL, workspace, sizeof workspace)))
        return 1;
    for (int r = 0; r < ROWS; r++) {
        printf("%.0f xor %.0f = %.4f\n", (double)x[r][0], (double)x[r][1], (double)y[r][0]);
        wrong += (y[r][0] > 0.5f) != (t[r][0] > 0.5f);
    }
    if (wrong > 0) fprintf(stderr, "xor: %d of %d rows are wrong\n", wrong, ROWS);
    return wrong > 0;
}

int main(void)
{
    pynn_net net;
    if (failed(pynn_net_init(&net, layers, sizeof layers / sizeof layers[0]))) return 1;
    if (failed(net.param_count == PARAMETERS ? PYNN_OK : PYNN_BAD_SIZE)) return 1;
    if (failed(pynn_net_draw(params, &net, 0))) return 1;
    return train(&net) || show(&net);
}
