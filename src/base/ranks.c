/* The processes of one run: this one alone, until others are joined. */
#include "base/ranks.h"

static ranks joined = {.size = 1, .local_size = 1};
static bool rehearsing;

void ranks_join(const ranks *r)
{
    joined = *r;
}

int ranks_rank(void)
{
    return joined.rank;
}

int ranks_size(void)
{
    return joined.size;
}

int ranks_local(void)
{
    return joined.local;
}

int ranks_local_size(void)
{
    return joined.local_size;
}

int64_t ranks_item(int64_t i)
{
    return joined.rank + i * joined.size;
}

void ranks_sum(float *x, size_t n)
{
    if (joined.size > 1 && !rehearsing)
        joined.sum(x, n);
}

void ranks_max(int32_t *x, size_t n)
{
    if (joined.size > 1 && !rehearsing)
        joined.max(x, n);
}

void ranks_broadcast(void *x, size_t bytes, int from)
{
    if (joined.size > 1 && !rehearsing)
        joined.broadcast(x, bytes, from);
}

bool ranks_all(bool mine)
{
    int32_t missing = !mine;
    ranks_max(&missing, 1);
    return !missing;
}

void ranks_rehearse(bool on)
{
    rehearsing = on;
}

bool ranks_rehearsing(void)
{
    return rehearsing;
}

void *ranks_sum_begin(float *x, size_t n)
{
    return joined.sum_begin(x, n);
}

bool ranks_sum_done(void *request)
{
    return joined.sum_done(request);
}

bool ranks_send(const void *x, size_t bytes)
{
    return joined.send(x, bytes);
}

bool ranks_receive(void *x, size_t bytes)
{
    return joined.size > 1 && joined.receive(x, bytes);
}
