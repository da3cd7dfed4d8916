/* An executor on threads of the operating system. Optional: nothing else in the library starts or needs one. */
#define _POSIX_C_SOURCE 200809L /* for clock_gettime, where the flags ask for strict C */
#include "internal.h"

pynn_status pynni_check_executor(const pynn_executor *executor)
{
    if (executor == NULL) return PYNN_OK;
    if (executor->run == NULL) return PYNN_NULL_POINTER;
    return executor->workers == 0 ? PYNN_BAD_SIZE : PYNN_OK;
}

size_t pynni_workers(const pynn_executor *executor) { return executor != NULL ? executor->workers : 1; }

void pynni_share(size_t *first, size_t *end, size_t n, size_t worker, size_t workers)
{
    const size_t each = n / workers, more = n % workers;
    *first = worker * each + (worker < more ? worker : more);
    *end = *first + each + (worker < more);
}

/* A task that sets the floating-point environment of whichever thread it runs on. */
typedef struct guarded {
    void (*task)(void *argument, size_t worker);
    void *argument;
} guarded;

static void run_guarded(void *argument, size_t worker)
{
    const guarded *job = argument;
    pynni_call call;
    if (pynni_enter(&call) != PYNN_OK) return; /* cannot be: the caller has entered */
    job->task(job->argument, worker);
    pynni_leave(&call);
}

void pynni_run(const pynn_executor *executor, void (*task)(void *argument, size_t worker), void *argument)
{
    guarded job = {task, argument};
    if (pynni_workers(executor) == 1) task(argument, 0);
    else executor->run(executor->context, run_guarded, &job);
}

/* The arithmetic of a step, in multiply-adds, that one worker must have to be worth its while: some 30 microseconds. */
#define WORTH_WHILE 1000000.0

pynn_status pynn_threads_advise(size_t *workers, const pynn_net *net, size_t batch, size_t available)
{
    double work;
    if (workers == NULL) return PYNN_NULL_POINTER;
    PYNNI_TRY(pynni_check_net(net));
    if (batch == 0 || available == 0) return PYNN_BAD_SIZE;
    work = 3.0 * (double)net->param_count * (double)batch / WORTH_WHILE;
    *workers = work < 2.0 ? 1 : work < (double)available ? (size_t)work : available;
    return PYNN_OK;
}

#if (defined(__unix__) || defined(__APPLE__)) && defined(__GNUC__)

#include <pthread.h>
#include <sched.h>
#include <time.h>

/* Each on a cache line of its own. */
typedef struct worker {
    _Alignas(64) uint32_t taken; /* the last turn in which somebody has begun its task: itself, or the caller */
    uint32_t done;               /* the last turn in which that task was finished */
    uint32_t started;
    size_t number;
    struct pool *pool;
    pthread_t thread;
} worker;

typedef struct pool {
    _Alignas(64) uint32_t turn; /* counts the calls of run; written last, read first */
    uint32_t stops;
    uint32_t sleepers;
    void (*task)(void *argument, size_t worker);
    void *argument;
    size_t workers;
    double rest, resumes; /* how many times a turn in vain the caller works alone after it, and until when */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    worker helper[]; /* workers - 1 of them; worker 0 is the caller */
} pool;

enum {
    SPINS = 4000,        /* of a helper before it sleeps: some 50 microseconds */
    SPINS_TO_YIELD = 200, /* of the caller before it lets others run: a helper may have no core of its own */
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

static uint32_t await_turn(pool *p, uint32_t seen)
{
    uint32_t turn;
    for (int i = 0; i < SPINS; i++) {
        turn = __atomic_load_n(&p->turn, __ATOMIC_ACQUIRE);
        if (turn != seen) return turn;
        pause_briefly();
    }
    pthread_mutex_lock(&p->mutex);
    __atomic_add_fetch(&p->sleepers, 1, __ATOMIC_SEQ_CST);
    while ((turn = __atomic_load_n(&p->turn, __ATOMIC_SEQ_CST)) == seen) pthread_cond_wait(&p->wake, &p->mutex);
    __atomic_sub_fetch(&p->sleepers, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&p->mutex);
    return turn;
}

/* Whether a worker's task of that turn was still to be had. A turn does not end before all its tasks are taken and done,
 * so that whoever comes too late for one leaves the next alone. */
static int take(worker *w, uint32_t turn)
{
    uint32_t last = turn - 1;
    return __atomic_compare_exchange_n(&w->taken, &last, turn, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void *help(void *argument)
{
    worker *self = argument;
    pool *p = self->pool;
    uint32_t turn = 0;
    for (;;) {
        turn = await_turn(p, turn);
        if (__atomic_load_n(&p->stops, __ATOMIC_ACQUIRE)) return NULL;
        if (!take(self, turn)) continue;
        p->task(p->argument, self->number);
        __atomic_store_n(&self->done, turn, __ATOMIC_RELEASE);
    }
}

/* Begins a turn: whoever spins sees it, whoever sleeps is woken. */
static uint32_t begin_turn(pool *p)
{
    const uint32_t turn = __atomic_add_fetch(&p->turn, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&p->sleepers, __ATOMIC_SEQ_CST) > 0) {
        pthread_mutex_lock(&p->mutex);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->mutex);
    }
    return turn;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* One turn with the helpers. What they have not begun when the caller is done with its own task, it does too. Gives the
 * seconds it took if the caller has waited more than twice as long as their tasks would have taken it, else 0: shares are
 * not quite even. */
static double turn_in_vain(pool *p, void (*task)(void *argument, size_t worker), void *argument)
{
    const double start = seconds();
    size_t done = 1;
    double begun, ended, end, each;
    uint32_t turn;
    p->task = task;
    p->argument = argument;
    turn = begin_turn(p);
    begun = seconds();
    task(argument, 0);
    for (size_t i = 0; i + 1 < p->workers; i++) {
        if (!take(&p->helper[i], turn)) continue;
        task(argument, i + 1);
        __atomic_store_n(&p->helper[i].done, turn, __ATOMIC_RELAXED);
        done++;
    }
    ended = seconds();
    for (size_t i = 0; i + 1 < p->workers; i++) {
        for (int spins = 0; __atomic_load_n(&p->helper[i].done, __ATOMIC_ACQUIRE) != turn; spins++) {
            if (spins < SPINS_TO_YIELD) pause_briefly();
            else sched_yield();
        }
    }
    end = seconds();
    each = (ended - begun) / (double)done;
    return begun - start + end - ended > 2.0 * each * (double)(p->workers - done) + SECONDS_TO_FORGIVE ? end - start : 0.0;
}

/*
 * Helpers can be slower than no helpers: other programs may have their cores, and to wake them takes time. So after a
 * turn in vain the caller works alone for as long again, after another for twice, four times, ... as long; results are
 * the same.
 */
static void run(void *context, void (*task)(void *argument, size_t worker), void *argument)
{
    pool *p = context;
    double lost;
    if (p->resumes > 0.0 && seconds() < p->resumes) {
        for (size_t i = 0; i < p->workers; i++) task(argument, i);
        return;
    }
    lost = turn_in_vain(p, task, argument);
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

static size_t bytes_for(size_t workers)
{
    return pynni_add(sizeof(pool), pynni_mul(workers - 1, sizeof(worker)));
}

pynn_status pynn_threads_bytes(size_t *bytes, size_t workers)
{
    if (bytes == NULL) return PYNN_NULL_POINTER;
    if (workers == 0) return PYNN_BAD_SIZE;
    if (bytes_for(workers) > SIZE_MAX / 2) return PYNN_TOO_LARGE;
    *bytes = bytes_for(workers);
    return PYNN_OK;
}

static void stop(pool *p)
{
    __atomic_store_n(&p->stops, 1, __ATOMIC_RELEASE);
    begin_turn(p);
    for (size_t i = 0; i + 1 < p->workers; i++) {
        if (p->helper[i].started) pthread_join(p->helper[i].thread, NULL);
    }
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
}

pynn_status pynn_threads_start(pynn_executor *executor, void *memory, size_t memory_bytes, size_t workers)
{
    pool *p = memory;
    if (executor == NULL || memory == NULL) return PYNN_NULL_POINTER;
    if (workers == 0) return PYNN_BAD_SIZE;
    if (memory_bytes < bytes_for(workers) || (uintptr_t)memory % PYNN_WORKSPACE_ALIGNMENT != 0)
        return PYNN_BAD_WORKSPACE;
    p->turn = p->stops = p->sleepers = 0;
    p->rest = p->resumes = 0.0;
    p->workers = workers;
    if (pthread_mutex_init(&p->mutex, NULL) != 0) return PYNN_NO_THREADS;
    if (pthread_cond_init(&p->wake, NULL) != 0) {
        pthread_mutex_destroy(&p->mutex);
        return PYNN_NO_THREADS;
    }
    for (size_t i = 0; i + 1 < workers; i++) p->helper[i] = (worker){.number = i + 1, .pool = p};
    for (size_t i = 0; i + 1 < workers; i++) {
        if (pthread_create(&p->helper[i].thread, NULL, help, &p->helper[i]) != 0) {
            stop(p);
            return PYNN_NO_THREADS;
        }
        p->helper[i].started = 1;
    }
    *executor = (pynn_executor){workers, p, run};
    return PYNN_OK;
}

pynn_status pynn_threads_stop(pynn_executor *executor)
{
    if (executor == NULL || executor->context == NULL) return PYNN_NULL_POINTER;
    stop(executor->context);
    *executor = (pynn_executor){0, NULL, NULL};
    return PYNN_OK;
}

#else

pynn_status pynn_threads_bytes(size_t *bytes, size_t workers)
{
    (void)bytes, (void)workers;
    return PYNN_NO_THREADS;
}

pynn_status pynn_threads_start(pynn_executor *executor, void *memory, size_t memory_bytes, size_t workers)
{
    (void)executor, (void)memory, (void)memory_bytes, (void)workers;
    return PYNN_NO_THREADS;
}

pynn_status pynn_threads_stop(pynn_executor *executor)
{
    (void)executor;
    return PYNN_NO_THREADS;
}

#endif
