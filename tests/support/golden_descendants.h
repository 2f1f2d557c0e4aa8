/* Golden instances of DALL-E's descendants to train: data/descendants_training.json, whose models are in data/golden.
 */
#ifndef TESTS_GOLDEN_DESCENDANTS_H
#define TESTS_GOLDEN_DESCENDANTS_H
#include <jansson.h>

#include "train/train.h"

enum { ITEMS = 2, CELLS = 64 };
/* The instances. */
enum { JANUS, JANUS_HF, SIMPLEAR, LLAMAGEN };

/* An instance with its captions, of unlike lengths, and codes. */
typedef struct descendant {
    const json_t *json;
    const char *name, *captions[ITEMS];
    int32_t codes[ITEMS * CELLS];
    int cells;
} descendant;

/* Paths: of the data's folder, the model, what is trained, and the codes' .npy. */
extern const char *descendant_data, *descendant_model, *descendant_tuned, *descendant_codes;

/* The instances, an array; NULL with a message. */
json_t *descendants_load(void);
/* Makes the model of instance k, its matrices in `type`, and two pictures with its captions. */
void descendant_open(descendant *t, const json_t *all, size_t k, dtype type);
/* The path of picture i. */
const char *descendant_picture(int i);
/* Of a run of so many steps from the model on the data, a step having both pictures; what was there is removed. */
train_dalle_options descendant_options(int64_t steps);
#endif
