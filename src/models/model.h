/* A model file opened on a device. */
#ifndef MODELS_MODEL_H
#define MODELS_MODEL_H
#include "models/clip.h"
#include "models/codecs/codec.h"
#include "models/transformers/transformer.h"
#include "text/tokenizer.h"

typedef struct limn_model model;

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
    param_table params;       /* on the device while something uses them: models/plan.h, or model_load */
    int busy;                 /* batches at work, between whose steps a caller may do something else */
    uint64_t planned;         /* bytes on the device by the last plan, other models' too */
};

/* The file of the built-in model: builtin.S. */
extern const uint8_t limn_builtin_model[], limn_builtin_model_end[];

/* Whether something else than a GGUF file is there: what can't be opened is left to model_open's error. */
bool model_is_foreign(const char *path);
/* path NULL: the built-in model. */
model *model_open(device *d, const char *path, err *e);
/* All but the parameters, which are declared and not loaded: the file may have none (params_open_random). */
model *model_open_keys(device *d, const char *path, err *e);
void model_free(model *m);
/* All weights for one of `uses` (USE_…) on the device, beside what is there. */
bool model_load(model *m, unsigned uses, err *e);

/* limn_tokenize, without a word on what the vocabulary can't say. */
bool model_tokenize(const model *m, const char *text, int32_t **ids, size_t *n, err *e);

/* ERR_USAGE "MODEL has no codec (…)". */
bool model_needs_codec(const model *m, err *e);
bool model_needs_encoder(const model *m, err *e); /* and that codec's */
bool model_needs_transformer(const model *m, err *e);
bool model_needs_clip(const model *m, err *e);
#endif
