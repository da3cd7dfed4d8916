/* The AVX-512 intrinsics that csrc/kernels/simd_avx512.h uses, in plain C, so that its kernels can be tested on any
 * machine: put this folder first on the include path of kernels/avx512.c. Lane semantics are those of the Intel
 * Intrinsics Guide. */
#pragma GCC target("no-avx512f,no-avx2,no-avx") /* undoes that of avx512.c, at each inclusion */

#ifndef PYNN_EMULATED_IMMINTRIN_H
#define PYNN_EMULATED_IMMINTRIN_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef float __m512 __attribute__((vector_size(64)));
typedef int32_t __m512i __attribute__((vector_size(64)));
typedef uint16_t __mmask16;

#define _CMP_LT_OQ 17
#define _CMP_LE_OQ 18
#define _CMP_EQ_OQ 0
#define __asm__(...) ((void)0) /* V_PIN names a register class that these vectors have not */

#define EACH for (int i = 0; i < 16; i++)
static inline __m512 _mm512_set1_ps(float a)
{
    __m512 r;
    EACH r[i] = a;
    return r;
}
static inline __m512i _mm512_set1_epi32(int a)
{
    __m512i r;
    EACH r[i] = a;
    return r;
}
static inline __m512 _mm512_loadu_ps(const void *p)
{
    __m512 r;
    memcpy(&r, p, sizeof r);
    return r;
}
static inline void _mm512_storeu_ps(void *p, __m512 a) { memcpy(p, &a, sizeof a); }
static inline __m512 _mm512_maskz_loadu_ps(__mmask16 m, const void *p)
{
    __m512 r;
    EACH r[i] = m >> i & 1 ? ((const float *)p)[i] : 0.0f;
    return r;
}
static inline void _mm512_mask_storeu_ps(void *p, __mmask16 m, __m512 a)
{
    EACH if (m >> i & 1) ((float *)p)[i] = a[i];
}
static inline __m512 _mm512_mask_blend_ps(__mmask16 m, __m512 a, __m512 b)
{
    EACH if (m >> i & 1) a[i] = b[i];
    return a;
}
static inline __m512i _mm512_mask_blend_epi32(__mmask16 m, __m512i a, __m512i b)
{
    EACH if (m >> i & 1) a[i] = b[i];
    return a;
}
static inline __m512 _mm512_add_ps(__m512 a, __m512 b) { return a + b; }
static inline __m512 _mm512_sub_ps(__m512 a, __m512 b) { return a - b; }
static inline __m512 _mm512_mul_ps(__m512 a, __m512 b) { return a * b; }
static inline __m512 _mm512_div_ps(__m512 a, __m512 b) { return a / b; }
static inline __m512 _mm512_sqrt_ps(__m512 a)
{
    EACH a[i] = sqrtf(a[i]);
    return a;
}
static inline __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c)
{
    EACH c[i] = fmaf(a[i], b[i], c[i]);
    return c;
}
static inline __m512i _mm512_castps_si512(__m512 a)
{
    __m512i r;
    memcpy(&r, &a, sizeof r);
    return r;
}
static inline __m512 _mm512_castsi512_ps(__m512i a)
{
    __m512 r;
    memcpy(&r, &a, sizeof r);
    return r;
}
static inline __m512i _mm512_each_unsigned(__m512i a, uint32_t (*f)(uint32_t, uint32_t), __m512i b)
{
    EACH a[i] = (int32_t)f((uint32_t)a[i], (uint32_t)b[i]);
    return a;
}
static inline uint32_t wrapping_add(uint32_t a, uint32_t b) { return a + b; }
static inline uint32_t wrapping_sub(uint32_t a, uint32_t b) { return a - b; }
static inline uint32_t shifted_left(uint32_t a, uint32_t n) { return a << n; }
static inline uint32_t shifted_right(uint32_t a, uint32_t n) { return a >> n; }
static inline __m512i _mm512_add_epi32(__m512i a, __m512i b) { return _mm512_each_unsigned(a, wrapping_add, b); }
static inline __m512i _mm512_sub_epi32(__m512i a, __m512i b) { return _mm512_each_unsigned(a, wrapping_sub, b); }
static inline __m512i _mm512_and_si512(__m512i a, __m512i b) { return a & b; }
static inline __m512i _mm512_or_si512(__m512i a, __m512i b) { return a | b; }
static inline __m512i _mm512_xor_si512(__m512i a, __m512i b) { return a ^ b; }
static inline __m512i _mm512_slli_epi32(__m512i a, unsigned n)
{
    return _mm512_each_unsigned(a, shifted_left, _mm512_set1_epi32((int)n));
}
static inline __m512i _mm512_srli_epi32(__m512i a, unsigned n)
{
    return _mm512_each_unsigned(a, shifted_right, _mm512_set1_epi32((int)n));
}
static inline __m512i _mm512_srai_epi32(__m512i a, unsigned n) { return a >> (int)n; }
static inline __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int how)
{
    unsigned m = 0;
    EACH m |= (unsigned)(how == _CMP_LT_OQ ? a[i] < b[i] : how == _CMP_LE_OQ ? a[i] <= b[i] : a[i] == b[i]) << i;
    return (__mmask16)m;
}
static inline __mmask16 _mm512_cmpgt_epi32_mask(__m512i a, __m512i b)
{
    unsigned m = 0;
    EACH m |= (unsigned)(a[i] > b[i]) << i;
    return (__mmask16)m;
}
/* In each quarter of four: elements `first` + 0, 1 of a and b in turn. */
static inline __m512 interleaved(__m512 a, __m512 b, int first)
{
    __m512 r;
    EACH r[i] = (i & 1 ? b : a)[i / 4 * 4 + first + i % 4 / 2];
    return r;
}
static inline __m512 _mm512_unpacklo_ps(__m512 a, __m512 b) { return interleaved(a, b, 0); }
static inline __m512 _mm512_unpackhi_ps(__m512 a, __m512 b) { return interleaved(a, b, 2); }
static inline __m512 _mm512_shuffle_ps(__m512 a, __m512 b, unsigned how)
{
    __m512 r;
    EACH r[i] = (i % 4 < 2 ? a : b)[i / 4 * 4 + (int)(how >> i % 4 * 2 & 3)];
    return r;
}
static inline __m512 _mm512_shuffle_f32x4(__m512 a, __m512 b, unsigned how)
{
    __m512 r;
    EACH r[i] = (i < 8 ? a : b)[(int)(how >> i / 4 * 2 & 3) * 4 + i % 4];
    return r;
}
static inline __m512i _mm512_loadu_si512(const void *p)
{
    __m512i r;
    memcpy(&r, p, sizeof r);
    return r;
}
static inline void _mm512_storeu_si512(void *p, __m512i a) { memcpy(p, &a, sizeof a); }
static inline __m512i shifted64(__m512i a, int left, int right)
{
    uint64_t lanes[8];
    memcpy(lanes, &a, sizeof lanes);
    for (int i = 0; i < 8; i++) lanes[i] = lanes[i] << left >> right;
    memcpy(&a, lanes, sizeof a);
    return a;
}
static inline __m512i _mm512_slli_epi64(__m512i a, unsigned n) { return shifted64(a, (int)n, 0); }
static inline __m512i _mm512_srli_epi64(__m512i a, unsigned n) { return shifted64(a, 0, (int)n); }
static inline __m512i _mm512_mul_epu32(__m512i a, __m512i b)
{
    uint64_t lanes[8];
    for (int i = 0; i < 8; i++) lanes[i] = (uint64_t)(uint32_t)a[2 * i] * (uint32_t)b[2 * i];
    memcpy(&a, lanes, sizeof a);
    return a;
}
#undef EACH

#endif
