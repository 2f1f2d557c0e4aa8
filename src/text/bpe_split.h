/* The characters below the byte-pair merges: lower-casing, GPT-2's split into pieces, GPT-2's byte alphabet.
 * Character classes come from utf8proc, so text in scripts newer than its Unicode version is split as symbols. */
#ifndef TEXT_BPE_SPLIT_H
#define TEXT_BPE_SPLIT_H
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A new string of *bytes bytes: the text, checked to be UTF-8, each character lower-cased by itself where asked
 * (so a final capital sigma becomes a plain one, as it does in HuggingFace's tokenizers).  NULL with e filled. */
char *bpe_normalise(const char *text, bool lowercase, size_t *bytes, err *e);

/* Bytes of the piece of GPT-2's pattern that text[0..bytes) begins with.  Valid UTF-8, bytes > 0. */
size_t bpe_piece_bytes(const char *text, size_t bytes);

/* GPT-2 writes byte values as characters: printable Latin-1 stands for itself, the other 68 for U+0100 and up.
 * bpe_char_to_byte: -1 where the character stands for no byte. */
int32_t bpe_byte_to_char(uint8_t byte);
int bpe_char_to_byte(int32_t c);

/* A new string: the bytes with U+FFFD for each broken UTF-8 sequence (one per maximal subpart, Unicode 3.9) and for
 * NUL, which a C string can't hold.  NULL with e filled where memory is short. */
char *bpe_repair(const uint8_t *bytes, size_t n, err *e);

/* Strings of untrusted files.  bpe_excerpt returns out: the beginning of valid UTF-8, for a message, without control
 * characters, which a terminal would obey. */
bool bpe_is_utf8(const char *text);
const char *bpe_excerpt(char out[64], const char *text);

/* Where the text of a file begins: behind its byte-order mark. */
size_t bpe_text_start(const void *data, size_t size);
#endif
