/* Rows kernel: arguments checked, work cut into tasks, the version for this processor called. */
#include "rows.h"

#include "dispatch.h"
#include "threads.h"

enum {
    ROWS_BYTES = K_BLOCK * 256 * ROW_BYTES,
    SUMS_BYTES = TASK_POSITIONS * ROW_BYTES,
    CODES_BYTES = TASK_POSITIONS * sizeof(void *),
    SPACE_BYTES = ROWS_BYTES + SUMS_BYTES + CODES_BYTES,
};

typedef struct {
    const rows_call *call;
    rows_task *task;
    char *workspace;
} rows_job;

int64_t dse_rows_workspace(int n_threads) { return (int64_t)n_threads * SPACE_BYTES; }

static void run_task(void *context, int64_t index, int thread)
{
    const rows_job *job = context;
    const rows_call *call = job->call;
    char *space = job->workspace + (int64_t)thread * SPACE_BYTES;
    rows_space parts = {(int32_t *)space, (int32_t *)(space + ROWS_BYTES),
                        (const uint8_t **)(space + ROWS_BYTES + SUMS_BYTES)};
    int64_t begin = index % call->n_chunks * call->task_positions;
    int64_t end = smaller(begin + call->task_positions, call->g.n_positions);
    job->task(call, index / call->n_chunks, begin, end, parts);
}

/* Rows are expanded anew by every task: as few tasks as keep all threads busy to the end. */
static void cut(rows_call *call, int64_t n_blocks, int n_threads)
{
    int64_t n_chunks = 1, n_positions = call->g.n_positions;
    while (n_positions > n_chunks * TASK_POSITIONS || (n_blocks * n_chunks % n_threads && n_chunks < n_threads))
        n_chunks++;
    call->task_positions = (n_positions + n_chunks - 1) / n_chunks;
    call->n_chunks = (n_positions + call->task_positions - 1) / call->task_positions;
}

int dse_rows(const dse_conv *conv, const uint8_t *codes, const int32_t *const *columns, const uint8_t *table_of,
             const uint8_t *column_of, const int32_t *zero_point, int is_signed, const dse_finish *finish, void *out,
             void *workspace, int isa, int n_threads)
{
    rows_call call = {.finish = *finish, .codes = codes, .table_of = table_of, .column_of = column_of,
                      .columns = columns, .zero_point = zero_point, .is_signed = is_signed, .out = out};
    if (!can_run(isa))
        return DSE_E_ISA;
    if (!measure(conv, &call.g) || n_threads < 1 || (uintptr_t)workspace % 64)
        return DSE_E_ARGUMENT;
    if (!call.g.n_positions)
        return DSE_OK;
    call.blocks_a_group = (call.g.outputs + ROW - 1) / ROW;
    int64_t n_blocks = call.blocks_a_group * conv->groups;
    cut(&call, n_blocks, n_threads);
    rows_job job = {&call, CHOOSE(dse_rows_, isa), workspace};
    dse_run_tasks(n_threads, n_blocks * call.n_chunks, run_task, &job);
    return DSE_OK;
}
