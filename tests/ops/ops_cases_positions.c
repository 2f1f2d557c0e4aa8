/* Rows of a batch at positions of their own: each gets what it gets beside rows at its own position, bit for bit. */
#include <string.h>

#include "ops_cases.h"

enum { ROWS = 3, LENGTH = 21, TEXT = 5, GRID_WIDTH = 4, HEADS = 2, HEAD_DIM = 16, D = HEADS * HEAD_DIM, CODES = 11 };

/* An op with what it keeps between positions; y[b,t,out] of the numbers x[b,t,in]. */
typedef struct stepper {
    tensor (*step)(run *r, const struct stepper *s, tensor x, int b, tensor position);
    int in, out;
    mask_kind mask;
    int keys; /* heads of keys */
    kv_cache cache;
    tensor more, codes;
    sequence_embedding embedding;
} stepper;

static tensor step_attention(run *r, const stepper *s, tensor x, int b, tensor position)
{
    const attention_mask mask = {s->mask, TEXT, GRID_WIDTH, 3};
    (void)b;
    return op_attention(r, x, HEADS, &s->cache, position, &mask);
}

static tensor step_rotate(run *r, const stepper *s, tensor x, int b, tensor position)
{
    (void)b;
    return op_rotate(r, x, HEAD_DIM, s->more, position);
}

static tensor step_rotary(run *r, const stepper *s, tensor x, int b, tensor position)
{
    (void)b;
    return op_rotary(r, x, D / 2, s->more, position);
}

static tensor step_rotate_grid(run *r, const stepper *s, tensor x, int b, tensor position)
{
    (void)s;
    (void)b;
    return op_rotate_grid(r, x, HEADS, position, TEXT, GRID_WIDTH);
}

static tensor step_shift(run *r, const stepper *s, tensor x, int b, tensor position)
{
    (void)b;
    return op_shift_tokens(r, x, s->more, position, TEXT, GRID_WIDTH);
}

static tensor step_embed(run *r, const stepper *s, tensor x, int b, tensor position)
{
    tensor ids = tensor_rows(s->more, 0, b);
    return op_embed_sequence(r, &s->embedding, ids, tensor_rows(s->codes, 0, b), position, x.shape[1]);
}

/* Of the grid alone: its positions begin behind the text. */
static tensor step_embed_cells(run *r, const stepper *s, tensor x, int b, tensor position)
{
    sequence_embedding e = s->embedding;
    e.text_length = 0;
    return op_embed_sequence(r, &e, (tensor){0}, tensor_rows(s->codes, 0, b), position, x.shape[1]);
}

static tensor step_decoder(run *r, const stepper *s, tensor x, int b, tensor position)
{
    tensor ids = op_decoder_ids(r, tensor_rows(s->codes, 0, b), position, x.shape[1], 3);
    return op_add_table(r, op_embed(r, ids, s->embedding.image), s->embedding.text_position, position);
}

static tensor step_decoder_joined(run *r, const stepper *s, tensor x, int b, tensor position)
{
    return op_embed_decoder(r, tensor_rows(s->codes, 0, b), s->embedding.image, s->embedding.text_position, position,
                            x.shape[1], 3);
}

static void fresh(ops_env *v, stepper *s)
{
    int32_t ids[ROWS * TEXT], codes[ROWS * LENGTH];
    uint32_t streams = v->streams;
    v->streams = 500; /* the same numbers each time */
    for (int i = 0; i < ROWS * TEXT; i++)
        ids[i] = i % 7;
    for (int i = 0; i < ROWS * LENGTH; i++)
        codes[i] = i * 5 % CODES;
    const int64_t cache[] = {ROWS, s->keys ? s->keys : HEADS, LENGTH, HEAD_DIM};
    s->cache = (kv_cache){ops_tensor(v, DTYPE_F32, 4, cache, NULL), ops_tensor(v, DTYPE_F32, 4, cache, NULL)};
    s->codes = ops_integers(v, SHAPE(ROWS, LENGTH), codes);
    if (s->step == step_rotate)
        s->more = ops_tensor(v, DTYPE_F32, SHAPE(LENGTH, HEAD_DIM), ops_numbers(v, LENGTH * HEAD_DIM));
    else if (s->step == step_rotary)
        s->more = ops_tensor(v, DTYPE_F32, SHAPE(HEAD_DIM / 4), ops_numbers(v, HEAD_DIM / 4));
    else if (s->step == step_shift)
        s->more = ops_tensor(v, DTYPE_F32, SHAPE(ROWS, LENGTH, D / 2), NULL);
    else
        s->more = ops_integers(v, SHAPE(ROWS, TEXT), ids);
    tensor table = ops_tensor(v, DTYPE_F32, SHAPE(LENGTH, D), ops_numbers(v, LENGTH * D));
    tensor image = ops_tensor(v, DTYPE_F32, SHAPE(CODES, D), ops_numbers(v, CODES * D));
    s->embedding = (sequence_embedding){table, table, image, table, table, TEXT, 1, .grid_height = LENGTH};
    v->streams = streams;
}

/* One position of the first b rows, of which row i is at at[i]; `shared`: by one position. */
static void one_step(ops_env *v, const stepper *s, const float *x, float *y, int b, const int32_t *at, bool shared)
{
    float *in = ops_memory(v, (size_t)(b * s->in), sizeof *in), *out = ops_memory(v, (size_t)(b * s->out), sizeof *out);
    for (int i = 0; i < b; i++)
        if (at[i] < LENGTH)
            memcpy(in + i * s->in, x + (i * LENGTH + at[i]) * s->in, (size_t)s->in * sizeof *in);
    tensor position = ops_integers(v, SHAPE(shared ? 1 : b), at);
    run_read(v->r, s->step(v->r, s, ops_tensor(v, DTYPE_F32, SHAPE(b, 1, s->in), in), b, position), out);
    err e = {0};
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
    run_next(v->r);
    for (int i = 0; i < b; i++)
        if (at[i] < LENGTH)
            memcpy(y + (i * LENGTH + at[i]) * s->out, out + i * s->out, (size_t)s->out * sizeof *y);
}

/* WINDOW positions of the first b rows, those of row i from at[i] on.  The last of them reads what isn't there yet, as
 * a draft that will be another one. */
enum { WINDOW = 3 };
static void one_window(ops_env *v, const stepper *s, const float *x, float *y, int b, const int32_t *at)
{
    size_t n_in = (size_t)(WINDOW * s->in), n_out = (size_t)(WINDOW * s->out);
    float *in = ops_memory(v, (size_t)b * n_in, sizeof *in), *out = ops_memory(v, (size_t)b * n_out, sizeof *out);
    for (int i = 0; i < b; i++) {
        memcpy(in + (size_t)i * n_in, x + (i * LENGTH + at[i]) * s->in, n_in * sizeof *in);
        for (int c = 0; c < s->in && at[i] + WINDOW < LENGTH; c++)
            in[(size_t)i * n_in + n_in - 1 - (size_t)c] *= -2;
    }
    tensor position = ops_integers(v, SHAPE(b > 1 ? b : 2), b > 1 ? at : (int32_t[]){at[0], 0});
    run_read(v->r, s->step(v->r, s, ops_tensor(v, DTYPE_F32, SHAPE(b, WINDOW, s->in), in), b, position), out);
    err e = {0};
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
    run_next(v->r);
    for (int i = 0; i < b; i++)
        memcpy(y + (i * LENGTH + at[i]) * s->out, out + (size_t)i * n_out, n_out * sizeof *y);
}

/* Windows that overlap, each row's from a place of its own; or one row's alone. */
static void check_windows(ops_env *v, stepper *s, const float *x, const float *expected, int rows)
{
    int count = rows * LENGTH * s->out;
    float *y = ops_memory(v, (size_t)count, sizeof *y);
    fresh(v, s);
    for (int p = 0; p < LENGTH + 2 * rows; p += WINDOW - 1) {
        int32_t at[ROWS];
        for (int i = 0; i < rows; i++)
            at[i] = p - i < 0 ? 0 : p - i > LENGTH - WINDOW ? LENGTH - WINDOW : p - i;
        one_window(v, s, x, y, rows, at);
    }
    assert_memory_equal(y, expected, (size_t)count * sizeof *y);
}

/* Row i begins 2 i steps after row 0; those that are at the end stay beside the others. */
static void check(ops_env *v, stepper s)
{
    int count = ROWS * LENGTH * s.out;
    float *x = ops_numbers(v, ROWS * LENGTH * s.in), *together = ops_memory(v, (size_t)count, sizeof *together),
          *apart = ops_memory(v, (size_t)count, sizeof *apart);
    fresh(v, &s);
    for (int p = 0; p < LENGTH; p++)
        one_step(v, &s, x, together, ROWS, (int32_t[ROWS]){p, p, p}, true);
    fresh(v, &s);
    for (int p = 0; p < LENGTH + 2 * (ROWS - 1); p++) {
        int32_t at[ROWS];
        int begun = 0;
        while (begun < ROWS && p >= 2 * begun) {
            at[begun] = p - 2 * begun;
            begun++;
        }
        one_step(v, &s, x, apart, begun, at, false);
    }
    assert_memory_equal(together, apart, (size_t)count * sizeof *apart);
    check_windows(v, &s, x, together, ROWS);
    check_windows(v, &s, x, together, 1);
}

static void test_attention(ops_env *v)
{
    for (int mask = 0; mask < MASK_ALL; mask++)
        check(v, (stepper){.step = step_attention, .in = 3 * D, .out = D, .mask = (mask_kind)mask});
    check(v, (stepper){.step = step_attention, .in = D + 2 * HEAD_DIM, .out = D, .mask = MASK_FULL, .keys = 1});
}

static void test_rotations(ops_env *v)
{
    check(v, (stepper){.step = step_rotate, .in = D, .out = D});
    check(v, (stepper){.step = step_rotary, .in = D, .out = D});
    check(v, (stepper){.step = step_rotate_grid, .in = 3 * D, .out = 3 * D});
}

static void test_shift(ops_env *v)
{
    check(v, (stepper){.step = step_shift, .in = D, .out = D});
}

static void test_inputs(ops_env *v)
{
    check(v, (stepper){.step = step_embed, .in = 1, .out = D});
    check(v, (stepper){.step = step_embed_cells, .in = 1, .out = D});
    check(v, (stepper){.step = step_decoder, .in = 1, .out = D});
    check(v, (stepper){.step = step_decoder_joined, .in = 1, .out = D});
}

const ops_behaviour ops_positions[] = {
    {"attention of rows at positions of their own", test_attention},
    {"rotations of rows at positions of their own", test_rotations},
    {"shifted tokens of rows at positions of their own", test_shift},
    {"inputs of rows at positions of their own", test_inputs},
    {0},
};
