/* The settings that made a picture, as the text that front ends read. */
#include "io/parameters.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

typedef enum kind { TEXT, INTEGER, SEED, NUMBER } kind;

/* Size and the number of the picture have forms of their own. */
static const struct field {
    const char *key;
    kind kind;
    size_t at;
    unsigned flag;
} fields[] = {
    {"Steps", INTEGER, offsetof(parameters, steps), PARAMETERS_STEPS},
    {"Sampler", TEXT, offsetof(parameters, sampler), 0},
    {"Spacing", TEXT, offsetof(parameters, spacing), 0},
    {"CFG scale", NUMBER, offsetof(parameters, guidance), PARAMETERS_GUIDANCE},
    {"Seed", SEED, offsetof(parameters, seed), PARAMETERS_SEED},
    {"Model", TEXT, offsetof(parameters, model), 0},
    {"Temperature", NUMBER, offsetof(parameters, temperature), PARAMETERS_TEMPERATURE},
    {"Top-k", INTEGER, offsetof(parameters, top_k), PARAMETERS_TOP_K},
    {"Top-p", NUMBER, offsetof(parameters, top_p), PARAMETERS_TOP_P},
    {"CLIP score", NUMBER, offsetof(parameters, score), PARAMETERS_SCORE},
    {"KV cache", TEXT, offsetof(parameters, kv_cache), 0},
    {"Image prompt", TEXT, offsetof(parameters, image_prompt), 0},
    {"Keep", TEXT, offsetof(parameters, keep), 0},
    {"Interpolate", INTEGER, offsetof(parameters, between), PARAMETERS_BETWEEN},
    {"Prompt to", TEXT, offsetof(parameters, prompt_to), 0},
    {"Image prompt to", TEXT, offsetof(parameters, image_to), 0},
    {"Prior steps", INTEGER, offsetof(parameters, prior_steps), PARAMETERS_PRIOR_STEPS},
    {"Prior CFG scale", NUMBER, offsetof(parameters, prior_guidance), PARAMETERS_PRIOR_GUIDANCE},
    {"Super-resolution steps", INTEGER, offsetof(parameters, super_steps), PARAMETERS_SUPER_STEPS},
    {"Denoising strength", NUMBER, offsetof(parameters, strength), PARAMETERS_STRENGTH},
    {"Class", INTEGER, offsetof(parameters, class), PARAMETERS_CLASS},
    {"Text ids", TEXT, offsetof(parameters, text_ids), 0},
    {"LoRA", TEXT, offsetof(parameters, adapters), 0},
    {"Version", TEXT, offsetof(parameters, version), 0},
    /* written only where the lines above the settings would be read as something else */
    {"Prompt", TEXT, offsetof(parameters, prompt), 0},
    {"Negative", TEXT, offsetof(parameters, negative), 0},
};
enum { FIELDS = sizeof fields / sizeof *fields, PLAIN_FIELDS = FIELDS - 2 };

static const char negative_line[] = "\nNegative prompt:";

/* ---- writing --------------------------------------------------------------------------------------------------- */

/* In quotes, as JSON has them, where it could be taken for more than one field, or for none. */
static void put_value(FILE *f, const char *s)
{
    size_t n = strlen(s);
    bool plain = n > 0 && !strpbrk(s, ",:\"\\") && s[0] != ' ' && s[n - 1] != ' ';
    for (size_t i = 0; i < n; i++)
        plain = plain && (unsigned char)s[i] >= 0x20;
    if (plain) {
        fputs(s, f);
        return;
    }
    fputc('"', f);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            fprintf(f, "\\%c", *s);
        else if (*s == '\n')
            fputs("\\n", f);
        else if ((unsigned char)*s < 0x20)
            fprintf(f, "\\u%04x", (unsigned)*s);
        else
            fputc(*s, f);
    }
    fputc('"', f);
}

/* The shortest that is read as the same number. */
static void put_number(FILE *f, float v)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v)
            break;
    }
    fputs(text, f);
}

static const char *text_of(const parameters *p, const struct field *d)
{
    const char *text;
    memcpy(&text, (const char *)p + d->at, sizeof text);
    return text;
}

/* separator: "" before the first. */
static void put_field(FILE *f, const parameters *p, const struct field *d, const char *separator)
{
    const void *value = (const char *)p + d->at;
    const char *text = d->kind == TEXT ? text_of(p, d) : NULL;
    if (d->kind == TEXT ? !text : !(p->has & d->flag))
        return;
    fprintf(f, "%s%s: ", separator, d->key);
    if (d->kind == TEXT)
        put_value(f, text);
    else if (d->kind == INTEGER)
        fprintf(f, "%" PRId32, *(const int32_t *)value);
    else if (d->kind == SEED)
        fprintf(f, "%" PRIu64, *(const uint64_t *)value);
    else
        put_number(f, *(const float *)value);
}

static void put_picture(FILE *f, const parameters *p, const char *separator)
{
    if (p->picture > 0)
        fprintf(f, "%sPicture: %d of %d", separator, (int)p->picture, (int)p->pictures);
    else if (p->first > 1)
        fprintf(f, "%sPictures: %d to %d", separator, (int)p->first, (int)p->pictures);
    else
        fprintf(f, "%sPictures: %d", separator, (int)p->pictures);
}

static char *write_text(const parameters *p, bool quoted)
{
    os_text text;
    if (!os_text_open(&text))
        return NULL;
    FILE *f = text.stream;
    const char *prompt = p->prompt ? p->prompt : "", *negative = p->negative ? p->negative : "";
    fprintf(f, "%s%s %s\n", prompt, negative_line, negative);
    long start = ftell(f);
    for (int i = 0; i < PLAIN_FIELDS; i++) {
        put_field(f, p, &fields[i], ftell(f) > start ? ", " : "");
        if (fields[i].flag == PARAMETERS_SEED && p->has & PARAMETERS_SIZE)
            fprintf(f, "%sSize: %dx%d", ftell(f) > start ? ", " : "", (int)p->width, (int)p->height);
        if (fields[i].flag == PARAMETERS_TOP_P && p->has & PARAMETERS_PICTURE)
            put_picture(f, p, ftell(f) > start ? ", " : "");
    }
    for (int i = PLAIN_FIELDS; quoted && i < FIELDS; i++)
        put_field(f, p, &fields[i], ", ");
    return os_text_close(&text);
}

/* Whether the lines above the settings say the same as p; false too where memory is short. */
static bool prompts_survive(const parameters *p, const char *text)
{
    parameters back;
    bool same = parameters_parse(&back, text, NULL) && !strcmp(back.prompt, p->prompt ? p->prompt : "") &&
                !strcmp(back.negative ? back.negative : "", p->negative ? p->negative : "");
    parameters_release(&back);
    return same;
}

char *parameters_text(const parameters *p)
{
    char *text = write_text(p, false);
    if (!text || prompts_survive(p, text))
        return text;
    free(text);
    return write_text(p, true);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

static int hex_of(const char *s)
{
    unsigned v = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *d = s[i] ? strchr(digits, tolower((unsigned char)s[i])) : NULL;
        if (!d)
            return -1;
        v = v * 16 + (unsigned)(d - digits);
    }
    return (int)v;
}

static char *put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

/* "\uXXXX", of one character in two where it is a surrogate pair; *s is behind the u.  0: it is none. */
static uint32_t escaped_character(char **s)
{
    int high = hex_of(*s), low;
    if (high <= 0)
        return 0;
    *s += 4;
    if (high < 0xd800 || high > 0xdfff)
        return (uint32_t)high;
    if (high > 0xdbff || (*s)[0] != '\\' || (*s)[1] != 'u' || (low = hex_of(*s + 2)) < 0xdc00 || low > 0xdfff)
        return 0xfffd;
    *s += 6;
    return 0x10000 + ((uint32_t)(high - 0xd800) << 10 | (uint32_t)(low - 0xdc00));
}

/* The string that begins behind the quote at s, in place. */
static char *unquote(char *s)
{
    char *to = s, *text = s;
    while (*s && *s != '"') {
        if (*s != '\\' || !s[1]) {
            *to++ = *s++;
            continue;
        }
        char c = s[1];
        static const char from[] = "nrtbf", plain[] = "\n\r\t\b\f";
        const char *known = strchr(from, c);
        s += 2;
        uint32_t character = c == 'u' ? escaped_character(&s) : 0;
        if (character)
            to = put_utf8(to, character);
        else
            *to++ = known ? plain[known - from] : c;
    }
    *to = 0;
    return text;
}

static bool to_integer(const char *s, long long low, long long high, long long *v)
{
    char *end;
    errno = 0;
    *v = strtoll(s, &end, 10);
    return end > s && !*end && !errno && *v >= low && *v <= high;
}

/* "a SEPARATOR b" */
static bool to_pair(const char *s, const char *separator, int32_t *a, int32_t *b)
{
    char first[16];
    const char *second = strstr(s, separator);
    long long x, y;
    if (!second || second - s >= (ptrdiff_t)sizeof first)
        return false;
    snprintf(first, sizeof first, "%.*s", (int)(second - s), s);
    if (!to_integer(first, 1, INT32_MAX, &x) || !to_integer(second + strlen(separator), 1, INT32_MAX, &y))
        return false;
    *a = (int32_t)x;
    *b = (int32_t)y;
    return true;
}

static void read_known(parameters *p, const struct field *d, const char *value)
{
    void *to = (char *)p + d->at;
    long long integer;
    char *end;
    if (d->kind == TEXT) {
        memcpy(to, &value, sizeof value);
        return;
    }
    if (d->kind == INTEGER) {
        if (!to_integer(value, 0, INT32_MAX, &integer))
            return;
        *(int32_t *)to = (int32_t)integer;
    } else if (d->kind == SEED) {
        errno = 0;
        uint64_t seed = strtoull(value, &end, 10);
        if (!isdigit((unsigned char)*value) || *end || errno)
            return;
        *(uint64_t *)to = seed;
    } else {
        float number = strtof(value, &end);
        if (end == value || *end || !isfinite(number))
            return;
        *(float *)to = number;
    }
    p->has |= d->flag;
}

static void read_field(parameters *p, const char *key, const char *value)
{
    long long n;
    for (int i = 0; i < FIELDS; i++)
        if (!strcmp(key, fields[i].key))
            read_known(p, &fields[i], value);
    if (!strcmp(key, "Size") && to_pair(value, "x", &p->width, &p->height))
        p->has |= PARAMETERS_SIZE;
    else if (!strcmp(key, "Picture") && to_pair(value, " of ", &p->picture, &p->pictures))
        p->has |= PARAMETERS_PICTURE;
    else if (!strcmp(key, "Pictures") && to_pair(value, " to ", &p->first, &p->pictures))
        p->has |= PARAMETERS_PICTURE;
    else if (!strcmp(key, "Pictures") && to_integer(value, 1, INT32_MAX, &n)) {
        p->pictures = (int32_t)n;
        p->has |= PARAMETERS_PICTURE;
    }
}

static bool is_key(const char *s, size_t n)
{
    bool ok = n >= 2 && (isalnum((unsigned char)s[0]) || s[0] == '_');
    for (size_t i = 0; ok && i < n; i++)
        ok = isalnum((unsigned char)s[i]) || strchr("_ -/", s[i]) || (unsigned char)s[i] >= 0x80;
    return ok;
}

/* The next "Key: value" of a line, as AUTOMATIC1111 finds it; *value is not yet unquoted.  NULL: none. */
static char *next_field(char *s, size_t *key_bytes, char **value, char **end)
{
    while (*s) {
        s += strspn(s, " \t,");
        size_t n = strcspn(s, ":,");
        if (s[n] == ':' && is_key(s, n)) {
            *key_bytes = n;
            *value = s + n + 1 + strspn(s + n + 1, " \t");
            char *p = *value;
            if (*p == '"') {
                for (p++; *p && *p != '"'; p++)
                    p += *p == '\\' && p[1];
                p += *p == '"';
            } else {
                p += strcspn(p, ",");
            }
            *end = p;
            return s;
        }
        s += n + (s[n] != 0);
    }
    return NULL;
}

static int count_fields(char *line)
{
    size_t n;
    char *value, *end;
    int fields_found = 0;
    for (char *at = line; (at = next_field(at, &n, &value, &end)); at = end)
        fields_found++;
    return fields_found;
}

static void read_fields(parameters *p, char *line)
{
    size_t n;
    char *value, *end, *at = line;
    while ((at = next_field(at, &n, &value, &end))) {
        char after = *end;
        at[n] = 0;
        if (*value == '"') {
            value = unquote(value + 1);
        } else {
            *end = 0;
            for (size_t k = strlen(value); k && strchr(" \t\r", value[k - 1]); k--)
                value[k - 1] = 0;
        }
        read_field(p, at, value);
        at = after ? end + 1 : end;
    }
}

/* The line of settings: the last line where it has three settings or more, as AUTOMATIC1111 has it, else the last that
 * begins with "Steps:".  NULL: there is none. */
static char *settings_line(char *text)
{
    char *newline = strrchr(text, '\n'), *last = newline ? newline + 1 : text;
    if (count_fields(last) >= 3)
        return last;
    last = NULL;
    for (char *line = text; line; line = (line = strchr(line, '\n')) ? line + 1 : NULL)
        if (!strncmp(line, "Steps:", 6))
            last = line;
    return last;
}

static void drop_carriage_returns(char *text)
{
    char *to = text;
    for (char *from = text; *from; from++)
        if (from[0] != '\r' || from[1] != '\n')
            *to++ = *from;
    *to = 0;
}

bool parameters_parse(parameters *p, const char *text, err *e)
{
    *p = (parameters){0};
    size_t n = strlen(text);
    char *copy = malloc(n + 2);
    if (!copy)
        return err_no_memory(e, "settings of a picture", n + 2);
    copy[0] = '\n'; /* so that every line begins after one */
    memcpy(copy + 1, text, n + 1);
    drop_carriage_returns(copy);
    for (n = strlen(copy); n > 1 && copy[n - 1] == '\n'; n--) /* some tools end the text like a line */
        copy[n - 1] = 0;
    char *settings = settings_line(copy + 1);
    *p = (parameters){.prompt = copy + 1, .storage = copy};
    if (settings)
        settings[-1] = 0; /* what is before it is the prompts */
    char *negative = NULL, *prompts = settings == copy + 1 ? "" : copy;
    for (char *s = prompts; (s = strstr(s, negative_line)); s++)
        negative = s;
    if (negative) {
        *negative = 0;
        p->negative = negative + sizeof negative_line - 1;
        p->negative += *p->negative == ' ';
    }
    if (settings == copy + 1 || negative == copy)
        p->prompt = "";
    if (settings) {
        char *newline = strchr(settings, '\n'); /* what other tools append in lines of their own is none of ours */
        if (newline)
            *newline = 0;
        read_fields(p, settings);
    }
    return true;
}

void parameters_release(parameters *p)
{
    free(p->storage);
    *p = (parameters){0};
}
