/* What becomes of the sums of n_outputs outputs, from `output` on, at one position. */
#ifndef DSE_FINISH_H
#define DSE_FINISH_H

#include "native.h"

/* `out` points to the whole output; `at` is the index in it of the first of these sums. */
static inline void finish_position(const dse_finish *f, int64_t output, int64_t n_outputs, int64_t at,
                                   const int32_t *sums, void *out)
{
    const int32_t *constant = f->constant + output;
    if (f->scale) {
        const float *scale = f->scale + output, *bias = f->bias + output;
        float *y = (float *)out + at;
        for (int64_t o = 0; o < n_outputs; o++)
            y[o] = (float)(int32_t)((uint32_t)sums[o] + (uint32_t)constant[o]) * scale[o] + bias[o];
    } else {
        int32_t *y = (int32_t *)out + at;
        for (int64_t o = 0; o < n_outputs; o++)
            y[o] = (int32_t)((uint32_t)sums[o] + (uint32_t)constant[o]);
    }
}

#endif
