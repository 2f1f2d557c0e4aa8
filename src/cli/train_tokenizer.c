/* limn train tokenizer: a byte-pair tokenizer from the captions of a data set.  Needs no device. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/train.h"
#include "io/gguf.h"
#include "text/bpe_train.h"
#include "text/clean.h"

/* Captions on their way to the trainer. */
typedef struct reader {
    bpe_trainer *trainer;
    progress bar;
    int64_t items;
    long long captions;
    err *e;
} reader;

static bool read_caption(void *context, int64_t item, const char *caption)
{
    reader *r = context;
    progress_update(&r->bar, item, r->items);
    r->captions++;
    size_t bytes;
    char *plain = clean_text(caption, &bytes, r->e); /* as the tokenizer will read it */
    bool ok = plain && bpe_trainer_add(r->trainer, plain, r->e);
    free(plain);
    return ok;
}

static bool on_reading(void *context)
{
    (void)context;
    return !interrupted();
}

/* The tokenizer of all captions; NULL with e filled. */
static bpe *train(const options *o, dataset *d, long long *captions, err *e)
{
    static const char *const specials[] = {"<pad>", "<img>"}; /* the transformer takes their ids to be 0 and 1 */
    reader r = {.trainer = bpe_trainer_new(options_given(o, "lowercase"), e), .items = dataset_size(d), .e = e};
    bpe *b = NULL;
    if (!r.trainer)
        return NULL;
    progress_begin(&r.bar, "captions", "items");
    bool ok = dataset_captions(d, read_caption, &r);
    progress_end(&r.bar);
    *captions = r.captions;
    if (!ok)
        err_set(e, ERR_FAILED, "interrupted while the captions were read: nothing was written");
    else if (r.captions == 0)
        err_set(e, ERR_FAILED, "data: no caption can be used (a tokenizer is made of captions)");
    else
        b = bpe_trainer_finish(r.trainer, (size_t)options_integer(o, "vocabulary", 16384),
                               (uint64_t)options_integer(o, "min-frequency", 2), specials, 2, e);
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

/* Whether the file is a tokenizer and nothing else: one is made again in a moment, and the models that were made with
 * it have their own. */
static bool is_tokenizer(const char *path)
{
    file_map m = {0};
    gguf *g = file_map_open(&m, path, NULL) ? gguf_open(m.data, m.size, path, NULL) : NULL;
    bool is = g && gguf_tensor_count(g) == 0 && gguf_has(g, "tokenizer.ggml.tokens") && !gguf_has(g, "train.step");
    gguf_free(g);
    file_map_release(&m);
    return is;
}

int command_train_tokenizer(const options *o)
{
    err e = {0};
    const char *path = options_text(o, "output", NULL);
    long long captions = 0;
    dataset *d = NULL;
    bpe *b = NULL;
    train_output output;
    bool replaced = is_tokenizer(path);
    bool ok = train_claim(&output, o, (const char *const[]){NULL}, NULL, replaced ? TRAIN_OVERWRITE : TRAIN_REFUSE, &e);
    char name[512];
    interrupt_catch();
    if (ok)
        d = train_open_data(o, (dataset_options){.want = DATASET_CAPTIONS, .batch = 1, .goes_on = on_reading}, &e);
    if (d)
        b = train(o, d, &captions, &e);
    ok = b && interrupt_check(&e) && write(b, path, &e);
    if (d)
        dataset_log_problems(d);
    if (ok) {
        say_wrote(path, "%zu tokens, from %lld caption%s%s", bpe_size(b), captions, captions == 1 ? "" : "s",
                  replaced ? ", in place of the tokenizer that was there" : "");
        train_say_next(o, "train dalle",
                       "--tokenizer %s --codec CODEC.gguf -o MODEL.gguf (limn train codec makes the "
                       "codec)",
                       train_quoted(path, name));
    }
    bpe_free(b);
    dataset_free(d);
    train_output_release(&output);
    return ok ? 0 : report(&e);
}
