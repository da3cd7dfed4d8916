/* The vector vocabulary for any x86-64: four floats. It has no fma, which is put together by rule 9 in double: a tier
 * for correctness, not for speed. Meanings are in simd_scalar.h. */
#ifndef PYNN_SIMD_SSE2_H
#define PYNN_SIMD_SSE2_H

#include <emmintrin.h>
#include <stddef.h>
#include <stdint.h>

#define VL 4
#define TILE_VECS 2
#define TILE_WIDE 4
#define V_PIN(v) ((void)0)

typedef __m128 vf;
typedef __m128i vi;
typedef __m128 vm;
typedef size_t vp;

static inline vp vp_first(size_t n) { return n; }
static inline vf vf_load(const float *p) { return _mm_loadu_ps(p); }
static inline void vf_store(float *p, vf a) { _mm_storeu_ps(p, a); }
static inline vf vf_load_part(const float *p, vp n)
{
    float lanes[VL] = {0};
    for (size_t i = 0; i < n && i < VL; i++) lanes[i] = p[i];
    return _mm_loadu_ps(lanes);
}
static inline void vf_store_part(float *p, vf a, vp n)
{
    float lanes[VL];
    _mm_storeu_ps(lanes, a);
    for (size_t i = 0; i < n && i < VL; i++) p[i] = lanes[i];
}
static inline vf vf_set1(float a) { return _mm_set1_ps(a); }

static inline vf vf_add(vf a, vf b) { return _mm_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm_div_ps(a, b); }
static inline vf vf_sqrt(vf a) { return _mm_sqrt_ps(a); }

/* The lower two lanes of a b + c. */
static inline __m128 fma_half(__m128 a, __m128 b, __m128 c)
{
    const __m128i one = _mm_set_epi32(0, 1, 0, 1);
    const __m128d zero = _mm_setzero_pd(), d = _mm_cvtps_pd(c);
    const __m128d p = _mm_mul_pd(_mm_cvtps_pd(a), _mm_cvtps_pd(b)), s = _mm_add_pd(p, d), t = _mm_sub_pd(s, p);
    const __m128d error = _mm_add_pd(_mm_sub_pd(p, _mm_sub_pd(s, t)), _mm_sub_pd(d, t));
    const __m128d up = _mm_cmpgt_pd(error, zero), inexact = _mm_or_pd(up, _mm_cmplt_pd(error, zero));
    const __m128i bits = _mm_castpd_si128(s), even = _mm_sub_epi64(_mm_and_si128(bits, one), one);
    /* +1 where the exact sum is larger in magnitude than s, else -1 */
    const __m128i toward = _mm_or_si128(_mm_castpd_si128(_mm_xor_pd(up, _mm_cmpgt_pd(s, zero))), one);
    const __m128i odd = _mm_add_epi64(bits, _mm_and_si128(toward, _mm_and_si128(even, _mm_castpd_si128(inexact))));
    return _mm_cvtpd_ps(_mm_castsi128_pd(odd));
}
static __attribute__((noinline)) vf vf_fma(vf a, vf b, vf c) /* inline, it would fill the file */
{
    return _mm_movelh_ps(fma_half(a, b, c),
                         fma_half(_mm_movehl_ps(a, a), _mm_movehl_ps(b, b), _mm_movehl_ps(c, c)));
}

static inline vi vf_bits(vf a) { return _mm_castps_si128(a); }
static inline vf vi_float(vi a) { return _mm_castsi128_ps(a); }
static inline vi vi_set1(int32_t i) { return _mm_set1_epi32(i); }
static inline vi vi_load(const uint32_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }
static inline void vi_store(uint32_t *p, vi a) { _mm_storeu_si128((__m128i *)(void *)p, a); }
static inline vi vi_add(vi a, vi b) { return _mm_add_epi32(a, b); }
static inline vi vi_sub(vi a, vi b) { return _mm_sub_epi32(a, b); }
static inline vi vi_and(vi a, vi b) { return _mm_and_si128(a, b); }
static inline vi vi_or(vi a, vi b) { return _mm_or_si128(a, b); }
static inline vi vi_xor(vi a, vi b) { return _mm_xor_si128(a, b); }
#define vi_shl(a, n) _mm_slli_epi32(a, n)
#define vi_shr(a, n) _mm_srli_epi32(a, n)
#define vi_sar(a, n) _mm_srai_epi32(a, n)

static inline vi vi_mul(vi a, vi b, vi *high)
{
    const __m128i even = _mm_mul_epu32(a, b), odd = _mm_mul_epu32(_mm_srli_epi64(a, 32), _mm_srli_epi64(b, 32));
    const __m128i first = _mm_set_epi32(0, -1, 0, -1);
    *high = _mm_or_si128(_mm_srli_epi64(even, 32), _mm_andnot_si128(first, odd));
    return _mm_or_si128(_mm_and_si128(first, even), _mm_slli_epi64(odd, 32));
}

static inline vm vf_lt(vf a, vf b) { return _mm_cmplt_ps(a, b); }
static inline vm vf_le(vf a, vf b) { return _mm_cmple_ps(a, b); }
static inline vm vf_eq(vf a, vf b) { return _mm_cmpeq_ps(a, b); }
static inline vm vi_lt(vi a, vi b) { return _mm_castsi128_ps(_mm_cmplt_epi32(a, b)); }
static inline vf vf_select(vm m, vf yes, vf no) { return _mm_or_ps(_mm_and_ps(m, yes), _mm_andnot_ps(m, no)); }
static inline vf vf_keep(vf a, vf other, vp n)
{
    return vf_select(_mm_castsi128_ps(_mm_cmpgt_epi32(_mm_set1_epi32((int)n), _mm_set_epi32(3, 2, 1, 0))), a, other);
}
static inline void vf_transpose(vf square[VL]) { _MM_TRANSPOSE4_PS(square[0], square[1], square[2], square[3]); }

#endif
