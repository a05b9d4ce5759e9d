/* Tasks of the permute kernel: up to TILE_POSITIONS positions, all outputs. See permute.h. */
#include <immintrin.h>
#include <string.h>

#include "finish.h"
#include "permute.h"
#include "transpose.h"

enum { FLUSH = 255 }; /* bytes that 16 bits can sum */

typedef uint8_t bytes_16 __attribute__((vector_size(16)));
typedef bytes_16 bytes_16_unaligned __attribute__((aligned(1)));
typedef uint32_t words_8 __attribute__((vector_size(32)));

/* Part of the channels: of whole groups, or of one group. */
typedef struct {
    int64_t group, n_groups, first, width; /* `first` counts in the group; `width` channels a group */
} part;

/* --- codes, positions innermost ----------------------------------------------------------------------------------- */

/* Channels of one tap at 16 positions, to packed[channel * TILE_POSITIONS]. */
static void pack_16(const uint8_t *const *codes, int64_t offset, int64_t n_channels, uint8_t *packed)
{
    int64_t c = 0;
    for (; c + 16 <= n_channels; c += 16) {
        bytes_16 r[16];
        for (int i = 0; i < 16; i++)
            r[i] = *(const bytes_16_unaligned *)(codes[i] + offset + c);
        TRANSPOSE(bytes_16, 16, r)
        for (int i = 0; i < 16; i++)
            *(bytes_16 *)(packed + (c + i) * TILE_POSITIONS) = r[i];
    }
    for (; c < n_channels; c++)
        for (int i = 0; i < 16; i++)
            packed[c * TILE_POSITIONS + i] = codes[i][offset + c];
}

static void pack(const permute_call *call, part p, int64_t begin, int64_t end, uint8_t *packed)
{
    const geometry *g = &call->g;
    int64_t n_channels = p.n_groups * p.width, n_packed = (end - begin + LANES - 1) / LANES * LANES;
    const uint8_t *codes[TILE_POSITIONS];
    first_codes(g, call->codes + p.group * g->channels + p.first, begin, end - begin, codes);
    for (int64_t i = end - begin; i < n_packed; i++)
        codes[i] = codes[end - begin - 1];
    for (int64_t i = 0; i < n_packed; i += 16) {
        int64_t offset = 0, x = 0;
        for (int64_t tap = 0; tap < g->n_taps; tap++, offset = next_offset(g, offset, &x))
            pack_16(codes + i, offset, n_channels, packed + tap * n_channels * TILE_POSITIONS + i);
    }
}

/* --- sums --------------------------------------------------------------------------------------------------------- */

/* Sums of 64 bytes a product: even + 256 * odd modulo 2^16, and odd. */
typedef struct {
    __m512i all, odd;
} byte_sums;

static inline __attribute__((always_inline)) void add_bytes(byte_sums *sums, __m512i bytes)
{
    sums->all = _mm512_add_epi16(sums->all, bytes);
    sums->odd = _mm512_add_epi16(sums->odd, _mm512_srli_epi16(bytes, 8));
}

static inline __attribute__((always_inline)) __m512i even(byte_sums sums)
{
    return _mm512_sub_epi16(sums.all, _mm512_slli_epi16(sums.odd, 8));
}

/* sums[0..31] += 16-bit low + 256 * high. */
static inline __attribute__((always_inline)) void add_words(int32_t *sums, __m512i low, __m512i high)
{
    for (int half = 0; half < 2; half++) {
        __m256i l = half ? _mm512_extracti64x4_epi64(low, 1) : _mm512_castsi512_si256(low);
        __m256i h = half ? _mm512_extracti64x4_epi64(high, 1) : _mm512_castsi512_si256(high);
        __m512i sum = _mm512_add_epi32(_mm512_cvtepu16_epi32(l), _mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 8));
        _mm512_store_si512(sums + 16 * half, _mm512_add_epi32(_mm512_load_si512(sums + 16 * half), sum));
    }
}

/* Sums of the 32 even positions, then of the 32 odd ones. */
static inline __attribute__((always_inline)) void flush(int32_t *sums, byte_sums low, byte_sums high)
{
    add_words(sums, even(low), even(high));
    add_words(sums + 32, low.odd, high.odd);
}

static inline __attribute__((always_inline)) __m512i look_up(__m512i codes, __mmask64 is_high, const __m512i *plane)
{
    return _mm512_mask_blend_epi8(is_high, _mm512_permutex2var_epi8(plane[0], codes, plane[1]),
                                  _mm512_permutex2var_epi8(plane[2], codes, plane[3]));
}

/* Adds n_k products to the sums of n * 64 positions. */
static inline __attribute__((always_inline)) void accumulate(const uint8_t *const *columns, const uint8_t *packed,
                                                             const int64_t *offsets, int64_t n_k, int n, int32_t *sums)
{
    byte_sums low[4], high[4];
    for (int v = 0; v < n; v++)
        low[v] = high[v] = (byte_sums){_mm512_setzero_si512(), _mm512_setzero_si512()};
    for (int64_t k = 0; k < n_k; k++) {
        __m512i planes[8];
        for (int i = 0; i < 8; i++)
            planes[i] = _mm512_loadu_si512(columns[k] + 64 * i);
        for (int v = 0; v < n; v++) {
            __m512i codes = _mm512_loadu_si512(packed + offsets[k] + LANES * v);
            __mmask64 is_high = _mm512_movepi8_mask(codes);
            add_bytes(low + v, look_up(codes, is_high, planes));
            add_bytes(high + v, look_up(codes, is_high, planes + 4));
        }
    }
    for (int v = 0; v < n; v++)
        flush(sums + LANES * v, low[v], high[v]);
}

static void add_products(const uint8_t *const *columns, const uint8_t *packed, const int64_t *offsets, int64_t n_k,
                         int64_t n_vectors, int32_t *sums)
{
    for (int64_t k = 0; k < n_k; k += FLUSH) {
        int64_t n = smaller(n_k - k, FLUSH);
        switch (n_vectors) {
        case 1: accumulate(columns + k, packed, offsets + k, n, 1, sums); break;
        case 2: accumulate(columns + k, packed, offsets + k, n, 2, sums); break;
        case 3: accumulate(columns + k, packed, offsets + k, n, 3, sums); break;
        default: accumulate(columns + k, packed, offsets + k, n, 4, sums);
        }
    }
}

/* Adds the codes themselves, in the range 0..255. */
static void add_codes(int is_signed, const uint8_t *packed, const int64_t *offsets, int64_t n_k, int64_t n_vectors,
                      int32_t *sums)
{
    __m512i flip = _mm512_set1_epi8(is_signed ? (char)0x80 : 0);
    byte_sums zero = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    for (int64_t k = 0; k < n_k; k += FLUSH)
        for (int64_t v = 0; v < n_vectors; v++) {
            byte_sums low = zero;
            for (int64_t i = k; i < smaller(k + FLUSH, n_k); i++)
                add_bytes(&low, _mm512_xor_si512(flip, _mm512_loadu_si512(packed + offsets[i] + LANES * v)));
            flush(sums + LANES * v, low, zero);
        }
}

/* The column of the table of every product in a part, for one output. */
static void find_columns(const permute_call *call, part p, int64_t output, const uint8_t **columns)
{
    const geometry *g = &call->g;
    const uint8_t *column_of = call->column_of + output * g->fan_in + p.first;
    const uint8_t *planes = call->planes[table_at(call->table_of, output)];
    for (int64_t tap = 0; tap < g->n_taps; tap++, column_of += g->channels)
        for (int64_t c = 0; c < p.width; c++)
            *columns++ = planes + 512 * (int64_t)column_of[c];
}

/* All outputs of the groups in a part. */
static void add_part(const permute_call *call, part p, int64_t n_vectors, permute_space space)
{
    const geometry *g = &call->g;
    int64_t n_k = g->n_taps * p.width, n_channels = p.n_groups * p.width;
    for (int64_t tap = 0, k = 0; tap < g->n_taps; tap++)
        for (int64_t c = 0; c < p.width; c++)
            space.offsets[k++] = (tap * n_channels + c) * TILE_POSITIONS;
    for (int64_t i = 0; i < p.n_groups; i++) {
        const uint8_t *packed = space.packed + i * p.width * TILE_POSITIONS;
        int64_t group = p.group + i;
        if (call->has_zero_points)
            add_codes(call->is_signed, packed, space.offsets, n_k, n_vectors, space.code_sums + group * TILE_POSITIONS);
        for (int64_t o = group * g->outputs; o < (group + 1) * g->outputs; o++) {
            find_columns(call, p, o, space.columns);
            add_products(space.columns, packed, space.offsets, n_k, n_vectors, space.sums + o * TILE_POSITIONS);
        }
    }
}

/* --- results ------------------------------------------------------------------------------------------------------ */

/* sums[output][slot..slot + 7] as rows[i][output]. */
static void transpose_8(const int32_t *sums, int64_t n_outputs, int32_t *rows)
{
    int64_t o = 0;
    for (; o + 8 <= n_outputs; o += 8) {
        words_8 r[8];
        for (int i = 0; i < 8; i++)
            r[i] = *(const words_8 *)(sums + (o + i) * TILE_POSITIONS);
        TRANSPOSE(words_8, 8, r)
        for (int i = 0; i < 8; i++)
            _mm256_storeu_si256((__m256i *)(rows + i * n_outputs + o), (__m256i)r[i]);
    }
    for (; o < n_outputs; o++)
        for (int i = 0; i < 8; i++)
            rows[i * n_outputs + o] = sums[o * TILE_POSITIONS + i];
}

/* Zero points taken out of the sums of one output, and the lowest entry put back. */
static void correct(const permute_call *call, int64_t output, int64_t n_slots, permute_space space)
{
    const geometry *g = &call->g;
    const int32_t *code_sums = space.code_sums + output / g->outputs * TILE_POSITIONS;
    uint32_t zero_point = (uint32_t)call->zero_point[output], fan_in = (uint32_t)g->fan_in;
    uint32_t low = (uint32_t)call->low[table_at(call->table_of, output)];
    /* sums of signed codes are 128 a code too high */
    uint32_t constant = low * fan_in + (call->is_signed ? 128 * fan_in * zero_point : 0);
    uint32_t *sums = (uint32_t *)space.sums + output * TILE_POSITIONS;
    if (call->has_zero_points)
        for (int64_t i = 0; i < n_slots; i++)
            sums[i] += constant - zero_point * (uint32_t)code_sums[i];
    else
        for (int64_t i = 0; i < n_slots; i++)
            sums[i] += constant;
}

/* Of every 64 positions the sums of the 32 even ones come first. */
static int64_t position_of(int64_t slot)
{
    int64_t in_vector = slot % LANES;
    return slot - in_vector + in_vector % 32 * 2 + in_vector / 32;
}

void dse_permute_avx512_vbmi(const permute_call *call, int64_t begin, int64_t end, permute_space space)
{
    const geometry *g = &call->g;
    int64_t n_outputs = g->conv.outputs, n_vectors = (end - begin + LANES - 1) / LANES;
    memset(space.sums, 0, (size_t)(n_outputs * TILE_POSITIONS) * sizeof *space.sums);
    memset(space.code_sums, 0, (size_t)(g->conv.groups * TILE_POSITIONS) * sizeof *space.code_sums);
    int64_t n_groups = call->packed_channels > g->channels ? call->packed_channels / g->channels : 1;
    for (int64_t group = 0; group < g->conv.groups; group += n_groups)
        for (int64_t first = 0; first < g->channels; first += call->packed_channels) {
            part p = {group, smaller(n_groups, g->conv.groups - group), first,
                      smaller(call->packed_channels, g->channels - first)};
            pack(call, p, begin, end, space.packed);
            add_part(call, p, n_vectors, space);
        }
    for (int64_t output = 0; output < n_outputs; output++)
        correct(call, output, n_vectors * LANES, space);
    for (int64_t slot = 0; slot < n_vectors * LANES; slot += 8) {
        transpose_8(space.sums + slot, n_outputs, space.rows);
        for (int64_t i = 0; i < 8; i++) {
            int64_t position = begin + position_of(slot + i);
            if (position < end)
                finish_position(&call->finish, 0, n_outputs, position * n_outputs, space.rows + i * n_outputs,
                                call->out);
        }
    }
}
