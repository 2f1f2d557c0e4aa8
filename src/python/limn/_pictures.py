"""Pictures as callers bring and get them: PIL's, NumPy's arrays and files."""

from __future__ import annotations

import os
import weakref
from typing import Any, Union

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from ._native import ffi, lib, path_of
from ._work import checked

PictureLike = Union[Image.Image, np.ndarray, str, bytes, "os.PathLike[str]"]
"""A PIL.Image; an array u8 [H, W, 3], [H, W, 4] (RGBA) or [H, W] (grey); or the path of a PNG, JPEG or WebP file."""

_WITH_EXIF = ("JPEG", "WEBP")
_SOFTWARE, _EXIF, _USER_COMMENT = 0x131, 0x8769, 0x9286  # of Exif


class Picture(Image.Image):
    """A PIL.Image that keeps its settings when it is saved: ``info["parameters"]`` is the text that `limn generate`
    writes into its files, and ``limn generate --like FILE`` reads it again (PNG, JPEG, WebP)."""

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        text, software = self.info.get("parameters"), self.info.get("Software")
        kind = format or _format_of(fp)
        if text and kind.upper() == "PNG" and "pnginfo" not in params:
            texts = PngImagePlugin.PngInfo()
            if software:
                texts.add_text("Software", software)
            texts.add_text("parameters", text)
            params["pnginfo"] = texts
        elif text and kind.upper() in _WITH_EXIF and "exif" not in params:
            exif = Image.Exif()
            exif[_SOFTWARE] = software or ""
            # before Pillow 11.1 what get_ifd gives of a new Exif isn't written
            exif[_EXIF] = {_USER_COMMENT: b"UNICODE\0" + text.encode("utf-16-be")}
            params["exif"] = exif
        super().save(fp, format, **params)

    def copy(self) -> Picture:
        return _picture(super().copy())


def _format_of(fp: Any) -> str:
    name = fp if isinstance(fp, (str, bytes, os.PathLike)) else getattr(fp, "name", "")
    if not isinstance(name, (str, bytes, os.PathLike)):
        return ""
    ending = os.path.splitext(os.fsdecode(name))[1].lower()
    return Image.registered_extensions().get(ending, "")


def _picture(im: Image.Image) -> Picture:
    im.__class__ = Picture
    return im  # type: ignore[return-value]


def picture_of(rgb: np.ndarray, text: str | None, software: str) -> Picture:
    """rgb: u8 [H, W, 3]."""
    im = _picture(Image.fromarray(rgb))
    if text is not None:
        im.info = {"Software": software, "parameters": text}
    return im


def _of_pil(im: Image.Image) -> np.ndarray:
    im = ImageOps.exif_transpose(im) or im
    has_alpha = im.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in im.info
    return np.asarray(im.convert("RGBA" if has_alpha else "RGB"))


def _of_file(path: Any) -> np.ndarray:
    p = ffi.new("limn_picture *")
    name = path_of(path, "picture")
    checked(lambda e: lib.limn_picture_read(name, p, e))
    try:
        n = p.width * p.height * p.channels
        return np.frombuffer(ffi.buffer(p.pixels, n), np.uint8).reshape(p.height, p.width, p.channels).copy()
    finally:
        lib.limn_free(p.pixels)


def pixels_of(picture: Any, name: str) -> np.ndarray:
    """u8 [H, W, 3] or [H, W, 4], contiguous."""
    if isinstance(picture, Image.Image):
        a = _of_pil(picture)
    elif isinstance(picture, (str, bytes, os.PathLike)):
        a = _of_file(picture)
    elif hasattr(picture, "__array__"):
        a = np.asarray(picture)
    else:
        raise TypeError(f"{name}: a PIL.Image, an array or the path of a picture is wanted, not {type(picture).__name__}")
    if a.dtype != np.uint8:
        raise TypeError(f"{name}: pixels are of {a.dtype}, and uint8 is wanted (of floats in 0..1: (255 * a).round())")
    if a.ndim == 2:
        a = np.repeat(a[..., None], 3, axis=2)
    if a.ndim != 3 or a.shape[2] not in (3, 4) or 0 in a.shape:
        raise ValueError(f"{name}: the shape is {a.shape}, and (H, W, 3), (H, W, 4) or (H, W) is wanted")
    return np.ascontiguousarray(a)


def list_of(pictures: Any, name: str) -> list[np.ndarray]:
    """Of one picture or several (a sequence of them, or an array [n, H, W, 3]), each u8 [H, W, 3 or 4]."""
    one = isinstance(pictures, (Image.Image, str, bytes, os.PathLike))
    if one or (hasattr(pictures, "__array__") and np.ndim(pictures) < 4):
        return [pixels_of(pictures, name)]
    try:
        several = list(pictures)
    except TypeError:
        raise TypeError(f"{name}: a picture or a sequence of them is wanted, not {type(pictures).__name__}") from None
    return [pixels_of(p, name) for p in several]


def over_white(a: np.ndarray) -> np.ndarray:
    """[H, W, 3] of [H, W, 3 or 4], as the library lays transparent parts over white."""
    if a.shape[2] == 3:
        return a
    alpha = a[..., 3:].astype(np.uint32)
    return np.ascontiguousarray(((a[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8))


_alive: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def struct_of(a: np.ndarray) -> Any:
    """The library's limn_picture of an array, which lives as long."""
    pixels = pointer(a, "uint8_t[]")
    p = ffi.new("limn_picture *", {"width": a.shape[1], "height": a.shape[0], "channels": a.shape[2], "pixels": pixels})
    _alive[p] = pixels
    return p


def pointer(a: np.ndarray, kind: str) -> Any:
    """To the elements of a contiguous array, which lives as long: a call that nobody waits for any more may use it."""
    return ffi.from_buffer(kind, a)
