/* Regions of image prompts, as text. */
#include "generate/region.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include "base/number.h"

static const char forms[] = "give top:0.5, bottom:F, left:F, right:F, box:X,Y,W,H, or the picture of a mask";

static bool parse_values(keep *k, const char *text, int n, err *e)
{
    char copy[128], *rest = copy;
    size_t length = strlen(text);
    if (length >= sizeof copy)
        return err_set(e, ERR_USAGE, "`keep`: \"%.60s...\" is too long (%s)", k->text, forms);
    memcpy(copy, text, length + 1);
    for (int i = 0; i < n; i++) {
        char *part = rest, *comma = strchr(part, ',');
        if ((comma == NULL) != (i == n - 1))
            return err_set(e, ERR_USAGE, "`keep`: \"%s\" has not %d number%s (%s)", k->text, n, n > 1 ? "s" : "",
                           forms);
        if (comma) {
            *comma = '\0';
            rest = comma + 1;
        }
        if (!parse_number(part, &k->v[i]) || k->v[i] < 0)
            return err_set(e, ERR_USAGE, "`keep`: \"%s\" in \"%s\" is not a number from 0 (%s)", part, k->text, forms);
        k->pixels = k->pixels || k->v[i] > 1;
    }
    for (int i = 0; i < n && k->pixels; i++) {
        if (k->v[i] != floor(k->v[i]))
            return err_set(e, ERR_USAGE,
                           "`keep`: \"%s\" mixes fractions and pixels (give all numbers from 0 to 1, or "
                           "all as whole pixels)",
                           k->text);
    }
    bool box = k->kind == KEEP_BOX;
    if ((box && (k->v[2] <= 0 || k->v[3] <= 0)) || (!box && k->v[0] <= 0))
        return err_set(e, ERR_USAGE, "`keep`: \"%s\" keeps nothing (%s)", k->text, forms);
    if (box && !k->pixels && (k->v[0] + k->v[2] > 1 + 1e-9 || k->v[1] + k->v[3] > 1 + 1e-9))
        return err_set(e, ERR_USAGE, "`keep`: \"%s\" reaches out of the picture (X + W and Y + H must be at most 1)",
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
            return err_set(e, ERR_USAGE, "`keep`: \"%s\" lacks its number (%s)", text, forms);
    }
    /* A path may have a colon, but a word before one is rather a misspelled form. */
    size_t word = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (text[word] == ':' && !image_is_picture_name(text))
        return err_set(e, ERR_USAGE, "`keep`: \"%.60s\" is not known (%s)", text, forms);
    return true;
}

/* A place of a picture is a code, or the numbers of a latent, which have a cell each, side by side. */
static int places_across(const limn_model_info *i)
{
    return i->latent_channels ? i->grid_width / i->latent_channels : i->grid_width;
}

/* What was found of each place becomes that of all of its cells. */
static void spread(uint8_t *cells, const limn_model_info *i)
{
    const int each = i->latent_channels;
    for (int place = i->grid_height * places_across(i) - 1; each && place >= 0; place--)
        memset(cells + (size_t)place * (size_t)each, cells[place], (size_t)each);
}

bool region_cells(uint8_t *cells, const keep *k, const limn_model_info *i, err *e)
{
    double w = k->pixels ? i->width : 1, h = k->pixels ? i->height : 1;
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
                       "`keep`: \"%s\" reaches out of the picture, which is %d x %d pixels (numbers up to 1 "
                       "are fractions of it)",
                       k->text, i->width, i->height);
    int rows = i->grid_height, columns = places_across(i);
    int kept = 0;
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) {
            double x = (c + 0.5) * w / columns, y = (r + 0.5) * h / rows;
            cells[r * columns + c] = x >= x0 - slack && x < x1 - slack && y >= y0 - slack && y < y1 - slack;
            kept += cells[r * columns + c];
        }
    }
    spread(cells, i);
    return kept > 0 || err_set(e, ERR_USAGE, "`keep`: \"%s\" keeps none of the %d x %d cells (give a larger region)",
                               k->text, columns, rows);
}

bool mask_cells(uint8_t *cells, image *whole, const uint8_t *alpha, const limn_model_info *i, err *e)
{
    bool ok =
        image_mask_cells(cells, whole, alpha, i->encode_width, i->encode_height, i->grid_height, places_across(i), e);
    if (ok)
        spread(cells, i);
    return ok;
}
