/* Tensors whose values are made of their names, as tools/make_golden_codecs.py makes them too. */
#include "golden_tensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const json_t *golden_case(const json_t *list, const char *name)
{
    size_t i;
    json_t *c;
    json_array_foreach(list, i, c) if (!strcmp(json_string_value(json_object_get(c, "name")), name)) return c;
    fail_msg("no case %s", name);
    return NULL;
}

/* Element i of the numbers that belong to a name: from -1 to 1 in steps of 1/32768. */
static float number(uint32_t name, uint32_t i)
{
    uint32_t x = i * 2654435761u + name;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    x ^= x >> 16;
    return ((float)(x >> 16) - 32768) / 32768;
}

static uint32_t fnv(const char *text)
{
    uint32_t h = 2166136261u;
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 16777619u;
    return h;
}

float golden_number(const char *name, uint32_t i)
{
    return number(fnv(name), i);
}

void golden_write_safetensors(const char *path, const json_t *header, const void *data, size_t size)
{
    char *text = json_dumps(header, JSON_COMPACT);
    uint64_t length = strlen(text);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(&length, sizeof length, 1, f);
    fwrite(text, 1, length, f);
    fwrite(data, 1, size, f);
    assert_int_equal(fclose(f), 0);
    free(text);
}

void golden_write_tensors(const char *path, const json_t *tensors, const char *drop, const char *add)
{
    json_t *header = json_object(), *copy = json_deep_copy(tensors), *how;
    const char *name;
    char *data = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&data, &size);
    assert_true(header && copy && out);
    if (drop)
        assert_int_equal(json_object_del(copy, drop), 0);
    if (add)
        json_object_set_new(copy, add, json_pack("[[i],f,f,s]", 3, 1.0, 0.0, "x"));
    json_object_foreach(copy, name, how)
    {
        json_t *shape = json_array_get(how, 0);
        float scale = (float)json_number_value(json_array_get(how, 1));
        float shift = (float)json_number_value(json_array_get(how, 2));
        uint32_t salt = fnv(json_string_value(json_array_get(how, 3)));
        uint32_t n = 1;
        for (size_t i = 0; i < json_array_size(shape); i++)
            n *= (uint32_t)json_integer_value(json_array_get(shape, i));
        json_int_t at = ftell(out);
        for (uint32_t i = 0; i < n; i++)
            fwrite(&(float){number(salt, i) * scale + shift}, sizeof(float), 1, out);
        json_object_set_new(header, name,
                            json_pack("{s:s, s:O, s:[I,I]}", "dtype", "F32", "shape", shape, "data_offsets", at,
                                      (json_int_t)ftell(out)));
    }
    assert_int_equal(fclose(out), 0);
    golden_write_safetensors(path, header, data, size);
    json_decref(header);
    json_decref(copy);
    free(data);
}
