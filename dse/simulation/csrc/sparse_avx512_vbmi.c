#define ISA avx512_vbmi
#include "sparse_wide.h"

typedef __m256i sums;

static inline sums no_sums(void) { return _mm256_setzero_si256(); }

static inline int32_t total(sums found)
{
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(found), _mm256_extracti128_si256(found, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

/* Byte permutes of the window's 256 bytes in four registers, a fraction of the time that a gather takes. */
static inline sums products(sums found, const int8_t *window, lanes offsets, const int8_t *values, int n)
{
    __m512i index = _mm512_castsi128_si512(offsets);
    __m512i low = _mm512_permutex2var_epi8(_mm512_loadu_si512(window), index, _mm512_loadu_si512(window + 64));
    __m128i x = _mm512_castsi512_si128(low);
    __mmask16 is_high = _mm_movepi8_mask(offsets);
    if (is_high) {
        const int8_t *behind = window + 128;
        low = _mm512_permutex2var_epi8(_mm512_loadu_si512(behind), index, _mm512_loadu_si512(behind + 64));
        x = _mm_mask_mov_epi8(x, is_high, _mm512_castsi512_si128(low));
    }
    __m256i w = _mm256_cvtepi8_epi16(first_values(values, n));
    return _mm256_add_epi32(found, _mm256_madd_epi16(_mm256_cvtepi8_epi16(x), w));
}

#include "sparse_kernel.h"
