/* Predicts with a net whose numbers are in flash memory. -DEVERY_ACTIVATION: a net of all activations and a softmax. */
#include "report.h"

#define EIGHT 0.5f, -0.25f, 0.75f, -0.875f, 0.125f, 0.375f, -0.625f, 1.25f
#define FORTY EIGHT, EIGHT, EIGHT, EIGHT, EIGHT

#define DENSE(i, o) {.kind = PYNN_DENSE, .inputs = i, .outputs = o}
#ifdef EVERY_ACTIVATION
enum { INPUTS = 4, OUTPUTS = 4, PARAMETERS = 8 * (INPUTS + 1) * OUTPUTS };
#define THEN(activation) DENSE(4, 4), {.kind = activation}
static const pynn_layer layers[] = {
    THEN(PYNN_RELU), DENSE(4, 4), {.kind = PYNN_LEAKY_RELU, .slope = 0.25}, THEN(PYNN_SIGMOID), THEN(PYNN_TANH),
    THEN(PYNN_SOFTPLUS), THEN(PYNN_GELU), THEN(PYNN_SILU), THEN(PYNN_SOFTMAX),
};
#else
enum { INPUTS = 4, OUTPUTS = 3, PARAMETERS = (INPUTS + 1) * 16 + (16 + 1) * OUTPUTS };
static const pynn_layer layers[] = {DENSE(INPUTS, 16), {.kind = PYNN_RELU}, DENSE(16, OUTPUTS)};
#endif
static const float params[] = {FORTY, FORTY, FORTY, FORTY};
_Static_assert(PARAMETERS <= sizeof params / sizeof *params, "a number for each parameter");

enum { ROWS = 3 };
static const float x[ROWS * INPUTS] = {EIGHT, -1.0f, 2.0f, -3.0f, 0.0625f};
static float y[ROWS * OUTPUTS];
static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char plan_memory[2048], workspace[256];

int main(void)
{
    const pynn_data data = {.x = x, .rows = ROWS}, row = {.x = x, .rows = 1};
    const pynn_plan *plan;
    pynn_net net;
    size_t bytes;
    if (failed("net", pynn_net_init(&net, layers, sizeof layers / sizeof *layers))) return 1;
    if (failed("plan", pynn_plan_init(&plan, &(pynn_model){.net = &net, .params = params},
                                      (pynn_memory){plan_memory, sizeof plan_memory})))
        return 1;
    if (failed("bytes", pynn_predict_bytes(&bytes, plan, ROWS, NULL))) return 1;
    if (failed("predict", pynn_predict(y, plan, &data, NULL, (pynn_memory){workspace, sizeof workspace}))) return 1;
    say("outputs", digest(y, ROWS * OUTPUTS));
    if (failed("predict", pynn_predict(y, plan, &row, NULL, (pynn_memory){workspace, sizeof workspace}))) return 1;
    say("one row", digest(y, OUTPUTS));
    return 0;
}
