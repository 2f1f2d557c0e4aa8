/* Python's pickles (protocols 0 to 5) as trees of plain values.  Nothing in a pickle is ever run: where Python would
 * look up a class and call it, there is an inert record of the class's name, its arguments and its state.
 *
 * A value may be reached by several ways, and by way of itself: who walks a tree must bound depth and steps. */
#ifndef IO_PICKLE_H
#define IO_PICKLE_H
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,   /* truth */
    PICKLE_INT,    /* integer */
    PICKLE_LONG,   /* an integer beyond 64 bits: text is its bytes, little-endian two's complement */
    PICKLE_FLOAT,  /* number */
    PICKLE_STRING, /* text, UTF-8 as it was written */
    PICKLE_BYTES,  /* text */
    PICKLE_LIST,   /* items */
    PICKLE_TUPLE,
    PICKLE_SET,
    PICKLE_DICT,   /* keys and items, in order; collections.OrderedDict and defaultdict too */
    PICKLE_CLASS,  /* text is "module.name": a class or function by its name */
    PICKLE_OBJECT, /* class_name, args, state; keys and items where it is a kind of dict (key NULL: of list or set) */
    PICKLE_PERSISTENT, /* args: the id of something outside the pickle (a tensor's storage) */
} pickle_kind;

/* Owned by its pickle; readers don't change it.  text is NUL-terminated, and may hold NULs of its own. */
typedef struct pickle_value pickle_value;
struct pickle_value {
    pickle_kind kind;
    uint32_t n, capacity; /* of items */
    union {
        bool truth;
        int64_t integer;
        double number;
        struct {
            const char *text;
            size_t length;
        };
        struct {
            const char *class_name; /* "module.name" */
            pickle_value *args;     /* a tuple, or whatever the file has in its place; NULL: none */
        };
    };
    pickle_value **keys, **items;
    pickle_value *state; /* what __setstate__ would be given: a dict of attributes mostly; NULL: none */
};

typedef struct pickle pickle;

/* Reads the pickle at the start of data[0, size); *used is its length.  Everything is copied: data may go afterwards.
 * At most 256 MiB of pickle, and of values.  NULL with e filled: "NAME: byte N: OPCODE: reason". */
pickle *pickle_read(const void *data, size_t size, size_t *used, const char *name, err *e);
void pickle_free(pickle *p);
const pickle_value *pickle_root(const pickle *p);
/* Every class and function that the pickle names, called or not. */
const pickle_value *const *pickle_classes(const pickle *p, size_t *n);
/* Every id of something outside: PICKLE_PERSISTENT. */
const pickle_value *const *pickle_persistents(const pickle *p, size_t *n);

/* The getters take NULL as "nothing there", so that they can be chained.  Only the last item of a key counts. */

/* A dict's item by its key, or a record's: its item, else its attribute.  NULL where there is none. */
const pickle_value *pickle_get(const pickle_value *v, const char *key);
/* Item i of a list, tuple or set (torch.Size counts as its tuple).  NULL where there is none. */
const pickle_value *pickle_at(const pickle_value *v, size_t i);
/* Items of a list, tuple or set; false where v is none of them. */
bool pickle_length(const pickle_value *v, size_t *n);
/* False, and *out untouched, where v is of another kind.  NumPy's scalars count as what they hold. */
bool pickle_int(const pickle_value *v, int64_t *out);
bool pickle_number(const pickle_value *v, double *out); /* integers too */
bool pickle_truth(const pickle_value *v, bool *out);
/* NULL where v is no string, or one with a NUL inside. */
const char *pickle_text(const pickle_value *v);
/* Whether v is a record of that class: "torch._utils._rebuild_tensor_v2". */
bool pickle_is(const pickle_value *v, const char *class_name);
/* The value as Python would print it, cut after some 200 characters.  A new string; NULL without memory. */
char *pickle_to_text(const pickle_value *v);
#endif
