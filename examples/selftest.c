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

/* 64-byte aligned, and never freed. */
static void *memory(size_t bytes)
{
    char *start = malloc(bytes + PYNN_WORKSPACE_ALIGNMENT);
    if (start == NULL) return NULL;
    return start + (PYNN_WORKSPACE_ALIGNMENT - (uintptr_t)start % PYNN_WORKSPACE_ALIGNMENT);
}

static int failed(const char *what, pynn_status status)
{
    const char *rule = status == PYNN_BAD_ARITHMETIC ? pynn_broken_rule() : NULL;
    if (status == PYNN_OK) return 0;
    printf("%s: %s%s%s\n", what, pynn_status_text((int32_t)status), rule != NULL ? "; " : "", rule != NULL ? rule : "");
    return 1;
}

static int run_all(const pynn_executor *executor, void *workspace, size_t bytes)
{
    int wrong = 0;
    for (size_t run = 0; pynn_selftest_name(run) != NULL; run++) {
        char digest[PYNN_DIGEST];
        const pynn_status status = pynn_selftest(digest, run, executor, workspace, bytes);
        if (status != PYNN_BAD_ARITHMETIC && failed(pynn_selftest_name(run), status)) return 2;
        printf("%-22s %s %s\n", pynn_selftest_name(run), digest, status == PYNN_OK ? "ok" : "WRONG");
        wrong += status != PYNN_OK;
    }
    if (wrong > 0) printf("%d wrong: this build or machine does not keep the arithmetic contract\n", wrong);
    else printf("all right: version %d of the arithmetic contract\n", PYNN_CONTRACT);
    return wrong > 0;
}

int main(int argc, char **argv)
{
    const unsigned long threads = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    pynn_executor executor;
    int32_t isa;
    size_t bytes = 0, pool_bytes = 0;
    void *workspace, *pool = NULL;
    int result;
    if (failed("pynn", pynn_isa_get(&isa)) || failed("self-test", pynn_selftest_bytes(&bytes, threads))) return 2;
    if (threads > 1 && failed("threads", pynn_threads_bytes(&pool_bytes, threads))) return 2;
    printf("pynn %s, %s, %lu thread%s\n", pynn_version(), pynn_isa_name(isa), threads, threads > 1 ? "s" : "");
    workspace = memory(bytes);
    if (threads > 1) pool = memory(pool_bytes);
    if (workspace == NULL || (threads > 1 && pool == NULL)) {
        printf("there is not enough memory\n");
        return 2;
    }
    if (threads > 1 && failed("threads", pynn_threads_start(&executor, pool, pool_bytes, threads))) return 2;
    result = run_all(threads > 1 ? &executor : NULL, workspace, bytes);
    if (threads > 1) pynn_threads_stop(&executor);
    return result;
}
