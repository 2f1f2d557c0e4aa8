/* Writes checkpoints for the tests of conversion. */
#include "golden_checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_tensors.h"
#include "io/model_file.h"

saved_tensor *saved_add(saved_list *s, const char *prefix, const char *name, int nd, const int64_t *shape,
                        const float *values)
{
    size_t count = 1, length = strlen(prefix) + strlen(name) + 1;
    for (int i = 0; i < nd; i++)
        count *= (size_t)shape[i];
    s->list = realloc(s->list, (s->n + 1) * sizeof *s->list);
    assert_non_null(s->list);
    saved_tensor *t = &s->list[s->n++];
    *t = (saved_tensor){.name = malloc(length), .nd = nd, .values = malloc((count + 1) * sizeof(float))};
    assert_non_null(t->name);
    assert_non_null(t->values);
    snprintf(t->name, length, "%s%s", prefix, name);
    for (int i = 0; i < nd; i++)
        t->shape[i] = shape[i];
    for (size_t i = 0; i < count; i++)
        t->values[i] = values ? values[i] : 0.5f;
    return t;
}

void saved_load(saved_list *s, const char *path, const char *prefix)
{
    err e = {0};
    model_file *m = model_file_open(path, &e);
    if (!m)
        fail_msg("%s", e.text);
    for (size_t i = 0; i < model_file_count(m); i++) {
        const file_tensor *t = model_file_tensor(m, i);
        float *values = malloc(((size_t)file_tensor_count(t) + 1) * sizeof *values);
        assert_non_null(values);
        file_tensor_read(t, 0, file_tensor_count(t), values);
        saved_add(s, prefix, t->name, t->nd, t->shape, values);
        free(values);
    }
    model_file_free(m);
}

void saved_free(saved_list *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->list[i].name);
        free(s->list[i].values);
    }
    free(s->list);
    *s = (saved_list){0};
}

static size_t count_of(const saved_tensor *t)
{
    size_t n = 1;
    for (int i = 0; i < t->nd; i++)
        n *= (size_t)t->shape[i];
    return n;
}

static void put_values(FILE *f, const saved_tensor *t)
{
    for (size_t i = 0; i < count_of(t); i++) {
        uint32_t bits;
        uint16_t half = float_to_half(t->values[i]), upper;
        memcpy(&bits, &t->values[i], 4);
        upper = (uint16_t)(bits >> 16);
        if (t->type == DTYPE_F32)
            fwrite(&bits, 4, 1, f);
        else
            fwrite(t->type == DTYPE_F16 ? &half : &upper, 2, 1, f);
    }
}

/* ---- PyTorch ---------------------------------------------------------------------------------------------------- */

static void put_text(FILE *f, const char *text, size_t n)
{
    uint32_t length = (uint32_t)n;
    fputc('X', f);
    fwrite(&length, 4, 1, f);
    fwrite(text, 1, n, f);
}

static void put_size(FILE *f, int64_t value)
{
    int32_t v = (int32_t)value;
    fputc('J', f);
    fwrite(&v, 4, 1, f);
}

static const char *storage_of(dtype type)
{
    return type == DTYPE_F16 ? "HalfStorage" : type == DTYPE_BF16 ? "BFloat16Storage" : "FloatStorage";
}

static void put_tensor(FILE *f, const saved_tensor *t, size_t key)
{
    char text[32];
    int64_t step = (int64_t)count_of(t);
    fputs("ctorch._utils\n_rebuild_tensor_v2\n((", f);
    put_text(f, "storage", 7);
    fprintf(f, "ctorch\n%s\n", storage_of(t->type));
    put_text(f, text, (size_t)snprintf(text, sizeof text, "%zu", key));
    put_text(f, "cpu", 3);
    put_size(f, step);
    fprintf(f, "tQK%c(", 0);
    for (int i = 0; i < t->nd; i++)
        put_size(f, t->shape[i]);
    fputs("t(", f);
    for (int i = 0; i < t->nd; i++)
        put_size(f, step /= t->shape[i]);
    fputs("t\x89}tR", f);
}

/* The dict of tensors first to end, whose names begin with the same `at` characters. */
static void put_dict(FILE *f, const saved_list *s, size_t first, size_t end, size_t at)
{
    fputs("}(", f);
    while (first < end) {
        const char *name = s->list[first].name + at, *bar = strchr(name, '|');
        size_t n = bar ? (size_t)(bar - name) : strlen(name), same = first + 1;
        put_text(f, name, n);
        if (!bar) {
            put_tensor(f, &s->list[first++], same - 1);
            continue;
        }
        while (same < end && !strncmp(s->list[same].name, s->list[first].name, at + n + 1))
            same++;
        put_dict(f, s, first, same, at + n + 1);
        first = same;
    }
    fputc('u', f);
}

void saved_write_torch(const char *path, const saved_list *s, size_t first, size_t n)
{
    static const char head[] = "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2M\xe9\3."
                               "\x80\2}X\x0d\0\0\0little_endian\x88s.\x80\2";
    size_t end = first + n < s->n ? first + n : s->n;
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(head, 1, sizeof head - 1, f);
    put_dict(f, s, first, end, 0);
    fputs(".\x80\2](", f);
    for (size_t i = first; i < end; i++) {
        char key[32];
        put_text(f, key, (size_t)snprintf(key, sizeof key, "%zu", i));
    }
    fputs("e.", f);
    for (size_t i = first; i < end; i++) {
        uint64_t count = count_of(&s->list[i]);
        fwrite(&count, 8, 1, f);
        put_values(f, &s->list[i]);
    }
    assert_int_equal(fclose(f), 0);
}

/* ---- safetensors ------------------------------------------------------------------------------------------------ */

void saved_write_safetensors(const char *path, const saved_list *s, size_t first, size_t n)
{
    json_t *header = json_object();
    char *data = NULL;
    size_t size = 0, end = first + n < s->n ? first + n : s->n;
    FILE *out = open_memstream(&data, &size);
    assert_non_null(out);
    for (size_t i = first; i < end; i++) {
        const saved_tensor *t = &s->list[i];
        json_t *shape = json_array();
        char name[512];
        snprintf(name, sizeof name, "%s", t->name);
        for (char *p = name; *p; p++)
            *p = *p == '|' ? '.' : *p;
        for (int k = 0; k < t->nd; k++)
            json_array_append_new(shape, json_integer(t->shape[k]));
        json_int_t at = (json_int_t)ftell(out);
        put_values(out, t);
        json_object_set_new(header, name,
                            json_pack("{s:s, s:o, s:[I,I]}", "dtype",
                                      t->type == DTYPE_F32   ? "F32"
                                      : t->type == DTYPE_F16 ? "F16"
                                                             : "BF16",
                                      "shape", shape, "data_offsets", at, (json_int_t)ftell(out)));
    }
    assert_int_equal(fclose(out), 0);
    golden_write_safetensors(path, header, data, size);
    json_decref(header);
    free(data);
}

void saved_write(const char *path, const saved_list *s)
{
    const char *dot = strrchr(path, '.');
    if (dot && !strcmp(dot, ".safetensors"))
        saved_write_safetensors(path, s, 0, s->n);
    else
        saved_write_torch(path, s, 0, s->n);
}
