/* The whole library as one translation unit, as an embedder may want it: nothing in its files clashes, and the digests
 * of the self-test are what they are. The kernels come last, for what they define. Built without any other file. */
#include "../../csrc/dispatch.c"
#include "../../csrc/executor.c"
#include "../../csrc/gradient.c"
#include "../../csrc/layers.c"
#include "../../csrc/learner.c"
#include "../../csrc/loss.c"
#include "../../csrc/net.c"
#include "../../csrc/optimizer.c"
#include "../../csrc/pass.c"
#include "../../csrc/plan.c"
#include "../../csrc/predict.c"
#include "../../csrc/random.c"
#include "../../csrc/selftest.c"
#include "../../csrc/status.c"
#include "../../csrc/threads.c"
#include "../../csrc/train.c"

#include "../../csrc/kernels/avx2.c"
#include "../../csrc/kernels/avx512.c"
#include "../../csrc/kernels/neon.c"
#include "../../csrc/kernels/scalar.c"
#include "../../csrc/kernels/sse2.c"

#include <stdio.h>

static _Alignas(PYNN_MEMORY_ALIGNMENT) unsigned char room[1150000];

int main(void)
{
    size_t checks = 0, failures = 0;
    for (int32_t isa = 0; pynn_isa_name(isa) != NULL; isa++) {
        if (pynn_isa_set(isa) != PYNN_OK) continue;
        for (size_t run = 0; pynn_selftest_name(run) != NULL; run++) {
            char digest[PYNN_DIGEST];
            const pynn_status status = pynn_selftest(digest, run, NULL, (pynn_memory){room, sizeof room});
            checks++;
            if (status == PYNN_OK) continue;
            failures++;
            printf("%s: %s: %s\n", pynn_isa_name(isa), pynn_selftest_name(run), pynn_status_text(status));
        }
    }
    if (failures > 0) printf("one_unit: %zu of %zu checks FAILED\n", failures, checks);
    else printf("one_unit: %zu checks passed\n", checks);
    return failures > 0;
}
