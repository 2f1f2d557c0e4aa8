/* The gradients of the published kinds of transformers against finite differences: so that each of them can be trained,
 * its parts that no other one has are in one of these. */
#include <stdlib.h>

#include "base/rng.h"
#include "checks.h"
#include "model_gradient.h"
#include "models/transformers/bart.h"
#include "models/transformers/dalle_pytorch.h"
#include "models/transformers/gpt.h"
#include "models/transformers/masked.h"

enum { ROWS = 2, LAYERS = 4, MOST = 64 };

/* A model with random parameters, and what its loss reads. */
typedef struct whole {
    model_gradient m;
    const transformer *d;
    kv_cache caches[LAYERS];
    tensor kept[2 * LAYERS];
    transformer_memory memory;
    tensor ids, codes, targets, position;
} whole;

static tensor new_tensor(run *r, dtype type, int nd, const int64_t *shape, const void *host)
{
    err e = {0};
    tensor t;
    good(tensor_new(&t, run_device(r), type, nd, shape, host, false, "test", &e), &e);
    return t;
}

/* Ids below `below` of ROWS rows of n. */
static tensor integers(run *r, int n, int below, uint32_t stream)
{
    int32_t ids[ROWS * MOST];
    assert_true(n <= MOST);
    for (int i = 0; i < ROWS * n; i++)
        ids[i] = (int32_t)(rng_uniform(5, stream, 0, (uint32_t)i) * (float)below) % below;
    return new_tensor(r, DTYPE_I32, 2, (int64_t[]){ROWS, n}, ids);
}

/* The mean cross-entropy of the codes, and that of the text where it is predicted. */
static tensor loss(void *context)
{
    whole *w = context;
    run *r = w->m.r;
    const transformer *d = w->d;
    int64_t cells = d->grid_width * d->grid_height, prefix = d->prefix;
    tensor x = d->kind->forward(r, d, w->ids, w->codes, &w->memory, w->position, prefix + cells - 1);
    tensor image = op_linear(r, op_slice(r, x, prefix - 1, cells), d->image_head, ACT_NONE);
    tensor of_image = op_cross_entropy(r, image, w->codes, 0);
    if (!d->text_head)
        return of_image;
    tensor text = op_linear(r, op_slice(r, x, 0, prefix - 1), d->text_head, ACT_NONE);
    return op_scale_add(r, op_cross_entropy(r, text, w->targets, 0), 0.5f, of_image, 0.5f);
}

/* w->d is prepared, and its parameters are declared. */
static void check(whole *w, const char *name, run *r)
{
    err e = {0};
    const transformer *d = w->d;
    const int32_t zero = 0;
    int64_t cells = d->grid_width * d->grid_height;
    w->m.name = name;
    w->m.r = r;
    w->m.loss = loss;
    w->m.context = w;
    w->ids = integers(r, d->text_length, d->vocabulary, 1);
    w->codes = integers(r, (int)cells, d->codes, 2);
    if (d->text_head)
        w->targets = integers(r, d->prefix - 1, d->vocabulary, 3);
    w->position = new_tensor(r, DTYPE_I32, 1, (int64_t[]){1}, &zero);
    for (int i = 0; i < d->layers; i++)
        for (int k = 0; k < 2; k++)
            *(k ? &w->caches[i].v : &w->caches[i].k) =
                new_tensor(r, DTYPE_F32, 4, (int64_t[]){ROWS, d->heads, d->prefix + cells - 1, d->head_dim}, NULL);
    for (int i = 0; i < d->n_kept; i++)
        w->kept[i] = new_tensor(r, DTYPE_F32, 3, (int64_t[]){ROWS, d->kept_shape[0], d->kept_shape[1]}, NULL);
    w->memory = (transformer_memory){.caches = w->caches, .kept = w->kept, .ids = w->ids};
    good(params_load_trainable(&w->m.params, r, NULL, 1, &e), &e);
    model_gradient_draw(&w->m);
    model_gradient_check(&w->m, 5);
    for (int i = 0; i < d->layers; i++) {
        buffer_free(w->caches[i].k.buf);
        buffer_free(w->caches[i].v.buf);
    }
    for (int i = 0; i < d->n_kept; i++)
        buffer_free(w->kept[i].buf);
    buffer_free(w->ids.buf);
    buffer_free(w->codes.buf);
    buffer_free(w->targets.buf);
    buffer_free(w->position.buf);
    params_release(&w->m.params);
}

/* ---- DALL-E Mini ---- */

static void a_bart_learns(void **state)
{
    run *r = *state;
    err e = {0};
    whole w = {0};
    bart b = {.base.text_length = 5,
              .base.vocabulary = 13,
              .start_id = 0,
              .end_id = 2,
              .pad_id = 1,
              .base.codes = 11,
              .base.grid_width = 3,
              .base.grid_height = 2,
              .start_code = 10,
              .base.dim = 12,
              .base.heads = 3,
              .mlp = 14,
              .base.layers = 2,
              .encoder_layers = 2,
              .act = ACT_GELU_TANH,
              .eps = 1e-5f};
    good(bart_prepare(&b, "test", &e), &e);
    bart_declare(&b, &w.m.params);
    w.d = &b.base;
    check(&w, "bart", r);
    free(b.encoder);
    free(b.decoder);
}

/* ---- DALLE-pytorch ---- */

/* turned: by rotary angles; reversible: two streams; else with all that keeps large models stable. */
static void check_dalle_pytorch(run *r, const char *name, int turned, bool reversible)
{
    err e = {0};
    whole w = {0};
    dalle_pytorch d = {.base.text_length = 4,
                       .base.vocabulary = 9,
                       .base.codes = 11,
                       .base.grid_width = 3,
                       .base.dim = 10,
                       .base.heads = 2,
                       .base.head_dim = 8,
                       .mlp = 14,
                       .base.layers = 3,
                       .turned = turned,
                       .shift_tokens = !reversible,
                       .sandwich = !reversible,
                       .stable = !reversible,
                       .reversible = reversible};
    good(dalle_pytorch_prepare(&d, "test", &e), &e);
    d.list[1].mask.kind = MASK_CORNER;
    d.list[2].mask.kind = MASK_COLUMN;
    d.list[2].attention.set = 0; /* which has two layers' gradients then */
    dalle_pytorch_declare(&d, &w.m.params);
    w.d = &d.base;
    check(&w, name, r);
    free(d.list);
}

static void a_dalle_pytorch_learns(void **state)
{
    check_dalle_pytorch(*state, "dalle_pytorch", 6, false);
}

static void a_reversible_dalle_pytorch_learns(void **state)
{
    check_dalle_pytorch(*state, "dalle_pytorch, reversible", 0, true);
}

/* ---- published GPTs ---- */

static void check_gpt(run *r, const char *name, gpt d)
{
    err e = {0};
    whole w = {0};
    d.base.vocabulary = 9;
    d.base.codes = 11;
    d.base.grid_width = d.base.grid_height = 3;
    d.base.dim = 16;
    d.base.heads = 2;
    d.mlp = 14;
    d.base.layers = 3;
    d.eps = 1e-5f;
    good(gpt_prepare(&d, "test", &e), &e);
    gpt_declare(&d, &w.m.params);
    w.d = &d.base;
    check(&w, name, r);
    free(d.blocks);
}

static void a_llamagen_learns(void **state)
{
    check_gpt(*state, "gpt, as LlamaGen",
              (gpt){.base.text_length = 1, .rms = true, .gated = true, .grid = GPT_GRID_ROTARY, .act = ACT_SILU});
}

static void a_mindalle_learns(void **state)
{
    check_gpt(*state, "gpt, as minDALL-E",
              (gpt){.base.text_length = 4,
                    .text_positions = true,
                    .attention_bias = true,
                    .mlp_bias = true,
                    .predicts_text = true,
                    .grid = GPT_GRID_CELLS,
                    .act = ACT_GELU_ERF});
}

static void a_rudalle_learns(void **state)
{
    static const mask_kind masks[] = {MASK_WINDOW, MASK_COLUMN, MASK_TORUS};
    check_gpt(*state, "gpt, as ruDALL-E",
              (gpt){.base.text_length = 4,
                    .text_positions = true,
                    .attention_bias = true,
                    .mlp_bias = true,
                    .head_bias = true,
                    .predicts_text = true,
                    .head_norm = true,
                    .sandwich = true,
                    .grid = GPT_GRID_AXES,
                    .window = 3,
                    .masks = masks,
                    .act = ACT_GELU_TANH});
}

/* The classes of taming-transformers' and LlamaGen's kin are rows of the codes' table. */
static void a_gpt_with_one_table_learns(void **state)
{
    check_gpt(*state, "gpt, one table",
              (gpt){.base.text_length = 1,
                    .shared = true,
                    .text_positions = true,
                    .rms = true,
                    .sandwich = true,
                    .grid = GPT_GRID_CELLS,
                    .act = ACT_GELU_ERF});
}

/* ---- aMUSEd ---- */

static const int32_t masked_rows[] = {11, 3, 7, 12, 12, 11, 12, 12, 12, 12}; /* of words, and of none */

static tensor masked_loss(void *context)
{
    whole *w = context;
    run *r = w->m.r;
    const masked *t = (const masked *)w->d;
    const masked_text text = masked_read_text(r, t, masked_rows, ROWS);
    tensor x = masked_forward(r, t, w->codes, &text);
    return op_cross_entropy(r, op_linear(r, x, &t->head, ACT_NONE), w->targets, 0);
}

static void check_masked(run *r, const char *name, bool halves)
{
    err e = {0};
    whole w = {0};
    masked t = {.base.dim = 12,
                .base.heads = 3,
                .base.layers = 2,
                .base.grid_width = 4,
                .base.grid_height = 2,
                .base.codes = 11,
                .base.mask_code = 12,
                .channels = halves ? 10 : 12, /* then the text's states are as wide */
                .unit_heads = 2,
                .units = 1,
                .code_rows = 13,
                .code_dim = 9,
                .mlp = 14,
                .frequencies = 4,
                .halves = halves,
                .width = 8,
                .height = 4,
                .eps = 1e-6f,
                .text = {.dim = 6,
                         .text_length = 5,
                         .vocabulary = 13,
                         .start_id = 11,
                         .end_id = 12,
                         .pad_id = 12,
                         .act = ACT_QUICK_GELU,
                         .eps = 1e-5f,
                         .text = {.width = 8, .layers = 2, .heads = 2, .mlp = 16}}};
    good(masked_prepare(&t, "test", &e), &e);
    masked_declare(&t, &w.m.params);
    w.d = &t.base;
    w.m.name = name;
    w.m.r = r;
    w.m.loss = masked_loss;
    w.m.context = &w;
    w.codes = integers(r, 8, 13, 2);
    w.targets = integers(r, 8, 11, 3);
    good(params_load_trainable(&w.m.params, r, NULL, 1, &e), &e);
    model_gradient_draw(&w.m);
    model_gradient_check(&w.m, 5);
    buffer_free(w.codes.buf);
    buffer_free(w.targets.buf);
    params_release(&w.m.params);
    free(t.block);
    clip_release(&t.text);
}

static void a_masked_model_learns(void **state)
{
    check_masked(*state, "masked", false);
    check_masked(*state, "masked, of halves", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bart_learns),
        cmocka_unit_test(a_dalle_pytorch_learns),
        cmocka_unit_test(a_reversible_dalle_pytorch_learns),
        cmocka_unit_test(a_llamagen_learns),
        cmocka_unit_test(a_mindalle_learns),
        cmocka_unit_test(a_rudalle_learns),
        cmocka_unit_test(a_gpt_with_one_table_learns),
        cmocka_unit_test(a_masked_model_learns),
    };
    return cmocka_run_group_tests(tests, model_gradient_open, model_gradient_close);
}
