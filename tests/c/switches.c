/*
 * A build from which things are left out: what is left gives the bits of a whole build, what is not is refused.
 * Compiled together with the sources and some of the switches of docs/c-api.md by `make test-switches`.
 */
#define _POSIX_C_SOURCE 200809L /* for setenv */
#include "pynn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PYNN_ONLY_LAYERS
#define PYNN_ONLY_LAYERS ~0
#endif
#ifndef PYNN_ONLY_LOSSES
#define PYNN_ONLY_LOSSES ~0
#endif
#ifndef PYNN_ONLY_OPTIMIZERS
#define PYNN_ONLY_OPTIMIZERS ~0
#endif
#define HAS(set, kind) (((unsigned)(set) >> (kind) & 1u) != 0)

enum { INPUTS = 5, HIDDEN = 18, OUTPUTS = 3, ROWS = 30, PARAMETERS = (INPUTS + 1) * HIDDEN + (HIDDEN + 1) * OUTPUTS };

static int wrong;
static float x[ROWS * INPUTS], t[ROWS * OUTPUTS], y[ROWS * OUTPUTS], params[PARAMETERS];
static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char plan_memory[1024], workspace[1 << 18];
static const pynn_memory memory = {workspace, sizeof workspace};

static void expect(const char *what, uint32_t found, uint32_t wanted)
{
    if (found == wanted) return;
    printf("%s: %08x, not %08x\n", what, (unsigned)found, (unsigned)wanted);
    wrong++;
}

static void expect_status(const char *what, pynn_status found, int32_t wanted)
{
    expect(what, (uint32_t)pynn_status_code(found), (uint32_t)wanted);
}

/* FNV-1a of the bits of floats. */
static uint32_t digest(const float *values, size_t n)
{
    uint32_t hash = 2166136261u, bits;
    for (size_t i = 0; i < n; i++) {
        memcpy(&bits, values + i, sizeof bits);
        hash = (hash ^ bits) * 16777619u;
    }
    return hash;
}

static void test_layers(void)
{
    for (int32_t kind = PYNN_IDENTITY; kind <= PYNN_DROPOUT; kind++) {
        const pynn_layer layers[] = {{.kind = PYNN_DENSE, .inputs = 2, .outputs = 3}, {.kind = kind}};
        const int has = kind == PYNN_IDENTITY || HAS(PYNN_ONLY_LAYERS, kind);
        pynn_net net;
        expect_status("a net", pynn_net_init(&net, layers, 2), has ? PYNN_OK : PYNN_BAD_KIND);
        if (kind > PYNN_SILU) continue;
        expect_status("an activation", pynn_activation_forward(y, x, 3, &layers[1]), has ? PYNN_OK : PYNN_BAD_KIND);
    }
    expect_status("a softmax", pynn_softmax_forward(y, x, 1, 3),
                  HAS(PYNN_ONLY_LAYERS, PYNN_SOFTMAX) ? PYNN_OK : PYNN_BAD_KIND);
}

static const pynn_plan *plan_of(pynn_net *net, const pynn_layer *layers, size_t count)
{
    const pynn_plan *plan = NULL;
    expect_status("net", pynn_net_init(net, layers, count), PYNN_OK);
    expect_status("params", pynn_params_init(params, net, 7), PYNN_OK);
    expect_status("plan", pynn_plan_init(&plan, &(pynn_model){.net = net, .params = params},
                                         (pynn_memory){plan_memory, sizeof plan_memory}), PYNN_OK);
    return plan;
}

static pynn_status run_alone(const pynn_plan *plan, size_t workers)
{
    const pynn_data data = {.x = x, .rows = ROWS};
    pynn_executor executor;
    const pynn_options options = {.executor = &executor};
    static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char threads[1 << 14];
    pynn_status status = pynn_threads_start(&executor, workers, (pynn_memory){threads, sizeof threads});
    if (status != PYNN_OK) return status;
    status = pynn_predict(y, plan, &data, &options, memory);
    expect_status("stop", pynn_threads_stop(&executor), PYNN_OK);
    return status;
}

static void test_threads(const pynn_plan *plan)
{
#ifdef PYNN_WITHOUT_THREADS
    const pynn_data data = {.x = x, .rows = ROWS};
    const pynn_executor executor = {.workers = 1};
    const pynn_options options = {.executor = &executor};
    expect_status("threads", run_alone(plan, 2), PYNN_NO_THREADS);
    expect_status("an executor", pynn_predict(y, plan, &data, &options, memory), PYNN_NO_THREADS);
#else
    expect_status("threads", run_alone(plan, 2), PYNN_OK);
#endif
}

static void test_prediction(void)
{
    const pynn_layer layers[] = {{.kind = PYNN_DENSE, .inputs = INPUTS, .outputs = HIDDEN},
                                 {.kind = PYNN_DENSE, .inputs = HIDDEN, .outputs = OUTPUTS}};
    const pynn_data data = {.x = x, .rows = ROWS};
    pynn_net net;
    const pynn_plan *plan = plan_of(&net, layers, 2);
    expect_status("predict", pynn_predict(y, plan, &data, NULL, memory), PYNN_OK);
    expect("the outputs", digest(y, ROWS * OUTPUTS), 0xDE2A13C4u);
    test_threads(plan);
}

static void test_isas(void)
{
    int32_t isa = -1;
    expect_status("instruction set", pynn_isa_get(&isa), PYNN_OK);
    expect_status("scalar", pynn_isa_set(PYNN_ISA_SCALAR), PYNN_OK);
#ifdef PYNN_WITHOUT_SSE2
    expect_status("sse2", pynn_isa_set(PYNN_ISA_SSE2), PYNN_NO_ISA);
#endif
#ifdef PYNN_WITHOUT_AVX2
    expect_status("avx2", pynn_isa_set(PYNN_ISA_AVX2), PYNN_NO_ISA);
#endif
#ifdef PYNN_WITHOUT_AVX512
    expect_status("avx512", pynn_isa_set(PYNN_ISA_AVX512), PYNN_NO_ISA);
#endif
#ifdef PYNN_WITHOUT_NEON
    expect_status("neon", pynn_isa_set(PYNN_ISA_NEON), PYNN_NO_ISA);
#endif
    expect_status("the best", pynn_isa_set(isa), PYNN_OK);
}

#ifndef PYNN_WITHOUT_TRAINING

static void test_losses(void)
{
    const pynn_data data = {.rows = 1, .targets.rows = t};
    for (int32_t kind = PYNN_SQUARED_ERROR; kind <= PYNN_BINARY_CROSS_ENTROPY; kind++) {
        double loss;
        float losses[1];
        expect_status("a loss", pynn_loss(&loss, losses, NULL, y, &data, OUTPUTS, kind),
                      HAS(PYNN_ONLY_LOSSES, kind) ? PYNN_OK : PYNN_BAD_KIND);
    }
}

static void test_optimizers(void)
{
    for (int32_t kind = PYNN_SGD; kind <= PYNN_ADAMW; kind++) {
        size_t count;
        expect_status("an optimizer", pynn_optimizer_moments(&count, &(pynn_optimizer){.kind = kind}),
                      HAS(PYNN_ONLY_OPTIMIZERS, kind) ? PYNN_OK : PYNN_BAD_KIND);
    }
}

/* A few steps, with each loss and optimizer that is there. */
static void test_training(void)
{
    static const uint32_t wanted[PYNN_BINARY_CROSS_ENTROPY + 1][PYNN_ADAMW + 1] = {
        {0},
        {0xF3AF2494u, 0xC424C9F0u, 0xBC45FC36u},
        {0xEFE832D9u, 0xC4696470u, 0x42245C08u},
        {0xF579C783u, 0x5619DB42u, 0xA8E51347u},
        {0x418D6AE2u, 0xFFE7C541u, 0xBF7FEDFBu},
        {0x16EAE622u, 0x508D51A6u, 0x2D167E2Eu},
    };
    static const int32_t last[] = {0, PYNN_RELU, PYNN_RELU, PYNN_RELU, PYNN_SOFTMAX, PYNN_SIGMOID};
    static float moments[2 * PARAMETERS];
    const pynn_data data = {.x = x, .rows = ROWS, .targets.rows = t};
    const pynn_batches batches = {.size = 8};
    for (int32_t loss = PYNN_SQUARED_ERROR; loss <= PYNN_BINARY_CROSS_ENTROPY; loss++) {
        const pynn_layer layers[] = {{.kind = PYNN_DENSE, .inputs = INPUTS, .outputs = HIDDEN}, {.kind = PYNN_RELU},
                                     {.kind = PYNN_DENSE, .inputs = HIDDEN, .outputs = OUTPUTS}, {.kind = last[loss]}};
        if (!HAS(PYNN_ONLY_LAYERS, PYNN_RELU) || !HAS(PYNN_ONLY_LAYERS, last[loss])) continue;
        if (!HAS(PYNN_ONLY_LOSSES, loss)) continue;
        for (int32_t kind = PYNN_SGD; kind <= PYNN_ADAMW; kind++) {
            pynn_trainer trainer = {.optimizer.kind = kind, .loss = loss, .params = params, .moments = moments};
            pynn_net net;
            const pynn_plan *plan = plan_of(&net, layers, 4);
            if (kind == PYNN_ADAMW) trainer.optimizer.weight_decay = 0.1;
            if (!HAS(PYNN_ONLY_OPTIMIZERS, kind)) continue;
            memset(moments, 0, sizeof moments);
            expect_status("train", pynn_train_steps(&trainer, plan, &data, &batches, memory), PYNN_OK);
            expect("the parameters", digest(params, PARAMETERS), wanted[loss][kind]);
        }
    }
}

#endif

int main(void)
{
#ifdef PYNN_WITHOUT_ENVIRONMENT
    setenv("PYNN_ISA", "none of this name", 1);
#endif
    for (size_t i = 0; i < ROWS * INPUTS; i++) x[i] = (float)(i * 37 % 64) / 32.0f - 1.0f;
    for (size_t r = 0; r < ROWS; r++) t[r * OUTPUTS + r * r % OUTPUTS] = 1.0f;
    test_isas();
    test_layers();
    test_prediction();
#ifndef PYNN_WITHOUT_TRAINING
    test_losses();
    test_optimizers();
    test_training();
#endif
    printf("switches: %s\n", wrong ? "WRONG" : "right");
    return wrong > 0;
}
