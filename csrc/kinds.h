/* The kinds of things, each listed once: from here come tables, checks, kernels and tests. Their numbers are those of
 * pynn.h. */
#ifndef PYNN_KINDS_H
#define PYNN_KINDS_H

#include "config.h"

/* Activations in the order of pynn_layer_kind: name of the kind, name in the kernels, whether the way back reads the
 * score rather than the output, and the initialisation of a dense layer before it. */
#define PYNNI_ACTIVATION_LIST(X)                   \
    X(IDENTITY, identity, 0, GLOROT_UNIFORM)       \
    X(RELU, relu, 0, HE_NORMAL)                    \
    X(LEAKY_RELU, leaky_relu, 0, HE_NORMAL)        \
    X(SIGMOID, sigmoid, 0, GLOROT_UNIFORM)         \
    X(TANH, hyperbolic, 0, GLOROT_UNIFORM)         \
    X(SOFTPLUS, softplus, 1, HE_NORMAL)            \
    X(GELU, gelu, 1, HE_NORMAL)                    \
    X(SILU, silu, 1, HE_NORMAL)

/* Losses in the order of pynn_loss_kind: name of the kind, name of the kernel, the last layer that it needs and
 * fuses. */
#define PYNNI_LOSS_LIST(X)                                      \
    X(SQUARED_ERROR, squared_error, DENSE)                      \
    X(HALF_SQUARED_ERROR, squared_error, DENSE)                 \
    X(MEAN_SQUARED_ERROR, squared_error, DENSE)                 \
    X(CROSS_ENTROPY, cross_entropy, SOFTMAX)                    \
    X(BINARY_CROSS_ENTROPY, binary_cross_entropy, SIGMOID)

/* Rules of the optimizers: name, name in the kernels, the optimizers that use it (a bit set), and its moments. */
#define PYNNI_RULE_LIST(X)                                      \
    X(SGD, sgd, 1u << PYNN_SGD, 0)                              \
    X(MOMENTUM, momentum, 1u << PYNN_SGD, 1)                    \
    X(NESTEROV, nesterov, 1u << PYNN_SGD, 1)                    \
    X(ADAM, adam, 1u << PYNN_ADAM | 1u << PYNN_ADAMW, 2)

/* Instruction sets in the order of pynn_isa. */
#define PYNNI_ISA_LIST(X) X(SCALAR, scalar) X(SSE2, sse2) X(AVX2, avx2) X(AVX512, avx512) X(NEON, neon)

_Static_assert(((PYNN_ONLY_LOSSES) & 62u) != 0 && ((PYNN_ONLY_OPTIMIZERS) & 7u) != 0,
               "a build has a loss and an optimizer; PYNN_WITHOUT_TRAINING leaves all of them out");

#define PYNNI_COUNT_ONE(...) +1
enum {
    PYNNI_ACTIVATIONS = 0 PYNNI_ACTIVATION_LIST(PYNNI_COUNT_ONE),
    PYNNI_LOSSES = 0 PYNNI_LOSS_LIST(PYNNI_COUNT_ONE),
    PYNNI_RULES = 0 PYNNI_RULE_LIST(PYNNI_COUNT_ONE),
    PYNNI_ISAS = 0 PYNNI_ISA_LIST(PYNNI_COUNT_ONE)
};

/* Places in the lists; those of kinds are compared with the numbers of pynn.h. */
#define PYNNI_ACTIVATION_PLACE(kind, ...) PYNNI_PLACE_##kind,
enum { PYNNI_ACTIVATION_LIST(PYNNI_ACTIVATION_PLACE) };
#define PYNNI_LOSS_PLACE(kind, ...) PYNNI_LOSS_PLACE_##kind,
enum { PYNNI_LOSS_LIST(PYNNI_LOSS_PLACE) };
#define PYNNI_RULE_PLACE(kind, ...) PYNNI_RULE_##kind,
enum { PYNNI_RULE_LIST(PYNNI_RULE_PLACE) };
#define PYNNI_ISA_PLACE(kind, ...) PYNNI_ISA_PLACE_##kind,
enum { PYNNI_ISA_LIST(PYNNI_ISA_PLACE) };

#define PYNNI_ACTIVATION_ASSERT(kind, ...) \
    _Static_assert((int)PYNN_##kind - (int)PYNN_IDENTITY == (int)PYNNI_PLACE_##kind, "in the order of pynn_layer_kind");
PYNNI_ACTIVATION_LIST(PYNNI_ACTIVATION_ASSERT)
#define PYNNI_LOSS_ASSERT(kind, ...) \
    _Static_assert((int)PYNN_##kind - (int)PYNN_SQUARED_ERROR == (int)PYNNI_LOSS_PLACE_##kind, \
                   "in the order of pynn_loss_kind");
PYNNI_LOSS_LIST(PYNNI_LOSS_ASSERT)
#define PYNNI_ISA_ASSERT(kind, ...) \
    _Static_assert((int)PYNN_ISA_##kind == (int)PYNNI_ISA_PLACE_##kind, "in the order of pynn_isa");
PYNNI_ISA_LIST(PYNNI_ISA_ASSERT)

#endif
