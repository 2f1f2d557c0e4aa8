/* Loads a JSON file, and says what a file is that isn't one. */
#include "io/json_file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "io/file_kind.h"

/* Whether the file is of quite another kind: an LFS pointer, a page, an archive. */
static bool is_other(const file_kind *k)
{
    return *k->what && strncmp(k->what, "a text", 6) != 0 && !strstr(k->what, "JSON") &&
           !strstr(k->what, "configuration") && !strstr(k->what, "index of shards");
}

/* Whether Python writes this name or number, text[n], and JSON has no such: Infinity, NaN, more than 18 digits. */
static bool is_pythons(const char *text, size_t n)
{
    size_t digits = 0, sign = n > 0 && *text == '-';
    while (sign + digits < n && isdigit((unsigned char)text[sign + digits]))
        digits++;
    return (n - sign == 8 && !memcmp(text + sign, "Infinity", 8)) || (n == 3 && !memcmp(text, "NaN", 3)) ||
           (sign + digits == n && digits > 18);
}

/* Once more, with empty texts in place of such numbers. */
static json_t *load_pythons(const char *text, size_t size, size_t flags)
{
    static const char of_words[] = "+-.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    json_error_t why;
    char *copy = malloc(size + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, size);
    copy[size] = 0;
    bool quoted = false;
    for (size_t i = 0; i < size;) {
        size_t n = quoted ? 0 : strspn(copy + i, of_words);
        if (n && is_pythons(copy + i, n)) {
            memset(copy + i, ' ', n);
            copy[i] = copy[i + 1] = '"';
        }
        if (!n && copy[i] == '"')
            quoted = !quoted;
        i += n ? n : quoted && copy[i] == '\\' ? 2 : 1;
    }
    json_t *root = json_loadb(copy, size, flags, &why);
    free(copy);
    return root;
}

json_t *json_file_load(const char *path, size_t flags, const char *what, err *e)
{
    file_map file = {0};
    json_error_t why = {0};
    if (!file_map_open(&file, path, e))
        return NULL;
    const char *text = file.size ? (const char *)file.data : "";
    size_t size = file.size;
    if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
        text += 3;
        size -= 3;
    }
    json_t *root = json_loadb(text, size, flags, &why);
    if (!root)
        root = load_pythons(text, size, flags);
    if (!root) {
        file_kind k = file_kind_of(file.data, file.size, path);
        if (is_other(&k))
            err_set(e, ERR_FAILED, "%s: line 1: %s (%s)", path, k.what, k.remedy);
        else
            err_set(e, ERR_FAILED, "%s: line %d, column %d: %s%s%s%s", path, why.line, why.column, why.text,
                    what ? " (" : "", what ? what : "", what ? ")" : "");
    }
    file_map_release(&file);
    return root;
}
