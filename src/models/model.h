/* A model file opened on a device. */
#ifndef MODELS_MODEL_H
#define MODELS_MODEL_H
#include "base/log.h"
#include "models/codecs/codec.h"
#include "models/prompt.h"
#include "models/transformers/clip.h"
#include "models/transformers/transformer.h"
#include "text/tokenizer.h"

typedef struct limn_model model;

/* What a caller may free while it is in use: models/guard.h. */
typedef struct guarded {
    void (*release)(struct guarded *g);
    int held;             /* by others of them that need it */
    bool freed;           /* by the caller: as soon as it isn't used any more */
    struct guarded *next; /* of those */
} guarded;

#define MODEL_SIZES 64 /* at most */

struct limn_model {
    limn_model_info info;
    device *dev;
    run *run;
    file_map file; /* empty for the built-in model */
    gguf *gguf;
    codec codec;              /* kind NULL: none */
    transformer *transformer; /* or NULL */
    clip *clip;               /* or NULL */
    tokenizer *tokenizer;     /* or NULL */
    prompt_form form;         /* of what the transformer reads */
    prompt_word *words;       /* of form: models/embedding.h; or NULL */
    param_table params;       /* on the device while something uses them: models/plan.h, or model_load */
    int busy;                 /* batches at work, between whose steps a caller may do something else */
    guarded guard;
    caller_log log;             /* where its messages go; function NULL: where the device's do */
    log_place log_before;       /* and where the thread's that uses it went */
    int sizes[2 * MODEL_SIZES]; /* of info */
    uint64_t planned;           /* bytes on the device by the last plan, other models' too */
    /* of models/rest.h */
    bool shared;             /* it is in the device's list */
    struct limn_model *next; /* in it */
    int inside;              /* calls of the API that are in it */
    bool pinned;             /* its weights were loaded without a plan, and stay */
    uint64_t used;           /* when it was planned for: greater is later */
};

/* The file of the built-in model: builtin.S. */
extern const uint8_t limn_builtin_model[], limn_builtin_model_end[];

/* Whether something else than a GGUF file is there: what can't be opened is left to model_open's error. */
bool model_is_foreign(const char *path);
/* path NULL: the built-in model, or of data no name. */
model *model_open(device *d, const char *path, err *e);
model *model_open_with(device *d, const char *path, const limn_model_options *o, err *e);
/* All but the parameters, which are declared and not loaded: the file may have none (params_open_random).  d NULL: to
 * be read, and no more. */
model *model_open_keys(device *d, const char *path, err *e);
void model_free(model *m);
/* All weights for one of `uses` (USE_…) on the device, beside what is there. */
bool model_load(model *m, unsigned uses, err *e);

/* limn_tokenize; and without a word on what the vocabulary can't say. */
bool model_tokenize_warned(const model *m, const char *text, int32_t **ids, size_t *n, err *e);
bool model_tokenize(const model *m, const char *text, int32_t **ids, size_t *n, err *e);
/* The same of a negative prompt. */
bool model_tokenize_negative(const model *m, const char *text, int32_t **ids, size_t *n, err *e);
limn_generate_options model_generate_defaults(const model *m);

/* ERR_USAGE "MODEL has no codec (…)". */
bool model_needs_codec(const model *m, err *e);
bool model_needs_encoder(const model *m, err *e); /* and that codec's */
bool model_needs_transformer(const model *m, err *e);
bool model_needs_codes(const model *m, err *e); /* and that they are drawn, not latents */
bool model_needs_clip(const model *m, err *e);
#endif
