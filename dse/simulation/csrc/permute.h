/* What the front of the permute kernel (permute.c) hands to its task (permute_avx512_vbmi.c).
 *
 * A column of the table, 256 entries of two bytes, fits eight registers; two byte permutes and a blend look 64 codes
 * up in one plane. The codes of 256 output positions are first laid out with the positions innermost.
 */
#ifndef DSE_PERMUTE_H
#define DSE_PERMUTE_H

#include "geometry.h"

enum {
    LANES = 64,             /* positions in a vector of bytes */
    TILE_POSITIONS = 256,   /* positions of a task */
    PACKED_PRODUCTS = 512,  /* codes of a position that are laid out at a time, or all taps of one channel if more */
};

typedef struct {
    geometry g;
    dse_finish finish;
    const uint8_t *codes, *const *planes, *table_of, *column_of;
    const int32_t *low, *zero_point;
    int is_signed, has_zero_points;
    void *out;
    int64_t packed_channels; /* channels, whole groups or parts of one, that are laid out at a time */
} permute_call;

/* Per thread: packed codes [product][TILE_POSITIONS]; sums [outputs][TILE_POSITIONS]; sums of codes
 * [groups][TILE_POSITIONS]; sums [8][outputs] of some positions; where each product of an output lies in the packed
 * codes, and its column of the table. */
typedef struct {
    uint8_t *packed;
    int32_t *sums, *code_sums, *rows;
    int64_t *offsets;
    const uint8_t **columns;
} permute_space;

void dse_permute_avx512_vbmi(const permute_call *call, int64_t begin, int64_t end, permute_space space);

#endif
