/* What the commands of limn train share: the data set that their options name. */
#include "cli/train.h"

#include <stdlib.h>

#include "cli/common.h"

const char **train_sources(const options *o, size_t *n, err *e)
{
    int listed = 0;
    while (options_list(o, "data", listed))
        listed++;
    *n = (size_t)listed + (size_t)o->n_operands;
    const char **sources = array_new(*n, sizeof *sources, "data", e);
    for (int i = 0; sources && i < listed; i++)
        sources[i] = options_list(o, "data", i);
    for (int i = 0; sources && i < o->n_operands; i++)
        sources[listed + i] = o->operands[i];
    return sources;
}

dataset *train_open_data(const options *o, dataset_options want, err *e)
{
    const char **sources = train_sources(o, &want.n_sources, e);
    want.sources = sources;
    dataset *d = sources ? dataset_open(&want, e) : NULL;
    free(sources);
    return d;
}
