/* Whether the pictures of a prompt differ: a model that is sure of a prompt draws the same again and again. */
#ifndef CLI_VARIETY_H
#define CLI_VARIETY_H
#include <limn/limn.h>

#include "io/image.h"

struct source; /* cli/generate.h */

/* The pictures of each prompt, of which the first few that differ are kept small. */
typedef struct variety {
    struct variety_prompt *prompts; /* [n] */
    int n;
    bool exact; /* pictures are the same where all pixels are, not where hardly any differ */
} variety;

/* n: prompts.  exact: for pictures that have parts in common because they were asked to. */
bool variety_begin(variety *v, int n, bool exact, err *e);
void variety_release(variety *v);
/* A picture of prompt number `prompt`. */
void variety_take(variety *v, int prompt, const image *im);
/* Warns where half of a prompt's pictures or more are like others, and says what gives others.  */
void variety_say(const variety *v, const struct source *sources, const limn_model_info *m,
                 const limn_generate_options *g);
#endif
