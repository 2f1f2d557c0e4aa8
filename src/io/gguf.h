/* GGUF v3 (github.com/ggml-org/ggml/docs/gguf.md): read from memory, written as a stream.
 * Everything is checked once at open: every offset, length and product; strings are copied out, tensor data is not. */
#ifndef IO_GGUF_H
#define IO_GGUF_H
#include "base/err.h"
#include "base/file.h"
#include "io/tensor_file.h"

typedef struct gguf gguf;

/* Reads a file image of size bytes that stays valid and unchanged while the gguf lives; name is used in messages.
 * NULL with e filled ("NAME: field: reason") where anything is wrong. */
gguf *gguf_open(const void *data, size_t size, const char *name, err *e);
void gguf_free(gguf *g);
const char *gguf_name(const gguf *g);

/* Tensors, in file order.  gguf_find: NULL where there is none of that name. */
size_t gguf_tensor_count(const gguf *g);
const file_tensor *gguf_tensor(const gguf *g, size_t i);
const file_tensor *gguf_find(const gguf *g, const char *name);

/* Keys.  gguf_has: whether the key is there, with whatever type. The getters fail where the key is missing
 * or of another kind; integers of any width are accepted where the value fits. */
bool gguf_has(const gguf *g, const char *key);
bool gguf_get_int(const gguf *g, const char *key, int64_t min, int64_t max, int64_t *value, err *e);
bool gguf_get_float(const gguf *g, const char *key, double *value, err *e);
bool gguf_get_bool(const gguf *g, const char *key, bool *value, err *e);
/* NUL-terminated, owned by g.  A string with a NUL inside is refused at open. */
bool gguf_get_string(const gguf *g, const char *key, const char **value, err *e);
bool gguf_get_strings(const gguf *g, const char *key, const char *const **values, size_t *n, err *e);
bool gguf_get_ints(const gguf *g, const char *key, const int64_t **values, size_t *n, err *e);
bool gguf_get_floats(const gguf *g, const char *key, const double **values, size_t *n, err *e);

/* From now on the key, an integer that is there, has another value. */
void gguf_replace_int(gguf *g, const char *key, int64_t value);

/* All keys in file order, for inspection: the value as text, arrays shortened to their first elements. */
size_t gguf_key_count(const gguf *g);
const char *gguf_key(const gguf *g, size_t i);
const char *gguf_key_type(const gguf *g, size_t i); /* "u32", "str", "arr[str]" */
/* Returns a new string. */
char *gguf_key_text(const gguf *g, size_t i);

/* Writing: declare all keys and tensors, then `begin`, then the data of each tensor in the order of declaration.
 * Tensor data starts on a page (general.alignment = 4096 is written by itself), and so does each tensor.
 * Errors stay in the writer; gguf_writer_commit reports the first. */
typedef struct gguf_writer gguf_writer;
gguf_writer *gguf_writer_new(const char *path);
void gguf_put_int(gguf_writer *w, const char *key, int64_t value);  /* u32 where it fits, else i64 */
void gguf_put_float(gguf_writer *w, const char *key, double value); /* f32 */
void gguf_put_bool(gguf_writer *w, const char *key, bool value);
void gguf_put_string(gguf_writer *w, const char *key, const char *value);
void gguf_put_strings(gguf_writer *w, const char *key, const char *const *values, size_t n);
void gguf_put_ints(gguf_writer *w, const char *key, const int64_t *values, size_t n);  /* arr[i32] where all fit */
void gguf_put_floats(gguf_writer *w, const char *key, const double *values, size_t n); /* arr[f32] */
/* Copies a key with its exact type from another file; general.alignment and those of
 * gguf_put_description are skipped, the writer has its own. */
void gguf_put_copy(gguf_writer *w, const gguf *from, size_t key_index);
/* Type F32, F16, Q8_0, Q4_0, I32 or U8 (stored as i8); other types are an error. */
void gguf_add_tensor(gguf_writer *w, const char *name, dtype type, int nd, const int64_t *shape);
/* Keys that other programs read, from the tensors that were added: general.type, general.file_type,
 * general.quantization_version and general.size_label. */
void gguf_put_description(gguf_writer *w);
bool gguf_is_description(const char *key); /* whether it is one of these */
void gguf_begin_data(gguf_writer *w);
/* The next bytes of the tensors' data; a tensor's data may come in any number of pieces, which must add up. */
void gguf_write_data(gguf_writer *w, const void *data, size_t bytes);
/* Finishes and renames into place.  Frees nothing: gguf_writer_free always follows. */
bool gguf_writer_commit(gguf_writer *w, err *e);
void gguf_writer_free(gguf_writer *w);
#endif
