/* Conversion: which files of a folder are its model.  By what they hold, not by their names: the networks in each are
 * looked up, and of two that hold the same one is taken. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/os.h"
#include "convert/convert_internal.h"
#include "convert/names.h"
#include "io/file_kind.h"

enum { PATH_BYTES = 4352, VALUES = 64 };

/* A file, or the shards of one model. */
typedef struct candidate {
    path_list files;
    char *name;      /* in the folder */
    uint64_t set;    /* of networks; 0: none, or it can't be read */
    err why;         /* it can't */
    uint64_t shapes; /* of all its tensors in networks, by their names */
    float values[VALUES];
    int n_values;
    size_t bytes;
    bool safetensors, dropped, broken;
    int ema; /* is_ema_name */
} candidate;

typedef struct folder {
    const char *path;
    candidate *list;
    size_t n;
    bool quiet;
} folder;

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && !strcasecmp(text + n - m, end);
}

/* ---- looking ---------------------------------------------------------------------------------------------------- */

static const char *const weight_ends[] = {".safetensors", ".bin", ".pt",  ".pth", ".ckpt",
                                          ".pkl",         ".th",  ".tar", ".jit"};

static bool is_weights_name(const char *name)
{
    static const char *const training[] = {"optimizer",     "scheduler", "training_args", "rng_state",
                                           "random_states", "scaler",    "trainer_state", "."};
    for (size_t i = 0; i < sizeof training / sizeof *training; i++)
        if (!strncmp(name, training[i], strlen(training[i])))
            return false;
    for (size_t i = 0; i < sizeof weight_ends / sizeof *weight_ends; i++)
        if (ends_in(name, weight_ends[i]))
            return true;
    return ends_in(name, ".index.json");
}

/* Averaged weights: 1; "non_ema", which says that others are: -1. */
static int is_ema_name(const char *name)
{
    int sign = 1;
    for (const char *at = name; *at;) {
        size_t n = strcspn(at, "._-");
        if (n == 3 && !strncasecmp(at, "ema", 3))
            return sign;
        sign = n == 3 && !strncasecmp(at, "non", 3) ? -1 : 1;
        at += n + (at[n] != 0);
    }
    return 0;
}

/* What the candidate's files hold. */
static bool look(candidate *c)
{
    static const name_choice plain = {.ema = false};
    source s = {0};
    path_list copy = {0};
    for (size_t i = 0; i < c->files.n; i++)
        if (!path_list_add(&copy, c->files.list[i], &c->why)) {
            path_list_release(&copy);
            return false;
        }
    bool ok = source_open_files(&s, copy.list, copy.n, &c->why) && !model_file_gguf(s.files[0]) &&
              import_names_resolve(&s, &plain, &c->why);
    c->set = ok ? import_names_set(&s) : 0;
    c->safetensors = ok && model_file_format(s.files[0]) != MODEL_TORCH;
    if (ok && model_file_format(s.files[0]) == MODEL_SHARDS)
        c->safetensors = strstr(c->name, ".safetensors.") != NULL;
    for (size_t i = 0; ok && i < s.n; i++) {
        const source_tensor *t = &s.tensors[i];
        if (!t->root)
            continue;
        uint64_t h = hash_bytes(HASH_BEGIN, t->own.name, strlen(t->own.name));
        c->shapes += hash_bytes(h, t->own.shape, (size_t)t->own.nd * sizeof *t->own.shape); /* in any order */
        c->bytes += t->own.bytes;
    }
    const source_tensor *first = NULL; /* by name, of those that have enough values */
    for (size_t i = 0; ok && i < s.n; i++) {
        const file_tensor *t = &s.tensors[i].own;
        if (s.tensors[i].root && t->type != DTYPE_OTHER && file_tensor_count(t) >= VALUES &&
            (!first || strcmp(t->name, first->own.name) < 0))
            first = &s.tensors[i];
    }
    if (first) {
        file_tensor_read(&first->own, 0, VALUES, c->values);
        c->n_values = VALUES;
    }
    source_close(&s);
    return ok;
}

static candidate *add_candidate(folder *f, const char *name, err *e)
{
    candidate *grown = realloc(f->list, (f->n + 1) * sizeof *grown);
    if (grown)
        f->list = grown;
    char *copy = grown ? strdup(name) : NULL;
    if (!copy) {
        err_no_memory(e, f->path, (f->n + 1) * sizeof *grown);
        return NULL;
    }
    f->list[f->n] = (candidate){.name = copy, .ema = is_ema_name(name)};
    return &f->list[f->n++];
}

static void release(folder *f)
{
    for (size_t i = 0; i < f->n; i++) {
        path_list_release(&f->list[i].files);
        free(f->list[i].name);
    }
    free(f->list);
    *f = (folder){0};
}

/* A file of the folder; shards without an index become one. */
static bool add_name(folder *f, const char *name, err *e)
{
    char path[PATH_BYTES];
    int number, count, other;
    size_t at, other_at;
    candidate *c = NULL;
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    bool shard = is_shard_name(path, &number, &count, &at);
    for (size_t i = 0; shard && i < f->n && !c; i++) {
        const char *first = f->list[i].files.list[0];
        if (is_shard_name(first, &other, &count, &other_at) && at == other_at && !strncmp(first, path, at) &&
            !strcmp(first + at + 5, path + at + 5))
            c = &f->list[i];
    }
    c = c ? c : add_candidate(f, name, e);
    return c && path_list_add(&c->files, path, e);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names of the folder that say weights, below `in` ("" or "vae/"). */
static bool list_names(const char *path, const char *in, path_list *names, err *e)
{
    char whole[2 * PATH_BYTES], name[PATH_BYTES];
    struct stat st;
    snprintf(whole, sizeof whole, "%s/%s", path, in);
    DIR *d = opendir(whole);
    bool ok = true;
    for (struct dirent *entry; d && ok && (entry = readdir(d));) {
        if (!is_weights_name(entry->d_name))
            continue;
        snprintf(name, sizeof name, "%s%s", in, entry->d_name);
        snprintf(whole, sizeof whole, "%s/%s", path, name);
        if (os_lstat(whole, &st) == 0 &&
            (S_ISREG(st.st_mode) || (os_is_link(&st) && (stat(whole, &st) != 0 || S_ISREG(st.st_mode)))))
            ok = path_list_add(names, name, e);
    }
    if (d)
        closedir(d);
    if (names->n)
        qsort(names->list, names->n, sizeof *names->list, by_text);
    return ok;
}

/* Shards that an index names are no candidates of their own. */
static bool has_index(const path_list *names, const char *name)
{
    int number, count;
    size_t at;
    char index[2 * PATH_BYTES];
    if (!is_shard_name(name, &number, &count, &at) || at < 1)
        return false;
    for (int of = 0; of < 2; of++) { /* pytorch_model-00001-of-00002.bin: pytorch_model.bin.index.json */
        const char *rest = name + at + strlen("00001-of-00002");
        snprintf(index, sizeof index, "%.*s%s.index.json", (int)at - 1, name, of ? "" : rest);
        for (size_t i = 0; i < names->n; i++)
            if (!strcmp(names->list[i], index))
                return true;
    }
    return false;
}

static bool add_names(folder *f, const char *in, err *e)
{
    path_list names = {0};
    size_t first = f->n;
    bool ok = list_names(f->path, in, &names, e);
    for (size_t i = 0; ok && i < names.n; i++)
        ok = has_index(&names, names.list[i]) || add_name(f, names.list[i], e);
    path_list_release(&names);
    for (size_t i = first; ok && i < f->n; i++)
        f->list[i].broken = !look(&f->list[i]);
    return ok;
}

/* ---- choosing --------------------------------------------------------------------------------------------------- */

/* The same weights, whatever their type. */
static bool is_same(const candidate *a, const candidate *b)
{
    if (a->shapes != b->shapes || a->set != b->set || a->n_values != b->n_values)
        return false;
    for (int i = 0; i < a->n_values; i++)
        if (fabsf(a->values[i] - b->values[i]) > 1e-2f * fabsf(a->values[i]) + 1e-4f)
            return false;
    return true;
}

static void say_dropped(const folder *f, candidate *dropped, const candidate *kept, const char *why)
{
    dropped->dropped = true;
    if (!f->quiet)
        log_write(LOG_WARNING, "convert: %s: reads %s, not %s: %s", f->path, kept->name, dropped->name, why);
}

/* One of the two goes where it can be told which; false: they are two models. */
static bool choose_between(const folder *f, candidate *a, candidate *b)
{
    uint64_t both = a->set & b->set;
    const bool others = a->ema != b->ema && (a->ema < 0 || b->ema < 0); /* averages may be as near as rounding */
    if (is_same(a, b) && !others) {
        bool second = a->safetensors != b->safetensors ? b->safetensors : b->bytes > a->bytes;
        say_dropped(f, second ? a : b, second ? b : a, "they hold the same weights");
    } else if (a->shapes == b->shapes && a->ema != b->ema) {
        say_dropped(f, a->ema > b->ema ? b : a, a->ema > b->ema ? a : b, "averaged weights (EMA) are preferred");
    } else if (both == b->set && both != a->set) {
        say_dropped(f, b, a, "the first has all that the second has");
    } else if (both == a->set && both != b->set) {
        say_dropped(f, a, b, "the first has all that the second has");
    } else {
        return false;
    }
    return true;
}

static bool is_open(const candidate *c)
{
    return c->set && !c->dropped;
}

/* "a.pt (a VQGAN), b.pt (a CLIP)" */
static void list_models(const folder *f, char out[512])
{
    size_t at = 0;
    char names[256];
    *out = 0;
    for (size_t i = 0; i < f->n && at < 400; i++) {
        if (!is_open(&f->list[i]))
            continue;
        import_names_text(f->list[i].set, names);
        at += (size_t)snprintf(out + at, 512 - at, "%s%.60s (%.80s)", at ? ", " : "", f->list[i].name, names);
        at = at < 511 ? at : 511;
    }
}

static bool refuse_several(const folder *f, err *e)
{
    char models[512];
    list_models(f, models);
    return err_set(e, ERR_FAILED, "%s: it holds more than one model: %s (give the files of one)", f->path, models);
}

/* Parts of one model that are built alike, each in a folder of its own. */
static bool are_parts(const candidate *a, const candidate *b)
{
    const size_t n = strcspn(a->name, "/"), m = strcspn(b->name, "/");
    return !(a->set & b->set & ~import_names_by_folder()) && (n != m || strncmp(a->name, b->name, n) != 0);
}

static bool drop_doubles(folder *f, err *e)
{
    for (size_t i = 0; i < f->n; i++)
        for (size_t k = i + 1; k < f->n; k++) {
            candidate *a = &f->list[i], *b = &f->list[k];
            if (is_open(a) && is_open(b) && a->set & b->set && !are_parts(a, b) && !choose_between(f, a, b))
                return refuse_several(f, e);
        }
    return true;
}

static uint64_t set_of(const folder *f)
{
    uint64_t set = 0;
    for (size_t i = 0; i < f->n; i++)
        set |= is_open(&f->list[i]) ? f->list[i].set : 0;
    return set;
}

/* What lies there in place of a model. */
static bool refuse_empty(const folder *f, err *e)
{
    const candidate *why = NULL;
    char names[400] = "";
    size_t at = 0;
    for (size_t i = 0; i < f->n && !why; i++)
        if (f->list[i].why.code)
            why = &f->list[i];
    if (why)
        return err_set(e, ERR_FAILED, "%s", why->why.text);
    for (size_t i = 0; i < f->n && at < 300; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%.60s", i ? ", " : "", f->list[i].name);
    if (f->n)
        return err_set(e, ERR_FAILED, "%s: none of its files holds a model of a family that limn knows: %s", f->path,
                       names);
    char graph[PATH_BYTES];
    snprintf(graph, sizeof graph, "%s/saved_model.pb", f->path);
    if (access(graph, F_OK) == 0)
        return err_set(e, ERR_FAILED, "%s: a TensorFlow model (limn reads safetensors and PyTorch's checkpoints)",
                       f->path);
    return err_set(e, ERR_FAILED,
                   "%s: the folder has no weights: no .safetensors, .bin, .pt, .pth, .ckpt or .pkl file (give the "
                   "folder that has)",
                   f->path);
}

/* Parts in folders of their own, such as vae/: what the files above lack. */
static bool add_parts(folder *f, err *e)
{
    uint64_t set = set_of(f), wanted = set ? 0 : ~UINT64_C(0);
    path_list inner = {0};
    struct stat st;
    char path[2 * PATH_BYTES];
    size_t first = f->n;
    const family *k;
    for (size_t i = 0; set && (k = family_at(i)); i++)
        if (family_fits(k, set))
            wanted |= k->networks & ~set;
    DIR *d = wanted ? opendir(f->path) : NULL;
    bool ok = true;
    for (struct dirent *entry; d && ok && (entry = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", f->path, entry->d_name);
        /* a classifier of finished pictures beside Stable Diffusion, which draws without it */
        if (*entry->d_name != '.' && strcmp(entry->d_name, "safety_checker") != 0 && stat(path, &st) == 0 &&
            S_ISDIR(st.st_mode)) {
            snprintf(path, sizeof path, "%s/", entry->d_name);
            ok = path_list_add(&inner, path, e);
        }
    }
    if (d)
        closedir(d);
    if (inner.n)
        qsort(inner.list, inner.n, sizeof *inner.list, by_text);
    for (size_t i = 0; ok && i < inner.n; i++)
        ok = add_names(f, inner.list[i], e);
    for (size_t i = first; i < f->n; i++)
        if (set && f->list[i].set & ~wanted)
            f->list[i].dropped = true;
    path_list_release(&inner);
    return ok;
}

static bool check_family(const folder *f, err *e)
{
    uint64_t set = set_of(f);
    const family *k;
    for (size_t i = 0; (k = family_at(i)); i++)
        if (family_fits(k, set))
            return true;
    return refuse_several(f, e);
}

/* Files that can't be read are said, since they may be what is missing. */
static void say_broken(const folder *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (!f->quiet && f->list[i].broken && f->list[i].why.code)
            log_write(LOG_WARNING, "convert: passed over: %s", f->list[i].why.text);
}

/* ---- HuggingFace's cache ---------------------------------------------------------------------------------------- */

/* models--OWNER--NAME holds snapshots/REVISION/, and refs/main names the revision to take. */
static bool find_snapshot(const char *path, char out[PATH_BYTES], err *e)
{
    char inner[PATH_BYTES - 256], revision[128] = "", name[256] = "";
    size_t n = 0;
    snprintf(inner, sizeof inner, "%.4000s/refs/main", path);
    FILE *main = fopen(inner, "r");
    if (main && !fgets(revision, sizeof revision, main))
        *revision = 0;
    if (main)
        fclose(main);
    revision[strcspn(revision, "\r\n")] = 0;
    snprintf(inner, sizeof inner, "%.4000s/snapshots", path);
    DIR *d = opendir(inner);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        if (*entry->d_name == '.')
            continue;
        n++;
        if (!*name || !strcmp(entry->d_name, revision))
            snprintf(name, sizeof name, "%.255s", entry->d_name);
    }
    if (d)
        closedir(d);
    snprintf(out, PATH_BYTES, "%s", path);
    if (n && (n == 1 || !strcmp(name, revision)))
        snprintf(out, PATH_BYTES, "%s/%s", inner, name);
    else if (n)
        return err_set(e, ERR_FAILED, "%s: it has %zu revisions (give the folder of one)", inner, n);
    return true;
}

/* diffusers' folders beside model_index.json are whole models with their settings; what lies above them, as in the best
 * known ones, is the same model in a single file, which tells less.  *chosen: the folders have a network that draws. */
static bool choose_folders(folder *f, bool *chosen, err *e)
{
    static const char *const draws[] = {"unet/", "transformer/", "decoder/"};
    char index[2 * PATH_BYTES];
    path_list above = {0};
    *chosen = false;
    snprintf(index, sizeof index, "%s/model_index.json", f->path);
    if (access(index, F_OK) != 0)
        return true;
    bool ok = add_parts(f, e) && drop_doubles(f, e) && list_names(f->path, "", &above, e);
    for (size_t i = 0; ok && i < f->n; i++)
        for (size_t k = 0; k < sizeof draws / sizeof *draws; k++)
            *chosen = *chosen || (is_open(&f->list[i]) && !strncmp(f->list[i].name, draws[k], strlen(draws[k])));
    if (ok && *chosen && above.n && !f->quiet)
        log_write(LOG_WARNING, "convert: %s: reads the folders that model_index.json tells of, not %s%s", f->path,
                  above.list[0], above.n > 1 ? ", …" : "");
    path_list_release(&above);
    if (!*chosen) {
        const folder empty = {.path = f->path, .quiet = f->quiet};
        release(f);
        *f = empty;
    }
    return ok;
}

bool folder_choose(const char *path, bool quiet, path_list *files, err *e)
{
    char root[PATH_BYTES];
    folder f = {.path = root, .quiet = quiet};
    if (!find_snapshot(path, root, e))
        return false;
    for (size_t length = strlen(root); length > 1 && root[length - 1] == '/'; length--)
        root[length - 1] = 0;
    bool folders, ok = choose_folders(&f, &folders, e);
    ok = ok && (folders || (add_names(&f, "", e) && drop_doubles(&f, e) && add_parts(&f, e) && drop_doubles(&f, e)));
    if (ok && !set_of(&f))
        ok = refuse_empty(&f, e);
    ok = ok && check_family(&f, e);
    if (ok)
        say_broken(&f);
    for (size_t i = 0; ok && i < f.n; i++)
        for (size_t k = 0; ok && is_open(&f.list[i]) && k < f.list[i].files.n; k++)
            ok = path_list_add(files, f.list[i].files.list[k], e);
    release(&f);
    return ok;
}
