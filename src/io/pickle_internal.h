/* What the parts of the pickle reader share: the machine, its memory and its stack. */
#ifndef IO_PICKLE_INTERNAL_H
#define IO_PICKLE_INTERNAL_H
#include "io/pickle.h"

/* Values and texts are taken from blocks, and all are freed together. */
typedef struct pickle_block {
    struct pickle_block *next;
    size_t used, size;
    _Alignas(16) char bytes[];
} pickle_block;

struct pickle {
    pickle_block *blocks;
    size_t taken; /* bytes of all blocks */
    const pickle_value *root;
    const pickle_value **classes;
    size_t n_classes, classes_capacity;
    const pickle_value **persistents;
    size_t n_persistents, persistents_capacity;
};

typedef struct pickle_machine {
    pickle *p;
    const uint8_t *data;
    size_t size, at, opcode_at;
    const char *opcode, *name;
    err *e;
    pickle_value **stack, **memo;
    size_t *marks;
    size_t n_stack, stack_capacity, n_marks, marks_capacity, n_memo, memo_capacity;
    pickle_value *constants; /* None, False, True */
    bool stopped;
} pickle_machine;

typedef struct pickle_argument {
    uint64_t number;
    const char *text[2]; /* the second: of two lines */
    size_t length[2];
} pickle_argument;

typedef struct pickle_opcode {
    const char *name;
    enum { ARG_NONE, ARG_1, ARG_2, ARG_4, ARG_8, ARG_LINE, ARG_LINES, ARG_BYTES_1, ARG_BYTES_4, ARG_BYTES_8 } arg;
    bool (*run)(pickle_machine *m, const pickle_argument *a, int detail);
    int detail;
} pickle_opcode;

extern const pickle_opcode pickle_opcodes[256];

/* "NAME: byte N: OPCODE: reason".  Returns false. */
bool pickle_fail(pickle_machine *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Memory that lives as long as the pickle, zeroed; NULL with the error set. */
void *pickle_take(pickle_machine *m, size_t bytes);
pickle_value *pickle_new(pickle_machine *m, pickle_kind kind);
/* A value with a copy of the text. */
pickle_value *pickle_new_text(pickle_machine *m, pickle_kind kind, const char *text, size_t length);
/* Room for one more than n in *array, which has room for *capacity of `each` bytes; new room is zero. */
bool pickle_grow(pickle_machine *m, void *array, size_t *capacity, size_t n, size_t each);
/* Appends to v's items; key may be NULL for lists, tuples and sets. */
bool pickle_put(pickle_machine *m, pickle_value *v, pickle_value *key, pickle_value *item);
/* What calling the class or function with args gives: a dict, set or string where it is known to be one, else a record.
 */
pickle_value *pickle_call(pickle_machine *m, const pickle_value *callee, pickle_value *args);
/* Text between quotes with Python's escapes, and text with \u escapes only; into to[0, 2 n].  Returns the length. */
size_t pickle_unescape(char *to, const char *from, size_t n);
size_t pickle_unescape_unicode(char *to, const char *from, size_t n);
#endif
