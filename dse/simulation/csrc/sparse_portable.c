#define ISA portable
#include <string.h>

#include "sparse.h"

typedef struct {
    uint8_t byte[GROUP];
} lanes;

static inline lanes lines_of(int64_t slope)
{
    lanes lines;
    for (int k = 0; k < GROUP; k++)
        lines.byte[k] = (uint8_t)(slope * k);
    return lines;
}

static inline lanes add(lanes a, lanes b)
{
    for (int k = 0; k < GROUP; k++)
        a.byte[k] = (uint8_t)(a.byte[k] + b.byte[k]);
    return a;
}

static inline void store(lanes a, uint8_t *bytes) { memcpy(bytes, a.byte, GROUP); }

typedef struct {
    lanes half[2];
} two_lanes;

static inline lanes half(two_lanes pair, int is_odd) { return pair.half[is_odd]; }

static inline two_lanes deltas(const uint8_t *low_bits, unsigned maps, const uint16_t *masks)
{
    two_lanes found;
    for (int is_odd = 0; is_odd < 2; is_odd++) {
        uint8_t *byte = found.half[is_odd].byte;
        unsigned map = is_odd ? maps : maps >> 4;
        for (int k = 0; k < GROUP; k++)
            byte[k] = is_odd ? low_bits[k] & 15 : low_bits[k] >> 4;
        for (int bit = 0; bit < 4; bit++)
            if (map >> bit & 1) {
                unsigned set = *masks++;
                for (int k = 0; k < GROUP; k++)
                    byte[k] |= (uint8_t)((set >> k & 1) << (4 + bit));
            }
    }
    return found;
}

typedef int32_t sums;

static inline sums no_sums(void) { return 0; }

static inline int32_t total(sums found) { return found; }

static inline sums products(sums found, const int8_t *window, lanes offsets, const int8_t *values, int n)
{
    for (int k = 0; k < n; k++)
        found += window[offsets.byte[k]] * values[k];
    return found;
}

typedef struct {
    int32_t sum[SPARSE_TILE];
} tile;

static inline void no_tile(tile *found) { memset(found, 0, sizeof *found); }

static inline void add_pair(tile *found, const int8_t *x0, const int8_t *x1, int w0, int w1)
{
    for (int j = 0; j < SPARSE_TILE; j++)
        found->sum[j] += x0[j] * w0 + x1[j] * w1;
}

static inline void put(const tile *found, int32_t *y) { memcpy(y, found->sum, sizeof found->sum); }

#include "sparse_kernel.h"
