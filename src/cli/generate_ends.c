/* limn generate with models that draw embeddings: variations of a picture, and pictures on the way from one end to
 * another. */
#include <string.h>

#include "cli/generate.h"

static bool check_given(const request *q, int images, err *e)
{
    const options *o = q->o;
    if (q->variations && q->between)
        return err_set(e, ERR_USAGE, "--variations: --interpolate says already how many pictures there are");
    if ((q->variations || q->between) && options_given(o, "count"))
        return err_set(e, ERR_USAGE, "--count: %s says already how many pictures there are",
                       q->variations ? "--variations" : "--interpolate");
    if (q->variations && images != 1)
        return err_set(e, ERR_USAGE, "--variations: of which picture? (add --image-prompt IMG%s)",
                       images ? ", once" : "");
    return q->between || images < 2 ||
           err_set(e, ERR_USAGE,
                   "--image-prompt: %d are there (one is enough; --interpolate N leads from one of two to "
                   "the other)",
                   images);
}

bool ends_read(request *q, err *e)
{
    int images = 0;
    q->variations = (int)options_integer(q->o, "variations", 0);
    q->between = (int)options_integer(q->o, "interpolate", 0);
    while (options_list(q->o, "image-prompt", images))
        images++;
    if (!check_given(q, images, e))
        return false;
    const int texts = q->prompts.n;
    const bool fits = images == 2 ? texts <= 1 : images + texts == 2;
    if (q->between && !fits)
        return err_set(e, ERR_USAGE,
                       "--interpolate: it leads from one end to another: give two prompts, two --image-prompt, or one "
                       "of each");
    if (q->between && images == 2) {
        q->image_prompt = options_list(q->o, "image-prompt", 0);
        q->image_to = options_list(q->o, "image-prompt", 1);
    }
    return ((!q->variations && !q->between) || texts > 0) || prompts_add(&q->prompts, "", e);
}

bool ends_like(request *q, err *e)
{
    const parameters *p = &q->like;
    if (!(p->has & PARAMETERS_BETWEEN) || options_given(q->o, "image-prompt"))
        return true;
    if (!p->prompt_to && !p->image_to)
        return err_set(e, ERR_FAILED, "--like: \"Interpolate: %d\", and no other end is there", (int)p->between);
    q->between = p->between;
    q->image_to = p->image_to;
    if (p->image_to && !input_check(p->image_to, e))
        return false;
    if (p->image_prompt && !q->image_prompt) /* its file is gone */
        return input_check(p->image_prompt, e);
    return p->image_to || prompts_add(&q->prompts, p->prompt_to, e);
}

void ends_choose(request *q)
{
    if (!q->between || q->image_to)
        return;
    const int last = q->prompts.n - 1;
    q->prompt_to = q->prompts.texts[last];
    q->n_sources = 1;
    if (q->image_prompt)
        q->sources[0].prompt = "";
}

bool ends_fill(const request *q, const limn_model_info *m, const options *o, limn_generate_options *g, err *e)
{
    const char *what = q->variations                        ? "variations"
                       : q->between                         ? "interpolate"
                       : options_given(o, "prior-steps")    ? "prior-steps"
                       : options_given(o, "super-steps")    ? "super-steps"
                       : options_given(o, "prior-guidance") ? "prior-guidance"
                                                            : NULL;
    if (what && !m->default_super_steps)
        return err_set(e, ERR_USAGE,
                       "--%s: %s draws no embeddings of pictures (unCLIP's models do, as Karlo; --strength changes a "
                       "picture by others)",
                       what, m->name);
    g->prior_steps = (int)options_integer(o, "prior-steps", g->prior_steps);
    g->super_steps = (int)options_integer(o, "super-steps", g->super_steps);
    g->prior_guidance = (float)options_number(o, "prior-guidance", (double)g->prior_guidance);
    g->prompt_to = q->prompt_to;
    g->between = q->between;
    return true;
}

/* The picture as it is: the library brings it to what the model sees. */
static bool read_whole(image *im, const char *path, const uint8_t **pixels, int *width, int *height, err *e)
{
    if (!input_check(path, e) || !image_read(im, path, e))
        return false;
    *pixels = im->pixels;
    *width = im->width;
    *height = im->height;
    return true;
}

bool ends_pictures(const request *q, image ims[2], limn_generate_options *g, err *e)
{
    return read_whole(&ims[0], q->image_prompt, &g->image, &g->image_width, &g->image_height, e) &&
           (!q->image_to || read_whole(&ims[1], q->image_to, &g->image_to, &g->image_to_width, &g->image_to_height, e));
}
