/* The ops of decoders that read another sequence, against their references. */
#include <math.h>
#include <stdlib.h>

#include "ops_cases_gradient.h"

/* y[t,heads,head_dim] of one sequence: over the n keys of kv[n,2,heads,head_dim] whose id is not pad; bias[heads,t,n].
 */
static void cross_attention(double *y, const float *q, const float *kv, const float *bias, const int32_t *ids, int pad,
                            const shape *s)
{
    int d = s->heads * s->head_dim;
    for (int at = 0; at < s->t * d; at++) {
        int first = at / s->head_dim * s->head_dim, column = first % d; /* of the head */
        double total = 0, sum = 0;
        for (int j = 0; j < s->n; j++) {
            double score = 0;
            for (int i = 0; i < s->head_dim; i++)
                score += (double)q[first + i] * kv[2 * j * d + column + i] / sqrt(s->head_dim);
            if (bias)
                score += bias[(column / s->head_dim * s->t + at / d) * s->n + j];
            double p = ids && ids[j] == pad ? 0 : exp(score);
            total += p;
            sum += p * kv[(2 * j + 1) * d + at % d];
        }
        y[at] = sum / total;
    }
}

/* s->first of the n ids are padding at the front, and some later ones; s->residual: no ids at all; s->bias: with one.
 */
double check_cross_attention(ops_env *v, const shape *s)
{
    int d = s->heads * s->head_dim, count = s->b * s->t * d, pad = 7;
    float *q = ops_numbers(v, count), *kv = ops_numbers(v, s->b * s->n * 2 * d);
    int32_t *ids = ops_memory(v, (size_t)(s->b * s->n), sizeof *ids);
    for (int i = 0; i < s->b * s->n; i++)
        ids[i] = i % s->n < s->first || i % 3 == 1 ? pad : i;
    for (int b = 0; b < s->b; b++)
        ids[b * s->n + s->n - 1] = 8;
    tensor cache[2], given = s->residual ? (tensor){0} : ops_integers(v, SHAPE(s->b, s->n), ids);
    for (int i = 0; i < 2; i++)
        cache[i] = ops_tensor(v, s->type, SHAPE(s->b, s->heads, s->n, s->head_dim), NULL);
    const kv_cache keys = {cache[0], cache[1]};
    float *bias = s->bias ? ops_numbers(v, s->heads * s->t * s->n) : NULL;
    op_cross_keys(v->r, ops_input(v, s, SHAPE(s->b, s->n, 2 * d), kv), &keys);
    tensor y = op_biased_attention(v->r, ops_input(v, s, SHAPE(s->b, s->t, d), q), &keys,
                                   bias ? ops_input(v, s, SHAPE(s->heads, s->t, s->n), bias) : (tensor){0}, given, pad);
    double *reference = ops_memory(v, (size_t)count, sizeof *reference);
    ops_round(s->type, kv, s->b * s->n * 2 * d);
    for (int b = 0; b < s->b; b++)
        cross_attention(reference + b * s->t * d, q + b * s->t * d, kv + b * s->n * 2 * d, bias,
                        s->residual ? NULL : ids + b * s->n, pad, s);
    return ops_error(v, y, reference, count);
}

static void relative_reference(double *y, const float *table, const shape *s)
{
    for (int i = 0; i < s->heads * s->t * s->t; i++) {
        int distance = i % s->t - i / s->t % s->t, near = distance < -s->n ? -s->n : distance > s->n ? s->n : distance;
        y[i] = table[(near + s->n) * s->heads + i / s->t / s->t];
    }
}

/* s->n: the reach */
double check_relative_bias(ops_env *v, const shape *s)
{
    int count = s->heads * s->t * s->t, rows = 2 * s->n + 1;
    float *table = ops_numbers(v, rows * s->heads);
    double *reference = ops_memory(v, (size_t)count, sizeof *reference);
    relative_reference(reference, table, s);
    return ops_error(v, op_relative_bias(v->r, ops_input(v, s, SHAPE(rows, s->heads), table), s->t), reference, count);
}

typedef struct relative {
    const shape *s;
    float *table;
    tensor on_device;
} relative;

static tensor relative_op(run *r, void *context)
{
    const relative *p = context;
    return op_relative_bias(r, p->on_device, p->s->t);
}

static void relative_values(double *y, void *context)
{
    const relative *p = context;
    relative_reference(y, p->table, p->s);
}

double check_relative_bias_gradient(ops_env *v, const shape *s)
{
    int count = s->heads * s->t * s->t, n = (2 * s->n + 1) * s->heads;
    relative p = {.s = s, .table = ops_numbers(v, n)};
    p.on_device = ops_input(v, s, SHAPE(2 * s->n + 1, s->heads), p.table);
    float *c = ops_numbers(v, count);
    double *expected = ops_memory(v, (size_t)n, sizeof *expected);
    for (int i = 0; i < count; i++) {
        int distance = i % s->t - i / s->t % s->t, near = distance < -s->n ? -s->n : distance > s->n ? s->n : distance;
        expected[(near + s->n) * s->heads + i / s->t / s->t] += c[i];
    }
    const gradient_case g = {
        &p, relative_op, relative_values, count, c, false, {{"table", p.on_device, p.table, n, expected}}};
    return gradient_error(v, &g);
}

/* A sequence whose text is vectors and rows of a table: ids below s->m are the former, s->k rows the latter; s->n
 * codes, positions s->first to s->first + s->t - 1. */
typedef struct text_vectors {
    const shape *s;
    float *values[3]; /* vectors, text, image */
    tensor ids, codes, position, tensors[3];
    int32_t *id, *code;
} text_vectors;

static tensor vectors_op(run *r, void *context)
{
    const text_vectors *p = context;
    const sequence_embedding e = {.text = p->tensors[1],
                                  .image = p->tensors[2],
                                  .text_length = p->s->text,
                                  .grid_width = 1,
                                  .grid_height = p->s->grid_height,
                                  .first_text = p->s->m,
                                  .vectors = p->tensors[0]};
    return op_embed_sequence(r, &e, p->ids, p->codes, p->position, p->s->t);
}

/* Which of the three, and its row, is the input of row i of all b t. */
static int vector_row(const text_vectors *p, int i, int *row)
{
    const shape *s = p->s;
    int b = i / s->t, at = s->first + i % s->t;
    if (at >= s->text) {
        *row = p->code[b * s->grid_height + at - s->text];
        return 2;
    }
    int id = p->id[b * s->text + at];
    bool known = id >= s->m && id < s->m + s->k;
    *row = known ? id - s->m : b * s->text + at;
    return known;
}

static void vectors_values(double *y, void *context)
{
    const text_vectors *p = context;
    for (int i = 0; i < p->s->b * p->s->t * p->s->d; i++) {
        int row, which = vector_row(p, i / p->s->d, &row);
        y[i] = p->values[which][row * p->s->d + i % p->s->d];
    }
}

static text_vectors new_text_vectors(ops_env *v, const shape *s)
{
    const int rows[] = {s->b * s->text, s->k, s->n};
    text_vectors p = {.s = s, .id = ops_memory(v, (size_t)(s->b * s->text), sizeof *p.id)};
    p.code = ops_memory(v, (size_t)(s->b * s->grid_height), sizeof *p.code);
    for (int i = 0; i < s->b * s->text; i++)
        p.id[i] = i % 4 == 3 ? -1 : i * 5 % (s->m + s->k + 1); /* one beyond, which counts as 0 */
    for (int i = 0; i < s->b * s->grid_height; i++)
        p.code[i] = i * 7 % s->n;
    for (int i = 0; i < 3; i++) {
        p.values[i] = ops_numbers(v, rows[i] * s->d);
        p.tensors[i] = i ? ops_tensor(v, DTYPE_F32, SHAPE(rows[i], s->d), p.values[i])
                         : ops_input(v, s, SHAPE(s->b, s->text, s->d), p.values[i]);
    }
    p.ids = ops_integers(v, SHAPE(s->b, s->text), p.id);
    p.codes = ops_integers(v, SHAPE(s->b, s->grid_height), p.code);
    p.position = ops_integers(v, SHAPE(1), &s->first);
    return p;
}

double check_text_vectors(ops_env *v, const shape *s)
{
    text_vectors p = new_text_vectors(v, s);
    int count = s->b * s->t * s->d;
    double *reference = ops_memory(v, (size_t)count, sizeof *reference);
    vectors_values(reference, &p);
    return ops_error(v, vectors_op(v->r, &p), reference, count);
}

double check_text_vectors_gradient(ops_env *v, const shape *s)
{
    text_vectors p = new_text_vectors(v, s);
    static const char *const names[] = {"vectors", "text", "image"};
    const int counts[] = {s->b * s->text * s->d, s->k * s->d, s->n * s->d};
    int count = s->b * s->t * s->d;
    float *c = ops_numbers(v, count);
    double *expected[3];
    gradient_case g = {&p, vectors_op, vectors_values, count, c, false, {{0}}};
    for (int i = 0; i < 3; i++) {
        expected[i] = ops_memory(v, (size_t)counts[i], sizeof **expected);
        g.in[i] = (gradient_input){names[i], p.tensors[i], p.values[i], counts[i], expected[i]};
    }
    for (int i = 0; i < count; i++) {
        int row, which = vector_row(&p, i / s->d, &row);
        expected[which][row * s->d + i % s->d] += c[i];
    }
    return gradient_error(v, &g);
}

/* The ops one by one, or as one. */
static tensor decoder_input(ops_env *v, const shape *s, tensor codes, tensor table, tensor positions, tensor position)
{
    if (s->factor)
        return op_embed_decoder(v->r, codes, table, positions, position, s->t, 9);
    return op_add_table(v->r, op_embed(v->r, op_decoder_ids(v->r, codes, position, s->t, 9), table), positions,
                        position);
}

/* The inputs of a decoder at the positions s->first to s->first + s->t - 1 of s->n cells: ids and positions. */
double check_decoder_input(ops_env *v, const shape *s)
{
    int32_t *codes = ops_memory(v, (size_t)(s->b * s->n), sizeof *codes);
    for (int i = 0; i < s->b * s->n; i++)
        codes[i] = i * 7 % 10;
    int count = s->b * s->t * s->d;
    float *table = ops_numbers(v, 10 * s->d), *positions = ops_numbers(v, s->n * s->d);
    tensor y =
        decoder_input(v, s, ops_integers(v, SHAPE(s->b, s->n), codes), ops_weight(v, s, 10, s->d, table),
                      ops_tensor(v, DTYPE_F32, SHAPE(s->n, s->d), positions), ops_integers(v, SHAPE(1), &s->first));
    double *reference = ops_memory(v, (size_t)count, sizeof *reference);
    for (int i = 0; i < count; i++) {
        int row = i / s->d, p = s->first + row % s->t, id = p ? codes[row / s->t * s->n + p - 1] : 9;
        reference[i] = (double)table[id * s->d + i % s->d] + positions[p * s->d + i % s->d];
    }
    return ops_error(v, y, reference, count);
}
