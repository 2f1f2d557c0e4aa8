/* PNG files, by libpng: decoder, encoder and text chunks. */
#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "io/image_codec.h"

/* One read or write.  All that must survive the longjmp lives here and not in locals of the function with setjmp. */
typedef struct coder {
    png_structp png;
    png_infop info;
    jmp_buf jump;
    const char *path, *verb;
    err *e;
    const file_map *map; /* reading */
    size_t at;
    uint8_t *pixels;
    png_bytepp rows;
    file_out out; /* writing */
    png_textp texts;
} coder;

static void on_error(png_structp png, png_const_charp reason)
{
    coder *c = png_get_error_ptr(png);
    err_set(c->e, ERR_FAILED, "%s: cannot %s the PNG: %s", c->path, c->verb, reason);
    longjmp(c->jump, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png; /* what libpng warns of does not touch the pixels */
    (void)text;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* libpng allocates what some chunks say of their length before it reads them: all must be in the file. */
static bool has_all_chunks(const file_map *m)
{
    uint32_t length;
    for (size_t at = 8; m->size >= at + 12; at += 12 + (size_t)length) {
        const uint8_t *p = m->data + at;
        length = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        if (length > m->size - at - 12)
            return false;
        if (!memcmp(p + 4, "IEND", 4))
            break;
    }
    return true;
}

static void on_read(png_structp png, png_bytep out, size_t n)
{
    coder *c = png_get_io_ptr(png);
    if (n > c->map->size - c->at)
        png_error(png, "the file ends too early (is it incomplete?)");
    memcpy(out, c->map->data + c->at, n);
    c->at += n;
}

/* Makes any kind 8-bit RGB or RGBA. */
static void set_transformations(coder *c)
{
    int depth = png_get_bit_depth(c->png, c->info), colour = png_get_color_type(c->png, c->info);
    png_set_expand(c->png); /* palette to RGB, grey to 8 bits, a transparent colour to alpha */
    if (depth == 16)
        png_set_scale_16(c->png);
    if (!(colour & PNG_COLOR_MASK_COLOR))
        png_set_gray_to_rgb(c->png);
    png_set_interlace_handling(c->png);
    png_read_update_info(c->png, c->info);
}

/* RGBA to RGB over white, in place. */
static void blend(uint8_t *pixels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned a = pixels[4 * i + 3];
        for (size_t k = 0; k < 3; k++)
            pixels[3 * i + k] = (uint8_t)((pixels[4 * i + k] * a + 255 * (255 - a) + 127) / 255);
    }
}

static void make_rows(coder *c, size_t height)
{
    size_t row = png_get_rowbytes(c->png, c->info);
    c->pixels = malloc(row * height);
    c->rows = malloc(height * sizeof *c->rows);
    if (!c->pixels || !c->rows) {
        err_no_memory(c->e, c->path, (unsigned long long)row * height);
        png_error(c->png, "no memory");
    }
    for (size_t y = 0; y < height; y++)
        c->rows[y] = c->pixels + y * row;
}

static bool decode(coder *c, image *im)
{
    if (setjmp(c->jump))
        return false;
    png_set_read_fn(c->png, c, on_read);
    png_set_user_limits(c->png, IMAGE_MAX_SIDE, IMAGE_MAX_SIDE);
    png_set_chunk_cache_max(c->png, 128); /* with the next: compressed text cannot swell to more than 128 MiB */
    png_set_chunk_malloc_max(c->png, 1 << 20);
    if (!has_all_chunks(c->map))
        png_error(c->png, "the file ends too early (is it incomplete?)");
    png_read_info(c->png, c->info);
    size_t width = png_get_image_width(c->png, c->info), height = png_get_image_height(c->png, c->info);
    /* Deflate packs at most 1032 bytes into one: what is allocated stays in proportion to the file. */
    if (png_get_rowbytes(c->png, c->info) * height / 1032 > c->map->size)
        png_error(c->png, "the file is too short for its size in pixels");
    set_transformations(c);
    make_rows(c, height);
    png_read_image(c->png, c->rows);
    png_read_end(c->png, c->info);
    if (png_get_channels(c->png, c->info) == 4) {
        blend(c->pixels, width * height);
        void *smaller = realloc(c->pixels, width * height * 3);
        c->pixels = smaller ? smaller : c->pixels;
    }
    *im = (image){(int)width, (int)height, c->pixels};
    c->pixels = NULL;
    return true;
}

static bool start(coder *c, bool write)
{
    c->verb = write ? "write" : "read";
    if (setjmp(c->jump))
        return false;
    c->png = write ? png_create_write_struct(PNG_LIBPNG_VER_STRING, c, on_error, on_warning)
                   : png_create_read_struct(PNG_LIBPNG_VER_STRING, c, on_error, on_warning);
    c->info = c->png ? png_create_info_struct(c->png) : NULL;
    return c->info || err_no_memory(c->e, c->path, 1024);
}

static void read_end(coder *c)
{
    png_destroy_read_struct(&c->png, &c->info, NULL);
    free(c->pixels);
    free(c->rows);
}

bool image_from_png(image *im, const file_map *m, const char *path, err *e)
{
    coder c = {.map = m, .path = path, .e = e};
    bool ok = start(&c, false) && decode(&c, im);
    read_end(&c);
    return ok;
}

char *image_read_png_text(const char *path, const char *keyword)
{
    file_map m;
    image im = {0};
    char *found = NULL;
    if (!file_map_open(&m, path, NULL))
        return NULL;
    coder c = {.map = &m, .path = path};
    if (start(&c, false) && decode(&c, &im)) { /* all of it: text may come after the pixels */
        png_textp texts = NULL;
        int n = png_get_text(c.png, c.info, &texts, NULL);
        for (int i = 0; i < n && !found; i++)
            if (!strcmp(texts[i].key, keyword))
                found = strdup(texts[i].text ? texts[i].text : "");
    }
    read_end(&c);
    image_release(&im);
    file_map_release(&m);
    return found;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static void on_write(png_structp png, png_bytep data, size_t n)
{
    coder *c = png_get_io_ptr(png);
    if (!file_out_write(&c->out, data, n, c->e))
        png_error(png, "writing failed");
}

static void on_flush(png_structp png)
{
    (void)png; /* file_out_commit flushes */
}

static bool ascii(const char *s)
{
    while (*s && !((unsigned char)*s & 0x80))
        s++;
    return !*s;
}

static void put_texts(coder *c, const image_text *texts, int n)
{
    if (n == 0)
        return;
    c->texts = calloc((size_t)n, sizeof *c->texts);
    if (!c->texts)
        png_error(c->png, "no memory");
    for (int i = 0; i < n; i++) {
        png_textp t = &c->texts[i];
        size_t keyword = strlen(texts[i].keyword);
        if (keyword < 1 || keyword > 79)
            png_error(c->png, "a text's keyword must have 1 to 79 characters");
        t->key = (char *)texts[i].keyword;
        t->text = (char *)texts[i].text;
        t->compression = ascii(t->text) ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
        t->text_length = strlen(t->text);
        t->lang = t->lang_key = (char *)"";
    }
    png_set_text(c->png, c->info, c->texts, n);
}

static bool encode(coder *c, const image *im, const image_text *texts, int n_texts)
{
    if (setjmp(c->jump))
        return false;
    png_set_write_fn(c->png, c, on_write, on_flush);
    png_set_IHDR(c->png, c->info, (png_uint_32)im->width, (png_uint_32)im->height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    put_texts(c, texts, n_texts);
    png_write_info(c->png, c->info);
    for (int y = 0; y < im->height; y++)
        png_write_row(c->png, im->pixels + (size_t)y * (size_t)im->width * 3);
    png_write_end(c->png, NULL);
    return true;
}

bool image_write_png(const image *im, const char *path, const image_text *texts, int n_texts, err *e)
{
    coder c = {.path = path, .e = e};
    if (!im->pixels)
        return err_set(e, ERR_FAILED, "%s: cannot write the PNG: the picture is empty", path);
    bool ok = file_out_open(&c.out, path, e) && start(&c, true) && encode(&c, im, texts, n_texts) &&
              file_out_commit(&c.out, e);
    file_out_release(&c.out);
    png_destroy_write_struct(&c.png, &c.info);
    free(c.texts);
    return ok;
}
