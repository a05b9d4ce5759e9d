/* What both levels of AVX-512 share, for sparse_avx512*.c. */
#ifndef DSE_SPARSE_WIDE_H
#define DSE_SPARSE_WIDE_H

#include "sparse_lanes.h"

static inline __attribute__((always_inline)) two_lanes deltas(const uint8_t *low_bits, unsigned maps,
                                                              const uint16_t *masks)
{
    two_lanes found = low_four(low_bits);
    __m256i all = all_masks(maps, masks);
    for (int bit = 0; bit < 4; bit++) {
        __mmask32 is_set = _mm256_test_epi8_mask(spread(all, bit), bit_of_lane());
        found = _mm256_mask_add_epi8(found, is_set, found, _mm256_set1_epi8((char)(16 << bit)));
    }
    return found;
}

static inline __m128i first_values(const int8_t *values, int n)
{
    return _mm_maskz_loadu_epi8((__mmask16)(0xffffu >> (GROUP - n)), values);
}

typedef struct {
    __m512i part[4];
} tile;

static inline void no_tile(tile *found)
{
    for (int i = 0; i < 4; i++)
        found->part[i] = _mm512_setzero_si512();
}

/* Bytes of the two rows interleaved, widened, multiplied; a part has 16 columns. */
static inline __attribute__((always_inline)) void add_pair(tile *found, const int8_t *x0, const int8_t *x1, int w0,
                                                           int w1)
{
    __m512i weights = _mm512_set1_epi32(weight_pair(w0, w1));
    __m512i a = _mm512_loadu_si512(x0), b = _mm512_loadu_si512(x1);
    __m512i low = _mm512_unpacklo_epi8(a, b), high = _mm512_unpackhi_epi8(a, b);
    __m256i bytes[4] = {_mm512_castsi512_si256(low), _mm512_extracti64x4_epi64(low, 1), _mm512_castsi512_si256(high),
                        _mm512_extracti64x4_epi64(high, 1)};
    for (int i = 0; i < 4; i++)
        found->part[i] =
            _mm512_add_epi32(found->part[i], _mm512_madd_epi16(_mm512_cvtepi8_epi16(bytes[i]), weights));
}

/* Unpacking left columns 0-7 and 16-23 in the first part, 32-39 and 48-55 in the second, those between in the others. */
static inline void put(const tile *found, int32_t *y)
{
    for (int i = 0; i < 4; i++) {
        int32_t *first = y + 32 * (i & 1) + 8 * (i >> 1);
        _mm256_storeu_si256((__m256i *)first, _mm512_castsi512_si256(found->part[i]));
        _mm256_storeu_si256((__m256i *)(first + 16), _mm512_extracti64x4_epi64(found->part[i], 1));
    }
}

#endif
