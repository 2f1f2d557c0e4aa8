/* Finding the networks of published models in files, whatever surrounds them there.
 *
 * A checkpoint has its model behind prefixes ("module.", "_orig_mod.", "state_dict.model.") and beside other things: an
 * optimiser, averaged weights (EMA), networks that only training needs.  None of these has a list here: a network is
 * where its tensors are, and its prefix is what is before them. */
#ifndef CONVERT_NAMES_H
#define CONVERT_NAMES_H
#include "convert/convert.h"

/* Sets of networks, for a family to say what it consists of. */
enum network_set {
    NETWORK_OPENAI_ENCODER = 1 << 0,
    NETWORK_OPENAI_DECODER = 1 << 1,
    NETWORK_DISCRETE_VAE = 1 << 2,
    NETWORK_DALLE = 1 << 3,
    NETWORK_DALLE_CLIP = 1 << 4,
    NETWORK_BART_DECODER = 1 << 5,
    NETWORK_BART_ENCODER = 1 << 6,
    NETWORK_MINDALLE = 1 << 7,
    NETWORK_RUDALLE = 1 << 8,
    NETWORK_LLAMAGEN = 1 << 9,
    NETWORK_TAMING_GPT = 1 << 10,
    NETWORK_VQGAN = 1 << 11,
    NETWORK_OPENAI_CLIP = 1 << 12,
    NETWORK_HUGGINGFACE_CLIP = 1 << 13,
    NETWORK_LIMN_CODEC = 1 << 14,
    NETWORK_LIMN_TRANSFORMER = 1 << 15,
};

/* Where a network was found. */
typedef struct network_root {
    int network;               /* its place in the table: the set 1 << network */
    size_t unit;               /* of the files: shards of one model are one */
    char *prefix;              /* before its tensors' names: "state_dict.model." */
    const source_tensor *mark; /* the tensor by which it was found */
    bool ema;                  /* its prefix says that these are averaged weights */
    bool dropped;              /* another set of the same weights was preferred */
    int part_of;               /* the root that it is inside of; -1 */
} network_root;

/* What --set says about it. */
typedef struct name_choice {
    bool ema;         /* averaged weights are preferred */
    const char *part; /* of several sets of weights the one behind this prefix; or NULL */
    bool quiet;       /* nothing is logged */
} name_choice;

/* Gives the tensors of a model the names that its family knows; all else goes behind s->n.  Fills s->roots. */
bool import_names_resolve(source *s, const name_choice *c, err *e);
/* The networks that were found, parts of others too. */
unsigned int import_names_set(const source *s);
/* Puts the tensors of networks that are not in the set outside. */
bool import_names_keep(source *s, unsigned int set, err *e);
/* "a VQGAN and OpenAI's CLIP": the names of the networks in a set. */
void import_names_text(unsigned int set, char out[256]);
/* A name that a family knows with the prefix that its network has in the files, as far as that is known. */
void import_names_full(const source *s, const char *name, char out[256]);
void import_names_release(source *s);
#endif
