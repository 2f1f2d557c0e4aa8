/* limn train tokenizer: a byte-pair tokenizer from the captions of a data set.  Needs no device. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/train.h"
#include "train/tokenizer.h"

static bool on_progress(void *context, const limn_train_progress *p)
{
    if (p->total)
        progress_update(context, p->done, p->total);
    return !interrupted();
}

int command_train_tokenizer(const options *o)
{
    err e = {0};
    progress bar;
    limn_tokenizer_counts n = {0};
    limn_train_options q = {.size = sizeof q,
                            .output = options_text(o, "output", NULL),
                            .existing = options_given(o, "overwrite") ? LIMN_TRAIN_OVERWRITE : LIMN_TRAIN_REFUSE,
                            .progress = on_progress,
                            .context = &bar};
    limn_train_tokenizer_options t = {.size = sizeof t,
                                      .vocabulary = train_option_integer(o, "vocabulary"),
                                      .min_frequency = train_option_integer(o, "min-frequency"),
                                      .lowercase = options_given(o, "lowercase")};
    const char **sources = train_sources(o, &q.n_data, &e);
    bool replaced = train_is_tokenizer(q.output);
    char name[512];
    q.data = sources;
    interrupt_catch();
    progress_begin(&bar, "captions", "items");
    bool ok = sources && output_check("output", q.output, NULL, &e) && limn_train_tokenizer(&q, &t, &n, &e);
    progress_end(&bar);
    if (ok) {
        say_wrote(q.output, "%zu tokens, from %lld caption%s%s", n.tokens, (long long)n.captions,
                  n.captions == 1 ? "" : "s", replaced ? ", in place of the tokenizer that was there" : "");
        train_say_next(o, "train dalle",
                       "--tokenizer %s --codec CODEC.gguf -o MODEL.gguf (limn train codec makes the "
                       "codec)",
                       train_quoted(q.output, name));
    }
    free(sources);
    return ok ? 0 : report(&e);
}
