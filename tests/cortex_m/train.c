/* Trains in static memory, with SGD and squared error, or with -DADAM: with Adam and cross-entropy. */
#include "report.h"

enum { INPUTS = 4, HIDDEN = 16, OUTPUTS = 3, ROWS = 24, BATCH = 8, EPOCHS = 10 };
enum { PARAMETERS = (INPUTS + 1) * HIDDEN + (HIDDEN + 1) * OUTPUTS };

static const pynn_layer layers[] = {
    {.kind = PYNN_DENSE, .inputs = INPUTS, .outputs = HIDDEN},
    {.kind = PYNN_RELU},
    {.kind = PYNN_DENSE, .inputs = HIDDEN, .outputs = OUTPUTS},
#ifdef ADAM
    {.kind = PYNN_SOFTMAX},
#endif
};
static float x[ROWS * INPUTS], t[ROWS * OUTPUTS], y[ROWS * OUTPUTS], params[PARAMETERS], moments[2 * PARAMETERS];
static uint32_t order[ROWS];
static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char plan_memory[1024], workspace[16384];

static int train(pynn_trainer *trainer, const pynn_plan *plan, const pynn_data *data)
{
    const pynn_batches batches = {.order = order, .size = BATCH};
    for (uint32_t epoch = 0; epoch < EPOCHS; epoch++) {
        if (failed("permutation", pynn_permutation(order, ROWS, 0, epoch))) return 1;
        if (failed("train", pynn_train_steps(trainer, plan, data, &batches,
                                             (pynn_memory){workspace, sizeof workspace})))
            return 1;
    }
    return 0;
}

int main(void)
{
    const pynn_data data = {.x = x, .rows = ROWS, .targets.rows = t};
    pynn_trainer trainer = {.params = params, .moments = moments};
    const pynn_plan *plan;
    pynn_net net;
#ifdef ADAM
    trainer.optimizer.kind = PYNN_ADAM;
#endif
    for (size_t i = 0; i < ROWS * INPUTS; i++) x[i] = (float)(i * 37 % 64) / 32.0f - 1.0f;
    for (size_t r = 0; r < ROWS; r++) t[r * OUTPUTS + r * r % OUTPUTS] = 1.0f;
    if (failed("net", pynn_net_init(&net, layers, sizeof layers / sizeof *layers))) return 1;
    if (failed("params", pynn_params_init(params, &net, 1))) return 1;
    say("initial values", digest(params, PARAMETERS));
    if (failed("plan", pynn_plan_init(&plan, &(pynn_model){.net = &net, .params = params},
                                      (pynn_memory){plan_memory, sizeof plan_memory})))
        return 1;
    if (train(&trainer, plan, &data)) return 1;
    say("parameters", digest(params, PARAMETERS));
    if (failed("predict", pynn_predict(y, plan, &data, NULL, (pynn_memory){workspace, sizeof workspace}))) return 1;
    say("outputs", digest(y, ROWS * OUTPUTS));
    return 0;
}
