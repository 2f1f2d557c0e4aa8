/* --keep: which cells of an image prompt stay as they are. */
#ifndef CLI_KEEP_H
#define CLI_KEEP_H
#include "cli/common.h"
#include "generate/region.h"

/* cells[h*w] = 1 where a cell of the image prompt stays: its centre lies in the region; or, in a mask, half of it or
 * more is white, or, where the mask has transparent parts, opaque.  A region that is out of the picture or holds no
 * cell is an error; a mask of all or nothing is said. */
bool keep_cells(uint8_t *cells, keep *k, const char *image_prompt, const opened_model *s, err *e);
#endif
