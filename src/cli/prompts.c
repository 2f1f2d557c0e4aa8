/* Prompts of several sources: operands, files, standard input; one a line. */
#include "cli/prompts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ranks.h"
#include "cli/files.h"
#include "text/clean.h"

bool prompts_add(prompts *p, const char *text, err *e)
{
    char **more = realloc(p->texts, ((size_t)p->n + 1) * sizeof *more), *copy = strdup(text);
    p->texts = more ? more : p->texts;
    if (more && copy) {
        p->texts[p->n++] = copy;
        return true;
    }
    free(copy);
    return err_no_memory(e, "prompts", strlen(text) + 1);
}

/* text[bytes] and a zero behind it. */
static bool add_lines(prompts *p, const char *name, char *text, size_t bytes, err *e)
{
    int before = p->n, number = 1;
    if (bytes >= 2 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2)))
        return err_set(e, ERR_FAILED, "%s: is text in UTF-16 (save it as UTF-8)", name);
    if (memchr(text, 0, bytes))
        return err_set(e, ERR_FAILED, "%s: has a zero byte, so it is no text (give a prompt a line, in UTF-8)", name);
    char *line = bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? text + 3 : text;
    for (; *line; number++) {
        size_t n = strcspn(line, "\n");
        char *next = line + n + (line[n] == '\n');
        line[n] = '\0';
        while (n > 0 && line[n - 1] == '\r')
            line[--n] = '\0';
        err why = {0};
        char *clean = clean_text(line, &n, &why);
        bool ok = clean && (n == 0 || prompts_add(p, line, &why));
        free(clean);
        if (!ok)
            return err_set(e, ERR_FAILED, "%s: line %d: %s", name, number, why.text);
        line = next;
    }
    return p->n > before || err_set(e, ERR_FAILED, "%s: holds no prompt (give one a line)", name);
}

static bool read_here(prompts *p, const char *path, err *e)
{
    bool input = strcmp(path, "-") == 0;
    const char *name = input ? "standard input" : path;
    char *text = NULL;
    size_t n = 0, room = 0;
    if (!input && !input_check(path, e))
        return false;
    FILE *f = input ? stdin : fopen(path, "rb");
    bool ok = f || err_set(e, ERR_FAILED, "%s: %s", name, strerror(errno));
    while (ok) {
        if (room - n < 4096) {
            char *more = realloc(text, room = 2 * room + 8192);
            if (!more) {
                ok = err_no_memory(e, name, room);
                break;
            }
            text = more;
        }
        size_t some = fread(text + n, 1, room - n - 1, f);
        n += some;
        if (some == 0)
            break;
    }
    ok = ok && (!ferror(f) || err_set(e, ERR_FAILED, "%s: cannot read: %s", name, strerror(errno)));
    if (ok) {
        text[n] = '\0';
        ok = add_lines(p, name, text, n, e);
    }
    if (f && !input)
        fclose(f);
    free(text);
    return ok;
}

bool prompts_read(prompts *p, const char *path, err *e)
{
    return ranks_rank() > 0 || read_here(p, path, e);
}

bool prompts_share(prompts *p, err *e)
{
    int n = p->n;
    if (ranks_size() == 1)
        return true;
    ranks_broadcast(&n, sizeof n, 0);
    for (int i = 0; i < n; i++) {
        size_t bytes = ranks_rank() == 0 ? strlen(p->texts[i]) + 1 : 0;
        ranks_broadcast(&bytes, sizeof bytes, 0);
        char *text = ranks_rank() == 0 ? p->texts[i] : calloc(bytes, 1);
        if (!text)
            return err_no_memory(e, "prompts", bytes);
        ranks_broadcast(text, bytes, 0);
        bool ok = ranks_rank() == 0 || prompts_add(p, text, e);
        if (ranks_rank() > 0)
            free(text);
        if (!ok)
            return false;
    }
    return true;
}

void prompts_release(prompts *p)
{
    for (int i = 0; i < p->n; i++)
        free(p->texts[i]);
    free(p->texts);
    *p = (prompts){0};
}
