/* Writing of pictures: into memory by format, and into files. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "io/exif.h"
#include "io/image_codec.h"

bool image_bytes_add(image_bytes *b, const void *data, size_t size)
{
    if (size > b->room - b->size) {
        size_t room = 2 * b->size + size + 4096;
        uint8_t *larger = realloc(b->data, room);
        if (!larger)
            return false;
        b->data = larger;
        b->room = room;
    }
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
    return true;
}

bool image_can_write(image_format f, const char *name, err *e)
{
#ifndef LIMN_JPEG
    if (f == IMAGE_JPEG)
        return err_set(e, ERR_FAILED,
                       "%s: cannot write JPEG: limn was built without libjpeg (write PNG, or install libjpeg-dev and "
                       "build again)",
                       name);
#endif
#ifndef LIMN_WEBP
    if (f == IMAGE_WEBP)
        return err_set(e, ERR_FAILED,
                       "%s: cannot write WebP: limn was built without libwebp (write PNG, or install libwebp-dev and "
                       "build again)",
                       name);
#endif
    if (f == IMAGE_NONE)
        return err_set(e, ERR_FAILED, "%s: cannot write the picture: its name ends in none of .png, .jpg, .webp", name);
    return true;
}

static const char *text_of(const image_write_options *o, const char *keyword)
{
    for (int i = 0; i < o->n_texts; i++)
        if (!strcmp(o->texts[i].keyword, keyword))
            return o->texts[i].text;
    return NULL;
}

uint8_t *image_new_exif(const image_write_options *o, size_t *size)
{
    const char *software = text_of(o, "Software");
    return exif_new(software ? software : "limn " LIMN_VERSION, text_of(o, "parameters"), size);
}

bool image_encode(uint8_t **data, size_t *size, const image *im, const image_write_options *o, const char *name, err *e)
{
    static bool (*const encoders[IMAGE_FORMATS])(image_bytes *, const image *, const image_write_options *,
                                                 const char *, err *) = {
        [IMAGE_PNG] = image_to_png, [IMAGE_JPEG] = image_to_jpeg, [IMAGE_WEBP] = image_to_webp};
    image_write_options with = o ? *o : (image_write_options){0};
    image_bytes out = {0};
    if (!with.format)
        with.format = image_format_of_name(name) ? image_format_of_name(name) : IMAGE_PNG;
    if (with.quality < 1 || with.quality > 100)
        with.quality = IMAGE_QUALITY;
    *data = NULL;
    *size = 0;
    if (!im->pixels)
        return err_set(e, ERR_FAILED, "%s: cannot write the %s: the picture is empty", name,
                       image_format_name(with.format));
    if (!image_can_write(with.format, name, e) || !encoders[with.format](&out, im, &with, name, e)) {
        free(out.data);
        return false;
    }
    *data = out.data;
    *size = out.size;
    return true;
}

bool image_write(const image *im, const char *path, const image_write_options *o, err *e)
{
    uint8_t *data = NULL;
    size_t size = 0;
    file_out out = {0};
    bool ok = image_encode(&data, &size, im, o, path, e) && file_out_open(&out, path, e);
    out.fresh = o && o->fresh;
    ok = ok && file_out_write(&out, data, size, e) && file_out_commit(&out, e);
    file_out_release(&out);
    free(data);
    return ok;
}

bool image_write_png(const image *im, const char *path, const image_text *texts, int n_texts, err *e)
{
    return image_write(im, path, &(image_write_options){IMAGE_PNG, .texts = texts, .n_texts = n_texts}, e);
}
