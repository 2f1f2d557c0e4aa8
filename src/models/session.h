/* A decoding session: the memory on the device that a batch of sequences keeps between steps. */
#ifndef MODELS_SESSION_H
#define MODELS_SESSION_H
#include "models/model.h"

typedef struct session {
    const transformer *d;
    run *r;
    int rows;                        /* sequences */
    int text;                        /* ids that there is room for in each */
    tensor ids;                      /* I32 [rows, text] */
    tensor codes;                    /* I32 [rows, cells] */
    tensor position;                 /* I32 [1]: how many positions the caches hold */
    transformer_memory memory, part; /* part: for session_rows */
} session;

/* text: the kind's text_length, or with own_lengths that of the longest text.  keys: F32 or F16, the type that keys and
 * values are kept in. */
bool session_open(session *s, const transformer *d, run *r, int rows, int text, dtype keys, err *e);
void session_release(session *s);
/* The memory of n rows from `first` on; valid until the next call. */
const transformer_memory *session_rows(session *s, int first, int n);
/* Copies the memory of row `from` to n rows from `to` on. */
void session_repeat_row(session *s, int from, int to, int n);
/* Copies row `from` to row `to`, with its ids and codes. */
void session_copy_row(session *s, int from, int to);
#endif
