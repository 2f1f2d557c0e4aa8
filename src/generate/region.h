/* Which part of an image prompt stays, as people write it. */
#ifndef GENERATE_REGION_H
#define GENERATE_REGION_H
#include <limn/limn.h>

#include "base/err.h"
#include "io/image.h"

typedef enum keep_kind { KEEP_TOP, KEEP_BOTTOM, KEEP_LEFT, KEEP_RIGHT, KEEP_BOX, KEEP_MASK, KEEP_DEFAULT } keep_kind;

typedef struct keep {
    keep_kind kind;
    double v[4];      /* one number, or X, Y, W, H */
    bool pixels;      /* of the picture that is made; else fractions of it */
    const char *text; /* as given: a mask's path; NULL: what is opaque in the image prompt */
} keep;

/* top:F bottom:F left:F right:F box:X,Y,W,H or a mask's path.  Numbers are fractions from 0 to 1; where one of them
 * is greater than 1, all are whole pixels.  NULL: what is opaque in the image prompt where that has transparent parts,
 * else the upper half.  Errors are ERR_USAGE. */
bool keep_parse(keep *k, const char *text, err *e);
/* cells[grid_height][grid_width] = 1 where the centre of a code, or of a latent with all of its numbers, lies in a
 * region that is no mask.  ERR_USAGE if it reaches out of the picture or holds no cell. */
bool region_cells(uint8_t *cells, const keep *k, const limn_model_info *i, err *e);
/* The same of a picture that is a mask, as image_mask_cells has it; its pixels are lost where it has an alpha. */
bool mask_cells(uint8_t *cells, image *whole, const uint8_t *alpha, const limn_model_info *i, err *e);
#endif
