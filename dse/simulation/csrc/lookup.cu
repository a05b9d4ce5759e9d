/* Convolutions through any multiplier table by lookups in shared memory. Compiled at run time, see ../lookup.py.
 *
 * Rows (`lookup_rows_*`), for layers whose outputs share their inputs. For one tap (input channel and kernel position)
 * a block expands the table into rows: row x holds the entries T[x, w_o] of all outputs o of its tile, 16 bits each, so
 * that one 16-byte read gives a position eight products. A row is always 128 bytes, all 32 banks once, and the eight
 * lanes of a quarter warp read its eight segments; a narrow tile holds several copies of its outputs in a row and gives
 * each copy other positions. No read of rows ever meets a bank conflict then, whatever the codes are. (With the table
 * itself in shared memory, 32 lanes with random codes hit the fullest bank 3.5 times, for one product a lane.)
 * Expanding takes 256 * 64 entries a tap, for 8 * 512 * 8 products of a block; the next tap's entries are on their way
 * from the table, 128 KiB and mostly in L1, while this tap's products are added.
 *
 * Sums: a word v holds two entries, v = low + 2^16 high. `both` adds v modulo 2^32 and `high` adds v >> 16, so the sum
 * of the low ones is both - 2^16 high modulo 2^32: two integer operations for two products, and nothing to unpack.
 * Everything is modulo 2^32, where the true sums are proven to lie within int32.
 *
 * Columns (`lookup_columns`), for one or two outputs a group (depthwise): one output channel a block, its columns of
 * the table in shared memory as int32. Here codes decide the bank; the lookups are few and memory is the limit.
 *
 * All kernels take codes padded already, one image after the other, channels first.
 */

#include "geometry.cuh"

#ifndef BUFFERS
#define BUFFERS 2 /* of rows: 2 overlap expanding and adding; 1 for GPUs of 64 KiB shared memory a block */
#endif

extern __shared__ uint4 shared[]; /* as many bytes as the kernel is launched with */

constexpr int THREADS = 512;
constexpr int POSITIONS = 8;                /* of a thread, each with 8 outputs: 64 accumulators */
constexpr int ROW = 8;                      /* uint4 a row */
constexpr int ROWS = 256 * ROW;             /* uint4 of all rows of a tap */

/* What a thread brings in for the next tap: entries of 4 codes for the 8 outputs of one segment. */
struct Entries {
    uint2 of_output[8];
};

__device__ __forceinline__ Entries load_entries(const u16 *columns, uint2 weights, int first_code)
{
    Entries entries;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        u32 weight = ((j < 4 ? weights.x : weights.y) >> (8 * (j & 3))) & 255;
        entries.of_output[j] = __ldg((const uint2 *)(columns + weight * 256 + first_code));
    }
    return entries;
}

/* Transposes 8 outputs x 4 codes of 16 bits into one segment of four rows. */
__device__ __forceinline__ void store_entries(uint4 *segment, const Entries &entries)
{
    const uint2 *e = entries.of_output;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        u32 pick = half ? 0x7632 : 0x5410; /* the upper or the lower 16 bits of both words */
        segment[half * ROW] = make_uint4(__byte_perm(e[0].x, e[1].x, pick), __byte_perm(e[2].x, e[3].x, pick),
                                         __byte_perm(e[4].x, e[5].x, pick), __byte_perm(e[6].x, e[7].x, pick));
        segment[(2 + half) * ROW] = make_uint4(__byte_perm(e[0].y, e[1].y, pick), __byte_perm(e[2].y, e[3].y, pick),
                                               __byte_perm(e[4].y, e[5].y, pick), __byte_perm(e[6].y, e[7].y, pick));
    }
}

/* Adds factor * (both halves of the sums of 8 outputs) to `out`; `n` of them exist. */
__device__ __forceinline__ void add_outputs(int *out, const u32 (&both)[4], const u32 (&high)[4], int n, u32 factor)
{
    u32 sums[8];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        sums[2 * j] = factor * (both[j] - (high[j] << 16));
        sums[2 * j + 1] = factor * high[j];
    }
    if (gridDim.z > 1) { /* the taps are shared among blocks; integer sums do not depend on the order */
#pragma unroll
        for (int j = 0; j < 8; ++j)
            if (j < n)
                atomicAdd((u32 *)out + j, sums[j]);
    } else if (n == 8 && ((size_t)out & 15) == 0) {
#pragma unroll
        for (int j = 0; j < 8; j += 4) {
            uint4 old = *(uint4 *)(out + j);
            *(uint4 *)(out + j) =
                make_uint4(old.x + sums[j], old.y + sums[j + 1], old.z + sums[j + 2], old.w + sums[j + 3]);
        }
    } else {
#pragma unroll
        for (int j = 0; j < 8; ++j)
            if (j < n)
                out[j] = (int)((u32)out[j] + sums[j]);
    }
}

/* SEGMENTS: 16-byte segments of a row with different outputs; the tile has 8 * SEGMENTS outputs. */
template <int SEGMENTS>
__device__ __forceinline__ void lookup_rows(const Geometry &g, const u8 *codes, const u16 *columns, const u8 *weights,
                                            const int *taps, int taps_per_block, u32 factor, int *out)
{
    constexpr int TILE = THREADS * POSITIONS / SEGMENTS; /* positions of a block */
    constexpr int STAGED = TILE / THREADS;               /* codes a thread brings in for a tap */
    uint4 *rows = shared;                                /* [BUFFERS][256][ROW] */
    u8 *tile_codes = (u8 *)(shared + BUFFERS * ROWS);    /* [BUFFERS][TILE] */

    const int thread = threadIdx.x, segment = thread % ROW;
    const int first_position = blockIdx.x * TILE;
    const int own = (thread / ROW * (ROW / SEGMENTS) + segment / SEGMENTS) * POSITIONS; /* within the tile */
    const int n_tiles = (g.group_outputs + 8 * SEGMENTS - 1) / (8 * SEGMENTS);
    const int group = blockIdx.y / n_tiles, tile = blockIdx.y % n_tiles;
    const int begin = blockIdx.z * taps_per_block, end = min(begin + taps_per_block, g.n_taps);

    codes += group * g.group_stride;
    weights += (size_t)blockIdx.y * g.n_taps * 64 + segment * 8;
    int offsets[STAGED];
#pragma unroll
    for (int i = 0; i < STAGED; ++i)
        offsets[i] = patch_offset(g, first_position + thread + i * THREADS);

    u32 both[POSITIONS][4] = {}, high[POSITIONS][4] = {};
    uint4 *own_rows = rows + thread / ROW * 4 * ROW + segment; /* of the four codes that this thread expands */
    uint2 chosen = __ldg((const uint2 *)(weights + (size_t)begin * 64));
    Entries entries = load_entries(columns, chosen, thread / ROW * 4);
    store_entries(own_rows, entries);
#pragma unroll
    for (int i = 0; i < STAGED; ++i)
        tile_codes[thread + i * THREADS] = __ldg(codes + offsets[i] + taps[begin]);
    chosen = __ldg((const uint2 *)(weights + (size_t)min(begin + 1, end - 1) * 64));
    __syncthreads();

    for (int tap = begin; tap < end; ++tap) {
        const int now = (tap - begin) % BUFFERS, next = (tap - begin + 1) % BUFFERS;
        const bool has_next = tap + 1 < end;
        u8 staged[STAGED] = {};
        if (has_next) {
            entries = load_entries(columns, chosen, thread / ROW * 4);
            /* Addresses of entries depend on weights, so these come one tap earlier. */
            chosen = __ldg((const uint2 *)(weights + (size_t)min(tap + 2, end - 1) * 64));
            const int offset = __ldg(taps + tap + 1);
#pragma unroll
            for (int i = 0; i < STAGED; ++i)
                staged[i] = __ldg(codes + offsets[i] + offset);
        }
        const uint4 *row = rows + now * ROWS + segment;
        const uint2 packed = *(const uint2 *)(tile_codes + now * TILE + own);
#pragma unroll
        for (int i = 0; i < POSITIONS; ++i) {
            const uint4 v = row[(((i < 4 ? packed.x : packed.y) >> (8 * (i & 3))) & 255) * ROW];
            both[i][0] += v.x, high[i][0] += v.x >> 16;
            both[i][1] += v.y, high[i][1] += v.y >> 16;
            both[i][2] += v.z, high[i][2] += v.z >> 16;
            both[i][3] += v.w, high[i][3] += v.w >> 16;
        }
        if (has_next) {
            if (BUFFERS == 1)
                __syncthreads();
            store_entries(own_rows + next * ROWS, entries);
#pragma unroll
            for (int i = 0; i < STAGED; ++i)
                tile_codes[next * TILE + thread + i * THREADS] = staged[i];
        }
        __syncthreads();
    }

    const int first = tile * 8 * SEGMENTS + segment % SEGMENTS * 8; /* output within the group */
    const int n = min(8, g.group_outputs - first);
#pragma unroll
    for (int i = 0; i < POSITIONS; ++i) {
        const int q = first_position + own + i;
        if (q < g.n_positions && n > 0)
            add_outputs(out + (size_t)q * g.n_outputs + group * g.group_outputs + first, both[i], high[i], n, factor);
    }
}

/* out [n_positions][n_outputs] += factor * SUM_k columns[w_ok][x_k] modulo 2^32.
 *
 * codes:   [images][channels][height][width].
 * columns: [256][256], 16 bits: entry of weight code (first) and activation code; a block's tile is blockIdx.y.
 * weights: [groups * tiles][n_taps][64], the weight code of each slot of a row; slots of missing outputs: any code.
 * taps:    [n_taps], where the codes of a tap lie from the beginning of a patch.
 * Grid: (tiles of positions, groups * tiles of outputs, shares of the taps), block: (THREADS, 1, 1), shared memory:
 * BUFFERS * (32768 + positions of a block). */
#define LOOKUP_ROWS(outputs)                                                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                           \
        lookup_rows_##outputs(const Geometry g, const u8 *codes, const u16 *columns, const u8 *weights,                \
                              const int *taps, const int taps_per_block, const u32 factor, int *out)                   \
    {                                                                                                                  \
        lookup_rows<outputs / 8>(g, codes, columns, weights, taps, taps_per_block, factor, out);                       \
    }

LOOKUP_ROWS(8)
LOOKUP_ROWS(16)
LOOKUP_ROWS(32)
LOOKUP_ROWS(64)

constexpr int COLUMN_THREADS = 256; /* one a code while columns are brought in */
constexpr int COLUMN_TAPS = 32;     /* brought in at once */

/* out [images][n_outputs][out_height][out_width] = constant[o] + SUM_k (columns[w_ok][x_k] - zero_point[o] * value(x_k))
 * modulo 2^32.
 *
 * columns:     [256][256], whole entries.
 * weights:     [n_outputs][n_taps].
 * lowest_code: value of code 0.
 * Grid: (tiles of COLUMN_THREADS * POSITIONS positions, n_outputs, 1), block: (COLUMN_THREADS, 1, 1), shared memory:
 * COLUMN_TAPS * 1024. */
extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
    lookup_columns(const Geometry g, const u8 *codes, const int *columns, const u8 *weights, const int *taps,
                   const int *zero_point, const int *constant, const int lowest_code, int *out)
{
    int *entries = (int *)shared; /* [COLUMN_TAPS][256] */
    const int thread = threadIdx.x, output = blockIdx.y;
    const int first_position = blockIdx.x * COLUMN_THREADS * POSITIONS + thread;
    const u32 correction = (u32)zero_point[output] * (u32)(thread + lowest_code);
    codes += output / g.group_outputs * g.group_stride;
    weights += (size_t)output * g.n_taps;

    int offsets[POSITIONS];
    u32 sums[POSITIONS];
#pragma unroll
    for (int i = 0; i < POSITIONS; ++i) {
        offsets[i] = patch_offset(g, first_position + i * COLUMN_THREADS);
        sums[i] = (u32)constant[output];
    }
    for (int begin = 0; begin < g.n_taps; begin += COLUMN_TAPS) {
        const int n = min(COLUMN_TAPS, g.n_taps - begin);
        __syncthreads();
        for (int k = 0; k < n; ++k)
            entries[k * 256 + thread] = (int)((u32)columns[weights[begin + k] * 256 + thread] - correction);
        __syncthreads();
        for (int k = 0; k < n; ++k) {
            const u8 *tap_codes = codes + taps[begin + k];
#pragma unroll
            for (int i = 0; i < POSITIONS; ++i)
                sums[i] += (u32)entries[k * 256 + __ldg(tap_codes + offsets[i])];
        }
    }
    const int per_image = g.out_height * g.out_width;
#pragma unroll
    for (int i = 0; i < POSITIONS; ++i) {
        const int q = first_position + i * COLUMN_THREADS;
        if (q < g.n_positions)
            out[((size_t)(q / per_image) * g.n_outputs + output) * per_image + q % per_image] = (int)sums[i];
    }
}
