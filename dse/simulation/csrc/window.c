/* Window sums: arguments checked, work cut into tasks, the version for this processor called. */
#include "window.h"

#include "dispatch.h"
#include "threads.h"

typedef struct {
    const window_call *call;
    window_task *task;
    int32_t *pixels;
} window_job;

static int64_t n_pixels(const dse_conv *conv) { return conv->height * conv->width * conv->groups; }

int64_t dse_window_workspace(const dse_conv *conv, int n_threads)
{
    return conv->channels == conv->groups ? 0 : n_threads * n_pixels(conv) * 4;
}

static void run_task(void *context, int64_t index, int thread)
{
    const window_job *job = context;
    job->task(job->call, index, job->pixels + thread * n_pixels(&job->call->g.conv));
}

int dse_window_sums(const dse_conv *conv, const uint8_t *codes, int32_t *out, void *workspace, int isa, int n_threads)
{
    window_call call = {.codes = codes, .out = out};
    if (!can_run(isa))
        return DSE_E_ISA;
    if (!measure(conv, &call.g) || n_threads < 1)
        return DSE_E_ARGUMENT;
    window_job job = {&call, CHOOSE(dse_window_, isa), workspace};
    dse_run_tasks(n_threads, conv->n, run_task, &job);
    return DSE_OK;
}
