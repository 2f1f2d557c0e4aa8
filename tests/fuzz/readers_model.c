/* Readers of model files, arrays and what is in them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/convert.h"
#include "io/file_kind.h"
#include "io/gguf.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "io/zip.h"
#include "models/model.h"
#include "readers.h"
#include "torch_support.h"

void read_gguf(const uint8_t *data, size_t size)
{
    err e = {0};
    gguf *g = gguf_open(data, size, "FILE", &e);
    CHECK(!g == (e.code != 0));
    for (size_t i = 0; g && i < gguf_key_count(g); i++) {
        const char *key = gguf_key(g, i), *text;
        const char *const *texts;
        const int64_t *ints;
        const double *floats;
        int64_t integer;
        double number;
        bool truth;
        size_t n;
        CHECK(gguf_has(g, key));
        free(gguf_key_text(g, i));
        if (gguf_get_string(g, key, &text, NULL))
            CHECK(strlen(text) <= size);
        if (gguf_get_strings(g, key, &texts, &n, NULL))
            for (size_t k = 0; k < n; k++)
                CHECK(strlen(texts[k]) <= size);
        if (gguf_get_ints(g, key, &ints, &n, NULL) && n)
            CHECK(ints[0] == ints[0] && ints[n - 1] == ints[n - 1]);
        if (gguf_get_floats(g, key, &floats, &n, NULL) && n)
            CHECK(floats[n - 1] == floats[n - 1] || floats[n - 1] != floats[n - 1]);
        if (gguf_get_int(g, key, -3, 3, &integer, NULL))
            CHECK(integer >= -3 && integer <= 3);
        (void)gguf_get_float(g, key, &number, NULL);
        (void)gguf_get_bool(g, key, &truth, NULL);
    }
    for (size_t i = 0; g && i < gguf_tensor_count(g); i++) {
        const file_tensor *t = gguf_tensor(g, i);
        CHECK(gguf_find(g, t->name) == t);
        use_tensor(t);
    }
    gguf_free(g);
}

/* As it is opened before there is a device. */
void read_model(const uint8_t *data, size_t size)
{
    err e = {0};
    model *m = model_open_keys(NULL, fuzz_file(data, size), &e);
    CHECK(!m == (e.code != 0));
    if (m && m->tokenizer) {
        int32_t *ids;
        size_t n;
        if (tokenizer_encode(m->tokenizer, "A cat, 12 dogs & a fish's tail", &ids, &n, NULL)) {
            for (size_t i = 0; i < n; i++)
                CHECK(ids[i] >= 0 && (size_t)ids[i] < tokenizer_size(m->tokenizer));
            free(ids);
        }
    }
    model_free(m);
}

void read_safetensors(const uint8_t *data, size_t size)
{
    err e = {0};
    safetensors *s = safetensors_open(data, size, "FILE", &e);
    CHECK(!s == (e.code != 0));
    for (size_t i = 0; s && i < safetensors_count(s); i++) {
        const file_tensor *t = safetensors_tensor(s, i);
        CHECK(safetensors_find(s, t->name) == t);
        use_tensor(t);
    }
    if (s)
        (void)safetensors_metadata(s, "format");
    safetensors_free(s);
}

void read_torch(const uint8_t *data, size_t size)
{
    (void)use_torch(data, size);
}

/* A pickle, and the rest of a file in the older container. */
void read_pickle(const uint8_t *data, size_t size)
{
    /* The pickles that begin that container: magic number, protocol 1001, a little-endian machine. */
    static const char head[] = "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
                               "\x80\2M\xe9\3."
                               "\x80\2}X\x0d\0\0\0little_endian\x88s.";
    size_t used = 0;
    pickle *p = pickle_read(data, size, &used, "FILE", NULL);
    CHECK(!p || used <= size);
    if (p)
        free(pickle_to_text(pickle_root(p)));
    pickle_free(p);
    if (!p)
        return;
    uint8_t *whole = malloc(sizeof head - 1 + size);
    CHECK(whole);
    memcpy(whole, head, sizeof head - 1);
    memcpy(whole + sizeof head - 1, data, size);
    (void)use_torch(whole, sizeof head - 1 + size);
    free(whole);
}

void read_zip(const uint8_t *data, size_t size)
{
    err e = {0};
    zip *z = zip_open(data, size, "FILE", &e);
    CHECK(!z == (e.code != 0));
    for (size_t i = 0; z && i < zip_count(z); i++) {
        const uint8_t *bytes;
        size_t n, at;
        CHECK(zip_find(z, zip_name(z, i), &at));
        if (zip_data(z, i, &bytes, &n, NULL) && n)
            CHECK(bytes[0] + bytes[n - 1] >= 0);
    }
    zip_free(z);
}

void read_kind(const uint8_t *data, size_t size)
{
    err e = {0};
    file_kind k = file_kind_of(data, size, "FILE.bin");
    CHECK(!file_kind_refuse(&k, "FILE.bin", "GGUF", &e) && strstr(e.text, "FILE.bin"));
}

/* What is written is read again. */
static void convert(const import_request *q)
{
    err e = {0};
    bool ok = import_convert(q, &e);
    CHECK(ok == (e.code == 0));
    if (ok) {
        model *m = model_open_keys(NULL, q->output, &e);
        CHECK(m);
        model_free(m);
    }
}

void read_convert(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"a.pt", "b.pt", "c.pt"};
    const char *inputs[3] = {0}, *output = fuzz_named("out.gguf", "", 0);
    import_request q = {.inputs = inputs, .output = output, .type = DTYPE_F16, .typed = size & 1};
    while (size && q.n_inputs < 3) {
        size_t n;
        char *part = fuzz_part(&data, &size, &n);
        inputs[q.n_inputs] = fuzz_named(names[q.n_inputs], part, n);
        q.n_inputs++;
        free(part);
    }
    char what[128];
    if (!q.n_inputs)
        return;
    (void)import_describe(inputs[0], what, NULL);
    convert(&q);
}

void read_snapshot(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"in/config.json", "in/pytorch_model.bin", "in/pytorch_model.bin.index.json"};
    const char *output = fuzz_named("out.gguf", "", 0);
    char input[256], path[300];
    snprintf(input, sizeof input, "%s/in", fuzz_named(NULL, NULL, 0));
    (void)mkdir(input, 0700);
    for (int i = 0; i < 3; i++) {
        size_t n;
        char *part = fuzz_part(&data, &size, &n);
        snprintf(path, sizeof path, "%s/../%s", input, names[i]);
        if (n)
            fuzz_named(names[i], part, n);
        else
            (void)unlink(path);
        free(part);
    }
    const char *in = input;
    convert(&(import_request){.inputs = &in, .n_inputs = 1, .output = output});
}

void read_npy(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    npy a;
    for (int i = 0; i < 2; i++) {
        err e = {0};
        bool ok = npy_read(&a, path, i ? DTYPE_I32 : DTYPE_F32, &e);
        CHECK(ok == (e.code == 0));
        if (ok && a.count)
            CHECK(((uint8_t *)a.data)[0] + ((uint8_t *)a.data)[4 * a.count - 1] >= 0);
        npy_release(&a);
    }
}
