/* What the programs print, without the printf of a C library: its doubles would stand among those of pynn. */
#ifndef REPORT_H
#define REPORT_H

#include "pynn.h"

#include <stdio.h>
#include <string.h>

static int say(const char *name, uint32_t value)
{
    char line[80] = {0};
    size_t at = strlen(name);
    memcpy(line, name, at);
    line[at++] = ' ';
    for (int shift = 28; shift >= 0; shift -= 4) line[at++] = "0123456789abcdef"[value >> shift & 15u];
    return puts(line);
}

/* Says the argument and code of a failure, and whether it is one. */
static int failed(const char *name, pynn_status status)
{
    if (status != PYNN_OK) say(name, (uint32_t)status);
    return status != PYNN_OK;
}

/* FNV-1a of the bits of floats. */
static uint32_t digest(const float *x, size_t n)
{
    uint32_t hash = 2166136261u, bits;
    for (size_t i = 0; i < n; i++) {
        memcpy(&bits, x + i, sizeof bits);
        hash = (hash ^ bits) * 16777619u;
    }
    return hash;
}

#endif
