/* --keep: which cells of an image prompt stay as they are. */
#include "cli/keep.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ranks.h"
#include <strings.h>

static const char forms[] = "give top:0.5, bottom:F, left:F, right:F, box:X,Y,W,H, or the picture of a mask";

static bool parse_values(keep *k, const char *text, int n, err *e)
{
    char copy[128], *rest = copy;
    size_t length = strlen(text);
    if (length >= sizeof copy)
        return err_set(e, ERR_USAGE, "--keep: \"%.60s...\" is too long (%s)", k->text, forms);
    memcpy(copy, text, length + 1);
    for (int i = 0; i < n; i++) {
        char *part = rest, *comma = strchr(part, ',');
        if ((comma == NULL) != (i == n - 1))
            return err_set(e, ERR_USAGE, "--keep: \"%s\" has not %d number%s (%s)", k->text, n, n > 1 ? "s" : "",
                           forms);
        if (comma) {
            *comma = '\0';
            rest = comma + 1;
        }
        if (!parse_number(part, &k->v[i]) || k->v[i] < 0)
            return err_set(e, ERR_USAGE, "--keep: \"%s\" in \"%s\" is not a number from 0 (%s)", part, k->text, forms);
        k->pixels = k->pixels || k->v[i] > 1;
    }
    for (int i = 0; i < n && k->pixels; i++) {
        if (k->v[i] != floor(k->v[i]))
            return err_set(e, ERR_USAGE,
                           "--keep: \"%s\" mixes fractions and pixels (give all numbers from 0 to 1, or "
                           "all as whole pixels)",
                           k->text);
    }
    bool box = k->kind == KEEP_BOX;
    if ((box && (k->v[2] <= 0 || k->v[3] <= 0)) || (!box && k->v[0] <= 0))
        return err_set(e, ERR_USAGE, "--keep: \"%s\" keeps nothing (%s)", k->text, forms);
    if (box && !k->pixels && (k->v[0] + k->v[2] > 1 + 1e-9 || k->v[1] + k->v[3] > 1 + 1e-9))
        return err_set(e, ERR_USAGE, "--keep: \"%s\" reaches out of the picture (X + W and Y + H must be at most 1)",
                       k->text);
    return true;
}

bool keep_parse(keep *k, const char *text, err *e)
{
    static const char *const names[] = {"top:", "bottom:", "left:", "right:", "box:"};
    *k = (keep){.kind = text ? KEEP_MASK : KEEP_DEFAULT, .text = text};
    if (!text)
        return true;
    for (int i = 0; i < 5; i++) {
        size_t n = strlen(names[i]);
        if (strncasecmp(text, names[i], n) == 0) {
            k->kind = (keep_kind)i;
            return parse_values(k, text + n, k->kind == KEEP_BOX ? 4 : 1, e);
        }
        if (strncasecmp(text, names[i], n - 1) == 0 && text[n - 1] == '\0')
            return err_set(e, ERR_USAGE, "--keep: \"%s\" lacks its number (%s)", text, forms);
    }
    /* A path may have a colon, but a word before one is rather a misspelled form. */
    size_t word = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (text[word] == ':' && !image_is_picture_name(text))
        return err_set(e, ERR_USAGE, "--keep: \"%.60s\" is not known (%s)", text, forms);
    return true;
}

/* Makes cells of a picture's brightness, or of its alpha if it has transparent parts.  The picture is fitted like the
 * image prompt, so that a mask painted over it keeps its place.  *transparent: whether it has such parts. */
static bool picture_cells(uint8_t *cells, bool *transparent, const char *path, const opened_model *s, err *e)
{
    const limn_model_info *i = s->info;
    image whole = {0};
    uint8_t *alpha = NULL;
    bool ok =
        input_check(path, e) && image_read_alpha(&whole, &alpha, path, e) &&
        image_mask_cells(cells, &whole, alpha, i->encode_width, i->encode_height, i->grid_height, i->grid_width, e);
    *transparent = alpha != NULL;
    image_release(&whole);
    free(alpha);
    return ok;
}

static bool region_cells(uint8_t *cells, const keep *k, const opened_model *s, err *e)
{
    double w = k->pixels ? s->info->width : 1, h = k->pixels ? s->info->height : 1;
    double x0 = 0, y0 = 0, x1 = w, y1 = h;
    switch (k->kind) {
    case KEEP_TOP:
        y1 = k->v[0];
        break;
    case KEEP_BOTTOM:
        y0 = h - k->v[0];
        break;
    case KEEP_LEFT:
        x1 = k->v[0];
        break;
    case KEEP_RIGHT:
        x0 = w - k->v[0];
        break;
    default:
        x0 = k->v[0];
        y0 = k->v[1];
        x1 = x0 + k->v[2];
        y1 = y0 + k->v[3];
    }
    const double slack = 1e-9;
    if (x0 < -slack || y0 < -slack || x1 > w + slack || y1 > h + slack)
        return err_set(e, ERR_USAGE,
                       "--keep: \"%s\" reaches out of the picture, which is %d x %d pixels (numbers up to 1 "
                       "are fractions of it)",
                       k->text, s->info->width, s->info->height);
    int rows = s->info->grid_height, columns = s->info->grid_width;
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) {
            double x = (c + 0.5) * w / columns, y = (r + 0.5) * h / rows;
            cells[r * columns + c] = x >= x0 - slack && x < x1 - slack && y >= y0 - slack && y < y1 - slack;
        }
    }
    return true;
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
        return keep_parse(k, "top:0.5", e) && region_cells(cells, k, s, e);
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
                                      : region_cells(cells, k, s, e);
    int kept = ok ? count_kept(cells, s) : 0;
    if (ok && kept == 0 && k->kind != KEEP_MASK)
        return err_set(e, ERR_USAGE, "--keep: \"%s\" keeps none of the %d x %d cells (give a larger region)", k->text,
                       s->info->grid_width, s->info->grid_height);
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
