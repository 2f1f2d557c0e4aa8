/* What the search for networks in names is made of. */
#ifndef CONVERT_NAMES_INTERNAL_H
#define CONVERT_NAMES_INTERNAL_H
#include <string.h>

#include "convert/names.h"

enum { NAME_BYTES = 2048 };

/* The tensors of one unit (a file, or the shards of a model) by name. */
typedef struct unit {
    source *s;
    source_tensor **by_name;
    size_t n, number;
} unit;

static inline const char *tensor_name(const source_tensor *t)
{
    return t->own.name;
}

/* ---- unit.c ---- */

/* by_name is the caller's to free, whatever is returned. */
bool unit_open(unit *u, source *s, size_t number, err *e);
/* The tensor of that name; or NULL. */
source_tensor *unit_find(const unit *u, const char *name);
/* The tensor PREFIX NAME. */
source_tensor *unit_find_behind(const unit *u, const char *prefix, size_t length, const char *name);
/* Takes what compilers and sharders put into the middle of names out of them; leaves all as they are where two would
 * become one. */
bool unit_drop_wrappers(unit *u, err *e);
/* CLIP's text tower, as transformers from 5 on and some single files have it, gets the names that it had before. */
bool unit_name_text_tower(unit *u, err *e);
bool name_begins(const char *name, const char *prefix);
/* What a path says by its words: averaged weights; what optimisers and losses keep, by their parameters' names. */
bool path_is_ema(const char *path, size_t length);
bool path_is_training(const char *path, size_t length);
/* The name is the tensor's from then on; NULL: there was no memory. */
bool tensor_rename(source_tensor *t, char *name, err *e);

/* ---- names.c ---- */

/* Whether --set part means this root. */
bool root_is_chosen(const network_root *r, const char *part);

/* ---- ema.c ---- */

/* Gives that root's tensors the values of their EMA, found behind the prefix that most of them have one behind. */
void unit_lay_ema_over(const unit *u, const network_root *r, const name_choice *c);
#endif
