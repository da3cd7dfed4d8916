/* Built with flags that break the arithmetic contract: every instruction set must then either refuse to compute or give
 * the right bits. Run by `make test-plain`. */
#include "pynn.h"

#include <stdio.h>

enum { ROWS = 40, INPUTS = 5, HIDDEN = 19, CLASSES = 3, STEPS = 20 };
static const uint32_t right = 0x780C17EDu;

static float x[ROWS * INPUTS], params[(INPUTS + 1) * HIDDEN + (HIDDEN + 1) * CLASSES], moments[2 * sizeof params / 4];
static _Alignas(64) char plan_room[1 << 10], room[1 << 15];

static uint32_t digest(void)
{
    static const pynn_layer layers[] = {
        {.kind = PYNN_DENSE, .inputs = INPUTS, .outputs = HIDDEN}, {.kind = PYNN_GELU},
        {.kind = PYNN_DENSE, .inputs = HIDDEN, .outputs = CLASSES}, {.kind = PYNN_SOFTMAX},
    };
    int32_t labels[ROWS];
    uint32_t h = 2166136261u;
    const pynn_data data = {.x = x, .rows = ROWS, .targets.labels = labels};
    pynn_trainer trainer = {.optimizer = pynn_adamw(), .seed = 0, .params = params, .moments = moments};
    const pynn_plan *plan;
    pynn_net net;
    trainer.optimizer.learning_rate = 0.01;
    for (size_t i = 0; i < ROWS * INPUTS; i++) x[i] = (float)((int)(i * 31 % 64) - 32) / 16;
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) moments[i] = 0;
    for (uint32_t r = 0; r < ROWS; r++) labels[r] = (int32_t)(r * r % CLASSES);
    if (pynn_net_init(&net, layers, 4) || pynn_params_init(params, &net, 1) ||
        pynn_plan_init(&plan, &(pynn_model){.net = &net, .params = params}, (pynn_memory){plan_room, sizeof plan_room}))
        return 0;
    for (int k = 0; k < STEPS; k++)
        if (pynn_train_steps(&trainer, plan, &data, &(pynn_batches){0}, (pynn_memory){room, sizeof room})) return 0;
    for (size_t i = 0; i < net.param_count; i++) {
        union { float value; uint32_t bits; } u = {params[i]};
        h = (h ^ u.bits) * 16777619u;
    }
    return h;
}

int main(void)
{
    int wrong = 0;
    for (int32_t isa = 0; pynn_isa_name(isa) != NULL; isa++) {
        const int32_t code = pynn_status_code(pynn_isa_set(isa));
        if (code == PYNN_BAD_ARITHMETIC) {
            printf("%s: refused\n", pynn_isa_name(isa));
        } else if (code == PYNN_OK) {
            const uint32_t found = digest();
            printf("%s: %08x\n", pynn_isa_name(isa), (unsigned)found);
            wrong += found != right;
        }
    }
    printf("flags: %s\n", wrong ? "WRONG BITS" : "refused or right");
    return wrong > 0;
}
