/* One instruction set's elementwise steps; included once by each pointwise_*.c. Plain loops: compilers vectorize them. */
#include "join.h"
#include "pointwise.h"

typedef int32_t __attribute__((may_alias)) int32_or_float;

void JOIN(dse_quantize_, ISA)(const quantize_call *call, int64_t begin, int64_t end)
{
    /* Adding and taking away 1.5 * 2^23 rounds to the nearest integer, ties to even, in the range of +-2^22. */
    const float magic = 12582912.0f, limit = 1e6f, low = call->low, high = call->low + 255;
    const float inverse_scale = call->inverse_scale, zero_point = call->zero_point;
    const float *values = call->values;
    uint8_t *codes = call->codes;
    for (int64_t i = begin; i < end; i++) {
        float v = values[i] * inverse_scale;
        v = v > -limit ? v : -limit; /* also NaN */
        v = v < limit ? v : limit;
        v = (v + magic) - magic + zero_point;
        v = v > low ? v : low;
        v = v < high ? v : high;
        codes[i] = (uint8_t)(int32_t)v;
    }
}

void JOIN(dse_rescale_, ISA)(const rescale_call *call, int64_t begin, int64_t end)
{
    int64_t outputs = call->outputs;
    const int32_t *constant = call->constant;
    const float *scale = call->scale, *bias = call->bias;
    for (int64_t row = begin; row < end; row++) {
        float *y = (float *)call->sums + row * outputs;
        const int32_or_float *sums = (const int32_or_float *)y;
        if (call->is_float)
            for (int64_t o = 0; o < outputs; o++)
                y[o] = (y[o] + (float)constant[o]) * scale[o] + bias[o];
        else
            for (int64_t o = 0; o < outputs; o++)
                y[o] = (float)(int32_t)((uint32_t)sums[o] + (uint32_t)constant[o]) * scale[o] + bias[o];
    }
}

typedef struct {
    uint64_t halves[2];
} sixteen_bytes;

#define EXPAND(type)                                                                                                   \
    for (int64_t i = begin; i < end; i++)                                                                              \
        ((type *)call->features)[i] = ((const type *)call->table)[call->codes[i]];                                     \
    break;

void JOIN(dse_expand_, ISA)(const expand_call *call, int64_t begin, int64_t end)
{
    switch (call->width) {
    case 1: EXPAND(uint8_t)
    case 2: EXPAND(uint16_t)
    case 4: EXPAND(uint32_t)
    case 8: EXPAND(uint64_t)
    default: EXPAND(sixteen_bytes)
    }
}
