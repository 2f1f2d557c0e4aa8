/* JPEG files, by libjpeg, where it is built in: decoder and encoder. */
#include "io/image_codec.h"

#ifdef LIMN_JPEG
#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs it before */
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

#include "base/log.h"

/* ---- reading ---------------------------------------------------------------------------------------------------- */

typedef struct decoder {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    const char *path;
    err *e;
} decoder;

/* The longjmp crosses libjpeg's frames alone; what decode() owns hangs on the decoder and its raster. */
_Noreturn static void stop(decoder *d, const char *reason)
{
    err_set(d->e, ERR_FAILED, "%s: cannot read the JPEG: %s", d->path, reason);
    longjmp(d->jump, 1);
}

static void on_error(j_common_ptr info)
{
    char reason[JMSG_LENGTH_MAX];
    decoder *d = info->client_data;
    switch (info->err->msg_code) {
    case JERR_BAD_PRECISION:
        snprintf(reason, sizeof reason, "it has %d bits a colour, and only 8 are read (save it with 8)",
                 d->info.data_precision);
        break;
    case JERR_ARITH_NOTIMPL:
        snprintf(reason, sizeof reason, "this libjpeg can't read arithmetic coding (save it with Huffman coding)");
        break;
    case JERR_SOF_UNSUPPORTED:
        snprintf(reason, sizeof reason,
                 "its kind of JPEG (lossless or hierarchical) can't be read (save it as "
                 "baseline or progressive JPEG, or as PNG)");
        break;
    case JWRN_JPEG_EOF:
        snprintf(reason, sizeof reason, "the file ends too early (is it incomplete?)");
        break;
    default:
        info->err->format_message(info, reason);
    }
    stop(d, reason);
}

/* libjpeg fills in for lost data and only warns; limn calls that corrupt, save for what many good files have. */
static void on_message(j_common_ptr info, int level)
{
    int code = info->err->msg_code;
    bool harmless = code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM || code == JWRN_BOGUS_PROGRESSION ||
                    code == JWRN_TOO_MUCH_DATA || code == JWRN_JFIF_MAJOR;
    if (level < 0 && !harmless)
        on_error(info);
}

/* A progressive file of a few bytes per scan could keep the decoder busy for hours. */
static void on_progress(j_common_ptr info)
{
    decoder *d = info->client_data;
    if (d->info.input_scan_number > 500)
        stop(d, "more than 500 scans");
}

static void check(decoder *d, const image_file *f)
{
    const struct jpeg_decompress_struct *i = &d->info;
    char why[160];
    int n = i->num_components;
    /* all coefficients of a progressive file are in memory, each of 16 bits */
    if (!raster_check(i->image_width, i->image_height, (n == 4 ? 4 : 3) + (i->progressive_mode ? 2 * n : 0), why))
        stop(d, why);
    if (n != 1 && n != 3 && n != 4)
        stop(d, "its colours are neither grey nor RGB nor CMYK (save it as RGB)");
    /* Huffman coding spends a bit or more on each 8 x 8 block, and arithmetic coding far less: what is allocated stays
     * in proportion to the file. */
    if ((uint64_t)i->image_width * i->image_height / (i->arith_code ? 1 << 13 : 512) > f->size)
        stop(d, "the file is too short for its size in pixels");
}

static void read_rows(decoder *d, raster *r)
{
    while (d->info.output_scanline < d->info.output_height) {
        JSAMPROW row = r->pixels + (size_t)d->info.output_scanline * (size_t)r->width * (size_t)r->channels;
        jpeg_read_scanlines(&d->info, &row, 1);
    }
}

static bool decode(decoder *d, raster *r, const image_file *f)
{
    if (setjmp(d->jump))
        return false;
    d->info.err = jpeg_std_error(&d->errors);
    d->info.client_data = d;
    d->errors.error_exit = on_error;
    d->errors.emit_message = on_message;
    d->progress.progress_monitor = on_progress;
    jpeg_create_decompress(&d->info);
    d->info.progress = &d->progress;
    jpeg_mem_src(&d->info, f->data, (unsigned long)f->size);
    jpeg_read_header(&d->info, TRUE);
    check(d, f);
    bool cmyk = d->info.num_components == 4;
    r->colours = cmyk ? RASTER_CMYK : d->info.num_components == 1 ? RASTER_GREY : RASTER_RGB;
    r->channels = cmyk ? 4 : 3;
    /* Adobe's programs write CMYK inverted, and whether they say so or not, everyone reads it like that */
    d->info.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&d->info);
    r->width = (int)d->info.output_width;
    r->height = (int)d->info.output_height;
    size_t bytes = (size_t)r->width * (size_t)r->height * (size_t)r->channels;
    r->pixels = malloc(bytes);
    if (!r->pixels)
        return err_no_memory(d->e, d->path, bytes);
    read_rows(d, r);
    jpeg_finish_decompress(&d->info);
    return true;
}

bool raster_from_jpeg(raster *r, const image_file *f, err *e)
{
    decoder d = {.path = f->name, .e = e};
    bool ok = decode(&d, r, f);
    jpeg_destroy_decompress(&d.info); /* does nothing where creation failed: its memory manager is NULL then */
    return ok;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

typedef struct encoder {
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    jmp_buf jump;
    const char *name;
    unsigned char *data; /* libjpeg's, by malloc */
    unsigned long size;
    uint8_t *exif;
    err *e;
} encoder;

static void on_write_error(j_common_ptr info)
{
    char reason[JMSG_LENGTH_MAX];
    encoder *c = info->client_data;
    info->err->format_message(info, reason);
    err_set(c->e, ERR_FAILED, "%s: cannot write the JPEG: %s", c->name, reason);
    longjmp(c->jump, 1);
}

static void on_write_message(j_common_ptr info, int level)
{
    (void)info; /* the encoder has nothing to warn of */
    (void)level;
}

static void put_exif(encoder *c, const image_write_options *o)
{
    static const char head[6] = "Exif\0";
    size_t size = 0;
    uint8_t *block = image_new_exif(o, &size);
    c->exif = block ? malloc(sizeof head + size) : NULL;
    if (c->exif) {
        memcpy(c->exif, head, sizeof head);
        memcpy(c->exif + sizeof head, block, size);
    }
    free(block);
    if (c->exif && sizeof head + size <= 65533)
        jpeg_write_marker(&c->info, JPEG_APP0 + 1, c->exif, (unsigned)(sizeof head + size));
    else if (c->exif)
        log_write(LOG_WARNING,
                  "%s: its settings are left out: %zu bytes of text are more than a JPEG holds (write PNG)", c->name,
                  size);
}

static bool encode(encoder *c, const image *im, const image_write_options *o)
{
    if (setjmp(c->jump))
        return false;
    c->info.err = jpeg_std_error(&c->errors);
    c->info.client_data = c;
    c->errors.error_exit = on_write_error;
    c->errors.emit_message = on_write_message;
    jpeg_create_compress(&c->info);
    jpeg_mem_dest(&c->info, &c->data, &c->size);
    c->info.image_width = (JDIMENSION)im->width;
    c->info.image_height = (JDIMENSION)im->height;
    c->info.input_components = 3;
    c->info.in_color_space = JCS_RGB;
    jpeg_set_defaults(&c->info);
    jpeg_set_quality(&c->info, o->quality, TRUE);
    c->info.comp_info[0].h_samp_factor = c->info.comp_info[0].v_samp_factor = 1; /* 4:4:4: pictures are small */
    c->info.optimize_coding = TRUE;
    jpeg_start_compress(&c->info, TRUE);
    if (o->n_texts)
        put_exif(c, o);
    while (c->info.next_scanline < c->info.image_height) {
        JSAMPROW row = im->pixels + (size_t)c->info.next_scanline * (size_t)im->width * 3;
        jpeg_write_scanlines(&c->info, &row, 1);
    }
    jpeg_finish_compress(&c->info);
    return true;
}

bool image_to_jpeg(image_bytes *out, const image *im, const image_write_options *o, const char *name, err *e)
{
    encoder c = {.name = name, .e = e};
    bool ok = encode(&c, im, o);
    jpeg_destroy_compress(&c.info);
    free(c.exif);
    if (ok)
        *out = (image_bytes){c.data, c.size, c.size};
    else
        free(c.data);
    return ok;
}
#else
bool raster_from_jpeg(raster *r, const image_file *f, err *e)
{
    (void)r;
    return err_set(e, ERR_FAILED,
                   "%s: cannot read the JPEG: limn was built without libjpeg (convert the picture to PNG, or install "
                   "libjpeg-dev and build again)",
                   f->name);
}

bool image_to_jpeg(image_bytes *out, const image *im, const image_write_options *o, const char *name, err *e)
{
    (void)out;
    (void)im;
    (void)o;
    return image_can_write(IMAGE_JPEG, name, e);
}
#endif
