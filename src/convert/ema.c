/* Averaged weights (EMA) in a checkpoint take the place of the plain ones beside them. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "convert/names_internal.h"

static source_tensor *find_without_dots(const unit *u, const char *prefix, size_t length, const char *name)
{
    char bare[NAME_BYTES];
    size_t n = 0;
    for (const char *p = name; *p && n < NAME_BYTES - 1; p++)
        if (*p != '.')
            bare[n++] = *p;
    bare[n] = 0;
    return unit_find_behind(u, prefix, length, bare);
}

/* The average of a tensor of that whole name, whose root is as long as `before`.  LitEma's names have lost their dots,
 * and may begin with the last parts of the root's: "model_ema.diffusion_modelout0weight". */
static source_tensor *find_ema(const unit *u, const char *prefix, size_t length, const char *name, size_t before)
{
    source_tensor *t = unit_find_behind(u, prefix, length, name + before);
    t = t ? t : find_without_dots(u, prefix, length, name + before);
    for (size_t at = before; !t && at > 0;) {
        do
            at--;
        while (at > 0 && name[at - 1] != '.');
        t = find_without_dots(u, prefix, length, name + at);
    }
    return t;
}

static bool is_same_shape(const file_tensor *a, const file_tensor *b)
{
    return a->nd == b->nd && !memcmp(a->shape, b->shape, (size_t)a->nd * sizeof *a->shape);
}

/* How many tensors of the root have an EMA behind the prefix.  apply: each of them gets its EMA's values. */
static size_t count_ema(const unit *u, const network_root *r, const char *prefix, size_t length, bool apply,
                        size_t *all)
{
    size_t n = 0, before = strlen(r->prefix);
    *all = 0;
    for (size_t i = 0; i < u->n; i++) {
        source_tensor *t = u->by_name[i], *ema;
        const char *name = tensor_name(t);
        if (!name_begins(name, r->prefix) || !strncmp(name, prefix, length) ||
            path_is_ema(name + before, strlen(name + before)) || path_is_training(name, strlen(name)))
            continue;
        ++*all;
        ema = find_ema(u, prefix, length, name, before);
        if (!ema || !is_same_shape(&ema->own, &t->own))
            continue;
        n++;
        if (apply) {
            const char *own = t->own.name;
            t->own = ema->own;
            t->own.name = own;
            ema->used = true;
        }
    }
    return n;
}

/* Where the name's part that says so ends, with up to two parts more: "ema.", "ema.shadow."; 0: nowhere. */
static size_t ema_prefix(const char *name, int more)
{
    for (size_t at = 0; name[at];) {
        size_t n = strcspn(name + at, ".");
        if (!name[at + n])
            return 0;
        if (path_is_ema(name + at, n)) {
            at += n + 1;
            for (; more > 0; more--) {
                n = strcspn(name + at, ".");
                if (!name[at + n])
                    return 0;
                at += n + 1;
            }
            return at;
        }
        at += n + 1;
    }
    return 0;
}

void unit_lay_ema_over(const unit *u, const network_root *r, const name_choice *c)
{
    const char *best = NULL;
    size_t best_length = 0, most = 0, all = 0;
    bool chosen = false;
    for (int more = 0; more < 3 && !best; more++)
        for (size_t i = 0; i < u->n; i++) {
            const char *name = tensor_name(u->by_name[i]);
            size_t length = ema_prefix(name, more), n;
            bool known = i && !strncmp(tensor_name(u->by_name[i - 1]), name, length); /* they are sorted */
            char text[NAME_BYTES];
            if (!length || known)
                continue;
            snprintf(text, sizeof text, "%.*s", (int)length, name);
            bool is = root_is_chosen(&(network_root){.prefix = text}, c->part);
            n = count_ema(u, r, name, length, false, &all);
            if (2 * n < all || n == 0 || (chosen && !is) || (n <= most && !(is && !chosen)))
                continue;
            best = name;
            best_length = length;
            most = n;
            chosen = is;
        }
    if (!best)
        return;
    char prefix[NAME_BYTES];
    snprintf(prefix, sizeof prefix, "%.*s", (int)best_length, best);
    most = count_ema(u, r, prefix, best_length, true, &all);
    if (!c->quiet)
        log_write(LOG_WARNING,
                  "convert: %s: of %zu tensors %zu are taken from the averaged weights (EMA), '%.*s' (`settings` ema=0 "
                  "takes the "
                  "others)",
                  r->mark->file, all, most, (int)best_length - 1, prefix);
}
