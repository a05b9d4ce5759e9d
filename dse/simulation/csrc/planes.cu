/* Convolutions of 8-bit feature planes on tensor cores (compute capability 7.5 and later). Compiled at run time, see
 * ../planes.py.
 *
 * A factorized table turns a product into 4 * WORDS products of bytes, phi_r(x) * psi_r(w), summed in int32. Features
 * are never written to memory: a block holds the 256 rows phi(x) in shared memory, and a thread looks the rows of its
 * codes up where the matrix instruction wants them. One row serves all outputs of the tile, so that the matrix
 * instructions, not the lookups, are the limit from about 32 outputs on.
 *
 * The instruction (mma.m16n8k32) multiplies 16 positions x 32 bytes by 32 bytes x 8 outputs. Which byte of the sum is
 * which does not matter as long as both sides agree, nor does the order of positions. Therefore
 * - a step takes 64 bytes of a position: TAPS = 16 / WORDS taps (input channel and kernel position), two instructions;
 * - of a step, the threads of one quad have 16 bytes each: whole taps, so a row is one read of 4 * WORDS bytes;
 * - the positions of a thread, two for each of its MT row tiles, are neighbors: their codes are one read.
 * Weights lie in memory as the threads of a warp want them: one read of 16 bytes for 8 outputs and a step.
 *
 * Codes are padded already, channels last, channels of a group padded to a multiple of 4: four taps of a position are
 * one word. Four words of four positions are transposed on their way to shared memory.
 */

#include "geometry.cuh"

#ifndef WORDS
#define WORDS 4 /* 32-bit words of features a code: 1, 2 or 4 */
#endif

extern __shared__ uint4 shared[]; /* as many bytes as the kernel is launched with */

constexpr int THREADS = 256, WARPS = THREADS / 32;
constexpr int TAPS = 16 / WORDS;    /* of a step */
constexpr int OWN_TAPS = 4 / WORDS; /* of a step, of one thread */

/* D = A B + D for 16x32 unsigned and 32x8 signed bytes; sums wrap modulo 2^32. */
__device__ __forceinline__ void multiply_add(int (&d)[4], const u32 (&a)[4], const u32 (&b)[2])
{
#if !defined(__CUDA_ARCH__)
    host_mma(d, a, b);
#elif __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else /* the same of 8 rows and half the bytes: a[row / 8 + 2 * half], b[half] */
#pragma unroll
    for (int i = 0; i < 4; ++i)
        asm("mma.sync.aligned.m8n8k16.row.col.s32.u8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
            : "+r"(d[i % 2 * 2]), "+r"(d[i % 2 * 2 + 1])
            : "r"(a[i]), "r"(b[i / 2]));
#endif
}

/* Four words of four bytes each to their transpose. */
__device__ __forceinline__ void transpose(u32 (&w)[4])
{
    const u32 a = __byte_perm(w[0], w[1], 0x5140), b = __byte_perm(w[2], w[3], 0x5140); /* bytes 0 and 1 of both */
    const u32 c = __byte_perm(w[0], w[1], 0x7362), d = __byte_perm(w[2], w[3], 0x7362); /* bytes 2 and 3 */
    w[0] = __byte_perm(a, b, 0x5410), w[1] = __byte_perm(a, b, 0x7632);
    w[2] = __byte_perm(c, d, 0x5410), w[3] = __byte_perm(c, d, 0x7632);
}

/* Features of one code as WORDS of the four words f. */
__device__ __forceinline__ void read_features(u32 *f, const u32 *features, u32 code)
{
#if WORDS == 4
    const uint4 row = ((const uint4 *)features)[code];
    f[0] = row.x, f[1] = row.y, f[2] = row.z, f[3] = row.w;
#elif WORDS == 2
    const uint2 row = ((const uint2 *)features)[code];
    f[0] = row.x, f[1] = row.y;
#else
    f[0] = features[code];
#endif
}

__device__ __forceinline__ void add_pair(int *out, int n, u32 first, u32 second)
{
    if (gridDim.z > 1) { /* the taps are shared among blocks; integer sums do not depend on the order */
        atomicAdd((u32 *)out, first);
        if (n > 1)
            atomicAdd((u32 *)out + 1, second);
    } else if (n > 1 && ((size_t)out & 7) == 0) {
        uint2 old = *(uint2 *)out;
        *(uint2 *)out = make_uint2(old.x + first, old.y + second);
    } else {
        out[0] = (int)((u32)out[0] + first);
        if (n > 1)
            out[1] = (int)((u32)out[1] + second);
    }
}

/* MT row tiles of 16 positions a warp, NT column tiles of 8 outputs a block. */
template <int MT, int NT>
__device__ __forceinline__ void planes(const Geometry &g, const u8 *codes, const u32 *features, const uint4 *weights,
                                       const int *taps, int steps_per_block, u32 factor, int *out)
{
    constexpr int TILE = WARPS * 16 * MT;                             /* positions of a block */
    constexpr int PAD = 8 * WORDS > 2 * MT ? 8 * WORDS : 2 * MT;      /* quads of a warp read other banks */
    constexpr int LINE = TILE + PAD;                                  /* bytes of the codes of a tap */
    constexpr int UNITS = TAPS / 4 * (TILE / 4);                      /* words of taps x words of positions of a step */
    constexpr int STAGED = (UNITS + THREADS - 1) / THREADS;           /* units that a thread brings in for a step */
    u32 *rows = (u32 *)shared;                                        /* [256][WORDS] */
    u8 *tile_codes = (u8 *)(rows + 256 * WORDS);                      /* [2][TAPS][LINE] */

    const int thread = threadIdx.x, lane = thread % 32, quad = lane % 4;
    const int own = thread / 32 * 16 * MT + lane / 4 * 2 * MT;        /* first of 2 * MT positions within the tile */
    const int first_position = blockIdx.x * TILE;
    const int n_tiles = (g.group_outputs + 8 * NT - 1) / (8 * NT);
    const int group = blockIdx.y / n_tiles, tile = blockIdx.y % n_tiles;
    const int n_steps = g.n_taps / TAPS;
    const int begin = blockIdx.z * steps_per_block, end = min(begin + steps_per_block, n_steps);

    codes += group * g.group_stride;
    weights += (size_t)blockIdx.y * n_steps * NT * 32 + lane;
    for (int i = thread; i < 256 * WORDS; i += THREADS)
        rows[i] = __ldg(features + i);

    /* THREADS is a multiple of TILE / 4, so all units of a thread are of the same positions. */
    const int unit_position = thread % (TILE / 4) * 4, unit_taps = thread / (TILE / 4);
    const bool has_unit = unit_taps < TAPS / 4;
    int offsets[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
        offsets[i] = patch_offset(g, first_position + unit_position + i);

    u32 staged[STAGED][4] = {};
    auto load_codes = [&](int step) {
#pragma unroll
        for (int u = 0; u < STAGED; ++u) {
            const int quad_of_taps = step * (TAPS / 4) + unit_taps + u * (THREADS / (TILE / 4));
            const int offset = has_unit ? __ldg(taps + quad_of_taps) : 0;
#pragma unroll
            for (int i = 0; i < 4; ++i)
                staged[u][i] = has_unit ? __ldg((const u32 *)(codes + offsets[i] + offset)) : 0;
        }
    };
    auto store_codes = [&](int buffer) {
#pragma unroll
        for (int u = 0; u < STAGED; ++u) {
            transpose(staged[u]);
            const int first_tap = (unit_taps + u * (THREADS / (TILE / 4))) * 4;
            if (has_unit)
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    *(u32 *)(tile_codes + (buffer * TAPS + first_tap + i) * LINE + unit_position) = staged[u][i];
        }
    };

    int sums[MT][NT][4] = {};
    load_codes(begin);
    store_codes(0);
    __syncthreads();
    for (int step = begin; step < end; ++step) {
        const int now = (step - begin) % 2;
        const bool has_next = step + 1 < end;
        if (has_next)
            load_codes(step + 1);

        u32 b[NT][2][2];
#pragma unroll
        for (int j = 0; j < NT; ++j) {
            const uint4 w = __ldg(weights + ((size_t)step * NT + j) * 32);
            b[j][0][0] = w.x, b[j][0][1] = w.y, b[j][1][0] = w.z, b[j][1][1] = w.w;
        }
        u32 own_codes[OWN_TAPS][MT / 2]; /* of 2 * MT positions, four a word */
#pragma unroll
        for (int t = 0; t < OWN_TAPS; ++t)
#pragma unroll
            for (int i = 0; i < MT / 4; ++i) {
                const u8 *line = tile_codes + (now * TAPS + quad * OWN_TAPS + t) * LINE + own;
                const uint2 pair = ((const uint2 *)line)[i];
                own_codes[t][2 * i] = pair.x, own_codes[t][2 * i + 1] = pair.y;
            }
#pragma unroll
        for (int m = 0; m < MT; ++m) {
            u32 f[2][4]; /* 16 bytes of two positions */
#pragma unroll
            for (int row = 0; row < 2; ++row)
#pragma unroll
                for (int t = 0; t < OWN_TAPS; ++t) {
                    const u32 code = own_codes[t][m / 2] >> (8 * (2 * (m % 2) + row)) & 255;
                    read_features(f[row] + t * WORDS, rows, code);
                }
            const u32 a[2][4] = {{f[0][0], f[1][0], f[0][1], f[1][1]}, {f[0][2], f[1][2], f[0][3], f[1][3]}};
#pragma unroll
            for (int j = 0; j < NT; ++j) {
                multiply_add(sums[m][j], a[0], b[j][0]);
                multiply_add(sums[m][j], a[1], b[j][1]);
            }
        }
        if (has_next)
            store_codes(1 - now);
        __syncthreads();
    }

#pragma unroll
    for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            const int q = first_position + own + 2 * m + row;
            if (q >= g.n_positions)
                continue;
#pragma unroll
            for (int j = 0; j < NT; ++j) {
                const int first = (tile * NT + j) * 8 + quad * 2, n = g.group_outputs - first;
                if (n > 0)
                    add_pair(out + (size_t)q * g.n_outputs + group * g.group_outputs + first, n,
                             factor * (u32)sums[m][j][2 * row], factor * (u32)sums[m][j][2 * row + 1]);
            }
        }
}

/* out [n_positions][n_outputs] += factor * SUM_k SUM_r features[x_k][r] * weights[o][k][r] modulo 2^32.
 *
 * codes:    [images][height][width][groups * channels], channels a multiple of 4.
 * features: [256][4 * WORDS] bytes.
 * weights:  [groups * tiles][n_taps / TAPS][8 * NT / 8][32 lanes][16] signed bytes: lane 4 * o + q has those of output
 *           o for taps q * OWN_TAPS.. of the step. g.n_taps counts padding, a multiple of TAPS.
 * taps:     [n_taps / 4], where the word of four taps lies from the beginning of a patch.
 * Grid: (tiles of positions, groups * tiles of outputs, shares of the steps), block: (THREADS, 1, 1), shared memory:
 * 1024 * WORDS + 2 * TAPS * LINE. */
#define PLANES(outputs, row_tiles)                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                           \
        planes_##outputs(const Geometry g, const u8 *codes, const u32 *features, const uint4 *weights,                 \
                         const int *taps, const int steps_per_block, const u32 factor, int *out)                       \
    {                                                                                                                  \
        planes<row_tiles, outputs / 8>(g, codes, features, weights, taps, steps_per_block, factor, out);               \
    }

PLANES(16, 8)
PLANES(32, 8)
PLANES(64, 4)
