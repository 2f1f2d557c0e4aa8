/* Which models rest. */
#include "models/rest.h"

#include "base/log.h"

bool model_at_work(const model *m)
{
    return m->busy || m->inside > 1; /* one is the call that asks */
}

bool model_rest(model *m, err *e)
{
    if (model_at_work(m))
        return err_set_cause(e, ERR_USAGE, LIMN_CAUSE_BUSY, "%s: it is at work (rest it when that is done)",
                             gguf_name(m->gguf));
    m->pinned = false;
    return run_reserve(m->run, NULL, e) && params_unload(&m->params, m->run, 0, e);
}

void model_share(model *m)
{
    m->shared = true;
    m->next = m->dev->shared;
    m->dev->shared = m;
}

static uint64_t bytes_of(const model *m)
{
    return params_loaded(&m->params) + run_memory(m->run);
}

/* A model that somebody is in a call of, a callback's caller say, may have work that goes on. */
static bool may_rest(const model *other, const model *m)
{
    return other != m && !other->busy && !other->inside && !other->pinned && bytes_of(other) > 0;
}

uint64_t model_idle(const model *m)
{
    uint64_t bytes = 0;
    for (const model *other = m->dev->shared; other; other = other->next)
        if (may_rest(other, m))
            bytes += bytes_of(other);
    return bytes;
}

bool model_rest_oldest(const model *m, err *e)
{
    model *oldest = NULL;
    for (model *other = m->dev->shared; other; other = other->next)
        if (may_rest(other, m) && (!oldest || other->used < oldest->used))
            oldest = other;
    if (!oldest)
        return false;
    log_write(LOG_INFO, "%s rests: %.1f MiB for %s", gguf_name(oldest->gguf), (double)bytes_of(oldest) / MIB,
              gguf_name(m->gguf));
    return model_rest(oldest, e);
}
