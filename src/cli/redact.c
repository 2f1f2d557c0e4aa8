/* Takes the user's name, the home directory and the machine's name out of texts. */
#include "cli/redact.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

#define MOST 16

typedef struct secret {
    char text[1024];
    const char *instead;
} secret;

typedef struct secrets {
    secret list[MOST];
    int n;
} secrets;

static void add(secrets *s, const char *text, const char *instead)
{
    size_t n = text ? strlen(text) : 0;
    while (n > 1 && text[n - 1] == '/')
        n--;
    /* root is nobody, and one letter is in every word's neighbourhood */
    if (n < 2 || n >= sizeof s->list->text || s->n == MOST || !strcmp(text, "root") || !strcmp(text, "localhost"))
        return;
    secret *one = &s->list[s->n++];
    memcpy(one->text, text, n);
    one->text[n] = 0;
    one->instead = instead;
}

static void add_home(secrets *s, const char *path)
{
    if (!path || (path[0] != '/' && (!path[0] || path[1] != ':'))) /* "/home/ann", "C:/Users/ann" */
        return;
    char *real = os_real_path(path);
    add(s, path, "~");
    add(s, real, "~");
    free(real);
}

/* Paths first: the user's name is a part of them. */
static void find_secrets(secrets *s)
{
    char user[256], home[1024], host[256];
    s->n = 0;
    os_user(user, home);
    os_host(host);
    add_home(s, getenv("HOME"));
    add_home(s, home);
    add(s, getenv("HOSTNAME"), "HOSTNAME");
    add(s, host, "HOSTNAME");
    host[strcspn(host, ".")] = 0;
    add(s, host, "HOSTNAME");
    add(s, getenv("USER"), "$USER");
    add(s, getenv("LOGNAME"), "$USER");
    add(s, user, "$USER");
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Whether the secret begins at `at`, as a whole word of the text. */
static bool stands_at(const secret *s, const char *text, const char *at)
{
    size_t n = strlen(s->text);
    return !strncmp(at, s->text, n) && !(at > text && is_letter(at[-1]) && is_letter(s->text[0])) && !is_letter(at[n]);
}

/* The text without the secret, a new string; NULL where it isn't in it, or there is no memory. */
static char *without(const secret *s, const char *text)
{
    size_t n = strlen(s->text), room = strlen(text), instead = strlen(s->instead);
    if (!strstr(text, s->text))
        return NULL;
    char *out = malloc(room / n * (instead > n ? instead - n : 0) + room + 1), *to = out;
    for (const char *at = text; out && *at;) {
        if (stands_at(s, text, at)) {
            memcpy(to, s->instead, instead);
            to += instead;
            at += n;
        } else {
            *to++ = *at++;
        }
    }
    if (out)
        *to = 0;
    return out;
}

static void redact_text(const secrets *s, json_t *value)
{
    for (int i = 0; i < s->n; i++) {
        char *text = without(&s->list[i], json_string_value(value));
        if (text)
            json_string_set(value, text);
        free(text);
    }
}

static void redact_all(const secrets *s, json_t *value)
{
    const char *key;
    json_t *part;
    size_t i;
    if (json_is_string(value))
        redact_text(s, value);
    json_array_foreach(value, i, part) redact_all(s, part);
    json_object_foreach(value, key, part) redact_all(s, part);
}

void redact(json_t *value)
{
    secrets s;
    find_secrets(&s);
    redact_all(&s, value);
}
