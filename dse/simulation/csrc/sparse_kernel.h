/* One instruction set's sparse kernels; included once by each sparse_*.c, which defines before:
 *
 * lanes:     16 bytes in a register; lines_of(slope): slope times lane, modulo 256; add(a, b); store(lanes, bytes).
 * two_lanes: deltas of two groups; deltas(low bits, maps, masks); half(two_lanes, is_odd).
 * sums:      partial sums; no_sums(), total(sums).
 * products:  sums with 16 codes, gathered by offsets from a window, times `n` values.
 * tile:      sums of SPARSE_TILE columns; no_tile(), add_pair(tile, x0, x1, w0, w1), put(tile, y).
 */
#include "join.h"
#include "sparse.h"

/* Where the decoder is: the next value, group and mask, and the deltas of the pair of groups. */
typedef struct {
    int64_t value, group;
    const uint16_t *mask;
    two_lanes pair;
} place;

static inline __attribute__((always_inline)) void decode_pair(const dse_sparse *m, place *at)
{
    unsigned maps = m->bitmaps[at->group / 2];
    at->pair = deltas(m->delta_indices + GROUP * (at->group / 2), maps, at->mask);
    at->mask += ones(maps);
}

static inline place place_of(const dse_sparse *m, int64_t row)
{
    const int64_t *start = m->starts + row / SPARSE_ROWS * 3;
    place at = {.value = start[0], .group = start[1], .mask = m->bitmasks + start[2]};
    if (at.group & 1) { /* begins amid a pair */
        at.mask -= ones(m->bitmaps[at.group / 2] >> 4);
        decode_pair(m, &at);
    }
    return at;
}

/* Offsets of the group that the decoder is at. */
static inline __attribute__((always_inline)) lanes offsets_at(const dse_sparse *m, place *at, lanes lines)
{
    int is_odd = at->group & 1;
    if (!is_odd)
        decode_pair(m, at);
    return add(half(at->pair, is_odd), lines);
}

static inline int64_t count_of(const sparse_call *call, int64_t row)
{
    return call->matrix.row_offsets[row] + call->mean_count;
}

static inline int64_t slope_of(int64_t n_columns, int64_t count)
{
    return count ? (uint32_t)(n_columns + count / 2) / (uint32_t)count : 0; /* 32 bits divide faster */
}

void JOIN(dse_sparse_vector_, ISA)(const sparse_call *call, int64_t begin, int64_t end)
{
    const dse_sparse *m = &call->matrix;
    place at = place_of(m, begin);
    for (int64_t row = begin; row < end; row++) {
        int64_t count = count_of(call, row), slope = slope_of(m->columns, count), column = -GROUP * slope;
        lanes lines = lines_of(slope);
        sums found = no_sums();
        for (int64_t left = count; left > 0; left -= GROUP, at.group++) {
            int n = left < GROUP ? (int)left : GROUP;
            column += m->group_minimums[at.group] + GROUP * slope;
            found = products(found, call->x + column, offsets_at(m, &at, lines), m->values + at.value, n);
            at.value += n;
        }
        call->y[row] = total(found);
    }
}

/* One row of a product, SPARSE_TILE columns of it from `first` on. */
static inline void row_of_tile(const sparse_call *call, int64_t row, int64_t first, place *at)
{
    const dse_sparse *m = &call->matrix;
    int64_t count = count_of(call, row), slope = slope_of(m->columns, count), column = -GROUP * slope;
    lanes lines = lines_of(slope);
    tile found;
    no_tile(&found);
    for (int64_t left = count; left > 0; left -= GROUP, at->group++) {
        int n = left < GROUP ? (int)left : GROUP;
        uint8_t offsets[GROUP];
        column += m->group_minimums[at->group] + GROUP * slope;
        store(offsets_at(m, at, lines), offsets);
        const int8_t *x = call->x + first, *values = m->values + at->value;
        int k = 0;
        for (; k + 2 <= n; k += 2)
            add_pair(&found, x + (column + offsets[k]) * call->n, x + (column + offsets[k + 1]) * call->n, values[k],
                     values[k + 1]);
        if (k < n) {
            const int8_t *last = x + (column + offsets[k]) * call->n;
            add_pair(&found, last, last, values[k], 0);
        }
        at->value += n;
    }
    put(&found, call->y + row * call->n + first);
}

void JOIN(dse_sparse_matrix_, ISA)(const sparse_call *call, int64_t begin, int64_t end)
{
    for (int64_t first = 0; first < call->n; first += SPARSE_TILE) {
        place at = place_of(&call->matrix, begin);
        for (int64_t row = begin; row < end; row++)
            row_of_tile(call, row, first, &at);
    }
}
