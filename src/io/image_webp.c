/* WebP files, by libwebp, where it is built in: decoder and encoder. */
#include "io/image_codec.h"

#ifdef LIMN_WEBP
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>
#include <webp/encode.h>
#include <webp/mux.h>

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static bool fail(const image_file *f, const char *reason, err *e)
{
    return err_set(e, ERR_FAILED, "%s: cannot read the WebP: %s", f->name, reason);
}

static const char *reason_of(VP8StatusCode status)
{
    switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY:
        return "no memory for it (close other programs)";
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
        return "the file ends too early (is it incomplete?)";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return "it has a feature that libwebp doesn't know";
    default:
        return "it is damaged";
    }
}

/* The frame's pixels at their place of the canvas. */
static bool decode_frame(raster *r, const WebPIterator *frame, const image_file *f, err *e)
{
    WebPDecoderConfig c;
    size_t stride = (size_t)r->width * (size_t)r->channels;
    if (!WebPInitDecoderConfig(&c))
        return fail(f, "this libwebp is of another version than limn was built for", e);
    VP8StatusCode status = WebPGetFeatures(frame->fragment.bytes, frame->fragment.size, &c.input);
    if (status != VP8_STATUS_OK)
        return fail(f, reason_of(status), e);
    if (c.input.width != frame->width || c.input.height != frame->height || frame->x_offset < 0 ||
        frame->y_offset < 0 || frame->x_offset + frame->width > r->width || frame->y_offset + frame->height > r->height)
        return fail(f, "its first picture lies outside of its canvas", e);
    c.output.colorspace = r->channels == 4 ? MODE_RGBA : MODE_RGB;
    c.output.is_external_memory = 1;
    c.output.u.RGBA.rgba = r->pixels + (size_t)frame->y_offset * stride + (size_t)frame->x_offset * (size_t)r->channels;
    c.output.u.RGBA.stride = (int)stride;
    c.output.u.RGBA.size = stride * (size_t)(frame->height - 1) + (size_t)frame->width * (size_t)r->channels;
    status = WebPDecode(frame->fragment.bytes, frame->fragment.size, &c);
    WebPFreeDecBuffer(&c.output);
    return status == VP8_STATUS_OK || fail(f, reason_of(status), e);
}

static bool decode(raster *r, WebPDemuxer *d, const image_file *f, err *e)
{
    WebPIterator frame = {0};
    char why[160];
    uint32_t width = WebPDemuxGetI(d, WEBP_FF_CANVAS_WIDTH), height = WebPDemuxGetI(d, WEBP_FF_CANVAS_HEIGHT);
    if (!raster_check(width, height, 8, why)) /* libwebp has the picture once more */
        return fail(f, why, e);
    /* libwebp packs some 25,000 pixels of one colour into a byte: what is allocated stays in proportion to the file. */
    uint64_t pixels = (uint64_t)width * height;
    if (pixels >> 16 > f->size)
        return fail(f, "the file is too short for its size in pixels", e);
    if (!WebPDemuxGetFrame(d, 1, &frame))
        return fail(f, "it holds no picture", e);
    bool whole = (uint32_t)frame.width == width && (uint32_t)frame.height == height;
    *r = (raster){.width = (int)width, .height = (int)height, .colours = RASTER_RGB};
    r->channels = frame.has_alpha || !whole ? 4 : 3; /* around the first picture of an animation is nothing */
    r->pixels = calloc(pixels, (size_t)r->channels);
    bool ok = r->pixels ? decode_frame(r, &frame, f, e) : err_no_memory(e, f->name, pixels * (unsigned)r->channels);
    WebPDemuxReleaseIterator(&frame);
    return ok;
}

bool raster_from_webp(raster *r, const image_file *f, err *e)
{
    WebPDemuxState state;
    WebPData data = {f->data, f->size};
    WebPDemuxer *d = WebPDemuxPartial(&data, &state);
    if (!d || state != WEBP_DEMUX_DONE) {
        WebPDemuxDelete(d);
        return fail(
            f, state == WEBP_DEMUX_PARSE_ERROR ? "it is damaged" : "the file ends too early (is it incomplete?)", e);
    }
    bool ok = decode(r, d, f, e);
    WebPDemuxDelete(d);
    return ok;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static bool write_fail(const char *name, const char *reason, err *e)
{
    return err_set(e, ERR_FAILED, "%s: cannot write the WebP: %s", name, reason);
}

static bool encode(WebPMemoryWriter *out, const image *im, const image_write_options *o, const char *name, err *e)
{
    WebPConfig c;
    WebPPicture p;
    bool ok = WebPConfigInit(&c) && WebPPictureInit(&p);
    if (!ok)
        return write_fail(name, "this libwebp is of another version than limn was built for", e);
    if (o->quality == 100)
        ok = WebPConfigLosslessPreset(&c, 6);
    else
        c.quality = (float)o->quality;
    c.use_sharp_yuv = 1; /* colours have half the picture's resolution: it keeps edges between them clean */
    p.use_argb = 1;
    p.width = im->width;
    p.height = im->height;
    p.writer = WebPMemoryWrite;
    p.custom_ptr = out;
    ok = ok && WebPPictureImportRGB(&p, im->pixels, im->width * 3) && WebPEncode(&c, &p);
    WebPEncodingError why = p.error_code;
    WebPPictureFree(&p);
    return ok || write_fail(name,
                            why == VP8_ENC_ERROR_OUT_OF_MEMORY || why == VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY
                                ? "no memory for it (close other programs)"
                                : "libwebp failed",
                            e);
}

/* *out = the picture with the texts as EXIF. */
static bool put_exif(image_bytes *out, const WebPMemoryWriter *picture, const image_write_options *o)
{
    size_t size = 0;
    uint8_t *exif = image_new_exif(o, &size);
    WebPData part = {picture->mem, picture->size}, block = {exif, size}, all = {0};
    WebPMux *mux = exif ? WebPMuxCreate(&part, 0) : NULL;
    bool ok = mux && WebPMuxSetChunk(mux, "EXIF", &block, 0) == WEBP_MUX_OK &&
              WebPMuxAssemble(mux, &all) == WEBP_MUX_OK && image_bytes_add(out, all.bytes, all.size);
    WebPDataClear(&all);
    WebPMuxDelete(mux);
    free(exif);
    return ok;
}

bool image_to_webp(image_bytes *out, const image *im, const image_write_options *o, const char *name, err *e)
{
    if (im->width > WEBP_MAX_DIMENSION || im->height > WEBP_MAX_DIMENSION)
        return write_fail(name, "a side is longer than 16383 pixels, the format's limit (write PNG)", e);
    WebPMemoryWriter picture;
    WebPMemoryWriterInit(&picture);
    bool ok = encode(&picture, im, o, name, e);
    if (ok && !(o->n_texts ? put_exif(out, &picture, o) : image_bytes_add(out, picture.mem, picture.size)))
        ok = err_no_memory(e, name, picture.size);
    WebPMemoryWriterClear(&picture);
    return ok;
}
#else
bool raster_from_webp(raster *r, const image_file *f, err *e)
{
    (void)r;
    return err_set(e, ERR_FAILED,
                   "%s: cannot read the WebP: limn was built without libwebp (convert the picture to PNG, or install "
                   "libwebp-dev and build again)",
                   f->name);
}

bool image_to_webp(image_bytes *out, const image *im, const image_write_options *o, const char *name, err *e)
{
    (void)out;
    (void)im;
    (void)o;
    return image_can_write(IMAGE_WEBP, name, e);
}
#endif
