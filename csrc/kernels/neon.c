/* The kernels for 64-bit Arm. */
#include "../internal.h"

#if defined(__aarch64__) && defined(__GNUC__)

#include "simd_neon.h"

#include "math.inc"

#include "table.inc"

const pynni_kernels pynni_kernels_neon = KERNEL_TABLE(PYNN_ISA_NEON);

#endif
