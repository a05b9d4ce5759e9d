/* What the front of the window sums (window.c) hands to each instruction set's version of them (window_kernel.h). */
#ifndef DSE_WINDOW_H
#define DSE_WINDOW_H

#include "geometry.h"

typedef struct {
    geometry g;
    const uint8_t *codes;
    int32_t *out;
} window_call;

/* All positions of one image; `pixels` holds the sums of each pixel, [height][width][groups]. */
typedef void window_task(const window_call *call, int64_t image, int32_t *pixels);

window_task dse_window_portable, dse_window_avx2, dse_window_avx512;

#endif
