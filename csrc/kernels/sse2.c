/* The kernels for any x86-64. */
#include "../internal.h"

#ifdef PYNNI_SSE2

#include <emmintrin.h>
#include <math.h>
#include <string.h>

#undef KERNEL_ISA
#define KERNEL_ISA sse2

#include "names.inc"

#include "simd_sse2.h"

#include "math.inc"

#include "table.inc"

const pynni_kernels PYNNI_KERNELS(sse2) = KERNEL_TABLE(SSE2);

#endif
