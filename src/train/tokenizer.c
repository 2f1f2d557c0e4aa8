/* A tokenizer from captions. */
#include "train/tokenizer.h"

#include <stdlib.h>

#include "io/gguf.h"
#include "text/bpe_train.h"
#include "text/clean.h"
#include "train/data/dataset.h"

/* Captions on their way to the trainer. */
typedef struct reader {
    const train_tokenizer_options *o;
    bpe_trainer *trainer;
    int64_t items, captions;
    err *e;
} reader;

static bool goes_on(void *context)
{
    const train_tokenizer_options *o = context;
    return !o->progress || o->progress(o->context, 0, 0);
}

static bool read_caption(void *context, int64_t item, const char *caption)
{
    reader *r = context;
    if (r->o->progress && !r->o->progress(r->o->context, item, r->items))
        return false;
    r->captions++;
    size_t bytes;
    char *plain = clean_text(caption, &bytes, r->e); /* as the tokenizer will read it */
    bool ok = plain && bpe_trainer_add(r->trainer, plain, r->e);
    free(plain);
    return ok;
}

/* The tokenizer of all captions; NULL with e filled. */
static bpe *learn(const train_tokenizer_options *o, dataset *d, int64_t *captions, err *e)
{
    static const char *const specials[] = {"<pad>", "<img>"}; /* the transformer takes their ids to be 0 and 1 */
    reader r = {.o = o, .trainer = bpe_trainer_new(o->lowercase, e), .items = dataset_size(d), .e = e};
    bpe *b = NULL;
    if (!r.trainer)
        return NULL;
    bool ok = dataset_captions(d, read_caption, &r);
    *captions = r.captions;
    if (!ok)
        err_set_cause(e, ERR_FAILED, LIMN_CAUSE_INTERRUPTED,
                      "interrupted while the captions were read: nothing was written");
    else if (r.captions == 0)
        err_set(e, ERR_FAILED, "data: no caption can be used (a tokenizer is made of captions)");
    else
        b = bpe_trainer_finish(r.trainer, o->vocabulary, o->min_frequency, specials, 2, e);
    bpe_trainer_free(r.trainer);
    return b;
}

static bool write(const bpe *b, const char *path, err *e)
{
    gguf_writer *w = gguf_writer_new(path);
    if (!w)
        return err_no_memory(e, path, 1);
    gguf_put_string(w, "general.architecture", "limn");
    bpe_put(b, w);
    gguf_begin_data(w);
    bool ok = gguf_writer_commit(w, e);
    gguf_writer_free(w);
    return ok;
}

bool train_is_tokenizer(const char *path)
{
    file_map m = {0};
    gguf *g = file_map_open(&m, path, NULL) ? gguf_open(m.data, m.size, path, NULL) : NULL;
    bool is = g && gguf_tensor_count(g) == 0 && gguf_has(g, "tokenizer.ggml.tokens") && !gguf_has(g, "train.step");
    gguf_free(g);
    file_map_release(&m);
    return is;
}

bool train_tokenizer(const train_tokenizer_options *o, limn_tokenizer_counts *counts, err *e)
{
    const dataset_options want = {.sources = o->sources,
                                  .n_sources = o->n_sources,
                                  .want = DATASET_CAPTIONS,
                                  .batch = 1,
                                  .goes_on = goes_on,
                                  .context = (void *)o};
    dataset *d = dataset_open(&want, e);
    bpe *b = d ? learn(o, d, &counts->captions, e) : NULL;
    bool ok = b &&
              (goes_on((void *)o) ||
               err_set_cause(e, ERR_FAILED, LIMN_CAUSE_INTERRUPTED, "interrupted: no result was written")) &&
              write(b, o->output, e);
    if (d)
        dataset_log_problems(d);
    counts->tokens = ok ? bpe_size(b) : 0;
    bpe_free(b);
    dataset_free(d);
    return ok;
}
