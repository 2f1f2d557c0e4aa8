/* Finding the items of a source: folders and JSON-lines files. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "train/dataset_internal.h"

/* Extension without the dot: the end of the name where there is none. */
static const char *extension_of(const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name, *dot = strrchr(base, '.');
    return dot && dot > base ? dot + 1 : base + strlen(base);
}

static bool among(const char *extension, const char *const *list)
{
    while (*list && strcasecmp(extension, *list) != 0)
        list++;
    return *list != NULL;
}

static const char *const picture_extensions[] = {"png", "jpg", "jpeg", NULL};
static const char *const other_extensions[] = {"webp", "gif", "bmp", "tif", "tiff", "avif", "heic", NULL};

static bool is_tar(const char *path)
{
    return !strcasecmp(extension_of(path), "tar");
}

/* ---- folders ------------------------------------------------------------------------------------------------- */

/* A walk below one folder.  Tar files are kept for the end, since sources can't nest. */
typedef struct walk {
    dataset *d;
    uint32_t source;
    pool tars; /* their paths below the folder */
} walk;

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name); /* not alphasort: the order must not hang on the locale */
}

static int compare_name(const void *key, const void *entry)
{
    return strcmp(key, (*(struct dirent *const *)entry)->d_name);
}

static bool has_captions(struct dirent **list, int n, const char *name)
{
    size_t stem = (size_t)(extension_of(name) - name); /* with the dot */
    char text[NAME_MAX + 8];
    snprintf(text, sizeof text, "%.*stxt", (int)stem, name);
    return bsearch(text, list, (size_t)n, sizeof(struct dirent *), compare_name) != NULL;
}

static bool add_file(walk *w, const char *path, const char *full, bool captioned, err *e)
{
    dataset *d = w->d;
    const char *extension = extension_of(path);
    size_t at, bytes = strlen(path);
    if (is_tar(path))
        return pool_add(&w->tars, path, bytes, NULL, e);
    if (among(extension, other_extensions))
        dataset_note(d, -1, full, "neither PNG nor JPEG (convert it to one of them)");
    if (!among(extension, picture_extensions))
        return true;
    if (!captioned && d->o.want != DATASET_PICTURES) {
        dataset_note(d, -1, full, "no captions (a .txt file of the same name)");
        return true;
    }
    if (!pool_add(&d->paths, path, bytes, &at, e))
        return false;
    item it = {at, 0, w->source, captioned ? CAPTION_TEXT : CAPTION_NONE};
    return dataset_add_item(d, &it, path, bytes, e);
}

static bool add_folder(walk *w, const char *below, err *e);

/* below: "" or "a/b/". */
static bool add_entry(walk *w, const char *below, struct dirent **list, int n, const char *name, err *e)
{
    struct stat st;
    bool ok = true;
    char *path = join(below, name, ""), *full = path ? join(w->d->sources[w->source].path, "/", path) : NULL;
    char *folder = full ? join(path, "/", "") : NULL;
    if (!folder) {
        ok = err_no_memory(e, name, strlen(name));
    } else if (!lstat(full, &st) && S_ISDIR(st.st_mode)) {
        ok = add_folder(w, folder, e);
    } else if (!stat(full, &st) && S_ISDIR(st.st_mode)) {
        ok = true; /* a link to a folder could lead in a circle */
    } else {
        ok = add_file(w, path, full, has_captions(list, n, name), e);
    }
    free(folder);
    free(full);
    free(path);
    return ok;
}

static bool add_folder(walk *w, const char *below, err *e)
{
    struct dirent **list = NULL;
    bool ok = true;
    char *full = join(w->d->sources[w->source].path, "/", below);
    if (!full)
        return err_no_memory(e, below, strlen(below));
    int n = scandir(full, &list, visible, by_name);
    if (n < 0 && !*below)
        ok = err_set(e, ERR_FAILED, "%s: cannot list the folder: %s", full, strerror(errno));
    else if (n < 0)
        dataset_note(w->d, -1, full, strerror(errno));
    for (int i = 0; ok && i < n; i++)
        ok = add_entry(w, below, list, n, list[i]->d_name, e);
    for (int i = 0; i < n; i++)
        free(list[i]);
    free(list);
    free(full);
    return ok;
}

static bool add_file_source(dataset *d, const char *path, err *e);

static bool add_folder_source(dataset *d, const char *path, err *e)
{
    walk w = {.d = d};
    if (!dataset_new_source(d, SOURCE_FOLDER, path, &w.source, e))
        return false;
    char *name = d->sources[w.source].path;
    for (size_t n = strlen(name); n > 1 && name[n - 1] == '/'; n--)
        name[n - 1] = 0;
    bool ok = add_folder(&w, "", e);
    for (size_t at = 0; ok && at < w.tars.used; at += strlen(w.tars.data + at) + 1) {
        char *full = join(d->sources[w.source].path, "/", w.tars.data + at);
        err why = {0};
        if (!full)
            ok = err_no_memory(e, path, w.tars.used);
        else if (!add_file_source(d, full, &why))
            dataset_note(d, -1, full, why.text); /* it was found, not asked for: the others will do */
        free(full);
    }
    pool_release(&w.tars);
    return ok;
}

/* ---- JSON lines ---------------------------------------------------------------------------------------------- */

void line_at(const source *s, uint64_t at, const char **text, size_t *bytes)
{
    *text = (const char *)s->map.data + at;
    const char *end = memchr(*text, '\n', s->map.size - at);
    *bytes = end ? (size_t)(end - *text) : s->map.size - (size_t)at;
}

char *line_picture_path(const source *s, const void *object, err *e)
{
    const char *name = json_string_value(json_object_get(object, "image"));
    const char *slash = strrchr(s->path, '/');
    if (!name || !*name) {
        err_set(e, ERR_FAILED, "no \"image\" (the path of the picture, a string)");
        return NULL;
    }
    char *folder = strndup(s->path, *name == '/' || !slash ? 0 : (size_t)(slash + 1 - s->path));
    char *path = folder ? join(folder, name, "") : NULL;
    if (!path)
        err_no_memory(e, "data set", strlen(name));
    free(folder);
    return path;
}

/* Whether the line can be an item: it names a picture, and has captions where they are wanted. */
static bool check_line(const dataset *d, const source *s, const char *text, size_t bytes, captions *c, err *e)
{
    json_t *object = json_object_parse(text, bytes, e);
    char *path = object ? line_picture_path(s, object, e) : NULL;
    bool ok = path != NULL;
    c->text.used = c->n = c->n_bad = 0;
    if (ok && d->o.want != DATASET_PICTURES) {
        ok = captions_from_json(c, object, e);
        if (ok && !c->n)
            ok = err_set(e, ERR_FAILED, "%s", c->n_bad ? c->bad : "its caption is empty");
    }
    free(path);
    json_decref(object);
    return ok;
}

static bool is_blank(const char *text, size_t bytes)
{
    size_t i = 0;
    while (i < bytes && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r'))
        i++;
    return i == bytes;
}

static bool add_lines(dataset *d, uint32_t index, err *e)
{
    const source *s = &d->sources[index];
    captions c = {0};
    bool ok = true;
    uint64_t number = 1;
    for (size_t at = 0, bytes; ok && at < s->map.size; at += bytes + 1, number++) {
        const char *text;
        err why = {0};
        line_at(s, at, &text, &bytes);
        item it = {at, number, index, CAPTION_JSON};
        if (is_blank(text, bytes))
            continue;
        if (check_line(d, s, text, bytes, &c, &why)) {
            ok = dataset_add_item(d, &it, text, bytes, e);
        } else {
            char *name = item_name(d, &it);
            dataset_note(d, -1, name ? name : s->path, why.text);
            free(name);
        }
    }
    pool_release(&c.text);
    return ok;
}

/* ---- any source ---------------------------------------------------------------------------------------------- */

static bool add_file_source(dataset *d, const char *path, err *e)
{
    static const char *const line_extensions[] = {"jsonl", "ndjson", NULL};
    static const char *const packed_extensions[] = {"tgz", "tbz", "txz", "gz", "bz2", "xz", "zst", NULL};
    bool tar = is_tar(path) || among(extension_of(path), packed_extensions); /* its reader says why it can't */
    uint32_t index;
    if (!tar && !among(extension_of(path), line_extensions))
        return err_set(e, ERR_FAILED, "%s: no data source (give a folder, a .jsonl or a .tar file)", path);
    return dataset_new_source(d, tar ? SOURCE_TAR : SOURCE_LINES, path, &index, e) &&
           (tar ? dataset_add_tar(d, index, e) : add_lines(d, index, e));
}

bool dataset_add_source(dataset *d, const char *path, err *e)
{
    struct stat st;
    if (stat(path, &st))
        return err_set(e, ERR_FAILED, "%s: cannot open: %s", path, strerror(errno));
    return S_ISDIR(st.st_mode) ? add_folder_source(d, path, e) : add_file_source(d, path, e);
}
