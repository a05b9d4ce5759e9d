/* What the front of the columns kernel (columns.c) hands to each instruction set's version of it
 * (columns_kernel.h).
 *
 * An output at a time, its columns of the table in the L1 cache: for groups of few outputs, above all depthwise
 * convolutions, which would leave most lanes of a row empty.
 */
#ifndef DSE_COLUMNS_H
#define DSE_COLUMNS_H

#include "geometry.h"

enum { COLUMNS_POSITIONS = 64 }; /* of a task: their codes stay in the cache from one output to the next */

typedef struct {
    geometry g;
    dse_finish finish;
    const uint8_t *codes, *table_of, *column_of;
    const int32_t *const *columns, *zero_point;
    int is_signed;
    void *out;
} columns_call;

/* All outputs at positions begin..end. */
typedef void columns_task(const columns_call *call, int64_t begin, int64_t end);

columns_task dse_columns_portable, dse_columns_avx2, dse_columns_avx512;

#endif
