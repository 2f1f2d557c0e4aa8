/* What the commands of limn train share: the data set that their options name. */
#include "cli/train.h"

#include <stdlib.h>

#include "cli/common.h"

dataset *train_open_data(const options *o, dataset_options want, err *e)
{
    int listed = 0;
    while (options_list(o, "data", listed))
        listed++;
    size_t n = (size_t)listed + (size_t)o->n_operands;
    const char **sources = array_new(n, sizeof *sources, "data", e);
    if (!sources)
        return NULL;
    for (int i = 0; i < listed; i++)
        sources[i] = options_list(o, "data", i);
    for (int i = 0; i < o->n_operands; i++)
        sources[listed + i] = o->operands[i];
    want.sources = sources;
    want.n_sources = n;
    dataset *d = dataset_open(&want, e);
    free(sources);
    return d;
}

void train_report_problems(dataset *d)
{
    const dataset_problem *list;
    size_t n;
    uint64_t all = dataset_problems(d, &list, &n);
    for (size_t i = 0; i < n; i++)
        say(LOG_WARNING, "%s: %s", list[i].name, list[i].reason);
    if (all > n)
        say(LOG_WARNING, "data: %llu problems; the first %zu are named above", (unsigned long long)all, n);
}
