/*
 * The kernels as a ladder: the naive loop of the tests' oracle, then every instruction set of this machine. Prints one
 * JSON object a line: what was measured, its operations a call, and the median seconds of a call. All take turns, round
 * by round, so that all see the same machine.
 *
 *     kernels [--rounds N] [--peak]      --peak: only the fma peak of the best instruction set
 */
#include "vocabulary.h"

#include "oracle.h"

#include <time.h>

/* Arrays of the largest product, and of the nets that are predicted with. */
enum { MOST = 512 * 1024, MOST_ROUNDS = 99, TILE_ROWS = 6, CLOCK_ADDITIONS = 1000 };
static _Alignas(64) float a[MOST], b[MOST], c[MOST], packed[MOST], v[MOST], scratch[PYNNI_SCRATCH];

typedef struct shape {
    size_t rows, inputs, outputs;
} shape;

/* Dense layers of nets of cases.py. */
static const shape shapes[] = {{64, 64, 64}, {200, 64, 100}, {128, 784, 128}, {128, 512, 512}};

typedef struct job {
    const char *name;
    const vocabulary *isa; /* NULL: the oracle, or what needs no kernel */
    size_t function;
    shape size;
    double work; /* floating-point operations or elements of a call */
    double (*run)(const struct job *job, size_t calls); /* gives work */
    size_t calls;
    double seconds[MOST_ROUNDS];
} job;

/* ---- what is measured --------------------------------------------------- */

static double flops(const shape *s) { return 2.0 * (double)s->rows * (double)s->inputs * (double)s->outputs; }

static double run_peak(const job *j, size_t calls) { return 1000 * j->isa->peak(1000 * calls); }

/* Additions that wait for each other take a cycle each, which tells the clock. */
static double run_clock(const job *j, size_t calls)
{
    size_t x = 1, y = calls;
    (void)j;
    for (size_t i = 0; i < calls; i++) {
        for (size_t k = 0; k < CLOCK_ADDITIONS / 10; k++) {
#define ADD __asm__ volatile("" : "+r"(x) : "r"(y)); x += y;
            ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD
        }
    }
    __asm__ volatile("" : : "r"(x));
    return CLOCK_ADDITIONS;
}

static double run_oracle(const job *j, size_t calls)
{
    const shape *s = &j->size;
    for (size_t i = 0; i < calls; i++) {
        if (j->name[0] == 'f') o_dense_forward(c, a, s->inputs, b, v, s->rows, s->inputs, s->outputs);
        else if (j->name[1] == 'X') o_dense_backward(c, NULL, NULL, a, NULL, 0, b, s->rows, s->inputs, s->outputs);
        else o_dense_backward(NULL, c, NULL, b, a, s->inputs, NULL, s->rows, s->inputs, s->outputs);
    }
    return flops(s);
}

static double run_tile(const job *j, size_t calls)
{
    const size_t panel = j->isa->kernels->panel;
    const pynni_gemm product = {.c = c, .a = a, .b = packed, .c_stride = panel, .a_row = PYNNI_BLOCK, .a_k = 1,
                                .b_stride = panel, .b_panel = PYNNI_BLOCK * panel, .m = TILE_ROWS, .n = panel,
                                .k = PYNNI_BLOCK};
    for (size_t i = 0; i < calls; i++) j->isa->kernels->gemm(&product);
    return flops(&(shape){TILE_ROWS, PYNNI_BLOCK, panel});
}

/* As a pass calls them: W is packed on the way where it is wide, W transposed and wide ds come packed; dW in strips. */
static float *scratch_of(size_t columns) { return pynni_is_wide(columns) ? scratch : NULL; }

static double run_forward(const job *j, size_t calls)
{
    const shape *s = &j->size;
    const pynni_gemm product = {.c = c, .a = a, .b = b, .scratch = scratch_of(s->outputs),
                                .start = v, .c_stride = s->outputs, .a_row = s->inputs, .a_k = 1,
                                .b_stride = s->outputs, .m = s->rows, .n = s->outputs, .k = s->inputs,
                                .finish = PYNNI_FINISH_RELU};
    for (size_t i = 0; i < calls; i++) j->isa->kernels->gemm(&product);
    return flops(s);
}

static double run_dx(const job *j, size_t calls)
{
    const shape *s = &j->size;
    for (size_t i = 0; i < calls; i++)
        pynni_dense_input_grad(j->isa->kernels, c, a, packed, NULL, s->rows, s->inputs, s->outputs,
                               scratch_of(s->inputs));
    return flops(s);
}

static double run_dw(const job *j, size_t calls)
{
    const shape *s = &j->size;
    const size_t tall = pynni_strip_rows(s->inputs, s->outputs);
    const int wide = pynni_is_wide(s->outputs);
    for (size_t i = 0; i < calls; i++) {
        for (size_t first = 0; first < s->inputs; first += tall)
            pynni_dense_weight_grad(j->isa->kernels, c, wide ? packed : b, wide, a, s->inputs, s->rows, s->outputs,
                                    first, s->inputs - first < tall ? s->inputs - first : tall,
                                    scratch_of(s->outputs));
    }
    return flops(s);
}

/* Weights, both moments and gradients of 1,024 parameters are in the first-level cache. */
static double run_update(const job *j, size_t calls)
{
    const pynni_rates rates = {.clip = 1.0f, .shrink = 1.0f, .rate = 1e-6f, .beta1 = 0.9f, .rest1 = 0.1f,
                               .beta2 = 0.999f, .rest2 = 0.001f, .epsilon = 1e-8f};
    for (size_t i = 0; i < calls; i++) j->isa->kernels->rules[j->function](c, a, v, b, ELEMENTS, &rates);
    return ELEMENTS;
}

static double run_function(const job *j, size_t calls)
{
    for (size_t i = 0; i < calls; i++) j->isa->functions[j->function].run(c, b);
    return ELEMENTS;
}

static void require(pynn_status status)
{
    if (status == PYNN_OK) return;
    fprintf(stderr, "kernels: %s: %s\n", pynn_status_argument(status), pynn_status_text(status));
    exit(1);
}

static pynn_memory memory_for(size_t bytes)
{
    static _Alignas(PYNN_MEMORY_ALIGNMENT) char all[4096];
    if (bytes > sizeof all) exit(1);
    return (pynn_memory){all, bytes};
}

/* One row through widths inputs, rows, rows, outputs by the public function, in the instruction set that is chosen. */
static double run_predict(const job *j, size_t calls)
{
    static _Alignas(PYNN_MEMORY_ALIGNMENT) char workspace[4096];
    const shape *s = &j->size;
    const pynn_layer layers[] = {
        {.kind = PYNN_DENSE, .inputs = s->inputs, .outputs = s->rows}, {.kind = PYNN_RELU},
        {.kind = PYNN_DENSE, .inputs = s->rows, .outputs = s->rows}, {.kind = PYNN_RELU},
        {.kind = PYNN_DENSE, .inputs = s->rows, .outputs = s->outputs}, {.kind = PYNN_SOFTMAX},
    };
    const pynn_data row = {.x = a, .rows = 1};
    const pynn_memory memory = {workspace, sizeof workspace};
    pynn_status status = PYNN_OK;
    pynn_net net;
    const pynn_plan *plan;
    size_t bytes;
    require(pynn_net_init(&net, layers, COUNT(layers)));
    require(pynn_plan_bytes(&bytes, &net));
    require(pynn_plan_init(&plan, &(pynn_model){.net = &net, .params = b}, memory_for(bytes)));
    for (size_t i = 0; i < calls && status == PYNN_OK; i++) status = pynn_predict(c, plan, &row, NULL, memory);
    require(status);
    return 1;
}

/* The kernels that it calls, in order, and nothing else. */
static double run_predict_kernels(const job *j, size_t calls)
{
    const pynni_kernels *kernels = j->isa->kernels;
    const size_t sizes[] = {j->size.inputs, j->size.rows, j->size.rows, j->size.outputs};
    pynni_gemm products[3];
    const float *w = b;
    for (size_t k = 0; k < COUNT(products); k++) {
        products[k] = (pynni_gemm){.c = k % 2 == 0 ? v : scratch, .a = k == 0 ? a : k % 2 == 0 ? scratch : v, .b = w,
                                   .start = w + sizes[k] * sizes[k + 1], .c_stride = sizes[k + 1], .a_row = sizes[k],
                                   .a_k = 1, .b_stride = sizes[k + 1], .m = 1, .n = sizes[k + 1], .k = sizes[k],
                                   .finish = k < 2 ? PYNNI_FINISH_RELU : PYNNI_FINISH_PLAIN};
        w += (sizes[k] + 1) * sizes[k + 1];
    }
    for (size_t i = 0; i < calls; i++) {
        for (size_t k = 0; k < COUNT(products); k++) kernels->gemm(&products[k]);
        kernels->softmax_forward(c, v, 1, j->size.outputs);
    }
    return 1;
}

/* ---- rounds ------------------------------------------------------------- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double sample(job *j)
{
    double start;
    if (j->isa != NULL) require(pynn_isa_set(j->isa->kernels->isa));
    start = now();
    j->work = j->run(j, j->calls);
    return (now() - start) / (double)j->calls;
}

static int ascending(const void *one, const void *other)
{
    const double x = *(const double *)one, y = *(const double *)other;
    return (x > y) - (x < y);
}

static void measure(job *jobs, size_t count, size_t rounds)
{
    const double least = 2e-3; /* of a sample */
    for (size_t i = 0; i < count; i++) {
        double seconds;
        for (jobs[i].calls = 1; (seconds = sample(&jobs[i])) * (double)jobs[i].calls < least / 2;) jobs[i].calls *= 2;
    }
    for (size_t round = 0; round < rounds; round++)
        for (size_t i = 0; i < count; i++) jobs[i].seconds[round] = sample(&jobs[i]);
    for (size_t i = 0; i < count; i++) {
        const shape *s = &jobs[i].size;
        qsort(jobs[i].seconds, rounds, sizeof(double), ascending);
        printf("{\"name\": \"%s\", \"isa\": \"%s\", \"rows\": %zu, \"inputs\": %zu, \"outputs\": %zu, "
               "\"work\": %.9g, \"seconds\": %.9g}\n", jobs[i].name,
               jobs[i].isa != NULL ? pynn_isa_name(jobs[i].isa->kernels->isa) : "oracle", s->rows, s->inputs,
               s->outputs, jobs[i].work, jobs[i].seconds[rounds / 2]);
    }
}

int main(int argc, char **argv)
{
#define ONE(isa) extern const vocabulary vocabulary_##isa;
    VOCABULARIES(ONE)
#undef ONE
#define ONE(isa) &vocabulary_##isa,
    static const vocabulary *const isas[] = {VOCABULARIES(ONE)}; /* the best last */
    static job jobs[256];
    size_t count = 0, rounds = 7;
    int only_peak = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--peak") == 0) only_peak = 1;
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) rounds = strtoul(argv[++i], NULL, 10);
    }
    if (rounds < 1 || rounds > MOST_ROUNDS) {
        fprintf(stderr, "kernels: 1 to %d rounds\n", MOST_ROUNDS);
        return 1;
    }
    for (size_t i = 0; i < MOST; i++) {
        a[i] = 0.125f * (float)(i % 17) - 1.0f;
        b[i] = packed[i] = 0.0625f + 0.125f * (float)(i % 23);
    }
    if (only_peak) {
        jobs[count++] = (job){.name = "peak", .isa = isas[COUNT(isas) - 1], .run = run_peak};
        measure(jobs, count, rounds);
        return 0;
    }
    jobs[count++] = (job){.name = "clock", .run = run_clock};
    for (size_t s = 0; s < COUNT(shapes); s++) {
        jobs[count++] = (job){.name = "forward", .size = shapes[s], .run = run_oracle};
        jobs[count++] = (job){.name = "dX", .size = shapes[s], .run = run_oracle};
        jobs[count++] = (job){.name = "dW", .size = shapes[s], .run = run_oracle};
    }
    for (size_t k = 0; k < COUNT(isas); k++) {
        const vocabulary *isa = isas[k];
        jobs[count++] = (job){.name = "peak", .isa = isa, .run = run_peak};
        jobs[count++] = (job){.name = "tile", .isa = isa, .size = {TILE_ROWS, PYNNI_BLOCK, isa->kernels->panel},
                              .run = run_tile};
        for (size_t s = 0; s < COUNT(shapes); s++) {
            jobs[count++] = (job){.name = "forward", .isa = isa, .size = shapes[s], .run = run_forward};
            jobs[count++] = (job){.name = "dX", .isa = isa, .size = shapes[s], .run = run_dx};
            jobs[count++] = (job){.name = "dW", .isa = isa, .size = shapes[s], .run = run_dw};
        }
        jobs[count++] = (job){.name = "Adam", .isa = isa, .function = PYNNI_RULE_ADAM, .run = run_update};
        jobs[count++] = (job){.name = "SGD", .isa = isa, .function = PYNNI_RULE_SGD, .run = run_update};
        for (size_t f = 0; f < FUNCTIONS; f++)
            jobs[count++] = (job){.name = isa->functions[f].name, .isa = isa, .function = f, .run = run_function};
        jobs[count++] = (job){.name = "predict kernels", .isa = isa, .size = {64, 16, 4}, .run = run_predict_kernels};
        jobs[count++] = (job){.name = "predict", .isa = isa, .size = {64, 16, 4}, .run = run_predict};
    }
    measure(jobs, count, rounds);
    return 0;
}
