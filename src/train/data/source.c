/* Sources by their names: folders, pictures, lists and tar files, as people and shells name them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "train/data/internal.h"

/* ---- one source ---------------------------------------------------------------------------------------------- */

/* A source that is a file.  beside: the walk through its folder, whose pictures are items already; or NULL. */
static bool add_file(dataset *d, const char *path, const folder_walk *beside, err *e)
{
    bool lines = is_lines_name(path);
    uint32_t index;
    if (!lines && !is_tar_name(path) && !is_compressed_name(path))
        return err_set(e, ERR_FAILED, "%s: no data source (give a folder, a .jsonl or a .tar file)", path);
    return dataset_new_source(d, lines ? SOURCE_LINES : SOURCE_TAR, path, &index, e) &&
           (lines ? dataset_add_lines(d, index, beside, e) : dataset_add_tar(d, index, e));
}

/* A tar file that a folder has: if it can't be read, the others will do. */
static bool add_tar(void *context, const char *path, err *e)
{
    dataset *d = context;
    err why = {0};
    if (!add_file(d, path, NULL, &why) && !dataset_goes_on(d, e))
        return false;
    if (why.code)
        dataset_note(d, -1, path, why.text);
    return true;
}

static bool add_folder(dataset *d, const char *path, err *e)
{
    folder_walk *w = folder_walk_new(d, path, e);
    bool ok = w && folder_walk_below(w, "", e);
    if (ok)
        folder_walk_note_missing(w);
    ok = ok && folder_walk_tars(w, add_tar, d, e);
    folder_walk_free(w);
    return ok;
}

/* A caption's file between the pictures, as a shell's * has them. */
static bool is_beside_picture(const char *path)
{
    static const char *const pictures[] = {"png",  "jpg",  "jpeg", "webp", "PNG", "JPG", "JPEG", "WEBP", "heic", "HEIC",
                                           "heif", "HEIF", "avif", "gif",  "GIF", "bmp", "BMP",  "tif",  "tiff", "TIF"};
    bool caption = false, there = false;
    for (int i = 0; caption_endings[i].ending; i++)
        caption |= !strcmp(extension_of(path), caption_endings[i].ending);
    char *stem = caption ? strndup(path, (size_t)(extension_of(path) - path)) : NULL;
    for (size_t i = 0; stem && !there && i < sizeof pictures / sizeof *pictures; i++) {
        struct stat st;
        char *picture = join(stem, pictures[i], "");
        there = picture && !stat(picture, &st);
        free(picture);
    }
    free(stem);
    return there;
}

/* ---- all of them --------------------------------------------------------------------------------------------- */

typedef enum name_kind {
    NAME_FOLDER,
    NAME_PICTURE,
    NAME_LIST,  /* .jsonl */
    NAME_TABLE, /* metadata.csv */
    NAME_OTHER
} name_kind;

typedef struct name {
    char *path;
    const char *base; /* the last part of path */
    name_kind kind;
    size_t group;
} name;

/* The names in one folder, as a shell's * there makes them.  Their captions are found as if the folder itself had
 * been named: in files beside the pictures, and in lists.  So a picture that is named and in a list too is one item. */
typedef struct group {
    char *folder;
    folder_walk *walk; /* made when it is first needed */
    bool pictures, folders, lists;
} group;

typedef struct naming {
    dataset *d;
    name *names;
    size_t n, capacity;
    group *groups;
    size_t n_groups;
} naming;

/* The group of path[0..bytes). */
static bool find_group(naming *k, const char *path, size_t bytes, size_t *index, err *e)
{
    for (size_t i = k->n_groups; i-- > 0;) /* mostly that of the last name */
        if (!strncmp(k->groups[i].folder, path, bytes) && !k->groups[i].folder[bytes]) {
            *index = i;
            return true;
        }
    group *grown = realloc(k->groups, (k->n_groups + 1) * sizeof *grown);
    k->groups = grown ? grown : k->groups;
    char *folder = grown ? strndup(path, bytes) : NULL;
    if (!folder)
        return err_no_memory(e, "data set", bytes);
    *index = k->n_groups;
    k->groups[k->n_groups++] = (group){.folder = folder};
    return true;
}

static name_kind kind_of(const name *m, const struct stat *st)
{
    if (S_ISDIR(st->st_mode))
        return NAME_FOLDER;
    if (is_picture_name(m->path) || is_foreign_picture_name(m->path))
        return NAME_PICTURE;
    return is_lines_name(m->path) ? NAME_LIST : is_list_name(m->base) ? NAME_TABLE : NAME_OTHER;
}

/* Fills m, its group too. */
static bool classify(naming *k, name *m, const struct stat *st, err *e)
{
    char *slash = strrchr(m->path, '/');
    m->base = slash ? slash + 1 : m->path;
    m->kind = kind_of(m, st);
    size_t bytes = slash && slash > m->path ? (size_t)(slash - m->path) : 1;
    if (!find_group(k, slash ? m->path : ".", bytes, &m->group, e))
        return false;
    group *g = &k->groups[m->group];
    g->pictures |= m->kind == NAME_PICTURE;
    g->folders |= m->kind == NAME_FOLDER;
    g->lists |= m->kind == NAME_LIST || m->kind == NAME_TABLE;
    return true;
}

static bool take_name(void *context, const char *path, err *e)
{
    naming *k = context;
    struct stat st;
    size_t bytes = strlen(path);
    if (stat(path, &st))
        return err_set(e, ERR_FAILED, "%s: cannot open: %s", path, strerror(errno));
    if (k->n == k->capacity) {
        size_t capacity = k->capacity ? 2 * k->capacity : 64;
        name *grown = realloc(k->names, capacity * sizeof *grown);
        if (!grown)
            return err_no_memory(e, "data set", capacity * sizeof *grown);
        k->names = grown;
        k->capacity = capacity;
    }
    while (bytes > 1 && path[bytes - 1] == '/')
        bytes--;
    k->names[k->n] = (name){.path = strndup(path, bytes)};
    if (!k->names[k->n].path)
        return err_no_memory(e, "data set", bytes);
    return classify(k, &k->names[k->n++], &st, e);
}

/* The walk through a group's folder, with the lists that may name its pictures: those that are named themselves and, if
 * captions are wanted, all others beside pictures. */
static folder_walk *walk_of(naming *k, size_t index, err *e)
{
    group *g = &k->groups[index];
    if (g->walk)
        return g->walk;
    bool all = g->pictures && k->d->o.want != DATASET_PICTURES;
    g->walk = folder_walk_new(k->d, g->folder, e);
    bool ok = g->walk && (!all || folder_walk_lists(g->walk, e));
    for (size_t i = 0; ok && !all && g->lists && i < k->n; i++)
        if (k->names[i].group == index && (k->names[i].kind == NAME_LIST || k->names[i].kind == NAME_TABLE))
            ok = folder_walk_list(g->walk, k->names[i].base, e);
    return ok ? g->walk : NULL;
}

static bool add_picture(naming *k, const name *m, err *e)
{
    if (is_picture_name(m->path) ? is_ignored_name(m->base) : !file_is_misnamed(k->d, m->path, m->path))
        return true;
    folder_walk *w = walk_of(k, m->group, e);
    return w && folder_walk_picture(w, m->base, e);
}

static bool add_name(naming *k, const name *m, err *e)
{
    const group *g = &k->groups[m->group];
    folder_walk *w;
    switch (m->kind) {
    case NAME_FOLDER:
        if (!g->lists || !*m->base || !strcmp(m->base, ".") || !strcmp(m->base, ".."))
            return add_folder(k->d, m->path, e);
        w = walk_of(k, m->group, e);
        return w && folder_walk_below(w, m->base, e) && folder_walk_tars(w, add_tar, k->d, e);
    case NAME_PICTURE:
        return add_picture(k, m, e);
    case NAME_LIST: /* beside pictures or folders it waits for these */
    case NAME_TABLE:
        return g->pictures || g->folders || add_file(k->d, m->path, NULL, e);
    case NAME_OTHER:
        break;
    }
    return is_beside_picture(m->path) || add_file(k->d, m->path, NULL, e);
}

static bool add_names(naming *k, err *e)
{
    bool ok = true;
    for (size_t i = 0; ok && i < k->n; i++)
        ok = add_name(k, &k->names[i], e) && (i % 256 || dataset_goes_on(k->d, e));
    for (size_t i = 0; ok && i < k->n; i++) { /* what only the lists name */
        const group *g = &k->groups[k->names[i].group];
        if (k->names[i].kind == NAME_LIST && (g->pictures || g->folders))
            ok = add_file(k->d, k->names[i].path, g->walk, e);
    }
    return ok;
}

bool dataset_add_sources(dataset *d, const char *const *paths, size_t n, err *e)
{
    naming k = {.d = d};
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        struct stat st;
        bool braces = stat(paths[i], &st) && strchr(paths[i], '{');
        ok = braces ? names_expand(paths[i], take_name, &k, e) : take_name(&k, paths[i], e);
    }
    ok = ok && add_names(&k, e);
    for (size_t i = 0; i < k.n; i++)
        free(k.names[i].path);
    for (size_t i = 0; i < k.n_groups; i++) {
        folder_walk_free(k.groups[i].walk);
        free(k.groups[i].folder);
    }
    free(k.names);
    free(k.groups);
    return ok;
}
