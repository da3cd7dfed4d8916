/*
 * The stack that calls take: it is painted below the caller, and looked at afterwards. Prints bytes in hexadecimal, and
 * fails where a call takes more than docs/c-api.md says.
 */
#include "report.h"

enum { PAINTED = 65536, PAINT = 0x5A };
enum { INPUTS = 5, HIDDEN = 20, OUTPUTS = 4, ROWS = 9, PARAMETERS = (INPUTS + 1) * HIDDEN + (HIDDEN + 1) * OUTPUTS };

static const pynn_layer layers[] = {
    {.kind = PYNN_DENSE, .inputs = INPUTS, .outputs = HIDDEN}, {.kind = PYNN_GELU},
    {.kind = PYNN_DROPOUT, .p = 0.25}, {.kind = PYNN_DENSE, .inputs = HIDDEN, .outputs = OUTPUTS},
    {.kind = PYNN_SOFTMAX},
};
enum { LAYERS = sizeof layers / sizeof *layers };
static float x[ROWS * INPUTS], y[ROWS * OUTPUTS], params[PARAMETERS], moments[2 * PARAMETERS], grads[PARAMETERS];
static int32_t labels[ROWS];
static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char plan_memory[1024], memory[1 << 21];
static const pynn_memory workspace = {memory, sizeof memory};
static const pynn_data data = {.x = x, .rows = ROWS, .targets.labels = labels};
static pynn_net net;
static const pynn_plan *plan;
static pynn_learner learner;
static pynn_trainer trainer = {.params = params, .moments = moments};

static pynn_status choose(void)
{
    int32_t isa;
    return pynn_isa_get(&isa); /* the first call, which asks the kernels for known answers */
}
static pynn_status make_net(void) { return pynn_net_init(&net, layers, LAYERS); }
static pynn_status make_params(void) { return pynn_params_init(params, &net, 1); }
static pynn_status make_plan(void)
{
    return pynn_plan_init(&plan, &(pynn_model){.net = &net, .params = params},
                          (pynn_memory){plan_memory, sizeof plan_memory});
}
static pynn_status predict(void) { return pynn_predict(y, plan, &data, NULL, workspace); }
static pynn_status train(void)
{
    trainer.optimizer = pynn_adam();
    trainer.optimizer.clip_norm = 0.01;
    return pynn_train_steps(&trainer, plan, &data, &(pynn_batches){.size = 4}, workspace);
}
static pynn_status loss_and_grad(void)
{
    double loss;
    return pynn_loss_and_grad(&loss, grads, plan, &data, NULL, workspace);
}
static pynn_status make_learner(void) { return pynn_learner_init(&learner, layers, LAYERS, workspace); }
static pynn_status learn(void) { return pynn_learner_train(&learner, &data, 4); }
static pynn_status selftest(void)
{
    pynn_status status = PYNN_OK;
    for (size_t run = 0; status == PYNN_OK && pynn_selftest_name(run) != NULL; run++) {
        char text[PYNN_DIGEST];
        status = pynn_selftest(text, run, NULL, workspace);
    }
    return status;
}

/* Nothing is called between the painting and the call, nor between the call and the look. */
__attribute__((noinline)) static uint32_t stack_of(pynn_status (*call)(void), pynn_status *status)
{
    volatile unsigned char *const here = __builtin_frame_address(0);
    volatile unsigned char *byte;
    for (byte = here - PAINTED; byte < here - 256; byte++) *byte = PAINT;
    *status = call();
    for (byte = here - PAINTED; byte < here && *byte == PAINT; byte++) {}
    return (uint32_t)(here - byte);
}

int main(void)
{
    static const struct {
        const char *name;
        pynn_status (*call)(void);
        uint32_t most;
    } calls[] = {
        {"the_known_answers,_in_the_first_call", choose, 5120},
        {"pynn_net_init", make_net, 512},
        {"pynn_params_init", make_params, 1024},
        {"pynn_plan_init", make_plan, 512},
        {"pynn_predict", predict, 1024},
        {"pynn_train_steps", train, 2048},
        {"pynn_loss_and_grad", loss_and_grad, 2048},
        {"pynn_learner_init", make_learner, 2048},
        {"pynn_learner_train", learn, 2048},
        {"pynn_selftest", selftest, 6144},
    };
    int wrong = 0;
    for (size_t i = 0; i < ROWS * INPUTS; i++) x[i] = (float)(i * 37 % 64) / 32.0f - 1.0f;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        pynn_status status;
        const uint32_t bytes = stack_of(calls[i].call, &status);
        if (failed(calls[i].name, status)) return 1;
        say(calls[i].name, bytes);
        wrong += bytes > calls[i].most;
    }
    if (wrong > 0) puts("more stack than docs/c-api.md says");
    return wrong > 0;
}
