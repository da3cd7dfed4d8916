/* The kernels for x86-64 with AVX2 and FMA. The target is turned on here, so that every build compiles all files with the
 * same flags and dispatch.c decides at run time. */
#include "../internal.h"

#if defined(__x86_64__) && defined(__GNUC__)

#if defined(__clang__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#include "simd_avx2.h"

#include "math.inc"

#include "table.inc"

const pynni_kernels pynni_kernels_avx2 = KERNEL_TABLE(PYNN_ISA_AVX2);

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
