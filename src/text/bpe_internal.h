/* What the parts of the tokenizer share: its tables, and building it. */
#ifndef TEXT_BPE_INTERNAL_H
#define TEXT_BPE_INTERNAL_H
#include <jansson.h>

#include "text/added.h"
#include "text/bpe.h"
#include "text/pretokens.h"

#define NO_RANK UINT32_MAX

/* Tokens left and right, side by side, become join. */
typedef struct merge {
    int32_t left, right, join;
} merge;

/* The strings are kept as given, in one block each, so that bpe_put needs no memory of its own.
 * Hash tables: open addressing, linear probing, at most half full; sizes are powers of two. */
struct bpe {
    char **tokens;      /* [n_tokens] */
    char **merge_texts; /* [n_merges], "left right" */
    merge *merges;      /* [n_merges], by rank */
    bool *is_text;      /* [n_tokens]: a byte or the join of a merge, not a special */
    int32_t *token_slots;
    uint32_t *pair_slots;
    size_t n_tokens, n_merges, token_mask, pair_mask;
    int32_t byte_ids[256];
    bool byte_level; /* pieces are merged from bytes; else from ids that the kind gives */
    bool lowercase;
    bool nfc;            /* characters are composed first (Unicode's form C) */
    added_tokens *added; /* or NULL: what is found in the text before all else */
    pretokens *splits;   /* how texts become pieces; NULL: by GPT-2's pattern */
    bool space_first;    /* a text that begins with no space gets one */
    bool clean;          /* text is made plain first (clean_text); of limn's own model files */
    bool verbatim;       /* is kept in files: never made plain, as another program's tokenizer reads it */
};

/* bpe_new with a name for each of the two lists. */
bpe *bpe_build(const char *token_name, const char *const *tokens, size_t n_tokens, const char *merge_name,
               const char *const *merges, size_t n_merges, bool byte_level, bool lowercase, err *e);

/* The ids of tokens that are found in texts; each is in range. */
bool bpe_add(bpe *b, const char *name, const int32_t *ids, size_t n, err *e);

/* Merges the ids of one piece's characters in place; -1 merges with nothing.  At most INT32_MAX of them. */
bool bpe_merge(const bpe *b, int32_t *ids, size_t *n, err *e);

/* Whether the file can be one of merges: it isn't empty, nor of another kind. */
bool bpe_check_merges(const char *path, const void *data, size_t size, err *e);

/* The lines of a merges.txt without its "#version" lines: a new array of pointers into *text, a new block too; both are
 * the caller's even where this fails. */
bool bpe_read_merges(const char *path, char **text, const char ***merges, size_t *n, err *e);

/* tokens[id] = the token, of n that have no gaps; `value` is the id. */
bool bpe_put_token(const char *path, const char *token, const json_t *value, const char **tokens, size_t n, err *e);

/* Of the root of a tokenizer.json: its tokens by id, with those that were added to the vocabulary, a new array of
 * pointers into root; and its merges, a new array of pointers into *text, a new block. */
const char **bpe_json_tokens(const char *path, const json_t *root, size_t *n, err *e);
const char **bpe_json_merges(const char *path, const json_t *root, char **text, size_t *n, err *e);

/* bpe_build of a vocab.json and a merges.txt. */
bpe *bpe_read(const char *vocab_path, const char *merges_path, bool byte_level, bool lowercase, err *e);
#endif
