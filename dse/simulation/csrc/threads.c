#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>

#define MAX_THREADS 256

typedef struct {
    void (*task)(void *, int64_t, int);
    void *context;
    int64_t n_tasks;
    atomic_llong next;
} work;

typedef struct {
    work *shared;
    int thread;
} worker;

static void *run(void *argument)
{
    worker *self = argument;
    work *shared = self->shared;
    for (;;) {
        int64_t index = atomic_fetch_add(&shared->next, 1);
        if (index >= shared->n_tasks)
            return 0;
        shared->task(shared->context, index, self->thread);
    }
}

void dse_run_tasks(int n_threads, int64_t n_tasks, void (*task)(void *, int64_t, int), void *context)
{
    work shared = {task, context, n_tasks, 0};
    worker workers[MAX_THREADS];
    pthread_t ids[MAX_THREADS];
    int started = 0;
    if (n_threads > n_tasks)
        n_threads = (int)n_tasks;
    for (int i = 1; i < n_threads && i < MAX_THREADS; i++) {
        workers[i] = (worker){&shared, i};
        if (pthread_create(&ids[i], 0, run, &workers[i]))
            break;
        started = i;
    }
    workers[0] = (worker){&shared, 0};
    run(&workers[0]);
    for (int i = 1; i <= started; i++)
        pthread_join(ids[i], 0);
}
