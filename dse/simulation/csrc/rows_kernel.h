/* One instruction set's rows kernel; included once by each rows_*.c, which is compiled for it. See rows.h.
 * Vectors are the compiler's own (GCC, Clang), which splits those that the processor does not have. */
#include <string.h>

#include "finish.h"
#include "join.h"
#include "rows.h"
#include "transpose.h"

/* A row in registers: PARTS vectors of the processor's own width. Unsigned: sums may pass through overflow and back. */
enum { PARTS = ROW_BYTES / VECTOR_BYTES };
typedef uint32_t lanes __attribute__((vector_size(VECTOR_BYTES)));

/* TILE x TILE entries are transposed at once. */
#if VECTOR_BYTES < 32
#define TILE 4
#define TRANSPOSE_TILE(r) TRANSPOSE(tile, 4, r)
#else
#define TILE 8
#define TRANSPOSE_TILE(r) TRANSPOSE(tile, 8, r)
#endif
typedef uint32_t tile __attribute__((vector_size(TILE * 4)));
typedef tile tile_unaligned __attribute__((aligned(4)));

/* The order in which products are added: all taps of as many channels as fill a cache line of codes, then the next
 * ones, so that the codes of a task stay in the cache. Returns the index of the k-th in column_of, and its offset in
 * bytes from the first code under the kernel. */
static int64_t product_at(const geometry *g, int64_t k, int64_t *offset)
{
    int64_t line = k / (LINE_CHANNELS * g->n_taps), rest = k - line * LINE_CHANNELS * g->n_taps;
    int64_t width = smaller(g->channels - line * LINE_CHANNELS, LINE_CHANNELS);
    int64_t tap = rest / width, channel = line * LINE_CHANNELS + rest % width;
    *offset = tap_offset(g, tap) + channel;
    return tap * g->channels + channel;
}

/* Adds n_k products to the sums of n <= UNROLL positions. Several at once hide the latency of the L2 cache. */
static inline __attribute__((always_inline)) void accumulate(const lanes *rows, const uint8_t *const *codes, int n,
                                                             const int64_t *offsets, int64_t n_k, lanes *sums)
{
    lanes total[UNROLL][PARTS];
    for (int j = 0; j < n; j++)
        for (int part = 0; part < PARTS; part++)
            total[j][part] = sums[j * PARTS + part];
    for (int64_t k = 0; k < n_k; k++)
        for (int j = 0; j < n; j++)
            for (int part = 0; part < PARTS; part++)
                total[j][part] += rows[(k * 256 + codes[j][offsets[k]]) * PARTS + part];
    for (int j = 0; j < n; j++)
        for (int part = 0; part < PARTS; part++)
            sums[j * PARTS + part] = total[j][part];
}

/* All positions of a task through the n_k rows that are expanded. */
static void sweep(const lanes *rows, const uint8_t *const *codes, int64_t n_positions, const int64_t *offsets,
                  int64_t n_k, lanes *sums)
{
    int64_t done = 0;
    for (; done + UNROLL <= n_positions; done += UNROLL)
        accumulate(rows, codes + done, UNROLL, offsets, n_k, sums + done * PARTS);
    for (; done < n_positions; done++)
        accumulate(rows, codes + done, 1, offsets, n_k, sums + done * PARTS);
}

/* Rows of one product for n_outputs outputs from `output` on: the columns transposed, zero points taken out. Lanes
 * beyond n_outputs repeat the last output and are not used. */
static void expand(const rows_call *call, int64_t product, int64_t output, int64_t n_outputs, int32_t *rows)
{
    const int32_t *columns[ROW];
    tile zero_point[ROW / TILE];
    for (int i = 0; i < ROW; i++) {
        int64_t o = output + smaller(i, n_outputs - 1);
        columns[i] = call->columns[table_at(call->table_of, o)] +
                     256 * (int64_t)call->column_of[o * call->g.fan_in + product];
        zero_point[i / TILE][i % TILE] = (uint32_t)call->zero_point[o];
    }
    for (int x = 0; x < 256; x += TILE, rows += TILE * ROW) {
        uint32_t code = (uint32_t)(call->is_signed && x >= 128 ? x - 256 : x);
        for (int t = 0; t < ROW / TILE; t++) {
            tile r[TILE];
            for (int i = 0; i < TILE; i++)
                r[i] = *(const tile_unaligned *)(columns[t * TILE + i] + x);
            TRANSPOSE_TILE(r)
            tile slope = zero_point[t] * code;
            for (int i = 0; i < TILE; i++, slope += zero_point[t])
                *(tile *)(rows + i * ROW + t * TILE) = r[i] - slope;
        }
    }
}

/* A block of outputs (ROW of them, or what is left of its group) at positions begin..end. */
void JOIN(dse_rows_, ISA)(const rows_call *call, int64_t block, int64_t begin, int64_t end, rows_space space)
{
    const geometry *g = &call->g;
    int64_t group = block / call->blocks_a_group, first = block % call->blocks_a_group * ROW;
    int64_t output = group * g->outputs + first, n_outputs = smaller(g->outputs - first, ROW);
    first_codes(g, call->codes + group * g->channels, begin, end - begin, space.codes);
    memset(space.sums, 0, (size_t)(end - begin) * ROW_BYTES);
    for (int64_t k = 0; k < g->fan_in; k += K_BLOCK) {
        int64_t n_k = smaller(g->fan_in - k, K_BLOCK), offsets[K_BLOCK];
        for (int64_t i = 0; i < n_k; i++)
            expand(call, product_at(g, k + i, offsets + i), output, n_outputs, space.rows + 256 * ROW * i);
        sweep((const lanes *)space.rows, space.codes, end - begin, offsets, n_k, (lanes *)space.sums);
    }
    for (int64_t i = 0; i < end - begin; i++) {
        int64_t at = (begin + i) * g->conv.outputs + output;
        finish_position(&call->finish, output, n_outputs, at, space.sums + i * ROW, call->out);
    }
}
