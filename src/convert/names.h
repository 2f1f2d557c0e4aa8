/* Finding the networks of published models in files, whatever surrounds them there.
 *
 * A checkpoint has its model behind prefixes ("module.", "_orig_mod.", "state_dict.model.") and beside other things: an
 * optimiser, averaged weights (EMA), networks that only training needs.  None of these has a list here: a network is
 * where its tensors are, and its prefix is what is before them. */
#ifndef CONVERT_NAMES_H
#define CONVERT_NAMES_H
#include "convert/convert.h"
#include "convert/networks.h"

/* Where a network was found. */
typedef struct network_root {
    int network;               /* its place in the table: the set 1 << network */
    size_t unit;               /* of the files: shards of one model are one */
    char *prefix;              /* before its tensors' names: "state_dict.model." */
    const source_tensor *mark; /* the tensor by which it was found */
    char *to;                  /* the prefix that its family wants: networks.h */
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
uint64_t import_names_set(const source *s);
/* The set of those that a model may have several of, in folders of their own. */
uint64_t import_names_by_folder(void);
/* Puts the tensors of networks that are not in the set outside. */
bool import_names_keep(source *s, uint64_t set, err *e);
/* Of networks of a set that several files have, the one in a file or folder of its own stays, as somebody gave it
 * besides; the others go outside, which is said.  Two that are given so are an error. */
bool import_names_prefer_own(source *s, uint64_t set, err *e);
/* "a VQGAN and OpenAI's CLIP": the names of the networks in a set. */
void import_names_text(uint64_t set, char out[256]);
/* A name that a family knows with the prefix that its network has in the files, as far as that is known. */
void import_names_full(const source *s, const char *name, char out[256]);
void import_names_release(source *s);
#endif
