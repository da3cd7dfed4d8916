/* One vector vocabulary, compiled for its instruction set with -DISA=<name> and -DPYNNI_VOCABULARY=<header>. */
#include "vocabulary.h"

#include PYNNI_VOCABULARY

#include "kernels/math.inc"

#define JOINED(a, b) a##b
#define JOIN(a, b) JOINED(a, b)
#define KERNELS(isa) PYNNI_KERNELS(isa)

/* Enough chains to hide the latency of fma, few enough to stay in registers. */
enum { CHAINS = TILE_VECS == 4 ? 24 : 12 };

static double peak(size_t loops)
{
    static volatile float factor = 0x1p-20f;
    const vf a = vf_set1(factor), b = vf_set1(factor);
    float lanes[VL];
    vf c[CHAINS], sum = vf_set1(0.0f);
    _Pragma("GCC unroll 24") for (int i = 0; i < CHAINS; i++) c[i] = vf_set1((float)i);
    for (size_t loop = 0; loop < loops; loop++) {
        _Pragma("GCC unroll 24") for (int i = 0; i < CHAINS; i++) c[i] = vf_fma(a, b, c[i]);
    }
    _Pragma("GCC unroll 24") for (int i = 0; i < CHAINS; i++) sum = vf_add(sum, c[i]);
    vf_store(lanes, sum);
    __asm__ volatile("" : : "r"(lanes) : "memory"); /* the sum is used */
    return 2.0 * CHAINS * VL;
}

#define FUNCTION(name)                                                                        \
    static void each_##name(float y[ELEMENTS], const float x[ELEMENTS])                       \
    {                                                                                         \
        for (size_t i = 0; i < ELEMENTS; i += VL) vf_store(y + i, m_##name(vf_load(x + i)));  \
    }
FUNCTION(exp) FUNCTION(log) FUNCTION(tanh) FUNCTION(sigmoid)

extern const vocabulary JOIN(vocabulary_, ISA);
const vocabulary JOIN(vocabulary_, ISA) = {
    &KERNELS(ISA), peak,
    {{"exp", each_exp}, {"log", each_log}, {"tanh", each_tanh}, {"sigmoid", each_sigmoid}},
};
