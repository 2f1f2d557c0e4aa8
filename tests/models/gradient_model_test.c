/* The gradients of whole models, those of the losses that training minimises: against PyTorch's (golden_gradient.h) and
 * against finite differences. */
#include "golden_gradient.h"

#include <math.h>
#include <stdlib.h>

#include "models/codecs/dvae.h"
#include "models/transformers/dalle.h"

enum { PATTERNS = MASK_WINDOW + 1 }; /* with a gradient */

/* A model with the file's parameters. */
typedef struct whole {
    golden g; /* the inputs alone */
    param_table params;
    tensor (*loss)(struct whole *m);
    float l1; /* 0: a smooth loss, for finite differences */
    codec c;
    dalle d;
    kv_cache *caches;
    tensor position;
} whole;

/* train/codec.c's loss.  Sizes as in tools/make_golden_gradients.py. */
static tensor codec_loss(whole *m)
{
    run *r = m->g.r;
    tensor x = m->g.inputs[0].x;
    gumbel g = {.tau = 0.8f, .seed = 9, .step = 4};
    tensor logits = m->c.kind->encode(r, &m->c, x);
    tensor y = m->c.kind->decode_soft(r, &m->c, op_gumbel_softmax(r, logits, &g));
    tensor loss = op_scale_add(r, op_l1(r, y, x), m->l1, op_l2(r, y, x), 1);
    loss = op_scale_add(r, loss, 1, op_usage_entropy(r, logits), -0.05f);
    return op_scale_add(r, loss, 1, op_kl_uniform(r, logits), 0.01f);
}

/* train/dalle.c's loss. */
static tensor dalle_loss(whole *m)
{
    run *r = m->g.r;
    const dalle *d = &m->d;
    tensor ids = m->g.inputs[0].x, codes = m->g.inputs[1].x, targets = m->g.inputs[2].x;
    int64_t cells = codes.shape[1], text = d->text_length;
    tensor x = dalle_forward(r, d, ids, codes, m->caches, m->position, text + cells - 1);
    tensor of_text = op_linear(r, op_slice(r, x, 0, text - 1), &d->text_head, ACT_NONE);
    tensor of_image = op_linear(r, op_slice(r, x, text - 1, cells), &d->image_head, ACT_NONE);
    return op_scale_add(r, op_cross_entropy(r, of_text, targets, 0), 0.125f, op_cross_entropy(r, of_image, codes, 0),
                        0.875f);
}

static void set(whole *m, const param *p, const float *values)
{
    run_write(m->g.r, *param_value(p), values);
    if (p->conv)
        conv_repack(m->g.r, p->conv);
}

/* The loss with the parameters that are set.  The tape keeps all memory, as in training. */
static double loss_of(whole *m)
{
    err e = {0};
    float loss = 0;
    tape *t = tape_new(m->g.r, &e);
    golden_good(t != NULL, &e);
    run_reset(m->g.r);
    tape_begin(t);
    run_read(m->g.r, m->loss(m), &loss);
    tape_free(t);
    golden_good(run_finish(m->g.r, &e), &e);
    return loss;
}

/* The derivative of the loss along `direction`, of length 1, in one parameter, by central differences. */
static double difference(whole *m, const param *p, const float *values, const float *direction, int64_t n, double step)
{
    float *moved = calloc((size_t)n, sizeof *moved);
    double loss[2];
    assert_non_null(moved);
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < n; i++)
            moved[i] = (float)(values[i] + (side ? -step : step) * direction[i]);
        set(m, p, moved);
        loss[side] = loss_of(m);
    }
    set(m, p, values);
    free(moved);
    return (loss[0] - loss[1]) / (2 * step);
}

/* Finite differences agree with the gradient d: along it, and along the element where it is largest. */
static void check_differences(whole *m, const param *p, const float *d)
{
    const file_tensor *values = golden_find(&m->g, "", p->name);
    int64_t n = file_tensor_count(values), most = 0;
    float *direction = calloc((size_t)n, sizeof *direction);
    double size = 0;
    assert_non_null(direction);
    for (int64_t i = 0; i < n; i++) {
        size += (double)d[i] * d[i];
        most = fabsf(d[i]) > fabsf(d[most]) ? i : most;
    }
    size = sqrt(size);
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < n; i++)
            direction[i] = pass ? i == most : (float)(d[i] / size);
        double by_gradient = pass ? d[most] : size;
        /* far enough to be seen in a float, near enough to be straight */
        double step = fmin(fmax(1e-3 / fabs(by_gradient), 2e-3), 3e-2);
        double by_loss = difference(m, p, values->data, direction, n, step);
        double error = fabs(by_loss - by_gradient) / fabs(by_gradient);
        if (getenv("LIMN_TEST_VERBOSE"))
            print_message("  %-40s %10.3g %10.3g %.2g\n", p->name, by_gradient, by_loss, error);
        if (!(error <= 1e-2))
            fail_msg("%s/%s: finite differences give %g, the gradient is %g", m->g.name, p->name, by_loss, by_gradient);
    }
    free(direction);
}

/* The loss and the gradients of all parameters, on the tape. */
static tensor backward(whole *m, tape *t)
{
    run_reset(m->g.r);
    tape_begin(t);
    for (size_t i = 0; i < m->params.n; i++)
        tape_watch_input(t, *param_value(&m->params.list[i]));
    tensor loss = m->loss(m);
    tape_end(t);
    tape_backward(t, loss);
    return loss;
}

static void load(whole *m)
{
    err e = {0};
    golden_good(params_load_trainable(&m->params, m->g.r, NULL, 1, &e), &e);
    for (size_t i = 0; i < m->params.n; i++) {
        const param *p = &m->params.list[i];
        const file_tensor *f = golden_find(&m->g, "", p->name);
        if (!f || file_tensor_count(f) != tensor_count(param_value(p)))
            fail_msg("%s/%s: missing in the file, or of another size", m->g.name, p->name);
        else
            set(m, p, f->data);
    }
}

static void check_model(whole *m)
{
    err e = {0};
    run *r = m->g.r;
    tape *t = tape_new(r, &e);
    golden_good(t != NULL, &e);
    load(m);
    m->l1 = 1;
    golden_meet(&m->g, backward(m, t), "", "y");
    for (size_t i = 0; i < m->params.n; i++)
        golden_meet(&m->g, tape_gradient(t, *param_value(&m->params.list[i])), "d.", m->params.list[i].name);
    if (getenv("LIMN_TEST_VERBOSE"))
        print_message("%-32s %.2g\n", m->g.name, m->g.worst);
    m->l1 = 0;
    float **gradients = calloc(m->params.n, sizeof *gradients);
    assert_non_null(gradients);
    backward(m, t);
    for (size_t i = 0; i < m->params.n; i++) {
        tensor d = tape_gradient(t, *param_value(&m->params.list[i]));
        gradients[i] = calloc((size_t)tensor_count(&d), sizeof **gradients);
        assert_non_null(gradients[i]);
        run_read(r, d, gradients[i]);
    }
    golden_good(run_finish(r, &e), &e);
    tape_free(t);
    for (size_t i = 0; i < m->params.n; i++) {
        if (i % 8 == 0 || !getenv("LIMN_TEST_BRIEF"))
            check_differences(m, &m->params.list[i], gradients[i]);
        free(gradients[i]);
    }
    free(gradients);
    params_release(&m->params);
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
    golden_good(dvae_declare(&m.c, &k, "test", &m.params, &e), &e);
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
    m.d = (dalle){.text_length = 5,
                  .vocabulary = 13,
                  .codes = 17,
                  .grid_width = 4,
                  .grid_height = 3,
                  .dim = 12,
                  .heads = 3,
                  .layers = PATTERNS,
                  .mlp = 21,
                  .act = ACT_GELU_TANH,
                  .eps = 1e-5f};
    golden_good(dalle_prepare(&m.d, "test", &e), &e);
    m.caches = caches;
    for (int i = 0; i < PATTERNS; i++) {
        m.d.blocks[i].mask.kind = (mask_kind)i;
        for (int k = 0; k < 2; k++)
            golden_good(tensor_new(k ? &caches[i].v : &caches[i].k, run_device(r), DTYPE_F32, 4,
                                   (int64_t[]){2, 3, 16, 4}, NULL, false, "cache", &e),
                        &e);
    }
    dalle_declare(&m.d, &m.params);
    golden_input(&m.g, "ids");
    golden_input(&m.g, "codes");
    golden_input(&m.g, "targets");
    const int32_t zero = 0;
    golden_good(tensor_new(&m.position, run_device(r), DTYPE_I32, 1, (int64_t[]){1}, &zero, false, "position", &e), &e);
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
