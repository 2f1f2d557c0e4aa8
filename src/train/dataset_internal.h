/* What the parts of the data set share: sources, items, captions, problems. */
#ifndef TRAIN_DATASET_INTERNAL_H
#define TRAIN_DATASET_INTERNAL_H
#include <pthread.h>
#include <stdatomic.h>

#include "base/file.h"
#include "train/dataset.h"

/* Strings end to end, each with its NUL.  Zero-initialised is empty. */
typedef struct pool {
    char *data;
    size_t used, capacity;
} pool;

/* Appends text[0..bytes) and a NUL; *at, which may be NULL, is where. */
bool pool_add(pool *p, const char *text, size_t bytes, size_t *at, err *e);
void pool_release(pool *p);

typedef enum source_kind { SOURCE_FOLDER, SOURCE_LINES, SOURCE_TAR } source_kind;
typedef struct source {
    source_kind kind;
    char *path;
    file_map map; /* of LINES and TAR */
} source;

typedef enum caption_kind { CAPTION_NONE, CAPTION_TEXT, CAPTION_JSON } caption_kind;

/*          picture                       caption
 * FOLDER   path below the folder, pooled .txt of the same name
 * LINES    byte where the line begins    number of the line, from 1
 * TAR      byte where the header begins  that of the caption's member */
typedef struct item {
    uint64_t picture, caption;
    uint32_t source;
    uint8_t caption_kind;
} item;

enum { ITEM_BAD = 1, ITEM_NOTED = 2 /* a problem with its captions is counted already */ };

typedef struct problem {
    int64_t item; /* -1: found before items had numbers */
    char *name, *reason;
} problem;

typedef struct loader loader;

struct dataset {
    dataset_options o;
    source *sources;
    size_t n_sources;
    item *items;
    size_t n_items, capacity;
    pool paths;
    uint64_t fingerprint;
    atomic_uchar *flags; /* [n_items] */
    dataset_position position;
    loader *loader; /* NULL before the first dataset_next */
    pthread_mutex_t problem_lock;
    problem *problems;
    size_t n_problems;
    uint64_t total_problems;
    dataset_problem *listed;
};

/* ---- finding items (dataset_source.c, dataset_tar.c) --------------------------------------------------------- */

/* Adds a source's items.  Problems are noted; false where the source as a whole can't be read. */
bool dataset_add_source(dataset *d, const char *path, err *e);
bool dataset_add_tar(dataset *d, uint32_t source, err *e);
/* name: what the fingerprint knows of the item. */
bool dataset_add_item(dataset *d, const item *it, const char *name, size_t bytes, err *e);
/* Appends a source of the kind, mapped where that has a file; *index is its number. */
bool dataset_new_source(dataset *d, source_kind kind, const char *path, uint32_t *index, err *e);

/* ---- reading one item: an error's text is a reason, without the item's name ---------------------------------- */

/* Captions in a row in text, n usable ones.  bad: what is wrong with the first of the n_bad others. */
typedef struct captions {
    pool text;
    size_t n, n_bad;
    char bad[160];
} captions;

/* Both append.  False where memory is short, or the object has no captions. */
bool captions_from_text(captions *c, const char *text, size_t bytes, err *e);
bool captions_from_json(captions *c, const void *object, err *e);
/* Those of an item; c is emptied first, its memory is reused.  Takes note of problems, once an item.  False where no
 * caption is usable. */
bool captions_of(captions *c, dataset *d, int64_t number);

/* The object in text[0..bytes): a json_t, to be released by json_decref. */
void *json_object_parse(const char *text, size_t bytes, err *e);
/* The line of a LINES source that begins at a byte, without its end. */
void line_at(const source *s, uint64_t at, const char **text, size_t *bytes);
/* A new string: the path in "image" of a line's object, seen from where the source is. */
char *line_picture_path(const source *s, const void *object, err *e);

/* The tar member whose header is at a byte, as a new array. */
bool tar_read(const file_map *m, uint64_t at, uint8_t **data, size_t *bytes, err *e);
/* Its name as a new string, or NULL. */
char *tar_name(const file_map *m, uint64_t at);

/* Name of an item for messages: a new string, or NULL where memory is short. */
char *item_name(const dataset *d, const item *it);
char *join(const char *a, const char *b, const char *c); /* a new string a b c */

/* What a thread reuses from item to item. */
typedef struct scratch {
    captions captions;
} scratch;

/* Loads the item, or where it is bad its replacement, into pixels (which may be NULL) and *caption (a new string; NULL
 * where captions aren't wanted); *loaded is its number.  False with e filled where every item is bad or memory is
 * short, and false with e as it was where *stop became true. */
bool item_load(dataset *d, int64_t epoch, int64_t number, scratch *s, uint8_t *pixels, char **caption, int64_t *loaded,
               const atomic_bool *stop, err *e);

/* Fills order[0..n) with the permutation of (seed, epoch). */
void order_shuffle(uint32_t *order, size_t n, uint64_t seed, int64_t epoch);

/* ---- the rest ------------------------------------------------------------------------------------------------ */

/* Takes note of a problem.  reason may begin with "NAME: ", which is cut.  Any thread. */
void dataset_note(dataset *d, int64_t number, const char *name, const char *reason);

/* Waits for its threads, throws away what is loaded ahead and goes on from d->position. */
void loader_restart(loader *l);
void loader_free(loader *l);
#endif
