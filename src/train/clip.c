/* CLIP learns which pictures and captions of a batch belong together (Radford et al. 2021, figure 3). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "models/model.h"
#include "train/file.h"
#include "train/text.h"
#include "train/train.h"

#define CODEC_BATCH 32
#define APART       -1e4f /* added to a product: no share in the softmax */

/* Streams of the random numbers that a step draws. */
enum { DRAW_CODEC = 0xC11B, DRAW_SHIFT_X, DRAW_SHIFT_Y };

typedef struct stage {
    const train_clip_options *o;
    run *r;
    model *codec; /* from open_stage on, or NULL */
    run *coder;   /* in which it works */
    int last;     /* pictures in the last batch */
    train_file tokens;
    tokenizer *tokenizer;
    clip c;
    param_table params;
    trainer t;
    uint8_t *seen;  /* [batch, size, size, 3]: the pictures as the CLIP gets them */
    uint8_t *coded; /* [CODEC_BATCH, size, size, 3] */
    float *decoded; /* the same as the codec gives it back */
    int32_t *codes; /* [CODEC_BATCH, cells] */
    float *pixels;  /* [batch, size*size*3] */
    float *apart;   /* [batch, batch] */
    int32_t *ids;   /* [batch, text_length] */
    int32_t *ends;  /* [batch] */
} stage;

train_clip_options train_clip_defaults(void)
{
    return (train_clip_options){
        .run = {.batch = 128,
                .save_every = 500,
                .settings = {.steps = 3000,
                             .warm_up = 200,
                             .lr = 1e-3f,
                             .lr_end = 1e-5f,
                             .beta1 = 0.9f,
                             .beta2 = 0.98f,
                             .eps = 1e-6f,
                             .decay = 0.1f,
                             .clip = 1}},
        .model =
            {.dim = 128,
             .image_size = 64,
             .patch = 8,
             .mean = {0.5f, 0.5f, 0.5f},
             .std = {0.25f, 0.25f, 0.25f},
             .text_length = 24,
             .start_id = -1,
             .act = ACT_GELU_TANH,
             .eps = 1e-5f,
             .image = {.width = 128, .layers = 4, .heads = 4, .mlp = 512, .pooling = CLIP_MEAN, .norm_after = true},
             .text = {.width = 128,
                      .layers = 2,
                      .heads = 4,
                      .mlp = 512,
                      .pooling = CLIP_END,
                      .causal = true,
                      .norm_after = true}},
        .shift = 3,
    };
}

static void keys(const void *self, gguf_writer *w)
{
    const stage *s = self;
    clip_put(&s->c, w);
    train_copy_keys(w, s->tokens.g, "tokenizer.", "limn.tokenizer.");
}

/* ---- a step ---- */

static float draw(const stage *s, uint32_t stream, int64_t step, int i)
{
    return rng_uniform(s->o->run.settings.seed, stream, (uint32_t)step, (uint32_t)i);
}

/* to = from moved by (dx, dy); what comes in repeats the border. */
static void move(uint8_t *to, const uint8_t *from, int side, int dx, int dy)
{
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            int at_y = y - dy < 0 ? 0 : y - dy >= side ? side - 1 : y - dy;
            int at_x = x - dx < 0 ? 0 : x - dx >= side ? side - 1 : x - dx;
            memcpy(to + ((size_t)y * (size_t)side + (size_t)x) * 3,
                   from + ((size_t)at_y * (size_t)side + (size_t)at_x) * 3, 3);
        }
}

/* The chosen pictures of s->seen, n <= CODEC_BATCH, as the codec gives them back: planned, so never by tiles, which are
 * the same to rounding alone. */
static bool through_codec(stage *s, const int *chosen, int n, err *e)
{
    const codec *c = &s->codec->codec;
    size_t one = (size_t)c->width * (size_t)c->height * 3;
    for (int i = 0; i < n; i++)
        memcpy(s->coded + (size_t)i * one, s->seen + (size_t)chosen[i] * one, one);
    if (n > 0 && !(codec_encode(s->coder, c, s->coded, n, s->codes, NULL, e) &&
                   codec_decode_pictures(s->coder, c, s->codes, n, s->decoded, e)))
        return false;
    for (int i = 0; i < n; i++)
        for (size_t p = 0; p < one; p++)
            s->seen[(size_t)chosen[i] * one + p] = (uint8_t)lrintf(s->decoded[(size_t)i * one + p] * 255);
    return true;
}

/* s->pixels: the batch, moved, half of it as the codec shows it. */
static bool fill_pictures(stage *s, const dataset_batch *b, int64_t step, err *e)
{
    int side = s->c.image_size, reach = 2 * s->o->shift + 1, chosen[CODEC_BATCH], n = 0;
    size_t one = (size_t)side * (size_t)side * 3;
    bool ok = true;
    s->last = b->n;
    for (int i = 0; i < b->n; i++) {
        int dx = (int)(draw(s, DRAW_SHIFT_X, step, i) * (float)reach),
            dy = (int)(draw(s, DRAW_SHIFT_Y, step, i) * (float)reach);
        move(s->seen + (size_t)i * one, b->pixels + (size_t)i * one, side, dx - s->o->shift, dy - s->o->shift);
    }
    for (int i = 0; ok && s->codec && i < b->n; i++) {
        if (draw(s, DRAW_CODEC, step, i) < 0.5f)
            chosen[n++] = i;
        if (n == CODEC_BATCH || i + 1 == b->n) {
            ok = through_codec(s, chosen, n, e);
            n = 0;
        }
    }
    for (int i = 0; ok && i < b->n; i++)
        clip_pixels(&s->c, s->pixels + (size_t)i * one, s->seen + (size_t)i * one);
    return ok;
}

/* Texts, and which pairs are no opposites: equal captions of different pictures. */
static void fill_texts(stage *s, const dataset_batch *b)
{
    for (int i = 0; i < b->n; i++) {
        int32_t *ids = NULL;
        size_t n = 0;
        tokenizer_encode(s->tokenizer, b->captions[i], &ids, &n, NULL); /* a text that is no UTF-8 counts as empty */
        s->ends[i] = clip_text_row(&s->c, ids, n, s->ids + (size_t)i * (size_t)s->c.text_length);
        free(ids);
    }
    size_t bytes = (size_t)s->c.text_length * sizeof *s->ids;
    for (int i = 0; i < b->n; i++)
        for (int j = 0; j < b->n; j++) {
            const int32_t *one = s->ids + (size_t)i * (size_t)s->c.text_length;
            const int32_t *other = s->ids + (size_t)j * (size_t)s->c.text_length;
            s->apart[i * b->n + j] = i != j && !memcmp(one, other, bytes) ? APART : 0;
        }
}

/* Cross-entropy of the right column of each row of scale x y^T, equal captions left out.  x, y[n,dim]; targets 0 to n-1
 */
static tensor choice_loss(run *r, const clip *c, tensor x, tensor y, tensor apart, tensor targets)
{
    tensor products = op_linear(r, x, &(linear){.w = y}, ACT_NONE);
    products = op_scale_exp(r, products, c->log_scale, CLIP_SCALE_MOST);
    return op_cross_entropy(r, op_add(r, products, apart), targets, 0);
}

static tensor forward(void *self, const dataset_batch *b, const train_part *part, train_scalars *out)
{
    stage *s = self;
    const clip *c = &s->c;
    run *r = s->r;
    if (!run_failed(r) && !fill_pictures(s, b, part->step, run_error(r)))
        return (tensor){0};
    fill_texts(s, b);
    int64_t side = c->image_size / c->patch;
    tensor x = run_upload(r, DTYPE_F32, 3, (int64_t[]){b->n, side * side, c->patch * c->patch * 3}, s->pixels);
    tensor ids = run_upload(r, DTYPE_I32, 2, (int64_t[]){b->n, c->text_length}, s->ids);
    tensor apart = run_upload(r, DTYPE_F32, 2, (int64_t[]){b->n, b->n}, s->apart);
    for (int i = 0; i < b->n; i++)
        s->ids[i] = i; /* uploaded; now the targets */
    tensor targets = run_upload(r, DTYPE_I32, 1, (int64_t[]){b->n}, s->ids);
    tensor image = clip_image(r, c, x), text = clip_text(r, c, ids, s->ends);
    tensor by_image = choice_loss(r, c, image, text, apart, targets);
    tensor by_text = choice_loss(r, c, text, image, apart, targets);
    train_scalar(out, "image", by_image);
    train_scalar(out, "text", by_text);
    train_scalar(out, "log_scale", c->log_scale);
    return op_scale_add(r, by_image, 0.5f, by_text, 0.5f);
}

/* ---- the stage ---- */

static bool open_tokenizer(stage *s, err *e)
{
    if (!train_file_open(&s->tokens, s->o->tokenizer, e) || !(s->tokenizer = tokenizer_from_gguf(s->tokens.g, e)))
        return false;
    s->c.vocabulary = (int)tokenizer_size(s->tokenizer);
    s->c.pad_id = tokenizer_find(s->tokenizer, "<pad>");
    s->c.end_id = tokenizer_find(s->tokenizer, "<img>"); /* what ends a text in the transformer's eyes too */
    if (s->c.pad_id < 0)
        s->c.pad_id = s->c.vocabulary++;
    if (s->c.end_id < 0)
        s->c.end_id = s->c.vocabulary++;
    return true;
}

/* The codec, which is one for the CLIP's pictures, and memory for what goes through it. */
static bool codec_memory(stage *s, const model *m, err *e)
{
    const train_clip_options *o = s->o;
    if (!model_needs_encoder(m, e))
        return false;
    const codec *c = &m->codec;
    if (c->width != s->c.image_size || c->height != s->c.image_size || codec_input_width(c) != c->width)
        return err_set(e, ERR_USAGE,
                       "%s: its pictures have %d x %d pixels, and the CLIP's %d x %d (give `image_size` %d)", o->codec,
                       c->width, c->height, s->c.image_size, s->c.image_size, c->width);
    size_t cells = (size_t)codec_numbers(c), one = (size_t)c->width * (size_t)c->height * 3;
    s->coded = malloc(CODEC_BATCH * one);
    s->decoded = malloc(CODEC_BATCH * one * sizeof *s->decoded);
    s->codes = malloc(CODEC_BATCH * cells * sizeof *s->codes);
    return s->coded && s->decoded && s->codes ? true : err_no_memory(e, "batch", CODEC_BATCH * one * 5);
}

static bool check_codec(stage *s, device *dev, err *e)
{
    model *m = s->o->codec ? model_open(dev, s->o->codec, e) : NULL;
    bool ok = !s->o->codec || (m && codec_memory(s, m, e));
    model_free(m);
    return ok;
}

static bool open_memory(stage *s, err *e)
{
    size_t n = (size_t)s->o->run.batch, one = (size_t)s->c.image_size * (size_t)s->c.image_size * 3;
    s->seen = malloc(n * one);
    s->pixels = malloc(n * one * sizeof *s->pixels);
    s->apart = malloc(n * n * sizeof *s->apart);
    s->ids = malloc(n * (size_t)s->c.text_length * sizeof *s->ids);
    s->ends = malloc(n * sizeof *s->ends);
    return s->seen && s->pixels && s->apart && s->ids && s->ends
               ? true
               : err_no_memory(e, "batch", n * one * sizeof *s->pixels);
}

static bool open_files(stage *s, device *dev, dataset **data, err *e)
{
    const train_clip_options *o = s->o;
    s->c = o->model;
    if (!train_needs_whole_batches(&o->run, "the loss compares all pictures of a batch", e))
        return false;
    dataset_options want = {.sources = o->run.sources,
                            .n_sources = o->run.n_sources,
                            .goes_on = o->run.goes_on,
                            .context = o->run.context,
                            .want = DATASET_PAIRS,
                            .batch = o->run.batch,
                            .width = s->c.image_size,
                            .height = s->c.image_size,
                            .seed = o->run.settings.seed};
    *data = dataset_open(&want, e);
    return *data && open_tokenizer(s, e) &&
           train_text_report(*data, s->tokenizer, s->c.text_length - 1, s->c.text_length, s->c.vocabulary, e) &&
           clip_prepare(&s->c, "train clip", e) && check_codec(s, dev, e) && open_memory(s, e);
}

static bool open_codec(stage *s, err *e)
{
    return !s->o->codec || ((s->codec = model_open(run_device(s->r), s->o->codec, e)) &&
                            model_load(s->codec, USE_ENCODER | USE_DECODER, e));
}

static bool open_stage(void *self, run *r, int batch, err *e)
{
    stage *s = self;
    (void)batch;
    s->r = r;
    clip_declare(&s->c, &s->params);
    return trainer_load(&s->params, r, s->o->run.init, s->o->run.settings.seed, e) &&
           trainer_open(&s->t, r, &s->params, &s->o->run.settings, e) && open_codec(s, e);
}

static void close_stage(void *self)
{
    stage *s = self;
    if (s->t.params)
        trainer_release(&s->t);
    params_release(&s->params);
    model_free(s->codec);
    s->codec = NULL;
}

/* As many pictures through the codec as there can be: how many there are is chance. */
static bool besides(void *self, err *e)
{
    stage *s = self;
    int all[CODEC_BATCH], n = s->last < CODEC_BATCH ? s->last : CODEC_BATCH;
    for (int i = 0; i < n; i++)
        all[i] = i;
    return !s->codec || through_codec(s, all, n, e);
}

bool train_clip(device *dev, const train_clip_options *o, err *e)
{
    stage s = {.o = o};
    train_stage all = {.self = &s,
                       .t = &s.t,
                       .open = open_stage,
                       .close = close_stage,
                       .besides = besides,
                       .width = o->model.image_size,
                       .height = o->model.image_size,
                       .others = o->codec ? "the codec and its scratch" : "constants",
                       .help = "a smaller `width` or `text_width`, or fewer `layers`",
                       .whole_batches = true,
                       .second = &s.coder,
                       .forward = forward,
                       .keys = keys};
    run *r = run_new(dev, e);
    bool ok = r && open_files(&s, dev, &all.data, e) && train_plan(&o->run, &all, dev, "train clip", e) &&
              train_open(&o->run, &all, r, e);
    if (ok) {
        all.fingerprint = dataset_fingerprint(all.data);
        ok = train_loop(&o->run, &all, e);
    }
    dataset_free(all.data);
    train_close(&all);
    run_free(r);
    clip_release(&s.c);
    tokenizer_free(s.tokenizer);
    train_file_release(&s.tokens);
    free(s.seen);
    free(s.coded);
    free(s.decoded);
    free(s.codes);
    free(s.pixels);
    free(s.apart);
    free(s.ids);
    free(s.ends);
    return ok;
}
