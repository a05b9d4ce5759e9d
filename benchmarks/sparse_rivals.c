/* What the sparse kernels are measured against in bench_sparse.py, each as fast as this processor can do it simply. */
#include <stdint.h>

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#include <immintrin.h>

/* y = W x: 64 products an instruction. x comes as codes plus 128, `correction` is 128 times the sums of W's rows. */
void dense_vector(const int8_t *w, const uint8_t *x, const int32_t *correction, int32_t *y, int64_t rows, int64_t columns)
{
    for (int64_t r = 0; r < rows; r++, w += columns) {
        __m512i a = _mm512_setzero_si512(), b = a;
        int64_t c = 0;
        for (; c + 128 <= columns; c += 128) {
            a = _mm512_dpbusd_epi32(a, _mm512_loadu_si512(x + c), _mm512_loadu_si512(w + c));
            b = _mm512_dpbusd_epi32(b, _mm512_loadu_si512(x + c + 64), _mm512_loadu_si512(w + c + 64));
        }
        for (; c < columns; c += 64) {
            __mmask64 left = columns - c < 64 ? (1ull << (columns - c)) - 1 : ~0ull;
            a = _mm512_dpbusd_epi32(a, _mm512_maskz_loadu_epi8(left, x + c), _mm512_maskz_loadu_epi8(left, w + c));
        }
        y[r] = _mm512_reduce_add_epi32(_mm512_add_epi32(a, b)) - correction[r];
    }
}
#else
void dense_vector(const int8_t *w, const uint8_t *x, const int32_t *correction, int32_t *y, int64_t rows, int64_t columns)
{
    for (int64_t r = 0; r < rows; r++, w += columns) {
        int32_t sum = 0;
        for (int64_t c = 0; c < columns; c++)
            sum += w[c] * x[c];
        y[r] = sum - correction[r];
    }
}
#endif

/* As compilers vectorize it: bytes widened to 16 bits, multiplied and added in pairs. */
void dense_vector_plain(const int8_t *w, const int8_t *x, int32_t *y, int64_t rows, int64_t columns)
{
    for (int64_t r = 0; r < rows; r++, w += columns) {
        int32_t sum = 0;
        for (int64_t c = 0; c < columns; c++)
            sum += w[c] * x[c];
        y[r] = sum;
    }
}

/* One multiplication at a time: what is left of a dense product without SIMD. */
__attribute__((optimize("no-tree-vectorize"))) void dense_vector_scalar(const int8_t *w, const int8_t *x, int32_t *y,
                                                                        int64_t rows, int64_t columns)
{
    for (int64_t r = 0; r < rows; r++, w += columns) {
        int32_t sum = 0;
        for (int64_t c = 0; c < columns; c++)
            sum += w[c] * x[c];
        y[r] = sum;
    }
}

/* y = W x for W in CSR with 16-bit columns. */
void csr_vector(const int8_t *values, const uint16_t *index, const int32_t *ends, const int8_t *x, int32_t *y,
                int64_t rows)
{
    int64_t k = 0;
    for (int64_t r = 0; r < rows; r++) {
        int32_t a = 0, b = 0, c = 0, d = 0;
        int64_t end = ends[r];
        for (; k + 4 <= end; k += 4) {
            a += values[k] * x[index[k]];
            b += values[k + 1] * x[index[k + 1]];
            c += values[k + 2] * x[index[k + 2]];
            d += values[k + 3] * x[index[k + 3]];
        }
        for (; k < end; k++)
            a += values[k] * x[index[k]];
        y[r] = a + b + c + d;
    }
}

/* Y = W X for W in CSR, X [columns][n], n a multiple of 64. */
void csr_matrix(const int8_t *values, const uint16_t *index, const int32_t *ends, const int8_t *x, int64_t n, int32_t *y,
                int64_t rows)
{
    for (int64_t first = 0; first < n; first += 64) {
        int64_t k = 0;
        for (int64_t r = 0; r < rows; r++) {
            int32_t sums[64] = {0};
            for (; k < ends[r]; k++) {
                const int8_t *codes = x + index[k] * n + first;
                int32_t value = values[k];
                for (int j = 0; j < 64; j++)
                    sums[j] += value * codes[j];
            }
            for (int j = 0; j < 64; j++)
                y[r * n + first + j] = sums[j];
        }
    }
}
