/* limn convert: model files of other programs, or limn's own in another type, to limn's. */
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/common.h"
#include "models/import.h"

/* The values of --set, as an array. */
static const char **settings_of(const options *o, size_t *n, err *e)
{
    *n = 0;
    while (options_list(o, "set", (int)*n))
        ++*n;
    const char **list = array_new(*n + 1, sizeof *list, "settings", e);
    for (size_t i = 0; list && i < *n; i++)
        list[i] = options_list(o, "set", (int)i);
    return list;
}

int command_convert(const options *o)
{
    err e = {0};
    import_request q = {
        .inputs = o->operands,
        .n_inputs = (size_t)o->n_operands,
        .output = options_text(o, "output", NULL),
        .family = options_text(o, "family", NULL),
        .tokenizer = options_text(o, "tokenizer", NULL),
        .typed = options_given(o, "type"),
    };
    if (q.typed)
        dtype_from_name(options_text(o, "type", "f32"), &q.type);
    const char **settings = settings_of(o, &q.n_settings, &e);
    q.settings = settings;
    bool ok = settings && output_check("output", q.output, NULL, &e) && import_convert(&q, &e);
    free(settings);
    return ok ? 0 : report(&e);
}
