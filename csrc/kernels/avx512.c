/* The kernels for x86-64 with AVX-512 F. The target is turned on here, so that every build compiles all files with the
 * same flags and dispatch.c decides at run time. */
#include "../internal.h"

#if defined(__x86_64__) && defined(__GNUC__)

#if defined(__clang__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC target("avx512f")
#endif

#include "simd_avx512.h"

#include "math.inc"

#include "table.inc"

const pynni_kernels pynni_kernels_avx512 = KERNEL_TABLE(PYNN_ISA_AVX512);

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
