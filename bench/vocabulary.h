/* What kernels.c measures of one vector vocabulary by itself: the same code for each, from vocabulary.c. */
#ifndef VOCABULARY_H
#define VOCABULARY_H

#include "internal.h"

enum { ELEMENTS = 1024, FUNCTIONS = 4 };

typedef struct vocabulary {
    const pynni_kernels *kernels;
    /* Runs a loop of fma on registers alone; gives the floating-point operations of one loop. */
    double (*peak)(size_t loops);
    struct {
        const char *name;
        void (*run)(float y[ELEMENTS], const float x[ELEMENTS]);
    } functions[FUNCTIONS];
} vocabulary;

#endif
