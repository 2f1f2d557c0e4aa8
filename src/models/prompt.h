/* What a prompt becomes before a model reads it: chat models have words around it, and an id before all. */
#ifndef MODELS_PROMPT_H
#define MODELS_PROMPT_H
#include "text/tokenizer.h"

/* A word that stands for ids of its own, first to first + n - 1, wherever a prompt has it (models/embedding.h): in
 * small letters or large ones, and not as a part of another word. */
typedef struct prompt_word {
    char *text;
    int32_t first, n;
} prompt_word;

typedef struct prompt_form {
    const char *before, *after; /* the words: then the prompt loses the white space at its ends; NULL: none */
    int begin_id;               /* -1: none */
    /* The same for negative prompts; what there is where the caller has none, and what an empty one becomes, words
     * included.  NULL: they are prompts like others. */
    const char *negative_before, *negative_after, *negative, *empty;
    bool cleans; /* texts are cleaned first: text/caption_clean.h */
    bool ends;   /* end_id comes behind all */
    int end_id;
    const prompt_word *words; /* [n_words], which aren't the file's */
    size_t n_words;
} prompt_form;

/* From limn.prompt.clean, .before, .after, .negative_before, .negative_after, .negative and .empty,
 * tokenizer.ggml.add_bos_token, bos_token_id, add_eos_token and eos_token_id of g, which outlives f. */
bool prompt_form_read(prompt_form *f, const gguf *g, err *e);
/* For those who make model files. */
void prompt_form_put(const prompt_form *f, gguf_writer *w);
/* tokenizer_encode of the prompt in its form. */
bool prompt_tokenize(const prompt_form *f, const tokenizer *t, const char *text, int32_t **ids, size_t *n, err *e);
/* The same with BPE dropout: tokenizer_encode_dropout.  d NULL: without. */
bool prompt_tokenize_dropout(const prompt_form *f, const tokenizer *t, const char *text, const bpe_dropout *d,
                             int32_t **ids, size_t *n, err *e);
/* The same of a negative prompt. */
bool prompt_tokenize_negative(const prompt_form *f, const tokenizer *t, const char *text, int32_t **ids, size_t *n,
                              err *e);
/* tokenizer_warn of what the tokenizer reads of a prompt. */
void prompt_warn(const prompt_form *f, tokenizer *t, const char *name, const char *text);
#endif
