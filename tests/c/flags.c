/* Built with flags that break the arithmetic contract: every instruction set must then either refuse to compute or give
 * the right bits. Run by `make test-plain`. */
#include "pynn.h"

#include <stdio.h>

enum { ROWS = 40, INPUTS = 5, HIDDEN = 19, CLASSES = 3, STEPS = 20 };
static const uint32_t right = 0x780C17EDu;

static float x[ROWS * INPUTS], params[(INPUTS + 1) * HIDDEN + (HIDDEN + 1) * CLASSES], moments[2 * sizeof params / 4];
static _Alignas(64) char workspace[1 << 18];

static uint32_t digest(void)
{
    static const pynn_layer layers[] = {
        {PYNN_DENSE, 0, INPUTS, HIDDEN, 0}, {PYNN_GELU, 0, 0, 0, 0}, {PYNN_DENSE, 0, HIDDEN, CLASSES, 0}, {PYNN_SOFTMAX, 0, 0, 0, 0},
    };
    const pynn_optimizer adam = {PYNN_ADAMW, 0, 0, 0.9, 0.999, 1e-8, 0.01, 0};
    int32_t labels[ROWS];
    uint32_t order[ROWS], h = 2166136261u;
    pynn_targets targets = {NULL, 0, labels, NULL};
    pynn_state state = {0, 1, 1};
    pynn_totals totals = {0, 0};
    pynn_net net;
    const double rate = 0.01;
    for (size_t i = 0; i < ROWS * INPUTS; i++) x[i] = (float)((int)(i * 31 % 64) - 32) / 16;
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) moments[i] = 0;
    for (uint32_t r = 0; r < ROWS; r++) order[r] = r, labels[r] = (int32_t)(r * r % CLASSES);
    if (pynn_net_init(&net, layers, 4) || pynn_net_draw(params, &net, 1)) return 0;
    for (int k = 0; k < STEPS; k++) {
        if (pynn_train_steps(params, moments, &state, &totals, NULL, &net, &adam, x, INPUTS, &targets, ROWS, order, ROWS,
                             ROWS, &rate, 1, PYNN_CROSS_ENTROPY, 0, NULL, workspace, sizeof workspace))
            return 0;
    }
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
        const pynn_status status = pynn_isa_set(isa);
        if (status == PYNN_BAD_ARITHMETIC) {
            printf("%s: refused\n", pynn_isa_name(isa));
        } else if (status == PYNN_OK) {
            const uint32_t found = digest();
            printf("%s: %08x\n", pynn_isa_name(isa), (unsigned)found);
            wrong += found != right;
        }
    }
    printf("flags: %s\n", wrong ? "WRONG BITS" : "refused or right");
    return wrong > 0;
}
