#define ISA avx512
#include "sparse_wide.h"

typedef __m512i sums;

static inline sums no_sums(void) { return _mm512_setzero_si512(); }

static inline int32_t total(sums found) { return _mm512_reduce_add_epi32(found); }

/* A gather reads four bytes, of which the first is kept. */
static inline sums products(sums found, const int8_t *window, lanes offsets, const int8_t *values, int n)
{
    __m512i x = _mm512_i32gather_epi32(_mm512_cvtepu8_epi32(offsets), window, 1);
    x = _mm512_srai_epi32(_mm512_slli_epi32(x, 24), 24);
    __m512i w = _mm512_cvtepu16_epi32(_mm256_cvtepi8_epi16(first_values(values, n)));
    return _mm512_add_epi32(found, _mm512_madd_epi16(x, w));
}

#include "sparse_kernel.h"
