/* The self-test itself: right digests in every instruction set, for any number of workers, in any floating-point
 * environment of the caller; what it refuses. */
#include "check.h"

#include "environment.h"

enum { WORKERS = 7 };

static void *workspace;
static size_t workspace_bytes;

static void check_runs(const pynn_executor *executor)
{
    for (size_t run = 0; pynn_selftest_name(run) != NULL; run++) {
        char digest[PYNN_DIGEST];
        check_case("%s", pynn_selftest_name(run));
        CHECK_OK(pynn_selftest(digest, run, executor, workspace, workspace_bytes));
        CHECK(strlen(digest) == PYNN_DIGEST - 1, "%zu characters", strlen(digest));
    }
}

static void test_workers(void)
{
    static const size_t counts[] = {2, 3, 4, WORKERS};
    check_runs(NULL);
    for (size_t i = 0; i < COUNT(counts); i++) {
        pynn_executor executor;
        size_t bytes;
        void *memory;
        if (pynn_threads_bytes(&bytes, counts[i]) == PYNN_NO_THREADS) continue;
        memory = aligned_bytes(bytes);
        CHECK_OK(pynn_threads_start(&executor, memory, bytes, counts[i]));
        check_runs(&executor);
        CHECK_OK(pynn_threads_stop(&executor));
        free(memory);
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
            wrong += pynn_selftest(digest, run, NULL, workspace, workspace_bytes) != PYNN_OK;
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

static void test_refusals(void)
{
    char digest[PYNN_DIGEST];
    size_t bytes = 0, runs = 0;
    while (pynn_selftest_name(runs) != NULL) runs++;
    check_case("refusals");
    CHECK_STATUS(PYNN_NULL_POINTER, pynn_selftest_bytes(NULL, 1));
    CHECK_STATUS(PYNN_BAD_SIZE, pynn_selftest_bytes(&bytes, 0));
    CHECK_STATUS(PYNN_TOO_LARGE, pynn_selftest_bytes(&bytes, SIZE_MAX));
    CHECK_STATUS(PYNN_NULL_POINTER, pynn_selftest(NULL, 0, NULL, workspace, workspace_bytes));
    CHECK_STATUS(PYNN_NULL_POINTER, pynn_selftest(digest, 0, NULL, NULL, workspace_bytes));
    CHECK_STATUS(PYNN_BAD_INDEX, pynn_selftest(digest, runs, NULL, workspace, workspace_bytes));
    CHECK_STATUS(PYNN_BAD_WORKSPACE, pynn_selftest(digest, runs - 1, NULL, workspace, 64));
    CHECK_STATUS(PYNN_BAD_WORKSPACE, pynn_selftest(digest, runs - 1, NULL, (char *)workspace + 4, workspace_bytes - 4));
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
    CHECK_OK(pynn_selftest_bytes(&workspace_bytes, WORKERS));
    workspace = aligned_bytes(workspace_bytes);
    every_isa(test_all);
    test_refusals();
    free(workspace);
    return check_end("test_selftest");
}
