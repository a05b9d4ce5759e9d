/* Direct kernel: arguments checked, work cut into tasks, the version for this processor called. */
#include "direct.h"

#include "dispatch.h"
#include "threads.h"

typedef struct {
    const direct_call *call;
    direct_task *task;
} direct_job;

static void run_task(void *context, int64_t index, int thread)
{
    const direct_job *job = context;
    (void)thread;
    job->task(job->call, index / job->call->g.n_positions, index % job->call->g.n_positions);
}

int dse_direct(const dse_conv *conv, const uint8_t *codes, const int32_t *const *tables, const uint8_t *table_of,
               const uint8_t *weights, const int32_t *zero_point, int is_signed, const dse_finish *finish, void *out,
               int isa, int n_threads)
{
    direct_call call = {.finish = *finish, .codes = codes, .table_of = table_of, .weights = weights,
                        .tables = tables, .zero_point = zero_point, .is_signed = is_signed, .out = out};
    if (!can_run(isa))
        return DSE_E_ISA;
    if (!measure(conv, &call.g) || n_threads < 1)
        return DSE_E_ARGUMENT;
    call.blocks_a_group = (call.g.outputs + DIRECT_OUTPUTS - 1) / DIRECT_OUTPUTS;
    direct_job job = {&call, CHOOSE(dse_direct_, isa)};
    dse_run_tasks(n_threads, call.blocks_a_group * conv->groups * call.g.n_positions, run_task, &job);
    return DSE_OK;
}
