/* Errors: a status that a function returns and the text that it fills in. */
#ifndef BASE_ERR_H
#define BASE_ERR_H
#include <stdbool.h>

#include "limn/limn.h"

/* The values are the program's exit codes. */
typedef enum err_code {
    ERR_NONE = 0,
    ERR_FAILED = 1, /* failed at run time: files, memory, driver */
    ERR_USAGE = 2,  /* the caller's request cannot be meant */
    ERR_DEVICE = 3, /* no usable device */
} err_code;

/* Zero-initialised means "no error".  text reads "what: why (what to do)", without a final newline.  Settings stand in
 * it by their names, in backticks: `memory_limit`.  The command line makes its options of them (cli/wording.c). */
typedef limn_error err;

/* Fills e, which may be NULL, and returns false, so that callers write `return err_set(e, ...)`.
 * The first error wins: a filled e is left as it is, since what follows a failure is rarely its cause. */
bool err_set(err *e, err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same, which a program may do something about: a LIMN_CAUSE_…. */
bool err_set_cause(err *e, err_code code, int cause, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* What `from` says becomes e, unless e is filled.  Returns false. */
bool err_copy(err *e, const err *from);

/* Out of memory, with the number of bytes and what wanted them.  Returns false. */
bool err_no_memory(err *e, const char *what, unsigned long long bytes);
#endif
