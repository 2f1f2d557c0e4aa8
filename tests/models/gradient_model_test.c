/* The gradients of whole models, those of the losses that training minimises: against PyTorch's (golden_gradient.h) and
 * against finite differences. */
#include "golden_gradient.h"

#include <stdlib.h>

#include "model_gradient.h"
#include "models/codecs/dvae.h"
#include "models/transformers/gpt.h"
#include "train/train.h"

enum { PATTERNS = MASK_WINDOW + 1 }; /* in the file */

/* A model with the file's parameters. */
typedef struct whole {
    golden g; /* the inputs alone */
    model_gradient all;
    tensor (*loss)(void *m);
    float l1; /* 0: a smooth loss, for finite differences */
    codec c;
    gpt d;
    kv_cache *caches;
    tensor position;
} whole;

/* train/codec.c's loss.  Sizes as in tools/make_golden_gradients.py. */
static tensor codec_loss(void *context)
{
    whole *m = context;
    run *r = m->g.r;
    tensor x = m->g.inputs[0].x;
    gumbel g = {.tau = 0.8f, .seed = 9, .step = 4};
    tensor logits = m->c.kind->encode(r, &m->c, x);
    tensor y = codec_decode_soft(r, &m->c, op_gumbel_softmax(r, logits, &g));
    tensor loss = op_scale_add(r, op_l1(r, y, x), m->l1, op_l2(r, y, x), 1);
    loss = op_scale_add(r, loss, 1, op_usage_entropy(r, logits), -0.05f);
    return op_scale_add(r, loss, 1, op_kl_uniform(r, logits), 0.01f);
}

/* train/dalle.c's loss. */
static tensor dalle_loss(void *context)
{
    whole *m = context;
    run *r = m->g.r;
    const transformer *d = &m->d.base;
    tensor ids = m->g.inputs[0].x, codes = m->g.inputs[1].x, targets = m->g.inputs[2].x;
    int64_t cells = codes.shape[1], text = d->text_length;
    const transformer_memory memory = {.caches = m->caches, .ids = ids};
    tensor x = d->kind->forward(r, d, ids, codes, &memory, m->position, text + cells - 1);
    train_losses l = train_sequence_losses(r, d, x, targets, codes);
    return op_scale_add(r, l.text, 0.125f, l.image, 0.875f);
}

static void load(whole *m)
{
    err e = {0};
    good(params_load_trainable(&m->all.params, m->g.r, NULL, 1, &e), &e);
    for (size_t i = 0; i < m->all.params.n; i++) {
        const param *p = &m->all.params.list[i];
        const file_tensor *f = golden_find(&m->g, "", p->name);
        if (!f || file_tensor_count(f) != tensor_count(param_value(p)))
            fail_msg("%s/%s: missing in the file, or of another size", m->g.name, p->name);
        else
            model_gradient_set(&m->all, p, f->data);
    }
}

static void check_model(whole *m)
{
    err e = {0};
    model_gradient *g = &m->all;
    *g = (model_gradient){.name = m->g.name, .r = m->g.r, .params = m->all.params, .loss = m->loss, .context = m};
    tape *t = tape_new(g->r, &e);
    good(t != NULL, &e);
    load(m);
    m->l1 = 1;
    golden_meet(&m->g, model_gradient_backward(g, t), "", "y");
    for (size_t i = 0; i < g->params.n; i++)
        golden_meet(&m->g, tape_gradient(t, *param_value(&g->params.list[i])), "d.", g->params.list[i].name);
    if (getenv("LIMN_TEST_VERBOSE"))
        print_message("%-32s %.2g\n", m->g.name, m->g.worst);
    tape_free(t);
    m->l1 = 0;
    model_gradient_check(g, 8);
    params_release(&g->params);
    golden_drop(&m->g);
}

static void check_codec(run *r)
{
    err e = {0};
    whole m = {.g = {.name = "model.dvae", .r = r}, .loss = codec_loss};
    const autoencoder_config k = {.width = 12,
                                  .height = 12,
                                  .codes = 21,
                                  .code_dim = 10,
                                  .stages = 2,
                                  .encoder_channels = {9, 14},
                                  .decoder_channels = {12, 7},
                                  .encoder_blocks = 1,
                                  .decoder_blocks = 1,
                                  .block_width = 11,
                                  .act = ACT_GELU_ERF};
    good(dvae_prepare(&m.c, &k, "test", &e), &e);
    autoencoder_declare(&m.c, &m.all.params);
    golden_input(&m.g, "x");
    check_model(&m);
    codec_release(&m.c);
}

/* Five blocks, each with a pattern of its own. */
static void check_dalle(run *r)
{
    err e = {0};
    whole m = {.g = {.name = "model.dalle", .r = r}, .loss = dalle_loss};
    kv_cache caches[PATTERNS]; /* one a causal pattern */
    m.d = (gpt){.base.text_length = 5,
                .base.vocabulary = 13,
                .base.codes = 17,
                .base.grid_width = 4,
                .base.grid_height = 3,
                .base.dim = 12,
                .base.heads = 3,
                .base.layers = PATTERNS,
                .mlp = 21,
                .act = ACT_GELU_TANH,
                .eps = 1e-5f};
    gpt_preset_dalle(&m.d);
    good(gpt_prepare(&m.d, "test", &e), &e);
    m.caches = caches;
    for (int i = 0; i < PATTERNS; i++) {
        m.d.blocks[i].mask.kind = (mask_kind)i;
        for (int k = 0; k < 2; k++)
            good(tensor_new(k ? &caches[i].v : &caches[i].k, run_device(r), DTYPE_F32, 4, (int64_t[]){2, 3, 16, 4},
                            NULL, false, "cache", &e),
                 &e);
    }
    gpt_declare(&m.d, &m.all.params);
    golden_input(&m.g, "ids");
    golden_input(&m.g, "codes");
    golden_input(&m.g, "targets");
    const int32_t zero = 0;
    good(tensor_new(&m.position, run_device(r), DTYPE_I32, 1, (int64_t[]){1}, &zero, false, "position", &e), &e);
    check_model(&m);
    for (int i = 0; i < PATTERNS; i++) {
        buffer_free(caches[i].k.buf);
        buffer_free(caches[i].v.buf);
    }
    buffer_free(m.position.buf);
    free(m.d.blocks);
}

static void a_dvae_meets_pytorch_and_finite_differences(void **state)
{
    (void)state;
    golden_run(check_codec);
}

static void a_transformer_meets_pytorch_and_finite_differences(void **state)
{
    (void)state;
    golden_run(check_dalle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dvae_meets_pytorch_and_finite_differences),
        cmocka_unit_test(a_transformer_meets_pytorch_and_finite_differences),
    };
    return cmocka_run_group_tests(tests, golden_open, golden_close);
}
