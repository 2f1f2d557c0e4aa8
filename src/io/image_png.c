/* PNG files, by libpng: decoder and encoder. */
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
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
    const image_file *file; /* reading */
    size_t at;
    png_bytepp rows;
    char profile_warning[80];
    image_bytes *out; /* writing */
    png_textp texts;
} coder;

static void on_error(png_structp png, png_const_charp reason)
{
    coder *c = png_get_error_ptr(png);
    err_set(c->e, ERR_FAILED, "%s: cannot %s the PNG: %s", c->path, c->verb, reason);
    longjmp(c->jump, 1);
}

/* What libpng warns of doesn't touch the pixels; of a profile, it may be why libpng leaves it out. */
static void on_warning(png_structp png, png_const_charp text)
{
    coder *c = png_get_error_ptr(png);
    if (!strncmp(text, "iCCP: ", 6))
        snprintf(c->profile_warning, sizeof c->profile_warning, "%s", text + 6);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* libpng allocates what some chunks say of their length before it reads them: all must be in the file. */
static bool has_all_chunks(const image_file *m)
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
    if (n > c->file->size - c->at)
        png_error(png, "the file ends too early (is it incomplete?)");
    memcpy(out, c->file->data + c->at, n);
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

static void make_rows(coder *c, raster *r)
{
    size_t row = png_get_rowbytes(c->png, c->info), height = (size_t)r->height;
    r->pixels = malloc(row * height);
    c->rows = malloc(height * sizeof *c->rows);
    if (!r->pixels || !c->rows) {
        err_no_memory(c->e, c->path, (unsigned long long)row * height);
        png_error(c->png, "no memory");
    }
    for (size_t y = 0; y < height; y++)
        c->rows[y] = r->pixels + y * row;
}

/* A few things that libpng either doesn't check, or says in words that don't help. */
static void check_header(coder *c)
{
    const image_file *f = c->file;
    char why[160];
    if (f->size < 33 || memcmp(f->data + 12, "IHDR", 4) != 0)
        return;
    uint32_t side[2];
    for (int i = 0; i < 2; i++)
        side[i] = png_get_uint_32(f->data + 16 + 4 * i);
    if (!raster_check(side[0], side[1], 4, why))
        png_error(c->png, why);
}

static void keep_profile(coder *c, raster *r)
{
    png_charp name;
    png_bytep profile;
    png_uint_32 size = 0;
    int method;
    image_piece p;
    for (size_t at = 0; image_piece_next(&p, c->file, &at);)
        if (!strcmp(p.type, "cICP") && p.size == 4)
            memcpy(r->cicp, p.data, 4);
    if (!png_get_iCCP(c->png, c->info, &name, &method, &profile, &size) || !size) {
        if (*c->profile_warning)
            raster_warn(c->path, "its colour profile is left out: %s", c->profile_warning);
        return;
    }
    r->profile = malloc(size);
    if (!r->profile)
        png_error(c->png, "no memory");
    memcpy(r->profile, profile, size);
    r->profile_size = size;
}

static bool decode(coder *c, raster *r)
{
    if (setjmp(c->jump))
        return false;
    png_set_read_fn(c->png, c, on_read);
    check_header(c);
    png_set_user_limits(c->png, IMAGE_MAX_SIDE, IMAGE_MAX_SIDE);
    if (!has_all_chunks(c->file))
        png_error(c->png, "the file ends too early (is it incomplete?)");
    png_set_chunk_malloc_max(c->png, 16 << 20); /* a profile is no larger */
#ifdef PNG_HANDLE_AS_UNKNOWN_SUPPORTED
    /* image_text_of reads them; libpng would unpack and keep all of them */
    static const char skipped[] = "tEXt\0zTXt\0iTXt\0eXIf\0sPLT";
    png_set_keep_unknown_chunks(c->png, PNG_HANDLE_CHUNK_NEVER, (png_const_bytep)skipped, 5);
#endif
    png_read_info(c->png, c->info);
    r->width = (int)png_get_image_width(c->png, c->info);
    r->height = (int)png_get_image_height(c->png, c->info);
    r->colours = png_get_color_type(c->png, c->info) & PNG_COLOR_MASK_COLOR ? RASTER_RGB : RASTER_GREY;
    /* Deflate packs at most 1032 bytes into one: what is allocated stays in proportion to the file. */
    if (png_get_rowbytes(c->png, c->info) * (size_t)r->height / 1032 > c->file->size)
        png_error(c->png, "the file is too short for its size in pixels");
    set_transformations(c);
    r->channels = png_get_channels(c->png, c->info);
    make_rows(c, r);
    png_read_image(c->png, c->rows);
    png_read_end(c->png, c->info);
    keep_profile(c, r);
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

bool raster_from_png(raster *r, const image_file *f, err *e)
{
    coder c = {.file = f, .path = f->name, .e = e};
    bool ok = start(&c, false) && decode(&c, r);
    png_destroy_read_struct(&c.png, &c.info, NULL);
    free(c.rows);
    return ok;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static void on_write(png_structp png, png_bytep data, size_t n)
{
    coder *c = png_get_io_ptr(png);
    if (!image_bytes_add(c->out, data, n))
        png_error(png, "no memory");
}

static void on_flush(png_structp png)
{
    (void)png; /* memory has nothing to flush */
}

static bool ascii(const char *s)
{
    while (*s && !((unsigned char)*s & 0x80))
        s++;
    return !*s;
}

static void put_texts(coder *c, const image_text *texts, int n)
{
    if (n <= 0)
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

bool image_to_png(image_bytes *out, const image *im, const image_write_options *o, const char *name, err *e)
{
    coder c = {.path = name, .e = e, .out = out};
    bool ok = start(&c, true) && encode(&c, im, o->texts, o->n_texts);
    png_destroy_write_struct(&c.png, &c.info);
    free(c.texts);
    return ok;
}
