/* Reading of pictures: by kind, told by the first bytes; what is no picture that limn reads is called by its name. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "io/image_codec.h"

/* ---- kinds ------------------------------------------------------------------------------------------------------ */

typedef struct magic {
    size_t at;
    const char *bytes;
    size_t n;
} magic;
#define MAGIC(at, text)                                                                                                \
    {                                                                                                                  \
        at, text, sizeof text - 1                                                                                      \
    }

static bool has(const uint8_t *data, size_t size, const magic *m)
{
    return size >= m->at + m->n && !memcmp(data + m->at, m->bytes, m->n);
}

image_format image_recognise(const void *data, size_t size)
{
    static const magic png = MAGIC(0, "\x89PNG\r\n\x1a\n"), jpeg = MAGIC(0, "\xff\xd8\xff"), riff = MAGIC(0, "RIFF"),
                       webp = MAGIC(8, "WEBP");
    if (has(data, size, &png))
        return IMAGE_PNG;
    if (has(data, size, &jpeg))
        return IMAGE_JPEG;
    return has(data, size, &riff) && has(data, size, &webp) ? IMAGE_WEBP : IMAGE_NONE;
}

const char *image_format_name(image_format f)
{
    static const char *const names[IMAGE_FORMATS] = {"picture", "PNG", "JPEG", "WebP"};
    return names[f];
}

static const struct ending {
    const char *text;
    image_format format;
    bool written; /* the others only name files to read */
} endings[] = {{".png", IMAGE_PNG, true},   {".jpg", IMAGE_JPEG, true},  {".jpeg", IMAGE_JPEG, true},
               {".webp", IMAGE_WEBP, true}, {".jpe", IMAGE_JPEG, false}, {".jfif", IMAGE_JPEG, false},
               {".apng", IMAGE_PNG, false}};

static const struct ending *ending_of(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t m = strlen(endings[i].text);
        if (n > m && name[n - m - 1] != '/' && !strcasecmp(name + n - m, endings[i].text))
            return &endings[i];
    }
    return NULL;
}

bool image_is_picture_name(const char *name)
{
    return ending_of(name) != NULL;
}

image_format image_format_of_name(const char *name)
{
    const struct ending *e = ending_of(name);
    return e && e->written ? e->format : IMAGE_NONE;
}

/* What people take for pictures that can be read, and what picture files turn out to be. */
static const struct other {
    magic magic;
    const char *what, *remedy;
} others[] = {
    {MAGIC(0, "GIF8"), "a GIF picture", "convert it to PNG first: magick \"in.gif[0]\" out.png"},
    {MAGIC(0, "BM"), "a BMP picture", "convert it to PNG first: magick in.bmp out.png"},
    {MAGIC(0, "II*\0"), "a TIFF picture, or a camera's raw file", "convert it to PNG first: magick in.tif out.png"},
    {MAGIC(0, "MM\0*"), "a TIFF picture, or a camera's raw file", "convert it to PNG first: magick in.tif out.png"},
    {MAGIC(0, "II+\0"), "a BigTIFF picture", "convert it to PNG first: magick in.tif out.png"},
    {MAGIC(0, "MM\0+"), "a BigTIFF picture", "convert it to PNG first: magick in.tif out.png"},
    {MAGIC(4, "ftypavif"), "an AVIF picture", "convert it to PNG first: avifdec in.avif out.png"},
    {MAGIC(4, "ftypavis"), "an AVIF picture", "convert it to PNG first: avifdec in.avif out.png"},
    {MAGIC(4, "ftypcrx "), "a camera's raw file (CR3)", "export it as JPEG or PNG first"},
    {MAGIC(4, "ftyphei"), "a HEIC picture", "convert it to JPEG or PNG first: heif-convert in.heic out.jpg"},
    {MAGIC(4, "ftyphev"), "a HEIC picture", "convert it to JPEG or PNG first: heif-convert in.heic out.jpg"},
    {MAGIC(4, "ftypmif1"), "a HEIF picture", "convert it to JPEG or PNG first: heif-convert in.heic out.jpg"},
    {MAGIC(4, "ftypmsf1"), "a HEIF picture", "convert it to JPEG or PNG first: heif-convert in.heic out.jpg"},
    {MAGIC(4, "ftyp"), "a film (MP4 or QuickTime)",
     "save one of its pictures as PNG: ffmpeg -i in -frames:v 1 out.png"},
    {MAGIC(0, "\xff\x0a"), "a JPEG XL picture", "convert it to PNG first: djxl in.jxl out.png"},
    {MAGIC(4, "JXL \r\n"), "a JPEG XL picture", "convert it to PNG first: djxl in.jxl out.png"},
    {MAGIC(4, "jP  \r\n"), "a JPEG 2000 picture", "convert it to PNG first: opj_decompress -i in.jp2 -o out.png"},
    {MAGIC(0, "\xff\x4f\xff\x51"), "a JPEG 2000 picture",
     "convert it to PNG first: opj_decompress -i in.j2k -o out.png"},
    {MAGIC(0, "%PDF"), "a PDF document", "draw its page as PNG first: pdftoppm -png -singlefile in.pdf out"},
    {MAGIC(0, "%!PS"), "a PostScript document", "draw its page as PNG first: magick in.ps out.png"},
    {MAGIC(0, "8BPS"), "a Photoshop document", "export it as PNG first"},
    {MAGIC(0, "gimp xcf"), "a GIMP document", "export it as PNG first"},
    {MAGIC(0, "\0\0\1\0"), "an icon (ICO)", "convert it to PNG first: magick in.ico out.png"},
    {MAGIC(0, "v/1\1"), "an OpenEXR picture", "convert it to PNG first: magick in.exr out.png"},
    {MAGIC(0, "#?RADIANCE"), "a Radiance HDR picture", "convert it to PNG first: magick in.hdr out.png"},
    {MAGIC(0, "qoif"), "a QOI picture", "convert it to PNG first: magick in.qoi out.png"},
    {MAGIC(0, "DDS "), "a DDS texture", "convert it to PNG first: magick in.dds out.png"},
    {MAGIC(0, "\x8aMNG"), "an MNG animation", "convert its first picture to PNG: magick \"in.mng[0]\" out.png"},
    {MAGIC(0, "FUJIFILM"), "a camera's raw file (RAF)", "export it as JPEG or PNG first"},
    {MAGIC(0, "version https://git-lfs"), "a Git LFS pointer and not the file itself", "git lfs pull brings it"},
    {MAGIC(0, "\x1f\x8b"), "a gzip file", "unpack it first"},
    {MAGIC(0, "PK\3\4"), "a zip file", "unpack it first"},
    {MAGIC(0, "GGUF"), "a model file", "give a picture"},
    {MAGIC(0, "\x93NUMPY"), "a NumPy array", "give a picture; limn decode makes one of codes"},
};

/* A text's first word in angle brackets. */
static const struct other *markup(const uint8_t *data, size_t size)
{
    static const struct other svg = {.what = "an SVG drawing",
                                     .remedy = "draw it as PNG first: rsvg-convert in.svg -o out.png"},
                              html = {.what = "a web page and no picture",
                                      .remedy = "download the picture itself; the server may have answered an error"};
    char text[1024];
    size_t n = 0;
    for (size_t i = 0; i < size && n < sizeof text - 1; i++)
        if (data[i]) /* UTF-16 has zeros */
            text[n++] = (char)(data[i] >= 'A' && data[i] <= 'Z' ? data[i] | 32 : data[i]);
    text[n] = 0;
    const char *first = text + strspn(text, " \t\r\n\xef\xbb\xbf\xff\xfe");
    if (*first != '<')
        return NULL;
    return strstr(first, "<svg") ? &svg : strstr(first, "<html") || strstr(first, "<!doctype html") ? &html : NULL;
}

static bool is_netpbm(const uint8_t *data, size_t size)
{
    return size >= 3 && data[0] == 'P' && data[1] >= '1' && data[1] <= '7' && strchr(" \t\r\n#", data[2]) && data[2];
}

static bool refuse(const image_file *f, err *e)
{
    static const struct other netpbm = {.what = "a Netpbm picture",
                                        .remedy = "convert it to PNG first: magick in.ppm out.png"};
    const struct other *found = is_netpbm(f->data, f->size) ? &netpbm : markup(f->data, f->size);
    for (size_t i = 0; !found && i < sizeof others / sizeof *others; i++)
        if (has(f->data, f->size, &others[i].magic))
            found = &others[i];
    if (f->size == 0)
        return err_set(e, ERR_FAILED, "%s: cannot read the picture: the file is empty (is it incomplete?)", f->name);
    if (found)
        return err_set(e, ERR_FAILED, "%s: cannot read the picture: it is %s (%s; limn reads PNG, JPEG and WebP)",
                       f->name, found->what, found->remedy);
    return err_set(e, ERR_FAILED,
                   "%s: cannot read the picture: neither PNG nor JPEG nor WebP (convert it to one of them)", f->name);
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static bool decode(raster *r, const image_file *f, err *e)
{
    static bool (*const decoders[IMAGE_FORMATS])(raster *, const image_file *, err *) = {
        [IMAGE_PNG] = raster_from_png, [IMAGE_JPEG] = raster_from_jpeg, [IMAGE_WEBP] = raster_from_webp};
    if (f->format == IMAGE_NONE)
        return refuse(f, e);
    bool ok = decoders[f->format](r, f, e);
    if (ok && !r->profile)
        r->profile = image_profile(f, &r->profile_size);
    return ok && raster_to_srgb(r, f->name, e) && raster_orient(r, image_orientation(f), e);
}

void image_blend(uint8_t *to, const uint8_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned a = from[4 * i + 3];
        for (size_t k = 0; k < 3; k++)
            to[3 * i + k] = (uint8_t)((from[4 * i + k] * a + 255 * (255 - a) + 127) / 255);
    }
}

/* RGBA to RGB in place, and the alpha of its own; *alpha stays NULL where everything is opaque. */
static bool split(uint8_t *pixels, uint8_t **alpha, size_t n, err *e)
{
    bool opaque = true;
    uint8_t *a = malloc(n);
    if (!a)
        return err_no_memory(e, "picture", n);
    for (size_t i = 0; i < n; i++) {
        a[i] = pixels[4 * i + 3];
        opaque = opaque && a[i] == 255;
        memmove(pixels + 3 * i, pixels + 4 * i, 3);
    }
    if (opaque)
        free(a);
    else
        *alpha = a;
    return true;
}

/* alpha: NULL blends it over white. */
static bool read_file(image *im, uint8_t **alpha, const image_file *f, err *e)
{
    raster r = {0};
    *im = (image){0};
    bool ok = decode(&r, f, e);
    size_t n = (size_t)r.width * (size_t)r.height;
    if (ok && r.channels == 4) {
        if (alpha)
            ok = split(r.pixels, alpha, n, e);
        else
            image_blend(r.pixels, r.pixels, n);
        void *smaller = realloc(r.pixels, 3 * n);
        r.pixels = smaller ? smaller : r.pixels;
    }
    if (ok) {
        *im = (image){r.width, r.height, r.pixels};
        r.pixels = NULL;
    }
    raster_release(&r);
    return ok;
}

bool image_read_memory(image *im, const void *data, size_t size, const char *name, err *e)
{
    const image_file f = {data, size, name, image_recognise(data, size)};
    return read_file(im, NULL, &f, e);
}

bool image_read(image *im, const char *path, err *e)
{
    file_map m;
    *im = (image){0};
    bool ok = file_map_open(&m, path, e) && image_read_memory(im, m.data, m.size, path, e);
    file_map_release(&m);
    return ok;
}

bool image_read_alpha_memory(image *im, uint8_t **alpha, const void *data, size_t size, const char *name, err *e)
{
    const image_file f = {data, size, name, image_recognise(data, size)};
    *alpha = NULL;
    return read_file(im, alpha, &f, e);
}

bool image_read_alpha(image *im, uint8_t **alpha, const char *path, err *e)
{
    file_map m;
    *im = (image){0};
    *alpha = NULL;
    bool ok = file_map_open(&m, path, e) && image_read_alpha_memory(im, alpha, m.data, m.size, path, e);
    file_map_release(&m);
    return ok;
}

char *image_read_text(const char *path, const char *keyword)
{
    file_map m;
    if (!file_map_open(&m, path, NULL))
        return NULL;
    const image_file f = {m.data, m.size, path, image_recognise(m.data, m.size)};
    char *text = image_text_of(&f, keyword);
    file_map_release(&m);
    return text;
}

bool image_read_parameters_memory(char **text, const void *data, size_t size, const char *name, err *e)
{
    const image_file f = {data, size, name, image_recognise(data, size)};
    bool ok = f.format != IMAGE_NONE || refuse(&f, e);
    *text = ok ? image_text_of(&f, "parameters") : NULL;
    return ok;
}

bool image_read_parameters(char **text, const char *path, err *e)
{
    file_map m;
    *text = NULL;
    if (!file_map_open(&m, path, e))
        return false;
    bool ok = image_read_parameters_memory(text, m.data, m.size, path, e);
    file_map_release(&m);
    return ok;
}
