/* --set: what the files of a model don't tell. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/convert_internal.h"

/* What --set may say, and the key that it becomes; no key: for the family to ask for. */
static const struct setting {
    const char *name, *key;
    enum { SETTING_TEXT, SETTING_INT, SETTING_FLOAT } kind;
    double max;
} known_settings[] = {
    {"name", "general.name", SETTING_TEXT, 0},
    {"temperature", "limn.sampling.temperature", SETTING_FLOAT, 1e6},
    {"top_k", "limn.sampling.top_k", SETTING_INT, 1 << 24},
    {"top_p", "limn.sampling.top_p", SETTING_FLOAT, 1},
    {"guidance", "limn.sampling.guidance", SETTING_FLOAT, 1e6},
    {"image_size", NULL, SETTING_INT, 16384},
    {"heads", NULL, SETTING_INT, 65536},
    {"stable", NULL, SETTING_INT, 1},
    {"attn_types", NULL, SETTING_TEXT, 0},
    {"version", NULL, SETTING_TEXT, 0},
    {"license", "general.license", SETTING_TEXT, 0},
    {"ignore", NULL, SETTING_TEXT, 0},
    {"part", NULL, SETTING_TEXT, 0},
    {"ema", NULL, SETTING_INT, 1},
};
enum { SETTINGS = sizeof known_settings / sizeof *known_settings };

/* Whether text is "NAME=…" of that setting. */
static bool is_setting(const char *text, const struct setting *s)
{
    size_t n = strlen(s->name);
    return !strncmp(text, s->name, n) && text[n] == '=';
}

/* The value that --set gives, the last one where there are several; or NULL. */
static const char *given_value(const import *im, const struct setting *s)
{
    for (size_t i = im->n_settings; i-- > 0;)
        if (is_setting(im->settings[i], s))
            return im->settings[i] + strlen(s->name) + 1;
    return NULL;
}

bool import_check_setting(const char *text, err *e)
{
    char known[256] = "";
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &known_settings[i];
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", s->name);
        if (!is_setting(text, s))
            continue;
        const char *value = text + strlen(s->name) + 1;
        char *end;
        double v = strtod(value, &end);
        if (s->kind == SETTING_TEXT ||
            (*value && !*end && v >= 0 && v <= s->max && (s->kind == SETTING_FLOAT || v == floor(v))))
            return true;
        return err_set(e, ERR_USAGE, "convert: --set %.128s: the value is no %snumber from 0 to %g", text,
                       s->kind == SETTING_INT ? "whole " : "", s->max);
    }
    return err_set(e, ERR_USAGE, "convert: --set %.128s: no such setting (known: %s; each as NAME=VALUE)", text, known);
}

void import_put_settings(import *im, const char *const *defaults, size_t n)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &known_settings[i];
        const char *value = s->key ? given_value(im, s) : NULL;
        for (size_t k = 0; !value && k < n; k++)
            if (is_setting(defaults[k], s))
                value = defaults[k] + strlen(s->name) + 1;
        if (value && s->kind == SETTING_TEXT)
            gguf_put_string(im->to, s->key, value);
        else if (value && s->kind == SETTING_INT)
            gguf_put_int(im->to, s->key, (int64_t)strtod(value, NULL));
        else if (value)
            gguf_put_float(im->to, s->key, strtod(value, NULL));
    }
}

const char *import_setting_list(import *im, const char *name, size_t i)
{
    for (size_t k = 0; k < SETTINGS; k++) {
        if (strcmp(known_settings[k].name, name) != 0)
            continue;
        im->asked |= 1u << k;
        for (size_t at = 0; at < im->n_settings; at++)
            if (is_setting(im->settings[at], &known_settings[k]) && i-- == 0)
                return im->settings[at] + strlen(name) + 1;
    }
    return NULL;
}

const char *import_setting_text(import *im, const char *name)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        if (strcmp(known_settings[i].name, name) != 0)
            continue;
        im->asked |= 1u << i;
        return given_value(im, &known_settings[i]);
    }
    return NULL;
}

int import_setting(import *im, const char *name, int otherwise)
{
    const char *value = import_setting_text(im, name);
    return value ? (int)strtod(value, NULL) : otherwise;
}

int import_image_size(import *im, int grid, int step)
{
    return grid > 0 && grid < 16384 ? grid * step : import_setting(im, "image_size", 256);
}

bool import_check_asked(const import *im, err *e)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (!known_settings[i].key && !(im->asked & 1u << i) && given_value(im, &known_settings[i]))
            return err_set(e, ERR_USAGE, "convert: --set %s: the files tell it themselves", known_settings[i].name);
    return true;
}

bool import_is_replaced(const import *im, const char *key)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (known_settings[i].key && !strcmp(known_settings[i].key, key) && given_value(im, &known_settings[i]))
            return true;
    return false;
}
