/*
 * Instead of a vocabulary and math.inc: the whole core in double, so that finite differences can check its gradients.
 * For tests only. All files but the kernels of other instruction sets, and the test itself, are compiled with
 *
 *     -Dfloat=double -include tests/c/simd_double.h -DPYNNI_VOCABULARY='"../../tests/c/simd_double.h"'
 *
 * (the path as seen from csrc/kernels) and linked with -lm; the kernels of other instruction sets are compiled without.
 * So kernels read it twice: at first the system headers, later the vocabulary. Before anything else the test calls
 * pynn_isa_set(PYNN_ISA_SCALAR), which leaves out the known answers of binary32.
 */
#ifndef PYNN_SIMD_DOUBLE_H
#define PYNN_SIMD_DOUBLE_H

/* System headers mean float where they say so; their guards keep them as they are read here. */
#pragma push_macro("float")
#undef float
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#endif
#pragma pop_macro("float")

#endif

#ifdef KERNEL_ISA

/* The scalar vocabulary, but for what knows how many bits a float has; its integer half has no use here. */
#pragma push_macro("vf_fma")
#pragma push_macro("vf_sqrt")
#undef vf_fma
#undef vf_sqrt
#define vf_fma vf_fma_binary32
#define vf_sqrt vf_sqrt_binary32
#include "../../csrc/kernels/simd_scalar.h"
#pragma pop_macro("vf_fma")
#pragma pop_macro("vf_sqrt")
#undef vf_bits
#undef vi_float
#define vf_bits no_integers_in_double
#define vi_float no_integers_in_double

static inline vf vf_fma(vf a, vf b, vf c) { return fma(a, b, c); }
static inline vf vf_sqrt(vf a) { return sqrt(a); }

static inline vf m_abs(vf x) { return fabs(x); }
static inline vf m_neg(vf x) { return -x; }
static inline vf m_neg_abs(vf x) { return -fabs(x); }
static inline vf m_at_most(vf x, vf limit) { return limit < x ? limit : x; }
static inline vf m_at_least(vf x, vf limit) { return x < limit ? limit : x; }
static inline vf m_flush(vf x) { return x; }
static inline vf m_exp(vf x) { return exp(x); }
static inline vf m_exp_nonpos(vf x) { return exp(x); }
static inline vf m_log(vf x) { return log(x); }
static inline vf m_log_inside(vf x) { return log(x); }
static inline vf m_log1p_unit(vf x) { return log1p(x); }
static inline vf m_tanh(vf x) { return tanh(x); }
static inline vf m_sigmoid(vf x) { return 1.0 / (1.0 + exp(-x)); }
static inline vf m_softplus(vf x) { return (x > 0.0 ? x : 0.0) + log1p(exp(-fabs(x))); }
static inline vf m_normal_pdf(vf s) { return exp(-0.5 * s * s) * 0.398942280401432677940; }
static inline vf m_normal_cdf(vf s) { return 0.5 * erfc(s * -0.707106781186547524401); }
static inline vf m_gelu(vf s) { return s < -40.0 ? -0.0 : s * m_normal_cdf(s); }
static inline vf m_gelu_slope(vf s) { return (fabs(s) > 40.0 ? 0.0 : s * m_normal_pdf(s)) + m_normal_cdf(s); }
static inline vf m_cospi(vf x) { return cos(3.14159265358979323846 * fmod(x, 2.0)); }

#endif
