/* Loads a JSON file, and says what a file is that isn't one. */
#include "io/json_file.h"

#include <string.h>

#include "base/file.h"
#include "io/file_kind.h"

/* Whether the file is of quite another kind: an LFS pointer, a page, an archive. */
static bool is_other(const file_kind *k)
{
    return *k->what && strncmp(k->what, "a text", 6) != 0 && !strstr(k->what, "JSON") &&
           !strstr(k->what, "configuration") && !strstr(k->what, "index of shards");
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
