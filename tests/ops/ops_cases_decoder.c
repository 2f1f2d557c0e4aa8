/* The ops of decoders that read another sequence, against their references. */
#include <math.h>
#include <stdlib.h>

#include "ops_cases.h"

/* y[t,heads,head_dim] of one sequence: over the n keys of kv[n,2,heads,head_dim] whose id is not pad. */
static void cross_attention(double *y, const float *q, const float *kv, const int32_t *ids, int pad, const shape *s)
{
    int d = s->heads * s->head_dim;
    for (int at = 0; at < s->t * d; at++) {
        int first = at / s->head_dim * s->head_dim, column = first % d; /* of the head */
        double total = 0, sum = 0;
        for (int j = 0; j < s->n; j++) {
            double score = 0;
            for (int i = 0; i < s->head_dim; i++)
                score += (double)q[first + i] * kv[2 * j * d + column + i] / sqrt(s->head_dim);
            double p = ids && ids[j] == pad ? 0 : exp(score);
            total += p;
            sum += p * kv[(2 * j + 1) * d + at % d];
        }
        y[at] = sum / total;
    }
}

/* s->first of the n ids are padding at the front, and some later ones; s->residual: no ids at all. */
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
    op_cross_keys(v->r, ops_input(v, s, SHAPE(s->b, s->n, 2 * d), kv), &keys);
    tensor y = op_cross_attention(v->r, ops_input(v, s, SHAPE(s->b, s->t, d), q), &keys, given, pad);
    double *reference = ops_memory(v, (size_t)count, sizeof *reference);
    ops_round(s->type, kv, s->b * s->n * 2 * d);
    for (int b = 0; b < s->b; b++)
        cross_attention(reference + b * s->t * d, q + b * s->t * d, kv + b * s->n * 2 * d,
                        s->residual ? NULL : ids + b * s->n, pad, s);
    return ops_error(v, y, reference, count);
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
