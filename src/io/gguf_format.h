/* What GGUF's reader and writer share: the numbers of the format, and the open file's tables. */
#ifndef IO_GGUF_FORMAT_H
#define IO_GGUF_FORMAT_H
#include "io/gguf.h"

enum { GGUF_VERSION = 3, GGUF_PAGE = 4096, GGUF_DEFAULT_ALIGNMENT = 32 };
#define GGUF_MAGIC     "GGUF"
#define GGUF_ALIGNMENT "general.alignment"

typedef enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPES
} gguf_type;

typedef enum gguf_kind { KIND_INT, KIND_FLOAT, KIND_BOOL, KIND_STRING, KIND_ARRAY } gguf_kind;

typedef struct gguf_type_info {
    const char *name, *array_name;
    size_t bytes; /* of one in the file; the least of a string, which has its length before it */
    gguf_kind kind;
} gguf_type_info;

extern const gguf_type_info gguf_types[GGUF_TYPES];

/* A key and its value.  Of a scalar, element is its type and n is 1. */
typedef struct gguf_entry {
    char *name;
    bool array;
    bool too_large; /* an element is a u64 above INT64_MAX, so ints cannot serve */
    gguf_type element;
    size_t n;
    const uint8_t *raw; /* in the file: what follows the type, or the array's length */
    size_t raw_bytes;
    union {            /* converted, as the getters hand it out */
        void *any;     /* one allocation; a string's text follows the pointers */
        int64_t *ints; /* bools too */
        double *floats;
        const char **strings;
    } u;
} gguf_entry;

struct gguf {
    char *name;
    gguf_entry *keys;
    const gguf_entry **key_index; /* by name */
    file_tensor *tensors;
    const file_tensor **tensor_index;
    size_t n_keys, n_tensors;
};

/* Compares two `const gguf_entry *const *` by name, for qsort and bsearch. */
int gguf_compare_entries(const void *a, const void *b);

/* ggml's number of a tensor type, -1 where it has none; and the reverse, false where limn does not read it. */
int gguf_number_from_dtype(dtype t);
bool gguf_dtype_from_number(uint32_t number, dtype *t);
#endif
