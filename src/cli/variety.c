/* How many of a prompt's pictures differ, counted as they come. */
#include "cli/variety.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/generate.h"
#include "cli/terminal.h"

/* A picture small: SIDE x SIDE x 3 means.  Of each prompt the first KEPT that differ are compared with. */
enum { SIDE = 16, SMALL = 3 * SIDE * SIDE, KEPT = 4 };
/* Pictures are the same to the eye where the means differ by less than this, of 255 on average: a hundredth. */
#define ALIKE 2.55

typedef struct variety_prompt {
    int taken, different;
    bool more; /* differ than are kept */
    uint64_t kept_hash[KEPT];
    uint8_t kept[KEPT][SMALL];
} variety_prompt;

bool variety_begin(variety *v, int n, bool exact, err *e)
{
    *v = (variety){.n = n, .exact = exact};
    v->prompts = array_new((size_t)n, sizeof *v->prompts, "pictures", e);
    return v->prompts != NULL;
}

void variety_release(variety *v)
{
    free(v->prompts);
    *v = (variety){0};
}

/* FNV-1a of the pixels. */
static uint64_t hash_of(const image *im)
{
    uint64_t h = 14695981039346656037u;
    size_t n = 3 * (size_t)im->width * (size_t)im->height;
    for (size_t i = 0; i < n; i++)
        h = (h ^ im->pixels[i]) * 1099511628211u;
    return h;
}

/* Means of the picture's parts; of one smaller than SIDE, parts share pixels. */
static void shrink(uint8_t small[SMALL], const image *im)
{
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int top = y * im->height / SIDE, bottom = (y + 1) * im->height / SIDE;
            int left = x * im->width / SIDE, right = (x + 1) * im->width / SIDE;
            uint64_t sum[3] = {0}, n = 0;
            for (int j = top; j < bottom || j == top; j++)
                for (int i = left; i < right || i == left; i++, n++)
                    for (int c = 0; c < 3; c++)
                        sum[c] += im->pixels[3 * ((size_t)j * (size_t)im->width + (size_t)i) + (size_t)c];
            for (int c = 0; c < 3; c++)
                small[3 * (y * SIDE + x) + c] = (uint8_t)(sum[c] / n);
        }
}

static bool alike(const uint8_t a[SMALL], const uint8_t b[SMALL])
{
    int sum = 0;
    for (int i = 0; i < SMALL; i++)
        sum += abs(a[i] - b[i]);
    return sum < ALIKE * SMALL;
}

void variety_take(variety *v, int prompt, const image *im)
{
    variety_prompt *p = &v->prompts[prompt];
    uint8_t small[SMALL];
    p->taken++;
    if (p->more)
        return;
    uint64_t hash = hash_of(im);
    shrink(small, im);
    for (int i = 0; i < p->different; i++)
        if (p->kept_hash[i] == hash || (!v->exact && alike(p->kept[i], small)))
            return;
    p->more = p->different == KEPT;
    if (p->more)
        return;
    p->kept_hash[p->different] = hash;
    memcpy(p->kept[p->different++], small, SMALL);
}

/* Whether half of the pictures or more are like others. */
static bool few(const variety_prompt *p)
{
    return !p->more && p->taken > 1 && 2 * p->different <= p->taken;
}

/* What gives others. */
static void advice(char *text, size_t size, const limn_model_info *m, const limn_generate_options *g)
{
    float more = g->temperature < 0.05f ? 0.1f : g->temperature < 0.5f ? 2 * g->temperature : 1;
    if (m->latent_channels)
        snprintf(text, size,
                 g->noise ? "without --noise they differ" : "another prompt or less --guidance gives others");
    else if (g->temperature <= 0)
        snprintf(text, size, "give a --temperature above 0");
    else if (g->top_k == 1)
        snprintf(text, size, "--top-k 1 is the most likely code each time: give a larger one");
    else if (g->temperature < 1)
        snprintf(text, size, "--temperature %.2g instead of %.2g gives more that differ, and rougher ones",
                 (double)more, (double)g->temperature);
    else
        snprintf(text, size, "a higher --temperature%s gives others",
                 g->guidance > 1 ? ", or less --guidance,"
                 : g->top_k > 1  ? ", or a larger --top-k,"
                                 : "");
}

void variety_say(const variety *v, const source *sources, const limn_model_info *m, const limn_generate_options *g)
{
    char how[160], what[64];
    const variety_prompt *first = NULL;
    int n = 0;
    for (int i = v->n; i-- > 0;)
        if (few(&v->prompts[i])) {
            first = &v->prompts[i];
            n++;
        }
    if (n == 0)
        return;
    advice(how, sizeof how, m, g);
    if (first->different == 1)
        snprintf(what, sizeof what, "all %d pictures are the same", first->taken);
    else
        snprintf(what, sizeof what, "of %d pictures only %d differ", first->taken, first->different);
    if (v->n == 1)
        say(LOG_WARNING, "%s: the model is that sure of this prompt (%s)", what, how);
    else
        say(LOG_WARNING, "\"%.80s\": %s, as the model is that sure%s (%s)", sources[first - v->prompts].shown, what,
            n > 1 ? ", and so of other prompts" : "", how);
}
