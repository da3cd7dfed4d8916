/* The caller's floating-point environment, with what flushes subnormals in it; FLUSHES is 0 where nothing does. */
#ifndef ENVIRONMENT_H
#define ENVIRONMENT_H

#include <fenv.h>

#if defined(__x86_64__) || defined(__SSE2__)
#include <xmmintrin.h>
enum { FLUSHES = 0x8040 }; /* flush to zero, subnormals are zero */
static unsigned environment(void) { return _mm_getcsr(); }
static void set_environment(unsigned value) { _mm_setcsr(value); }
#elif defined(__aarch64__) || (defined(__arm__) && defined(__ARM_FP))
enum { FLUSHES = 1 << 24 };
#if defined(__aarch64__)
#define READ "mrs %0, fpcr"
#define WRITE "msr fpcr, %0"
#else
#define READ "vmrs %0, fpscr"
#define WRITE "vmsr fpscr, %0"
#endif
static unsigned environment(void)
{
    unsigned long value;
    __asm__ volatile(READ : "=r"(value));
    return (unsigned)value & 0x07FFFFE0u; /* without flags */
}
static void set_environment(unsigned value) { __asm__ volatile(WRITE : : "r"((unsigned long)value) : "memory"); }
#else
enum { FLUSHES = 0 };
static unsigned environment(void) { return 0; }
static void set_environment(unsigned value) { (void)value; }
#endif

#endif
