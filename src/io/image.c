/* Pictures in memory: making them, cells and grids. */
#include "io/image.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool image_new(image *im, int width, int height, err *e)
{
    *im = (image){0};
    if (width < 1 || height < 1 || width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE)
        return err_set(e, ERR_FAILED, "picture: %d x %d: sides must be 1 to %d", width, height, IMAGE_MAX_SIDE);
    size_t bytes = (size_t)width * (size_t)height * 3;
    uint8_t *pixels = calloc(bytes, 1);
    if (!pixels)
        return err_no_memory(e, "picture", bytes);
    *im = (image){width, height, pixels};
    return true;
}

void image_release(image *im)
{
    free(im->pixels);
    *im = (image){0};
}

/* Cell i of n along a side: never empty, so that a grid finer than the picture repeats pixels. */
static void cell_range(int side, int i, int n, int *begin, int *end)
{
    *begin = (int)((int64_t)side * i / n);
    *end = (int)((int64_t)side * (i + 1) / n);
    if (*end == *begin)
        ++*end;
}

bool image_cells(uint8_t *cells, const image *im, int rows, int columns, err *e)
{
    if (!im->pixels || rows < 1 || columns < 1)
        return err_set(e, ERR_FAILED, "mask: %d x %d cells cannot be made of a picture of %d x %d", rows, columns,
                       im->width, im->height);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) {
            int y0, y1, x0, x1;
            uint64_t sum = 0;
            cell_range(im->height, r, rows, &y0, &y1);
            cell_range(im->width, c, columns, &x0, &x1);
            for (int y = y0; y < y1; y++)
                for (int x = x0; x < x1; x++) {
                    const uint8_t *p = im->pixels + ((size_t)y * (size_t)im->width + (size_t)x) * 3;
                    sum += 299U * p[0] + 587U * p[1] + 114U * p[2]; /* Rec. 601 luma, in thousandths */
                }
            uint64_t pixels = (uint64_t)(y1 - y0) * (uint64_t)(x1 - x0);
            cells[(size_t)r * (size_t)columns + (size_t)c] = sum >= pixels * 128000;
        }
    return true;
}

bool image_mask_cells(uint8_t *cells, image *whole, const uint8_t *alpha, int width, int height, int rows, int columns,
                      err *e)
{
    image fitted = {0};
    for (size_t i = 0; alpha && i < (size_t)whole->width * (size_t)whole->height; i++)
        memset(whole->pixels + 3 * i, alpha[i], 3);
    bool ok = image_fit(&fitted, whole, width, height, e) && image_cells(cells, &fitted, rows, columns, e);
    image_release(&fitted);
    return ok;
}

void image_grey_cell(image *im, int rows, int columns, int cell)
{
    int y0, y1, x0, x1;
    cell_range(im->height, cell / columns, rows, &y0, &y1);
    cell_range(im->width, cell % columns, columns, &x0, &x1);
    for (int y = y0; y < y1; y++)
        memset(im->pixels + 3 * ((size_t)y * (size_t)im->width + (size_t)x0), 128, 3 * (size_t)(x1 - x0));
}

static int grid_columns(int n)
{
    int columns = 1;
    while ((int64_t)columns * columns < n)
        columns++;
    return columns;
}

bool image_grid_size(int n, int w, int h, int gap, int *all_width, int *all_height, err *e)
{
    assert(n > 0 && gap >= 0);
    int columns = grid_columns(n), rows = (n + columns - 1) / columns;
    int64_t width = (int64_t)columns * w + (int64_t)(columns - 1) * gap;
    int64_t height = (int64_t)rows * h + (int64_t)(rows - 1) * gap;
    if (width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE)
        return err_set(e, ERR_FAILED, "grid: %d pictures of %d x %d are more than %d pixels on a side", n, w, h,
                       IMAGE_MAX_SIDE);
    *all_width = (int)width;
    *all_height = (int)height;
    return true;
}

bool image_grid(image *out, const image *ims, int n, int gap, err *e)
{
    int columns = grid_columns(n), w = ims->width, h = ims->height, width = 0, height = 0;
    *out = (image){0};
    for (int i = 1; i < n; i++)
        if (ims[i].width != w || ims[i].height != h)
            return err_set(e, ERR_FAILED, "grid: picture %d is %d x %d, the first is %d x %d", i + 1, ims[i].width,
                           ims[i].height, w, h);
    if (!image_grid_size(n, w, h, gap, &width, &height, e) || !image_new(out, width, height, e))
        return false;
    memset(out->pixels, 255, (size_t)width * (size_t)height * 3);
    for (int i = 0; i < n; i++)
        for (int y = 0; y < h; y++) {
            size_t row = (size_t)(i / columns) * (size_t)(h + gap) + (size_t)y;
            size_t column = (size_t)(i % columns) * (size_t)(w + gap);
            memcpy(out->pixels + (row * (size_t)width + column) * 3, ims[i].pixels + (size_t)y * (size_t)w * 3,
                   (size_t)w * 3);
        }
    return true;
}
