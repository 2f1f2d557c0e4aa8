/* Embeddings. */
#include "ops/ops_internal.h"

/* y[n,d] = table[ids[n] - first, d] for the ids that lie in the table; ids outside of `vocabulary` count as 0. */
static void embed_into(run *r, tensor ids, tensor table, tensor y, int64_t first, int64_t vocabulary)
{
    int64_t n = tensor_count(&ids), d = table.shape[1];
    for (buffer *b = table.buf; b; b = b->next) {
        tensor piece = table;
        piece.buf = b;
        int64_t rows = b->rows ? b->rows : table.shape[0];
        LAUNCH(r, TYPED("embed:embed_", table.type),
               ((work){.global = {round_up((size_t)d, 64), (size_t)n}, .bytes = 8.0 * (double)(n * d)}), ARG_T(ids),
               ARG_T(piece), ARG_T(y), ARG_I(d), ARG_I(first), ARG_I(rows), ARG_I(vocabulary));
        first += rows;
        if (!b->rows)
            break;
    }
}

tensor op_embed(run *r, tensor ids, tensor table)
{
    int64_t shape[4] = {ids.shape[0], ids.shape[1], ids.shape[2], 1};
    assert(ids.nd < 4);
    shape[ids.nd] = table.shape[1];
    tensor y = run_tensor(r, DTYPE_F32, ids.nd + 1, shape);
    embed_into(r, ids, table, y, 0, table.shape[0]);
    return y;
}

tensor op_embed_sequence(run *r, const sequence_embedding *e, tensor ids, tensor codes, tensor position, int64_t t)
{
    int64_t b = codes.shape[0], d = e->image.shape[1], cells = e->grid_width * e->grid_height;
    int64_t text = e->text.shape[0], all = text + e->image.shape[0];
    tensor at = TENSOR(r, DTYPE_I32, b, t), y = TENSOR(r, DTYPE_F32, b, t, d);
    LAUNCH(r, "embed:sequence_ids", work_each(b * t, 0, 8), ARG_T(ids), ARG_T(codes), ARG_T(position), ARG_T(at),
           ARG_I(b * t), ARG_I(t), ARG_I(e->text_length), ARG_I(cells), ARG_I(text), ARG_I(e->image.shape[0]));
    if (ids.buf)
        embed_into(r, at, e->text, y, 0, all);
    embed_into(r, at, e->image, y, text, all);
    LAUNCH(r, "embed:add_position",
           ((work){.global = {round_up((size_t)d, 64), (size_t)(b * t)}, .bytes = 12.0 * (double)(b * t * d)}),
           ARG_T(e->text_position), ARG_T(e->row_position), ARG_T(e->column_position), ARG_T(position), ARG_T(y),
           ARG_I(d), ARG_I(t), ARG_I(e->text_length), ARG_I(e->grid_width), ARG_I(e->grid_height));
    return y;
}
