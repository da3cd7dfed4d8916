/* The kernels for 64-bit Arm. */
#include "../internal.h"

#ifdef PYNNI_NEON

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#undef KERNEL_ISA
#define KERNEL_ISA neon

#include "names.inc"

#include "simd_neon.h"

#include "math.inc"

#include "table.inc"

const pynni_kernels PYNNI_KERNELS(neon) = KERNEL_TABLE(NEON);

#endif
