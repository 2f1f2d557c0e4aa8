#include "checks.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

void good(bool ok, const err *e)
{
    if (!ok)
        fail_msg("%s", e->text);
}

void has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in: %s", part, text);
}

void refused_with(bool done, const err *e, const char *part, const char *what, const char *output)
{
    if (done)
        fail_msg("%s: it was taken, and \"%s\" expected", what, part);
    has(e->text, part);
    if (output && access(output, F_OK) == 0)
        fail_msg("%s: it was refused, and %s is there", what, output);
}

double log_probability(const float *logits, int n, int target)
{
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, (double)logits[i]);
    for (int i = 0; i < n; i++)
        sum += exp((double)logits[i] - most);
    return (double)logits[target] - most - log(sum);
}
