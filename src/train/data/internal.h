/* What the parts of the data set share: sources, items, captions, problems. */
#ifndef TRAIN_DATA_INTERNAL_H
#define TRAIN_DATA_INTERNAL_H
#include <pthread.h>
#include <stdatomic.h>

#include "base/file.h"
#include "base/os.h" /* strndup, where the C library has none */
#include "train/data/dataset.h"

/* Strings end to end, each with its NUL.  Zero-initialised is empty. */
typedef struct pool {
    char *data;
    size_t used, capacity;
} pool;

/* Appends text[0..bytes) and a NUL; *at, which may be NULL, is where. */
bool pool_add(pool *p, const char *text, size_t bytes, size_t *at, err *e);
void pool_release(pool *p);

/* LIST: a file in a folder with the captions of that folder's pictures; it has no items of its own. */
typedef enum source_kind { SOURCE_FOLDER, SOURCE_LINES, SOURCE_TAR, SOURCE_LIST } source_kind;
typedef struct source {
    source_kind kind;
    char *path;
    file_map map;   /* of all but FOLDER; of a compressed tar file: of what it is unpacked */
    uint64_t stamp; /* of the file (dataset_picture_stamp) */
    bool damaged;   /* not all of it could be unpacked, which is told */
} source;

typedef enum caption_kind {
    CAPTION_NONE,
    CAPTION_TEXT, /* one a line */
    CAPTION_JSON, /* an object */
    CAPTION_ROWS  /* from several places: d->rows */
} caption_kind;

/*          picture                       caption
 * FOLDER   path below the folder, pooled ending of the file beside it, by caption_endings
 * LINES    byte where the line begins    number of the line, from 1
 * TAR      byte where the header begins  that of the caption's member
 * with CAPTION_ROWS: the number of the first row */
typedef struct item {
    uint64_t picture, caption;
    uint32_t source;
    uint8_t caption_kind;
} item;

typedef enum row_kind { ROW_JSON, ROW_CSV, ROW_TEXT_MEMBER, ROW_JSON_MEMBER } row_kind;
/* One place of several that captions of an item are from: a byte of the source, where a line or a member begins. */
typedef struct caption_row {
    uint64_t at;
    uint32_t source, kind;
    uint32_t number; /* of the line, from 1 */
    uint32_t next;   /* row + 1; 0: none */
} caption_row;

enum {
    ITEM_BAD = 1,
    ITEM_NOTED = 2, /* a problem with its captions is counted already */
    /* of d->kept: a thread has begun to fill the item's place, and has done so */
    ITEM_KEEPING = 4,
    ITEM_KEPT = 8
};

typedef struct problem {
    int64_t item; /* -1: found before items had numbers */
    char *name, *reason;
    bool told;
} problem;

/* How often a reason came. */
typedef struct cause {
    char *reason;
    uint64_t n, told;
} cause;

/* Files of folders that are no data, by their endings, for the message that there is none. */
typedef struct ending_count {
    char ending[12];
    uint64_t n;
} ending_count;
enum { ENDINGS_SEEN = 12 };

typedef struct loader loader;

struct dataset {
    dataset_options o;
    source *sources;
    size_t n_sources;
    item *items;
    size_t n_items, capacity;
    caption_row *rows;
    size_t n_rows, rows_capacity;
    pool paths;
    uint64_t fingerprint;
    atomic_uchar *flags; /* [n_items] */
    uint8_t *kept;       /* [n_kept, height, width, 3]: pictures that were read, where they are always cut alike */
    int64_t n_kept;      /* of the first items */
    int64_t *selected;   /* [n_selected]; NULL: all */
    int64_t n_selected;
    dataset_position position;
    loader *loader; /* NULL before the first dataset_next */
    pthread_mutex_t problem_lock;
    problem *problems;
    size_t n_problems;
    cause *causes;
    size_t n_causes;
    uint64_t total_problems, untold;
    dataset_problem *listed;
    ending_count seen[ENDINGS_SEEN];
};

/* ---- finding items (source.c, list.c, tar.c) ----------------------------------------- */

typedef struct folder_walk folder_walk;

/* Adds the items of sources.  Problems are noted; false if a source as a whole can't be read. */
bool dataset_add_sources(dataset *d, const char *const *paths, size_t n, err *e);
bool dataset_add_tar(dataset *d, uint32_t source, err *e);
/* beside: a walk through the list's folder, which has read the list; lines whose picture it has found are passed over.
 * NULL: none. */
bool dataset_add_lines(dataset *d, uint32_t source, const folder_walk *beside, err *e);
/* A row after row `last` (row + 1; 0: none is before it); *index is its number. */
bool dataset_add_row(dataset *d, const caption_row *r, uint32_t last, uint32_t *index, err *e);
/* name: what the fingerprint knows of the item. */
bool dataset_add_item(dataset *d, const item *it, const char *name, size_t bytes, err *e);
/* Appends a source of the kind, mapped where that has a file (a compressed one: unpacked first, and what is wrong with
 * it becomes a problem); *index is its number. */
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
/* The picture's name in an object, by the keys that data sets have for it; lives as long as the object. */
const char *json_picture_name(const void *object, err *e);

/* The files beside NAME.png that can have its captions, each ending with the kind; ends by NULL. */
typedef struct caption_ending {
    const char *ending;
    caption_kind kind;
} caption_ending;
extern const caption_ending caption_endings[];

/* ---- lists of pictures with captions (list.c) --------------------------------------------------------- */

/* The line of a source that begins at a byte, without its end. */
void line_at(const source *s, uint64_t at, const char **text, size_t *bytes);
/* A new string: the path in a line's object, seen from where the source is. */
char *line_picture_path(const source *s, const void *object, err *e);
/* Calls back with the picture's name of each line of a SOURCE_LIST, by which the row's captions are found again.  What
 * is wrong with a line becomes a problem. */
typedef bool list_callback(void *context, const caption_row *r, const char *name, err *e);
bool list_walk(dataset *d, uint32_t source, list_callback *callback, void *context, err *e);
/* Appends the captions of a row. */
bool captions_from_row(captions *c, const dataset *d, const caption_row *r, err *e);
/* Whether the file's text is UTF-16, which is then in e. */
bool list_is_wide(const source *s, err *e);
/* Bytes of a byte-order mark at the beginning. */
size_t list_begin(const source *s);

/* ---- folders (folder.c) ------------------------------------------------------------------------------- */

/* A walk through a folder, which is the source of the pictures that it finds. */
folder_walk *folder_walk_new(dataset *d, const char *path, err *e);
void folder_walk_free(folder_walk *w);
/* Adds all pictures below the folder of that name in it, "" for the folder itself, with their captions. */
bool folder_walk_below(folder_walk *w, const char *name, err *e);
/* Adds one picture that lies in the folder. */
bool folder_walk_picture(folder_walk *w, const char *name, err *e);
/* Reads a list in the folder, or all that lie there, before the pictures are added that it names. */
bool folder_walk_list(folder_walk *w, const char *name, err *e);
bool folder_walk_lists(folder_walk *w, err *e);
/* Whether a list names the picture and it was added. */
bool folder_walk_found(const folder_walk *w, const char *name);
/* Notes the pictures of lists that aren't there. */
void folder_walk_note_missing(const folder_walk *w);

/* ---- names (names.c) ---------------------------------------------------------------------------------- */

/* Extension without the dot: the end of the name where there is none. */
const char *extension_of(const char *name);
bool is_picture_name(const char *name);
bool is_foreign_picture_name(const char *name); /* a picture of a kind that limn doesn't read */
/* Whether a file with such a name is one that limn reads after all; if it isn't, that is noted. */
bool file_is_misnamed(dataset *d, const char *path, const char *name);
/* Whether the bytes are a picture of a kind that limn reads, whatever its name says; else e says what they are. */
bool is_picture(const uint8_t *data, size_t bytes, const char *name, err *e);
bool is_tar_name(const char *name);   /* also compressed */
bool is_lines_name(const char *name); /* the same */
bool is_list_name(const char *name);  /* of a folder's pictures: those, and metadata.csv */
bool is_compressed_name(const char *name);
/* Made beside pictures by systems and programs, limn among them: no data, and nothing to tell about. */
bool is_ignored_name(const char *name);
/* Calls back with each name that a shell, or WebDataset, makes of one with braces: {000..012}, {a,b}, nested and
 * several. */
typedef bool names_callback(void *context, const char *name, err *e);
bool names_expand(const char *pattern, names_callback *callback, void *context, err *e);
/* The same with the paths of the tar files that a walk has met since the last call. */
bool folder_walk_tars(folder_walk *w, names_callback *callback, void *context, err *e);

/* ---- tar files (tar.c, unpack.c) -------------------------------------------------------------- */

/* Whether the bytes are compressed, and by what. */
const char *compressed_by(const uint8_t *data, size_t bytes);
/* Unpacks m into an unnamed file of the cache directory, mapped instead.  *damage, of 256 bytes, tells what was wrong
 * where not all of it could be unpacked, else it is empty. */
bool unpack(file_map *m, const char *path, const dataset *d, char *damage, err *e);

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

/* Items in an epoch. */
int64_t dataset_epoch_size(const dataset *d);

/* ---- the rest ------------------------------------------------------------------------------------------------ */

/* Takes note of a problem.  reason may begin with "NAME: ", which is cut.  Any thread. */
void dataset_note(dataset *d, int64_t number, const char *name, const char *reason);
/* The stamp of a file: dataset_picture_stamp. */
uint64_t file_stamp(const char *path);
/* Counts a file that is no data. */
void dataset_seen(dataset *d, const char *name);

/* Waits for its threads, throws away what is loaded ahead and goes on from d->position. */
void loader_restart(loader *l);
void loader_free(loader *l);
#endif
