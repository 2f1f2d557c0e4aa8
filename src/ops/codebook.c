/* Codebooks: how far vectors are from each entry. */
#include "ops/ops_internal.h"

#define ROWS 8 /* vectors of a work-item: cl/codebook.cl */

tensor op_distances(run *r, tensor x, tensor table)
{
    int64_t m = rows_of(&x), n = table.shape[0], d = table.shape[1], first = 0;
    assert(run_failed(r) || last_of(&x) == d);
    tensor y = tensor_like(r, &x, n);
    for (buffer *b = table.buf; b && !run_failed(r); b = b->next) { /* the pieces of a large one */
        tensor piece = table;
        piece.buf = b;
        int64_t rows = b->rows ? b->rows : n;
        work w = {.global = {round_up((size_t)rows, 64), (size_t)(m + ROWS - 1) / ROWS},
                  .flops = 3.0 * (double)m * (double)rows * (double)d,
                  .bytes = (double)dtype_row_bytes(table.type, rows * d) + 4.0 * (double)(m * (d + rows))};
        LAUNCH(r, TYPED("codebook:distances_", table.type), w, ARG_T(x), ARG_T(piece), ARG_T(y), ARG_I(m), ARG_I(rows),
               ARG_I(d), ARG_I(first), ARG_I(n));
        first += rows;
        if (!b->rows)
            break;
    }
    return y;
}
