/* Chooses the instruction set once, and enters and leaves the floating-point environment of the contract. No other file
 * names an instruction set, but those of kernels/. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
    [PYNN_ISA_SCALAR] = "scalar", [PYNN_ISA_SSE2] = "sse2", [PYNN_ISA_AVX2] = "avx2",
    [PYNN_ISA_AVX512] = "avx512", [PYNN_ISA_NEON] = "neon",
};
enum { ISA_COUNT = sizeof names / sizeof names[0] };
_Static_assert(ISA_COUNT == PYNN_ISA_NEON + 1, "every instruction set has a name");

const char *pynn_isa_name(int32_t isa) { return isa >= 0 && isa < ISA_COUNT ? names[isa] : NULL; }

/* The kernels of an instruction set, or NULL where this build or machine lacks it. */
static const pynni_kernels *kernels_of(int32_t isa)
{
    if (isa == PYNN_ISA_SCALAR) return &pynni_kernels_scalar;
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (isa == PYNN_ISA_SSE2) return &pynni_kernels_sse2;
    if (isa == PYNN_ISA_AVX2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &pynni_kernels_avx2;
    if (isa == PYNN_ISA_AVX512 && __builtin_cpu_supports("avx512f")) return &pynni_kernels_avx512;
#elif defined(__aarch64__) && defined(__GNUC__)
    if (isa == PYNN_ISA_NEON) return &pynni_kernels_neon;
#endif
    return NULL;
}

/* ---- floating-point environment ---------------------------------------- */

/* The control register. CONTROL are its bits that set rounding, flushing and traps, and ENVIRONMENT is rule 1 in them; the
 * others belong to the caller: sticky exceptions, conditions, and what has to do with no arithmetic of ours. */
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

/* What kernel_answers gives on a machine that keeps the contract. */
#define KERNEL_ANSWERS 0x3D2F8241u

static int is_foreign(uint64_t environment) { return (environment & CONTROL) != ENVIRONMENT; }

/* The caller's environment, with rule 1 in force. */
static uint64_t ours(uint64_t environment) { return (environment & ~(uint64_t)CONTROL) | ENVIRONMENT; }

/* ---- known answers ----------------------------------------------------- */

/* How flags or the machine break rule 1, or NULL: sums that then come out differently; volatile, so that they are computed
 * here. */
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

enum { ANSWERS = 19 };

static uint32_t hash(uint32_t h, const float *x)
{
    for (size_t i = 0; i < ANSWERS; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        h = (h ^ bits) * 16777619u;
    }
    return h;
}

/* Flags can spoil the kernels alone, which are compiled for another target: so each kind of arithmetic in them is asked
 * for numbers that the tests have made sure of. */
static uint32_t kernel_answers(const pynni_kernels *kernels)
{
    static const int32_t label[1] = {3};
    const pynni_rates rates = {0.75f, 0.01f, 0.875f, 0.1f, 0.9f, 0.9f, 0.1f, 0.999f, 0.001f, 1e-8f};
    const pynni_goal goal = {.labels = label, .stride = ANSWERS};
    uint32_t words[PYNNI_WORDS], h = 2166136261u;
    float x[ANSWERS], y[ANSWERS], v[ANSWERS], loss = 1.0f;
    for (size_t i = 0; i < ANSWERS; i++) x[i] = (float)((int)(i * 7 % ANSWERS) - 9) * 0.37f;
    for (size_t i = 0; i < PYNNI_ACTIVATIONS; i++) {
        kernels->forward[i](y, x, ANSWERS, 0.3f);
        h = hash(h, y);
        kernels->backward[i](y, x, y, ANSWERS, 0.3f);
        h = hash(h, y);
    }
    kernels->softmax_forward(y, x, 1, ANSWERS);
    h = hash(h, y);
    kernels->cross_entropy(&loss, y, x, &goal, &loss, 1, ANSWERS, 1.0f);
    h = (hash(h, y) ^ (uint32_t)(int32_t)(loss * 0x1p20f)) * 16777619u;
    kernels->words(words, 1, 2, 3, 4);
    kernels->normal(v, words, ANSWERS, 0.5f);
    h = hash(h, v);
    kernels->gemm(&(pynni_gemm){.c = y, .a = x, .b = v, .start = x, .a_k = 0, .m = 1, .n = ANSWERS,
                                .k = PYNNI_BLOCK + 5, .c_stride = ANSWERS});
    h = hash(h, y);
    for (size_t i = 0; i < ANSWERS; i++) v[i] *= v[i];
    for (size_t i = 0; i < PYNNI_RULES; i++) {
        kernels->rules[i](x, y, v, x, ANSWERS, &rates);
        h = hash(h, x);
    }
    return h;
}

/* How a machine with these kernels breaks the contract, or NULL; in the environment of rule 1. */
static const char *broken_by(const pynni_kernels *kernels)
{
    const char *rule = broken_arithmetic();
    if (rule == NULL && kernel_answers(kernels) != KERNEL_ANSWERS)
        rule = "rules 2 to 10: the kernels of the instruction set give wrong numbers";
#ifdef PYNNI_VOCABULARY /* a test in double has answers of its own */
    return NULL;
#else
    return rule;
#endif
}

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
    const char *wanted = getenv("PYNN_ISA");
    const pynni_kernels *kernels = NULL;
    for (size_t i = 0; kernels == NULL && i < sizeof best_first / sizeof best_first[0]; i++) {
        if (wanted == NULL || *wanted == '\0' || strcmp(wanted, names[best_first[i]]) == 0)
            kernels = kernels_of(best_first[i]);
    }
    return kernels;
}

pynn_status pynni_enter(pynni_call *call)
{
    call->environment = environment_get();
    if (is_foreign(call->environment)) environment_set(ours(call->environment));
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

void pynni_leave(const pynni_call *call)
{
    if (is_foreign(call->environment)) environment_set(call->environment);
}

pynn_status pynn_isa_get(int32_t *isa)
{
    pynni_call call;
    if (isa == NULL) return PYNN_NULL_POINTER;
    PYNNI_TRY(pynni_enter(&call));
    *isa = call.kernels->isa;
    pynni_leave(&call);
    return PYNN_OK;
}

pynn_status pynn_isa_set(int32_t isa)
{
    const uint64_t environment = environment_get();
    pynn_status status;
    if (is_foreign(environment)) environment_set(ours(environment));
    status = adopt(pynn_isa_name(isa) != NULL ? kernels_of(isa) : NULL);
    if (is_foreign(environment)) environment_set(environment);
    return status;
}

const char *pynn_broken_rule(void)
{
    const uint64_t environment = environment_get();
    const pynni_kernels *kernels = __atomic_load_n(&chosen, __ATOMIC_ACQUIRE);
    const char *rule;
    if (is_foreign(environment)) environment_set(ours(environment));
    if (kernels == NULL) kernels = wanted_kernels();
    rule = kernels != NULL ? broken_by(kernels) : NULL;
    if (is_foreign(environment)) environment_set(environment);
    return rule;
}
