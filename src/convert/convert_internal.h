/* What the parts of the conversion share. */
#ifndef CONVERT_CONVERT_INTERNAL_H
#define CONVERT_CONVERT_INTERNAL_H
#include "convert/convert.h"

/* A tensor of the output, whose parts follow each other in import.parts. */
struct import_output {
    char *name;
    int nd;
    int64_t shape[TENSOR_DIMS];
    dtype type;
};

/* Where a part of one comes from. */
struct import_part {
    file_tensor from; /* in the order of the output */
    size_t output;
    const file_tensor *plus;  /* added to each row; or NULL */
    bool unit;                /* rows become as long as 1 */
    const file_tensor *times; /* a number for each of the first dimension, by which all there is multiplied; or NULL */
};

/* ---- tensors.c: what the rows of a table do ---- */

/* p's tensor in the new file is the source's `from`.  order: the source dimension that becomes dimension i of the
 * output, e.g. {0, 2, 3, 1} makes OIHW to OHWI; NULL keeps the order. */
void import_param(import *im, const param *p, const char *from, const int *order);
/* The same for the rows first, first + 1, … of a source that may have more of them, and more dimensions, of size 1. */
void import_part(import *im, const param *p, const char *from, int64_t first);
/* p's rows are those of n source tensors, one after the other. */
void import_stack(import *im, const param *p, const char *const *from, int n);
/* All of p's values are one: what no source tensor tells, as the scale of a norm that has none. */
void import_ones(import *im, const param *p);
/* The same for the rows of a table.  plus: a source tensor that is added to each row, or NULL.  unit: each row becomes
 * as long as 1.  The source may have more dimensions, of size 1: a 1x1 convolution is a table too. */
void import_rows(import *im, const param *p, const char *from, const int *order, const char *plus, bool unit);
/* The same for a source of another shape that has as many numbers, in the same order.  scale: a source tensor with a
 * number for each of p's first dimension, by which what belongs to it is multiplied, or NULL. */
void import_shaped(import *im, const param *p, const char *from, const char *scale);

/* ---- own.c ---- */

/* limn's own files: of other weight types, or several that together are one model. */
bool import_own(import *im, err *e);

/* ---- settings.c ---- */

/* Whether text is "NAME=VALUE" of a known setting, and the value one of its kind. */
bool import_check_setting(const char *text, err *e);
/* A setting that changes nothing is a mistake. */
bool import_check_asked(const import *im, err *e);
/* Whether a setting replaces the key. */
bool import_is_replaced(const import *im, const char *key);
/* The i-th value of a setting that may be repeated; NULL behind the last. */
const char *import_setting_list(import *im, const char *name, size_t i);

/* ---- inputs.c ---- */

/* Opens what was asked for: files, shards, folders.  source_close follows whether or not that worked. */
bool source_open(source *s, const import_request *q, err *e);
void source_close(source *s);
/* The same for these files, which the source owns from then on; without names of networks. */
bool source_open_files(source *s, char **paths, size_t n, err *e);
/* A list of paths that grows. */
typedef struct path_list {
    char **list;
    size_t n;
} path_list;
bool path_list_add(path_list *p, const char *path, err *e);
void path_list_release(path_list *p);
/* "model-00001-of-00003.bin": true, with how many there are and where the number stands. */
bool is_shard_name(const char *path, int *number, int *count, size_t *at);

/* ---- source.c ---- */

void source_release_made(source *s);
/* The tensor of that name, the first one of it; NULL where there is none. */
const file_tensor *source_tensor_of(const source *s, const char *name);

/* ---- folder.c ---- */

/* The files of the model in a folder, in the order in which they are to be read. */
bool folder_choose(const char *folder, bool quiet, path_list *files, err *e);

/* The output may not be one of the files that are read. */
bool source_check_output(const source *s, const char *output, const char *tokenizer, err *e);

/* Where the cache directory has the model of these files; its folder is made.  A new string. */
char *source_cache_path(const source *s, const char *from, err *e);

/* ---- write.c ---- */

/* Decides the types, writes header and data, and puts the file in its place. */
bool import_write(import *im, err *e);
void import_release(import *im);

/* ---- leftover.c ---- */

/* Every tensor of the source is used, or named: left out where only training needs it, else an error. */
bool import_check_used(import *im, err *e);
/* Whether --set ignore says that it is left out. */
bool import_is_ignored(import *im, const source_tensor *t);

/* ---- families.c ---- */

/* NULL behind the last. */
const family *family_at(size_t i);
const char *family_name(const family *f);
/* The family that was asked for, or whose tensors these are. */
const family *family_choose(const source *s, const import_request *q, err *e);
/* Whether a family may consist of these networks. */
bool family_fits(const family *f, uint64_t set);
#endif
