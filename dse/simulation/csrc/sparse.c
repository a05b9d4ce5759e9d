/* Sparse kernels: arguments checked, work cut into tasks, the version for this processor called. */
#include "sparse.h"

#include <string.h>

#include "dispatch.h"
#include "threads.h"

#if defined(DSE_HAS_AVX512_VBMI)
#define CHOOSE_SPARSE(name, isa) ((isa) >= DSE_AVX512_VBMI ? name##avx512_vbmi : CHOOSE(name, isa))
#else
#define CHOOSE_SPARSE(name, isa) CHOOSE(name, isa)
#endif

typedef struct {
    const sparse_call *call;
    sparse_task *task;
} sparse_job;

static void run_task(void *context, int64_t index, int thread)
{
    const sparse_job *job = context;
    int64_t begin = index * SPARSE_ROWS, end = begin + SPARSE_ROWS, n_rows = job->call->matrix.rows;
    (void)thread;
    job->task(job->call, begin, end < n_rows ? end : n_rows);
}

static int is_usable(const dse_sparse *matrix, int n_threads)
{
    return matrix->rows > 0 && matrix->columns > 0 && matrix->nnz >= 0 && n_threads > 0;
}

static void run_all(const sparse_call *call, sparse_task *task, int n_threads)
{
    sparse_job job = {call, task};
    dse_run_tasks(n_threads, (call->matrix.rows + SPARSE_ROWS - 1) / SPARSE_ROWS, run_task, &job);
}

int dse_sparse_vector(const dse_sparse *matrix, const int8_t *x, int32_t *y, int8_t *workspace, int isa, int n_threads)
{
    if (!can_run(isa))
        return DSE_E_ISA;
    if (!is_usable(matrix, n_threads))
        return DSE_E_ARGUMENT;
    memset(workspace, 0, SPARSE_BEFORE);
    memcpy(workspace + SPARSE_BEFORE, x, (size_t)matrix->columns);
    memset(workspace + SPARSE_BEFORE + matrix->columns, 0, SPARSE_BEHIND);
    sparse_call call = {*matrix, matrix->nnz / matrix->rows, workspace + SPARSE_BEFORE, 1, y};
    run_all(&call, CHOOSE_SPARSE(dse_sparse_vector_, isa), n_threads);
    return DSE_OK;
}

int dse_sparse_matrix(const dse_sparse *matrix, const int8_t *x, int64_t n, int32_t *y, int isa, int n_threads)
{
    if (!can_run(isa))
        return DSE_E_ISA;
    if (!is_usable(matrix, n_threads) || n < 0 || n % SPARSE_TILE)
        return DSE_E_ARGUMENT;
    sparse_call call = {*matrix, matrix->nnz / matrix->rows, x, n, y};
    run_all(&call, CHOOSE_SPARSE(dse_sparse_matrix_, isa), n_threads);
    return DSE_OK;
}
