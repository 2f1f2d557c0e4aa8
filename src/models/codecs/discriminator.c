/* The patch discriminator. */
#include "models/codecs/discriminator.h"

#include <stdio.h>

#define GROUPS 8 /* of channels, where they divide */

tensor discriminator_forward(run *r, const discriminator *d, tensor x)
{
    for (int i = 0; i < d->layers; i++) {
        x = op_conv2d(r, x, &d->down[i], i == 0 ? ACT_LEAKY_RELU : ACT_NONE, (tensor){0});
        if (i > 0)
            x = op_group_norm(r, x, &d->norms[i], d->groups[i], ACT_LEAKY_RELU);
    }
    x = op_conv2d(r, x, &d->same, ACT_NONE, (tensor){0});
    x = op_group_norm(r, x, &d->norms[d->layers], d->groups[d->layers], ACT_LEAKY_RELU);
    return op_conv2d(r, x, &d->out, ACT_NONE, (tensor){0});
}

static void declare_norm(discriminator *d, int i, int channels, param_table *p)
{
    char name[64];
    snprintf(name, sizeof name, "discriminator.norm.%d", i);
    param_norm(p, &d->norms[i], channels, 1e-5f, name);
    d->groups[i] = channels % GROUPS ? 1 : GROUPS;
}

bool discriminator_declare(discriminator *d, const int *channels, int layers, int width, int height, const char *file,
                           param_table *p, err *e)
{
    char name[64];
    int in = 3, least = width < height ? width : height;
    *d = (discriminator){.layers = layers};
    if (layers < 1 || layers > DISCRIMINATOR_LAYERS)
        return err_set(e, ERR_USAGE, "%s: the discriminator has %d layers, and 1 to %d are possible", file, layers,
                       DISCRIMINATOR_LAYERS);
    if ((least >> layers) < 3) /* two convolutions take a pixel each */
        return err_set(e, ERR_USAGE,
                       "%s: the discriminator's %d layers leave nothing of pictures of %d x %d (give it fewer)", file,
                       layers, width, height);
    for (int i = 0; i < layers; i++) {
        snprintf(name, sizeof name, "discriminator.down.%d", i);
        param_conv(p, &d->down[i], in, channels[i], 4, 2, 1, name);
        if (i > 0)
            declare_norm(d, i, channels[i], p);
        in = channels[i];
    }
    param_conv(p, &d->same, in, in, 4, 1, 1, "discriminator.same");
    declare_norm(d, layers, in, p);
    param_conv(p, &d->out, in, 1, 4, 1, 1, "discriminator.out");
    return true;
}
