/* Files: read-only maps and atomic writes. */
#ifndef BASE_FILE_H
#define BASE_FILE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

/* A whole file, mapped read-only and private.  data is page-aligned. */
typedef struct file_map {
    const uint8_t *data;
    size_t size;
} file_map;

bool file_map_open(file_map *m, const char *path, err *e); /* an empty file is valid: data may be NULL then */
void file_map_release(file_map *m);
/* Frees the memory that the file's pages take; they are read again where they are used again. */
void file_map_forget(const file_map *m);
/* The same of the whole pages among `bytes` from `from` on.  Nothing where these aren't in the map. */
void file_map_forget_part(const file_map *m, const void *from, size_t bytes);

/* The last part of a path: "c.d" of "a/b/c.d". */
const char *file_base_name(const char *path);

/* A file in the making: written to .limn-PID-N.tmp in its folder, synced, and renamed over PATH by file_out_commit.
 * What killed writers left in that folder is removed first.  As with cp, where PATH is a link its target is replaced, a
 * file that may not be written is refused, and a device or a pipe (/dev/null) is written as it is.  A file that can't
 * be replaced (it has other names, is another user's, or its folder may not be written) stays the same file: what was
 * written is copied into it, once all is there and has room. */
typedef struct file_out {
    FILE *stream;
    char *path, *temporary;
    bool copied; /* into the file that is there */
    int number;  /* of the temporary file, for file_out_abandon */
    bool fresh;  /* set by who chose the name since no file had it: where one has it by the end, the commit fails */
    bool cache; /* set by who keeps what can be made again, and sees where it is torn: it isn't synced, which takes time
                 */
} file_out;

bool file_out_open(file_out *o, const char *path, err *e);
bool file_out_write(file_out *o, const void *data, size_t bytes, err *e);
/* Flushes, checks every earlier write, syncs and renames; the folder is synced then.  The file is released whether or
 * not that worked. */
bool file_out_commit(file_out *o, err *e);
/* Without a commit before it: the temporary file is removed, PATH is untouched. */
void file_out_release(file_out *o);
/* For a signal's handler that ends the program: removes the temporary files of all that are being written. */
void file_out_abandon(void);
/* What removes files of another kind, which file_out_abandon then calls too. */
void file_out_abandon_also(void (*remove)(void));

/* Creates the directory and its parents, like mkdir -p. */
bool file_make_directory(const char *path, err *e);
/* The directory of limn's caches: LIMN_CACHE_DIR, else $XDG_CACHE_HOME/limn, else $HOME/.cache/limn; on Windows
 * %LOCALAPPDATA%\limn.  A new string, or NULL where none of them is set. */
char *file_cache_directory(void);
#endif
