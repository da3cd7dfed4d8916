/* How work is split among the workers of an executor. */
#include "internal.h"

#ifdef PYNN_WITHOUT_THREADS

pynn_status pynni_check_executor(const pynn_executor *executor)
{
    return executor == NULL ? PYNN_OK : PYNNI_BAD(PYNN_NO_THREADS, EXECUTOR);
}

#else

size_t pynni_workers(const pynn_executor *executor) { return executor != NULL ? executor->workers : 1; }

void pynni_split(size_t *first, size_t *end, size_t n, size_t worker, size_t workers)
{
    const size_t each = workers == 1 ? n : n / workers, more = n - workers * each; /* division is slow */
    *first = worker * each + pynni_smaller(worker, more);
    *end = *first + each + (worker < more);
}

pynn_status pynni_check_executor(const pynn_executor *executor)
{
    if (executor == NULL) return PYNN_OK;
    if (executor->run == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, EXECUTOR);
    if (executor->workers == 0) return PYNNI_BAD(PYNN_BAD_SIZE, EXECUTOR);
    PYNNI_CHECK_RESERVE(executor->reserved, EXECUTOR);
    return PYNN_OK;
}

/* A task that sets the floating-point environment of whichever thread it runs on. */
typedef struct guarded_task {
    void (*task)(void *argument, size_t worker);
    void *argument;
    size_t workers;
    size_t ran; /* the sum of the signatures of the workers that have run */
} guarded_task;

/* Numbers whose sums tell which workers are in them: it takes more than a slip to get the sum of all of them
 * otherwise. */
static size_t worker_signature(size_t worker)
{
    const uint64_t mixed = ((uint64_t)worker + 1) * 0x9E3779B97F4A7C15u;
    return (size_t)(mixed ^ mixed >> 29);
}

static void run_guarded(void *argument, size_t worker)
{
    guarded_task *job = argument;
    const uint64_t environment = pynni_environment_enter();
    if (worker < job->workers) job->task(job->argument, worker);
    __atomic_fetch_add(&job->ran, worker_signature(worker), __ATOMIC_RELEASE);
    pynni_environment_leave(environment);
}

pynn_status pynni_run(const pynn_executor *executor, void (*task)(void *argument, size_t worker), void *argument)
{
    guarded_task job = {task, argument, pynni_workers(executor), 0};
    size_t all = 0;
    if (job.workers == 1) {
        task(argument, 0);
        return PYNN_OK;
    }
    executor->run(executor->context, run_guarded, &job);
    for (size_t worker = 0; worker < job.workers; worker++) all += worker_signature(worker);
    return __atomic_load_n(&job.ran, __ATOMIC_ACQUIRE) == all ? PYNN_OK : PYNNI_BAD(PYNN_BAD_EXECUTOR, EXECUTOR);
}

#endif
