/* The registry of families: their names, and which of them files belong to. */
#include "convert/families.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "convert/convert_internal.h"
#include "convert/names.h"

#define DECLARE(family_, name, settings) extern const family family_;
IMPORT_FAMILIES(DECLARE, )

#define ADDRESS(family, name, settings) &family
static const family *const families[] = {IMPORT_FAMILIES(ADDRESS, IMPORT_COMMA)};
static const char *const family_names[] = {IMPORT_FAMILIES(IMPORT_FAMILY_NAME, IMPORT_COMMA)};

const family *family_at(size_t i)
{
    return i < FAMILIES ? families[i] : NULL;
}

const char *import_family_name(size_t i)
{
    return i < FAMILIES ? family_names[i] : NULL;
}

const char *family_name(const family *f)
{
    size_t i = 0;
    while (i < FAMILIES - 1 && families[i] != f)
        i++;
    return family_names[i];
}

bool family_fits(const family *f, uint64_t set)
{
    bool alone = set & NETWORK_DALLE_CLIP && set != NETWORK_DALLE_CLIP; /* DALLE-pytorch's two models */
    return !(set & ~f->networks) && !alone;
}

/* What changes a model, and is none: the setting that takes it; or NULL. */
static const char *taken_by(const source *s)
{
    const size_t all = s->n_all > s->n ? s->n_all : s->n;
    for (size_t i = 0; i < all; i++) {
        const char *name = s->tensors[i].original;
        if (strstr(name, ".lora_") || strstr(name, "_lora.") || strstr(name, ".lora."))
            return "`lora`";
        if (!strcmp(name, "emb_params") || !strncmp(name, "string_to_param", 15))
            return "`embedding`";
    }
    return NULL;
}

/* No family knows the tensors: says what there is. */
static bool refuse_unknown(const source *s, const char *input, const char *known, err *e)
{
    char names[256] = "";
    size_t at = 0, all = s->n_all > s->n ? s->n_all : s->n;
    const char *setting = taken_by(s);
    if (setting)
        return err_set(e, ERR_FAILED, "convert: %s: it changes a model, and is none (give it by %s of generate)", input,
                       setting);
    for (size_t i = 0; i < all && i < 3; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%.70s", i ? ", " : "", s->tensors[i].original);
    return err_set(e, ERR_FAILED,
                   "convert: %s: its tensors are of no family that limn knows (known: %s): it has %zu, %s%s", input,
                   known, all, names, all > 3 ? ", …" : "");
}

const family *family_choose(const source *s, const import_request *q, err *e)
{
    char known[256] = "";
    const family *found = NULL;
    for (int i = 0; i < FAMILIES && !found; i++) {
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", family_names[i]);
        if (q->family ? !strcasecmp(q->family, family_names[i]) : families[i]->recognise(s))
            found = families[i];
    }
    if (!found && q->family)
        err_set(e, ERR_USAGE, "convert: `family` %s: no such family (known: %s)", q->family, known);
    else if (!found)
        refuse_unknown(s, q->inputs[0], known, e);
    return found;
}
