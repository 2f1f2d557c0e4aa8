/* JPEG decoder, by libjpeg, where it is built in. */
#include "io/image_codec.h"

#ifdef LIMN_JPEG
#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs it before */

#include <jerror.h>
#include <jpeglib.h>

typedef struct decoder {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    const char *path;
    err *e;
} decoder;

/* The longjmp crosses libjpeg's frames alone; what decode() owns hangs on the decoder and its image. */
_Noreturn static void stop(decoder *d, const char *reason)
{
    err_set(d->e, ERR_FAILED, "%s: cannot read the JPEG: %s", d->path, reason);
    longjmp(d->jump, 1);
}

static void on_error(j_common_ptr info)
{
    char reason[JMSG_LENGTH_MAX];
    info->err->format_message(info, reason);
    stop(info->client_data, reason);
}

/* libjpeg fills in for lost data and only warns; limn calls that corrupt, save for what many good files have. */
static void on_message(j_common_ptr info, int level)
{
    int code = info->err->msg_code;
    bool harmless = code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM || code == JWRN_BOGUS_PROGRESSION ||
                    code == JWRN_TOO_MUCH_DATA;
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

static void check(decoder *d, const file_map *m)
{
    const struct jpeg_decompress_struct *i = &d->info;
    if (i->image_width > IMAGE_MAX_SIDE || i->image_height > IMAGE_MAX_SIDE)
        stop(d, "a side is longer than 16384 pixels");
    if (i->num_components != 1 && i->num_components != 3)
        stop(d, "CMYK colours are not supported (save it as RGB)");
    if (i->arith_code)
        stop(d, "arithmetic coding is not supported (save it with Huffman coding)");
    /* Huffman coding spends a bit or more on each 8 x 8 block: what is allocated stays in proportion to the file. */
    if ((uint64_t)i->image_width * i->image_height / 512 > m->size)
        stop(d, "the file is too short for its size in pixels");
}

static void read_rows(decoder *d, image *im)
{
    while (d->info.output_scanline < d->info.output_height) {
        JSAMPROW row = im->pixels + (size_t)d->info.output_scanline * (size_t)im->width * 3;
        jpeg_read_scanlines(&d->info, &row, 1);
    }
}

static bool decode(decoder *d, image *im, const file_map *m)
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
    jpeg_mem_src(&d->info, m->data, (unsigned long)m->size);
    jpeg_read_header(&d->info, TRUE);
    check(d, m);
    d->info.out_color_space = JCS_RGB;
    jpeg_start_decompress(&d->info);
    if (!image_new(im, (int)d->info.output_width, (int)d->info.output_height, d->e))
        return false;
    read_rows(d, im);
    jpeg_finish_decompress(&d->info);
    return true;
}

bool image_from_jpeg(image *im, const file_map *m, const char *path, err *e)
{
    decoder d = {.path = path, .e = e};
    bool ok = decode(&d, im, m);
    jpeg_destroy_decompress(&d.info); /* does nothing where creation failed: its memory manager is NULL then */
    return ok;
}
#else
bool image_from_jpeg(image *im, const file_map *m, const char *path, err *e)
{
    (void)im;
    (void)m;
    return err_set(e, ERR_FAILED,
                   "%s: cannot read the JPEG: limn was built without libjpeg (convert the picture to PNG, or install "
                   "libjpeg-dev and build again)",
                   path);
}
#endif
