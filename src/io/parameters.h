/* The settings that made a picture, as text in the form of AUTOMATIC1111's web interface, which front ends read:
 *
 *   a red apple, on a table
 *   Negative prompt: blurred
 *   Steps: 64, Sampler: Gumbel-Max, CFG scale: 1, Seed: 7, Size: 64x64, Model: emoji, Temperature: 0.3, …
 *
 * What is written is read back exactly.  What others wrote is read as they read it; keys that limn doesn't know are
 * left out. */
#ifndef IO_PARAMETERS_H
#define IO_PARAMETERS_H
#include <stdint.h>

#include "base/err.h"

/* Which of the numbers are there. */
enum {
    PARAMETERS_STEPS = 1 << 0,
    PARAMETERS_GUIDANCE = 1 << 1,
    PARAMETERS_SEED = 1 << 2,
    PARAMETERS_SIZE = 1 << 3,
    PARAMETERS_TEMPERATURE = 1 << 4,
    PARAMETERS_TOP_K = 1 << 5,
    PARAMETERS_TOP_P = 1 << 6,
    PARAMETERS_PICTURE = 1 << 7, /* picture, pictures */
    PARAMETERS_SCORE = 1 << 8,
    PARAMETERS_CLASS = 1 << 9,
    PARAMETERS_STRENGTH = 1 << 10,
    PARAMETERS_PRIOR_STEPS = 1 << 11, /* of unCLIP, as the next three */
    PARAMETERS_SUPER_STEPS = 1 << 12,
    PARAMETERS_PRIOR_GUIDANCE = 1 << 13,
    PARAMETERS_BETWEEN = 1 << 14,
};

/* Texts that aren't there are NULL; the prompt is "" where the text is settings alone. */
typedef struct parameters {
    const char *prompt, *negative;
    const char *sampler, *spacing, *model, *version;
    const char *kv_cache, *image_prompt, *keep;
    const char *prompt_to, *image_to; /* the other end of pictures between two */
    const char *text_ids;             /* "5 7 9": stands for the prompt, which then only describes it */
    unsigned has;
    int32_t steps, width, height, top_k, class;
    uint64_t seed;
    float guidance; /* "CFG scale" */
    float temperature, top_p, strength, prior_guidance;
    int32_t prior_steps, super_steps, between;
    int32_t picture, pictures; /* picture i, from 1 on, of n; of a grid 0 */
    int32_t first;             /* of a grid: its pictures are `first` to `pictures`; 0 is 1 */
    float score;               /* CLIP's */
    const char *adapters;      /* "style:0.5, other": of low rank, that changed the model */
    char *storage;             /* of what parameters_parse has read */
} parameters;

/* A new string, or NULL where memory is short.  There is always a line "Negative prompt:", since ComfyUI reads nothing
 * without one.  A prompt that readers would take for something else stands once more, quoted, behind the settings. */
char *parameters_text(const parameters *p);
/* Reads any text: without a line of settings, it is the prompt.  Its texts live until parameters_release. */
bool parameters_parse(parameters *p, const char *text, err *e);
void parameters_release(parameters *p);
#endif
