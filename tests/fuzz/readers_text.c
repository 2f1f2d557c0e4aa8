/* Readers of tokenizers' files, and what they make of texts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "readers.h"
#include "text/bpe.h"
#include "text/bpe_train.h"
#include "text/caption_clean.h"
#include "text/clean.h"
#include "text/fix.h"
#include "text/spiece.h"
#include "text/tokenizer.h"

static void encode(const tokenizer *t, const char *text)
{
    int32_t *ids;
    size_t n;
    err e = {0};
    bool ok = tokenizer_encode(t, text, &ids, &n, &e);
    CHECK(ok == (e.code == 0));
    for (size_t i = 0; ok && i < n; i++)
        CHECK(ids[i] >= 0 && (size_t)ids[i] < tokenizer_size(t) && tokenizer_token(t, ids[i]));
    if (ok)
        free(ids);
}

/* A tokenizer in a model file. */
typedef struct in_file {
    file_map map;
    gguf *g;
    tokenizer *t;
} in_file;

/* What was written is read again, always. */
static void open_written(in_file *f, gguf_writer *w, const char *path)
{
    err e = {0};
    *f = (in_file){0};
    CHECK(gguf_writer_commit(w, &e) && file_map_open(&f->map, path, &e));
    f->g = gguf_open(f->map.data, f->map.size, path, &e);
    CHECK(f->g);
    f->t = tokenizer_from_gguf(f->g, &e);
    CHECK(f->t);
}

static void close_file(in_file *f)
{
    tokenizer_free(f->t);
    gguf_free(f->g);
    file_map_release(&f->map);
}

/* False where its files are refused. */
static bool import(in_file *f, const char *kind, const char *path)
{
    char to[256];
    size_t n = 0;
    err e = {0};
    snprintf(to, sizeof to, "%s/%s.gguf", fuzz_named(NULL, NULL, 0), kind);
    gguf_writer *w = gguf_writer_new(to);
    bool ok = tokenizer_import(w, kind, path, &n, &e);
    CHECK(ok == (e.code == 0));
    if (ok) {
        open_written(f, w, to);
        CHECK(tokenizer_size(f->t) == n);
    }
    gguf_writer_free(w);
    return ok;
}

static void read_tokenizer(const char *kind, const char *path, const char *text)
{
    in_file f;
    if (import(&f, kind, path)) {
        encode(f.t, text);
        encode(f.t, "A small cat, two dogs & a fish's tail.");
        close_file(&f);
    }
}

/* The part as the file; in the folder. */
static const char *put_part(const char *name, const uint8_t **data, size_t *size)
{
    size_t n;
    char *part = fuzz_part(data, size, &n);
    const char *path = fuzz_named(name, part, n);
    free(part);
    return path;
}

static void read_pair(const char *kind, const uint8_t *data, size_t size)
{
    put_part("vocab.json", &data, &size);
    put_part("merges.txt", &data, &size);
    size_t n;
    char *text = fuzz_part(&data, &size, &n);
    read_tokenizer(kind, fuzz_named(NULL, NULL, 0), text);
    free(text);
}

static void use_bpe(const bpe *b, const char *text)
{
    int32_t *ids;
    size_t n;
    in_file f;
    gguf_writer *w;
    const char *to = fuzz_named("bpe.gguf", "", 0);
    for (int i = 0; i < 2; i++) {
        bpe_dropout d = {.share = 0.5f, .seed = 1};
        if (!(i ? bpe_encode_dropout(b, text, &d, &ids, &n, NULL) : bpe_encode(b, text, &ids, &n, NULL)))
            continue;
        char *back = bpe_decode(b, ids, n, NULL);
        CHECK(back);
        free(back);
        free(ids);
    }
    w = gguf_writer_new(to);
    bpe_put(b, w);
    open_written(&f, w, to);
    encode(f.t, text);
    close_file(&f);
    gguf_writer_free(w);
}

void read_bpe(const uint8_t *data, size_t size)
{
    const char *vocab = put_part("vocab.json", &data, &size), *merges = put_part("merges.txt", &data, &size);
    size_t n;
    char *text = fuzz_part(&data, &size, &n);
    err e = {0};
    bpe *b = bpe_from_files(vocab, merges, n & 1, &e);
    CHECK(!b == (e.code != 0));
    if (b)
        use_bpe(b, text);
    bpe_free(b);
    free(text);
}

void read_tokenizer_json(const uint8_t *data, size_t size)
{
    const char *path = put_part("tokenizer.json", &data, &size);
    size_t n;
    char *text = fuzz_part(&data, &size, &n);
    err e = {0};
    bpe *b = bpe_from_json(path, &e);
    CHECK(!b == (e.code != 0));
    if (b)
        use_bpe(b, text);
    bpe_free(b);
    free(text);
    spiece s;
    e = (err){0};
    CHECK(spiece_read_json(&s, path, &e) == (e.code == 0));
    spiece_release(&s);
}

void read_dalle_mini(const uint8_t *data, size_t size)
{
    read_pair("dalle-mini", data, size);
}

void read_char_bpe(const uint8_t *data, size_t size)
{
    read_pair("char-bpe", data, size);
}

static void read_single(const char *kind, const char *name, const uint8_t *data, size_t size)
{
    const char *path = put_part(name, &data, &size);
    size_t n;
    char *text = fuzz_part(&data, &size, &n);
    read_tokenizer(kind, path, text);
    free(text);
}

void read_clip_bpe(const uint8_t *data, size_t size)
{
    read_single("clip", "bpe.txt", data, size);
}

void read_yttm(const uint8_t *data, size_t size)
{
    read_single("yttm", "bpe.model", data, size);
}

void read_spiece(const uint8_t *data, size_t size)
{
    read_single("t5", "spiece.model", data, size);
}

/* The tokenizers of the tests, opened once. */
enum { KINDS = 6 };
static const tokenizer *tokenizers(int i)
{
    static const char *const kinds[KINDS][2] = {{"dalle-mini", TEST_DATA "/golden/min_dalle"},
                                                {"char-bpe", TEST_DATA "/golden/minDALL-E/tokenizer"},
                                                {"yttm", TEST_DATA "/gpt/yttm"},
                                                {"t5", TEST_DATA "/golden/llamagen_t2i/flan-t5-xl"}};
    static in_file f[KINDS];
    err e = {0};
    if (f[i].t)
        return f[i].t;
    if (i < 4) {
        CHECK(import(&f[i], kinds[i][0], kinds[i][1]));
    } else if (i == 4) {
        static const char text_merges[] = "#\nc a\nca t</w>\n\u00c3 \u0125</w>\n"; /* cat, and the bytes C3 83 */
        const char *merges = fuzz_named("clip.txt", text_merges, sizeof text_merges - 1);
        CHECK(import(&f[i], "clip", merges));
    } else {
        const char *to = fuzz_named("own.gguf", "", 0);
        bpe *b = bpe_from_files(TEST_DATA "/emoji_vocab.json", TEST_DATA "/emoji_merges.txt", true, &e);
        gguf_writer *w = gguf_writer_new(to);
        CHECK(b && w);
        bpe_put(b, w);
        open_written(&f[i], w, to);
        gguf_writer_free(w);
        bpe_free(b);
    }
    return f[i].t;
}

/* What is clean stays as it is. */
static void clean(const char *text)
{
    size_t n, m;
    char *once = clean_text(text, &n, NULL), *again = once ? clean_text(once, &m, NULL) : NULL;
    CHECK(!once || (again && n == m && !strcmp(once, again)));
    free(again);
    free(once);
    char *fixed = fix_text(text, &n, NULL);
    CHECK(!fixed || strlen(fixed) == n);
    free(fixed);
    free(caption_clean(text, NULL));
}

void read_text(const uint8_t *data, size_t size)
{
    size_t n;
    char *text = fuzz_part(&data, &size, &n);
    clean(text);
    for (int i = 0; i < KINDS; i++)
        encode(tokenizers(i), text);
    free(text);
}

/* The texts are parts; what is made encodes them, and gives them back. */
void read_bpe_train(const uint8_t *data, size_t size)
{
    static const char *const specials[] = {"<pad>"};
    err e = {0};
    size_t n;
    char *first = NULL;
    bpe_trainer *t = bpe_trainer_new(false, &e);
    CHECK(t);
    while (size) {
        char *text = fuzz_part(&data, &size, &n);
        bool ok = bpe_trainer_add(t, text, NULL);
        if (ok && !first)
            first = text;
        else
            free(text);
    }
    bpe *b = bpe_trainer_finish(t, 300, 1, specials, 1, &e);
    CHECK(b);
    if (first) {
        int32_t *ids;
        CHECK(bpe_encode(b, first, &ids, &n, &e));
        char *back = bpe_decode(b, ids, n, &e);
        CHECK(back && !strcmp(back, first));
        free(back);
        free(ids);
        use_bpe(b, first);
    }
    free(first);
    bpe_free(b);
    bpe_trainer_free(t);
}
