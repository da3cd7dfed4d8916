/* The self-test itself: right digests in every instruction set, for any number of workers, in any floating-point
 * environment of the caller; what it refuses. */
#include "check.h"

#include "environment.h"

enum { WORKERS = 7 };

static pynn_memory workspace;

static void check_runs(const pynn_executor *executor)
{
    for (size_t run = 0; pynn_selftest_name(run) != NULL; run++) {
        char digest[PYNN_DIGEST];
        check_case("%s", pynn_selftest_name(run));
        CHECK_OK(pynn_selftest(digest, run, executor, workspace));
        CHECK(strlen(digest) == PYNN_DIGEST - 1, "%zu characters", strlen(digest));
    }
}

static void test_workers(void)
{
    static const size_t counts[] = {2, 3, 4, WORKERS};
    check_runs(NULL);
    for (size_t i = 0; i < COUNT(counts); i++) {
        pynn_executor executor;
        pynn_memory memory;
        size_t bytes;
        if (pynn_threads_bytes(&bytes, counts[i]) == PYNN_NO_THREADS) continue;
        memory = memory_of(bytes);
        CHECK_OK(pynn_threads_start(&executor, counts[i], memory));
        check_runs(&executor);
        CHECK_OK(pynn_threads_stop(&executor));
        free(memory.start);
    }
}

/* A library built with fast-math sets a whole process to flush. */
static void test_environments(void)
{
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    const unsigned before = environment();
    for (size_t i = 0; i < COUNT(modes); i++) {
        unsigned wanted;
        char digest[PYNN_DIGEST];
        size_t wrong = 0;
        int mode;
        if (fesetround(modes[i]) != 0) continue;
        wanted = environment() | FLUSHES;
        set_environment(wanted);
        for (size_t run = 0; pynn_selftest_name(run) != NULL; run++)
            wrong += pynn_selftest(digest, run, NULL, workspace) != PYNN_OK;
        mode = fegetround();
        CHECK((environment() & ~0x3Fu) == (wanted & ~0x3Fu), "%x became %x", wanted, environment());
        wrong += pynn_broken_rule() != NULL;
        set_environment(before);
        fesetround(FE_TONEAREST);
        check_case("rounding mode %d, flushing", modes[i]);
        CHECK(mode == modes[i], "mode %d", mode);
        CHECK(wrong == 0, "%zu wrong", wrong);
    }
}

static void never_run(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    (void)context, (void)task, (void)argument;
    CHECK(0, "a refused executor was run");
}

static void test_refusals(void)
{
    const pynn_executor idle = {.workers = 2}, reserved = {.workers = 2, .run = never_run, .reserved = {0, 1}};
    char digest[PYNN_DIGEST];
    pynn_memory spoilt = workspace;
    size_t bytes = 0, runs = 0;
    while (pynn_selftest_name(runs) != NULL) runs++;
    check_case("refusals");
    CHECK(runs >= 35, "%zu runs", runs);
    CHECK_STATUS(PYNN_NULL_POINTER, pynn_selftest_bytes(NULL, 1));
    CHECK_STATUS(PYNN_BAD_SIZE, pynn_selftest_bytes(&bytes, 0));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_selftest_bytes(&bytes, SIZE_MAX));
    CHECK(bytes == 0, "refused, but gave %zu", bytes);
    CHECK_STATUS(PYNN_NULL_POINTER, pynn_selftest(NULL, 0, NULL, workspace));
    CHECK_STATUS(PYNN_NULL_POINTER, pynn_selftest(digest, 0, NULL, (pynn_memory){NULL, workspace.bytes}));
    CHECK(digest[0] == '\0', "a digest of nothing");
    CHECK_STATUS(PYNN_BAD_INDEX, pynn_selftest(digest, runs, NULL, workspace));
    CHECK_STATUS(PYNN_NULL_POINTER, pynn_selftest(digest, 0, &idle, workspace));
    CHECK_STATUS(PYNN_BAD_VALUE, pynn_selftest(digest, runs - 1, &reserved, workspace));
    spoilt.bytes = 64;
    CHECK_STATUS(PYNN_BAD_MEMORY, pynn_selftest(digest, runs - 1, NULL, spoilt));
    spoilt = (pynn_memory){(char *)workspace.start + 4, workspace.bytes - 4};
    CHECK_STATUS(PYNN_BAD_MEMORY, pynn_selftest(digest, runs - 1, NULL, spoilt));
    CHECK(pynn_broken_rule() == NULL, "%s", pynn_broken_rule());
    CHECK_OK(pynn_selftest_bytes(&bytes, 1));
    CHECK(bytes < 1150000, "%zu bytes", bytes); /* as pynn.h says */
}

static void test_all(void)
{
    test_workers();
    test_environments();
}

int main(void)
{
    size_t bytes = 0;
    CHECK_OK(pynn_selftest_bytes(&bytes, WORKERS));
    workspace = memory_of(bytes);
    every_isa(test_all);
    test_refusals();
    free(workspace.start);
    return check_end("test_selftest");
}
