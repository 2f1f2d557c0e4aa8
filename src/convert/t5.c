/* Importing T5's encoder. */
#include "convert/t5.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/config_json.h"

#define BLOCK "t5.encoder.block.0.layer."
#define BIAS  BLOCK "0.SelfAttention.relative_attention_bias.weight"

const import_row import_t5_rows[] = {
    {"embedding.weight", {"{table}"}},
    {"bias.weight", {"limn.bias"}},
    {"block.{i}.norm1.*", {"encoder.block.{i}.layer.0.layer_norm.*"}},
    {"block.{i}.q.*", {"encoder.block.{i}.layer.0.SelfAttention.q.*"}, .times = "limn.scale"},
    {"block.{i}.kv.*", {"encoder.block.{i}.layer.0.SelfAttention.k.*", "encoder.block.{i}.layer.0.SelfAttention.v.*"}},
    {"block.{i}.out.*", {"encoder.block.{i}.layer.0.SelfAttention.o.*"}},
    {"block.{i}.norm2.*", {"encoder.block.{i}.layer.1.layer_norm.*"}},
    {"block.{i}.up.*",
     {"encoder.block.{i}.layer.1.DenseReluDense.wi_1.*",
      "encoder.block.{i}.layer.1.DenseReluDense.wi_0.*"}}, /* the value, then the gate */
    {"block.{i}.down.*", {"encoder.block.{i}.layer.1.DenseReluDense.wo.*"}},
    {"norm.*", {"encoder.final_layer_norm.*"}},
    {NULL, {"shared.weight", "encoder.embed_tokens.weight", "decoder.", "lm_head."}},
};
const size_t import_t5_n_rows = sizeof import_t5_rows / sizeof *import_t5_rows;

bool import_has_t5(const source *s)
{
    return source_has(s, BIAS);
}

void import_t5_folder(const import *im, char folder[4200])
{
    snprintf(folder, 4200, "%s", im->from->directory);
    for (size_t i = 0; i < im->from->n; i++) {
        const source_tensor *t = &im->from->tensors[i];
        if (strcmp(t->t->name, BIAS) != 0)
            continue;
        const char *slash = strrchr(t->file, '/');
        snprintf(folder, 4200, "%.*s", slash ? (int)(slash - t->file) : 1, slash ? t->file : ".");
    }
}

const char *import_t5_table(const import *im)
{
    return source_has(im->from, "t5.shared.weight") ? "shared.weight" : "encoder.embed_tokens.weight";
}

/* Which of the n rows of the table of biases a distance has: half of them for each direction, in each of these half for
 * distances of their own, and the rest up to `most` by logarithms, in F32 as transformers computes them. */
static int bucket(int distance, int n, int most)
{
    int half = n / 2, own = half / 2, far = abs(distance), first = distance > 0 ? half : 0;
    if (far < own)
        return first + far;
    float at = logf((float)far / (float)own) / (float)log((double)most / own) * (float)(half - own);
    int more = own + (int)at;
    return first + (more < half - 1 ? more : half - 1);
}

/* limn.bias[2 most + 1, heads], of distances, from the table [buckets, heads]. */
static bool make_bias(import *im, int most, int heads, err *e)
{
    const file_tensor *t = import_find(im, BIAS);
    int buckets = t ? (int)t->shape[0] : 0, rows = 2 * most + 1;
    float *table = malloc(((size_t)buckets * (size_t)heads + 1) * sizeof *table);
    float *bias = malloc((size_t)rows * (size_t)heads * sizeof *bias);
    bool ok = table && bias ? true : err_no_memory(e, "convert", (size_t)rows * (size_t)heads * sizeof *bias);
    if (ok) {
        file_tensor_read(t, 0, (int64_t)buckets * heads, table);
        for (int i = 0; i < rows; i++)
            memcpy(bias + (size_t)i * (size_t)heads, table + (size_t)bucket(i - most, buckets, most) * (size_t)heads,
                   (size_t)heads * sizeof *bias);
        ok = source_make(im->from, "t5.limn.bias", 2, (int64_t[]){rows, heads}, bias, e);
    } else {
        free(bias);
    }
    free(table);
    return ok;
}

/* limn.scale[n]: T5 doesn't divide scores by sqrt(head_dim), and limn's attention does. */
static bool make_scale(import *im, int head_dim, int n, err *e)
{
    float *scale = malloc((size_t)n * sizeof *scale);
    if (!scale)
        return err_no_memory(e, "convert", (size_t)n * sizeof *scale);
    for (int i = 0; i < n; i++)
        scale[i] = sqrtf((float)head_dim);
    return source_make(im->from, "t5.limn.scale", 1, (int64_t[]){n}, scale, e);
}

static int count_layers(const import *im)
{
    int n = 0;
    while (n < 1024 && import_has(im, "t5.encoder.block.%d.layer.0.layer_norm.weight", n))
        n++;
    return n;
}

bool import_t5(import *im, t5 *t, err *e)
{
    char folder[4200];
    json_t *config;
    import_t5_folder(im, folder);
    if (!import_json_in(folder, "config.json", &config, e))
        return false;
    const json_t *act = json_object_get(config, "dense_act_fn");
    int buckets = import_size(im, 0, BIAS), heads = import_size(im, 1, BIAS);
    int most = import_json_int(config, "relative_attention_max_distance", 128);
    int inner = import_size(im, 0, BLOCK "0.SelfAttention.q.weight");
    *t = (t5){.layers = count_layers(im),
              .dim = import_size(im, 1, "t5.%s", import_t5_table(im)),
              .heads = heads,
              .head_dim = heads > 0 && inner % heads == 0 ? inner / heads : 0,
              .mlp = import_size(im, 0, BLOCK "1.DenseReluDense.wi_0.weight"),
              .vocabulary = import_size(im, 0, "t5.%s", import_t5_table(im)),
              .reach = most,
              .eps = (float)import_json_number(config, "layer_norm_epsilon", 1e-6)};
    bool known = !act || (json_is_string(act) && !strcmp(json_string_value(act), "gelu_new"));
    json_decref(config);
    if (im->error.code)
        return false;
    if (!known)
        return err_set(e, ERR_FAILED, "%s/config.json: dense_act_fn: T5's encoder is known with gelu_new alone",
                       folder);
    if (!t->head_dim || buckets < 4 || buckets % 4 || most <= buckets / 4 || most > 1 << 16)
        return err_set(e, ERR_FAILED,
                       "convert: T5's encoder: %d rows of queries, %d heads, %d buckets of distances up to %d don't go "
                       "together",
                       inner, heads, buckets, most);
    return make_bias(im, most, heads, e) && make_scale(im, t->head_dim, inner, e);
}
