/*
 * Every elementary function over all 2^32 inputs, or every stride-th, against libm in double and, where that comes near
 * the worst so far, in long double. One line per function:
 *
 *     name  inputs  worst error of the bound, at input  hash of the outputs
 *
 * Fails when a bound of rule 8 is broken. The hashes are the same on every machine for the same stride.
 *
 *     gcc -std=gnu11 -O2 -ffp-contract=off -mavx2 -mfma -DPYNNI_VOCABULARY='"../../csrc/kernels/simd_avx2.h"' \
 *         tests/c/exhaustive.c -o exhaustive -lm
 *     exhaustive [stride [function ...]]
 *
 * Without a vocabulary it is the scalar one; without -mfma that one emulates fma.
 */
#include "../../csrc/arith.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PYNNI_VOCABULARY
#define PYNNI_VOCABULARY "../../csrc/kernels/simd_scalar.h"
#endif
#include PYNNI_VOCABULARY
#include "../../csrc/kernels/math.inc"

#define BLOCK 4096
#define ROOT_HALF 0.707106781186547524400844362104849039L
#define ROOT_TWO_PI 2.50662827463100050241576528481104525L
#define PI 3.14159265358979323846264338327950288L

enum { ODD = 1, EVEN = 2, ABSOLUTE = 4, GELU = 8 };

struct function {
    const char *name;
    vf (*kernel)(vf);
    double (*quick)(double);
    long double (*exact)(long double);
    double bound;         /* in ULP; in 2^-23 if ABSOLUTE; below -5 in 2^-26 if GELU */
    float from, to;       /* inputs tried, besides NaN */
    float least, most;    /* outputs allowed, besides NaN */
    int flags;
    vf (*twin)(vf);       /* must give the same bits */
};

static double quick_flush(double x) { return fabs(x) < 0x1p-100 ? 0.0 : x; }
static long double exact_flush(long double x) { return fabsl(x) < 0x1p-100L ? 0.0L : x; }
static double quick_sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static long double exact_sigmoid(long double x) { return 1.0L / (1.0L + expl(-x)); }
static double quick_softplus(double x) { return (x > 0.0 ? x : 0.0) + log1p(exp(-fabs(x))); }
static long double exact_softplus(long double x) { return (x > 0.0L ? x : 0.0L) + log1pl(expl(-fabsl(x))); }
static double quick_pdf(double x) { return exp(-0.5 * x * x) / (double)ROOT_TWO_PI; }
static double quick_cdf(double x) { return 0.5 * erfc(-x * (double)ROOT_HALF); }
static long double exact_cdf(long double x) { return 0.5L * erfcl(-x * ROOT_HALF); }
static double quick_gelu(double x) { return x < -40.0 ? -0.0 : x * quick_cdf(x); }
static long double exact_gelu(long double x) { return x < -40.0L ? -0.0L : x * exact_cdf(x); }

static long double exact_pdf(long double x)
{
    long double square = x * x; /* 48 bits: exact */
    return expl(-0.5L * square) / ROOT_TWO_PI;
}
static double quick_slope(double x) { return (fabs(x) > 40.0 ? 0.0 : x * quick_pdf(x)) + quick_cdf(x); }
static long double exact_slope(long double x)
{
    return (fabsl(x) > 40.0L ? 0.0L : x * exact_pdf(x)) + exact_cdf(x);
}

static double quick_cospi(double x)
{
    double y = fabs(x) - 2.0 * rint(0.5 * fabs(x)), a = fabs(y); /* 0 .. 1 */
    if (a <= 0.25) return cos((double)PI * a);
    if (a <= 0.75) return sin((double)PI * (0.5 - a));
    return -cos((double)PI * (1.0 - a));
}
static long double exact_cospi(long double x)
{
    long double y = fabsl(x) - 2.0L * rintl(0.5L * fabsl(x)), a = fabsl(y);
    if (a <= 0.25L) return cosl(PI * a);
    if (a <= 0.75L) return sinl(PI * (0.5L - a));
    return -cosl(PI * (1.0L - a));
}

static const struct function functions[] = {
    {"flush", m_flush, quick_flush, exact_flush, 0.0, -INFINITY, INFINITY, -INFINITY, INFINITY, 0, NULL},
    {"exp", m_exp, exp, expl, 1.0, -INFINITY, INFINITY, 0.0f, INFINITY, 0, NULL},
    {"exp_nonpos", m_exp_nonpos, exp, expl, 1.0, -INFINITY, 0.0f, 0.0f, 1.0f, 0, m_exp},
    {"log", m_log, log, logl, 1.0, -INFINITY, INFINITY, -INFINITY, INFINITY, 0, NULL},
    {"log1p_unit", m_log1p_unit, log1p, log1pl, 2.0, 0.0f, 1.0f, 0.0f, 0.6931472f, 0, NULL},
    {"tanh", m_tanh, tanh, tanhl, 2.5, -INFINITY, INFINITY, -1.0f, 1.0f, ODD, NULL},
    {"sigmoid", m_sigmoid, quick_sigmoid, exact_sigmoid, 2.5, -INFINITY, INFINITY, 0.0f, 1.0f, 0, NULL},
    {"softplus", m_softplus, quick_softplus, exact_softplus, 2.5, -INFINITY, INFINITY, 0.0f, INFINITY, 0, NULL},
    {"normal_pdf", m_normal_pdf, quick_pdf, exact_pdf, 2.0, -INFINITY, INFINITY, 0.0f, 0.3989423f, EVEN, NULL},
    {"normal_cdf", m_normal_cdf, quick_cdf, exact_cdf, 8.0, -INFINITY, INFINITY, 0.0f, 1.0f, 0, NULL},
    {"gelu", m_gelu, quick_gelu, exact_gelu, 4.0, -INFINITY, INFINITY, -0.17f, INFINITY, GELU, NULL},
    {"gelu_slope", m_gelu_slope, quick_slope, exact_slope, 2.0, -INFINITY, INFINITY, -0.1290f, 1.1290f, ABSOLUTE, NULL},
    {"cospi", m_cospi, quick_cospi, exact_cospi, 2.0, -INFINITY, INFINITY, -1.0f, 1.0f, EVEN, NULL},
};

/* Inputs and outputs to the bit. NaN stands for any NaN. */
static const struct { const char *name; float x, y; } specials[] = {
    {"flush", -0x1.fffffep-101f, 0.0f}, {"flush", 0x1p-100f, 0x1p-100f}, {"flush", -0x1p-149f, 0.0f},
    {"flush", -0.0f, 0.0f}, {"flush", -INFINITY, -INFINITY}, {"flush", NAN, NAN},
    {"exp", 0.0f, 1.0f}, {"exp", -0.0f, 1.0f}, {"exp", INFINITY, INFINITY}, {"exp", -INFINITY, 0.0f},
    {"exp", NAN, NAN}, {"exp", -104.0f, 0.0f}, {"exp", -103.9f, 0x1p-149f}, {"exp", 89.0f, INFINITY},
    {"exp_nonpos", -INFINITY, 0.0f}, {"exp_nonpos", -0.0f, 1.0f}, {"exp_nonpos", NAN, NAN},
    {"log", 1.0f, 0.0f}, {"log", 0.0f, -INFINITY}, {"log", -0.0f, -INFINITY}, {"log", INFINITY, INFINITY},
    {"log", -1.0f, NAN}, {"log", -INFINITY, NAN}, {"log", -0x1p-149f, NAN}, {"log", NAN, NAN},
    {"log1p_unit", 0.0f, 0.0f}, {"log1p_unit", NAN, NAN},
    {"tanh", 0.0f, 0.0f}, {"tanh", -0.0f, -0.0f}, {"tanh", INFINITY, 1.0f}, {"tanh", -INFINITY, -1.0f},
    {"tanh", NAN, NAN}, {"tanh", 0x1p-149f, 0x1p-149f}, {"tanh", -0x1.8p-130f, -0x1.8p-130f},
    {"sigmoid", 0.0f, 0.5f}, {"sigmoid", -0.0f, 0.5f}, {"sigmoid", INFINITY, 1.0f}, {"sigmoid", -INFINITY, 0.0f},
    {"sigmoid", NAN, NAN}, {"sigmoid", -103.9f, 0x1p-149f},
    {"softplus", INFINITY, INFINITY}, {"softplus", -INFINITY, 0.0f}, {"softplus", NAN, NAN},
    {"softplus", -103.9f, 0x1p-149f}, {"softplus", FLT_MAX, FLT_MAX},
    {"normal_pdf", INFINITY, 0.0f}, {"normal_pdf", -INFINITY, 0.0f}, {"normal_pdf", NAN, NAN},
    {"normal_cdf", 0.0f, 0.5f}, {"normal_cdf", -0.0f, 0.5f}, {"normal_cdf", INFINITY, 1.0f},
    {"normal_cdf", -INFINITY, 0.0f}, {"normal_cdf", NAN, NAN},
    {"gelu", 0.0f, 0.0f}, {"gelu", -0.0f, -0.0f}, {"gelu", INFINITY, INFINITY}, {"gelu", -INFINITY, -0.0f},
    {"gelu", NAN, NAN}, {"gelu", FLT_MAX, FLT_MAX},
    {"gelu_slope", 0.0f, 0.5f}, {"gelu_slope", INFINITY, 1.0f}, {"gelu_slope", -INFINITY, 0.0f},
    {"gelu_slope", NAN, NAN},
    {"cospi", 0.0f, 1.0f}, {"cospi", -0.0f, 1.0f}, {"cospi", 0.5f, 0.0f}, {"cospi", 1.0f, -1.0f},
    {"cospi", 1.5f, 0.0f}, {"cospi", 2.0f, 1.0f}, {"cospi", -2.5f, 0.0f}, {"cospi", 8388607.5f, 0.0f},
    {"cospi", 4194303.5f, 0.0f}, {"cospi", 8388609.0f, -1.0f}, {"cospi", 16777215.0f, -1.0f},
    {"cospi", 0x1p24f, 1.0f}, {"cospi", FLT_MAX, 1.0f}, {"cospi", INFINITY, NAN}, {"cospi", NAN, NAN},
};

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static uint32_t canonical(float x) { return x != x ? 0x7fc00000u : bits_of(x); }

static void apply(vf (*kernel)(vf), const float *x, float *y, size_t n) /* n a multiple of VL */
{
    for (size_t i = 0; i < n; i += VL) vf_store(y + i, kernel(vf_load(x + i)));
}

/* The error of y in the function's unit. Infinity counts as 2^128. */
static double error_of(const struct function *f, float x, float y, long double wanted)
{
    double near = (double)wanted, unit = 0x1p-23;
    if (y != y || wanted != wanted) return (y != y) == (wanted != wanted) ? 0.0 : INFINITY;
    if (f->flags & GELU && x < -5.0f) {
        unit = 0x1p-26 / f->bound;
    } else if (!(f->flags & ABSOLUTE)) {
        uint64_t bits;
        int exponent;
        memcpy(&bits, &near, sizeof bits);
        exponent = (int)(bits >> 52 & 0x7ff) - 1023;
        exponent = exponent < -126 ? -126 : exponent > 127 ? 127 : exponent;
        unit = 1.0;
        bits = (uint64_t)(exponent - 23 + 1023) << 52;
        memcpy(&unit, &bits, sizeof bits);
    }
    if (fabsl(wanted) > 0x1p128L) wanted = wanted > 0 ? 0x1p128L : -0x1p128L;
    return (double)(fabsl((isinf(y) ? (y > 0 ? 0x1p128L : -0x1p128L) : (long double)y) - wanted) / unit);
}

static int sweep(const struct function *f, uint64_t stride)
{
    static float x[BLOCK], y[BLOCK], other[BLOCK];
    uint64_t hash = 0xcbf29ce484222325u, tried = 0, next = 0;
    uint32_t mask = f->flags & (ODD | EVEN) ? 0x80000000u : 0u;
    double worst = 0.0;
    float where = 0.0f;
    int wrong = 0;

    while (next >> 32 == 0) {
        size_t n = 0;
        for (; n < BLOCK && next >> 32 == 0; next += stride) {
            float input = float_of((uint32_t)next);
            if (input < f->from || input > f->to) continue;
            x[n++] = input;
        }
        for (size_t i = n; i < BLOCK; i++) x[i] = 0.0f;
        apply(f->kernel, x, y, BLOCK);
        if (mask || f->twin) {
            for (size_t i = 0; i < n; i++) other[i] = float_of(bits_of(x[i]) ^ mask);
            apply(f->twin ? f->twin : f->kernel, other, other, BLOCK);
            for (size_t i = 0; i < n; i++) {
                uint32_t same = f->flags & ODD && y[i] == y[i] ? mask : 0u;
                if (canonical(other[i]) != (canonical(y[i]) ^ same) && wrong++ < 5)
                    printf("%s: symmetry at %a: %a %a\n", f->name, (double)x[i], (double)y[i], (double)other[i]);
            }
        }
        for (size_t i = 0; i < n; i++) {
            double wanted = f->quick(x[i]), error;
            long double y_wide = y[i];
            hash = (hash ^ canonical(y[i])) * 0x100000001b3u;
            if ((y[i] < f->least || y[i] > f->most) && wrong++ < 5)
                printf("%s: %a gives %a, out of bounds\n", f->name, (double)x[i], (double)y[i]);
            if (y_wide == wanted) continue;
            error = error_of(f, x[i], y[i], wanted);
            if (error <= worst - 1e-6 * (1.0 + worst)) continue;
            error = error_of(f, x[i], y[i], f->exact(x[i]));
            if (error > worst) {
                worst = error;
                where = x[i];
            }
        }
        tried += n;
    }
    if (worst > f->bound) wrong++;
    printf("%-11s %10llu  %9.6f of %.1f %s at %-15a %016llx%s\n", f->name, (unsigned long long)tried, worst, f->bound,
           f->flags & ABSOLUTE ? "2^-23" : "ULP  ", (double)where, (unsigned long long)hash,
           worst > f->bound ? "  OUT OF BOUNDS" : "");
    fflush(stdout);
    return wrong != 0;
}

static int check_specials(const struct function *f)
{
    int wrong = 0;
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        float x[VL], y[VL];
        if (strcmp(f->name, specials[i].name)) continue;
        for (size_t j = 0; j < VL; j++) x[j] = specials[i].x;
        apply(f->kernel, x, y, VL);
        if (canonical(y[0]) != canonical(specials[i].y)) {
            printf("%s: %a gives %a, not %a\n", f->name, (double)x[0], (double)y[0], (double)specials[i].y);
            wrong = 1;
        }
    }
    return wrong;
}

int main(int argc, char **argv)
{
    uint64_t stride = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    int wrong = 0;
    if (stride == 0) {
        fprintf(stderr, "usage: exhaustive [stride [function ...]]\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        int chosen = argc < 3;
        for (int j = 2; j < argc; j++) chosen |= !strcmp(argv[j], functions[i].name);
        if (chosen) wrong |= check_specials(&functions[i]) | sweep(&functions[i], stride);
    }
    return wrong;
}
