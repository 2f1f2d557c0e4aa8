/* Colours of pictures: to sRGB from ICC profiles, by Little CMS where it is built in, from the colours that PNG's cICP
 * names, and from CMYK without a profile.
 *
 * PNG's gAMA and cHRM are left alone: many programs wrote them wrongly, and the models' own training read pictures with
 * libraries that leave them alone too. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "io/image_codec.h"

/* Every picture of a data set may have the same fault: the first of them are enough. */
enum { WARNINGS = 10 };

void raster_warn(const char *name, const char *fmt, ...)
{
    static atomic_int warned;
    char text[160];
    int n = atomic_load(&warned) < WARNINGS ? atomic_fetch_add(&warned, 1) : WARNINGS;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < WARNINGS)
        log_write(LOG_WARNING, "%s: %s%s", name, text,
                  n == WARNINGS - 1 ? "; pictures after this one aren't named any more" : "");
}

/* ---- CMYK without a profile -------------------------------------------------------------------------------------- */

/* a b / 255, rounded */
static unsigned product(unsigned a, unsigned b)
{
    unsigned t = a * b + 128;
    return ((t >> 8) + t) >> 8;
}

/* Ink over white, as browsers, Pillow and ImageMagick do; 255 is no ink. */
static void cmyk_to_rgb(raster *r)
{
    size_t n = (size_t)r->width * (size_t)r->height;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *in = r->pixels + 4 * i;
        unsigned light = in[3];
        uint8_t rgb[3];
        for (int c = 0; c < 3; c++)
            rgb[c] = (uint8_t)(light - product(255u - in[c], light));
        memcpy(r->pixels + 3 * i, rgb, 3);
    }
    r->channels = 3;
    r->colours = RASTER_RGB;
}

static bool has_cicp(const raster *r)
{
    return r->cicp[0] || r->cicp[1] || r->cicp[2] || r->cicp[3];
}

/* ITU-T H.273: BT.709's primaries with the transfer function of sRGB. */
static bool cicp_is_srgb(const raster *r)
{
    return r->cicp[0] == 1 && r->cicp[1] == 13 && r->cicp[2] == 0 && r->cicp[3] == 1;
}

#ifdef LIMN_LCMS
#include <lcms2.h>

/* ---- profiles ------------------------------------------------------------------------------------------------------
 */

static cmsToneCurve *cicp_curve(cmsContext lcms, unsigned transfer)
{
    static const double srgb[5] = {2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045};
    static const double bt709[5] = {1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081};
    switch (transfer) {
    case 1:
    case 6:
    case 14:
    case 15:
        return cmsBuildParametricToneCurve(lcms, 4, bt709);
    case 4:
        return cmsBuildGamma(lcms, 2.2);
    case 5:
        return cmsBuildGamma(lcms, 2.8);
    case 8:
        return cmsBuildGamma(lcms, 1);
    case 13:
        return cmsBuildParametricToneCurve(lcms, 4, srgb);
    default:
        return NULL;
    }
}

/* The profile of ITU-T H.273's numbers; NULL where limn doesn't know them. */
static cmsHPROFILE cicp_profile(cmsContext lcms, const uint8_t cicp[4])
{
    static const cmsCIExyY white = {0.3127, 0.3290, 1}; /* D65 */
    static const cmsCIExyYTRIPLE bt709 = {{0.64, 0.33, 1}, {0.30, 0.60, 1}, {0.15, 0.06, 1}},
                                 bt2020 = {{0.708, 0.292, 1}, {0.170, 0.797, 1}, {0.131, 0.046, 1}},
                                 p3 = {{0.680, 0.320, 1}, {0.265, 0.690, 1}, {0.150, 0.060, 1}};
    const cmsCIExyYTRIPLE *primaries = cicp[0] == 1 ? &bt709 : cicp[0] == 9 ? &bt2020 : cicp[0] == 12 ? &p3 : NULL;
    cmsToneCurve *curve = primaries && cicp[2] == 0 && cicp[3] == 1 ? cicp_curve(lcms, cicp[1]) : NULL;
    cmsHPROFILE p =
        curve ? cmsCreateRGBProfileTHR(lcms, &white, primaries, (cmsToneCurve *[3]){curve, curve, curve}) : NULL;
    if (curve)
        cmsFreeToneCurve(curve);
    return p;
}

/* Whether the transform leaves 8-bit colours as they are, but for rounding: that of a profile of sRGB. */
static bool is_identity(cmsHTRANSFORM t, bool grey)
{
    enum { STEPS = 9 };
    uint8_t in[STEPS * STEPS * STEPS + 256][3], out[STEPS * STEPS * STEPS + 256][3], levels[256];
    int n = 0;
    for (int i = 0; i < 256; i++, n++) {
        levels[i] = (uint8_t)i;
        memset(in[n], i, 3);
    }
    for (int i = 0; !grey && i < STEPS * STEPS * STEPS; i++, n++) {
        in[n][0] = (uint8_t)(i % STEPS * 255 / (STEPS - 1));
        in[n][1] = (uint8_t)(i / STEPS % STEPS * 255 / (STEPS - 1));
        in[n][2] = (uint8_t)(i / STEPS / STEPS * 255 / (STEPS - 1));
    }
    cmsDoTransform(t, grey ? levels : in[0], out[0], (cmsUInt32Number)n);
    for (int i = 0; i < 3 * n; i++)
        if (abs(in[i / 3][i % 3] - out[i / 3][i % 3]) > 1)
            return false;
    return true;
}

/* Row by row, through a copy where the number of channels changes. */
static bool apply(raster *r, cmsHTRANSFORM t, raster_colours colours, err *e)
{
    size_t w = (size_t)r->width, in = (size_t)r->channels, out = colours == RASTER_CMYK ? 3 : in;
    uint8_t *row = malloc(4 * w), *grey = colours == RASTER_GREY ? malloc(w) : NULL;
    bool ok = row && (grey || colours != RASTER_GREY);
    for (size_t y = 0; ok && y < (size_t)r->height; y++) {
        const uint8_t *from = r->pixels + y * w * in;
        uint8_t *to = r->pixels + y * w * out;
        memcpy(row, from, w * in); /* alpha stays as it is */
        for (size_t x = 0; grey && x < w; x++)
            grey[x] = from[x * in];
        cmsDoTransform(t, grey ? grey : from, row, (cmsUInt32Number)w);
        memcpy(to, row, w * out);
    }
    free(row);
    free(grey);
    if (!ok)
        return err_no_memory(e, "colours of a picture", 4 * w);
    r->channels = (int)out;
    r->colours = RASTER_RGB;
    return true;
}

/* The colours of the profile as those of the picture; a grey picture may have a profile of RGB. */
static bool matches(const raster *r, cmsColorSpaceSignature space, raster_colours *colours)
{
    *colours = space == cmsSigRgbData ? RASTER_RGB : space == cmsSigGrayData ? RASTER_GREY : RASTER_CMYK;
    bool known = space == cmsSigRgbData || space == cmsSigGrayData || space == cmsSigCmykData;
    return known && (*colours == r->colours || (*colours == RASTER_RGB && r->colours == RASTER_GREY));
}

static bool convert(raster *r, cmsContext lcms, cmsHPROFILE from, const char *name, err *e)
{
    raster_colours colours;
    bool rgba = r->channels == 4 && r->colours != RASTER_CMYK, ok = true;
    if (!matches(r, cmsGetColorSpace(from), &colours)) {
        raster_warn(name, "its colour profile is not one for its kind of colours, and is left out");
        return true;
    }
    cmsUInt32Number in = colours == RASTER_CMYK   ? TYPE_CMYK_8_REV
                         : colours == RASTER_GREY ? TYPE_GRAY_8
                         : rgba                   ? TYPE_RGBA_8
                                                  : TYPE_RGB_8;
    cmsHPROFILE srgb = cmsCreate_sRGBProfileTHR(lcms);
    cmsHTRANSFORM probe = srgb && colours != RASTER_CMYK
                              ? cmsCreateTransformTHR(lcms, from, colours == RASTER_GREY ? TYPE_GRAY_8 : TYPE_RGB_8,
                                                      srgb, TYPE_RGB_8, INTENT_PERCEPTUAL, cmsFLAGS_NOOPTIMIZE)
                              : NULL;
    bool same = probe && is_identity(probe, colours == RASTER_GREY);
    /* what takes Little CMS long is to prepare tables, which pays for large pictures alone */
    cmsUInt32Number flags = (size_t)r->width * (size_t)r->height < 1 << 16 ? cmsFLAGS_NOOPTIMIZE : 0;
    cmsHTRANSFORM t = NULL;
    if (srgb && !same)
        t = cmsCreateTransformTHR(lcms, from, in, srgb, rgba ? TYPE_RGBA_8 : TYPE_RGB_8, INTENT_PERCEPTUAL, flags);
    if (t)
        ok = apply(r, t, colours, e);
    else if (!same)
        raster_warn(name, "its colour profile can't be used, and is left out (is it damaged?)");
    if (probe)
        cmsDeleteTransform(probe);
    if (t)
        cmsDeleteTransform(t);
    if (srgb)
        cmsCloseProfile(srgb);
    return ok;
}

static bool by_profile(raster *r, const char *name, err *e)
{
    cmsContext lcms = cmsCreateContext(NULL, NULL); /* whose errors go nowhere: they are of the profile */
    if (!lcms)
        return err_no_memory(e, "colours of a picture", 4096);
    cmsHPROFILE from = has_cicp(r) ? cicp_profile(lcms, r->cicp)
                       : r->profile_size <= UINT32_MAX
                           ? cmsOpenProfileFromMemTHR(lcms, r->profile, (cmsUInt32Number)r->profile_size)
                           : NULL;
    bool ok = true;
    if (from)
        ok = convert(r, lcms, from, name, e);
    else if (has_cicp(r))
        raster_warn(name, "its kind of colours (cICP %d, %d) isn't known, and they are taken for sRGB", r->cicp[0],
                    r->cicp[1]);
    else
        raster_warn(name, "its colour profile is damaged, and is left out");
    if (from)
        cmsCloseProfile(from);
    cmsDeleteContext(lcms);
    return ok;
}
#else
/* The description of a profile of sRGB names it, in ASCII or in UTF-16. */
static bool names_srgb(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i + 8 <= size; i++)
        if (!memcmp(data + i, "sRGB", 4) || !memcmp(data + i, "s\0R\0G\0B", 7))
            return true;
    return false;
}

static bool by_profile(raster *r, const char *name, err *e)
{
    (void)e;
    if (has_cicp(r) || !names_srgb(r->profile, r->profile_size))
        raster_warn(name,
                    "its colour profile is left out: limn was built without Little CMS (install liblcms2-dev and build "
                    "again)");
    return true;
}
#endif

bool raster_to_srgb(raster *r, const char *name, err *e)
{
    bool plain = has_cicp(r) ? cicp_is_srgb(r) : !r->profile;
    if (!plain && !by_profile(r, name, e))
        return false;
    if (r->colours == RASTER_CMYK)
        cmyk_to_rgb(r);
    return true;
}
