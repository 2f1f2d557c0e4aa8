/* Prompts of several sources: operands, files, standard input; one a line. */
#ifndef CLI_PROMPTS_H
#define CLI_PROMPTS_H
#include "base/err.h"

/* Zero-initialised is valid and empty. */
typedef struct prompts {
    char **texts;
    int n;
} prompts;

bool prompts_add(prompts *p, const char *text, err *e);
/* A prompt a line of a file, or of standard input, which is "-".  Lines of nothing but white space are none; a
 * byte-order mark and the ends of lines of other systems are no part of a prompt.  ERR_FAILED where it holds none, or
 * is no UTF-8. */
bool prompts_read(prompts *p, const char *path, err *e);
/* Those of rank 0 on all ranks. */
bool prompts_share(prompts *p, err *e);
void prompts_release(prompts *p);
#endif
