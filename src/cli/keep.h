/* --keep: which cells of an image prompt stay as they are. */
#ifndef CLI_KEEP_H
#define CLI_KEEP_H
#include "cli/common.h"

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
/* cells[h*w] = 1 where a cell of the image prompt stays: its centre lies in the region; or, in a mask, half of it or
 * more is white, or, where the mask has transparent parts, opaque.  A region that is out of the picture or holds no
 * cell is an error; a mask of all or nothing is said. */
bool keep_cells(uint8_t *cells, keep *k, const char *image_prompt, const opened_model *s, err *e);
#endif
