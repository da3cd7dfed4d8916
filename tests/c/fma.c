/*
 * fma without the instruction (rule 9) against the instruction, over triples that are chosen to be hard. Exit status 1
 * with the first that differ. x86-64 with FMA; elsewhere there is nothing to compare.
 *
 *     gcc -std=gnu11 -O2 -ffp-contract=off -DPYNNI_VOCABULARY='"../../csrc/kernels/simd_sse2.h"' tests/c/fma.c -o fma
 *     fma [triples]
 */
#include "../../csrc/arith.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include PYNNI_VOCABULARY

#if defined(__x86_64__) && !defined(__FMA__)

#include <immintrin.h>

enum { BLOCK = 4096 };

static uint64_t seed = 1;

static uint64_t any(void) /* splitmix64 */
{
    uint64_t z = seed += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static float of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x) /* of any NaN, the same */
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC00000u : bits;
}

/* A normal float whose exponent is from least .. least + range - 1, and the last bits of its mantissa 0. */
static float short_float(int least, unsigned range, unsigned zeros, uint64_t random)
{
    const uint32_t exponent = (uint32_t)(127 + least) + (uint32_t)(random >> 32) % range;
    return of_bits(((uint32_t)random & 0x807FFFFFu & ~0u << zeros) | exponent << 23);
}

static float power(int exponent) { return of_bits((uint32_t)(127 + exponent) << 23); }

enum { KINDS = 8 };
static const char *const kinds[KINDS] = {
    "any bits", "short mantissas", "product a midpoint, addend tiny", "cancellation",
    "subnormal results", "addend with half an ULP", "overflow", "zeros, infinities, NaN, ends",
};

static void choose(float *a, float *b, float *c, unsigned kind)
{
    static const uint32_t ends[] = {
        0x00000000u, 0x00000001u, 0x007FFFFFu, 0x00800000u, 0x3F800000u, 0x7F7FFFFFu, 0x7F800000u, 0x7FC00000u,
    };
    const uint64_t r = any(), s = any(), t = any();
    const unsigned zeros = (unsigned)(r >> 59) % 24, small = (unsigned)(s >> 60);
    *a = short_float(-20, 40, zeros, r);
    *b = short_float(-20, 40, (unsigned)(s >> 59) % 24, s);
    *c = short_float(-50, 100, (unsigned)(t >> 59) % 24, t);
    switch (kind) {
    case 0:
        *a = of_bits((uint32_t)r), *b = of_bits((uint32_t)s), *c = of_bits((uint32_t)t);
        break;
    case 2: /* odd numbers of 12 and 13 bits: their product is odd and has 24 or 25 */
        *a = (float)(int32_t)(r % 2048 * 2 + 4097), *b = (float)(int32_t)(s % 2048 * 2 + 4097 - 2048);
        *c = (t & 1 ? 1.0f : -1.0f) * power(-1 - (int)(t >> 32) % 120);
        break;
    case 3:
        *c = of_bits(bits_of(-(*a * *b)) + (uint32_t)(t % 5) - 2u);
        break;
    case 4:
        *a = short_float(-75, 12, zeros, r), *b = short_float(-75, 12, (unsigned)(s >> 59) % 24, s);
        *c = t & 1 ? of_bits((uint32_t)(t >> 8) & 0x80FFFFFFu) : power(-126) * *c;
        break;
    case 5: /* the exponent of the product is 24 or 25 below that of the addend, its mantissa 1 or nearly */
        *a = of_bits(0x3F800000u + (uint32_t)(r % 3) - 1u), *b = (s & 1 ? 1.0f : -1.0f) * power(-24 - (int)(small & 1));
        *c = short_float(0, 1, (unsigned)(t >> 59) % 24, t);
        break;
    case 6:
        *a = short_float(60, 5, zeros, r), *b = short_float(60, 5, (unsigned)(s >> 59) % 24, s);
        *c = short_float(100, 28, (unsigned)(t >> 59) % 24, t);
        break;
    case 7:
        *a = of_bits(ends[r % 8] | (uint32_t)(r >> 32 & 0x80000000u));
        *b = of_bits(ends[s % 8] | (uint32_t)(s >> 32 & 0x80000000u));
        *c = of_bits(ends[t % 8] | (uint32_t)(t >> 32 & 0x80000000u));
        break;
    default:
        break;
    }
}

__attribute__((target("fma"))) static void with_instruction(float *out, const float *a, const float *b, const float *c)
{
    for (size_t i = 0; i < BLOCK; i += 4)
        _mm_storeu_ps(out + i, _mm_fmadd_ps(_mm_loadu_ps(a + i), _mm_loadu_ps(b + i), _mm_loadu_ps(c + i)));
}

static void without(float *out, const float *a, const float *b, const float *c)
{
    for (size_t i = 0; i < BLOCK; i += VL) vf_store(out + i, vf_fma(vf_load(a + i), vf_load(b + i), vf_load(c + i)));
}

int main(int argc, char **argv)
{
    static float a[BLOCK], b[BLOCK], c[BLOCK], wanted[BLOCK], found[BLOCK];
    const uint64_t triples = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000000u;
    uint64_t wrong = 0, nans = 0, infinities = 0, subnormals = 0, blocks = (triples + BLOCK - 1) / BLOCK;
    if (!__builtin_cpu_supports("fma")) {
        printf("fma: this machine lacks the instruction\n");
        return 0;
    }
    for (uint64_t block = 0; block < blocks; block++) {
        for (unsigned i = 0; i < BLOCK; i++) choose(&a[i], &b[i], &c[i], i % KINDS);
        with_instruction(wanted, a, b, c);
        without(found, a, b, c);
        for (size_t i = 0; i < BLOCK; i++) {
            const uint32_t bits = bits_of(wanted[i]), size = bits & 0x7FFFFFFFu;
            nans += size > 0x7F800000u;
            infinities += size == 0x7F800000u;
            subnormals += size > 0 && size < 0x00800000u;
            if (bits_of(found[i]) != bits && wrong++ < 10)
                printf("%s: fma(%a, %a, %a) is %a, not %a\n", kinds[i % KINDS], (double)a[i], (double)b[i],
                       (double)c[i], (double)found[i], (double)wanted[i]);
        }
    }
    printf("fma: %" PRIu64 " of %" PRIu64 " triples wrong; %" PRIu64 " NaN, %" PRIu64 " infinite, %" PRIu64
           " subnormal\n", wrong, blocks * BLOCK, nans, infinities, subnormals);
    return wrong > 0;
}

#else

int main(void)
{
    printf("fma: nothing to compare on this machine\n");
    return 0;
}

#endif
