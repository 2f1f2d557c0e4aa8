/* Latents of diffusion models as files: float32 [n, channels, height, width], as other programs have them.  limn has a
 * picture's as a row of bits, channels last (limn_model_info, latent_channels). */
#ifndef CLI_LATENTS_H
#define CLI_LATENTS_H
#include "cli/common.h"

/* Writes n rows. */
bool latents_write(const char *path, const limn_model_info *m, int n, const int32_t *rows, err *e);
/* Reads rows of that model's size, a new array of *n: the same bits. */
bool latents_read(int32_t **rows, int *n, const char *path, const limn_model_info *m, err *e);
#endif
