/* Embeddings. */
#include "ops/ops_internal.h"

static tape_function embed_back, sequence_back, add_table_back;

/* Of sequence_back. */
enum { VECTORS = 5, FIRST_TEXT = 3 };
/* PREFIX and what the table's rows are stored as. */
#define TABLE_KERNEL(prefix, table)                                                                                    \
    (!(table).panels              ? TYPED(prefix, (table).type)                                                        \
     : (table).type == DTYPE_Q8_0 ? prefix "panels_q8_0"                                                               \
                                  : prefix "panels_q4_0")

/* y[n,d] = table[ids[n] - first, d] for the ids that lie in the table; ids outside of `vocabulary` count as 0. */
static void embed_into(run *r, tensor ids, tensor table, tensor y, int64_t first, int64_t vocabulary)
{
    int64_t n = tensor_count(&ids), d = table.shape[1];
    for (buffer *b = table.buf; b; b = b->next) {
        tensor piece = table;
        piece.buf = b;
        int64_t rows = b->rows ? b->rows : table.shape[0];
        LAUNCH(r, TABLE_KERNEL("embed:embed_", table),
               ((work){.global = {round_up((size_t)d, 64), (size_t)n}, .bytes = 8.0 * (double)(n * d)}), ARG_T(ids),
               ARG_T(piece), ARG_T(y), ARG_I(d), ARG_I(first), ARG_I(rows), ARG_I(vocabulary));
        first += rows;
        if (!b->rows)
            break;
    }
}

tensor op_embed(run *r, tensor ids, tensor table)
{
    int64_t shape[5] = {ids.shape[0], ids.shape[1], ids.shape[2], 1};
    REQUIRE(r, ids.nd < 4);
    shape[ids.nd] = table.shape[1];
    check_trainable(r, "op_embed", table);
    tensor y = run_tensor(r, DTYPE_F32, ids.nd + 1, shape);
    embed_into(r, ids, table, y, 0, table.shape[0]);
    tape_push(r, &(tape_step){.back = embed_back, .in = {table}, .out = y, .saved = {ids}});
    return y;
}

/* The rows first to first + rows - 1 of all that the ids choose from are the table, where its gradient is wanted. */
static void table_back(run *r, tape *t, tensor table, tensor ids, tensor dy, int64_t first, int64_t vocabulary)
{
    if (!tape_wants(t, table))
        return;
    int add;
    tensor dtable = tape_gradient_of(t, table, &add);
    if (!add)
        op_fill(r, dtable, 0);
    add_rows(r, dtable, ids, dy, first, vocabulary);
}

void add_rows(run *r, tensor to, tensor ids, tensor x, int64_t first, int64_t vocabulary)
{
    int64_t rows = to.shape[0], d = to.nd > 1 ? to.shape[1] : 1, n = tensor_count(&ids);
    bool cpu = run_device(r)->tune.cpu_form;
    int64_t segments = cpu ? 16 : 64;
    LAUNCH(r, "embed:embed_back",
           backward((work){.global = {cpu ? (size_t)(d + EMBED_BACK_COLUMNS_CPU - 1) / EMBED_BACK_COLUMNS_CPU
                                          : round_up((size_t)d, 64),
                                      (size_t)segments},
                           .bytes = 12.0 * (double)(n * d)}),
           ARG_T(ids), ARG_T(x), ARG_T(to), ARG_I(n), ARG_I(d), ARG_I(first), ARG_I(rows), ARG_I(vocabulary),
           ARG_I(segments));
}

static void embed_back(run *r, tape *t, const tape_step *s)
{
    table_back(r, t, s->in[0], s->saved[0], tape_gradient(t, s->out), 0, s->in[0].shape[0]);
}

/* op_embed_sequence when all positions are cells of the grid: one launch. */
static tensor embed_cells(run *r, const sequence_embedding *e, tensor codes, tensor position, int64_t t)
{
    int64_t b = codes.shape[0], d = e->image.shape[1];
    tensor y = TENSOR(r, DTYPE_F32, b, t, d);
    LAUNCH(r, TABLE_KERNEL("embed:embed_cells_", e->image), work_rows(b * t, 0, 16.0 * (double)(b * t * d)),
           ARG_T(codes), ARG_T(e->image), ARG_T(e->row_position), ARG_T(e->column_position), ARG_T(position), ARG_T(y),
           ARG_I(d), ARG_I(t), ARG_OWN(position), ARG_I(e->text_length), ARG_I(e->grid_width),
           ARG_I(e->grid_width * e->grid_height), ARG_I(e->image.shape[0]));
    return y;
}

tensor op_embed_sequence(run *r, const sequence_embedding *e, tensor ids, tensor codes, tensor position, int64_t t)
{
    int64_t b = codes.shape[0], d = e->image.shape[1], cells = e->grid_width * e->grid_height;
    int64_t text = e->first_text + e->text.shape[0], all = text + e->image.shape[0];
    if (!run_failed(r) && !ids.buf && !run_tape(r) && !e->image.buf->rows)
        return embed_cells(r, e, codes, position, t);
    REQUIRE(r, !e->vectors.buf || tensor_count(&e->vectors) == b * e->text_length * d);
    check_trainable(r, "op_embed_sequence", e->text);
    check_trainable(r, "op_embed_sequence", e->image);
    check_position(r, "op_embed_sequence at several positions", position, e->text_position);
    check_position(r, "op_embed_sequence at several positions", position, e->row_position);
    check_position(r, "op_embed_sequence at several positions", position, e->column_position);
    tensor at = TENSOR(r, DTYPE_I32, b, t), y = TENSOR(r, DTYPE_F32, b, t, d);
    LAUNCH(r, "embed:sequence_ids", work_each(b * t, 0, 8), ARG_T(ids), ARG_T(codes), ARG_T(position), ARG_T(at),
           ARG_I(b * t), ARG_I(t), ARG_OWN(position), ARG_I(e->text_length), ARG_I(cells), ARG_I(text),
           ARG_I(e->image.shape[0]));
    if (ids.buf)
        embed_into(r, at, e->text, y, e->first_text, all);
    embed_into(r, at, e->image, y, text, all);
    if (e->vectors.buf)
        LAUNCH(r, "embed:text_vectors", work_grid(d, b * t, 0, 8), ARG_T(e->vectors), ARG_T(at), ARG_T(position),
               ARG_T(y), ARG_I(d), ARG_I(t), ARG_OWN(position), ARG_I(e->text_length), ARG_I(e->first_text));
    if (e->text_position.buf || e->row_position.buf)
        LAUNCH(r, "embed:add_position",
               ((work){.global = {round_up((size_t)d, 64), (size_t)(b * t)}, .bytes = 12.0 * (double)(b * t * d)}),
               ARG_T(e->text_position), ARG_T(e->row_position), ARG_T(e->column_position), ARG_T(position), ARG_T(y),
               ARG_I(d), ARG_I(t), ARG_OWN(position), ARG_I(e->text_length), ARG_I(e->grid_width),
               ARG_I(e->grid_height));
    tape_push(r,
              &(tape_step){.back = sequence_back,
                           .in = {e->text, e->text_position, e->image, e->row_position, e->column_position, e->vectors},
                           .out = y,
                           .saved = {at, position},
                           .i = {e->text_length, e->grid_width, e->grid_height, e->first_text}});
    return y;
}

/* Row e of a table of positions, where its gradient is wanted: the sum of dy[b,t,d] at the positions start + e stride +
 * k step for k < count.  A table may end before the grid does, since nothing reads the last cell's position. */
static void positions_back(run *r, tape *tp, tensor table, tensor position, tensor dy, int start, int stride, int step,
                           int count)
{
    int add;
    int64_t b = dy.shape[0], t = dy.shape[1], d = dy.shape[2];
    double all = (double)(b * t * d);
    tensor dtable = wanted(tp, table, &add);
    if (dtable.buf)
        LAUNCH(r, "embed:position_back", backward(work_columns(r, d, table.shape[0], all, 4 * all)), ARG_T(dy),
               ARG_T(position), ARG_T(dtable), ARG_I(b), ARG_I(t), ARG_I(d), ARG_I(start), ARG_I(stride), ARG_I(step),
               ARG_I(count), ARG_I(add));
}

/* The gradient of the vectors that stand for ids below first_text. */
static void vectors_back(run *r, tape *tp, const tape_step *s, tensor dy)
{
    int add;
    tensor vectors = s->in[VECTORS], position = s->saved[1], dvectors = wanted(tp, vectors, &add);
    int64_t d = last_of(&vectors);
    if (dvectors.buf)
        LAUNCH(r, "embed:text_vectors_back", backward(work_grid(d, rows_of(&vectors), 0, 12)), ARG_T(dy),
               ARG_T(s->saved[0]), ARG_T(position), ARG_T(dvectors), ARG_I(d), ARG_I(dy.shape[1]), ARG_OWN(position),
               ARG_I(s->i[0]), ARG_I(s->i[FIRST_TEXT]), ARG_I(add));
}

static void sequence_back(run *r, tape *tp, const tape_step *s)
{
    tensor dy = tape_gradient(tp, s->out);
    int64_t text = s->i[FIRST_TEXT] + s->in[0].shape[0], all = text + s->in[2].shape[0];
    table_back(r, tp, s->in[0], s->saved[0], dy, s->i[FIRST_TEXT], all);
    table_back(r, tp, s->in[2], s->saved[0], dy, text, all);
    vectors_back(r, tp, s, dy);
    int32_t start = s->i[0], width = s->i[1], height = s->i[2];
    positions_back(r, tp, s->in[1], s->saved[1], dy, 0, 1, 0, 1);
    positions_back(r, tp, s->in[3], s->saved[1], dy, start, width, 1, width);
    positions_back(r, tp, s->in[4], s->saved[1], dy, start, 1, width, height);
}

tensor op_decoder_ids(run *r, tensor codes, tensor position, int64_t t, int first)
{
    int64_t b = codes.shape[0];
    tensor ids = TENSOR(r, DTYPE_I32, b, t);
    LAUNCH(r, "embed:decoder_ids", work_each(b * t, 0, 8), ARG_T(codes), ARG_T(position), ARG_T(ids), ARG_I(b * t),
           ARG_I(t), ARG_OWN(position), ARG_I(codes.shape[1]), ARG_I(first));
    return ids;
}

tensor op_add_table(run *r, tensor x, tensor table, tensor position)
{
    int64_t d = last_of(&x), rows = rows_of(&x);
    REQUIRE(r, x.nd == 3 && table.nd == 2 && table.shape[1] == d);
    check_position(r, "op_add_table at several positions", position, table);
    tensor y = tensor_like(r, &x, d);
    LAUNCH(r, "embed:add_table",
           ((work){.global = {round_up((size_t)d, 64), (size_t)rows}, .bytes = 12.0 * (double)(rows * d)}), ARG_T(x),
           ARG_T(table), ARG_T(position), ARG_T(y), ARG_I(d), ARG_I(x.shape[1]), ARG_OWN(position),
           ARG_I(table.shape[0]));
    tape_push(r, &(tape_step){.back = add_table_back, .in = {x, table}, .out = y, .saved = {position}});
    return y;
}

tensor op_embed_decoder(run *r, tensor codes, tensor image, tensor table, tensor position, int64_t t, int first)
{
    if (run_failed(r))
        return (tensor){0};
    if (run_tape(r) || image.buf->rows)
        return op_add_table(r, op_embed(r, op_decoder_ids(r, codes, position, t, first), image), table, position);
    int64_t b = codes.shape[0], d = image.shape[1];
    REQUIRE(r, table.nd == 2 && table.shape[1] == d);
    tensor y = TENSOR(r, DTYPE_F32, b, t, d);
    LAUNCH(r, TYPED("embed:embed_decoder_", image.type), work_rows(b * t, 0, 12.0 * (double)(b * t * d)), ARG_T(codes),
           ARG_T(image), ARG_T(table), ARG_T(position), ARG_T(y), ARG_I(d), ARG_I(t), ARG_OWN(position),
           ARG_I(codes.shape[1]), ARG_I(image.shape[0]), ARG_I(table.shape[0]), ARG_I(first));
    return y;
}

static void add_table_back(run *r, tape *t, const tape_step *s)
{
    tensor dy = tape_gradient(t, s->out);
    gradient_add(r, t, s->in[0], dy);
    positions_back(r, t, s->in[1], s->saved[0], dy, 0, 1, 0, 1);
}
