/*
 * What every test shares: counted checks, a seeded generator, and arrays between guard pages. A test is a program that
 * prints each failed check with its place and values, ends with "name: N checks passed", and exits 0 only then.
 */
#ifndef CHECK_H
#define CHECK_H

#include "arith.h" /* the tests' own arithmetic keeps to the same rules */
#include "pynn.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef MAP_ANONYMOUS
#define GUARD_ANONYMOUS MAP_ANONYMOUS
#else
#define GUARD_ANONYMOUS MAP_ANON
#endif

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- checks ------------------------------------------------------------ */

static size_t check_count, check_failures;
static const char *check_isa = "";
static char check_context[120]; /* what is being tested, for the reports */

enum { CHECK_REPORTS = 40 };

__attribute__((format(printf, 5, 6), unused)) static int check_that(int holds, const char *file, int line,
                                                                    const char *text, const char *format, ...)
{
    check_count++;
    if (holds) return 1;
    if (check_failures++ < CHECK_REPORTS) {
        va_list values;
        printf("%s:%d: %s%s%s%s%s: ", file, line, check_isa, *check_isa ? ": " : "", check_context,
               *check_context ? ": " : "", text);
        va_start(values, format);
        vprintf(format, values);
        va_end(values);
        printf("\n");
        fflush(stdout);
    }
    return 0;
}

/* Says what the checks from here on are about. */
__attribute__((format(printf, 1, 2), unused)) static void check_case(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(check_context, sizeof check_context, format, values);
    va_end(values);
}

/* The remaining arguments print the values that a reader of a failure needs. Gives 0 on failure. */
#define CHECK(condition, ...) check_that((condition), __FILE__, __LINE__, #condition, __VA_ARGS__)

#define CHECK_STATUS(wanted, call) check_status((int)(wanted), (int)(call), __FILE__, __LINE__, #call)
#define CHECK_OK(call) CHECK_STATUS(0, call)
__attribute__((unused)) static int check_status(int wanted, int got, const char *file, int line, const char *text)
{
    const int code = (int)pynn_status_code(got);
    return check_that(code == wanted, file, line, text, "status %d of \"%s\", not %d", code, pynn_status_argument(got),
                      wanted);
}

__attribute__((unused)) static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
__attribute__((unused)) static float float_of(uint32_t bits)
{
    float x = 0.0f;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

/* The same bits, but any NaN is as good as any other. */
__attribute__((unused)) static int same_float(float a, float b)
{
    return (a != a && b != b) || bits_of(a) == bits_of(b);
}
__attribute__((unused)) static int same_double(double a, double b)
{
    return (a != a && b != b) || memcmp(&a, &b, sizeof a) == 0;
}

/* A refusal with this code, of the argument of this name. */
#define CHECK_REFUSED(wanted, argument, call) \
    check_refused((int)(wanted), (argument), (call), __FILE__, __LINE__, #call)
__attribute__((unused)) static int check_refused(int wanted, const char *argument, pynn_status got, const char *file,
                                                 int line, const char *text)
{
    const int code = (int)pynn_status_code(got);
    const char *found = pynn_status_argument(got);
    return check_that(code == wanted && strcmp(found, argument) == 0, file, line, text,
                      "status %d of \"%s\", not %d of \"%s\"", code, found, wanted, argument);
}

/* n floats of the same bits; reports the first that is not. */
#define CHECK_SAME(got, wanted, n) check_same((got), (wanted), (n), __FILE__, __LINE__, #got)
__attribute__((unused)) static int check_same(const float *got, const float *wanted, size_t n, const char *file,
                                              int line, const char *text)
{
    size_t i = 0;
    while (i < n && same_float(got[i], wanted[i])) i++;
    if (i == n) return check_that(1, file, line, text, " ");
    return check_that(0, file, line, text, "element %zu of %zu is %a, not %a", i, n, (double)got[i], (double)wanted[i]);
}

#define CHECK_SAME_DOUBLE(got, wanted) check_same_double((got), (wanted), __FILE__, __LINE__, #got)
__attribute__((unused)) static int check_same_double(double got, double wanted, const char *file, int line,
                                                     const char *text)
{
    return check_that(same_double(got, wanted), file, line, text, "%a, not %a", got, wanted);
}

#define CHECK_NEAR(got, wanted, tolerance) check_near((got), (wanted), (tolerance), __FILE__, __LINE__, #got)
__attribute__((unused)) static int check_near(double got, double wanted, double tolerance, const char *file, int line,
                                              const char *text)
{
    return check_that(got == wanted || fabs(got - wanted) <= tolerance, file, line, text,
                      "%.9g is not within %.3g of %.9g", got, tolerance, wanted);
}

/* The last line of main. */
__attribute__((unused)) static int check_end(const char *name)
{
    if (check_failures > 0) {
        printf("%s: %zu of %zu checks FAILED\n", name, check_failures, check_count);
        return 1;
    }
    printf("%s: %zu checks passed\n", name, check_count);
    return 0;
}

/* ---- a seeded generator ------------------------------------------------ */

static uint64_t check_seed = 1;

__attribute__((unused)) static uint64_t any_bits(void) /* splitmix64 */
{
    uint64_t z = check_seed += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}
__attribute__((unused)) static size_t any_below(size_t n) { return (size_t)(any_bits() % n); }
__attribute__((unused)) static float any_float(float least, float most)
{
    return least + (most - least) * ((float)(any_bits() >> 40) * 0x1p-24f);
}
__attribute__((unused)) static void fill_any(float *x, size_t n, float least, float most)
{
    for (size_t i = 0; i < n; i++) x[i] = any_float(least, most);
}

/* A float that is likely to be awkward: any bits, a NaN, an infinity, a zero, a subnormal. */
__attribute__((unused)) static float any_awkward(void)
{
    static const uint32_t picks[] = {
        0x00000000u, 0x80000000u, 0x7F800000u, 0xFF800000u, 0x7FC00000u, 0xFFC00001u, 0x00000001u, 0x80000001u,
        0x007FFFFFu, 0x807FFFFFu, 0x00800000u, 0x80800000u, 0x7F7FFFFFu, 0xFF7FFFFFu, 0x3F800000u, 0xBF800000u,
        0x0D800000u, 0x0D7FFFFFu, 0x8D7FFFFFu, 0x8D800000u, 0x33800000u, 0x42C80000u, 0xC2C80000u, 0x41800000u,
    };
    switch (any_below(4)) {
    case 0: return float_of(picks[any_below(COUNT(picks))]);
    case 1: return float_of((uint32_t)any_bits());
    case 2: return any_float(-12.0f, 12.0f);
    default: return any_float(-110.0f, 110.0f);
    }
}

/* ---- instruction sets -------------------------------------------------- */

/* Runs a test on the same random inputs with every instruction set of this build and machine; the best stays chosen. */
__attribute__((unused)) static void every_isa(void (*test)(void))
{
    const uint64_t seed = check_seed;
    int32_t best = PYNN_ISA_SCALAR, tried = 0;
    CHECK_OK(pynn_isa_get(&best));
    for (int32_t isa = 0; pynn_isa_name(isa) != NULL; isa++) {
        int32_t now = -1;
        if (pynn_isa_set(isa) != PYNN_OK) continue;
        check_isa = pynn_isa_name(isa);
        CHECK(pynn_isa_get(&now) == PYNN_OK && now == isa, "asked for %d, got %d", isa, now);
        check_seed = seed;
        test();
        tried++;
    }
    check_isa = "";
    CHECK(tried > 0, "no instruction set");
    CHECK_OK(pynn_isa_set(best));
}

/* ---- arrays between guard pages ---------------------------------------- */

/*
 * A guarded holds one array at a time inside pages of its own: what lies beyond them traps. At the end or the start of
 * the pages an overrun or underrun of a single byte is caught; what remains of the pages holds a pattern that
 * guard_intact looks over.
 */
typedef struct guarded {
    unsigned char *begin, *end; /* the accessible pages */
    unsigned char *array;
    size_t bytes;
} guarded;

enum { GUARD_AT_END, GUARD_AT_START, GUARD_ODD, GUARD_PLACES }; /* odd: 4 bytes beyond the start of a page */
enum { GUARD_PATTERN = 0xA5, GUARD_MARGIN = 512 };

__attribute__((unused)) static guarded guard_make(size_t most_bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inside = (most_bytes + 2 * GUARD_MARGIN + page - 1) / page * page;
    unsigned char *all = mmap(NULL, inside + 2 * page, PROT_NONE, MAP_PRIVATE | GUARD_ANONYMOUS, -1, 0);
    if (all == (unsigned char *)MAP_FAILED || mprotect(all + page, inside, PROT_READ | PROT_WRITE) != 0) {
        printf("cannot map %zu bytes\n", inside);
        exit(2);
    }
    memset(all + page, GUARD_PATTERN, GUARD_MARGIN);
    return (guarded){all + page, all + page + inside, all + page, 0};
}

/* Room for an array, filled and surrounded by the pattern. */
__attribute__((unused)) static void *guard_place(guarded *g, size_t bytes, int place)
{
    unsigned char *from, *to;
    if (bytes > (size_t)(g->end - g->begin) - GUARD_MARGIN) {
        printf("a guarded array of %zu bytes is too long\n", bytes);
        exit(2);
    }
    g->bytes = bytes;
    g->array = place == GUARD_AT_END ? g->end - bytes : place == GUARD_AT_START ? g->begin : g->begin + 4;
    from = (size_t)(g->array - g->begin) > GUARD_MARGIN ? g->array - GUARD_MARGIN : g->begin;
    to = (size_t)(g->end - g->array) - bytes > GUARD_MARGIN ? g->array + bytes + GUARD_MARGIN : g->end;
    memset(from, GUARD_PATTERN, (size_t)(to - from));
    return g->array;
}

__attribute__((unused)) static float *guard_floats(guarded *g, size_t n, int place)
{
    return guard_place(g, n * sizeof(float), place);
}

__attribute__((unused)) static int guard_intact(const guarded *g)
{
    const unsigned char *from = (size_t)(g->array - g->begin) > GUARD_MARGIN ? g->array - GUARD_MARGIN : g->begin;
    const unsigned char *behind = g->array + g->bytes;
    const unsigned char *to = (size_t)(g->end - behind) > GUARD_MARGIN ? behind + GUARD_MARGIN : g->end;
    for (; from < g->array; from++)
        if (*from != GUARD_PATTERN) return 0;
    for (; behind < to; behind++)
        if (*behind != GUARD_PATTERN) return 0;
    return 1;
}

/* Whether all n bytes still hold the pattern. */
__attribute__((unused)) static int all_pattern(const void *p, size_t n)
{
    const unsigned char *byte = p;
    while (n > 0 && byte[n - 1] == GUARD_PATTERN) n--;
    return n == 0;
}

/* Memory for a workspace, aligned as workspaces must be. It is noted here, so that no sanitizer takes it for lost; the
 * program's end frees it. */
__attribute__((unused)) static void *aligned_bytes(size_t bytes)
{
    static void *noted[4096];
    static size_t count;
    void *p = NULL;
    if (posix_memalign(&p, 64, bytes + 64) != 0) {
        printf("cannot allocate %zu bytes\n", bytes);
        exit(2);
    }
    if (count < COUNT(noted)) noted[count++] = p;
    return p;
}

__attribute__((unused)) static pynn_memory memory_of(size_t bytes)
{
    return (pynn_memory){aligned_bytes(bytes), bytes};
}

#endif
