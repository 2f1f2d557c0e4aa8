/* A training run's output: what lies there is never replaced without a word, and no two runs have the same output. */
#ifndef TRAIN_OUTPUT_H
#define TRAIN_OUTPUT_H
#include <stddef.h>

#include "base/err.h"

/* What is to become of a run that is there already. */
typedef enum train_existing {
    TRAIN_REFUSE,    /* an error that says what is there */
    TRAIN_RESUME,    /* go on from its checkpoint */
    TRAIN_OVERWRITE, /* begin anew */
} train_existing;

typedef struct train_output {
    char *lock, *checkpoint, *log; /* paths */
    int fd;                        /* of the lock file; -1: not locked */
    bool claimed, killed;          /* killed: the run before left the lock file */
} train_output;

/* "OUT.gguf" and "png" -> "OUT.gguf.png", a new string. */
char *train_beside(const char *output, const char *ending, err *e);

/* A model file that a run reads. */
typedef struct train_input {
    const char *name; /* of the setting, "`init`"; NULL ends a list */
    const char *path; /* or NULL */
    bool model;       /* it is read as a model, not for a part */
} train_input;
/* Whether a run that writes OUT.gguf, what lies beside it, and the file `further` (or NULL) would replace none of what
 * it reads: the inputs and the data. */
bool train_output_check(const char *output, const char *further, const train_input *inputs, const char *const *data,
                        size_t n_data, err *e);

/* Takes the output (OUT.gguf and the files beside it) for this process, before any work.  False with e filled: another
 * process has it, something is there and `existing` says TRAIN_REFUSE, a finished model would be replaced since there
 * is no checkpoint to resume, or the files can't be written.
 * The lock is one on the file OUT.gguf.lock, which goes with the process however that ends; the file goes when the
 * output is released, or stays without a lock where the process was killed.  On file systems without locks, a warning.
 * x is filled and must be released in any case.  Only rank 0 (base/ranks.h) calls these. */
bool train_output_claim(train_output *x, const char *output, train_existing existing, err *e);
void train_output_release(train_output *x);
/* Whether train_output_claim would take it now.  Nothing is made or removed. */
bool train_output_is_free(const char *output, train_existing existing, err *e);
#endif
