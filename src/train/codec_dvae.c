/* The dVAE learns pictures (Ramesh et al. 2021, section 2.1 and appendix A). */
#include "models/codecs/dvae.h"

#include "base/ranks.h"
#include "train/codec_stage.h"

static tensor forward(codec_stage *s, tensor x, int64_t step, train_scalars *out)
{
    const train_codec_options *o = s->o;
    double progress = (double)step / (double)o->run.settings.steps;
    gumbel g = {.tau = train_cosine(o->tau, o->tau_end, progress / o->tau_share),
                .hard = o->straight_through,
                .seed = o->run.settings.seed,
                .stream = (uint32_t)ranks_item(s->first),
                .stride = (uint32_t)ranks_size(),
                .step = (uint32_t)step};
    float usage = train_cosine(o->usage, o->usage_end, progress), kl = train_cosine(0, o->kl, progress);
    tensor logits = s->c.kind->encode(s->r, &s->c, x);
    tensor y = codec_decode_soft(s->r, &s->c, op_gumbel_softmax(s->r, logits, &g));
    tensor loss = codec_loss(s, y, x, out), entropy = op_usage_entropy(s->r, logits);
    loss = op_scale_add(s->r, loss, 1, entropy, -usage);
    s->chosen = op_argmax(s->r, logits);
    s->kl = op_kl_uniform(s->r, logits);
    if (o->kl > 0)
        loss = op_scale_add(s->r, loss, 1, s->kl, kl);
    train_scalar(out, "usage_entropy", entropy);
    train_number(out, "tau", g.tau);
    return loss;
}

const codec_training train_dvae = {
    .kind = &codec_dvae, .others = "constants", .prepare = dvae_prepare, .forward = forward};
