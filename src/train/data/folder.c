/* Finding the pictures of folders, and their captions: files beside them, and lists. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/os.h"
#include "train/data/internal.h"

#define NO_CAPTIONS "no captions (a .txt file of the same name)"

/* In the order in which they are looked for. */
const caption_ending caption_endings[] = {{"txt", CAPTION_TEXT},     {"TXT", CAPTION_TEXT},  {"caption", CAPTION_TEXT},
                                          {"CAPTION", CAPTION_TEXT}, {"json", CAPTION_JSON}, {"JSON", CAPTION_JSON},
                                          {NULL, CAPTION_NONE}};

/* ---- the walk ------------------------------------------------------------------------------------------------ */

/* A picture that a list names: by its path below the folder. */
typedef struct listed {
    uint64_t hash;
    size_t name;         /* in names */
    uint32_t first, end; /* its rows + 1; 0: the place is free */
    bool found;
} listed;

/* Tar files wait until the folder is read, since sources can't nest; so do links to folders, so that a folder that can
 * be reached in two ways is read where it is. */
struct folder_walk {
    dataset *d;
    uint32_t source;
    pool tars, links, names; /* tars, links: paths below the folder */
    listed *listed;          /* a hash table of n_listed entries, capacity a power of two */
    size_t n_listed, capacity;
    uint64_t *visited; /* the same of folders, by device and inode; 0: free */
    size_t n_visited, visited_capacity;
    size_t untold; /* bytes at the beginning of pictures' paths that the fingerprint doesn't know */
    bool named;    /* lists that are read now may be sources themselves, which may name pictures anywhere */
};
typedef folder_walk walk;

static uint64_t mix(uint64_t h)
{
    h = (h ^ h >> 32) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

/* *fresh: it wasn't there yet. */
static bool visit(walk *w, const os_id *id, bool *fresh, err *e)
{
    uint64_t key = mix(mix(id->device + 1) ^ id->file);
    key = key ? key : 1;
    if (2 * w->n_visited >= w->visited_capacity) {
        size_t capacity = w->visited_capacity ? 2 * w->visited_capacity : 64;
        uint64_t *grown = calloc(capacity, sizeof *grown);
        if (!grown)
            return err_no_memory(e, "data set", capacity * sizeof *grown);
        for (size_t i = 0; i < w->visited_capacity; i++) {
            size_t k = w->visited[i] & (capacity - 1);
            while (w->visited[i] && grown[k])
                k = (k + 1) & (capacity - 1);
            if (w->visited[i])
                grown[k] = w->visited[i];
        }
        free(w->visited);
        w->visited = grown;
        w->visited_capacity = capacity;
    }
    size_t k = key & (w->visited_capacity - 1);
    while (w->visited[k] && w->visited[k] != key)
        k = (k + 1) & (w->visited_capacity - 1);
    *fresh = !w->visited[k];
    w->n_visited += *fresh;
    w->visited[k] = key;
    return true;
}

/* ---- pictures that lists name --------------------------------------------------------------------------------- */

static uint64_t hash_name(const char *name)
{
    return mix(hash_bytes(HASH_BEGIN, name, strlen(name)));
}

/* The entry of the name, or the free one where it belongs; NULL while the table is empty. */
static listed *find_listed(const walk *w, const char *name)
{
    uint64_t h = hash_name(name);
    if (!w->capacity)
        return NULL;
    size_t k = h & (w->capacity - 1);
    while (w->listed[k].first && (w->listed[k].hash != h || strcmp(w->names.data + w->listed[k].name, name) != 0))
        k = (k + 1) & (w->capacity - 1);
    return &w->listed[k];
}

static bool grow_listed(walk *w, err *e)
{
    if (2 * w->n_listed < w->capacity)
        return true;
    size_t capacity = w->capacity ? 2 * w->capacity : 256;
    listed *grown = calloc(capacity, sizeof *grown);
    if (!grown)
        return err_no_memory(e, "data set", capacity * sizeof *grown);
    for (size_t i = 0; i < w->capacity; i++) {
        size_t k = w->listed[i].hash & (capacity - 1);
        while (w->listed[i].first && grown[k].first)
            k = (k + 1) & (capacity - 1);
        if (w->listed[i].first)
            grown[k] = w->listed[i];
    }
    free(w->listed);
    w->listed = grown;
    w->capacity = capacity;
    return true;
}

/* below "a/" and "./../b//c.png" -> "b/c.png", in place of out; false where it leads out of the folder. */
static bool path_below(const char *below, const char *name, pool *out, err *e)
{
    out->used = 0;
    char *whole = join(below, name, "");
    bool ok = whole ? true : err_no_memory(e, name, strlen(name)), inside = *name != '/';
    for (char *p = whole; ok && inside && *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && !strncmp(p, "..", 2)) {
            inside = out->used > 0;
            while (out->used && out->data[--out->used] != '/')
                ;
        } else if (n && !(n == 1 && *p == '.')) {
            size_t at = out->used;
            if (at)
                out->data[at++] = '/';
            out->used = at;
            ok = pool_add(out, p, n, NULL, e);
            out->used--; /* the zero stays behind what is used */
        }
        if (out->data)
            out->data[out->used] = 0;
        p += n + (p[n] == '/');
    }
    free(whole);
    return ok && inside && out->used;
}

/* A list that is being read. */
typedef struct listing {
    walk *w;
    const char *below;
    pool path;
} listing;

static bool add_listed(void *context, const caption_row *r, const char *name, err *e)
{
    listing *l = context;
    walk *w = l->w;
    err why = {0};
    uint32_t index;
    bool inside = path_below(l->below, name, &l->path, &why);
    if (!inside && w->named)
        return true;
    if (!inside) {
        char line[64];
        snprintf(line, sizeof line, ":%lu", (unsigned long)r->number);
        char *full = join(w->d->sources[r->source].path, line, "");
        dataset_note(w->d, -1, full ? full : name, "its picture is outside of the folder");
        free(full);
        return true;
    }
    if (!grow_listed(w, e))
        return false;
    listed *x = find_listed(w, l->path.data);
    if (!dataset_add_row(w->d, r, x->end, &index, e))
        return false;
    if (!x->first) {
        x->hash = hash_name(l->path.data);
        x->first = index + 1;
        w->n_listed++;
        if (!pool_add(&w->names, l->path.data, l->path.used, &x->name, e))
            return false;
    }
    x->end = index + 1;
    return true;
}

/* Lists of a folder, below: "" or "a/b/". */
static bool add_list(walk *w, const char *below, const char *name, err *e)
{
    listing l = {.w = w, .below = below};
    uint32_t index;
    err why = {0};
    char *path = join(w->d->sources[w->source].path, "/", below), *full = path ? join(path, name, "") : NULL;
    bool ok = full ? true : err_no_memory(e, name, strlen(name));
    if (ok && !dataset_new_source(w->d, SOURCE_LIST, full, &index, &why))
        dataset_note(w->d, -1, full, why.text);
    else if (ok)
        ok = list_walk(w->d, index, add_listed, &l, e);
    pool_release(&l.path);
    free(full);
    free(path);
    return ok;
}

void folder_walk_note_missing(const folder_walk *w)
{
    for (size_t i = 0; i < w->capacity; i++) {
        const listed *x = &w->listed[i];
        if (!x->first || x->found)
            continue;
        char *name = join(w->d->sources[w->source].path, "/", w->names.data + x->name);
        dataset_note(w->d, -1, name ? name : "data set", "a list of the folder has it, and it is not there");
        free(name);
    }
}

/* ---- folders ------------------------------------------------------------------------------------------------- */

static int visible(const struct dirent *entry)
{
    return !is_ignored_name(entry->d_name);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name); /* not alphasort: the order must not hang on the locale */
}

static int compare_name(const void *key, const void *entry)
{
    return strcmp(key, (*(struct dirent *const *)entry)->d_name);
}

/* Takes the captions that lists have for the picture, if they have any. */
static void take_listed(walk *w, const char *path, item *it)
{
    listed *x = find_listed(w, path);
    if (!x || !x->first)
        return;
    x->found = true;
    it->caption_kind = CAPTION_ROWS;
    it->caption = x->first - 1;
}

/* Finds what has the captions of the picture: a file beside it, else a list. */
static void find_captions(walk *w, const char *path, struct dirent **list, int n, const char *name, item *it)
{
    size_t stem = (size_t)(extension_of(name) - name); /* with the dot */
    char text[NAME_MAX + 16];
    take_listed(w, path, it);
    for (int i = 0; caption_endings[i].ending; i++) {
        snprintf(text, sizeof text, "%.*s%s", (int)stem, name, caption_endings[i].ending);
        if (!bsearch(text, list, (size_t)n, sizeof(struct dirent *), compare_name))
            continue;
        it->caption_kind = (uint8_t)caption_endings[i].kind;
        it->caption = (uint64_t)i;
        return;
    }
}

bool file_is_misnamed(dataset *d, const char *full, const char *path)
{
    file_map m = {0};
    err why = {0};
    if (!is_foreign_picture_name(path))
        return false;
    bool is = file_map_open(&m, full, &why) && is_picture(m.data, m.size, full, &why);
    if (!is)
        dataset_note(d, -1, full, why.text);
    file_map_release(&m);
    return is;
}

static bool add_file(walk *w, const char *path, const char *full, struct dirent **list, int n, const char *name, err *e)
{
    dataset *d = w->d;
    size_t bytes = strlen(path), at;
    item it = {.source = w->source};
    if (is_tar_name(path))
        return pool_add(&w->tars, path, bytes, NULL, e);
    if (!is_picture_name(path) && !file_is_misnamed(d, full, path)) {
        dataset_seen(d, name);
        return true;
    }
    find_captions(w, path, list, n, name, &it);
    if (it.caption_kind == CAPTION_NONE && d->o.want != DATASET_PICTURES) {
        dataset_note(d, -1, full, NO_CAPTIONS);
        return true;
    }
    if (!pool_add(&d->paths, path, bytes, &at, e))
        return false;
    it.picture = at;
    return dataset_add_item(d, &it, path + w->untold, bytes - w->untold, e);
}

static bool add_folder(walk *w, const char *below, err *e);

/* below: "" or "a/b/". */
static bool add_entry(walk *w, const char *below, struct dirent **list, int n, const char *name, err *e)
{
    struct stat st;
    bool ok = true;
    char *path = join(below, name, ""), *full = path ? join(w->d->sources[w->source].path, "/", path) : NULL;
    char *folder = full ? join(path, "/", "") : NULL;
    if (!folder)
        ok = err_no_memory(e, name, strlen(name));
    else if (!os_lstat(full, &st) && S_ISDIR(st.st_mode))
        ok = add_folder(w, folder, e);
    else if (stat(full, &st))
        dataset_note(w->d, -1, full, errno == ENOENT ? "a link to what is not there" : strerror(errno));
    else if (S_ISDIR(st.st_mode))
        ok = pool_add(&w->links, folder, strlen(folder), NULL, e);
    else if (!S_ISREG(st.st_mode))
        dataset_seen(w->d, name);
    else
        ok = add_file(w, path, full, list, n, name, e);
    free(folder);
    free(full);
    free(path);
    return ok;
}

/* Lists are read before the pictures that they name. */
static bool add_lists(walk *w, const char *below, struct dirent **list, int n, err *e)
{
    bool ok = true;
    for (int i = 0; ok && i < n && w->d->o.want != DATASET_PICTURES; i++)
        if (is_list_name(list[i]->d_name))
            ok = add_list(w, below, list[i]->d_name, e);
    return ok;
}

static bool add_folder(walk *w, const char *below, err *e)
{
    struct dirent **list = NULL;
    char *full = join(w->d->sources[w->source].path, "/", below);
    os_id id;
    bool ok = full ? true : err_no_memory(e, below, strlen(below)), fresh = true;
    ok = ok && (!os_id_at(full, &id) || visit(w, &id, &fresh, e));
    if (!ok || !fresh) { /* reached by a link, and read before */
        free(full);
        return ok;
    }
    int n = os_list(full, &list, visible, by_name);
    if (n < 0 && strlen(below) == w->untold)
        ok = err_set(e, ERR_FAILED, "%s: cannot list the folder: %s", full, strerror(errno));
    else if (n < 0)
        dataset_note(w->d, -1, full, strerror(errno));
    ok = ok && add_lists(w, below, list, n, e);
    for (int i = 0; ok && i < n; i++)
        ok = add_entry(w, below, list, n, list[i]->d_name, e) && (i % 256 || dataset_goes_on(w->d, e));
    for (int i = 0; i < n; i++)
        free(list[i]);
    free(list);
    free(full);
    return ok;
}

/* Folders by links: they may hold further links. */
static bool add_links(walk *w, err *e)
{
    bool ok = true;
    for (size_t at = 0; ok && at < w->links.used; at += strlen(w->links.data + at) + 1) {
        char *below = strdup(w->links.data + at); /* the pool moves where it grows */
        char *full = below ? join(w->d->sources[w->source].path, "/", below) : NULL;
        struct stat st;
        if (!full)
            ok = err_no_memory(e, "data set", w->links.used);
        else if (os_stat(full, &st))
            dataset_note(w->d, -1, full, strerror(errno));
        else
            ok = add_folder(w, below, e);
        free(full);
        free(below);
    }
    return ok;
}

/* ---- walks --------------------------------------------------------------------------------------------------- */

folder_walk *folder_walk_new(dataset *d, const char *path, err *e)
{
    walk *w = calloc(1, sizeof *w);
    if (!w) {
        err_no_memory(e, path, sizeof *w);
        return NULL;
    }
    w->d = d;
    if (dataset_new_source(d, SOURCE_FOLDER, path, &w->source, e))
        return w;
    free(w);
    return NULL;
}

void folder_walk_free(folder_walk *w)
{
    if (!w)
        return;
    pool_release(&w->tars);
    pool_release(&w->links);
    pool_release(&w->names);
    free(w->listed);
    free(w->visited);
    free(w);
}

bool folder_walk_below(folder_walk *w, const char *name, err *e)
{
    struct stat st;
    char *below = join(name, *name ? "/" : "", ""), *full = join(w->d->sources[w->source].path, "/", name);
    bool ok = below && full ? true : err_no_memory(e, "data set", strlen(name));
    if (ok && os_stat(full, &st))
        ok = err_set(e, ERR_FAILED, "%s: cannot open: %s", full, strerror(errno));
    w->untold = ok ? strlen(below) : 0;
    ok = ok && add_folder(w, below, e) && add_links(w, e);
    w->untold = w->links.used = 0;
    free(full);
    free(below);
    return ok;
}

bool folder_walk_list(folder_walk *w, const char *name, err *e)
{
    w->named = true;
    bool ok = add_list(w, "", name, e);
    w->named = false;
    return ok;
}

static int visible_list(const struct dirent *entry)
{
    return visible(entry) && is_list_name(entry->d_name);
}

bool folder_walk_lists(folder_walk *w, err *e)
{
    struct dirent **list = NULL;
    int n = os_list(w->d->sources[w->source].path, &list, visible_list, by_name); /* it may not be readable */
    bool ok = true;
    for (int i = 0; i < n; i++) {
        ok = ok && folder_walk_list(w, list[i]->d_name, e);
        free(list[i]);
    }
    free(list);
    return ok;
}

bool folder_walk_picture(folder_walk *w, const char *name, err *e)
{
    dataset *d = w->d;
    size_t at, bytes = strlen(name);
    item it = {.source = w->source};
    char *full = join(d->sources[w->source].path, "/", name);
    bool ok = full ? true : err_no_memory(e, name, bytes);
    take_listed(w, name, &it);
    for (int i = 0; ok && caption_endings[i].ending; i++) {
        struct stat st;
        char *stem = strndup(full, (size_t)(extension_of(full) - full));
        char *beside = stem ? join(stem, caption_endings[i].ending, "") : NULL;
        bool there = beside && !stat(beside, &st) && S_ISREG(st.st_mode);
        free(beside);
        free(stem);
        if (!there)
            continue;
        it.caption_kind = (uint8_t)caption_endings[i].kind;
        it.caption = (uint64_t)i;
        break;
    }
    if (ok && it.caption_kind == CAPTION_NONE && d->o.want != DATASET_PICTURES) {
        dataset_note(d, -1, full, NO_CAPTIONS);
    } else if (ok) {
        ok = pool_add(&d->paths, name, bytes, &at, e);
        it.picture = at;
        ok = ok && dataset_add_item(d, &it, name, bytes, e);
    }
    free(full);
    return ok;
}

bool folder_walk_found(const folder_walk *w, const char *name)
{
    pool path = {0};
    const listed *x = path_below("", name, &path, NULL) ? find_listed(w, path.data) : NULL;
    bool found = x && x->first && x->found;
    pool_release(&path);
    return found;
}

bool folder_walk_tars(folder_walk *w, names_callback *callback, void *context, err *e)
{
    bool ok = true;
    for (size_t at = 0; ok && at < w->tars.used; at += strlen(w->tars.data + at) + 1) {
        char *full = join(w->d->sources[w->source].path, "/", w->tars.data + at);
        ok = full ? callback(context, full, e) : err_no_memory(e, "data set", w->tars.used);
        free(full);
    }
    w->tars.used = 0;
    return ok;
}
