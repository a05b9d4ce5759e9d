/* Tasks on several threads. */
#ifndef DSE_THREADS_H
#define DSE_THREADS_H

#include <stdint.h>

/* Runs task(context, index, thread) for every index below n_tasks; thread < n_threads. On the threads of the OpenMP
 * runtime that dse_use_openmp named, else on threads of its own; on fewer where the system has no more to give. */
void dse_run_tasks(int n_threads, int64_t n_tasks, void (*task)(void *context, int64_t index, int thread),
                   void *context);

#endif
