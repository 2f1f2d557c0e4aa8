"""Requests: what generate is asked for, as the library reads it."""

from __future__ import annotations

import os
import secrets
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _pictures
from ._arguments import Prompt, integer, number, token_ids
from ._native import UsageError, ffi, lib, path_of, text_of

if TYPE_CHECKING:
    from ._model import Model


class Request:
    """A limn_generate_options with all that it points to."""

    def __init__(self, options: Any) -> None:
        self.c = options
        self.alive: list[Any] = []
        self.settings = ffi.new("limn_settings *", {"size": ffi.sizeof("limn_settings")})

    def keep(self, c: Any) -> Any:
        self.alive.append(c)
        return c

    def name(self, field: str, value: bytes | None) -> None:
        """A text of the settings."""
        if value is not None:
            setattr(self.settings, field, self.keep(ffi.new("char[]", value)))


def request_of(model: Model, prompt: Prompt, count: int, settings: dict[str, Any]) -> Request:
    """What generate is asked for, checked as far as the library doesn't; settings: by the names of its arguments, None
    where they aren't given."""
    m = model._open()
    r = Request(lib.limn_generate_defaults(m))
    o, given = r.c, {name: value for name, value in settings.items() if value is not None}
    _put_prompt(r, prompt)
    o.count = count
    o.first = integer(given.get("first", 0), "first", 0, 2**31 - 1 - count)
    o.seed = integer(given["seed"], "seed", 0, 2**64 - 1) if "seed" in given else secrets.randbits(32)
    for name, most in (("temperature", 100), ("top_p", 1), ("guidance", 1000), ("strength", 1)):
        if name in given:
            setattr(o, name, number(given[name], name, most))
    if "top_k" in given:
        o.top_k = integer(given["top_k"], "top_k", 0, 10**9)
    for name in ("steps", "prior_steps", "super_steps"):
        if name in given:
            setattr(o, name, integer(given[name], name, 1, 1000))
    if "prior_guidance" in given:
        o.prior_guidance = number(given["prior_guidance"], "prior_guidance", 1000)
    if "between" in given:
        o.between = integer(given["between"], "between", 2, 100000)
    for name in ("negative", "sampler", "spacing", "prompt_to"):
        if name in given:
            setattr(o, name, r.keep(ffi.new("char[]", text_of(given[name], name))))
    if "negative" in given and o.guidance in (0, 1):
        warnings.warn("negative has no effect without guidance (add guidance=3)", stacklevel=4)
    if "noise" in given:
        _put_noise(model, r, given["noise"])
    kv_cache = given.get("kv_cache", "f32")
    if kv_cache not in ("f32", "f16"):
        raise ValueError(f'kv_cache: "f32" or "f16" is wanted, not {kv_cache!r}')
    o.kv_cache_f16 = kv_cache == "f16"
    image_prompt, keep, mask = (given.get(name) for name in ("image_prompt", "keep", "mask"))
    if image_prompt is None and (keep is not None or mask is not None):
        raise UsageError(f"{'mask' if keep is None else 'keep'}: there is no picture to change (add image_prompt)")
    if keep is not None and mask is not None:
        raise UsageError("mask: keep says already what stays (leave one of them out)")
    if mask is not None and not model.info.latent_channels:
        raise UsageError(f"mask: {model.info.name} draws codes (keep says what stays of its pictures)")
    if model.info.default_super_steps or "image_to" in given:
        if keep is not None or mask is not None:
            name = "mask" if keep is None else "keep"
            raise UsageError(f"{name}: {model.info.name} draws all of a picture anew (leave it out)")
        _put_ends(r, image_prompt, given.get("image_to"))
    elif image_prompt is not None and model.info.latent_channels:
        _put_changed(model, r, image_prompt, keep, mask)
    elif image_prompt is not None:
        _put_image_prompt(model, r, image_prompt, keep)
    r.name("adapters", model._adapters)
    return r


def _put_prompt(r: Request, prompt: Any) -> None:
    if isinstance(prompt, str):
        r.c.prompt = r.keep(ffi.new("char[]", text_of(prompt, "prompt")))
        return
    ids = token_ids(prompt)
    r.alive.append(ids)
    r.c.text_ids = _pictures.pointer(ids, "int32_t[]")
    r.c.n_text_ids = len(ids)


def _put_noise(model: Model, r: Request, noise: Any) -> None:
    if not model.info.latent_channels:
        raise UsageError(f"noise: {model.info.name} draws codes, not latents (diffusion models do; leave it out)")
    rows, _ = model._latent_rows(np.asarray(noise), "noise")
    if not 0 < len(rows) < 2**20:
        raise ValueError(f"noise: {len(rows)} rows of it")
    r.c.noise, r.c.n_noise = r.keep(_pictures.pointer(rows, "float[]")), len(rows)


def _put_image_prompt(model: Model, r: Request, picture: Any, keep: Any) -> None:
    pixels = _pictures.pixels_of(picture, "image_prompt")
    codes = model._encoded([pixels])
    cells = np.zeros(model.info.grid_height * model.info.grid_width, np.uint8)
    if keep is not None:
        _fill_kept(model, cells, keep)
        r.name("keep", path_of(keep, "keep") if isinstance(keep, (str, bytes, os.PathLike)) else None)
    elif not 0 < r.c.strength:
        if pixels.shape[2] == 4:
            _mask(model, cells, pixels)
        if cells.all() or not cells.any():
            _fill_kept(model, cells, "top:0.5")
            r.name("keep", b"top:0.5")
    r.alive += [codes, cells]
    r.c.keep = _pictures.pointer(cells, "uint8_t[]")
    r.c.kept_codes = _pictures.pointer(codes, "int32_t[]")
    _name_prompt(r, picture)


def _put_changed(model: Model, r: Request, picture: Any, keep: Any, mask: Any) -> None:
    """A picture that a diffusion model changes, and where."""
    i = model.info
    image, paint = model._fitted(_pictures.pixels_of(picture, "image_prompt")), None
    if keep is not None:
        cells = np.zeros(i.grid_height * i.grid_width, np.uint8)
        if hasattr(keep, "__array__") and getattr(keep, "dtype", None) == np.bool_:
            keep = np.asarray(keep)
            if keep.shape == model._latents[1:]:  # of places, which have several cells each
                keep = keep.repeat(i.latent_channels, 1)
        _fill_kept(model, cells, keep)
        anew = 1 - cells.reshape(i.grid_height, i.grid_width)[:, :: i.latent_channels]
        paint = np.ascontiguousarray(anew.repeat(i.size_step, 0).repeat(i.size_step, 1))
        r.name("keep", path_of(keep, "keep") if isinstance(keep, (str, bytes, os.PathLike)) else None)
    elif mask is not None:
        white = model._fitted(_pictures.pixels_of(mask, "mask")).sum(2, dtype=np.uint32) // 3 >= 128
        paint = white.astype(np.uint8)
    r.c.image = r.keep(_pictures.pointer(image, "uint8_t[]"))
    if paint is not None:
        r.c.paint = r.keep(_pictures.pointer(paint, "uint8_t[]"))
    _name_prompt(r, picture)


def _put_ends(r: Request, image_prompt: Any, image_to: Any) -> None:
    """Pictures whose embeddings unCLIP's models draw, as they are: the library brings them to what CLIP sees."""
    for picture, name in ((image_prompt, "image"), (image_to, "image_to")):
        if picture is None:
            continue
        argument = "image_prompt" if name == "image" else name
        pixels = _pictures.over_white(_pictures.pixels_of(picture, argument))
        height, width, _ = pixels.shape
        setattr(r.c, name, r.keep(_pictures.pointer(pixels, "uint8_t[]")))
        setattr(r.c, f"{name}_width", width)
        setattr(r.c, f"{name}_height", height)
        _name_prompt(r, picture, argument)


def _fill_kept(model: Model, cells: np.ndarray, keep: Any) -> None:
    grid = (model.info.grid_height, model.info.grid_width)
    if hasattr(keep, "__array__") and getattr(keep, "dtype", None) == np.bool_:
        a = np.asarray(keep)
        if a.shape not in (grid, (len(cells),)):
            raise ValueError(f"keep: the shape of cells is {a.shape}, and {grid} is wanted")
        cells[:] = a.reshape(-1)
    elif isinstance(keep, str):
        region = text_of(keep, "keep")
        model._call(lambda m, e: lib.limn_picture_keep(m, region, _pictures.pointer(cells, "uint8_t[]"), e))
    else:
        _mask(model, cells, _pictures.pixels_of(keep, "keep"))


def _mask(model: Model, cells: np.ndarray, pixels: np.ndarray) -> None:
    p = _pictures.struct_of(pixels)
    model._call(lambda m, e: lib.limn_picture_mask(m, p, _pictures.pointer(cells, "uint8_t[]"), e))


def _name_prompt(r: Request, picture: Any, field: str = "image_prompt") -> None:
    """What the settings call an image prompt."""
    name = picture if isinstance(picture, (str, bytes, os.PathLike)) else getattr(picture, "filename", "")
    r.name(field, path_of(name, field) if name else b"in memory")
