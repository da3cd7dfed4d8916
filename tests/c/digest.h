/* Digests of numbers, for results that must be the same everywhere: FNV-1a over little-endian bytes. A NaN has no
 * defined bits and must not come here. */
#ifndef DIGEST_H
#define DIGEST_H

#include "check.h"

#define FNV_START 0xCBF29CE484222325u

static uint64_t fnv(uint64_t hash, uint64_t bits, int bytes)
{
    for (int i = 0; i < bytes; i++) hash = (hash ^ (bits >> 8 * i & 0xFF)) * 0x100000001B3u;
    return hash;
}

static uint64_t fnv_floats(uint64_t hash, const float *p, size_t n)
{
    size_t nans = 0;
    for (size_t i = 0; i < n; i++) {
        nans += p[i] != p[i];
        hash = fnv(hash, bits_of(p[i]), 4);
    }
    CHECK(nans == 0, "%zu of the numbers of a digest are NaN", nans);
    return hash;
}

static uint64_t fnv_double(uint64_t hash, double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return fnv(hash, bits, 8);
}

#endif
