/*
 * Does this build on this machine give the bits of the arithmetic contract (docs/arithmetic.md)? Prints every run of
 * the self-test, what SHA-256 gives of its results, and whether that is right. Exit status 0: all are right; 1: some
 * are not; 2: nothing could be computed.
 *
 *     cc -O2 -I csrc examples/selftest.c $(find csrc -name '*.c') -o selftest
 *     selftest [threads]
 *
 * PYNN_ISA in the environment names the instruction set.
 */
#include <stdio.h>
#include <stdlib.h>

#include "pynn.h"

/* Never freed; without memory its start is NULL, which pynn refuses. */
static pynn_memory memory(size_t bytes)
{
    char *start = malloc(bytes + PYNN_MEMORY_ALIGNMENT);
    if (start != NULL) start += PYNN_MEMORY_ALIGNMENT - (uintptr_t)start % PYNN_MEMORY_ALIGNMENT;
    return (pynn_memory){start, bytes};
}

static int failed(const char *what, pynn_status status)
{
    const char *rule = status == PYNN_BAD_ARITHMETIC ? pynn_broken_rule() : NULL;
    if (status == PYNN_OK) return 0;
    printf("%s: %s%s%s\n", what, pynn_status_text(status), rule != NULL ? "; " : "", rule != NULL ? rule : "");
    return 1;
}

int main(int argc, char **argv)
{
    const unsigned long threads = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    pynn_executor executor;
    pynn_memory workspace;
    int32_t isa;
    size_t bytes = 0;
    int wrong = 0;
    if (failed("pynn", pynn_isa_get(&isa))) return 2;
    printf("pynn %s, %s, %lu thread%s\n", pynn_version(), pynn_isa_name(isa), threads, threads > 1 ? "s" : "");
    if (threads > 1 && (failed("threads", pynn_threads_bytes(&bytes, threads)) ||
                        failed("threads", pynn_threads_start(&executor, threads, memory(bytes)))))
        return 2;
    if (failed("self-test", pynn_selftest_bytes(&bytes, threads))) return 2;
    workspace = memory(bytes);
    for (size_t run = 0; pynn_selftest_name(run) != NULL; run++) {
        char digest[PYNN_DIGEST];
        const pynn_status status = pynn_selftest(digest, run, threads > 1 ? &executor : NULL, workspace);
        if (status != PYNN_BAD_ARITHMETIC && failed(pynn_selftest_name(run), status)) return 2;
        printf("%-22s %s %s\n", pynn_selftest_name(run), digest, status == PYNN_OK ? "ok" : "WRONG");
        wrong += status != PYNN_OK;
    }
    if (wrong > 0) printf("%d wrong: this build or machine does not keep the arithmetic contract\n", wrong);
    else printf("all right: version %d of the arithmetic contract\n", PYNN_CONTRACT);
    if (threads > 1) pynn_threads_stop(&executor);
    return wrong > 0;
}
