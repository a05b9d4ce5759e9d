/* What every other kernel is compared with: a thread an output, the table in global memory, one gather a product. */
#include "geometry.cuh"

extern "C" __global__ void plain_lookup(const Geometry g, const u8 *codes, const u16 *table, const u8 *weights,
                                        const int *taps, const int *zero_point, const int *constant, int *out)
{
    const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    const int q = (int)(index % g.n_positions), output = (int)(index / g.n_positions);
    if (output >= g.n_outputs)
        return;
    codes += output / g.group_outputs * g.group_stride + patch_offset(g, q);
    weights += (size_t)output * g.n_taps;
    int sum = constant[output], codes_sum = 0;
    for (int k = 0; k < g.n_taps; ++k) {
        const u32 code = __ldg(codes + __ldg(taps + k));
        sum += __ldg(table + (code << 8 | __ldg(weights + k)));
        codes_sum += (int)code;
    }
    const int per_image = g.out_height * g.out_width;
    out[((size_t)(q / per_image) * g.n_outputs + output) * per_image + q % per_image] =
        sum - zero_point[output] * codes_sum;
}
