/* Chooses the instruction set once, and enters and leaves the floating-point environment of the contract. No other file
 * names an instruction set, but those of kernels/. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#define ISA_NAME(kind, name) #name,
static const char *const isa_names[] = {PYNNI_ISA_LIST(ISA_NAME)};

const char *pynn_isa_name(int32_t isa) { return isa >= 0 && isa < PYNNI_ISAS ? isa_names[isa] : NULL; }

#ifdef PYNNI_SCALAR_ONLY
/* Its kernels are called by name; this stands for them where one is chosen. */
static const pynni_kernels scalar_kernels = {.isa = PYNN_ISA_SCALAR};
#else
static const pynni_kernels *const isa_kernels[] = {
    [PYNN_ISA_SCALAR] = &PYNNI_KERNELS(scalar),
#ifdef PYNNI_SSE2
    [PYNN_ISA_SSE2] = &PYNNI_KERNELS(sse2),
#endif
#ifdef PYNNI_AVX2
    [PYNN_ISA_AVX2] = &PYNNI_KERNELS(avx2),
#endif
#ifdef PYNNI_AVX512
    [PYNN_ISA_AVX512] = &PYNNI_KERNELS(avx512),
#endif
#ifdef PYNNI_NEON
    [PYNN_ISA_NEON] = &PYNNI_KERNELS(neon),
#endif
};
#endif

/* The kernels of an instruction set, or NULL where this build or machine lacks it. */
static const pynni_kernels *kernels_of(int32_t isa)
{
#ifdef PYNNI_SCALAR_ONLY
    return isa == PYNN_ISA_SCALAR ? &scalar_kernels : NULL;
#else
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (isa == PYNN_ISA_AVX2 && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))) return NULL;
    if (isa == PYNN_ISA_AVX512 && !__builtin_cpu_supports("avx512f")) return NULL;
#endif
    return isa >= 0 && (size_t)isa < sizeof isa_kernels / sizeof *isa_kernels ? isa_kernels[isa] : NULL;
#endif
}

/* ---- floating-point environment ---------------------------------------- */

/* The control register. CONTROL are its bits that set rounding, flushing and traps, and ENVIRONMENT is rule 1 in
 * them; the others belong to the caller: sticky exceptions, conditions, and what has to do with no arithmetic of
 * ours. */
#if defined(__x86_64__) || defined(__SSE2__)
#include <immintrin.h>
#define CONTROL 0xFFC0u
#define ENVIRONMENT 0x1F80u
static uint64_t environment_get(void) { return _mm_getcsr(); }
static void environment_set(uint64_t value) { _mm_setcsr((uint32_t)value); }
#else
#define ENVIRONMENT 0u
#if defined(__aarch64__)
#define CONTROL 0xFFFFFFFFu
#define READ "mrs %0, fpcr"
#define WRITE "msr fpcr, %0"
#elif defined(__arm__) && defined(__ARM_FP)
#define CONTROL 0x07C89F00u
#define READ "vmrs %0, fpscr"
#define WRITE "vmsr fpscr, %0"
#elif defined(__riscv_flen) || defined(__riscv_zfinx)
#define CONTROL 0xE0u
#define READ "frcsr %0"
#define WRITE "fscsr %0"
#elif defined(__s390x__)
#define CONTROL 0xFF07008Fu /* not the rounding of decimal numbers */
#define READ "efpc %0"
#define WRITE "sfpc %0"
#endif
#ifdef READ
static uint64_t environment_get(void)
{
    uintptr_t value;
    __asm__ volatile(READ : "=r"(value));
    return value;
}
static void environment_set(uint64_t value) { __asm__ volatile(WRITE : : "r"((uintptr_t)value) : "memory"); }
#else /* WebAssembly and software floating point have but one; elsewhere the caller's must be that of rule 1 */
#define CONTROL 0u
static uint64_t environment_get(void) { return ENVIRONMENT; }
static void environment_set(uint64_t value) { (void)value; }
#endif
#endif

static int is_foreign(uint64_t environment) { return (environment & CONTROL) != ENVIRONMENT; }

/* The caller's environment, with rule 1 in force. */
static uint64_t ours(uint64_t environment) { return (environment & ~(uint64_t)CONTROL) | ENVIRONMENT; }

/* ---- known answers ----------------------------------------------------- */

#ifdef PYNN_WITHOUT_KNOWN_ANSWERS

static const char *broken_by(const pynni_kernels *kernels)
{
    (void)kernels;
    return NULL;
}

#else

/* How flags or the machine break rule 1, or NULL: sums that then come out differently; volatile, so that they are
 * computed here. */
static const char *broken_arithmetic(void)
{
    volatile float one = 1.0f, tiny = 0x1p-24f, third = 0x1.555556p-2f, three = 3.0f, small = 0x1p-140f, zero = 0.0f;
    volatile float absorbed = one + tiny;         /* ties to even; not with another rounding mode */
    volatile float up = one + 0x1.8p-24f;
    volatile float lost = (tiny + one) - one;     /* 2^-24 if reassociated or evaluated in double */
    volatile float product = third * three;
    volatile float apart = third * three - product; /* 2^-25 if contracted to fma */
    volatile float subnormal = small * one;       /* 0 if flushed */
    volatile float bad = zero / zero;
    if (absorbed != 1.0f || up != 1.0f + 0x1p-23f) return "rule 1: rounding is not to nearest, ties to even";
    if (lost != 0.0f) return "rule 1: sums are reassociated, or computed in a wider type";
    if (apart != 0.0f) return "rule 1: a product and a sum are contracted to one fma";
    if (!(subnormal > 0.0f)) return "rule 1: subnormal numbers are flushed to zero";
    return bad != bad ? NULL : "rule 1: NaN is taken for a number";
}

enum { ANSWERS = 19, ANSWER_ROWS = 7, ANSWER_NUMBERS = 21 * ANSWERS + 3 };

/* Hashes of what right kernels give; those of kinds in the order of their lists. */
static const uint32_t forward_answers[PYNNI_ACTIVATIONS] = {
    0xED030B5Fu, 0x580653C6u, 0x4E57EA16u, 0xB740259Bu, 0xE4158781u, 0x8F68A71Fu, 0xFD05E12Bu, 0xC32B785Bu};
static const uint32_t backward_answers[PYNNI_ACTIVATIONS] = {
    0xED030B5Fu, 0x580653C6u, 0x4E57EA16u, 0x63F98FDBu, 0x1C26984Du, 0x37EB5079u, 0x30888F4Fu, 0x694F381Fu};
static const uint32_t loss_answers[PYNNI_LOSSES] = {0x7A63E8A9u, 0x7A63E8A9u, 0x7A63E8A9u, 0x6F96C1B1u, 0xB46B7D2Fu};
static const uint32_t rule_answers[PYNNI_RULES] = {0x21E2A53Du, 0x43F23B75u, 0xF2F31262u, 0x33ECD1D0u};
static const uint32_t softmax_answers[2] = {0xFD14A035u, 0x3CA17FCBu};
static const uint32_t product_answers[4] = {0xEC411018u, 0x5B9155C2u, 0x4214E9C8u, 0xD23C2A29u};
static const uint32_t random_answers[3] = {0xC4A6F2DFu, 0x74569223u, 0x0E090D40u};
static const uint32_t sum_answer = 0xA50303EBu;

/* Whether floats have this hash. */
static int are_right(const float *x, size_t n, uint32_t answer)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        h = (h ^ bits) * 16777619u;
    }
    return h == answer;
}

static int activations_are_right(const pynni_kernels *kernels, const float *x)
{
    float y[ANSWERS];
    int right = 1;
    for (int32_t i = 0; i < PYNNI_ACTIVATIONS; i++) {
        if (!PYNNI_HAS_LAYER(PYNN_IDENTITY + i)) continue;
        PYNNI_KERNEL(kernels, forward)[i](y, x, ANSWERS, 0.3f);
        right &= are_right(y, ANSWERS, forward_answers[i]);
#ifndef PYNN_WITHOUT_TRAINING
        PYNNI_KERNEL(kernels, backward)[i](y, x, y, ANSWERS, 0.3f);
        right &= are_right(y, ANSWERS, backward_answers[i]);
#endif
    }
    if (!PYNNI_HAS_LAYER(PYNN_SOFTMAX)) return right;
    PYNNI_KERNEL(kernels, softmax_forward)(y, x, 1, ANSWERS);
    right &= are_right(y, ANSWERS, softmax_answers[0]);
#ifndef PYNN_WITHOUT_TRAINING
    PYNNI_KERNEL(kernels, softmax_backward)(y, x, y, 1, ANSWERS);
    right &= are_right(y, ANSWERS, softmax_answers[1]);
#endif
    return right;
}

/* Products of one row and of several, of weights that are plain, packed, and packed from their transpose; the first
 * over more than one block, with terms that are all the same. */
static int products_are_right(const pynni_kernels *kernels, const float *x, const float *w)
{
    enum { TERMS = 21, PACKED = TERMS * ((ANSWERS - 1) / PYNNI_PANEL + 1) * PYNNI_PANEL };
    const size_t panel = pynni_panel(kernels);
    float packed[PACKED], y[ANSWER_ROWS * ANSWERS];
    pynni_gemm g = {.c = y, .a = x, .b = w, .start = x, .c_stride = ANSWERS, .m = 1, .n = ANSWERS,
                    .k = PYNNI_BLOCK + 5};
    int right;
    PYNNI_KERNEL(kernels, gemm)(&g);
    right = are_right(y, ANSWERS, product_answers[0]);
    g = (pynni_gemm){.c = y, .a = x, .b = w, .start = x, .c_stride = ANSWERS, .a_row = 1, .a_k = 1, .b_stride = 3,
                     .m = ANSWER_ROWS, .n = ANSWERS, .k = 12, .finish = PYNNI_FINISH_RELU};
    PYNNI_KERNEL(kernels, gemm)(&g);
    right &= are_right(y, ANSWER_ROWS * ANSWERS, product_answers[1]);
#ifndef PYNN_WITHOUT_TRAINING
    for (int transposed = 0; transposed < 2; transposed++) {
        memset(packed, 0, sizeof packed);
        if (transposed) PYNNI_KERNEL(kernels, pack_transposed)(packed, w, TERMS, ANSWERS);
        else PYNNI_KERNEL(kernels, pack)(packed, TERMS * panel, w, 3, TERMS, ANSWERS);
        g = (pynni_gemm){.c = y, .a = x, .b = packed, .relu = w, .c_stride = ANSWERS, .a_row = 2, .a_k = 1,
                         .b_stride = panel, .b_panel = TERMS * panel, .m = ANSWER_ROWS, .n = ANSWERS, .k = TERMS,
                         .finish = transposed ? PYNNI_FINISH_FLUSH : PYNNI_FINISH_FLUSH_RELU};
        PYNNI_KERNEL(kernels, gemm)(&g);
        right &= are_right(y, ANSWER_ROWS * ANSWERS, product_answers[2 + transposed]);
    }
#else
    (void)packed;
#endif
    return right;
}

static int random_numbers_are_right(const pynni_kernels *kernels, const float *x)
{
    uint32_t words[PYNNI_WORDS];
    float y[PYNNI_WORDS];
    int right;
    PYNNI_KERNEL(kernels, words)(words, 1, 2, 3, 4);
    PYNNI_KERNEL(kernels, uniform)(y, words, ANSWERS, 0.5f);
    right = are_right(y, ANSWERS, random_answers[0]);
    PYNNI_KERNEL(kernels, normal)(y, words, ANSWERS, 0.5f);
    right &= are_right(y, ANSWERS, random_answers[1]);
    PYNNI_KERNEL(kernels, dropout)(y, x, words, 5, ANSWERS, 20000, 1.25f);
    right &= are_right(y, ANSWERS, random_answers[2]);
    return right;
}

#ifndef PYNN_WITHOUT_TRAINING

static int losses_are_right(const pynni_kernels *kernels, const float *x, const float *t)
{
    static const int32_t label[1] = {3};
    int right = 1;
    for (int32_t i = 0; i < PYNNI_LOSSES; i++) {
        const int by_label = PYNN_SQUARED_ERROR + i == PYNN_CROSS_ENTROPY;
        const pynni_goal goal = {.rows = by_label ? NULL : t, .labels = by_label ? label : NULL, .stride = ANSWERS};
        float y[ANSWERS + 1] = {0.75f}; /* the scale, then the loss, and the gradient */
        if (!PYNNI_HAS_LOSS(PYNN_SQUARED_ERROR + i)) continue;
        PYNNI_KERNEL(kernels, losses)[i](y, y + 1, x, &goal, y, 1, ANSWERS, 2.0f);
        right &= are_right(y, ANSWERS + 1, loss_answers[i]);
    }
    return right;
}

static int rules_are_right(const pynni_kernels *kernels, const float *x, const float *t)
{
#define RULE_OPTIMIZERS(kind, name, optimizers, moments) optimizers,
    static const uint32_t optimizers[] = {PYNNI_RULE_LIST(RULE_OPTIMIZERS)};
    const pynni_rates rates = {0.75f, 0.01f, 0.875f, 0.1f, 0.9f, 0.9f, 0.1f, 0.999f, 0.001f, 1e-8f};
    float w[ANSWERS], m[ANSWERS], v[ANSWERS], sum;
    int right = 1;
    for (size_t i = 0; i < PYNNI_RULES; i++) {
        if (!((PYNN_ONLY_OPTIMIZERS) & optimizers[i])) continue;
        memcpy(w, x, sizeof w);
        memcpy(m, x + 1, sizeof m);
        memcpy(v, t, sizeof v);
        PYNNI_KERNEL(kernels, rules)[i](w, m, v, x + 2, ANSWERS, &rates);
        right &= are_right(w, ANSWERS, rule_answers[i]);
    }
    sum = PYNNI_KERNEL(kernels, square_root)(PYNNI_KERNEL(kernels, sum_of_squares)(x, ANSWERS));
    return right & are_right(&sum, 1, sum_answer);
}

#endif

/* Flags can spoil the kernels alone, which are compiled for another target: so each kind of arithmetic in them is asked
 * for numbers that the tests have made sure of. */
static int kernels_are_right(const pynni_kernels *kernels)
{
    float x[ANSWER_NUMBERS], t[ANSWERS];
    int right;
    for (size_t i = 0; i < ANSWER_NUMBERS; i++) x[i] = (float)((int)(i * 7 % ANSWERS) - 9) * 0.37f;
    for (size_t i = 0; i < ANSWERS; i++) t[i] = x[i] * x[i] * 0.0625f;
    right = activations_are_right(kernels, x);
    right &= products_are_right(kernels, x, x + 3);
    right &= random_numbers_are_right(kernels, x);
#ifndef PYNN_WITHOUT_TRAINING
    right &= losses_are_right(kernels, x, t);
    right &= rules_are_right(kernels, x, t);
#else
    (void)t;
#endif
    return right;
}

/* How a machine with these kernels breaks the contract, or NULL; in the environment of rule 1. */
static const char *broken_by(const pynni_kernels *kernels)
{
#ifdef PYNNI_VOCABULARY /* a test in double has answers of its own */
    (void)kernels, (void)kernels_are_right, (void)broken_arithmetic;
    return NULL;
#else
    const char *rule = broken_arithmetic();
    if (rule != NULL || kernels_are_right(kernels)) return rule;
    return "rules 2 to 10: the kernels of the instruction set give wrong numbers";
#endif
}

#endif

/* ---- choice ------------------------------------------------------------ */

static const pynni_kernels *chosen; /* NULL until the first call; read and written atomically */

/* Makes kernels that keep the contract the chosen ones; in the environment of rule 1. */
static pynn_status adopt(const pynni_kernels *kernels)
{
    if (kernels == NULL) return PYNN_NO_ISA;
    if (broken_by(kernels) != NULL) return PYNN_BAD_ARITHMETIC;
    __atomic_store_n(&chosen, kernels, __ATOMIC_RELEASE);
    return PYNN_OK;
}

/* The best kernels of this build and machine, or those that the environment names. */
static const pynni_kernels *wanted_kernels(void)
{
    static const int32_t best_first[] = {PYNN_ISA_AVX512, PYNN_ISA_AVX2, PYNN_ISA_NEON, PYNN_ISA_SSE2, PYNN_ISA_SCALAR};
#ifdef PYNN_WITHOUT_ENVIRONMENT
    const char *wanted = NULL;
#else
    const char *wanted = getenv("PYNN_ISA");
#endif
    const pynni_kernels *kernels = NULL;
    for (size_t i = 0; kernels == NULL && i < sizeof best_first / sizeof best_first[0]; i++) {
        if (wanted == NULL || *wanted == '\0' || strcmp(wanted, isa_names[best_first[i]]) == 0)
            kernels = kernels_of(best_first[i]);
    }
    return kernels;
}

uint64_t pynni_environment_enter(void)
{
    const uint64_t environment = environment_get();
    if (is_foreign(environment)) environment_set(ours(environment));
    return environment;
}

void pynni_environment_leave(uint64_t environment)
{
    if (is_foreign(environment)) environment_set(environment);
}

pynn_status pynni_enter(pynni_call *call)
{
    call->environment = pynni_environment_enter();
    call->kernels = __atomic_load_n(&chosen, __ATOMIC_ACQUIRE);
    if (call->kernels == NULL) {
        pynn_status status = adopt(wanted_kernels());
        if (status != PYNN_OK) {
            pynni_leave(call);
            return status;
        }
        call->kernels = __atomic_load_n(&chosen, __ATOMIC_ACQUIRE);
    }
    return PYNN_OK;
}

void pynni_leave(const pynni_call *call) { pynni_environment_leave(call->environment); }

pynn_status pynn_isa_get(int32_t *isa)
{
    pynni_call call;
    if (isa == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, ISA);
    PYNNI_TRY(pynni_enter(&call));
    *isa = call.kernels->isa;
    pynni_leave(&call);
    return PYNN_OK;
}

pynn_status pynn_isa_set(int32_t isa)
{
    const uint64_t environment = pynni_environment_enter();
    const pynn_status status = adopt(kernels_of(isa));
    pynni_environment_leave(environment);
    return status;
}

const char *pynn_broken_rule(void)
{
    const uint64_t environment = pynni_environment_enter();
    const pynni_kernels *kernels = __atomic_load_n(&chosen, __ATOMIC_ACQUIRE);
    const char *rule;
    if (kernels == NULL) kernels = wanted_kernels();
    rule = kernels != NULL ? broken_by(kernels) : NULL;
    pynni_environment_leave(environment);
    return rule;
}
