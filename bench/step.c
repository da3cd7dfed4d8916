/* The time of a training step of one net, from C: step BATCH STEPS WIDTH WIDTH [WIDTH ...]; Adam, one thread, ReLU
 * between, softmax with cross-entropy behind. Prints seconds. */
#include "pynn.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MOST_WIDTHS = 8 };

static void require(pynn_status status)
{
    if (status == PYNN_OK) return;
    fprintf(stderr, "step: %s\n", pynn_status_text((int32_t)status));
    exit(1);
}

static void *memory(size_t bytes)
{
    void *found = aligned_alloc(PYNN_WORKSPACE_ALIGNMENT,
                                (bytes / PYNN_WORKSPACE_ALIGNMENT + 1) * PYNN_WORKSPACE_ALIGNMENT);
    if (found == NULL) exit(1);
    return found;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    const pynn_optimizer adam = {.kind = PYNN_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
    pynn_layer layers[2 * MOST_WIDTHS];
    pynn_net net;
    pynn_state state = {0, 1.0, 1.0};
    pynn_totals totals = {0.0, 0.0};
    size_t count = 0, bytes, batch, steps, rows;
    double start;
    if (argc < 5 || argc > 3 + MOST_WIDTHS) return 1;
    batch = strtoul(argv[1], NULL, 10);
    steps = strtoul(argv[2], NULL, 10);
    rows = batch * steps;
    for (int i = 3; i + 1 < argc; i++) {
        layers[count++] = (pynn_layer){.kind = PYNN_DENSE, .inputs = strtoul(argv[i], NULL, 10),
                                       .outputs = strtoul(argv[i + 1], NULL, 10)};
        layers[count++] = (pynn_layer){.kind = i + 2 < argc ? PYNN_RELU : PYNN_SOFTMAX};
    }
    require(pynn_net_init(&net, layers, count));
    require(pynn_train_bytes(&bytes, &net, &adam, batch, 1));
    {
        float *x = memory(rows * net.inputs * sizeof(float)), *params = memory(net.param_count * sizeof(float));
        float *moments = memory(2 * net.param_count * sizeof(float));
        int32_t *labels = memory(rows * sizeof(int32_t));
        uint32_t *order = memory(rows * sizeof(uint32_t));
        double *rates = memory(steps * sizeof(double));
        const pynn_targets targets = {.labels = labels};
        void *workspace = memory(bytes);
        for (size_t i = 0; i < rows * net.inputs; i++) x[i] = (float)(i * 2654435761u % 1024) / 512.0f - 1.0f;
        for (size_t r = 0; r < rows; r++) labels[r] = (int32_t)(r % net.outputs);
        for (size_t k = 0; k < steps; k++) rates[k] = 1e-4;
        for (size_t i = 0; i < 2 * net.param_count; i++) moments[i] = 0.0f;
        require(pynn_net_draw(params, &net, 0));
        require(pynn_permutation(order, rows, 0, 0));
        for (int warm = 1; warm >= 0; warm--) {
            start = now();
            require(pynn_train_steps(params, moments, &state, &totals, NULL, &net, &adam, x, net.inputs, &targets, rows,
                                     order, rows, batch, rates, steps, PYNN_CROSS_ENTROPY, 0, NULL, workspace, bytes));
        }
        printf("%.9g\n", (now() - start) / (double)steps);
    }
    return 0;
}
