/* Tokens that were added to a vocabulary: wherever one stands in a text it becomes its id, before anything else is done
 * (HuggingFace's added_tokens).  Of those that begin at one place the longest is taken. */
#ifndef TEXT_ADDED_H
#define TEXT_ADDED_H
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct added_tokens added_tokens;

/* texts[n], none of them empty, and their ids; both are copied.  name: for messages. */
added_tokens *added_new(const char *name, const char *const *texts, const int32_t *ids, size_t n, err *e);
void added_free(added_tokens *a);
/* In the order in which they were given, as model files have them. */
const int64_t *added_ids(const added_tokens *a, size_t *n);

/* The first one in text[0..bytes): where it begins, its bytes (0: there is none, and *at is the end) and its id. */
size_t added_find(const added_tokens *a, const char *text, size_t bytes, size_t *at, int32_t *id);
#endif
