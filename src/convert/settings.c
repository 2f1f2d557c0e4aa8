/* --set: what the files of a model don't tell. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/convert_internal.h"

/* Those of every family, and those that several ask for; the rest belong to one (convert.h). */
static const import_setting_kind common[] = {
    {"name", SETTING_TEXT, 0, "general.name"},
    {"temperature", SETTING_FLOAT, 1e6, "limn.sampling.temperature"},
    {"top_k", SETTING_INT, 1 << 24, "limn.sampling.top_k"},
    {"top_p", SETTING_FLOAT, 1, "limn.sampling.top_p"},
    {"guidance", SETTING_FLOAT, 1e6, "limn.sampling.guidance"},
    {"steps", SETTING_INT, 1000, "limn.sampling.steps"},
    {"image_size", SETTING_INT, 16384, NULL},
    {"heads", SETTING_INT, 65536, NULL},
    {"license", SETTING_TEXT, 0, "general.license"},
    {"ignore", SETTING_TEXT, 0, NULL},
    {"part", SETTING_TEXT, 0, NULL},
    {"ema", SETTING_INT, 1, NULL},
};
enum { COMMON = sizeof common / sizeof *common };

/* All of them, NULL behind the last. */
static const import_setting_kind *setting_at(size_t i)
{
    const family *f;
    if (i < COMMON)
        return &common[i];
    i -= COMMON;
    for (size_t k = 0; (f = family_at(k)); k++)
        for (const import_setting_kind *s = f->settings; s && s->name; s++)
            if (i-- == 0)
                return s;
    return NULL;
}

const char *import_setting_name(size_t i)
{
    const import_setting_kind *s = setting_at(i);
    return s ? s->name : NULL;
}

/* Whether text is "NAME=…" of that setting. */
static bool is_setting(const char *text, const import_setting_kind *s)
{
    size_t n = strlen(s->name);
    return !strncmp(text, s->name, n) && text[n] == '=';
}

/* The value that --set gives, the last one where there are several; or NULL. */
static const char *given_value(const import *im, const import_setting_kind *s)
{
    for (size_t i = im->n_settings; i-- > 0;)
        if (is_setting(im->settings[i], s))
            return im->settings[i] + strlen(s->name) + 1;
    return NULL;
}

bool import_check_setting(const char *text, err *e)
{
    char known[256] = "";
    const import_setting_kind *s;
    for (size_t i = 0; (s = setting_at(i)); i++) {
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", s->name);
        if (!is_setting(text, s))
            continue;
        const char *value = text + strlen(s->name) + 1;
        char *end;
        double v = strtod(value, &end);
        if (s->kind == SETTING_TEXT ||
            (*value && !*end && v >= 0 && v <= s->max && (s->kind == SETTING_FLOAT || v == floor(v))))
            return true;
        return err_set(e, ERR_USAGE, "convert: `settings` %.128s: the value is no %snumber from 0 to %g", text,
                       s->kind == SETTING_INT ? "whole " : "", s->max);
    }
    return err_set(e, ERR_USAGE, "convert: `settings` %.128s: no such setting (known: %s; each as NAME=VALUE)", text,
                   known);
}

void import_put_settings(import *im, const char *const *defaults, size_t n)
{
    const import_setting_kind *s;
    for (size_t i = 0; (s = setting_at(i)); i++) {
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

/* The kind of the setting of that name, which the family has asked for. */
static const import_setting_kind *asked(import *im, const char *name)
{
    const import_setting_kind *s;
    for (size_t i = 0; (s = setting_at(i)); i++)
        if (!strcmp(s->name, name)) {
            im->asked |= UINT64_C(1) << i;
            return s;
        }
    return NULL;
}

const char *import_setting_list(import *im, const char *name, size_t i)
{
    const import_setting_kind *s = asked(im, name);
    for (size_t at = 0; s && at < im->n_settings; at++)
        if (is_setting(im->settings[at], s) && i-- == 0)
            return im->settings[at] + strlen(name) + 1;
    return NULL;
}

const char *import_setting_text(import *im, const char *name)
{
    const import_setting_kind *s = asked(im, name);
    return s ? given_value(im, s) : NULL;
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
    const import_setting_kind *s;
    for (size_t i = 0; (s = setting_at(i)); i++)
        if (!s->key && !(im->asked & UINT64_C(1) << i) && given_value(im, s))
            return err_set(e, ERR_USAGE, "convert: `settings` %s: the files tell it themselves", s->name);
    return true;
}

bool import_is_replaced(const import *im, const char *key)
{
    const import_setting_kind *s;
    for (size_t i = 0; (s = setting_at(i)); i++)
        if (s->key && !strcmp(s->key, key) && given_value(im, s))
            return true;
    return false;
}
