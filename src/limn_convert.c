/* The public API of files: what is in them, and conversion.  No device is needed. */
#include "limn/limn.h"

#include "base/control.h"
#include "convert/convert.h"
#include "convert/inspect.h"

limn_inspection *limn_inspection_open(const char *path, limn_error *e)
{
    return inspection_open(path, e);
}

void limn_inspection_free(limn_inspection **i)
{
    inspection_free(*i);
    *i = NULL;
}

const limn_inspection_info *limn_inspection_get_info(const limn_inspection *i)
{
    return &i->info;
}

const limn_key *limn_inspection_key(const limn_inspection *i, size_t n)
{
    return n < i->info.keys ? &i->keys[n] : NULL;
}

const limn_tensor *limn_inspection_tensor(const limn_inspection *i, size_t n)
{
    return n < i->info.tensors ? &i->tensors[n] : NULL;
}

bool limn_convert(const limn_convert_options *options, const limn_control *control, limn_error *e)
{
    limn_convert_options o = {0};
    control_copy(&o, sizeof o, options);
    import_request q = {.inputs = o.inputs,
                        .n_inputs = o.n_inputs,
                        .output = o.output,
                        .family = o.family,
                        .typed = o.type != NULL,
                        .tokenizer = o.tokenizer,
                        .settings = o.settings,
                        .n_settings = o.n_settings,
                        .control = control};
    if (!o.output || !*o.output)
        return err_set(e, ERR_USAGE, "convert: no output (give the path of a file)");
    if (o.type && !dtype_from_name(o.type, &q.type))
        return err_set(e, ERR_USAGE, "convert: %.64s: there is no such type (weights are f32, f16, q8_0 or q4_0)",
                       o.type);
    return import_convert(&q, e);
}
