#define ISA avx2
#include "sparse_lanes.h"

static inline __attribute__((always_inline)) two_lanes deltas(const uint8_t *low_bits, unsigned maps,
                                                              const uint16_t *masks)
{
    two_lanes found = low_four(low_bits);
    __m256i all = all_masks(maps, masks);
    for (int bit = 0; bit < 4; bit++) {
        if (!(maps >> bit & 0x11))
            continue;
        __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(spread(all, bit), bit_of_lane()), bit_of_lane());
        found = _mm256_or_si256(found, _mm256_and_si256(is_set, _mm256_set1_epi8((char)(16 << bit))));
    }
    return found;
}

typedef __m256i sums;

static inline sums no_sums(void) { return _mm256_setzero_si256(); }

static inline int32_t total(sums found)
{
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(found), _mm256_extracti128_si256(found, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

/* Eight codes times eight values. A gather reads four bytes, of which the first is kept. */
static inline sums eight_products(sums found, const int8_t *window, __m128i offsets, __m128i values)
{
    __m256i x = _mm256_i32gather_epi32((const int *)window, _mm256_cvtepu8_epi32(offsets), 1);
    x = _mm256_srai_epi32(_mm256_slli_epi32(x, 24), 24);
    return _mm256_add_epi32(found, _mm256_madd_epi16(x, _mm256_cvtepu16_epi32(_mm_cvtepi8_epi16(values))));
}

static inline sums products(sums found, const int8_t *window, lanes offsets, const int8_t *values, int n)
{
    static const int8_t is_lane[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    __m128i w = _mm_and_si128(_mm_loadu_si128((const __m128i *)values),
                              _mm_loadu_si128((const __m128i *)(is_lane + GROUP - n)));
    found = eight_products(found, window, offsets, w);
    return eight_products(found, window, _mm_srli_si128(offsets, 8), _mm_srli_si128(w, 8));
}

typedef struct {
    __m256i part[8];
} tile;

static inline void no_tile(tile *found)
{
    for (int i = 0; i < 8; i++)
        found->part[i] = _mm256_setzero_si256();
}

static inline __attribute__((always_inline)) void add_pair(tile *found, const int8_t *x0, const int8_t *x1, int w0,
                                                           int w1)
{
    __m256i weights = _mm256_set1_epi32(weight_pair(w0, w1));
    for (int i = 0; i < 4; i++) { /* 16 columns each: bytes of the two rows interleaved, widened, multiplied */
        __m128i a = _mm_loadu_si128((const __m128i *)(x0 + 16 * i)), b = _mm_loadu_si128((const __m128i *)(x1 + 16 * i));
        __m256i low = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)), high = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b));
        found->part[2 * i] = _mm256_add_epi32(found->part[2 * i], _mm256_madd_epi16(low, weights));
        found->part[2 * i + 1] = _mm256_add_epi32(found->part[2 * i + 1], _mm256_madd_epi16(high, weights));
    }
}

static inline void put(const tile *found, int32_t *y)
{
    for (int i = 0; i < 8; i++)
        _mm256_storeu_si256((__m256i *)(y + 8 * i), found->part[i]);
}

#include "sparse_kernel.h"
