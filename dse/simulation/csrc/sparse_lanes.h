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

/* Low four bits of the deltas. */
static inline lanes low_bits(const uint8_t *pair, int is_odd)
{
    __m128i both = _mm_loadu_si128((const __m128i *)pair);
    return _mm_and_si128(_mm_srl_epi16(both, _mm_cvtsi32_si128(is_odd ? 0 : 4)), _mm_set1_epi8(15));
}

/* Two weights as the pair of 16-bit numbers that a multiply-add takes. */
static inline int weight_pair(int w0, int w1) { return (int)((unsigned)(w1 & 0xffff) << 16 | (unsigned)(w0 & 0xffff)); }

#endif
