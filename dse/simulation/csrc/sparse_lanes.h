/* Sixteen bytes in a register of x86, for sparse_*.c of AVX2 and above. */
#ifndef DSE_SPARSE_LANES_H
#define DSE_SPARSE_LANES_H

#include <immintrin.h>

#include "sparse.h"

typedef __m128i lanes;

static inline lanes add(lanes a, lanes b) { return _mm_add_epi8(a, b); }

static inline void store(lanes a, uint8_t *bytes) { _mm_storeu_si128((__m128i *)bytes, a); }

/* Slope times lane modulo 256: 16-bit products of which the low bytes are kept. */
static inline lanes lines_of(int64_t slope)
{
    __m256i lane = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m256i lines = _mm256_and_si256(_mm256_mullo_epi16(lane, _mm256_set1_epi16((short)slope)), _mm256_set1_epi16(255));
    return _mm_packus_epi16(_mm256_castsi256_si128(lines), _mm256_extracti128_si256(lines, 1));
}

typedef __m256i two_lanes;

static inline lanes half(two_lanes pair, int is_odd)
{
    return is_odd ? _mm256_extracti128_si256(pair, 1) : _mm256_castsi256_si128(pair);
}

/* Low four bits of the deltas. */
static inline two_lanes low_four(const uint8_t *low_bits)
{
    __m128i both = _mm_loadu_si128((const __m128i *)low_bits);
    return _mm256_and_si256(_mm256_set_m128i(both, _mm_srli_epi16(both, 4)), _mm256_set1_epi8(15));
}

/* Moves the masks that there are to the places of their bits; the others become zero. By a group's map. */
#define BEFORE(map, bit, i) ((bit) > (i) && (map) >> (i) & 1)
#define RANK(map, bit) (BEFORE(map, bit, 0) + BEFORE(map, bit, 1) + BEFORE(map, bit, 2))
#define MASK_AT(map, bit) \
    (map) >> (bit) & 1 ? 2 * RANK(map, bit) : -1, (map) >> (bit) & 1 ? 2 * RANK(map, bit) + 1 : -1
#define MASKS_OF(map) \
    {MASK_AT(map, 0), MASK_AT(map, 1), MASK_AT(map, 2), MASK_AT(map, 3), -1, -1, -1, -1, -1, -1, -1, -1}
static const int8_t masks_in_place[16][16] = {
    MASKS_OF(0), MASKS_OF(1), MASKS_OF(2),  MASKS_OF(3),  MASKS_OF(4),  MASKS_OF(5),  MASKS_OF(6),  MASKS_OF(7),
    MASKS_OF(8), MASKS_OF(9), MASKS_OF(10), MASKS_OF(11), MASKS_OF(12), MASKS_OF(13), MASKS_OF(14), MASKS_OF(15),
};

/* Masks of bits 4 to 7, zero where a bit does not occur, of the even group, then of the odd one. */
static inline __m256i all_masks(unsigned maps, const uint16_t *masks)
{
    unsigned even = maps >> 4, odd = maps & 15;
    __m128i first = _mm_loadl_epi64((const __m128i *)masks), second = _mm_loadl_epi64((const __m128i *)(masks + ones(even)));
    first = _mm_shuffle_epi8(first, _mm_loadu_si128((const __m128i *)masks_in_place[even]));
    second = _mm_shuffle_epi8(second, _mm_loadu_si128((const __m128i *)masks_in_place[odd]));
    return _mm256_set_m128i(second, first);
}

/* The mask of a bit spread so that a lane has the byte where its bit is. */
static inline __m256i spread(__m256i masks, int bit)
{
    const long long low = 0x0101010101010101ll * (2 * bit), high = low + 0x0101010101010101ll;
    return _mm256_shuffle_epi8(masks, _mm256_setr_epi64x(low, high, low, high));
}

static inline __m256i bit_of_lane(void) { return _mm256_set1_epi64x((long long)0x8040201008040201ull); }

/* Two weights as the pair of 16-bit numbers that a multiply-add takes. */
static inline int weight_pair(int w0, int w1) { return (int)((unsigned)(w1 & 0xffff) << 16 | (unsigned)(w0 & 0xffff)); }

#endif
