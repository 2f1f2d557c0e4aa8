/* The data set as its caller sees it: opening, problems, captions. */
#include "train/data/dataset.h"

#include "base/hash.h"
#include "base/log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/image.h"
#include "train/data/internal.h"

enum { MAX_PROBLEMS = 100, MAX_CAUSES = 40, NAMES_TOLD = 4 };

/* ---- strings ------------------------------------------------------------------------------------------------- */

bool pool_add(pool *p, const char *text, size_t bytes, size_t *at, err *e)
{
    if (bytes >= p->capacity - p->used) {
        size_t capacity = p->capacity + p->capacity / 2 + bytes + 64;
        char *data = realloc(p->data, capacity);
        if (!data)
            return err_no_memory(e, "data set", capacity);
        p->data = data;
        p->capacity = capacity;
    }
    if (at)
        *at = p->used;
    memcpy(p->data + p->used, text, bytes);
    p->data[p->used + bytes] = 0;
    p->used += bytes + 1;
    return true;
}

void pool_release(pool *p)
{
    free(p->data);
    *p = (pool){0};
}

char *join(const char *a, const char *b, const char *c)
{
    size_t n = strlen(a) + strlen(b) + strlen(c) + 1;
    char *s = malloc(n);
    if (s)
        snprintf(s, n, "%s%s%s", a, b, c);
    return s;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static bool check_options(const dataset_options *o, err *e)
{
    if (o->n_sources < 1)
        return err_set(e, ERR_USAGE, "data: no source (give a folder, a .jsonl or a .tar file)");
    if (o->batch < 1)
        return err_set(e, ERR_USAGE, "data: a batch of %d items (give at least 1)", o->batch);
    bool pictures = o->want != DATASET_CAPTIONS;
    if (pictures && (o->width < 1 || o->height < 1 || o->width > IMAGE_MAX_SIDE || o->height > IMAGE_MAX_SIDE))
        return err_set(e, ERR_USAGE, "data: pictures of %d x %d: sides must be 1 to %d", o->width, o->height,
                       IMAGE_MAX_SIDE);
    if (!(o->crop >= 0 && o->crop <= 1))
        return err_set(e, ERR_USAGE, "data: crop %g is not in 0 to 1", o->crop);
    if (o->ranks < 0 || o->rank < 0 || o->rank >= (o->ranks ? o->ranks : 1))
        return err_set(e, ERR_USAGE, "data: rank %d of %d (ranks count from 0)", o->rank, o->ranks);
    if (o->threads < 0 || o->threads > 1024 || o->prefetch < 0 || o->prefetch > 1024)
        return err_set(e, ERR_USAGE, "data: %d threads and %d batches ahead: each must be 0 to 1024", o->threads,
                       o->prefetch);
    return true;
}

static size_t append(char *text, size_t size, size_t at, const char *format, ...) __attribute__((format(printf, 4, 5)));

static size_t append(char *text, size_t size, size_t at, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = at < size ? vsnprintf(text + at, size - at, format, list) : 0;
    va_end(list);
    at += n > 0 ? (size_t)n : 0;
    return at < size ? at : size - 1;
}

/* No item in any source: says which sources, what is wrong with most of what is there, and what else was seen. */
static bool fail_empty(const dataset *d, const dataset_options *o, err *e)
{
    char names[512] = "", seen[256] = "", why[512] = "";
    size_t at = 0;
    for (size_t i = 0; i < o->n_sources; i++)
        at = append(names, sizeof names, at, "%s%s", i ? ", " : "", o->sources[i]);
    at = 0;
    for (size_t i = 0; i < ENDINGS_SEEN && d->seen[i].n; i++)
        at = append(seen, sizeof seen, at, "%s%" PRIu64 " %s%s", i ? ", " : "; there are ", d->seen[i].n,
                    *d->seen[i].ending ? "." : "without an ending", d->seen[i].ending);
    const cause *most = NULL;
    for (size_t i = 0; i < d->n_causes; i++)
        if (!most || d->causes[i].n > most->n)
            most = &d->causes[i];
    for (size_t i = 0; most && !*why && i < d->n_problems; i++)
        if (!strcmp(d->problems[i].reason, most->reason))
            snprintf(why, sizeof why, ": %" PRIu64 " problem%s, %s: %s: %s", d->total_problems,
                     d->total_problems == 1 ? "" : "s", d->n_causes == 1 ? "the first" : "most often",
                     d->problems[i].name, most->reason);
    return err_set(e, ERR_FAILED,
                   "data: no %s in %s%s%s (limn reads folders of PNG, JPEG and WebP files, .jsonl lists and .tar files "
                   "of them%s)",
                   o->want == DATASET_PICTURES ? "picture" : "picture with a caption", names, why, seen,
                   o->want == DATASET_PICTURES ? "" : "; a caption is in NAME.txt beside NAME.png");
}

bool dataset_goes_on(const dataset *d, err *e)
{
    return !d->o.goes_on || d->o.goes_on(d->o.context) ||
           err_set_cause(e, ERR_FAILED, LIMN_CAUSE_INTERRUPTED,
                         "interrupted while the data was read: nothing was written");
}

void dataset_seen(dataset *d, const char *name)
{
    char ending[12] = "";
    const char *extension = extension_of(name);
    for (size_t i = 0; i < sizeof ending - 1 && (unsigned char)extension[i] > 0x20 && extension[i] != 0x7f; i++)
        ending[i] = extension[i] >= 'A' && extension[i] <= 'Z' ? (char)(extension[i] + 32) : extension[i];
    size_t k = 0;
    while (k < ENDINGS_SEEN && d->seen[k].n && strcmp(d->seen[k].ending, ending) != 0)
        k++;
    if (k < ENDINGS_SEEN) {
        memcpy(d->seen[k].ending, ending, sizeof ending);
        d->seen[k].n++;
    }
}

static bool find_items(dataset *d, const dataset_options *o, err *e)
{
    if (!dataset_add_sources(d, o->sources, o->n_sources, e))
        return false;
    if (!d->n_items)
        return fail_empty(d, o, e);
    d->flags = calloc(d->n_items, sizeof *d->flags);
    return d->flags || err_no_memory(e, "data set", d->n_items);
}

dataset *dataset_open(const dataset_options *o, err *e)
{
    if (!check_options(o, e))
        return NULL;
    dataset *d = calloc(1, sizeof *d);
    if (!d) {
        err_no_memory(e, "data set", sizeof *d);
        return NULL;
    }
    pthread_mutex_init(&d->problem_lock, NULL);
    d->o = *o;
    d->o.sources = NULL; /* the caller's, and not needed again */
    d->o.ranks = o->ranks ? o->ranks : 1;
    d->fingerprint = HASH_BEGIN;
    if (!find_items(d, o, e)) {
        dataset_free(d);
        return NULL;
    }
    return d;
}

void dataset_free(dataset *d)
{
    if (!d)
        return;
    loader_free(d->loader);
    for (size_t i = 0; i < d->n_sources; i++) {
        free(d->sources[i].path);
        file_map_release(&d->sources[i].map);
    }
    for (size_t i = 0; i < d->n_problems; i++) {
        free(d->problems[i].name);
        free(d->problems[i].reason);
    }
    for (size_t i = 0; i < d->n_causes; i++)
        free(d->causes[i].reason);
    pthread_mutex_destroy(&d->problem_lock);
    pool_release(&d->paths);
    free(d->sources);
    free(d->items);
    free(d->flags);
    free(d->selected);
    free(d->kept);
    free(d->rows);
    free(d->problems);
    free(d->causes);
    free(d->listed);
    free(d);
}

static bool open_file(dataset *d, source *s, const char *path, err *e)
{
    char damage[256], why[512];
    s->stamp = file_stamp(path);
    if (!file_map_open(&s->map, path, e))
        return false;
    if (!compressed_by(s->map.data, s->map.size))
        return true;
    bool ok = unpack(&s->map, path, d, damage, e);
    if (!ok) {
        file_map_release(&s->map);
    } else if (*damage) {
        snprintf(why, sizeof why, "cannot be unpacked past byte %zu of what is in it: %s (is it incomplete?)",
                 s->map.size, damage);
        dataset_note(d, -1, path, why);
        s->damaged = true;
    }
    return ok;
}

bool dataset_new_source(dataset *d, source_kind kind, const char *path, uint32_t *index, err *e)
{
    source s = {.kind = kind};
    source *sources = realloc(d->sources, (d->n_sources + 1) * sizeof *sources);
    if (!sources)
        return err_no_memory(e, path, (d->n_sources + 1) * sizeof *sources);
    d->sources = sources;
    if (kind != SOURCE_FOLDER && !open_file(d, &s, path, e))
        return false;
    s.path = strdup(path);
    if (!s.path) {
        file_map_release(&s.map);
        return err_no_memory(e, path, strlen(path) + 1);
    }
    *index = (uint32_t)d->n_sources;
    d->sources[d->n_sources++] = s;
    return true;
}

/* The list of n, each of `size` bytes, with room for one more; NULL, and the list as it was, if there is no memory. */
static void *with_room(void *list, size_t n, size_t *capacity, size_t size, err *e)
{
    if (n < *capacity)
        return list;
    size_t more = *capacity + *capacity / 2 + 64;
    void *grown = more <= INT32_MAX ? realloc(list, more * size) : NULL;
    if (grown)
        *capacity = more;
    else
        err_no_memory(e, "data set", (unsigned long long)more * size);
    return grown;
}

bool dataset_add_item(dataset *d, const item *it, const char *name, size_t bytes, err *e)
{
    item *items = with_room(d->items, d->n_items, &d->capacity, sizeof *items, e);
    if (!items)
        return false;
    d->items = items;
    d->items[d->n_items++] = *it;
    d->fingerprint = hash_bytes(hash_bytes(d->fingerprint, name, bytes), "", 1);
    return true;
}

bool dataset_add_row(dataset *d, const caption_row *r, uint32_t last, uint32_t *index, err *e)
{
    caption_row *rows = with_room(d->rows, d->n_rows, &d->rows_capacity, sizeof *rows, e);
    if (!rows)
        return false;
    d->rows = rows;
    *index = (uint32_t)d->n_rows;
    d->rows[d->n_rows] = *r;
    d->rows[d->n_rows++].next = 0;
    if (last)
        d->rows[last - 1].next = *index + 1;
    return true;
}

int64_t dataset_size(const dataset *d)
{
    return (int64_t)d->n_items;
}

uint64_t dataset_fingerprint(const dataset *d)
{
    return d->fingerprint;
}

void dataset_exclude(dataset *d, int64_t number)
{
    assert(!d->loader && number >= 0 && number < dataset_size(d));
    atomic_fetch_or(&d->flags[number], ITEM_BAD);
}

bool dataset_select(dataset *d, const int64_t *items, int64_t n, err *e)
{
    assert(!d->loader && d->o.in_order && n > 0);
    d->selected = malloc((size_t)n * sizeof *d->selected);
    if (!d->selected)
        return err_no_memory(e, "data set", (unsigned long long)n * sizeof *d->selected);
    memcpy(d->selected, items, (size_t)n * sizeof *d->selected);
    d->n_selected = n;
    return true;
}

int64_t dataset_epoch_size(const dataset *d)
{
    return d->selected ? d->n_selected : dataset_size(d);
}

/* ---- problems ------------------------------------------------------------------------------------------------ */

/* A copy without the control characters that a terminal would obey. */
static char *printable(const char *text)
{
    char *s = strdup(text);
    for (char *p = s; p && *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    return s;
}

/* The reason's count; the last one is of all reasons that there is no place for. */
static void count(dataset *d, const char *reason)
{
    size_t i = 0;
    while (i < d->n_causes && strcmp(d->causes[i].reason, reason) != 0)
        i++;
    if (i == d->n_causes && i < MAX_CAUSES) {
        cause *list = realloc(d->causes, (i + 1) * sizeof *list);
        if (list)
            d->causes = list;
        char *copy = list ? strdup(reason) : NULL;
        if (!copy)
            return;
        d->causes[d->n_causes++] = (cause){.reason = copy};
    }
    if (i < d->n_causes)
        d->causes[i].n++;
}

static bool note(dataset *d, int64_t number, const char *name, const char *reason)
{
    problem p = {number, printable(name), printable(reason), false};
    problem *list = p.name && p.reason ? realloc(d->problems, (d->n_problems + 1) * sizeof *list) : NULL;
    if (list)
        d->problems = list;
    if (p.reason)
        count(d, p.reason);
    if (!list || d->n_problems == MAX_PROBLEMS) { /* still counted */
        free(p.name);
        free(p.reason);
        return false;
    }
    d->problems[d->n_problems++] = p;
    return true;
}

void dataset_note(dataset *d, int64_t number, const char *name, const char *reason)
{
    size_t n = strlen(name);
    if (!strncmp(reason, name, n) && !strncmp(reason + n, ": ", 2))
        reason += n + 2;
    pthread_mutex_lock(&d->problem_lock);
    d->total_problems++;
    (void)note(d, number, name, reason);
    pthread_mutex_unlock(&d->problem_lock);
}

static int by_item(const void *a, const void *b)
{
    const problem *p = a, *q = b;
    if (p->item != q->item)
        return p->item < q->item ? -1 : 1;
    int order = strcmp(p->name, q->name);
    return order ? order : strcmp(p->reason, q->reason);
}

uint64_t dataset_problems(dataset *d, const dataset_problem **list, size_t *n)
{
    pthread_mutex_lock(&d->problem_lock);
    free(d->listed);
    d->listed = calloc(d->n_problems + 1, sizeof *d->listed);
    if (d->n_problems)
        qsort(d->problems, d->n_problems, sizeof *d->problems, by_item);
    for (size_t i = 0; d->listed && i < d->n_problems; i++)
        d->listed[i] = (dataset_problem){d->problems[i].name, d->problems[i].reason};
    *list = d->listed;
    *n = d->listed ? d->n_problems : 0;
    uint64_t total = d->total_problems;
    pthread_mutex_unlock(&d->problem_lock);
    return total;
}

/* ---- captions ------------------------------------------------------------------------------------------------ */

bool dataset_captions(dataset *d, dataset_caption_callback *callback, void *context)
{
    captions c = {0};
    bool go_on = true;
    for (int64_t i = 0; go_on && i < dataset_size(d); i++) {
        go_on = i % 256 || dataset_goes_on(d, NULL);
        if (!go_on || d->items[i].caption_kind == CAPTION_NONE || !captions_of(&c, d, i))
            continue;
        const char *text = c.text.data;
        for (size_t k = 0; go_on && k < c.n; k++, text += strlen(text) + 1)
            go_on = callback(context, i, text);
    }
    pool_release(&c.text);
    return go_on;
}

/* A cause's problems since the last time: one with its name, several with their number and the first names. */
static void tell_cause(dataset *d, cause *c)
{
    char names[1024] = "";
    size_t at = 0, n = 0;
    uint64_t all = c->n - c->told;
    for (size_t i = 0; i < d->n_problems; i++) {
        problem *p = &d->problems[i];
        if (p->told || strcmp(p->reason, c->reason) != 0)
            continue;
        p->told = true;
        if (n++ < NAMES_TOLD)
            at = append(names, sizeof names, at, "%s%s", at ? ", " : "", p->name);
    }
    c->told = c->n;
    if (all == 1 && n == 1)
        log_write(LOG_WARNING, "%s: %s", names, c->reason);
    else if (all > NAMES_TOLD)
        log_write(LOG_WARNING, "data: %s: %" PRIu64 " times: %s%sand %" PRIu64 " more", c->reason, all, names,
                  n ? ", " : "", all - (n < NAMES_TOLD ? n : NAMES_TOLD));
    else if (all)
        log_write(LOG_WARNING, "data: %s: %" PRIu64 " times: %s", c->reason, all, names);
}

void dataset_log_problems(dataset *d)
{
    const dataset_problem *list;
    size_t n;
    uint64_t counted = 0, all = dataset_problems(d, &list, &n);
    pthread_mutex_lock(&d->problem_lock);
    for (size_t i = 0; i < d->n_problems; i++) /* in the order of the items */
        for (size_t k = 0; k < d->n_causes && !d->problems[i].told; k++)
            if (!strcmp(d->causes[k].reason, d->problems[i].reason))
                tell_cause(d, &d->causes[k]);
    for (size_t k = 0; k < d->n_causes; k++) {
        if (d->causes[k].told < d->causes[k].n)
            tell_cause(d, &d->causes[k]);
        counted += d->causes[k].n;
    }
    if (all > counted && d->untold != all - counted)
        log_write(LOG_WARNING, "data: %" PRIu64 " problems of further kinds", all - counted);
    d->untold = all - counted;
    pthread_mutex_unlock(&d->problem_lock);
}

void dataset_silence_problems(dataset *d)
{
    pthread_mutex_lock(&d->problem_lock);
    for (size_t i = 0; i < d->n_problems; i++)
        d->problems[i].told = true;
    for (size_t k = 0; k < d->n_causes; k++)
        d->causes[k].told = d->causes[k].n;
    for (size_t i = 0; i < d->n_items; i++)
        atomic_fetch_or(&d->flags[i], ITEM_NOTED);
    pthread_mutex_unlock(&d->problem_lock);
}
