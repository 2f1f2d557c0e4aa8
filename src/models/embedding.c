/* Textual inversion: files, and a model's larger table of words. */
#include "models/embedding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/os.h"
#include "io/model_file.h"
#include "models/transformers/diffusion.h"

#define PAGE  ((size_t)4096)
#define TABLE "transformer.text.embedding.weight"

enum { VECTORS_MOST = 75 }; /* words of a row */

/* One file, while it is read. */
typedef struct inversion {
    model_file *file;
    const file_tensor *t;
    int64_t vectors;
} inversion;

/* Names that say nothing of the word. */
static bool is_plain_name(const char *name)
{
    return !strcmp(name, "emb_params") || !strcmp(name, "clip_l") || !strncmp(name, "string_to_param", 15);
}

/* The one tensor that holds vectors: "string_to_param" of AUTOMATIC1111's, else all that there is. */
static bool find_vectors(inversion *v, const char *path, err *e)
{
    size_t n = model_file_count(v->file), found = 0, named = 0;
    for (size_t i = 0; i < n; i++)
        named += !strncmp(model_file_tensor(v->file, i)->name, "string_to_param", 15);
    for (size_t i = 0; i < n; i++) {
        const file_tensor *t = model_file_tensor(v->file, i);
        if (named && strncmp(t->name, "string_to_param", 15) != 0)
            continue;
        if (!strcmp(t->name, "clip_g"))
            return err_set(e, ERR_FAILED, "%s: an embedding of Stable Diffusion XL (limn has Stable Diffusion 1 and 2)",
                           path);
        v->t = t;
        found++;
    }
    return found == 1 || err_set(e, ERR_FAILED,
                                 "%s: it holds %zu tensors, and an embedding of textual inversion is one (is it a "
                                 "model, or an adapter for `lora`?)",
                                 path, found);
}

static bool check_vectors(inversion *v, const model *m, int width, const char *path, err *e)
{
    const file_tensor *t = v->t;
    char shape[128];
    file_tensor_shape_text(t, shape);
    v->vectors = t->nd == 2 ? t->shape[0] : 1;
    const int64_t own = t->nd == 1 || t->nd == 2 ? t->shape[t->nd - 1] : 0;
    if (t->type == DTYPE_OTHER || dtype_table[t->type].block > 1 || own < 1 || v->vectors < 1 ||
        v->vectors > VECTORS_MOST)
        return err_set(e, ERR_FAILED, "%s: tensor %s: %s %s: 1 to %d vectors are wanted, [width] or [n, width]", path,
                       t->name, file_tensor_type_name(t), shape, VECTORS_MOST);
    return own == width ||
           err_set(e, ERR_FAILED,
                   "%s: its vectors have %lld numbers, and the words of %s %d (it is of another model: Stable "
                   "Diffusion 1 has 768, 2 has 1024)",
                   path, (long long)own, gguf_name(m->gguf), width);
}

/* The word: the caller's, the file's own, or the file's name. */
static char *name_word(const inversion *v, const limn_embedding *from, err *e)
{
    const char *name = from->name ? from->name : is_plain_name(v->t->name) ? file_base_name(from->path) : v->t->name;
    const char *dot = !from->name && is_plain_name(v->t->name) ? strrchr(name, '.') : NULL;
    char *word = strndup(name, dot && dot > name ? (size_t)(dot - name) : strlen(name));
    if (!word)
        err_no_memory(e, from->path, strlen(name));
    return word;
}

static bool check_word(const model *m, size_t i, const char *path, err *e)
{
    const char *word = m->words[i].text;
    if (!*word || word[strcspn(word, " \t\r\n")])
        return err_set(e, ERR_USAGE, "%s: \"%s\" is no word for prompts (give another: FILE:WORD)", path, word);
    for (size_t k = 0; k < i; k++)
        if (!strcasecmp(m->words[k].text, word))
            return err_set(e, ERR_USAGE, "%s: another embedding is called %s too (give it another word: FILE:WORD)",
                           path, word);
    return true;
}

/* Reads one, adds its word, and its vectors to rows[*n_rows, width]. */
static bool add_one(model *m, const limn_embedding *from, int width, float **rows, int64_t *n_rows, err *e)
{
    inversion v = {0};
    const size_t i = m->form.n_words;
    bool ok = from->path || err_set(e, ERR_USAGE, "`embedding`: it has no path");
    ok = ok && (v.file = model_file_open_whole(from->path, e)) && find_vectors(&v, from->path, e) &&
         check_vectors(&v, m, width, from->path, e) && (m->words[i].text = name_word(&v, from, e));
    if (ok) {
        m->words[i].first = m->transformer->vocabulary + (int32_t)*n_rows;
        m->words[i].n = (int32_t)v.vectors;
        m->form.n_words++;
        ok = check_word(m, i, from->path, e);
    }
    const size_t bytes = (size_t)(*n_rows + v.vectors) * (size_t)width * sizeof **rows;
    float *grown = ok ? realloc(*rows, bytes) : NULL;
    if (ok && !grown)
        ok = err_no_memory(e, from->path, bytes);
    if (ok) {
        *rows = grown;
        grown += *n_rows * width;
        file_tensor_read(v.t, 0, v.vectors * width, grown);
        for (int64_t k = 0; ok && k < v.vectors * width; k++)
            ok = isfinite(grown[k]) || err_set(e, ERR_FAILED, "%s: not all of its values are numbers", from->path);
        *n_rows += v.vectors;
    }
    model_file_free(v.file);
    return ok;
}

static param *find_table(param_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (!strcmp(t->list[i].name, TABLE))
            return &t->list[i];
    return NULL;
}

/* The model's table of words with more rows. */
static bool grow_table(model *m, param *p, const float *rows, int64_t n, err *e)
{
    const dtype type = p->file->type;
    const int64_t width = p->shape[1];
    const size_t row = dtype_row_bytes(type, width), before = (size_t)p->shape[0] * row;
    const size_t bytes = before + (size_t)n * row;
    uint8_t *data = os_aligned_new(PAGE, (bytes + PAGE - 1) / PAGE * PAGE);
    if (!data)
        return err_no_memory(e, p->name, bytes);
    memcpy(data, p->file->data, before);
    for (int64_t i = 0; i < n; i++)
        dtype_from_float(type, data + before + (size_t)i * row, rows + i * width, width);
    return params_grow(&m->params, p, p->shape[0] + n, data, e);
}

bool embedding_add(model *m, const limn_embedding *list, size_t n, err *e)
{
    diffusion *d = (diffusion *)diffusion_of(m->transformer);
    param *p = d && m->tokenizer ? find_table(&m->params) : NULL;
    float *rows = NULL;
    int64_t n_rows = 0;
    if (!p)
        return err_set(e, ERR_USAGE,
                       "%s: `embedding`: textual inversion adds words to models of Stable Diffusion with a tokenizer, "
                       "and this is none",
                       gguf_name(m->gguf));
    m->words = calloc(n, sizeof *m->words);
    bool ok = m->words ? true : err_no_memory(e, "embedding", n * sizeof *m->words);
    m->form.words = m->words;
    for (size_t i = 0; ok && i < n; i++)
        ok = add_one(m, &list[i], d->text.text.width, &rows, &n_rows, e);
    ok = ok && grow_table(m, p, rows, n_rows, e);
    if (ok) {
        d->text.vocabulary += (int)n_rows;
        m->transformer->vocabulary += (int)n_rows;
        m->info.text_vocabulary = m->transformer->vocabulary;
        m->info.embedded = (int)n_rows;
    }
    free(rows);
    return ok;
}

void embedding_release(model *m)
{
    for (size_t i = 0; m->words && i < m->form.n_words; i++)
        free(m->words[i].text);
    free(m->words);
    m->words = NULL;
    m->form.words = NULL;
    m->form.n_words = 0;
}
