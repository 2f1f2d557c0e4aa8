/* Hyper-parameters out of a model file, checked. */
#ifndef WEIGHTS_CONFIG_H
#define WEIGHTS_CONFIG_H
#include "io/gguf.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers" /* most fields are plain whole numbers */

typedef enum config_kind {
    CONFIG_INT,    /* int, from min to max */
    CONFIG_FLOAT,  /* float, from min to max */
    CONFIG_BOOL,   /* bool */
    CONFIG_BIT,    /* bool, in the file the number 0 or 1 */
    CONFIG_CHOICE, /* an enum, in the file a word: the place among `words`, which are max */
    CONFIG_COLOUR, /* float[3] */
} config_kind;

/* A member of a struct of hyper-parameters: its key, where it is, its range and what it is. */
typedef struct config_field {
    const char *key;
    size_t at; /* offsetof */
    int min, max;
    config_kind kind;
    const char *const *words;
    bool optional; /* what the file doesn't have stays as it is; 0, false and the first word are not written */
} config_field;

bool config_fields(const gguf *g, const config_field *f, size_t n, void *to, err *e);
/* Whether all are in range; `file` is for the message. */
bool config_check(const char *file, const config_field *f, size_t n, const void *from, err *e);
void config_put(gguf_writer *w, const config_field *f, size_t n, const void *from);

bool config_int(const gguf *g, const char *key, int min, int max, int *value, err *e);
/* Finite, and min to max. */
bool config_float(const gguf *g, const char *key, double min, double max, float *value, err *e);
/* The index of the key's string among names. */
bool config_choice(const gguf *g, const char *key, const char *const *names, int n, int *value, err *e);
/* A list of 1 to `most` integers from min to max; *n is how many. */
bool config_ints(const gguf *g, const char *key, int min, int max, int most, int *values, int *n, err *e);
void config_put_ints(gguf_writer *w, const char *key, const int *values, int n);
/* Whether any key begins with prefix. */
bool config_has_section(const gguf *g, const char *prefix);
#endif
