/* One instruction set's window sums; included once by each window_*.c. Plain loops: compilers vectorize them. */
#include "join.h"
#include "window.h"

/* Channels of every pixel, group by group. */
static void sum_pixels(const geometry *g, const uint8_t *codes, int32_t *pixels)
{
    for (int64_t i = 0; i < g->conv.height * g->conv.width * g->conv.groups; i++, codes += g->channels) {
        int32_t sum = 0;
        for (int64_t c = 0; c < g->channels; c++)
            sum += codes[c];
        pixels[i] = sum;
    }
}

#define SUM_TAPS(NAME, type)                                                                                           \
    static void NAME(const geometry *g, const type *pixels, int32_t *out)                                              \
    {                                                                                                                  \
        const dse_conv *c = &g->conv;                                                                                  \
        for (int64_t y = 0; y < g->out_height; y++)                                                                    \
            for (int64_t x = 0; x < g->out_width; x++, out += c->groups) {                                             \
                for (int64_t i = 0; i < c->groups; i++)                                                                \
                    out[i] = 0;                                                                                        \
                for (int64_t ky = 0; ky < c->kernel_h; ky++)                                                           \
                    for (int64_t kx = 0; kx < c->kernel_w; kx++) {                                                     \
                        int64_t row = y * c->stride_h + ky * c->dilation_h, column = x * c->stride_w + kx * c->dilation_w; \
                        const type *pixel = pixels + (row * c->width + column) * c->groups;                            \
                        for (int64_t i = 0; i < c->groups; i++)                                                        \
                            out[i] += pixel[i];                                                                        \
                    }                                                                                                  \
            }                                                                                                          \
    }

SUM_TAPS(sum_taps, int32_t)
SUM_TAPS(sum_taps_of_codes, uint8_t)

void JOIN(dse_window_, ISA)(const window_call *call, int64_t image, int32_t *pixels)
{
    const geometry *g = &call->g;
    const uint8_t *codes = call->codes + image * g->conv.height * g->conv.width * g->conv.channels;
    int32_t *out = call->out + image * g->out_height * g->out_width * g->conv.groups;
    if (g->channels == 1) {
        sum_taps_of_codes(g, codes, out);
    } else {
        sum_pixels(g, codes, pixels);
        sum_taps(g, pixels, out);
    }
}
