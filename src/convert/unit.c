/* The tensors of one unit of the inputs by their names: finding them, what words of their paths say, and wrappers that
 * stand in the middle. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/names_internal.h"

static int compare_names(const void *a, const void *b)
{
    return strcmp(tensor_name(*(source_tensor *const *)a), tensor_name(*(source_tensor *const *)b));
}

source_tensor *unit_find(const unit *u, const char *name)
{
    size_t low = 0, high = u->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(tensor_name(u->by_name[middle]), name);
        if (order == 0)
            return u->by_name[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

source_tensor *unit_find_behind(const unit *u, const char *prefix, size_t length, const char *name)
{
    char whole[NAME_BYTES];
    int n = snprintf(whole, sizeof whole, "%.*s%s", (int)length, prefix, name);
    return n > 0 && n < NAME_BYTES ? unit_find(u, whole) : NULL;
}

bool name_begins(const char *name, const char *prefix)
{
    return !strncmp(name, prefix, strlen(prefix));
}

/* Whether one of the words is a part of the path: "opt" of "opt.state.0", "ema" of "state_dict.model_ema.w". */
static bool has_word(const char *path, size_t length, const char *const *words, size_t n, const char *apart)
{
    for (size_t at = 0; at < length;) {
        size_t size = strcspn(path + at, apart);
        if (size > length - at)
            size = length - at;
        for (size_t i = 0; i < n; i++)
            if (strlen(words[i]) == size && !strncmp(words[i], path + at, size))
                return true;
        at += size + 1;
    }
    return false;
}

bool path_is_ema(const char *path, size_t length)
{
    static const char *const words[] = {"ema", "EMA", "averaged", "swa"};
    return has_word(path, length, words, sizeof words / sizeof *words, "._-");
}

bool path_is_training(const char *path, size_t length)
{
    static const char *const words[] = {"optimizer",    "optimizers", "optimizer_states",
                                        "optim",        "opt",        "exp_avg",
                                        "exp_avg_sq",   "momentum",   "grad",
                                        "grads",        "gradients",  "loss",
                                        "lpips",        "callbacks",  "optimizer_state_dict",
                                        "discriminator"};
    return has_word(path, length, words, sizeof words / sizeof *words, ".");
}

bool tensor_rename(source_tensor *t, char *name, err *e)
{
    if (!name)
        return err_no_memory(e, t->file, NAME_BYTES);
    free(t->renamed);
    t->own.name = t->renamed = name;
    return true;
}

/* Compilers and sharders put a part of their own into the middle of names: "layers.0._orig_mod.w".  A new string. */
static char *without_wrappers(const char *name)
{
    static const char *const words[] = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"};
    char *out = malloc(strlen(name) + 1), *to = out;
    for (const char *part = name; out && *part;) {
        size_t n = strcspn(part, ".");
        bool last = !part[n], wrapper = !last && has_word(part, n, words, sizeof words / sizeof *words, ".");
        if (!wrapper) {
            memcpy(to, part, n + !last);
            to += n + !last;
        }
        part += n + !last;
    }
    if (out)
        *to = 0;
    return out;
}

static void sort_unit(unit *u)
{
    if (u->n)
        qsort(u->by_name, u->n, sizeof(source_tensor *), compare_names);
}

bool unit_drop_wrappers(unit *u, err *e)
{
    char **old = calloc(u->n ? u->n : 1, sizeof *old);
    bool ok = old || err_no_memory(e, "convert", u->n * sizeof *old), twice = false;
    size_t n = 0;
    for (; ok && n < u->n; n++) {
        source_tensor *t = u->by_name[n];
        old[n] = strdup(t->own.name);
        ok = old[n] ? tensor_rename(t, without_wrappers(t->own.name), e) : err_no_memory(e, t->file, NAME_BYTES);
    }
    source_tensor **order = ok ? malloc((u->n ? u->n : 1) * sizeof *order) : NULL;
    ok = ok && (order || err_no_memory(e, "convert", u->n * sizeof *order));
    if (ok)
        memcpy(order, u->by_name, u->n * sizeof *order);
    if (ok)
        sort_unit(u);
    for (size_t i = 1; ok && i < u->n; i++)
        twice = twice || !strcmp(tensor_name(u->by_name[i - 1]), tensor_name(u->by_name[i]));
    for (size_t i = 0; ok && twice && i < u->n; i++) {
        tensor_rename(order[i], old[i], NULL);
        old[i] = NULL;
    }
    if (ok && twice)
        sort_unit(u);
    for (size_t i = 0; old && i < n; i++)
        free(old[i]);
    free(order);
    free(old);
    return ok;
}

/* How long the prefix of such a tower is, by one of its tensors; false: it is none's. */
static bool find_tower(const unit *u, const char *name, size_t *length)
{
    static const char *const marks[] = {"final_layer_norm.weight", "embeddings.position_embedding.weight",
                                        "embeddings.token_embedding.weight"};
    static const char usual[] = "text_model.";
    const size_t n = strlen(name), end = strlen(marks[0]), own = strlen(usual);
    *length = n - end;
    if (n < end || strcmp(name + *length, marks[0]) != 0 || (*length && name[*length - 1] != '.') ||
        (*length >= own && !strncmp(name + *length - own, usual, own)))
        return false;
    for (size_t i = 1; i < sizeof marks / sizeof *marks; i++)
        if (!unit_find_behind(u, name, *length, marks[i]))
            return false;
    return true;
}

bool unit_name_text_tower(unit *u, err *e)
{
    static const char *const parts[] = {"embeddings.", "encoder.", "final_layer_norm."};
    char prefix[NAME_BYTES];
    size_t length = 0, at = 0;
    bool ok = true;
    while (at < u->n && !find_tower(u, tensor_name(u->by_name[at]), &length))
        at++;
    if (at == u->n || length >= NAME_BYTES)
        return true;
    snprintf(prefix, sizeof prefix, "%.*s", (int)length, tensor_name(u->by_name[at]));
    for (size_t i = 0; ok && i < u->n; i++)
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
            const char *name = tensor_name(u->by_name[i]);
            if (!name_begins(name, prefix) || !name_begins(name + length, parts[k]))
                continue;
            char whole[2 * NAME_BYTES];
            snprintf(whole, sizeof whole, "%stext_model.%.2000s", prefix, name + length);
            ok = tensor_rename(u->by_name[i], strdup(whole), e);
            break;
        }
    sort_unit(u);
    return ok;
}

bool unit_open(unit *u, source *s, size_t number, err *e)
{
    *u = (unit){.s = s, .number = number, .by_name = malloc((s->n ? s->n : 1) * sizeof *u->by_name)};
    if (!u->by_name)
        return err_no_memory(e, "convert", s->n * sizeof *u->by_name);
    for (size_t i = 0; i < s->n; i++)
        if (s->tensors[i].unit == number)
            u->by_name[u->n++] = &s->tensors[i];
    sort_unit(u);
    return true;
}
