/* What the front of the rows kernel (rows.c) hands to each instruction set's version of it (rows_kernel.h).
 *
 * For a product k (an input channel under a tap) and a block of outputs, row x of the expanded table is
 * R_k[x] = (T[x, w_ko] - z_o * x)_o. A sum over k is then one vector load and one addition a position and k, for any
 * table, on any processor. R_k takes 16 KiB, so K_BLOCK of them are expanded at a time, stay in the L2 cache, and serve
 * all positions of a task.
 */
#ifndef DSE_ROWS_H
#define DSE_ROWS_H

#include "geometry.h"

enum {
    ROW = 16, /* outputs in a row, int32 */
    ROW_BYTES = 64,
    K_BLOCK = 8,
    LINE_CHANNELS = 64,
    TASK_POSITIONS = 8192,
};

typedef struct {
    geometry g;
    dse_finish finish;
    const uint8_t *codes, *table_of, *column_of;
    const int32_t *const *columns, *zero_point;
    int is_signed;
    void *out;
    int64_t blocks_a_group, task_positions, n_chunks;
} rows_call;

/* Per thread: expanded rows; of the positions of one task the sums and the first code under the kernel. */
typedef struct {
    int32_t *rows, *sums;
    const uint8_t **codes;
} rows_space;

typedef void rows_task(const rows_call *call, int64_t block, int64_t begin, int64_t end, rows_space space);

rows_task dse_rows_portable, dse_rows_avx2, dse_rows_avx512;

#endif
