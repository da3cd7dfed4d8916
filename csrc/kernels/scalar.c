/* The kernels in plain C, for any machine, and the definition that the others must equal bit for bit. */
#include "../internal.h"

#include <math.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#undef KERNEL_ISA
#define KERNEL_ISA scalar

#include "names.inc"

#ifdef PYNNI_VOCABULARY /* a test builds the library in double precision */
#include PYNNI_VOCABULARY
#else
#include "simd_scalar.h"

#include "math.inc"
#endif

#include "table.inc"

#ifdef PYNNI_SCALAR_ONLY
_Static_assert(TILE_COLUMNS == PYNNI_PANEL, "a panel of the only instruction set");
#else
const pynni_kernels PYNNI_KERNELS(scalar) = KERNEL_TABLE(SCALAR);
#endif
