/* Sizes of a convolution, and where its codes lie. */
#ifndef DSE_GEOMETRY_H
#define DSE_GEOMETRY_H

#include "native.h"

typedef struct {
    dse_conv conv;
    int64_t out_height, out_width, n_positions; /* of all images */
    int64_t n_taps, channels, outputs, fan_in;  /* of one group */
} geometry;

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Sizes of `conv`; 0 where they do not fit together. */
static inline int measure(const dse_conv *conv, geometry *g)
{
    const dse_conv c = *conv;
    if (c.n < 0 || c.channels < 1 || c.outputs < 1 || c.groups < 1 || c.channels % c.groups || c.outputs % c.groups ||
        c.kernel_h < 1 || c.kernel_w < 1 || c.stride_h < 1 || c.stride_w < 1 || c.dilation_h < 1 || c.dilation_w < 1)
        return 0;
    int64_t below = c.height - (c.kernel_h - 1) * c.dilation_h - 1;
    int64_t right = c.width - (c.kernel_w - 1) * c.dilation_w - 1;
    if (below < 0 || right < 0)
        return 0;
    g->conv = c;
    g->out_height = below / c.stride_h + 1;
    g->out_width = right / c.stride_w + 1;
    g->n_positions = c.n * g->out_height * g->out_width;
    g->n_taps = c.kernel_h * c.kernel_w;
    g->channels = c.channels / c.groups;
    g->outputs = c.outputs / c.groups;
    g->fan_in = g->n_taps * g->channels;
    return 1;
}

/* Channel 0 of the first code under the kernel, for an output position. */
static inline const uint8_t *first_code(const geometry *g, const uint8_t *codes, int64_t position)
{
    int64_t x = position % g->out_width, rest = position / g->out_width;
    int64_t y = rest % g->out_height, image = rest / g->out_height;
    int64_t pixel = (image * g->conv.height + y * g->conv.stride_h) * g->conv.width + x * g->conv.stride_w;
    return codes + pixel * g->conv.channels;
}

/* The same for n positions from `begin` on: divisions, which are slow, once a row of the output. */
static inline void first_codes(const geometry *g, const uint8_t *codes, int64_t begin, int64_t n,
                               const uint8_t **starts)
{
    int64_t step = g->conv.stride_w * g->conv.channels;
    for (int64_t i = 0; i < n;) {
        const uint8_t *start = first_code(g, codes, begin + i);
        int64_t row_end = smaller(n, i + g->out_width - (begin + i) % g->out_width);
        for (; i < row_end; i++, start += step)
            starts[i] = start;
    }
}

/* Bytes from the first code under the kernel to that of a tap. */
static inline int64_t tap_offset(const geometry *g, int64_t tap)
{
    int64_t y = tap / g->conv.kernel_w * g->conv.dilation_h, x = tap % g->conv.kernel_w * g->conv.dilation_w;
    return (y * g->conv.width + x) * g->conv.channels;
}

/* That of the next tap, without a division; `x` is the tap's column in the kernel and becomes the next one's. */
static inline int64_t next_offset(const geometry *g, int64_t offset, int64_t *x)
{
    int64_t step = g->conv.dilation_w * g->conv.channels;
    if (++*x < g->conv.kernel_w)
        return offset + step;
    int64_t row = g->conv.dilation_h * g->conv.width * g->conv.channels;
    offset += row - (*x - 1) * step;
    *x = 0;
    return offset;
}

/* The table of an output, by its number. */
static inline int64_t table_at(const uint8_t *table_of, int64_t output) { return table_of ? table_of[output] : 0; }

/* The code of a byte. */
static inline uint32_t code_of(uint8_t byte, int is_signed)
{
    uint32_t flip = is_signed ? 128 : 0;
    return (byte ^ flip) - flip;
}

#endif
