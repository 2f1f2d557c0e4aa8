/* What reads adapters' files, for both kinds of models. */
#ifndef MODELS_LORA_INTERNAL_H
#define MODELS_LORA_INTERNAL_H
#include <jansson.h>

#include "io/model_file.h"
#include "models/lora.h"

/* An adapter that is open. */
typedef struct adapter {
    char *path, *config_path;
    model_file *file;
    json_t *config; /* adapter_config.json; NULL: there is none, which adapters of diffusion models may do without */
    float scale;    /* the caller's */
} adapter;

/* What is added to rows of a parameter: scale b a. */
typedef struct change {
    param *p;
    int64_t first, rows; /* of the parameter */
    int64_t repeats;     /* each `head` rows of b stand for so many of the parameter's */
    int64_t head;
    float scale;
    const char *path;   /* the adapter's, for messages */
    file_tensor a, b;   /* [rank, …]: the numbers of a row of the parameter, in its order; [rows, rank] */
    size_t order;       /* in which it was read */
    float *of_a, *of_b; /* their numbers, while they are added */
} change;

typedef struct merging {
    param_table *t;
    const transformer *d;
    const char *model;
    change *list;
    size_t n, room;
} merging;

/* Numbers of a row of p. */
int64_t lora_row(const param *p);
bool lora_add_change(merging *m, const change *c, err *e);
/* What b a is multiplied by, for a layer of that rank, as a config of PEFT's says it. */
bool lora_scale_of(const adapter *a, const json_t *config, const char *layer, int64_t rank, float *scale, err *e);

/* ---- lora_diffusion.c ---- */

/* lora_modules of diffusion models. */
int lora_diffusion_modules(const transformer *d, const param *p, bool all, lora_module out[LOW_RANK_PARTS]);

/* ---- lora_merge_diffusion.c ---- */

/* Adds the changes of an adapter of a diffusion model, in any of the layouts that are about. */
bool lora_read_diffusion(merging *m, const adapter *a, err *e);
#endif
