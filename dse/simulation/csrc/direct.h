/* What the front of the direct kernel (direct.c) hands to each instruction set's version of it (direct_kernel.h).
 *
 * One look-up a product, row of the table by activation code: nothing is set up, which pays for layers of few output
 * positions, such as a Linear layer on few images.
 */
#ifndef DSE_DIRECT_H
#define DSE_DIRECT_H

#include "geometry.h"

enum { DIRECT_OUTPUTS = 256 }; /* outputs of a task */

typedef struct {
    geometry g;
    dse_finish finish;
    const uint8_t *codes, *table_of, *weights;
    const int32_t *const *tables, *zero_point;
    int is_signed;
    void *out;
    int64_t blocks_a_group;
} direct_call;

/* Outputs of one block at one position. */
typedef void direct_task(const direct_call *call, int64_t block, int64_t position);

direct_task dse_direct_portable, dse_direct_avx2, dse_direct_avx512;

#endif
