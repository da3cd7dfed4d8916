/*
 * The compiler's part of the arithmetic contract (docs/arithmetic.md, rule 1).
 * Every source file includes this first, so that the library defends its bits
 * whatever flags it is built with.
 */
#ifndef PYNN_ARITH_H
#define PYNN_ARITH_H

#define PYNNI_LIBRARY /* what includes this is part of the library, which exports its functions */

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "pynn must not be built with -ffast-math or -Ofast: its results are defined to the last bit"
#endif

#if defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__)
#error "pynn must not be built with -fassociative-math or -freciprocal-math"
#endif

#include <float.h>

#if FLT_RADIX != 2 || FLT_MANT_DIG != 24 || FLT_MAX_EXP != 128 || DBL_MANT_DIG != 53
#error "pynn needs IEEE binary32 and binary64"
#endif

#if !defined(FLT_EVAL_METHOD) || (FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16)
#error "pynn needs float expressions evaluated in float (32-bit x86: -msse2 -mfpmath=sse; s390x: -std=gnu11)"
#endif

/* With that flag every constant is a float. */
_Static_assert((int)16777217.0 == 16777217, "pynn must not be built with -fsingle-precision-constant");

/* No a*b+c may become a fused multiply-add unless the source says so. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#else
#error "pynn is written for gcc and clang"
#endif

#endif
