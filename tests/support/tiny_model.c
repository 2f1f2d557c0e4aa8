/* tiny_model PATH: writes the smallest model that generates, for scripts that run it many times.
 * 8 x 8 pixels, 2 x 2 codes, one transformer layer, a tokenizer of single bytes. */
#include <stdio.h>

#include "support.h"

int main(int argc, char **argv)
{
    err e = {0};
    tiny_config c = {.layers = 1, .stages = 2};
    if (argc != 2) {
        fprintf(stderr, "usage: tiny_model PATH\n");
        return 2;
    }
    if (tiny_model_write(argv[1], &c, &e))
        return 0;
    fprintf(stderr, "%s\n", e.text);
    return 1;
}
