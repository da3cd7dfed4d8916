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
    fprintf(stderr, "step: %s: %s\n", pynn_status_argument(status), pynn_status_text(status));
    exit(1);
}

static pynn_memory memory(size_t bytes)
{
    const size_t lines = bytes / PYNN_MEMORY_ALIGNMENT + 1;
    const pynn_memory found = {aligned_alloc(PYNN_MEMORY_ALIGNMENT, lines * PYNN_MEMORY_ALIGNMENT), bytes};
    if (found.start == NULL) exit(1);
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
    pynn_layer layers[2 * MOST_WIDTHS];
    pynn_net net;
    pynn_trainer trainer = {.optimizer = pynn_adam()};
    const pynn_plan *plan;
    size_t count = 0, bytes, batch, steps, rows;
    double start = 0.0;
    if (argc < 5 || argc > 3 + MOST_WIDTHS) return 1;
    batch = strtoul(argv[1], NULL, 10);
    steps = strtoul(argv[2], NULL, 10);
    rows = batch * steps;
    for (int i = 3; i + 1 < argc; i++) {
        layers[count++] = (pynn_layer){.kind = PYNN_DENSE, .inputs = strtoul(argv[i], NULL, 10),
                                       .outputs = strtoul(argv[i + 1], NULL, 10)};
        layers[count++] = (pynn_layer){.kind = i + 2 < argc ? PYNN_RELU : PYNN_SOFTMAX};
    }
    trainer.optimizer.learning_rate = 1e-4;
    require(pynn_net_init(&net, layers, count));
    trainer.params = memory(net.param_count * sizeof(float)).start;
    trainer.moments = memory(2 * net.param_count * sizeof(float)).start;
    for (size_t i = 0; i < 2 * net.param_count; i++) trainer.moments[i] = 0.0f;
    require(pynn_params_init(trainer.params, &net, 0));
    require(pynn_plan_bytes(&bytes, &net));
    require(pynn_plan_init(&plan, &(pynn_model){.net = &net, .params = trainer.params}, memory(bytes)));
    require(pynn_train_bytes(&bytes, plan, &trainer, batch));
    {
        float *x = memory(rows * net.inputs * sizeof(float)).start;
        int32_t *labels = memory(rows * sizeof(int32_t)).start;
        uint32_t *order = memory(rows * sizeof(uint32_t)).start;
        const pynn_data data = {.x = x, .rows = rows, .targets.labels = labels};
        const pynn_batches batches = {.order = order, .size = batch};
        const pynn_memory workspace = memory(bytes);
        for (size_t i = 0; i < rows * net.inputs; i++) x[i] = (float)(i * 2654435761u % 1024) / 512.0f - 1.0f;
        for (size_t r = 0; r < rows; r++) labels[r] = (int32_t)(r % net.outputs);
        require(pynn_permutation(order, rows, 0, 0));
        for (int warm = 1; warm >= 0; warm--) {
            start = now();
            require(pynn_train_steps(&trainer, plan, &data, &batches, workspace));
        }
    }
    printf("%.9g\n", (now() - start) / (double)steps);
    return 0;
}
