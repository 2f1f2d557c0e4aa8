/* Training of byte-level byte-pair encodings (Sennrich et al. 2016): the same merges and ids, for the same texts, as
 * the BPE trainer of HuggingFace's tokenizers (with the byte-level alphabet and pre-tokenizer). */
#ifndef TEXT_BPE_TRAIN_H
#define TEXT_BPE_TRAIN_H
#include <stdint.h>

#include "base/err.h"
#include "text/bpe.h"

/* The distinct pieces of the texts with their counts; the texts themselves are not kept. */
typedef struct bpe_trainer bpe_trainer;

/* lowercase: as for bpe_new. */
bpe_trainer *bpe_trainer_new(bool lowercase, err *e);
void bpe_trainer_free(bpe_trainer *t);

/* Counts the pieces that bpe_encode would split the text into.  No piece spans two texts, and their order doesn't
 * matter.  A text that is not UTF-8 is an error that gives the position, and counts nothing. */
bool bpe_trainer_add(bpe_trainer *t, const char *text, err *e);

/* Ids: the specials in the order given, the 256 bytes by their characters in GPT-2's alphabet, the joins in the order
 * of their merges.  The most frequent pair is merged next, of equally frequent ones that with the lowest ids, until
 * there are `vocabulary` tokens or no pair is left that occurs min_frequency times (0 counts as 1).
 * Specials and bytes are there even where they are more than `vocabulary`.  An empty or repeated special is ERR_USAGE.
 * The trainer stays as it is: more texts may follow, or another vocabulary. */
bpe *bpe_trainer_finish(const bpe_trainer *t, size_t vocabulary, uint64_t min_frequency, const char *const *specials,
                        size_t n_specials, err *e);
#endif
