/* The vector vocabulary for 64-bit Arm: four floats. Meanings are in simd_scalar.h. */
#ifndef PYNN_SIMD_NEON_H
#define PYNN_SIMD_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#define VL 4
#define TILE_VECS 4
#define TILE_WIDE 16
#define V_PIN(v) ((void)0)

typedef float32x4_t vf;
typedef int32x4_t vi;
typedef uint32x4_t vm;
typedef size_t vp;

static inline vp vp_first(size_t n) { return n; }
static inline vf vf_load(const float *p) { return vld1q_f32(p); }
static inline void vf_store(float *p, vf a) { vst1q_f32(p, a); }
static inline vf vf_load_part(const float *p, vp n)
{
    float lanes[VL] = {0};
    for (size_t i = 0; i < n && i < VL; i++) lanes[i] = p[i];
    return vld1q_f32(lanes);
}
static inline void vf_store_part(float *p, vf a, vp n)
{
    float lanes[VL];
    vst1q_f32(lanes, a);
    for (size_t i = 0; i < n && i < VL; i++) p[i] = lanes[i];
}
static inline vf vf_set1(float a) { return vdupq_n_f32(a); }

static inline vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
static inline vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf vf_div(vf a, vf b) { return vdivq_f32(a, b); }
static inline vf vf_sqrt(vf a) { return vsqrtq_f32(a); }
static inline vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }

static inline vi vf_bits(vf a) { return vreinterpretq_s32_f32(a); }
static inline vf vi_float(vi a) { return vreinterpretq_f32_s32(a); }
static inline vi vi_set1(int32_t i) { return vdupq_n_s32(i); }
static inline vi vi_load(const uint32_t *p) { return vreinterpretq_s32_u32(vld1q_u32(p)); }
static inline void vi_store(uint32_t *p, vi a) { vst1q_u32(p, vreinterpretq_u32_s32(a)); }
static inline vi vi_add(vi a, vi b) { return vaddq_s32(a, b); }
static inline vi vi_sub(vi a, vi b) { return vsubq_s32(a, b); }
static inline vi vi_and(vi a, vi b) { return vandq_s32(a, b); }
static inline vi vi_or(vi a, vi b) { return vorrq_s32(a, b); }
static inline vi vi_xor(vi a, vi b) { return veorq_s32(a, b); }
#define vi_shl(a, n) vshlq_n_s32(a, n)
#define vi_shr(a, n) vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), n))
#define vi_sar(a, n) vshrq_n_s32(a, n)

static inline vi vi_mul(vi a, vi b, vi *high)
{
    const uint32x4_t x = vreinterpretq_u32_s32(a), y = vreinterpretq_u32_s32(b);
    const uint32x4_t low = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(x), vget_low_u32(y)));
    const uint32x4_t top = vreinterpretq_u32_u64(vmull_u32(vget_high_u32(x), vget_high_u32(y)));
    *high = vreinterpretq_s32_u32(vuzp2q_u32(low, top));
    return vreinterpretq_s32_u32(vuzp1q_u32(low, top));
}

static inline vm vf_lt(vf a, vf b) { return vcltq_f32(a, b); }
static inline vm vf_le(vf a, vf b) { return vcleq_f32(a, b); }
static inline vm vf_eq(vf a, vf b) { return vceqq_f32(a, b); }
static inline vm vi_lt(vi a, vi b) { return vcltq_s32(a, b); }
static inline vf vf_select(vm m, vf yes, vf no) { return vbslq_f32(m, yes, no); }
static inline vf vf_keep(vf a, vf other, vp n)
{
    static const uint32_t lane[VL] = {0, 1, 2, 3};
    return vbslq_f32(vcltq_u32(vld1q_u32(lane), vdupq_n_u32((uint32_t)n)), a, other);
}
static inline void vf_transpose(vf square[VL])
{
    const float32x4x2_t low = vtrnq_f32(square[0], square[1]), high = vtrnq_f32(square[2], square[3]);
    square[0] = vcombine_f32(vget_low_f32(low.val[0]), vget_low_f32(high.val[0]));
    square[1] = vcombine_f32(vget_low_f32(low.val[1]), vget_low_f32(high.val[1]));
    square[2] = vcombine_f32(vget_high_f32(low.val[0]), vget_high_f32(high.val[0]));
    square[3] = vcombine_f32(vget_high_f32(low.val[1]), vget_high_f32(high.val[1]));
}

#endif
