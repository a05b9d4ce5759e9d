/* Elementwise steps: cut into parts, the version for this processor called. */
#include "pointwise.h"

#include "dispatch.h"
#include "geometry.h"
#include "threads.h"

enum { PART = 1 << 16 }; /* elements: some 10 us of work, more than a thread costs */

typedef struct {
    const quantize_call *call;
    quantize_part *part;
} quantize_job;

typedef struct {
    const complete_call *call;
    complete_part *part;
    int64_t rows;
} complete_job;

typedef struct {
    const expand_call *call;
    expand_part *part;
} expand_job;

static void run_quantize(void *context, int64_t index, int thread)
{
    const quantize_job *job = context;
    (void)thread;
    job->part(job->call, index * PART, smaller((index + 1) * PART, job->call->n));
}

static void run_complete(void *context, int64_t index, int thread)
{
    const complete_job *job = context;
    (void)thread;
    job->part(job->call, index * job->rows, smaller((index + 1) * job->rows, job->call->n));
}

static void run_expand(void *context, int64_t index, int thread)
{
    const expand_job *job = context;
    (void)thread;
    job->part(job->call, index * PART, smaller((index + 1) * PART, job->call->n));
}

int dse_quantize(const float *values, int64_t n, float inverse_scale, float zero_point, int low, uint8_t *codes,
                 int isa, int n_threads)
{
    if (!can_run(isa))
        return DSE_E_ISA;
    if (n < 0 || n_threads < 1)
        return DSE_E_ARGUMENT;
    quantize_call call = {values, codes, n, inverse_scale, zero_point, (float)low};
    quantize_job job = {&call, CHOOSE(dse_quantize_, isa)};
    dse_run_tasks(n_threads, (n + PART - 1) / PART, run_quantize, &job);
    return DSE_OK;
}

int dse_complete(void *sums, int is_float, int64_t n, int64_t outputs, int64_t groups, const int32_t *constant,
                const int32_t *slope, const int32_t *windows, const float *scale, const float *bias, int isa,
                int n_threads)
{
    if (!can_run(isa))
        return DSE_E_ISA;
    if (n < 0 || outputs < 1 || groups < 1 || outputs % groups || n_threads < 1)
        return DSE_E_ARGUMENT;
    complete_call call = {sums, is_float, n, outputs, groups, constant, slope, windows, scale, bias};
    complete_job job = {&call, CHOOSE(dse_complete_, isa), (PART + outputs - 1) / outputs};
    dse_run_tasks(n_threads, (n + job.rows - 1) / job.rows, run_complete, &job);
    return DSE_OK;
}

int dse_expand(const uint8_t *codes, int64_t n, const void *table, int width, void *features, int isa, int n_threads)
{
    if (!can_run(isa))
        return DSE_E_ISA;
    if (n < 0 || n_threads < 1 || width < 1 || width > 16 || (width & (width - 1)))
        return DSE_E_ARGUMENT;
    expand_call call = {codes, table, width, features, n};
    expand_job job = {&call, CHOOSE(dse_expand_, isa)};
    dse_run_tasks(n_threads, (n + PART - 1) / PART, run_expand, &job);
    return DSE_OK;
}
