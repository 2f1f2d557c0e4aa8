/* The gradients of norms, attention, embeddings and elementwise ops. */
#include <string.h>

#include "base/rng.h"
#include "ops_cases_gradient.h"
#include "ref_back.h"
#include "ref_grad.h"

/* What the functions of a gradient_case see; each op uses some of it. */
typedef struct rows {
    const shape *s;
    int count; /* elements of the output */
    float *x, *w, *b;
    tensor tx, tw, tb;
    norm n;
    kv_cache cache;
    attention_mask mask;
    tensor position, ids, codes;
    int32_t *id, *code;
    sequence_embedding e;
    ref_sequence sequence;
} rows;

static double *doubles(ops_env *v, int n)
{
    return ops_memory(v, (size_t)n, sizeof(double));
}

static double *as_doubles(ops_env *v, const float *x, int n)
{
    double *y = doubles(v, n);
    for (int i = 0; i < n; i++)
        y[i] = x[i];
    return y;
}

/* The norm over d channels of count numbers around 10. */
static void make_norm(ops_env *v, rows *p, int d)
{
    p->w = ops_numbers(v, d);
    p->b = ops_numbers(v, d);
    for (int i = 0; i < p->count; i++)
        p->x[i] += 10;
    p->n = (norm){ops_tensor(v, DTYPE_F32, SHAPE(d), p->w), ops_tensor(v, DTYPE_F32, SHAPE(d), p->b), 1e-5f};
}

static tensor layer_norm_op(run *r, void *context)
{
    const rows *p = context;
    return op_layer_norm(r, p->tx, &p->n);
}

static void layer_norm_reference(double *y, void *context)
{
    const rows *p = context;
    ref_layer_norm(y, p->x, p->w, p->b, p->n.eps, p->s->m, p->s->d);
}

double check_layer_norm_gradient(ops_env *v, const shape *s)
{
    rows p = {.s = s, .count = s->m * s->d, .x = ops_numbers(v, s->m * s->d)};
    make_norm(v, &p, s->d);
    p.tx = ops_input(v, s, SHAPE(s->m, s->d), p.x);
    float *c = ops_numbers(v, p.count);
    double *dx = doubles(v, p.count), *dw = doubles(v, s->d), *db = doubles(v, s->d);
    ref_layer_norm_back(dx, dw, db, c, p.x, p.w, p.n.eps, s->m, s->d);
    const gradient_case g = {
        &p,
        layer_norm_op,
        layer_norm_reference,
        p.count,
        c,
        s->d == 1, /* a constant: all of the gradient is rounding */
        {{"x", p.tx, p.x, p.count, s->d > 1 ? dx : NULL}, {"w", p.n.w, p.w, s->d, dw}, {"b", p.n.b, p.b, s->d, db}}};
    return gradient_error(v, &g);
}

static tensor group_norm_op(run *r, void *context)
{
    const rows *p = context;
    return op_group_norm(r, p->tx, &p->n, p->s->groups, p->s->act);
}

static void group_norm_reference(double *y, void *context)
{
    const rows *p = context;
    ref_group_norm(y, p->x, p->w, p->b, p->n.eps, p->s->b, p->s->h * p->s->w, p->s->c, p->s->groups, p->s->act);
}

double check_group_norm_gradient(ops_env *v, const shape *s)
{
    rows p = {.s = s, .count = s->b * s->h * s->w * s->c};
    p.x = ops_numbers(v, p.count);
    make_norm(v, &p, s->c);
    p.tx = ops_input(v, s, SHAPE(s->b, s->h, s->w, s->c), p.x);
    float *c = ops_numbers(v, p.count);
    double *dx = doubles(v, p.count), *dw = doubles(v, s->c), *db = doubles(v, s->c), *z = doubles(v, p.count);
    ref_group_norm(z, p.x, p.w, p.b, p.n.eps, s->b, s->h * s->w, s->c, s->groups, ACT_NONE);
    for (int i = 0; i < p.count; i++)
        z[i] = ref_activation_back(z[i], c[i], s->act);
    ref_group_norm_back(dx, dw, db, z, p.x, p.w, p.n.eps, s->b, s->h * s->w, s->c, s->groups);
    const gradient_case g = {&p,
                             group_norm_op,
                             group_norm_reference,
                             p.count,
                             c,
                             s->act == ACT_RELU,
                             {{"x", p.tx, p.x, p.count, dx}, {"w", p.n.w, p.w, s->c, dw}, {"b", p.n.b, p.b, s->c, db}}};
    return gradient_error(v, &g);
}

static tensor softmax_op(run *r, void *context)
{
    return op_softmax(r, ((rows *)context)->tx);
}

static void softmax_reference(double *y, void *context)
{
    const rows *p = context;
    ref_softmax(y, p->x, p->s->m, p->s->d);
}

double check_softmax_gradient(ops_env *v, const shape *s)
{
    rows p = {.s = s, .count = s->m * s->d, .x = ops_numbers(v, s->m * s->d)};
    p.tx = ops_input(v, s, SHAPE(s->m, s->d), p.x);
    float *c = ops_numbers(v, p.count);
    double *y = doubles(v, p.count), *dx = doubles(v, p.count);
    ref_softmax(y, p.x, s->m, s->d);
    ref_softmax_back(dx, y, c, 1, s->m, s->d);
    const gradient_case g = {&p, softmax_op, softmax_reference, p.count, c, false, {{"x", p.tx, p.x, p.count, dx}}};
    return gradient_error(v, &g);
}

static tensor attention_op(run *r, void *context)
{
    const rows *p = context;
    return op_attention(r, p->tx, p->s->heads, &p->cache, p->position, &p->mask);
}

static int key_heads(const shape *s)
{
    return s->kv_heads ? s->kv_heads : s->heads;
}

static void attention_reference(double *y, void *context)
{
    const rows *p = context;
    ref_attention(y, p->x, p->s->b, p->s->t, p->s->heads, key_heads(p->s), p->s->head_dim, &p->mask);
}

/* All positions at once; the cache is larger than what is used of it, in both dimensions. */
double check_attention_gradient(ops_env *v, const shape *s)
{
    int row = (s->heads + 2 * key_heads(s)) * s->head_dim, n = s->b * s->t * row, length = s->t + 3;
    rows p = {.s = s, .count = s->b * s->t * s->heads * s->head_dim, .x = ops_numbers(v, n)};
    p.cache = ops_cache(v, s, length);
    p.mask = (attention_mask){s->mask, s->text, s->grid_width, s->kernel};
    p.position = ops_integers(v, SHAPE(1), (int32_t[]){0});
    p.tx = ops_input(v, s, SHAPE(s->b, s->t, row), p.x);
    float *c = ops_numbers(v, p.count);
    double *dx = doubles(v, n);
    ref_attention_back(dx, c, p.x, s->b, s->t, s->heads, key_heads(s), s->head_dim, &p.mask);
    const gradient_case g = {&p, attention_op, attention_reference, p.count, c, false, {{"qkv", p.tx, p.x, n, dx}}};
    return gradient_error(v, &g);
}

static tensor activate_op(run *r, void *context)
{
    const rows *p = context;
    return op_activate(r, p->tx, p->s->act);
}

static void activate_reference(double *y, void *context)
{
    const rows *p = context;
    for (int i = 0; i < p->count; i++)
        y[i] = ref_activation(p->x[i], p->s->act);
}

double check_activate_gradient(ops_env *v, const shape *s)
{
    rows p = {.s = s, .count = s->n, .x = ops_numbers(v, s->n)};
    for (int i = 0; i < s->n; i++)
        p.x[i] *= i % 7 ? 2.0f : 50.0f; /* large ones too, where exponentials overflow */
    p.tx = ops_input(v, s, SHAPE(s->n), p.x);
    float *c = ops_numbers(v, s->n);
    double *dx = doubles(v, s->n);
    for (int i = 0; i < s->n; i++)
        dx[i] = ref_activation_back(p.x[i], c[i], s->act);
    const gradient_case g = {&p,
                             activate_op,
                             activate_reference,
                             s->n,
                             c,
                             s->act == ACT_RELU || s->act == ACT_LEAKY_RELU,
                             {{"x", p.tx, p.x, s->n, dx}}};
    return gradient_error(v, &g);
}

static tensor add_op(run *r, void *context)
{
    const rows *p = context;
    return p->s->factor ? op_scale_add(r, p->tx, 3.5f, p->tw, -0.5f) : op_add(r, p->tx, p->tw);
}

static void add_reference(double *y, void *context)
{
    const rows *p = context;
    for (int i = 0; i < p->count; i++)
        y[i] = (p->s->factor ? 3.5 : 1) * p->x[i] + (!p->w ? 0 : (p->s->factor ? -0.5 : 1) * p->w[i]);
}

/* op_add; op_scale_add where s->factor is 2, and where it is 1, of one tensor. */
double check_add_gradient(ops_env *v, const shape *s)
{
    rows p = {.s = s, .count = s->m * s->n, .x = ops_numbers(v, s->m * s->n)};
    p.tx = ops_input(v, s, SHAPE(s->m, s->n), p.x);
    if (s->factor != 1) {
        p.w = ops_numbers(v, p.count);
        p.tw = ops_input(v, s, SHAPE(s->m, s->n), p.w);
    }
    float *c = ops_numbers(v, p.count);
    double *da = as_doubles(v, c, p.count), *db = as_doubles(v, c, p.count), *y = doubles(v, p.count);
    for (int i = 0; i < p.count && s->factor; i++) {
        da[i] *= 3.5;
        db[i] *= -0.5;
    }
    const gradient_case g = {
        &p, add_op, add_reference, p.count, c, false, {{"a", p.tx, p.x, p.count, da}, {"b", p.tw, p.w, p.count, db}}};
    double backward = gradient_error(v, &g), forward;
    add_reference(y, &p);
    forward = ops_error(v, add_op(v->r, &p), y, p.count);
    return forward > backward ? forward : backward;
}

static tensor slice_op(run *r, void *context)
{
    const rows *p = context;
    return op_slice(r, p->tx, p->s->first, p->s->n);
}

static void slice_reference(double *y, void *context)
{
    const rows *p = context;
    ref_slice(y, p->x, p->s->b, p->s->t, p->s->d, p->s->first, p->s->n);
}

double check_slice_gradient(ops_env *v, const shape *s)
{
    int n = s->b * s->t * s->d;
    rows p = {.s = s, .count = s->b * s->n * s->d, .x = ops_numbers(v, n)};
    p.tx = ops_input(v, s, SHAPE(s->b, s->t, s->d), p.x);
    float *c = ops_numbers(v, p.count);
    double *dx = doubles(v, n);
    for (int b = 0; b < s->b; b++)
        for (int i = 0; i < s->n * s->d; i++)
            dx[(b * s->t + s->first) * s->d + i] = c[b * s->n * s->d + i];
    const gradient_case g = {&p, slice_op, slice_reference, p.count, c, false, {{"x", p.tx, p.x, n, dx}}};
    return gradient_error(v, &g);
}

static tensor upsample_op(run *r, void *context)
{
    const rows *p = context;
    return op_upsample(r, p->tx, p->s->factor);
}

static void upsample_reference(double *y, void *context)
{
    const rows *p = context;
    ref_upsample(y, p->x, p->s->b, p->s->h, p->s->w, p->s->c, p->s->factor);
}

double check_upsample_gradient(ops_env *v, const shape *s)
{
    int n = s->b * s->h * s->w * s->c, f = s->factor, at = 0;
    rows p = {.s = s, .count = n * f * f, .x = ops_numbers(v, n)};
    p.tx = ops_input(v, s, SHAPE(s->b, s->h, s->w, s->c), p.x);
    float *c = ops_numbers(v, p.count);
    double *dx = doubles(v, n);
    for (int y = 0; y < s->b * s->h * f; y++)
        for (int x = 0; x < s->w * f; x++)
            for (int i = 0; i < s->c; i++)
                dx[(y / f * s->w + x / f) * s->c + i] += c[at++];
    const gradient_case g = {&p, upsample_op, upsample_reference, p.count, c, false, {{"x", p.tx, p.x, n, dx}}};
    return gradient_error(v, &g);
}

/* Ids of all over the table and some outside of it; half of them the same. */
static int32_t *make_ids(ops_env *v, int n, int table)
{
    int32_t *ids = ops_memory(v, (size_t)n, sizeof *ids);
    v->streams++;
    for (int i = 0; i < n; i++)
        ids[i] = i % 2 ? (int32_t)(rng_uniform(7, v->streams, 0, (uint32_t)i) * (float)table) % table : table / 2;
    if (n > 2) {
        ids[1] = table;
        ids[2] = -1;
    }
    return ids;
}

static tensor embed_op(run *r, void *context)
{
    const rows *p = context;
    return op_embed(r, p->ids, p->tw);
}

static void embed_reference(double *y, void *context)
{
    const rows *p = context;
    ref_embed(y, p->id, p->s->n, p->w, p->s->m, p->s->d);
}

double check_embed_gradient(ops_env *v, const shape *s)
{
    rows p = {.s = s, .count = s->n * s->d, .w = ops_numbers(v, s->m * s->d), .id = make_ids(v, s->n, s->m)};
    p.tw = ops_tensor(v, DTYPE_F32, SHAPE(s->m, s->d), p.w);
    p.ids = ops_integers(v, SHAPE(1, s->n), p.id);
    float *c = ops_numbers(v, p.count);
    double *dw = doubles(v, s->m * s->d);
    for (int i = 0; i < p.count; i++) {
        int id = p.id[i / s->d];
        dw[(id < 0 || id >= s->m ? 0 : id) * s->d + i % s->d] += c[i];
    }
    const gradient_case g = {&p, embed_op, embed_reference, p.count, c, false, {{"table", p.tw, p.w, s->m * s->d, dw}}};
    return gradient_error(v, &g);
}

static tensor sequence_op(run *r, void *context)
{
    const rows *p = context;
    return op_embed_sequence(r, &p->e, p->ids, p->codes, p->position, p->s->t);
}

static void sequence_reference(double *y, void *context)
{
    const rows *p = context;
    const shape *s = p->s;
    for (int b = 0; b < s->b; b++)
        for (int i = 0; i < s->t; i++)
            ref_embed_position(y + (b * s->t + i) * s->d, &p->sequence, p->id + b * s->text,
                               p->code + b * s->grid_width * s->grid_height, s->first + i);
}

double check_embed_sequence_gradient(ops_env *v, const shape *s)
{
    const int sizes[] = {s->m, s->text, s->n, s->grid_height - s->factor, s->grid_width},
              cells = s->grid_height * s->grid_width;
    const char *names[] = {"text", "text_position", "image", "row_position", "column_position"};
    rows p = {.s = s, .count = s->b * s->t * s->d};
    float *values[5], *c = ops_numbers(v, p.count);
    tensor tables[5];
    double *expected[5];
    for (int i = 0; i < 5; i++) {
        values[i] = ops_numbers(v, sizes[i] * s->d);
        tables[i] = ops_tensor(v, DTYPE_F32, SHAPE(sizes[i], s->d), values[i]);
        expected[i] = doubles(v, sizes[i] * s->d);
    }
    p.id = make_ids(v, s->b * s->text, s->m);
    p.code = make_ids(v, s->b * cells, s->n);
    p.codes = ops_integers(v, SHAPE(s->b, cells), p.code);
    if (s->first < s->text)
        p.ids = ops_integers(v, SHAPE(s->b, s->text), p.id);
    p.position = ops_integers(v, SHAPE(1), &s->first);
    p.e = (sequence_embedding){tables[0], tables[1], tables[2],     tables[3],
                               tables[4], s->text,   s->grid_width, .grid_height = s->grid_height};
    p.sequence = (ref_sequence){values[0], values[1], values[2],     values[3],      values[4], s->m,
                                s->n,      s->text,   s->grid_width, s->grid_height, s->d};
    for (int i = 0; i < p.count; i++) {
        int b = i / s->d / s->t, at = s->first + i / s->d % s->t, cell = at - s->text, j = i % s->d;
        int id = cell < 0 ? p.id[b * s->text + at] : p.code[b * cells + cell], table = cell < 0 ? s->m : s->n;
        expected[cell < 0 ? 0 : 2][(id < 0 || id >= table ? 0 : id) * s->d + j] += c[i];
        if (cell < 0) {
            expected[1][at * s->d + j] += c[i];
        } else {
            expected[3][cell / s->grid_width * s->d + j] += c[i];
            expected[4][cell % s->grid_width * s->d + j] += c[i];
        }
    }
    gradient_case g = {&p, sequence_op, sequence_reference, p.count, c, false, {{0}}};
    for (int i = 0; i < 5; i++)
        g.in[i] = (gradient_input){names[i], tables[i], values[i], sizes[i] * s->d, expected[i]};
    return gradient_error(v, &g);
}
