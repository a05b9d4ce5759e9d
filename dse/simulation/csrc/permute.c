/* Permute kernel: arguments checked, work cut into tasks. */
#include "permute.h"

#include "dispatch.h"
#include "threads.h"

typedef struct {
    const permute_call *call;
    char *workspace;
} permute_job;

static int64_t packed_products(const geometry *g)
{
    return g->n_taps > PACKED_PRODUCTS ? g->n_taps : PACKED_PRODUCTS;
}

/* Whole tiles of 16 channels where there are that many, which are the fastest to lay out. */
static int64_t packed_channels(const geometry *g)
{
    int64_t n = packed_products(g) / g->n_taps;
    return n < 16 ? n : n / 16 * 16;
}

static int64_t take(int64_t *end, int64_t n_bytes)
{
    int64_t begin = *end;
    *end += (n_bytes + 63) / 64 * 64;
    return begin;
}

/* Where the parts of a thread's workspace begin, in bytes. */
typedef struct {
    int64_t packed, sums, code_sums, rows, offsets, columns, end;
} layout;

static layout lay_out(const geometry *g)
{
    layout at = {0};
    at.packed = take(&at.end, packed_products(g) * TILE_POSITIONS);
    at.sums = take(&at.end, g->conv.outputs * TILE_POSITIONS * 4);
    at.code_sums = take(&at.end, g->conv.groups * TILE_POSITIONS * 4);
    at.rows = take(&at.end, g->conv.outputs * 8 * 4);
    at.offsets = take(&at.end, packed_products(g) * 8);
    at.columns = take(&at.end, packed_products(g) * 8);
    return at;
}

int64_t dse_permute_workspace(const dse_conv *conv, int n_threads)
{
    geometry g;
    return measure(conv, &g) ? n_threads * lay_out(&g).end : 0;
}

#if defined(DSE_HAS_AVX512_VBMI)

static void run_task(void *context, int64_t index, int thread)
{
    const permute_job *job = context;
    layout at = lay_out(&job->call->g);
    char *start = job->workspace + thread * at.end;
    permute_space space = {(uint8_t *)(start + at.packed), (int32_t *)(start + at.sums),
                           (int32_t *)(start + at.code_sums), (int32_t *)(start + at.rows),
                           (int64_t *)(start + at.offsets), (const uint8_t **)(start + at.columns)};
    int64_t begin = index * TILE_POSITIONS;
    dse_permute_avx512_vbmi(job->call, begin, smaller(begin + TILE_POSITIONS, job->call->g.n_positions), space);
}

int dse_permute(const int32_t *low, const dse_conv *conv, const uint8_t *codes, const uint8_t *const *planes,
                const uint8_t *table_of, const uint8_t *column_of, const int32_t *zero_point, int is_signed,
                const dse_finish *finish, void *out, void *workspace, int isa, int n_threads)
{
    permute_call call = {.finish = *finish, .codes = codes, .planes = planes, .table_of = table_of,
                         .column_of = column_of, .zero_point = zero_point, .low = low, .is_signed = is_signed,
                         .out = out};
    if (!can_run(isa) || isa < DSE_AVX512_VBMI)
        return DSE_E_ISA;
    if (!measure(conv, &call.g) || n_threads < 1 || (uintptr_t)workspace % 64)
        return DSE_E_ARGUMENT;
    for (int64_t o = 0; o < conv->outputs; o++)
        call.has_zero_points |= zero_point[o] != 0;
    call.packed_channels = packed_channels(&call.g);
    permute_job job = {&call, workspace};
    dse_run_tasks(n_threads, (call.g.n_positions + TILE_POSITIONS - 1) / TILE_POSITIONS, run_task, &job);
    return DSE_OK;
}

#else

int dse_permute(const int32_t *low, const dse_conv *conv, const uint8_t *codes, const uint8_t *const *planes,
                const uint8_t *table_of, const uint8_t *column_of, const int32_t *zero_point, int is_signed,
                const dse_finish *finish, void *out, void *workspace, int isa, int n_threads)
{
    (void)conv, (void)codes, (void)planes, (void)table_of, (void)column_of, (void)zero_point, (void)low;
    (void)is_signed, (void)finish, (void)out, (void)workspace, (void)isa, (void)n_threads;
    return DSE_E_ISA;
}

#endif
