/* The kernels in plain C, for any machine, and the definition that the others must equal bit for bit. */
#include "../internal.h"

#ifdef PYNNI_VOCABULARY /* a test builds the library in double precision */
#include PYNNI_VOCABULARY
#else
#include "simd_scalar.h"

#include "math.inc"
#endif

#include "table.inc"

const pynni_kernels pynni_kernels_scalar = KERNEL_TABLE(PYNN_ISA_SCALAR);
