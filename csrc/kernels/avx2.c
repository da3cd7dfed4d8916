/* The kernels for x86-64 with AVX2 and FMA. The target is turned on here, so that every build compiles all files with
 * the same flags and dispatch.c decides at run time. */
#include "../internal.h"

#ifdef PYNNI_AVX2

#include <immintrin.h>
#include <math.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#undef KERNEL_ISA
#define KERNEL_ISA avx2

#include "names.inc"

#include "simd_avx2.h"

#include "math.inc"

#include "table.inc"

const pynni_kernels PYNNI_KERNELS(avx2) = KERNEL_TABLE(AVX2);

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
