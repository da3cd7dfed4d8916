/*
 * Trains a net on exclusive or and prints what it has learnt. All memory is static: nothing is allocated, and the
 * program needs no library but pynn.
 *
 *     cc -O2 -I csrc examples/xor.c $(find csrc -name '*.c') -o xor
 */
#include <stdio.h>

#include "pynn.h"

enum { INPUTS = 2, HIDDEN = 8, OUTPUTS = 1, ROWS = 4, EPOCHS = 500 };

static const pynn_layer layers[] = {
    {.kind = PYNN_DENSE, .inputs = INPUTS, .outputs = HIDDEN},
    {.kind = PYNN_TANH},
    {.kind = PYNN_DENSE, .inputs = HIDDEN, .outputs = OUTPUTS},
    {.kind = PYNN_SIGMOID},
};
static const float x[ROWS][INPUTS] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}};
static const float t[ROWS][OUTPUTS] = {{0}, {1}, {1}, {0}};
static const pynn_data data = {.x = x[0], .rows = ROWS, .targets.rows = t[0]};

static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char memory[16384]; /* pynn_learner_bytes tells; too few are refused */

static int failed(pynn_status status)
{
    if (status != PYNN_OK) fprintf(stderr, "xor: %s: %s\n", pynn_status_argument(status), pynn_status_text(status));
    return status != PYNN_OK;
}

int main(void)
{
    const size_t layer_count = sizeof layers / sizeof layers[0];
    pynn_learner net;
    float y[ROWS][OUTPUTS];
    int wrong = 0;
    if (failed(pynn_learner_init(&net, layers, layer_count, (pynn_memory){memory, sizeof memory}))) return 1;
    net.trainer.optimizer.learning_rate = 0.02;
    for (int epoch = 1; epoch <= EPOCHS; epoch++) {
        if (failed(pynn_learner_train(&net, &data, 0))) return 1;
        if (epoch % 50 == 0)
            printf("epoch %4d  loss %.6f\n", epoch, net.trainer.totals.loss / net.trainer.totals.weight);
    }
    if (failed(pynn_learner_predict(y[0], &net, x[0], ROWS))) return 1;
    for (int r = 0; r < ROWS; r++) {
        printf("%.0f xor %.0f = %.4f\n", (double)x[r][0], (double)x[r][1], (double)y[r][0]);
        wrong += (y[r][0] > 0.5f) != (t[r][0] > 0.5f);
    }
    if (wrong > 0) fprintf(stderr, "xor: %d of %d rows are wrong\n", wrong, ROWS);
    return wrong > 0;
}
