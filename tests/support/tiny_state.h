/* For tests of generation: the device, and a tiny model that is open during a group of tests. */
#ifndef TESTS_TINY_STATE_H
#define TESTS_TINY_STATE_H
#include "models/model.h"
#include "support.h"

static device *dev;
static model *tiny;

static int open_tiny(void **state)
{
    (void)state;
    tiny = support_tiny(dev);
    return tiny ? 0 : -1;
}

/* Fails if memory is left. */
static int close_tiny(void **state)
{
    (void)state;
    limn_model_free(&tiny);
    return dev->memory_used == 0 ? 0 : -1;
}
#endif
