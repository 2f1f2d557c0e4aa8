/* Hyper-parameters between a struct and a file: each kind there and back, what is out of range, of another type or
 * missing, and what is optional. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "checks.h"
#include "support.h"
#include "weights/config.h"

typedef enum mood { CALM, WILD, MOODS } mood;

typedef struct settings {
    int size, spare;
    float eps, share;
    bool flag, rare, bit;
    mood mood, other;
    float colour[3];
} settings;

static const char *const words[MOODS] = {"calm", "wild"};
static const config_field fields[] = {
    {"a.size", offsetof(settings, size), -1, 100},
    {"a.spare", offsetof(settings, spare), 2, 100, .optional = true},
    {"a.eps", offsetof(settings, eps), 0, 1, CONFIG_FLOAT},
    {"a.share", offsetof(settings, share), 0, 8, CONFIG_FLOAT, .optional = true},
    {"a.flag", offsetof(settings, flag), .kind = CONFIG_BOOL},
    {"a.rare", offsetof(settings, rare), .kind = CONFIG_BOOL, .optional = true},
    {"a.bit", offsetof(settings, bit), .kind = CONFIG_BIT},
    {"a.mood", offsetof(settings, mood), 0, MOODS, CONFIG_CHOICE, words},
    {"a.other", offsetof(settings, other), 0, MOODS, CONFIG_CHOICE, words, .optional = true},
    {"a.colour", offsetof(settings, colour), .kind = CONFIG_COLOUR},
};
static const settings plain = {.size = -1, .eps = 0.5f, .colour = {1, 2, 3}}, full = {.size = 100,
                                                                                      .spare = 2,
                                                                                      .eps = 1,
                                                                                      .share = 8,
                                                                                      .flag = true,
                                                                                      .rare = true,
                                                                                      .bit = true,
                                                                                      .mood = WILD,
                                                                                      .other = WILD,
                                                                                      .colour = {-1, 0.5f, 1e6f}};

/* A file with the keys of s, or those that `put` puts. */
static gguf *written(const settings *s, void (*put)(gguf_writer *w), file_map *map)
{
    const char *path = support_path("config.gguf");
    err e = {0};
    unlink(path);
    gguf_writer *w = gguf_writer_new(path);
    if (put)
        put(w);
    else
        config_put(w, fields, COUNT(fields), s);
    gguf_begin_data(w);
    bool ok = gguf_writer_commit(w, &e) && file_map_open(map, path, &e);
    gguf_writer_free(w);
    gguf *g = ok ? gguf_open(map->data, map->size, path, &e) : NULL;
    if (!g)
        fail_msg("%s", e.text);
    return g;
}

static void there_and_back(void **state)
{
    (void)state;
    static const struct {
        const settings *s;
        size_t keys;
    } cases[] = {{&plain, 6}, {&full, COUNT(fields)}}; /* what is optional isn't written where it says nothing */
    for (size_t i = 0; i < COUNT(cases); i++) {
        file_map map;
        err e = {0};
        settings back = {0};
        gguf *g = written(cases[i].s, NULL, &map);
        size_t keys = 0;
        for (size_t k = 0; k < gguf_key_count(g); k++)
            keys += !strncmp(gguf_key(g, k), "a.", 2);
        assert_int_equal(keys, cases[i].keys);
        if (!config_fields(g, fields, COUNT(fields), &back, &e) || !config_check("x", fields, COUNT(fields), &back, &e))
            fail_msg("%s", e.text);
        assert_int_equal(back.size, cases[i].s->size);
        assert_int_equal(back.spare, cases[i].s->spare);
        assert_true(back.eps == cases[i].s->eps && back.share == cases[i].s->share);
        assert_true(back.flag == cases[i].s->flag && back.rare == cases[i].s->rare && back.bit == cases[i].s->bit);
        assert_true(back.mood == cases[i].s->mood && back.other == cases[i].s->other);
        assert_memory_equal(back.colour, cases[i].s->colour, sizeof back.colour);
        gguf_free(g);
        file_map_release(&map);
    }
}

static void what_is_missing_stays(void **state)
{
    (void)state;
    file_map map;
    err e = {0};
    settings s = {.spare = 7, .share = 0.25f, .rare = true, .other = WILD};
    gguf *g = written(&plain, NULL, &map);
    assert_true(config_fields(g, fields, COUNT(fields), &s, &e));
    assert_true(s.spare == 7 && s.share == 0.25f && s.rare && s.other == WILD);
    gguf_free(g);
    file_map_release(&map);
}

static void refuse_check(settings s, const char *part)
{
    err e = {0};
    assert_false(config_check("FILE", fields, COUNT(fields), &s, &e));
    if (!strstr(e.text, part) || !strstr(e.text, "FILE: a."))
        fail_msg("\"%s\" where \"%s\" was expected", e.text, part);
}

static void what_is_out_of_range_is_named(void **state)
{
    (void)state;
    settings s = plain;
    s.size = 101;
    refuse_check(s, "a.size: 101 is outside -1 to 100");
    s = plain;
    s.spare = 1; /* 0 is none */
    refuse_check(s, "a.spare: 1 is outside 2 to 100");
    s = plain;
    s.eps = 1.5f;
    refuse_check(s, "a.eps: 1.5 is outside 0 to 1");
    s.eps = NAN;
    refuse_check(s, "a.eps: nan is outside 0 to 1");
    s = plain;
    s.mood = MOODS;
    refuse_check(s, "a.mood: 2 is outside 0 to 1");
}

static void put_bit(gguf_writer *w)
{
    gguf_put_int(w, "a.bit", 2);
}

static void put_word(gguf_writer *w)
{
    gguf_put_string(w, "a.mood", "gloomy");
}

static void put_colour(gguf_writer *w)
{
    gguf_put_floats(w, "a.colour", (double[]){1, 2}, 2);
}

static void put_flag(gguf_writer *w)
{
    gguf_put_string(w, "a.flag", "yes");
}

static void what_files_have_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        void (*put)(gguf_writer *w);
        int field;
        const char *part;
    } cases[] = {{put_bit, 6, "a.bit"},
                 {put_word, 7, "\"gloomy\" is none that this version knows (known: calm, wild)"},
                 {put_colour, 9, "'a.colour': 2 numbers, and colours are three"},
                 {put_flag, 4, "a.flag"},
                 {put_flag, 0, "a.size"}}; /* missing */
    for (size_t i = 0; i < COUNT(cases); i++) {
        file_map map;
        err e = {0};
        settings s = {0};
        gguf *g = written(NULL, cases[i].put, &map);
        assert_false(config_fields(g, &fields[cases[i].field], 1, &s, &e));
        if (!strstr(e.text, cases[i].part))
            fail_msg("\"%s\" where \"%s\" was expected", e.text, cases[i].part);
        gguf_free(g);
        file_map_release(&map);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(what_is_missing_stays),
        cmocka_unit_test(what_is_out_of_range_is_named),
        cmocka_unit_test(what_files_have_wrong_is_named),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL) != 0;
}
