/* Training data: pictures and captions, in an order that a seed decides, loaded on threads beside the caller.
 *
 * A source is one of
 *
 * - a folder: every picture below it (.png, .jpg, .jpeg, .webp), folder by folder in the order of their names;
 *   then those of links to folders, each folder once; then those of its tar files. Captions are in NAME.txt or
 *   NAME.caption, one a line, or in NAME.json, beside NAME.png; else in a list: a .jsonl file or metadata.csv
 *   in the picture's folder or above it, as HuggingFace's data sets have it. Names that begin with a dot are
 *   passed over.
 * - X.png: a picture, with captions as in a folder, so that a shell's * within a folder is like the folder. A list that
 *   is named beside pictures or folders has their captions; pictures that it alone names are items too.
 * - X.jsonl (or .ndjson): a JSON object a line. "image" or "file_name" is a path, relative to X's folder;
 *   captions are the first of "caption", "captions", "text" and "prompt" that isn't empty, a string or an array
 *   of strings.
 * - X.tar: WebDataset, also compressed (.tar.gz, .tgz, .tar.zst, ...). Neighbouring members are an item:
 *   KEY.png, .jpg, .jpeg or .webp, and KEY.txt (captions, one a line) or KEY.json (captions as above). KEY ends
 *   at the first dot of the file's name, and the kind is what follows the last one.
 * - a name with braces, where no file has it: shard-{000000..000012}.tar, {a,b}.jsonl.
 *
 * Captions are UTF-8.  Blanks around a caption and blank lines are dropped.
 *
 * Items, the pictures of the sources, are numbered from 0 in the order of the sources.  Every epoch has each item once,
 * shuffled by (seed, epoch); epochs follow one another without a gap, so a batch may have the end of one and the
 * beginning of the next.  What becomes of an item (which caption, which crop, flipped or not) depends on
 * (seed, epoch, item) alone.  So batches are the same for any number of threads, and after dataset_seek.
 *
 * A bad picture or caption is a problem, never an error: it is counted by its cause and told once, and an item without
 * a usable picture or, where captions are wanted, without a usable caption gives its place to another one, drawn by
 * (seed, epoch, item) among the good ones.
 *
 * Memory: 24 bytes an item, its path where it is a file of a folder, and up to 256 MiB of pictures that needn't be read
 * again, as they are in batches.  Source files stay mapped until dataset_free and must not be shortened.  One thread at
 * a time may call these functions. */
#ifndef TRAIN_DATA_DATASET_H
#define TRAIN_DATA_DATASET_H
#include <stdint.h>

#include "base/err.h"

typedef struct dataset dataset;

typedef enum dataset_want {
    DATASET_PICTURES, /* captions are neither needed nor read */
    DATASET_PAIRS,    /* an item without captions is left out, and a problem */
    DATASET_CAPTIONS, /* the items of DATASET_PAIRS by the same numbers, but pictures are not read */
    DATASET_PAIRED,   /* the same, but captions are not read */
} dataset_want;

typedef struct dataset_options {
    const char *const *sources; /* [n_sources], used by dataset_open alone */
    size_t n_sources;
    dataset_want want;
    int batch;         /* items in a batch of this rank */
    int width, height; /* of the pictures in a batch; not used with DATASET_CAPTIONS */
    uint64_t seed;
    bool in_order; /* every epoch by item number instead of shuffled */
    /* 0: the largest centred part of the picture that has the aspect width:height.  Else, up to 1: a part of that
     * aspect at a random place, its sides uniform in [crop, 1] of the largest. */
    double crop;
    bool flip; /* mirror every other picture, left to right; wrong for pictures with text, or captions with "left" */
    /* The global batch has batch * ranks items; this one, rank (from 0), gets items rank, rank + ranks, ... of it.
     * ranks 0 means 1. */
    int rank, ranks;
    int threads;  /* that load; 0: one for each processor, up to 8 */
    int prefetch; /* batches that are loaded ahead of the caller; 0: 2 */
    /* Asked while items are looked for and captions read; false ends that with "interrupted".  NULL: never. */
    bool (*goes_on)(void *context);
    void *context;
} dataset_options;

/* Finds the items.  NULL with e filled: a source that can't be read or is of none of the kinds, options that make no
 * sense (ERR_USAGE), or no item in all the sources, which are named.  No thread is started before dataset_next. */
dataset *dataset_open(const dataset_options *o, err *e);
void dataset_free(dataset *d); /* at any time; NULL is fine */

int64_t dataset_size(const dataset *d);
/* Hash of the items and their order, not of the pictures' contents: tells whether a checkpoint is of other data. */
uint64_t dataset_fingerprint(const dataset *d);

/* All is owned by the batch.  Zero-initialised is empty and valid; keep it from one dataset_next to the next, which
 * reuses its memory. */
typedef struct dataset_batch {
    int n, width, height;
    uint8_t *pixels; /* [n, height, width, 3], sRGB; NULL with DATASET_CAPTIONS */
    char **captions; /* [n], one for each item, drawn from its captions; all NULL where they aren't read */
    int64_t *items;  /* [n] */
} dataset_batch;

/* Waits for the next batch and puts it into b.  False with e filled, and again at each further call until
 * dataset_seek: every item is bad, or memory is short.  b is then as it was. */
bool dataset_next(dataset *d, dataset_batch *b, err *e);
void dataset_batch_release(dataset_batch *b);

/* Where the global batch after the last one of dataset_next begins: the same for all ranks.  0 <= item < size. */
typedef struct dataset_position {
    int64_t epoch, item;
} dataset_position;

dataset_position dataset_tell(const dataset *d);
/* The next batch begins at p, as it would have without an interruption.  False where p is not in the data. */
bool dataset_seek(dataset *d, dataset_position p, err *e);

/* The item is never in a batch, as if it were bad (the picture without a code in a cache, for example).  Only before
 * the first dataset_next. */
void dataset_exclude(dataset *d, int64_t item);

/* Batches are of these items alone, n > 0, epoch after epoch in the order of the list, for in_order; places for
 * positions count in it.  Only before the first dataset_next. */
bool dataset_select(dataset *d, const int64_t *items, int64_t n, err *e);
/* False with "interrupted" in e where options.goes_on says so. */
bool dataset_goes_on(const dataset *d, err *e);

/* Calls back with every usable caption of every item, in the order of the items, whatever is wanted; pictures are not
 * touched.  The caption lives until the callback returns; where that is false, or goes_on is, the walk ends there,
 * false.
 */
typedef bool dataset_caption_callback(void *context, int64_t item, const char *caption);
bool dataset_captions(dataset *d, dataset_caption_callback *callback, void *context);

typedef struct dataset_problem {
    const char *name, *reason; /* a file, "X.jsonl:12", "X.tar: MEMBER"; without control characters */
} dataset_problem;

/* How many problems were found until now, each counted once (those of a batch that is loaded ahead already count).
 * *list[*n] has the first 100 that were found, by item; it lives until the next call with d. */
uint64_t dataset_problems(dataset *d, const dataset_problem **list, size_t *n);
/* Tells of those that it hasn't told of as warnings (base/log.h), a line a cause, with their number and some names. */
void dataset_log_problems(dataset *d);
/* They count as told: another data set of the same sources has told of them. */
void dataset_silence_problems(dataset *d);

/* What tells whether a picture is the one that it was, for caches.  The stamp changes with the file's time, size and
 * place, and is 0 if the file changed so lately that it may change again unseen; the hash is that of all its bytes,
 * which are read for it.  False if the picture can't be read. */
bool dataset_picture_stamp(const dataset *d, int64_t item, uint64_t *stamp);
bool dataset_picture_hash(const dataset *d, int64_t item, uint64_t *hash);
#endif
