/* One instruction set's direct kernel; included once by each direct_*.c. See direct.h. */
#include "direct.h"
#include "finish.h"
#include "join.h"

void JOIN(dse_direct_, ISA)(const direct_call *call, int64_t block, int64_t position)
{
    const geometry *g = &call->g;
    int64_t group = block / call->blocks_a_group, first = block % call->blocks_a_group * DIRECT_OUTPUTS;
    int64_t output = group * g->outputs + first, n_outputs = smaller(g->outputs - first, DIRECT_OUTPUTS);
    const uint8_t *start = first_code(g, call->codes, position) + group * g->channels;
    const uint8_t *weights = call->weights + group * g->fan_in * g->outputs + first;
    uint32_t sums[DIRECT_OUTPUTS] = {0}, code_sum = 0;
    int64_t offset = 0, x = 0;
    for (int64_t tap = 0; tap < g->n_taps; tap++, offset = next_offset(g, offset, &x))
        for (int64_t c = 0; c < g->channels; c++, weights += g->outputs) {
            uint8_t byte = start[offset + c];
            code_sum += code_of(byte, call->is_signed);
            if (call->table_of) {
                for (int64_t o = 0; o < n_outputs; o++)
                    sums[o] += (uint32_t)call->tables[call->table_of[output + o]][256 * (int64_t)byte + weights[o]];
                continue;
            }
            const int32_t *row = call->tables[0] + 256 * (int64_t)byte;
            for (int64_t o = 0; o < n_outputs; o++)
                sums[o] += (uint32_t)row[weights[o]];
        }
    for (int64_t o = 0; o < n_outputs; o++)
        sums[o] -= (uint32_t)call->zero_point[output + o] * code_sum;
    finish_position(&call->finish, output, n_outputs, position * g->conv.outputs + output, (const int32_t *)sums,
                    call->out);
}
