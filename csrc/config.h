/* The build switches, which docs/c-api.md lists, and what follows from them. */
#ifndef PYNN_CONFIG_H
#define PYNN_CONFIG_H

#include "pynn.h"

/* Kinds that a build has: bit sets over the enumerators. Dense and identity are always there. */
#ifndef PYNN_ONLY_LAYERS
#define PYNN_ONLY_LAYERS ~0u
#endif
#ifndef PYNN_ONLY_LOSSES
#define PYNN_ONLY_LOSSES ~0u
#endif
#ifndef PYNN_ONLY_OPTIMIZERS
#define PYNN_ONLY_OPTIMIZERS ~0u
#endif
#define PYNNI_IN(set, kind) ((uint32_t)(set) >> (kind) & 1u)
#define PYNNI_HAS_LAYER(kind) ((kind) <= PYNN_IDENTITY || PYNNI_IN(PYNN_ONLY_LAYERS, kind))
#define PYNNI_HAS_LOSS(kind) PYNNI_IN(PYNN_ONLY_LOSSES, kind)
#define PYNNI_HAS_OPTIMIZER(kind) PYNNI_IN(PYNN_ONLY_OPTIMIZERS, kind)

/* What only training uses is still written down, and dropped without a warning. */
#ifdef PYNN_WITHOUT_TRAINING
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-variable"
#pragma GCC diagnostic ignored "-Wunused-const-variable"
#endif

/* Instruction sets of the target. */
#if defined(__x86_64__) && defined(__GNUC__)
#ifndef PYNN_WITHOUT_SSE2
#define PYNNI_SSE2
#endif
#ifndef PYNN_WITHOUT_AVX2
#define PYNNI_AVX2
#endif
#ifndef PYNN_WITHOUT_AVX512
#define PYNNI_AVX512
#endif
#elif defined(__aarch64__) && defined(__GNUC__) && !defined(PYNN_WITHOUT_NEON)
#define PYNNI_NEON
#endif

/* With the scalar one alone its kernels are called directly, so that a linker can drop what nobody calls. */
#if !defined(PYNNI_SSE2) && !defined(PYNNI_AVX2) && !defined(PYNNI_AVX512) && !defined(PYNNI_NEON)
#define PYNNI_SCALAR_ONLY
#endif

/* Small tiles of the scalar product, and no copies for wide layers. */
#if defined(__OPTIMIZE_SIZE__)
#define PYNNI_SMALL
#endif

/* Packed matrices have their columns rounded up to the widest panel of the instruction sets above, so that the length
 * of a workspace does not depend on the machine. */
#if defined(PYNNI_AVX512)
#define PYNNI_PANEL 64u
#elif defined(PYNNI_AVX2) || defined(PYNNI_NEON)
#define PYNNI_PANEL 16u
#elif defined(PYNNI_SSE2)
#define PYNNI_PANEL 8u
#elif defined(PYNNI_SMALL)
#define PYNNI_PANEL 1u
#else
#define PYNNI_PANEL 2u
#endif

/* A name with what the files of a build must agree on behind it: files that were compiled with other switches do not
 * link with each other. */
#ifdef PYNNI_SMALL
#define PYNNI_SIZE small
#else
#define PYNNI_SIZE full
#endif
#define PYNNI_JOIN(name, size, panel) name##_##size##_##panel
#define PYNNI_JOIN_EXPANDED(name, size, panel) PYNNI_JOIN(name, size, panel)
#define PYNNI_OF_BUILD(name) PYNNI_JOIN_EXPANDED(name, PYNNI_SIZE, PYNNI_PANEL)

#endif
