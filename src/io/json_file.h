/* JSON files as people have them: with a byte-order mark or without. */
#ifndef IO_JSON_FILE_H
#define IO_JSON_FILE_H
#include <jansson.h>

#include "base/err.h"

/* flags: jansson's.  what: "a vocabulary is a JSON object", said where it can't be read; or NULL.  NULL with e filled:
 * "PATH: line 1, column 2: reason", or what the file is in place of JSON. */
json_t *json_file_load(const char *path, size_t flags, const char *what, err *e);
#endif
