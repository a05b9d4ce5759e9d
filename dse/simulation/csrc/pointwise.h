/* Elementwise steps around the sums, one version an instruction set. */
#ifndef DSE_POINTWISE_H
#define DSE_POINTWISE_H

#include "native.h"

typedef struct {
    const float *values;
    uint8_t *codes;
    int64_t n;
    float inverse_scale, zero_point, low;
} quantize_call;

typedef struct {
    void *sums;
    int is_float;
    int64_t n, outputs, groups;
    const int32_t *constant, *slope, *windows;
    const float *scale, *bias;
} complete_call;

typedef struct {
    const uint8_t *codes;
    const void *table;
    int width;
    void *features;
    int64_t n;
} expand_call;

/* Elements, or rows of outputs, begin..end. */
typedef void quantize_part(const quantize_call *call, int64_t begin, int64_t end);
typedef void complete_part(const complete_call *call, int64_t begin, int64_t end);
typedef void expand_part(const expand_call *call, int64_t begin, int64_t end);

quantize_part dse_quantize_portable, dse_quantize_avx2, dse_quantize_avx512;
complete_part dse_complete_portable, dse_complete_avx2, dse_complete_avx512;
expand_part dse_expand_portable, dse_expand_avx2, dse_expand_avx512;

#endif
