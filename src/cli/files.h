/* The files that a command reads and writes, checked before its work rather than found wrong after it. */
#ifndef CLI_FILES_H
#define CLI_FILES_H
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Whether a file can be written there, as cp would: its name is possible, its folder is there, and what is there
 * already is a regular file that may be written.  NULL is fine, and so is every path of a rank that writes none (all
 * but rank 0).  `ending`: ".npy", which path must have (in any case); NULL for any. */
bool output_check(const char *name, const char *path, const char *ending, err *e);
bool input_check(const char *path, err *e);
bool has_ending(const char *path, const char *ending);
/* "dir/a.png", 2 of 9 -> "dir/a-2.png", a new string; of 10 "dir/a-02.png", so that names sort as numbers do. */
char *numbered_path(const char *path, int i, int last);

/* All files of one run.  None of those that are written may be one that is read, or written twice, under whatever
 * names: links, "./a" for "a".  Zero-initialised is valid and empty. */
typedef struct file_set {
    struct file_use *uses;
    size_t n, room;
    bool short_of_memory;
} file_set;
/* what: "--output", "IMG", a constant.  A path that is NULL or "-" is none. */
void files_read(file_set *f, const char *what, const char *path);
void files_write(file_set *f, const char *what, const char *path);
/* ERR_USAGE where a file has two uses that don't go together.  Empties the set, which needs no other release. */
bool files_check(file_set *f, err *e);
#endif
