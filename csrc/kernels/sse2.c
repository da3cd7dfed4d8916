/* The kernels for any x86-64. */
#include "../internal.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include "simd_sse2.h"

#include "math.inc"

#include "table.inc"

const pynni_kernels pynni_kernels_sse2 = KERNEL_TABLE(PYNN_ISA_SSE2);

#endif
