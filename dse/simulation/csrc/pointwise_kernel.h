/* One instruction set's elementwise steps; included once by each pointwise_*.c. Plain loops: compilers vectorize. */
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

enum windows { NONE, BY_GROUP, BY_OUTPUT };

/* Inlined with constants for the last three arguments, so that the loop over outputs has no branches. */
static inline __attribute__((always_inline)) void complete(const complete_call *call, int64_t begin, int64_t end,
                                                          int is_float, enum windows kind, int has_scale)
{
    int64_t n_outputs = call->outputs / call->groups;
    if (kind == BY_OUTPUT || kind == NONE)
        n_outputs = call->outputs;
    for (int64_t row = begin; row < end; row++)
        for (int64_t first = 0; first < call->outputs; first += n_outputs) {
            int32_or_float *sums = (int32_or_float *)call->sums + row * call->outputs + first;
            const int32_t *constant = call->constant + first;
            const int32_t *slope = kind == NONE ? 0 : call->slope + first;
            const int32_t *windows = kind == NONE ? 0 : call->windows + row * call->groups;
            uint32_t window = kind == BY_GROUP ? (uint32_t)windows[first / n_outputs] : 0;
            for (int64_t o = 0; o < n_outputs; o++) {
                uint32_t sum = is_float ? (uint32_t)(int32_t)((const float *)sums)[o] : (uint32_t)sums[o];
                sum += (uint32_t)constant[o];
                if (kind != NONE)
                    sum += (uint32_t)slope[o] * (kind == BY_OUTPUT ? (uint32_t)windows[o] : window);
                if (has_scale)
                    ((float *)sums)[o] = (float)(int32_t)sum * call->scale[first + o] + call->bias[first + o];
                else
                    sums[o] = (int32_t)sum;
            }
        }
}

#define COMPLETE(is_float, has_scale)                                                                                   \
    switch (kind) {                                                                                                    \
    case NONE: complete(call, begin, end, is_float, NONE, has_scale); break;                                            \
    case BY_GROUP: complete(call, begin, end, is_float, BY_GROUP, has_scale); break;                                    \
    default: complete(call, begin, end, is_float, BY_OUTPUT, has_scale);                                                \
    }

void JOIN(dse_complete_, ISA)(const complete_call *call, int64_t begin, int64_t end)
{
    enum windows kind = !call->slope ? NONE : call->outputs == call->groups ? BY_OUTPUT : BY_GROUP;
    if (call->is_float && call->scale) {
        COMPLETE(1, 1)
    } else if (call->is_float) {
        COMPLETE(1, 0)
    } else if (call->scale) {
        COMPLETE(0, 1)
    } else {
        COMPLETE(0, 0)
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
