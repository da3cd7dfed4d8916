/*
 * The vector vocabulary for any C compiler: a vector of one float.
 * The kernel texts (math.inc, vec.inc, gemm.inc) are written over these names,
 * and every other vocabulary defines the same ones.
 */
#ifndef PYNN_SIMD_SCALAR_H
#define PYNN_SIMD_SCALAR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define VL 1          /* lanes */
#ifdef PYNNI_SMALL
#define TILE_VECS 1
#define TILE_WIDE 4
#else
#define TILE_VECS 2   /* a product keeps 6 rows of TILE_VECS accumulators: 2 or 4; 1: a single accumulator */
#define TILE_WIDE 8   /* vectors of a tile of one row */
#endif
#define V_PIN(v) ((void)0) /* keeps a loaded vector in a register */

typedef float vf;    /* floats */
typedef int32_t vi;  /* their bits, as two's complement integers */
typedef int vm;      /* a truth value per lane */
typedef size_t vp;   /* the first n lanes, 0 <= n <= VL */

static inline vp vp_first(size_t n) { return n; }
static inline vf vf_load(const float *p) { return *p; }
static inline void vf_store(float *p, vf a) { *p = a; }
static inline vf vf_load_part(const float *p, vp n) { return n ? *p : 0.0f; } /* absent lanes are +0 */
static inline void vf_store_part(float *p, vf a, vp n)
{
    if (n) *p = a;
}
static inline vf vf_keep(vf a, vf other, vp n) { return n ? a : other; } /* a in the first n lanes */
static inline void vf_transpose(vf square[VL]) { (void)square; } /* transposes VL vectors */
static inline vf vf_set1(float a) { return a; }

static inline vf vf_add(vf a, vf b) { return a + b; }
static inline vf vf_sub(vf a, vf b) { return a - b; }
static inline vf vf_mul(vf a, vf b) { return a * b; }
static inline vf vf_div(vf a, vf b) { return a / b; }

#if defined(__SSE2__)
static inline vf vf_sqrt(vf a) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(a))); }
#elif defined(__aarch64__) && defined(__GNUC__)
static inline vf vf_sqrt(vf a)
{
    __asm__("fsqrt %s0, %s0" : "+w"(a));
    return a;
}
#elif defined(__ARM_FP) && (__ARM_FP & 4) && defined(__GNUC__)
static inline vf vf_sqrt(vf a)
{
    __asm__("vsqrt.f32 %0, %0" : "+t"(a));
    return a;
}
#else
/* Digit by digit on integers: sqrtf of the C library would do, but may set errno and need -lm. */
static inline vf vf_sqrt(vf a)
{
    uint32_t bits, exponent, root = 0;
    uint64_t rest;
    memcpy(&bits, &a, sizeof bits);
    if (bits << 1 == 0 || bits == 0x7F800000u) return a;
    if (bits > 0x7F800000u) return (a - a) / (a - a); /* negative or NaN */
    exponent = bits >> 23;
    rest = bits & 0x7FFFFFu;
    if (exponent == 0) {
        for (exponent = 1; !(rest & 0x800000u); exponent--) rest <<= 1;
    } else {
        rest |= 0x800000u;
    }
    rest <<= exponent & 1u ? 23 : 24; /* 2^46 <= rest < 2^48, its exponent even */
    for (uint32_t digit = 0x800000u; digit != 0; digit >>= 1) {
        const uint64_t tried = root + (uint64_t)digit;
        if (tried * tried <= rest) root = (uint32_t)tried;
    }
    root += rest - (uint64_t)root * root > root; /* beyond root + 1/2 */
    bits = ((exponent + (exponent & 1u ? 127u : 126u)) >> 1 << 23) + (root - 0x800000u);
    memcpy(&a, &bits, sizeof a);
    return a;
}
#endif

static inline vi vf_bits(vf a)
{
    vi i;
    memcpy(&i, &a, sizeof i);
    return i;
}
static inline vf vi_float(vi i) /* the float with these bits */
{
    vf a;
    memcpy(&a, &i, sizeof a);
    return a;
}

/* Integer operations wrap around. */
static inline vi vi_set1(int32_t i) { return i; }
static inline vi vi_load(const uint32_t *p) { return (int32_t)*p; }
static inline void vi_store(uint32_t *p, vi a) { *p = (uint32_t)a; }
static inline vi vi_add(vi a, vi b) { return (int32_t)((uint32_t)a + (uint32_t)b); }
static inline vi vi_sub(vi a, vi b) { return (int32_t)((uint32_t)a - (uint32_t)b); }
static inline vi vi_and(vi a, vi b) { return a & b; }
static inline vi vi_or(vi a, vi b) { return a | b; }
static inline vi vi_xor(vi a, vi b) { return a ^ b; }
#define vi_shl(a, n) ((int32_t)((uint32_t)(a) << (n)))
#define vi_shr(a, n) ((int32_t)((uint32_t)(a) >> (n))) /* zeros come in */
#define vi_sar(a, n) ((a) >> (n))                      /* copies of the sign come in */

/* The low half of the product of unsigned a and b; the high half goes to *high. */
static inline vi vi_mul(vi a, vi b, vi *high)
{
    const uint64_t product = (uint64_t)(uint32_t)a * (uint32_t)b;
    *high = (int32_t)(uint32_t)(product >> 32);
    return (int32_t)(uint32_t)product;
}

static inline vm vf_lt(vf a, vf b) { return a < b; } /* ordered: false with a NaN */
static inline vm vf_le(vf a, vf b) { return a <= b; }
static inline vm vf_eq(vf a, vf b) { return a == b; }
static inline vm vi_lt(vi a, vi b) { return a < b; }
static inline vf vf_select(vm m, vf yes, vf no) { return m ? yes : no; }

#if defined(__FMA__) || defined(__FP_FAST_FMAF) || defined(__aarch64__) || defined(__ARM_FEATURE_FMA)
static inline vf vf_fma(vf a, vf b, vf c) { return __builtin_fmaf(a, b, c); } /* a b + c, rounded once */
#else
/* Rule 9: the product is exact in double; the sum is rounded to odd there, so that the final rounding to float is
 * that of the exact value. */
static __attribute__((noinline)) vf vf_fma(vf a, vf b, vf c) /* inline, it would fill the file */
{
    double p = (double)a * (double)b, d = (double)c, s = p + d;
    double t = s - p, error = (p - (s - t)) + (d - t);
    uint64_t bits;
    memcpy(&bits, &s, sizeof bits);
    if ((error < 0.0 || error > 0.0) && !(bits & 1u)) {
        bits += ((error > 0.0) == (s > 0.0)) ? 1u : ~(uint64_t)0;
        memcpy(&s, &bits, sizeof s);
    }
    return (float)s;
}
#endif

#endif
