#!/usr/bin/env python3
"""Makes tests/data/pictures: small files of the kinds that cameras, phones, browsers and programs make, and beside each
what Pillow reads, upright and in sRGB, over white (NAME.want.png).  usage: make_golden_pictures.py OUT

Needs Pillow, numpy and the program cc with libjpeg (for what Pillow doesn't write)."""
import io
import os
import struct
import subprocess
import sys
import tempfile
import zlib

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

W, H = 24, 16


def picture(alpha=False):
    """Smooth, so that JPEG keeps it; no two corners alike, so that each orientation is another picture."""
    y, x = np.mgrid[0:H, 0:W].astype(float)
    rgb = np.stack([40 + 200 * x / W, 220 - 180 * y / H, 60 + 120 * (x + y) / (W + H)], -1)
    rgb[:5, :7] = (230, 30, 20)
    if alpha:
        a = np.clip(255 * (x - 4) / (W - 8), 0, 255)[..., None]
        return Image.fromarray(np.concatenate([rgb, a], -1).round().astype(np.uint8), "RGBA")
    return Image.fromarray(rgb.round().astype(np.uint8), "RGB")


# ---- profiles -----------------------------------------------------------------------------------------------------

def icc(space, tags, pcs=b"XYZ ", kind=b"mntr"):
    """A profile of version 2.1."""
    at = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, value in tags:
        value += b"\0" * (-len(value) % 4)
        table += struct.pack(">4sII", name, at + len(data), len(value))
        data += value
    size = at + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"\0" * 4, 0x02100000, kind, space, pcs)
    head += struct.pack(">6H4s4s", 2026, 1, 1, 0, 0, 0, b"acsp", b"\0" * 4) + b"\0" * 20
    head += struct.pack(">I3i", 0, 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + table + data


def text(s):
    return b"desc\0\0\0\0" + struct.pack(">I", len(s) + 1) + s.encode() + b"\0" + b"\0" * 78


def xyz(*v):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *[round(x * 65536) for x in v])


def curve(gamma):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def srgb_curve():
    v = np.arange(1024) / 1023
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *np.round(linear * 65535).astype(int))


WHITE = xyz(0.9642, 1, 0.8249)


def rgb_profile(name, primaries, tone):
    tags = [(b"desc", text(name)), (b"cprt", b"text\0\0\0\0none\0"), (b"wtpt", WHITE)]
    tags += [(k, xyz(*v)) for k, v in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries)]
    return icc(b"RGB ", tags + [(k, tone) for k in (b"rTRC", b"gTRC", b"bTRC")])


# adapted to D50
P3 = rgb_profile("P3", [(0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)],
                 srgb_curve())
SRGB = rgb_profile("sRGB", [(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141)],
                   srgb_curve())
GREY = icc(b"GRAY", [(b"desc", text("grey 1.0")), (b"cprt", b"text\0\0\0\0none\0"), (b"wtpt", WHITE),
                     (b"kTRC", curve(1.4))])


def cmyk_profile():
    """A table of 3^4 colours in Lab: ink that is a little warm."""
    n, grid = 3, []
    for c in range(n):
        for m in range(n):
            for y in range(n):
                for k in range(n):
                    light = (1 - 0.25 * c / 2 - 0.25 * m / 2 - 0.06 * y / 2) * (1 - 0.9 * k / 2)
                    a = (-40 * c + 70 * m - 5 * y) / 2 * (1 - k / 2)
                    b = (-45 * c - 5 * m + 85 * y) / 2 * (1 - k / 2) + 3
                    grid += [round(255 * max(light, 0)), round(128 + a), round(128 + b)]
    ramp = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, n, 0])
    lut += struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536) + ramp * 4 + bytes(grid) + ramp * 3
    return icc(b"CMYK", [(b"desc", text("ink")), (b"cprt", b"text\0\0\0\0none\0"), (b"wtpt", WHITE), (b"A2B0", lut)],
               b"Lab ", b"prtr")


# ---- files --------------------------------------------------------------------------------------------------------

def exif(orientation, order="<", kind=3, count=1, thumbnail=None, extra=()):
    """A TIFF structure with an orientation; kind: the type of the number."""
    def entry(tag, kind, count, value):
        packed = struct.pack(order + {1: "B", 3: "H", 4: "I", 8: "h", 9: "i"}[kind], value)
        return struct.pack(order + "HHI", tag, kind, count) + packed.ljust(4, b"\0")
    entries = list(extra)
    if orientation is not None:
        entries.append(entry(0x112, kind, count, orientation))
    first = struct.pack(order + "H", len(entries)) + b"".join(entries)
    at = 8 + len(first) + 4 if thumbnail else 0
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    data += first + struct.pack(order + "I", at)
    if thumbnail:
        data += struct.pack(order + "H", 1) + entry(0x112, 3, 1, thumbnail) + struct.pack(order + "I", 0)
    return data


def jpeg(im, quality=100, subsampling=0, **more):
    b = io.BytesIO()
    im.save(b, "JPEG", quality=quality, subsampling=subsampling, **more)
    return b.getvalue()


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def insert(file, *segments):
    """Behind SOI."""
    return file[:2] + b"".join(segments) + file[2:]


def app1(block):
    return segment(0xE1, b"Exif\0\0" + block)


def icc_segments(profile, piece):
    parts = [profile[i:i + piece] for i in range(0, len(profile), piece)]
    return [segment(0xE2, b"ICC_PROFILE\0" + bytes([i + 1, len(parts)]) + p) for i, p in enumerate(parts)]


def without(file, marker):
    """Without the segments of that marker."""
    out, at = file[:2], 2
    while file[at + 1] != 0xDA:
        n = 2 + struct.unpack(">H", file[at + 2:at + 4])[0]
        if file[at + 1] != marker:
            out += file[at:at + n]
        at += n
    return out + file[at:]


def png(im, **more):
    b = io.BytesIO()
    im.save(b, "PNG", **more)
    return b.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_insert(file, *chunks):
    """Behind IHDR."""
    return file[:33] + b"".join(chunks) + file[33:]


def png_append(file, *chunks):
    """Before IEND."""
    return file[:-12] + b"".join(chunks) + file[-12:]


def webp(im, **more):
    b = io.BytesIO()
    im.save(b, "WEBP", **more)
    return b.getvalue()


def animation(frames, kind, **more):
    b = io.BytesIO()
    frames[0].save(b, kind, save_all=True, append_images=frames[1:], duration=100, **more)
    return b.getvalue()


def webp_animation_with_an_offset():
    """A canvas of W x H whose first picture is at (6, 4); around it is nothing."""
    small = picture().crop((0, 0, 10, 8))
    still = webp(small, lossless=True)
    frame = still[12:]
    def part(kind, data):
        return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    def u24(v):
        return struct.pack("<I", v)[:3]
    anmf = u24(3) + u24(2) + u24(9) + u24(7) + u24(100) + b"\x02" + frame
    body = b"WEBP" + part(b"VP8X", bytes([0x12, 0, 0, 0]) + u24(W - 1) + u24(H - 1))
    body += part(b"ANIM", b"\0\0\0\0\0\0") + part(b"ANMF", anmf)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def inverse(im, orientation):
    """The picture as a camera that lies like this stores it."""
    T = Image.Transpose
    undo = {2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM, 5: T.TRANSPOSE, 6: T.ROTATE_90,
            7: T.TRANSVERSE, 8: T.ROTATE_270}
    return im.transpose(undo[orientation]) if orientation > 1 else im


def libjpeg(settings, im):
    """A JPEG as Pillow doesn't write it; settings: lines of C that change the compressor c."""
    program = r"""
#include <stdio.h>
#include <jpeglib.h>
int main(void) {
    static unsigned char rgb[HEIGHT][3 * WIDTH];
    struct jpeg_compress_struct c; struct jpeg_error_mgr e;
    if (fread(rgb, sizeof rgb, 1, stdin) != 1) return 1;
    c.err = jpeg_std_error(&e);
    jpeg_create_compress(&c); jpeg_stdio_dest(&c, stdout);
    c.image_width = WIDTH; c.image_height = HEIGHT; c.input_components = 3; c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&c); jpeg_set_quality(&c, 90, TRUE);
    SETTINGS
    jpeg_start_compress(&c, TRUE);
    for (int y = 0; y < HEIGHT; y++) { JSAMPROW row = rgb[y]; jpeg_write_scanlines(&c, &row, 1); }
    jpeg_finish_compress(&c);
    return 0;
}"""
    with tempfile.TemporaryDirectory() as d:
        with open(d + "/a.c", "w") as f:
            f.write(program)
        subprocess.check_call(["cc", f"-DWIDTH={im.width}", f"-DHEIGHT={im.height}", f"-DSETTINGS={settings}",
                               d + "/a.c", "-o", d + "/a", "-ljpeg"])
        return subprocess.run([d + "/a"], input=im.tobytes(), stdout=subprocess.PIPE, check=True).stdout


# ---- what they should be read as ----------------------------------------------------------------------------------

def want(file, profile=None):
    im = Image.open(io.BytesIO(file))
    profile = profile or im.info.get("icc_profile")
    im = ImageOps.exif_transpose(im)
    if im.mode == "P" or "transparency" in im.info:
        im = im.convert("RGBA")
    if profile:
        mode = "RGBA" if im.mode in ("RGBA", "LA") else "RGB"
        space = profile[16:20]
        if space == b"RGB " and im.mode in ("L", "LA"):
            im = im.convert(mode)
        alpha = im.getchannel("A") if mode == "RGBA" else None
        im = ImageCms.profileToProfile(im.convert(space == b"GRAY" and "L" or im.mode if not alpha else "RGB"),
                                       ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"),
                                       outputMode="RGB")
        if alpha:
            im.putalpha(alpha)
    if im.mode in ("RGBA", "LA"):
        white = Image.new("RGBA", im.size, "white")
        im = Image.alpha_composite(white, im.convert("RGBA"))
    return im.convert("RGB")


def main(out):
    os.makedirs(out, exist_ok=True)

    def write(name, file, wanted=None):
        """wanted: an image, or False where the test knows."""
        with open(f"{out}/{name}", "wb") as f:
            f.write(file)
        if wanted is not False:
            (wanted or want(file)).save(f"{out}/{name}.want.png", optimize=True)

    upright, rgba = picture(), picture(alpha=True)
    upright.save(out + "/upright.png", optimize=True)
    for o in range(1, 9):  # all are the same picture
        lying = inverse(upright, o)
        assert ImageOps.exif_transpose(Image.open(io.BytesIO(insert(jpeg(lying), app1(exif(o)))))).size == (W, H)
        write(f"orientation_{o}.jpg", insert(jpeg(lying), app1(exif(o, "<>"[o % 2]))), False)
    lying = inverse(upright, 6)
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/' tiff:Orientation='1'/>")
    write("orientation_after_xmp.jpg", insert(jpeg(lying), xmp, app1(exif(6, ">"))), False)
    write("orientation_second_app1.jpg", insert(jpeg(lying), app1(exif(None)), xmp, app1(exif(6))), False)
    write("orientation_long.jpg", insert(jpeg(lying), app1(exif(6, ">", 4))), False)
    write("orientation_byte.jpg", insert(jpeg(lying), app1(exif(6, "<", 1))), False)
    write("orientation_signed.jpg", insert(jpeg(lying), app1(exif(6, ">", 9))), False)
    write("orientation_count2.jpg", insert(jpeg(lying), app1(exif(6, ">", 3, 2))), False)
    write("orientation_of_thumbnail.jpg", insert(jpeg(upright), app1(exif(None, "<", thumbnail=6))), False)
    write("orientation_9.jpg", insert(jpeg(upright), app1(exif(9))), False)
    write("orientation_0.jpg", insert(jpeg(upright), app1(exif(0))), False)
    write("orientation_exif.png", png_insert(png(lying), chunk(b"eXIf", exif(6))), False)
    write("orientation_exif_last.png", png_append(png(inverse(upright, 8)), chunk(b"eXIf", exif(8, ">"))), False)
    raw = b"Exif\0\0" + exif(5, ">")
    digits = b"\nexif\n%8d\n" % len(raw) + b"\n".join(raw.hex().encode()[i:i + 72] for i in range(0, 2 * len(raw), 72))
    for name in (b"exif", b"APP1"):
        ztxt = chunk(b"zTXt", b"Raw profile type " + name + b"\0\0" + zlib.compress(digits + b"\n"))
        write(f"orientation_raw_{name.decode().lower()}.png", png_insert(png(inverse(upright, 5)), ztxt), False)
    write("orientation.webp", webp(inverse(upright, 7), lossless=True, exif=exif(7)), False)
    write("orientation_prefix.webp", webp(lying, lossless=True, exif=b"Exif\0\0" + exif(6, ">")), False)

    # JPEG: colours and codings
    cmyk = np.asarray(upright.convert("CMYK")).copy()
    cmyk[..., 3] = (np.mgrid[0:H, 0:W][1] * 6).astype(np.uint8)
    cmyk = Image.fromarray(cmyk, "CMYK")
    write("cmyk.jpg", jpeg(cmyk))
    write("cmyk_without_adobe.jpg", without(jpeg(cmyk), 0xEE))
    light = 255 - np.asarray(cmyk)
    ycc = np.asarray(Image.fromarray(255 - light[..., :3], "RGB").convert("YCbCr"))
    ycck = 255 - np.concatenate([ycc, light[..., 3:]], -1)  # Pillow inverts what it writes
    marked = jpeg(Image.fromarray(ycck.astype(np.uint8), "CMYK"))
    at = marked.index(b"Adobe")
    write("ycck.jpg", marked[:at + 11] + b"\2" + marked[at + 12:])
    write("cmyk_profile.jpg", jpeg(cmyk, icc_profile=cmyk_profile()))
    write("grey.jpg", jpeg(upright.convert("L")))
    write("grey_profile.jpg", jpeg(upright.convert("L"), icc_profile=GREY))
    write("grey_rgb_profile.jpg", jpeg(upright.convert("L"), icc_profile=P3))
    write("p3.jpg", jpeg(upright, icc_profile=P3))
    write("p3_in_pieces.jpg", insert(jpeg(upright), *icc_segments(P3, 700)))
    write("p3_out_of_order.jpg", insert(jpeg(upright), *reversed(icc_segments(P3, 1300))),
          want(jpeg(upright, icc_profile=P3)))
    plain = want(jpeg(upright))
    write("srgb.jpg", jpeg(upright, icc_profile=SRGB), plain)
    write("srgb_lcms.jpg", jpeg(upright, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
          plain)
    write("profile_broken.jpg", jpeg(upright, icc_profile=b"this is no profile"), plain)
    write("profile_piece_missing.jpg", insert(jpeg(upright), *icc_segments(P3, 700)[:2]), plain)
    write("profile_of_cmyk.jpg", jpeg(upright, icc_profile=cmyk_profile()), plain)
    write("progressive.jpg", jpeg(upright, 90, progressive=True))
    write("subsampled_420.jpg", jpeg(upright, 90, 2))
    write("subsampled_411.jpg", libjpeg("c.comp_info[0].h_samp_factor = 4; c.comp_info[0].v_samp_factor = 1;", upright))
    write("subsampled_440.jpg", libjpeg("c.comp_info[0].h_samp_factor = 1; c.comp_info[0].v_samp_factor = 2;", upright))
    write("arithmetic.jpg", libjpeg("c.arith_code = TRUE;", upright), want(libjpeg("", upright)))
    rgb = jpeg(upright, keep_rgb=True)
    write("rgb.jpg", rgb)
    baseline = jpeg(upright, 90)
    sof = baseline.index(b"\xff\xc0")
    write("bits_12.jpg", baseline[:sof + 4] + b"\x0c" + baseline[sof + 5:], False)
    write("lossless.jpg", baseline[:sof + 1] + b"\xc3" + baseline[sof + 2:], False)

    # PNG
    write("p3.png", png(upright, icc_profile=P3))
    write("p3_alpha.png", png(rgba, icc_profile=P3))
    write("p3_palette.png", png(upright.quantize(16), icc_profile=P3))
    write("srgb_profile.png", png(upright, icc_profile=SRGB), upright)
    write("grey_profile.png", png(upright.convert("L"), icc_profile=GREY))
    write("grey_alpha_profile.png", png(rgba.convert("LA"), icc_profile=GREY),
          Image.alpha_composite(Image.new("RGBA", (W, H), "white"), Image.merge("RGBA", [
              *want(png(rgba.convert("LA").getchannel("L"), icc_profile=GREY)).split(), rgba.getchannel("A")])).convert("RGB"))
    write("profile_broken.png", png(upright, icc_profile=b"this is no profile"), upright)
    write("srgb_chunk.png", png_insert(png(upright), chunk(b"sRGB", b"\0")), upright)
    write("gamma.png", png_insert(png(upright), chunk(b"gAMA", struct.pack(">I", 100000))), upright)
    write("cicp_p3.png", png_insert(png(upright), chunk(b"cICP", bytes([12, 13, 0, 1]))), want(png(upright), P3))
    write("cicp_srgb.png", png_insert(png(upright), chunk(b"cICP", bytes([1, 13, 0, 1]))), upright)
    write("cicp_pq.png", png_insert(png(upright), chunk(b"cICP", bytes([9, 16, 0, 1]))), upright)
    write("transparent_colour.png", png(upright.quantize(4), transparency=1))
    grey = Image.fromarray((np.mgrid[0:H, 0:W][1] * 2731).astype(np.uint16))
    write("grey_16.png", png(grey), Image.fromarray(np.round(np.asarray(grey) / 257).astype(np.uint8)).convert("RGB"))
    write("animated.png", animation([upright, ImageOps.invert(upright)], "PNG"), upright)

    # WebP
    write("lossy.webp", webp(upright, quality=90))
    write("lossless.webp", webp(upright, lossless=True))
    write("alpha.webp", webp(rgba, quality=95))
    write("alpha_lossless.webp", webp(rgba, lossless=True, exact=True))
    write("animated.webp", animation([rgba, picture(True).rotate(180)], "WEBP", lossless=True, exact=True))
    write("animated_offset.webp", webp_animation_with_an_offset())
    write("p3.webp", webp(upright, lossless=True, icc_profile=P3))
    write("profile_broken.webp", webp(upright, lossless=True, icc_profile=b"this is no profile"), upright)


main(*sys.argv[1:])
