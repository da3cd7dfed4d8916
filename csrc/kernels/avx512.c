/* The kernels for x86-64 with AVX-512 F. The target is turned on here, so that every build compiles all files with the
 * same flags and dispatch.c decides at run time. */
#include "../internal.h"

#ifdef PYNNI_AVX512

#include <immintrin.h>
#include <math.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f")
#endif

#undef KERNEL_ISA
#define KERNEL_ISA avx512

#include "names.inc"

#include "simd_avx512.h"

#include "math.inc"

#include "table.inc"

const pynni_kernels PYNNI_KERNELS(avx512) = KERNEL_TABLE(AVX512);

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
