/* The order that generate --rank gives pictures. */
#include "cli/rank.h"

#include <stdlib.h>
#include <string.h>

bool ranking_open(ranking *r, const opened_model *s, const char *file, err *e)
{
    *r = (ranking){.clip = s->model, .drawn = s->model};
    if (strcmp(file, "own") != 0)
        r->clip = r->own = limn_model_open(s->device, file, e);
    if (!r->clip)
        return false;
    const limn_model_info *i = limn_model_get_info(r->clip);
    if (!i->has_clip)
        return err_set(e, ERR_USAGE, "--rank %s: %s has no CLIP inside (give a file of limn train clip)", file,
                       i->name);
    return i->has_tokenizer || err_set(e, ERR_USAGE, "--rank %s: %s has no tokenizer inside", file, i->name);
}

void ranking_release(ranking *r)
{
    limn_model_free(&r->own);
    free(r->order);
    free(r->scores);
    *r = (ranking){0};
}

typedef struct place {
    int picture;
    float score;
} place;

static int by_score(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score) - (x->score > y->score) : x->picture - y->picture;
}

bool ranking_order(ranking *r, const char *prompt, const image *ims, int n, int first, err *e)
{
    free(r->order);
    free(r->scores);
    place *places = array_new((size_t)n, sizeof *places, "ranking", e);
    r->order = array_new((size_t)n, sizeof *r->order, "ranking", e);
    r->scores = array_new((size_t)n, sizeof *r->scores, "ranking", e);
    size_t one = (size_t)ims[0].width * (size_t)ims[0].height * 3;
    uint8_t *rgb = array_new((size_t)n, one, "ranking", e);
    bool ok = places && r->order && r->scores && rgb;
    for (int i = 0; ok && i < n; i++)
        memcpy(rgb + (size_t)i * one, ims[i].pixels, one);
    ok = ok && (!r->own || limn_model_rest(r->drawn, e)) &&
         limn_rank(r->clip, prompt, rgb, n, ims[0].width, ims[0].height, r->scores, e);
    for (int i = 0; ok && i < n; i++)
        places[i] = (place){i, r->scores[i]};
    if (ok)
        qsort(places, (size_t)n, sizeof *places, by_score);
    for (int i = 0; ok && i < n; i++) {
        r->order[i] = places[i].picture;
        r->scores[i] = places[i].score;
        say(LOG_INFO, "rank %d: picture %d, score %.4f", i + 1, first + r->order[i], (double)r->scores[i]);
    }
    free(places);
    free(rgb);
    return ok;
}
