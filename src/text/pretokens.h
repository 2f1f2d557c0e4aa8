/* How a text is taken apart before its pieces are merged to tokens: the steps "Split" and "Digits" of HuggingFace's
 * tokenizers (pre_tokenizers), one after another.  Each step sees a piece of the step before as a text of its own. */
#ifndef TEXT_PRETOKENS_H
#define TEXT_PRETOKENS_H
#include <stddef.h>

#include "base/err.h"

typedef struct pretokens pretokens;

/* Whether limn was built with PCRE2, which the regular expressions need. */
bool pretokens_have_patterns(void);

/* steps[n], as model files keep them:
 *     "split REGEX"  what the regular expression matches stands alone, and so does what is between two matches
 *     "text TEXT"    the same of a text
 *     "digits"       each character that is a number stands alone
 *     "numbers"      each run of such characters
 *     "gpt2"         GPT-2's pattern (bpe.h)
 * name: of the file, for messages.  A step that isn't one of these, or a pattern that can't be compiled, is an error.
 */
pretokens *pretokens_new(const char *name, const char *const *steps, size_t n, err *e);
void pretokens_free(pretokens *p);

/* As given to pretokens_new. */
const char *const *pretokens_steps(const pretokens *p, size_t *n);

/* Takes a piece that isn't empty; returns false with e filled to stop. */
typedef bool pretokens_take(void *context, const char *piece, size_t bytes, err *e);

/* Gives the pieces of text[0..bytes), which is valid UTF-8, in order.  Fails where `take` does, and where a pattern
 * needs more than 10 million steps. */
bool pretokens_split(const pretokens *p, const char *text, size_t bytes, pretokens_take *take, void *context, err *e);
#endif
