/* Byte-level byte-pair encoding, as GPT-2 has it (Sennrich et al. 2016; Radford et al. 2019). */
#ifndef TEXT_BPE_H
#define TEXT_BPE_H
#include <stdint.h>

#include "base/err.h"
#include "io/gguf.h"

typedef struct bpe bpe;

/* tokens[id] is the token's text in GPT-2's byte alphabet ("Ġa"); merges[rank] is "left right".  Both are copied.
 * An empty or repeated token, a merge that is not two tokens or whose join is no token, and a missing byte are errors
 * that name `name` and the entry.  `lowercase`: text is lower-cased first (Unicode, character by character).
 * Special tokens such as "<pad>" are never produced from text: those that the byte alphabet and merges can't make. */
bpe *bpe_new(const char *name, const char *const *tokens, size_t n_tokens, const char *const *merges, size_t n_merges,
             bool lowercase, err *e);
/* HuggingFace files: vocab.json (token -> id, ids dense from 0) and merges.txt. */
bpe *bpe_from_files(const char *vocab_path, const char *merges_path, bool lowercase, err *e);
/* HuggingFace's tokenizer.json, of byte-level BPE: form C, lower-casing, a first space, splits by patterns and digits
 * (pretokens.h) as it says, and added tokens, which are found in the text before all else (added.h).  What else it asks
 * for is an error that names it.  Its post-processor is left out. */
bpe *bpe_from_json(const char *path, err *e);
/* Qwen2's tokenizer of a folder where no tokenizer.json is: vocab.json, merges.txt and the added tokens of
 * added_tokens.json, or of tokenizer_config.json. */
bpe *bpe_from_qwen2(const char *folder, err *e);
/* tokenizer.ggml.tokens, tokenizer.ggml.merges; default false: limn.tokenizer.lowercase,
 * tokenizer.ggml.add_space_prefix, limn.tokenizer.verbatim.  Unless it is verbatim, as that of bpe_from_json, text is
 * made plain first (clean_text): white space, composed characters. */
bpe *bpe_from_gguf(const gguf *g, err *e);
/* The tokenizer of a model file. */
bpe *bpe_open(const char *path, err *e);
void bpe_put(const bpe *b, gguf_writer *w);
void bpe_free(bpe *b);

size_t bpe_size(const bpe *b);
const char *bpe_token(const bpe *b, int32_t id);   /* in the byte alphabet; NULL where id is out of range */
int32_t bpe_find(const bpe *b, const char *token); /* -1 where there is none */

/* Splits by the tokenizer's own steps, or by GPT-2's pattern ('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+|
 * ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+), then merges by rank within each piece.  Text is UTF-8; invalid bytes are an error
 * that gives the position. *ids is a new array (free it) of *n ids; both are set to NULL and 0 for empty text. */
bool bpe_encode(const bpe *b, const char *text, int32_t **ids, size_t *n, err *e);

/* Dropout's random numbers are those of (seed, stream, position): base/rng.h. */
typedef struct bpe_dropout {
    float share; /* 0 to 1 */
    uint64_t seed;
    uint32_t stream, position;
} bpe_dropout;
/* BPE dropout (Provilkov et al. 2020, algorithm 1): before each merge, every one that could be made is left out with
 * probability `share`; the first by rank of the others is made, and where none remains the piece is done.  So a word
 * comes as other pieces each time, as a regulariser.  share 0 is bpe_encode, 1 gives single bytes. */
bool bpe_encode_dropout(const bpe *b, const char *text, const bpe_dropout *d, int32_t **ids, size_t *n, err *e);
/* The text of ids as a new string (specials are left out). */
char *bpe_decode(const bpe *b, const int32_t *ids, size_t n, err *e);
#endif
