/* Columns kernel: arguments checked, work cut into tasks, the version for this processor called. */
#include "columns.h"

#include "dispatch.h"
#include "threads.h"

typedef struct {
    const columns_call *call;
    columns_task *task;
} columns_job;

static void run_task(void *context, int64_t index, int thread)
{
    const columns_job *job = context;
    int64_t begin = index * COLUMNS_POSITIONS;
    (void)thread;
    job->task(job->call, begin, smaller(begin + COLUMNS_POSITIONS, job->call->g.n_positions));
}

int dse_columns(const dse_conv *conv, const uint8_t *codes, const int32_t *const *columns, const uint8_t *table_of,
                const uint8_t *column_of, const int32_t *zero_point, int is_signed, const dse_finish *finish, void *out,
                int isa, int n_threads)
{
    columns_call call = {.finish = *finish, .codes = codes, .table_of = table_of, .column_of = column_of,
                         .columns = columns, .zero_point = zero_point, .is_signed = is_signed, .out = out};
    if (!can_run(isa))
        return DSE_E_ISA;
    if (!measure(conv, &call.g) || n_threads < 1)
        return DSE_E_ARGUMENT;
    columns_job job = {&call, CHOOSE(dse_columns_, isa)};
    dse_run_tasks(n_threads, (call.g.n_positions + COLUMNS_POSITIONS - 1) / COLUMNS_POSITIONS, run_task, &job);
    return DSE_OK;
}
