/* An executor on threads of the operating system. Optional: nothing else in the library starts or needs one. */
#define _POSIX_C_SOURCE 200809L /* for clock_gettime and signal masks, where the flags ask for strict C */
#include "internal.h"

#if (defined(__unix__) || defined(__APPLE__)) && !defined(PYNN_WITHOUT_THREADS)

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

/* Each on a cache line of its own. */
typedef struct pool_thread {
    _Alignas(64) uint32_t claimed; /* the last call in which somebody has begun its task: itself, or the caller */
    uint32_t done;                 /* the last call in which that task was finished */
    uint32_t started;
    size_t worker;
    struct pool *pool;
    pthread_t thread;
} pool_thread;

typedef struct pool {
    _Alignas(64) uint32_t call; /* counts the calls of run; written last, read first */
    uint32_t stops;
    uint32_t sleepers;
    void (*task)(void *argument, size_t worker);
    void *argument;
    size_t workers;
    const pynn_executor *executor; /* that was made, and has not been stopped */
    double rest, resumes; /* how many times a call in vain the caller works alone after it, and until when */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pool_thread threads[]; /* workers - 1 of them; worker 0 is the caller */
} pool;

enum {
    SPINS = 4000,         /* of a thread before it sleeps: some 50 microseconds */
    SPINS_TO_YIELD = 200, /* of the caller before it lets others run: a thread may have no core of its own */
    MOST_REST = 1024
};
#define SECONDS_TO_FORGIVE 5e-6
#define MOST_SECONDS_OF_REST 1.0

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint32_t await_call(pool *p, uint32_t seen)
{
    uint32_t call;
    for (int i = 0; i < SPINS; i++) {
        call = __atomic_load_n(&p->call, __ATOMIC_ACQUIRE);
        if (call != seen) return call;
        pause_briefly();
    }
    pthread_mutex_lock(&p->mutex);
    __atomic_add_fetch(&p->sleepers, 1, __ATOMIC_SEQ_CST);
    while ((call = __atomic_load_n(&p->call, __ATOMIC_SEQ_CST)) == seen) pthread_cond_wait(&p->wake, &p->mutex);
    __atomic_sub_fetch(&p->sleepers, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&p->mutex);
    return call;
}

/* Whether a thread's task of that call was still to be had. A call does not end before all its tasks are claimed and
 * done, so that whoever comes too late for one leaves the next alone. */
static int claim(pool_thread *t, uint32_t call)
{
    uint32_t last = call - 1;
    return __atomic_compare_exchange_n(&t->claimed, &last, call, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void *run_thread(void *argument)
{
    pool_thread *self = argument;
    pool *p = self->pool;
    uint32_t call = 0;
    for (;;) {
        call = await_call(p, call);
        if (__atomic_load_n(&p->stops, __ATOMIC_ACQUIRE)) return NULL;
        if (!claim(self, call)) continue;
        p->task(p->argument, self->worker);
        __atomic_store_n(&self->done, call, __ATOMIC_RELEASE);
    }
}

/* Begins a call: whoever spins sees it, whoever sleeps is woken. */
static uint32_t begin_call(pool *p)
{
    const uint32_t call = __atomic_add_fetch(&p->call, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&p->sleepers, __ATOMIC_SEQ_CST) > 0) {
        pthread_mutex_lock(&p->mutex);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->mutex);
    }
    return call;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* One call with the threads. What they have not begun when the caller is done with its own task, it does too. Gives
 * the seconds it took if the caller has waited more than twice as long as their tasks would have taken it, else 0:
 * tasks are not quite even. */
static double call_in_vain(pool *p, void (*task)(void *argument, size_t worker), void *argument)
{
    const double start = seconds();
    size_t done = 1;
    double begun, ended, end, each, waited;
    uint32_t call;
    p->task = task;
    p->argument = argument;
    call = begin_call(p);
    begun = seconds();
    task(argument, 0);
    for (size_t i = 0; i + 1 < p->workers; i++) {
        if (!claim(&p->threads[i], call)) continue;
        task(argument, i + 1);
        __atomic_store_n(&p->threads[i].done, call, __ATOMIC_RELAXED);
        done++;
    }
    ended = seconds();
    for (size_t i = 0; i + 1 < p->workers; i++) {
        for (int spins = 0; __atomic_load_n(&p->threads[i].done, __ATOMIC_ACQUIRE) != call; spins++) {
            if (spins < SPINS_TO_YIELD) pause_briefly();
            else sched_yield();
        }
    }
    end = seconds();
    each = (ended - begun) / (double)done;
    waited = begun - start + end - ended;
    return waited > 2.0 * each * (double)(p->workers - done) + SECONDS_TO_FORGIVE ? end - start : 0.0;
}

/*
 * Threads can be slower than none: other programs may have their cores, and to wake them takes time. So after a call in
 * vain the caller works alone for as long again, after another for twice, four times, ... as long; results are
 * the same.
 */
static void run_pool(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    pool *p = context;
    double lost;
    if (p->resumes > 0.0 && seconds() < p->resumes) {
        for (size_t i = 0; i < p->workers; i++) task(argument, i);
        return;
    }
    lost = call_in_vain(p, task, argument);
    p->resumes = 0.0;
    if (lost > 0.0) {
        const double longer = p->rest > 0.0 ? 2.0 * p->rest : 1.0;
        p->rest = longer < MOST_REST ? longer : MOST_REST;
        lost *= p->rest;
        p->resumes = seconds() + (lost < MOST_SECONDS_OF_REST ? lost : MOST_SECONDS_OF_REST);
    } else {
        p->rest = p->rest > 1.0 ? p->rest / 2.0 : 0.0;
    }
}

static size_t pool_bytes(size_t workers)
{
    return pynni_add(sizeof(pool), pynni_mul(workers - 1, sizeof(pool_thread)));
}

pynn_status pynn_threads_bytes(size_t *bytes, size_t workers)
{
    if (bytes == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    if (workers == 0) return PYNNI_BAD(PYNN_BAD_SIZE, SIZE);
    if (pool_bytes(workers) > SIZE_MAX / 2) return PYNNI_BAD(PYNN_TOO_LARGE, SIZE);
    *bytes = pool_bytes(workers);
    return PYNN_OK;
}

static void stop_pool(pool *p)
{
    __atomic_store_n(&p->stops, 1, __ATOMIC_RELEASE);
    begin_call(p);
    for (size_t i = 0; i + 1 < p->workers; i++) {
        if (p->threads[i].started) pthread_join(p->threads[i].thread, NULL);
    }
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
}

/* Starts a thread that no signal interrupts: they are the program's own affair. */
static int start_thread(pool_thread *t)
{
    sigset_t all, before;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0) return 0;
    t->started = pthread_create(&t->thread, NULL, run_thread, t) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return (int)t->started;
}

pynn_status pynn_threads_start(pynn_executor *executor, size_t workers, pynn_memory memory)
{
    pool *p = memory.start;
    if (executor == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, EXECUTOR);
    if (workers == 0) return PYNNI_BAD(PYNN_BAD_SIZE, SIZE);
    PYNNI_TRY(pynni_check_memory(memory, pool_bytes(workers) / sizeof(float)));
    p->call = p->stops = p->sleepers = 0;
    p->rest = p->resumes = 0.0;
    p->workers = workers;
    if (pthread_mutex_init(&p->mutex, NULL) != 0) return PYNN_NO_THREADS;
    if (pthread_cond_init(&p->wake, NULL) != 0) {
        pthread_mutex_destroy(&p->mutex);
        return PYNN_NO_THREADS;
    }
    for (size_t i = 0; i + 1 < workers; i++) p->threads[i] = (pool_thread){.worker = i + 1, .pool = p};
    for (size_t i = 0; i + 1 < workers; i++) {
        if (!start_thread(&p->threads[i])) {
            stop_pool(p);
            return PYNN_NO_THREADS;
        }
    }
    p->executor = executor;
    *executor = (pynn_executor){.workers = workers, .context = p, .run = run_pool};
    return PYNN_OK;
}

pynn_status pynn_threads_stop(pynn_executor *executor)
{
    pool *p;
    if (executor == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, EXECUTOR);
    p = executor->context;
    if (executor->run != run_pool || p == NULL || p->executor != executor)
        return PYNNI_BAD(PYNN_BAD_EXECUTOR, EXECUTOR);
    stop_pool(p);
    p->executor = NULL;
    *executor = (pynn_executor){0};
    return PYNN_OK;
}

#else

pynn_status pynn_threads_bytes(size_t *bytes, size_t workers)
{
    (void)bytes, (void)workers;
    return PYNN_NO_THREADS;
}

pynn_status pynn_threads_start(pynn_executor *executor, size_t workers, pynn_memory memory)
{
    (void)executor, (void)workers, (void)memory;
    return PYNN_NO_THREADS;
}

pynn_status pynn_threads_stop(pynn_executor *executor)
{
    (void)executor;
    return PYNN_NO_THREADS;
}

#endif
