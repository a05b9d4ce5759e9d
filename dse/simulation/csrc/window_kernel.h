/* One instruction set's window sums; included once by each window_*.c. Plain loops: compilers vectorize them. */
#include <string.h>

#include "join.h"
#include "window.h"

enum { WORDS = 32 }; /* of eight bytes, whose sum fits 16 bits */

/* Sum of n bytes, eight at a time: pairs in 16-bit lanes, which a multiplication adds up. */
static int32_t sum_bytes(const uint8_t *bytes, int64_t n)
{
    const uint64_t low = 0x00ff00ff00ff00ff, ones = 0x0001000100010001;
    int32_t sum = 0;
    while (n >= 8) {
        uint64_t lanes = 0;
        for (int i = 0; i < WORDS && n >= 8; i++, n -= 8, bytes += 8) {
            uint64_t word;
            memcpy(&word, bytes, 8);
            lanes += (word & low) + ((word >> 8) & low);
        }
        sum += (int32_t)(lanes * ones >> 48);
    }
    for (; n > 0; n--)
        sum += *bytes++;
    return sum;
}

/* Channels of every pixel, group by group. */
static void sum_pixels(const geometry *g, const uint8_t *codes, int32_t *pixels)
{
    for (int64_t i = 0; i < g->conv.height * g->conv.width * g->conv.groups; i++, codes += g->channels)
        pixels[i] = sum_bytes(codes, g->channels);
}

#define SUM_TAPS(NAME, type)                                                                                           \
    static void NAME(const geometry *g, const type *pixels, int32_t *out)                                              \
    {                                                                                                                  \
        const dse_conv *c = &g->conv;                                                                                  \
        int64_t step = c->stride_w * c->groups, n_row = g->out_width * c->groups;                                      \
        for (int64_t y = 0; y < g->out_height; y++, out += n_row) {                                                    \
            memset(out, 0, (size_t)n_row * sizeof *out);                                                               \
            for (int64_t tap = 0; tap < g->n_taps; tap++) {                                                            \
                int64_t row = y * c->stride_h + tap / c->kernel_w * c->dilation_h;                                     \
                const type *pixel = pixels + (row * c->width + tap % c->kernel_w * c->dilation_w) * c->groups;         \
                if (c->stride_w == 1)                                                                                  \
                    for (int64_t i = 0; i < n_row; i++)                                                                \
                        out[i] += pixel[i];                                                                            \
                else                                                                                                   \
                    for (int64_t x = 0; x < g->out_width; x++)                                                         \
                        for (int64_t i = 0; i < c->groups; i++)                                                        \
                            out[x * c->groups + i] += pixel[x * step + i];                                             \
            }                                                                                                          \
        }                                                                                                              \
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
