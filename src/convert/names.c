/* Networks in files: the search for them, several sets of the same weights, and the names that remain. */
#include "convert/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "convert/names_internal.h"

/* ---- the search ------------------------------------------------------------------------------------------------- */

static bool has_moments(const unit *u, const char *name, size_t before)
{
    const source_tensor *made = unit_find_behind(u, name, before, "quant_conv.weight"),
                        *read = unit_find_behind(u, name, before, "post_quant_conv.weight");
    return made && read && made->own.nd > 1 && read->own.nd > 1 && made->own.shape[0] == 2 * read->own.shape[1];
}

static bool is_there(const unit *u, const network *k, const source_tensor *t, size_t before)
{
    const char *name = tensor_name(t);
    int64_t kernel = t->own.nd == 4 ? t->own.shape[2] : 0;
    if (k->kernel && (k->kernel > 0 ? kernel != 1 : kernel < 2))
        return false;
    for (int i = 1; i < 3 && k->all[i]; i++)
        if (!unit_find_behind(u, name, before, k->all[i]))
            return false;
    for (int i = 0; i < 2 && k->any[i][0]; i++) {
        bool found = false;
        for (int j = 0; j < 4 && k->any[i][j]; j++)
            found = found || unit_find_behind(u, name, before, k->any[i][j]);
        if (!found)
            return false;
    }
    if (k->moments && !has_moments(u, name, before))
        return false;
    return !k->none || !unit_find_behind(u, name, before, k->none);
}

/* What its family has before a network's names: "unet.", or by its file's folder "decoder.". */
static char *prefix_wanted(const network *k, const char *file)
{
    if (!k->by_folder)
        return strdup(k->to ? k->to : "");
    const char *end = strrchr(file, '/'), *begin = end;
    while (begin && begin > file && begin[-1] != '/')
        begin--;
    const size_t n = end ? (size_t)(end - begin) : 0;
    char *to = malloc(n + 2);
    if (to)
        snprintf(to, n + 2, "%.*s.", (int)n, n ? begin : "");
    return to;
}

static bool add_root(source *s, int kind, size_t number, const source_tensor *mark, size_t before, err *e)
{
    network_root *grown = realloc(s->roots, (s->n_roots + 1) * sizeof *grown);
    char *prefix = grown ? calloc(1, before + 1) : NULL,
         *to = prefix ? prefix_wanted(&networks[kind], mark->file) : NULL;
    if (grown)
        s->roots = grown;
    if (!to) {
        free(prefix);
        return err_no_memory(e, "convert", before + 1);
    }
    memcpy(prefix, tensor_name(mark), before);
    s->roots[s->n_roots++] = (network_root){.network = kind,
                                            .unit = number,
                                            .prefix = prefix,
                                            .mark = mark,
                                            .to = to,
                                            .ema = path_is_ema(prefix, before),
                                            .part_of = -1};
    return true;
}

static bool find_roots(unit *u, err *e)
{
    for (size_t i = 0; i < u->n; i++)
        for (int k = 0; k < NETWORKS; k++) {
            const char *name = tensor_name(u->by_name[i]), *end = networks[k].all[0];
            size_t n = strlen(name), m = strlen(end), before = n - m;
            if (n < m || strcmp(name + before, end) != 0 || (before && name[before - 1] != '.') ||
                path_is_training(name, before) || !is_there(u, &networks[k], u->by_name[i], before))
                continue;
            if (!add_root(u->s, k, u->number, u->by_name[i], before, e))
                return false;
        }
    return true;
}

/* A codec inside of a transformer's model is a part of it, whatever its prefix. */
static void find_parts(source *s, size_t first)
{
    for (size_t i = first; i < s->n_roots; i++)
        for (size_t k = first; k < s->n_roots; k++) {
            network_root *r = &s->roots[i];
            const network_root *o = &s->roots[k];
            if (r->network != o->network && strlen(o->prefix) < strlen(r->prefix) &&
                name_begins(r->prefix, o->prefix) &&
                (r->part_of < 0 || strlen(o->prefix) < strlen(s->roots[r->part_of].prefix)))
                r->part_of = (int)k;
        }
}

/* ---- several sets of the same weights --------------------------------------------------------------------------- */

/* As one module that was saved twice. */
static bool has_same_data(const network_root *a, const network_root *b)
{
    const file_tensor *x = &a->mark->own, *y = &b->mark->own;
    return x->data == y->data || (x->type == y->type && x->bytes == y->bytes && file_tensor_contiguous(x) &&
                                  file_tensor_contiguous(y) && !memcmp(x->data, y->data, x->bytes));
}

bool root_is_chosen(const network_root *r, const char *part)
{
    size_t n = part ? strlen(part) : 0;
    if (n && part[n - 1] == '.')
        n--;
    return part && strlen(r->prefix) > n && !strncmp(r->prefix, part, n) && r->prefix[n] == '.';
}

/* Which of the two stays; false where nothing tells. */
static bool prefer(network_root *a, network_root *b, const name_choice *c)
{
    bool first = root_is_chosen(a, c->part), second = root_is_chosen(b, c->part);
    if (a->ema != b->ema) /* averaged ones are laid over the others, which may have more */
        (a->ema ? a : b)->dropped = true;
    else if (first != second)
        (first ? b : a)->dropped = true;
    else if (has_same_data(a, b))
        b->dropped = true;
    else
        return false;
    return true;
}

/* --set part means something that is there. */
static bool check_part(const source *s, const char *part, err *e)
{
    char known[256] = "";
    size_t at = 0;
    for (size_t i = 0; part && i < s->n_roots; i++) {
        if (root_is_chosen(&s->roots[i], part))
            return true;
        if (at < 200 && s->roots[i].part_of < 0)
            at += (size_t)snprintf(known + at, sizeof known - at, "%s'%.40s'", at ? ", " : "", s->roots[i].prefix);
    }
    return !part ||
           err_set(e, ERR_USAGE, "convert: `settings` part=%.128s: no network is behind this prefix (there are: %s)",
                   part, known);
}

static bool drop_doubles(source *s, size_t first, const name_choice *c, err *e)
{
    for (size_t i = first; i < s->n_roots; i++)
        for (size_t k = i + 1; k < s->n_roots; k++) {
            network_root *a = &s->roots[i], *b = &s->roots[k];
            if (a->dropped || b->dropped || a->part_of >= 0 || b->part_of >= 0 || a->network != b->network)
                continue;
            if (!prefer(a, b, c))
                return check_part(s, c->part, e) &&
                       err_set(e, ERR_FAILED,
                               "%s: it holds two sets of weights of %s, '%s' and '%s' (choose one: `settings` "
                               "part=%.*s, or "
                               "part=%.*s)",
                               a->mark->file, networks[a->network].name, a->prefix, b->prefix,
                               (int)(strlen(a->prefix) - (*a->prefix != 0)), a->prefix,
                               (int)(strlen(b->prefix) - (*b->prefix != 0)), b->prefix);
        }
    /* --set part leaves out all that is not behind it, too */
    bool any = false;
    for (size_t i = first; i < s->n_roots; i++)
        any = any || (!s->roots[i].dropped && root_is_chosen(&s->roots[i], c->part));
    for (size_t i = first; any && i < s->n_roots; i++)
        if (s->roots[i].part_of < 0 && !root_is_chosen(&s->roots[i], c->part))
            s->roots[i].dropped = true;
    return true;
}

/* ---- names that remain ------------------------------------------------------------------------------------------ */

/* The root that a tensor belongs to: the one with the longest prefix. */
static const network_root *root_of(const source *s, size_t number, const char *name)
{
    const network_root *best = NULL;
    for (size_t i = 0; i < s->n_roots; i++) {
        const network_root *r = &s->roots[i];
        if (r->unit == number && name_begins(name, r->prefix) && (!best || strlen(r->prefix) >= strlen(best->prefix)))
            best = best && !best->dropped && strlen(r->prefix) == strlen(best->prefix) ? best : r;
    }
    return best;
}

/* "vae." is where the code of a DALLE has its codec. */
static const char *prefix_to(const source *s, const network_root *r)
{
    if (r->part_of < 0)
        return r->to;
    const network_root *whole = &s->roots[r->part_of];
    bool vae = UINT64_C(1) << r->network == NETWORK_DISCRETE_VAE && UINT64_C(1) << whole->network == NETWORK_DALLE;
    return vae ? "vae." : NULL; /* the rest keep what is behind the whole's prefix */
}

static bool name_behind(source_tensor *t, const char *prefix, const char *rest, err *e)
{
    size_t size = strlen(prefix) + strlen(rest) + 1;
    char *name = malloc(size);
    if (name)
        snprintf(name, size, "%s%s", prefix, rest);
    return tensor_rename(t, name, e);
}

/* The network that is no other's part. */
static const network_root *whole_of(const source *s, const network_root *r)
{
    while (r->part_of >= 0)
        r = &s->roots[r->part_of];
    return r;
}

/* Whether the tensor is one of weights that another set was preferred to. */
static bool is_dropped(const source *s, const network_root *r, const char *name)
{
    const network_root *whole = whole_of(s, r);
    bool dropped = r->dropped || whole->dropped;
    for (size_t i = 0; i < s->n_roots; i++) {
        const network_root *o = &s->roots[i];
        dropped = dropped || (o->dropped && o->unit == r->unit && name_begins(name, o->prefix) &&
                              strlen(o->prefix) > strlen(whole->prefix));
    }
    return dropped;
}

/* The network that a tensor in none stands beside.  *rest: its name from there on. */
static const network_root *root_beside(const source *s, size_t number, const char *name, const char **rest)
{
    for (size_t i = 0; i < s->n_roots; i++) {
        const network_root *r = &s->roots[i];
        const char *beside = networks[r->network].beside;
        size_t n = strlen(r->prefix);
        while (n > 0 && (r->prefix[n] != '.' || !r->prefix[n + 1]))
            n--;
        n += n > 0; /* what is before the prefix's last part */
        if (r->unit == number && beside && *r->prefix && !strncmp(name, r->prefix, n) &&
            name_begins(name + n, beside)) {
            *rest = name + n;
            return r;
        }
    }
    return NULL;
}

/* Names of one unit; outside[i] is set for a tensor that is in no network. */
static bool rename_unit(unit *u, bool *outside, err *e)
{
    source *s = u->s;
    size_t own = 0;
    for (size_t i = 0; i < s->n_roots; i++)
        own += s->roots[i].unit == u->number;
    for (size_t i = 0; own && i < u->n; i++) {
        source_tensor *t = u->by_name[i];
        const char *beside = NULL;
        const network_root *r = root_of(s, u->number, tensor_name(t));
        if (!r)
            r = root_beside(s, u->number, tensor_name(t), &beside);
        bool *out = &outside[t - s->tensors];
        t->left_out = t->left_out || (r && !t->used && is_dropped(s, r, tensor_name(t)));
        *out = !r || t->used || t->left_out;
        if (*out)
            continue;
        const network_root *whole = whole_of(s, r);
        const char *to = prefix_to(s, r);
        size_t before = strlen(to ? r->prefix : whole->prefix);
        if (!to)
            to = whole->to;
        t->root = (int)(r - s->roots) + 1;
        if (!name_behind(t, to, beside ? beside : tensor_name(t) + before, e))
            return false;
    }
    return true;
}

/* A file that has none of the marks may be another part of a network that has: their prefix is the same. */
static bool follow_others(unit *u, err *e)
{
    source *s = u->s;
    const char *best = NULL;
    size_t most = 0;
    for (size_t i = 0; i < s->n_roots; i++) {
        size_t n = 0;
        if (s->roots[i].unit == u->number)
            return true;
        for (size_t k = 0; *s->roots[i].prefix && k < u->n; k++)
            n += name_begins(tensor_name(u->by_name[k]), s->roots[i].prefix);
        if (n > most) {
            most = n;
            best = s->roots[i].prefix;
        }
    }
    for (size_t k = 0; best && k < u->n; k++) {
        source_tensor *t = u->by_name[k];
        if (name_begins(tensor_name(t), best) && !name_behind(t, "", tensor_name(t) + strlen(best), e))
            return false;
    }
    return true;
}

/* Those outside go to the end, in their order. */
static bool put_outside_last(source *s, const bool *outside, err *e)
{
    source_tensor *sorted = malloc((s->n ? s->n : 1) * sizeof *sorted);
    size_t n = 0, at = 0;
    if (!sorted)
        return err_no_memory(e, "convert", s->n * sizeof *sorted);
    for (int last = 0; last < 2; last++)
        for (size_t i = 0; i < s->n; i++)
            if (outside[i] == last) {
                sorted[at++] = s->tensors[i];
                n += !last;
            }
    memcpy(s->tensors, sorted, s->n * sizeof *sorted);
    for (size_t i = 0; i < s->n; i++)
        s->tensors[i].t = &s->tensors[i].own;
    for (size_t i = 0; i < s->n_roots; i++)
        s->roots[i].mark = NULL; /* it has moved */
    free(sorted);
    s->n = n;
    return true;
}

/* One unit's networks, and which of several sets of weights count. */
static bool search_unit(source *s, size_t number, const name_choice *c, err *e)
{
    unit u;
    size_t first = s->n_roots;
    bool ok =
        unit_open(&u, s, number, e) && unit_drop_wrappers(&u, e) && unit_name_text_tower(&u, e) && find_roots(&u, e);
    if (ok) {
        find_parts(s, first);
        ok = drop_doubles(s, first, c, e);
    }
    for (size_t i = first; ok && c->ema && i < s->n_roots; i++)
        if (!s->roots[i].dropped && s->roots[i].part_of < 0 && !s->roots[i].ema &&
            !root_is_chosen(&s->roots[i], c->part))
            unit_lay_ema_over(&u, &s->roots[i], c);
    free(u.by_name);
    return ok;
}

bool import_names_resolve(source *s, const name_choice *c, err *e)
{
    size_t units = 0;
    bool *outside = calloc(s->n ? s->n : 1, sizeof *outside), ok = outside || err_no_memory(e, "convert", s->n);
    for (size_t i = 0; i < s->n; i++)
        units = s->tensors[i].unit >= units ? s->tensors[i].unit + 1 : units;
    for (size_t i = 0; ok && i < units; i++)
        ok = search_unit(s, i, c, e);
    ok = ok && check_part(s, c->part, e);
    for (size_t i = 0; ok && i < units; i++) {
        unit u;
        ok = unit_open(&u, s, i, e) && rename_unit(&u, outside, e) && follow_others(&u, e);
        free(u.by_name);
    }
    ok = ok && put_outside_last(s, outside, e);
    free(outside);
    return ok;
}

bool import_names_keep(source *s, uint64_t set, err *e)
{
    bool *outside = calloc(s->n ? s->n : 1, sizeof *outside);
    for (size_t i = 0; outside && i < s->n; i++) {
        const network_root *r = s->tensors[i].root ? whole_of(s, &s->roots[s->tensors[i].root - 1]) : NULL;
        outside[i] = s->tensors[i].left_out = r && !(set & UINT64_C(1) << r->network);
    }
    bool ok = outside ? put_outside_last(s, outside, e) : err_no_memory(e, "convert", s->n);
    free(outside);
    return ok;
}

static const source_tensor *tensor_of_unit(const source *s, size_t number)
{
    for (size_t i = 0; i < s->n_all; i++)
        if (s->tensors[i].unit == number)
            return &s->tensors[i];
    return NULL;
}

/* What the user named, a file or a folder, to have that. */
static size_t asked_for(const source *s, const network_root *r)
{
    return s->asked ? s->asked[tensor_of_unit(s, r->unit)->input] : r->unit;
}

/* Whether a root of the set is the only network of the file or folder that was named. */
static bool is_alone(const source *s, const network_root *r)
{
    for (size_t i = 0; i < s->n_roots; i++)
        if (&s->roots[i] != r && asked_for(s, &s->roots[i]) == asked_for(s, r) && !s->roots[i].dropped)
            return false;
    return true;
}

static bool is_of_set(const network_root *r, uint64_t set)
{
    return set & UINT64_C(1) << r->network && !r->dropped && r->part_of < 0;
}

static const char *file_of_root(const source *s, const network_root *r)
{
    return tensor_of_unit(s, r->unit)->file;
}

/* The one that was named besides others; *n: how many there are, *other: one that it replaces. */
static const network_root *find_own(const source *s, uint64_t set, size_t *n, const network_root **other)
{
    const network_root *own = NULL;
    size_t alone = 0;
    *n = 0;
    for (size_t i = 0; i < s->n_roots; i++) {
        const network_root *r = &s->roots[i];
        if (!is_of_set(r, set))
            continue;
        const bool by_itself = is_alone(s, r);
        ++*n;
        alone += by_itself;
        own = by_itself ? r : own;
        *other = by_itself && alone < 2 ? *other : r;
    }
    return *n < 2 || alone == 1 ? own : NULL;
}

bool import_names_prefer_own(source *s, uint64_t set, err *e)
{
    const network_root *other = NULL;
    size_t all;
    const network_root *own = find_own(s, set, &all, &other);
    if (all < 2)
        return true;
    if (!own)
        return err_set(e, ERR_USAGE, "convert: %zu networks of one kind, %s, the last one in %s (give one of them)",
                       all, networks[other->network].name, file_of_root(s, other));
    bool *outside = calloc(s->n ? s->n : 1, sizeof *outside);
    if (!outside)
        return err_no_memory(e, "convert", s->n * sizeof *outside);
    log_write(LOG_WARNING, "convert: %s: that of %s is taken in place of that of %s", networks[own->network].name,
              file_of_root(s, own), file_of_root(s, other));
    for (size_t i = 0; i < s->n_roots; i++) {
        network_root *r = &s->roots[i];
        r->dropped = r->dropped || (r != own && is_of_set(r, set));
    }
    for (size_t i = 0; i < s->n; i++) {
        const network_root *r = s->tensors[i].root ? whole_of(s, &s->roots[s->tensors[i].root - 1]) : NULL;
        outside[i] = s->tensors[i].left_out = r && r != own && set & UINT64_C(1) << r->network;
    }
    bool ok = put_outside_last(s, outside, e);
    free(outside);
    return ok;
}

uint64_t import_names_set(const source *s)
{
    uint64_t set = 0;
    for (size_t i = 0; i < s->n_roots; i++)
        if (!s->roots[i].dropped)
            set |= UINT64_C(1) << s->roots[i].network;
    return set;
}

uint64_t import_names_by_folder(void)
{
    uint64_t set = 0;
    for (int i = 0; i < NETWORKS; i++)
        set |= networks[i].by_folder ? UINT64_C(1) << i : 0;
    return set;
}

void import_names_full(const source *s, const char *name, char out[256])
{
    snprintf(out, 256, "%s", name);
    for (size_t i = 0; i < s->n_roots; i++) {
        const network_root *r = &s->roots[i];
        if (r->dropped || r->part_of >= 0 || !name_begins(name, r->to))
            continue;
        snprintf(out, 256, "%s%s", r->prefix, name + strlen(r->to));
        return;
    }
}

void import_names_release(source *s)
{
    for (size_t i = 0; i < s->n_roots; i++) {
        free(s->roots[i].prefix);
        free(s->roots[i].to);
    }
    free(s->roots);
    s->roots = NULL;
    s->n_roots = 0;
}
