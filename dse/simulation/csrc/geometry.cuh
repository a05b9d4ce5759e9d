/* Where the patches of a batch of codes lie; put in front of the kernels that use it. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

struct Geometry {
    int n_positions, out_height, out_width; /* positions: images * out_height * out_width */
    int image_stride, group_stride;         /* codes from one image, or group of channels, to the next */
    int row_step, column_step;              /* codes from one output row, or column, to the next */
    int n_taps;                             /* products of an output, as the kernel counts them */
    int n_outputs, group_outputs;           /* output channels of all groups, and of one */
};

/* Where the patch of output position q begins; positions past the end read that of the first. */
__device__ __forceinline__ int patch_offset(const Geometry &g, int q)
{
    if (q >= g.n_positions)
        return 0;
    int per_image = g.out_height * g.out_width, image = q / per_image, rest = q - image * per_image;
    int row = rest / g.out_width, column = rest - row * g.out_width;
    return image * g.image_stride + row * g.row_step + column * g.column_step;
}
