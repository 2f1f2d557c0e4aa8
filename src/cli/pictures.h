/* Pictures on their way to files: one file, numbered files, a grid, or standard output. */
#ifndef CLI_PICTURES_H
#define CLI_PICTURES_H
#include "cli/common.h"
#include "io/parameters.h"

/* Whether a picture can be written there: its name has an ending of a format that this limn writes, or it is "-" or
 * /dev/stdout, which is no terminal, or a pipe or another device that is there.  NULL is fine. */
bool picture_check(const char *name, const char *path, err *e);
bool picture_is_stdout(const char *path);
/* Whether what is written there can't be written again: standard output, a pipe. */
bool picture_is_stream(const char *path);
/* --quality, 0 where it isn't given; says so where the file has no use for it. */
int picture_quality(const options *o, const char *path);

/* One picture, in the format of the path's ending, PNG where it has none; p may be NULL.  fresh: the file must be new.
 */
bool picture_write(const image *im, const char *path, int quality, const parameters *p, bool fresh, err *e);
/* say_wrote of n pictures: one file, or the first to the last of numbered ones. */
void say_pictures(const char *path, int n, const char *detail, ...) __attribute__((format(printf, 3, 4)));
#endif
