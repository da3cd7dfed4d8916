/* The vector vocabulary for x86-64 with AVX-512 F: sixteen floats. Meanings are in simd_scalar.h. */
#ifndef PYNN_SIMD_AVX512_H
#define PYNN_SIMD_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define VL 16
#define TILE_VECS 4
#define TILE_WIDE 8
#define V_PIN(v) __asm__("" : "+v"(v))

typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;
typedef __mmask16 vp;

static inline vp vp_first(size_t n) { return (vp)((1u << n) - 1u); }
static inline vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void vf_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
static inline vf vf_load_part(const float *p, vp n) { return _mm512_maskz_loadu_ps(n, p); }
static inline void vf_store_part(float *p, vf a, vp n) { _mm512_mask_storeu_ps(p, n, a); }
static inline vf vf_keep(vf a, vf other, vp n) { return _mm512_mask_blend_ps(n, other, a); }
static inline vf vf_set1(float a) { return _mm512_set1_ps(a); }

static inline vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }

static inline vi vf_bits(vf a) { return _mm512_castps_si512(a); }
static inline vf vi_float(vi a) { return _mm512_castsi512_ps(a); }
static inline vi vi_set1(int32_t i) { return _mm512_set1_epi32(i); }
static inline vi vi_load(const uint32_t *p) { return _mm512_loadu_si512(p); }
static inline void vi_store(uint32_t *p, vi a) { _mm512_storeu_si512(p, a); }
static inline vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
static inline vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
static inline vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
static inline vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
static inline vi vi_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
#define vi_shl(a, n) _mm512_slli_epi32(a, n)
#define vi_shr(a, n) _mm512_srli_epi32(a, n)
#define vi_sar(a, n) _mm512_srai_epi32(a, n)

static inline vi vi_mul(vi a, vi b, vi *high)
{
    const __m512i even = _mm512_mul_epu32(a, b);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32));
    *high = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
    return _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
}

static inline vm vf_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline vm vf_le(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
static inline vm vf_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
static inline vm vi_lt(vi a, vi b) { return _mm512_cmpgt_epi32_mask(b, a); }
static inline vf vf_select(vm m, vf yes, vf no) { return _mm512_mask_blend_ps(m, no, yes); }

/* Four stages: pairs of rows, pairs of pairs, then the 4 x 4 blocks of four. */
static inline void vf_transpose(vf square[VL])
{
    __m512 pair[16], quad[16];
    for (int i = 0; i < 16; i += 2) {
        pair[i] = _mm512_unpacklo_ps(square[i], square[i + 1]);
        pair[i + 1] = _mm512_unpackhi_ps(square[i], square[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        quad[i] = _mm512_shuffle_ps(pair[i], pair[i + 2], 0x44);
        quad[i + 1] = _mm512_shuffle_ps(pair[i], pair[i + 2], 0xEE);
        quad[i + 2] = _mm512_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
        quad[i + 3] = _mm512_shuffle_ps(pair[i + 1], pair[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        const __m512 ac = _mm512_shuffle_f32x4(quad[i], quad[i + 4], 0x88);
        const __m512 bd = _mm512_shuffle_f32x4(quad[i], quad[i + 4], 0xDD);
        const __m512 eg = _mm512_shuffle_f32x4(quad[i + 8], quad[i + 12], 0x88);
        const __m512 fh = _mm512_shuffle_f32x4(quad[i + 8], quad[i + 12], 0xDD);
        square[i] = _mm512_shuffle_f32x4(ac, eg, 0x88);
        square[i + 4] = _mm512_shuffle_f32x4(bd, fh, 0x88);
        square[i + 8] = _mm512_shuffle_f32x4(ac, eg, 0xDD);
        square[i + 12] = _mm512_shuffle_f32x4(bd, fh, 0xDD);
    }
}

#endif
