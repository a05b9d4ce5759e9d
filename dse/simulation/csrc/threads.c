#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "native.h"

#define MAX_THREADS 256

/* GOMP_parallel of GCC's OpenMP runtime (also in LLVM's and Intel's): runs `task` on a team of threads. */
typedef void parallel(void (*task)(void *), void *argument, unsigned n_threads, unsigned flags);

static _Atomic(parallel *) team;

typedef struct {
    void (*task)(void *, int64_t, int);
    void *context;
    int64_t n_tasks;
    atomic_llong next;
    atomic_int n_threads;
} work;

static void run(void *argument)
{
    work *shared = argument;
    int thread = atomic_fetch_add(&shared->n_threads, 1);
    for (;;) {
        int64_t index = atomic_fetch_add(&shared->next, 1);
        if (index >= shared->n_tasks)
            return;
        shared->task(shared->context, index, thread);
    }
}

static void *run_thread(void *argument)
{
    run(argument);
    return 0;
}

/* Threads that live for one call. */
static void run_threads(work *shared, int n_threads)
{
    pthread_t ids[MAX_THREADS];
    int started = 0;
    while (started < n_threads - 1 && !pthread_create(&ids[started], 0, run_thread, shared))
        started++;
    run(shared);
    for (int i = 0; i < started; i++)
        pthread_join(ids[i], 0);
}

void dse_use_openmp(void *gomp_parallel)
{
    parallel *function;
    memcpy(&function, &gomp_parallel, sizeof function); /* C has no cast from data to functions */
    team = function;
}

void dse_run_tasks(int n_threads, int64_t n_tasks, void (*task)(void *, int64_t, int), void *context)
{
    work shared = {task, context, n_tasks, 0, 0};
    if (n_threads > n_tasks)
        n_threads = (int)n_tasks;
    if (n_threads > MAX_THREADS)
        n_threads = MAX_THREADS;
    parallel *borrowed = team;
    if (n_threads <= 1)
        run(&shared);
    else if (borrowed)
        borrowed(run, &shared, (unsigned)n_threads, 0);
    else
        run_threads(&shared, n_threads);
}
