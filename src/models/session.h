/* A decoding session: what a batch of sequences keeps on the device between steps. */
#ifndef MODELS_SESSION_H
#define MODELS_SESSION_H
#include "models/model.h"

typedef struct session {
    const transformer *d;
    run *r;
    int rows;                        /* sequences */
    tensor ids;                      /* I32 [rows, text_length] */
    tensor codes;                    /* I32 [rows, cells] */
    tensor position;                 /* I32 [1]: positions in the caches */
    transformer_memory memory, part; /* part: lists for session_rows */
} session;

/* keys: F32 or F16, the type that keys and values are kept in. */
bool session_open(session *s, const transformer *d, run *r, int rows, dtype keys, err *e);
void session_release(session *s);
/* What n rows from `first` on have of the memory, until the next call. */
const transformer_memory *session_rows(session *s, int first, int n);
/* Copies a row's part of the memory to the n rows after it. */
void session_repeat_row(session *s, int row, int n);
/* Makes row `to` what row `from` is, its ids and codes too. */
void session_copy_row(session *s, int from, int to);
#endif
