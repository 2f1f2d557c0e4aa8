/* The VQ-VAE learns pictures (van den Oord et al. 2017): straight-through gradient, commitment loss, and a codebook
 * that follows the encoder's vectors by running means (Razavi et al. 2019) or learns by gradients.  Codes that are
 * hardly chosen any more start again from a vector of the batch (Dhariwal et al. 2020, section 3.1). */
#include "models/codecs/vqvae.h"

#include <math.h>

#include "base/ranks.h"
#include "train/codec_stage.h"

static bool lasting(codec_stage *s, tensor *t, int64_t rows, int64_t columns, err *e)
{
    if (!tensor_new(t, run_device(s->r), DTYPE_F32, 2, (int64_t[]){rows, columns}, NULL, false, "codebook", e))
        return false;
    op_fill(s->r, *t, 0);
    return true;
}

bool vqvae_train_open(codec_stage *s, err *e)
{
    const autoencoder *a = s->c.state;
    int64_t k = a->codebook.shape[0], d = a->codebook.shape[1];
    quantiser *q = &s->quantise;
    q->book.rows = a->codebook;
    if (!lasting(s, &q->book.counts, k, 1, e) || !lasting(s, &q->book.batch_counts, k, 1, e) ||
        !trainer_keep(&s->t, "codec.codebook#counts", q->book.counts, NULL, e))
        return false;
    return s->o->learned_codebook || (lasting(s, &q->book.sums, k, d, e) && lasting(s, &q->book.batch_sums, k, d, e) &&
                                      trainer_keep(&s->t, "codec.codebook#sums", q->book.sums, NULL, e));
}

void vqvae_train_release(codec_stage *s)
{
    quantiser *q = &s->quantise;
    buffer_free(q->book.counts.buf);
    buffer_free(q->book.sums.buf);
    buffer_free(q->book.batch_counts.buf);
    buffer_free(q->book.batch_sums.buf);
    *q = (quantiser){0};
}

tensor vqvae_pass(codec_stage *s, tensor x, tensor *y, tensor *last, train_scalars *out)
{
    const autoencoder *a = s->c.state;
    const train_codec_options *o = s->o;
    quantiser *q = &s->quantise;
    run *r = s->r;
    q->z = autoencoder_encode(r, &s->c, x);
    s->chosen = op_argmax(r, op_distances(r, q->z, a->codebook));
    op_code_sums(r, s->chosen, q->z, q->book.batch_counts, q->book.batch_sums);
    q->chosen += tensor_count(&s->chosen);
    tensor nearest = op_embed(r, s->chosen, a->codebook);
    *y = autoencoder_decode_to(r, &s->c, op_straight_through(r, q->z, nearest), last);
    tensor commitment = op_l2(r, q->z, nearest);
    train_scalar(out, "commitment", commitment);
    return op_scale_add(r, commitment, o->commitment, o->learned_codebook ? op_l2(r, nearest, q->z) : (tensor){0}, 1);
}

static tensor forward(codec_stage *s, tensor x, int64_t step, train_scalars *out)
{
    (void)step;
    tensor y, codebook_loss = vqvae_pass(s, x, &y, NULL, out);
    return op_scale_add(s->r, codec_loss(s, y, x, out), 1, codebook_loss, 1);
}

void vqvae_train_after(codec_stage *s, int64_t step, train_scalars *out)
{
    (void)out;
    quantiser *q = &s->quantise;
    int processes = ranks_size();
    op_sum_ranks(s->r, q->book.batch_counts);
    if (q->book.batch_sums.buf)
        op_sum_ranks(s->r, q->book.batch_sums);
    float mean = (float)(q->chosen * processes) / (float)s->c.codes; /* a code's share */
    const codebook_step o = {.decay = s->o->codebook_decay,
                             .least = step == 0 ? INFINITY : s->o->restart * mean, /* all start from data */
                             .fresh = mean,
                             .seed = s->o->run.settings.seed,
                             .step = (uint32_t)step};
    op_codebook(s->r, &q->book, q->z, &o);
    tensor same[] = {q->book.rows, q->book.sums};
    for (int i = 0; i < 2 && processes > 1; i++) { /* codes start again from vectors of rank 0 */
        if (same[i].buf && ranks_rank() > 0)
            op_fill(s->r, same[i], 0);
        if (same[i].buf)
            op_sum_ranks(s->r, same[i]);
    }
    op_fill(s->r, q->book.batch_counts, 0);
    if (q->book.batch_sums.buf)
        op_fill(s->r, q->book.batch_sums, 0);
    q->chosen = 0;
}

const codec_training train_vqvae = {.kind = &codec_vqvae,
                                    .others = "the codebook's counts and means",
                                    .prepare = vqvae_prepare,
                                    .open = vqvae_train_open,
                                    .release = vqvae_train_release,
                                    .forward = forward,
                                    .after = vqvae_train_after};
