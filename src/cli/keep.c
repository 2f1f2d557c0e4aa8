/* --keep: which cells of an image prompt stay as they are. */
#include "cli/keep.h"

#include <stdlib.h>

#include "base/ranks.h"

/* Makes cells of a picture's brightness, or of its alpha if it has transparent parts.  The picture is fitted like the
 * image prompt, so that a mask painted over it keeps its place.  *transparent: whether it has such parts. */
static bool picture_cells(uint8_t *cells, bool *transparent, const char *path, const opened_model *s, err *e)
{
    image whole = {0};
    uint8_t *alpha = NULL;
    bool ok = input_check(path, e) && image_read_alpha(&whole, &alpha, path, e) &&
              mask_cells(cells, &whole, alpha, s->info, e);
    *transparent = alpha != NULL;
    image_release(&whole);
    free(alpha);
    return ok;
}

static int count_kept(const uint8_t *cells, const opened_model *s)
{
    int kept = 0;
    for (int i = 0; i < s->cells; i++)
        kept += cells[i];
    return kept;
}

/* What is opaque in the image prompt, where that divides it; else the upper half. */
static bool default_cells(uint8_t *cells, keep *k, const char *image_prompt, const opened_model *s, err *e)
{
    bool transparent = false;
    if (image_prompt && !picture_cells(cells, &transparent, image_prompt, s, e))
        return false;
    int kept = transparent ? count_kept(cells, s) : 0;
    if (kept == 0 || kept == s->cells)
        return keep_parse(k, "top:0.5", e) && region_cells(cells, k, s->info, e);
    if (ranks_rank() == 0)
        say(LOG_WARNING, "%s: its transparent parts are drawn anew, %d of %d cells (--keep says otherwise)",
            image_prompt, s->cells - kept, s->cells);
    return true;
}

bool keep_cells(uint8_t *cells, keep *k, const char *image_prompt, const opened_model *s, err *e)
{
    bool transparent = false;
    bool ok = k->kind == KEEP_DEFAULT ? default_cells(cells, k, image_prompt, s, e)
              : k->kind == KEEP_MASK  ? picture_cells(cells, &transparent, k->text, s, e)
                                      : region_cells(cells, k, s->info, e);
    int kept = ok ? count_kept(cells, s) : 0;
    if (ok && ranks_rank() == 0 && kept == 0)
        say(LOG_WARNING, "--keep: %s keeps none of the %d cells: all of the picture is drawn anew (what is %s stays)",
            k->text, s->cells, transparent ? "opaque" : "white");
    if (ok && ranks_rank() == 0 && kept == s->cells)
        say(LOG_WARNING, "--keep: %s keeps all %d cells: nothing is drawn anew (%s)", k->text, s->cells,
            k->kind != KEEP_MASK ? "give a smaller region"
            : transparent        ? "what is transparent is drawn anew"
                                 : "what is black or transparent is drawn anew");
    return ok;
}
