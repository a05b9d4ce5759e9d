/* What the front of the sparse kernels (sparse.c) hands to each instruction set's version of them (sparse_kernel.h).
 *
 * Column indices exist in registers only: of a group of 16 entries the kernel adds up low bits, masked high bits and
 * slope times lane to byte offsets, with which it gathers 16 codes from the 256 behind the group's first column.
 */
#ifndef DSE_SPARSE_H
#define DSE_SPARSE_H

#include "native.h"

enum {
    GROUP = 16,
    SPARSE_ROWS = DSE_SPARSE_ROWS,       /* of a task */
    SPARSE_BEFORE = 256,                 /* bytes before the codes of a vector that a gather may read */
    SPARSE_BEHIND = DSE_SPARSE_MARGIN - SPARSE_BEFORE,
    SPARSE_TILE = DSE_SPARSE_TILE,       /* columns of a product that are summed at a time */
};

typedef struct {
    dse_sparse matrix;
    int64_t mean_count;
    const int8_t *x;
    int64_t n; /* columns of x; 1 for a vector */
    int32_t *y;
} sparse_call;

/* Rows begin..end, the first of which begins a task. */
typedef void sparse_task(const sparse_call *call, int64_t begin, int64_t end);

/* Bits that are set in a byte. */
static inline int ones(unsigned byte) { return __builtin_popcount(byte); }

sparse_task dse_sparse_vector_portable, dse_sparse_vector_avx2, dse_sparse_vector_avx512, dse_sparse_vector_avx512_vbmi;
sparse_task dse_sparse_matrix_portable, dse_sparse_matrix_avx2, dse_sparse_matrix_avx512, dse_sparse_matrix_avx512_vbmi;

#endif
