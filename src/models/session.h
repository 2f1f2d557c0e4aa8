/* A decoding session: what a batch of sequences keeps on the device between steps. */
#ifndef MODELS_SESSION_H
#define MODELS_SESSION_H
#include "models/model.h"

typedef struct session {
    const transformer *d;
    run *r;
    int rows;        /* sequences */
    tensor ids;      /* I32 [rows, text_length] */
    tensor codes;    /* I32 [rows, cells] */
    tensor forced;   /* I32 [cells]: -1 where a code is to be chosen */
    tensor position; /* I32 [1]: positions in the caches */
    tensor last;     /* F32 [2, 1, dim]: one prompt's last state, with it as the condition and without (guidance) */
    transformer_memory memory, row; /* row: lists for session_row */
} session;

/* keys: F32 or F16, the type that keys and values are kept in. */
bool session_open(session *s, const transformer *d, run *r, int rows, dtype keys, err *e);
void session_release(session *s);
/* A row's part of the memory, until the next call. */
const transformer_memory *session_row(session *s, int row);
/* Copies that part to the n rows after it. */
void session_repeat_row(session *s, int row, int n);
#endif
