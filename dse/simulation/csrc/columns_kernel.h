/* One instruction set's columns kernel; included once by each columns_*.c. See columns.h. */
#include "columns.h"
#include "finish.h"
#include "join.h"

enum { ABREAST = 8 }; /* positions summed in registers */

/* Sums of one output at some positions, zero points taken out. */
static inline __attribute__((always_inline)) void add_products(const columns_call *call, int64_t output,
                                                               const uint8_t *const *starts, int n, uint32_t *sums)
{
    const geometry *g = &call->g;
    const uint8_t *column_of = call->column_of + output * g->fan_in;
    const int32_t *columns = call->columns[table_at(call->table_of, output)];
    uint32_t zero_point = (uint32_t)call->zero_point[output], total[ABREAST] = {0}, code_sums[ABREAST] = {0};
    int64_t offset = output / g->outputs * g->channels, x = 0;
    for (int64_t tap = 0; tap < g->n_taps; tap++, offset = next_offset(g, offset, &x))
        for (int64_t c = offset; c < offset + g->channels; c++) {
            const int32_t *column = columns + 256 * (int64_t)*column_of++;
            for (int j = 0; j < n; j++) {
                uint8_t byte = starts[j][c];
                total[j] += (uint32_t)column[byte];
                code_sums[j] += code_of(byte, call->is_signed);
            }
        }
    for (int j = 0; j < n; j++)
        sums[j] = total[j] - zero_point * code_sums[j];
}

void JOIN(dse_columns_, ISA)(const columns_call *call, int64_t begin, int64_t end)
{
    const uint8_t *starts[COLUMNS_POSITIONS];
    int64_t n = end - begin, n_outputs = call->g.conv.outputs;
    first_codes(&call->g, call->codes, begin, n, starts);
    for (int64_t o = 0; o < n_outputs; o++) {
        uint32_t sums[COLUMNS_POSITIONS];
        int64_t i = 0;
        for (; i + ABREAST <= n; i += ABREAST)
            add_products(call, o, starts + i, ABREAST, sums + i);
        for (; i < n; i++)
            add_products(call, o, starts + i, 1, sums + i);
        for (i = 0; i < n; i++)
            finish_position(&call->finish, o, 1, (begin + i) * n_outputs + o, (const int32_t *)sums + i, call->out);
    }
}
