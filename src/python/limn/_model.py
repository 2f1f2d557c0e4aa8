"""Models: what draws, reads and compares pictures."""

from __future__ import annotations

import inspect
import math
import os
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Literal, NamedTuple, overload

import numpy as np

from . import _native, _pictures
from ._arguments import Adapter, Embeddings, Prompt, integer, put_adapters, put_embeddings, token_ids
from ._device import Device, record
from ._native import (
    Interrupted,
    UsageError,
    ffi,
    lib,
    path_of,
    string,
    text_of,
    version,
)
from ._pictures import Picture, PictureLike
from ._request import Request, request_of
from ._work import Progress, checked, control

_AT_ONCE = 8  # pictures that are decoded or encoded in one call; between two of them the caller is asked
_SOFTWARE = f"limn {version}"


@dataclass(frozen=True)
class ModelInfo:
    """What a model is.  What it hasn't is 0 or False.

    ``width`` and ``height`` of its pictures in pixels, ``encode_width`` and ``encode_height`` of those that its encoder
    sees; ``grid_width`` x ``grid_height`` codes are a picture, each below ``codes`` (those that are drawn) or
    ``codebook`` (those that can be decoded); ``sizes``: what ``Model(size=...)`` can be, or any multiples of ``size_step``.
    Of a diffusion model a picture is latents instead of codes: [latent_channels, grid_height, grid_width /
    latent_channels].  Of unCLIP's models: ``has_prior``, they draw texts; ``has_image_encoder``, variations of pictures.
    """

    name: str
    has_codec: bool
    has_transformer: bool
    has_clip: bool
    has_tokenizer: bool
    width: int
    height: int
    encode_width: int
    encode_height: int
    grid_width: int
    grid_height: int
    codes: int
    codebook: int
    text_length: int
    text_vocabulary: int
    classes: int
    default_temperature: float
    default_top_p: float
    default_guidance: float
    default_top_k: int
    default_steps: int
    default_sampler: str | None
    default_spacing: str | None
    has_prior: bool
    has_image_encoder: bool
    default_prior_steps: int
    default_super_steps: int
    default_prior_guidance: float
    latent_channels: int
    size_step: int
    sizes: tuple[tuple[int, int], ...]


class Score(NamedTuple):
    """How likely the model finds a picture and a text: natural logarithms, summed over so many tokens."""

    image_log_likelihood: float  #: log p(z|y), of the picture's codes given the text
    text_log_likelihood: float  #: log p(y), of the text
    image_tokens: int
    text_tokens: int

    @property
    def image_bits_per_token(self) -> float:
        return -self.image_log_likelihood / (self.image_tokens * math.log(2)) if self.image_tokens else math.nan

    @property
    def text_bits_per_token(self) -> float:
        return -self.text_log_likelihood / (self.text_tokens * math.log(2)) if self.text_tokens else math.nan


class Model:
    """A model that is open on a device.

    path: a GGUF file; None: the small model that is built in.  device: as Device's spec, or a Device that several models
    share.  size: (width, height) of its pictures, one of ``info.sizes``.  lora: low-rank adapters, a path, a (path,
    scale), or a list of these.  embeddings: textual inversions of Stable Diffusion, a path, a list of paths, or paths by
    the words that prompts have for them ({"<cat>": path}).  progress: called while the file is read.

    Any thread may use it: they take turns.  Ctrl-C is raised at once, while the device finishes what it was given.
    """

    def __init__(
        self,
        path: str | bytes | os.PathLike[str] | None = None,
        device: str | int | Device | None = None,
        *,
        size: tuple[int, int] | None = None,
        lora: Adapter | Sequence[Adapter] | None = None,
        embeddings: Embeddings | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._handle: Any = None
        name = ffi.NULL if path is None else path_of(path, "path")
        options = ffi.new("limn_model_options *", {"size": ffi.sizeof("limn_model_options")})
        if size is not None:
            width, height = size
            options.width = integer(width, "size", 1, 2**31 - 1)
            options.height = integer(height, "size", 1, 2**31 - 1)
        self._adapters, alive = put_adapters(lora, options)
        alive += put_embeddings(embeddings, options)
        self._owns = not isinstance(device, Device)
        self._device: Device = device if isinstance(device, Device) else Device(device)

        def opened(job: Any, alive: Any = alive) -> Any:
            c = control(job)
            options.control = c
            handle = checked(lambda e: lib.limn_model_open_with(self._device._open(), name, options, e))
            if job.stopped:  # nobody waits for it
                _native.release("model", handle)
            return handle

        try:
            with self._device._turn:
                handle = self._device._worker.call(opened, progress)
        except BaseException:
            if self._owns:
                self._device._discard()
            raise
        self._handle = handle
        self._release = weakref.finalize(self, self._device._worker.free, "model", handle)
        self.info: ModelInfo = _info(lib.limn_model_get_info(handle))

    # ---- what every call does ----

    def _open(self) -> Any:
        if self.closed:
            raise _native.closed("the model")
        _native.use_drivers()
        return self._handle

    @property
    def _turn(self) -> Any:
        """The lock of those who use the device."""
        self._open()  # behind a fork, the lock may be that of a thread which isn't there
        return self._device._turn

    def _call(self, function: Callable[[Any, Any], Any]) -> Any:
        """checked(function(model, error)) in the device's thread."""
        with self._turn:
            m = self._open()
            return self._device._call(lambda e: function(m, e))

    @property
    def device(self) -> Device:
        return self._device

    @property
    def closed(self) -> bool:
        return self._handle is None or not self._release.alive  # the end of the program closes it, too

    def close(self) -> None:
        """Frees what the model has.  Twice is fine.  Another thread's call comes to its end first."""
        if _native.is_forked():
            self._handle = None
            return
        with self._device._turn:
            if self._handle is not None:
                handle, self._handle = self._handle, None
                if self._release.detach():  # at once: it is our turn
                    _native.release("model", handle)
                if self._owns:
                    self._device._discard()

    def rest(self) -> None:
        """Frees what the model has on the device until it is used again."""
        self._call(lambda m, e: lib.limn_model_rest(m, e))

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle 'limn.Model' object: a model belongs to its process (open it in the other one)")

    def __repr__(self) -> str:
        if not hasattr(self, "info"):
            return "<limn.Model>"
        return f"<limn.Model {self.info.name!r} on {self._device.info.name!r}{' closed' if self.closed else ''}>"

    # ---- drawing ----

    @overload
    def generate(self, prompt: Prompt, *, as_array: Literal[True], **settings: Any) -> np.ndarray: ...
    @overload
    def generate(self, prompt: Prompt, *, n: None = None, **settings: Any) -> Picture: ...
    @overload
    def generate(self, prompt: Prompt, *, n: int, **settings: Any) -> list[Picture]: ...
    def generate(  # type: ignore[misc]
        self,
        prompt: Prompt,
        *,
        n: int | None = None,
        seed: int | None = None,
        first: int = 0,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        guidance: float | None = None,
        negative: str | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        spacing: str | None = None,
        image_prompt: PictureLike | None = None,
        keep: Any = None,
        mask: PictureLike | None = None,
        strength: float | None = None,
        noise: Any = None,
        between: int | None = None,
        prompt_to: str | None = None,
        image_to: PictureLike | None = None,
        prior_steps: int | None = None,
        prior_guidance: float | None = None,
        super_steps: int | None = None,
        draft: int = 0,
        kv_cache: str | None = None,
        progress: Progress | None = None,
        as_array: bool = False,
    ) -> Any:
        """Draws a picture, or with n a list of n: those of ``limn generate`` with the same settings, pixel for pixel.

        prompt        a text, or the model's own token ids in its place
        n             pictures first to first + n - 1 of the seed, from 0; picture i of a seed is the same for any n
        seed          0 to 2**64 - 1; None: a random one, which the picture's settings tell
        temperature   below 1 safer, above 1 wilder; 0: the most likely code each time
        top_k, top_p  sample among so many, or so much of the probability, of the codes; 0: all
        guidance      classifier-free guidance, how much more the prompt counts; 0 or 1: none
        negative      what guidance leads away from
        steps         of models that draw all of a picture at once, in steps
        sampler       of diffusion models: "ddim", "euler", "dpmpp_2m_karras", ...; spacing: "leading", "linspace", "trailing"
        image_prompt  a picture of which a part stays (PIL.Image, u8 [H, W, 3 or 4], or a path)
        keep          which part: "top:0.5", "left:F", "box:X,Y,W,H" and the like, as of the command line; a mask
                      (PIL.Image, u8 [H, W], a path; white or opaque stays); or cells (bool [grid_height, grid_width],
                      of diffusion models also [height, width] of latents); None: what is opaque in the picture, else
                      its upper half; of diffusion models none of it
        mask          of diffusion models, instead of keep: what is white in it is painted anew
        strength      of models that draw all of a picture at once: how much of the image prompt changes, above 0 and up to 1
        noise         of diffusion models, in place of random numbers: float [1 + k, channels, height, width], what every
                      picture begins with and that of each step that draws some; limn.h says what image_prompt adds
        between       of unCLIP's models (Karlo), which draw all of a picture anew, as a variation of image_prompt where it
                      is given: so many pictures lie on the way from the prompt, or image_prompt, to prompt_to or
                      image_to, both ends included; n=between draws them all
        prior_steps, prior_guidance, super_steps  of unCLIP's models, beside the decoder's steps and guidance
        draft         codes that are drafted and checked in one pass; 0: as the device likes; the pictures are the same
        kv_cache      "f16" halves the memory of attention's keys and values, and may change a code now and then
        progress      called with the codes that are done, and with all; returning False ends it with limn.Interrupted
        as_array      NumPy arrays, u8 [H, W, 3], or with n [n, H, W, 3]

        None means the model's own.  ``picture.info["parameters"]`` has the settings as the command line writes them,
        and saving it as PNG, JPEG or WebP keeps them.
        """
        settings = {name: value for name, value in locals().items() if name in _SETTINGS}
        with self._turn:
            self._needs_codec()
            request, codes = self._draw(prompt, n, progress, settings)
            pixels = self._decoded(codes)
            if as_array:
                return pixels[0] if n is None else pixels
            pictures = [
                _pictures.picture_of(rgb, self._settings_text(request, i), _SOFTWARE) for i, rgb in enumerate(pixels)
            ]
        return pictures[0] if n is None else pictures

    def generate_codes(self, prompt: Prompt, *, n: int = 1, progress: Progress | None = None, **settings: Any) -> np.ndarray:
        """The codes of generate's pictures, not decoded: int32 [n, grid_height * grid_width]; of a diffusion model the
        latents, float32 [n, channels, height, width].  settings: as generate's."""
        for name in settings:
            if name not in _SETTINGS:
                raise TypeError(f"generate_codes() got an unexpected keyword argument {name!r}")
        return self._given(self._draw(prompt, n, progress, settings)[1])

    def _draw(self, prompt: Prompt, n: int | None, progress: Any, settings: dict) -> tuple[Request, np.ndarray]:
        count = 1 if n is None else integer(n, "n", 1, 10**7)
        with self._turn:
            m = self._open()
            request = request_of(self, prompt, count, settings)
            self._call(lambda m, e: lib.limn_generate_check(m, ffi.addressof(request.c), e))
            cells = self.info.grid_width * self.info.grid_height
            codes = np.empty((count, cells), np.int32)
            g = self._generation(m, request, settings.get("draft", 0))
            try:
                self._add(g, request)
                for done in self._steps(g, codes):
                    if progress is not None and progress(done, count * cells) is False:
                        raise Interrupted("generate: interrupted")
            finally:
                _native.release("generation", g)
        return request, codes

    def _generation(self, m: Any, request: Request, draft: int) -> Any:
        options = ffi.new(
            "limn_generation_options *",
            {
                "size": ffi.sizeof("limn_generation_options"),
                "kv_cache_f16": request.c.kv_cache_f16,
                "draft": integer(draft, "draft", 0, 32),
            },
        )
        return self._device._call(lambda e: lib.limn_generation_open(m, options, e))

    def _add(self, g: Any, request: Request) -> None:
        o = request.c
        q = ffi.new("limn_request *", {"size": ffi.sizeof("limn_request")})
        for name in ("prompt", "text_ids", "n_text_ids", "negative", "seed", "first", "count", "temperature", "keep"):
            setattr(q, name, getattr(o, name))
        for name in ("kept_codes", "steps", "strength", "sampler", "spacing", "noise", "n_noise", "image", "paint"):
            setattr(q, name, getattr(o, name))
        for name in ("image_width", "image_height", "image_to", "image_to_width", "image_to_height", "prompt_to"):
            setattr(q, name, getattr(o, name))
        for name in ("between", "prior_steps", "super_steps", "prior_guidance"):
            setattr(q, name, getattr(o, name))
        q.greedy = o.temperature == 0
        q.top_k = o.top_k or -1
        q.top_p = o.top_p or 1
        q.guidance = o.guidance or 1

        def add(e: Any, alive: Request = request) -> Any:  # the request is the call's, too: nobody may wait for it
            return lib.limn_generation_add(g, q, ffi.NULL, e)

        self._device._call(add)

    def _steps(self, g: Any, codes: np.ndarray) -> Iterator[int]:
        """Draws all rows of codes; how many of the codes are known after each step."""
        taken = 0
        while taken < len(codes):
            self._device._call(lambda e: lib.limn_generation_step(g, ffi.NULL, e))
            while taken < len(codes):
                row = _pictures.pointer(codes[taken], "int32_t[]")
                if not lib.limn_generation_take(g, ffi.NULL, ffi.NULL, row):
                    break
                taken += 1
            yield taken * codes.shape[1] + lib.limn_generation_get_status(g).codes

    def _settings_text(self, request: Request, i: int) -> str:
        request.settings.picture = i
        m = self._open()
        text = checked(lambda e: lib.limn_settings_text(m, ffi.addressof(request.c), request.settings, e))
        try:
            return string(text) or ""
        finally:
            lib.limn_free(text)

    # ---- pictures and codes ----

    def _needs_codec(self) -> None:
        if not self.info.has_codec:
            self._open()
            raise UsageError(f"{self.info.name}: no image codec inside (generate_codes has the codes alone)")

    def decode(self, codes: Any, *, progress: Progress | None = None, as_array: bool = False) -> Any:
        """Pictures of codes: of [grid_height * grid_width] one, of [n, grid_height * grid_width] a list of n; of latents
        [channels, height, width] or [n, channels, height, width].

        as_array: NumPy, u8 [H, W, 3] or [n, H, W, 3].  Other shapes are ValueErrors, and so are codes that aren't those
        of this model.
        """
        rows, one = self._rows(codes)
        pixels = self._decoded(rows, progress)
        if as_array:
            return pixels[0] if one else pixels
        pictures = [_pictures.picture_of(rgb, None, _SOFTWARE) for rgb in pixels]
        return pictures[0] if one else pictures

    def _rows(self, codes: Any) -> tuple[np.ndarray, bool]:
        """int32 [n, cells], and whether one row was meant."""
        a = np.asarray(codes)
        h, w = self.info.grid_height, self.info.grid_width
        if self.info.latent_channels:
            return self._latent_rows(a)
        if a.dtype.kind not in "iu":
            raise TypeError(f"codes: whole numbers are wanted, not {a.dtype}")
        if a.shape[-1:] == (h * w,) and a.ndim <= 2:
            one = a.ndim == 1
        elif a.shape[-2:] == (h, w) and a.ndim <= 3:
            one = a.ndim == 2
        else:
            raise ValueError(f"codes: the shape is {a.shape}, and this model's are ({h * w},) or (n, {h * w})")
        if a.size and not -1 <= int(a.min()) <= int(a.max()) < max(self.info.codebook, self.info.codes):
            raise ValueError(f"codes: they reach from {a.min()} to {a.max()}, outside of this model's")
        return np.ascontiguousarray(a.reshape(-1, h * w), np.int32), one

    def _latent_rows(self, a: np.ndarray, name: str = "latents") -> tuple[np.ndarray, bool]:
        c, h, w = self._latents
        if a.dtype.kind != "f":
            raise TypeError(f"{name}: floats are wanted, not {a.dtype}")
        if a.shape[-3:] != (c, h, w) or a.ndim > 4:
            raise ValueError(f"{name}: the shape is {a.shape}, and this model's are ({c}, {h}, {w}) or (n, {c}, {h}, {w})")
        rows = np.ascontiguousarray(a.reshape(-1, c, h, w).transpose(0, 2, 3, 1), np.float32)
        return rows.reshape(len(rows), c * h * w).view(np.int32), a.ndim == 3

    @property
    def _latents(self) -> tuple[int, int, int]:
        c = self.info.latent_channels
        return c, self.info.grid_height, self.info.grid_width // c

    def _given(self, rows: np.ndarray) -> np.ndarray:
        """What callers get of the library's rows: codes, or the latents whose bits stand there, channels last."""
        if not self.info.latent_channels:
            return rows
        c, h, w = self._latents
        return np.ascontiguousarray(rows.view(np.float32).reshape(-1, h, w, c).transpose(0, 3, 1, 2))

    def _decoded(self, rows: np.ndarray, progress: Progress | None = None) -> np.ndarray:
        out = np.empty((len(rows), self.info.height, self.info.width, 3), np.uint8)
        self._in_parts("decode", lib.limn_decode_pixels, rows, "int32_t[]", out, "uint8_t[]", progress, to_pixels=True)
        return out

    def encode(self, picture: Any, *, progress: Progress | None = None) -> np.ndarray:
        """The most likely codes of a picture, or of several: int32 [n, grid_height * grid_width]; of a diffusion model its
        latents, float32 [n, channels, height, width].

        picture: a PIL.Image, an array u8 [H, W, 3] or [n, H, W, 3], a path, or a sequence of these, of any size: the
        largest centred part of the model's shape is resized.
        """
        return self._given(self._encoded(_pictures.list_of(picture, "picture"), progress))

    def _fitted(self, pixels: np.ndarray) -> np.ndarray:
        """What the model sees of a picture: u8 [encode_height, encode_width, 3]."""
        fitted = np.empty((self.info.encode_height, self.info.encode_width, 3), np.uint8)
        p, to = _pictures.struct_of(pixels), _pictures.pointer(fitted, "uint8_t[]")
        self._call(lambda m, e: lib.limn_picture_fit(m, p, to, e))
        return fitted

    def _encoded(self, pictures: list[np.ndarray], progress: Progress | None = None) -> np.ndarray:
        i = self.info
        fitted = np.empty((len(pictures), i.encode_height, i.encode_width, 3), np.uint8)
        codes = np.empty((len(pictures), i.grid_height * i.grid_width), np.int32)
        for a, to in zip(pictures, fitted):
            to[:] = self._fitted(a)
        self._in_parts("encode", lib.limn_encode_pixels, fitted, "uint8_t[]", codes, "int32_t[]", progress)
        return codes

    def _in_parts(
        self,
        what: str,
        function: Any,
        rows: np.ndarray,
        rows_kind: str,
        out: np.ndarray,
        out_kind: str,
        progress: Progress | None,
        to_pixels: bool = False,
    ) -> None:
        with self._turn:
            for at in range(0, len(rows), _AT_ONCE):
                n = min(_AT_ONCE, len(rows) - at)
                a, b = _pictures.pointer(rows[at : at + n], rows_kind), _pictures.pointer(out[at : at + n], out_kind)
                if to_pixels:
                    self._call(lambda m, e: function(m, a, n, lib.LIMN_U8, b, ffi.NULL, e))
                else:
                    self._call(lambda m, e: function(m, lib.LIMN_U8, a, n, b, ffi.NULL, e))
                if progress is not None and progress(at + n, len(rows)) is False:
                    raise Interrupted(f"{what}: interrupted")

    # ---- texts and scores ----

    def tokenize(self, text: str) -> np.ndarray:
        """The token ids of a text as the transformer reads them: int32 [n], without padding."""
        data = text_of(text, "text")
        ids, n = ffi.new("int32_t **"), ffi.new("size_t *")
        self._call(lambda m, e: lib.limn_tokenize(m, data, ids, n, e))
        try:
            return np.frombuffer(ffi.buffer(ids[0], 4 * n[0]), np.int32).copy() if n[0] else np.empty(0, np.int32)
        finally:
            lib.limn_free(ids[0])

    def token(self, id: int) -> str | None:
        """The text of a token id; None: it is in no vocabulary."""
        with self._turn:
            return string(lib.limn_token(self._open(), integer(id, "id", -(2**31), 2**31 - 1)))

    def score(self, text: Prompt, picture: Any) -> Any:
        """How likely the model finds a picture given a text, and the text itself: a Score, or of several a list.

        picture: as encode's, or codes, int [grid_height * grid_width] or [n, grid_height * grid_width].  text may be
        token ids.
        """
        ids = self.tokenize(text) if isinstance(text, str) else token_ids(text)
        if _are_codes(picture):
            rows, one = self._rows(picture)
        else:
            pictures = _pictures.list_of(picture, "picture")
            rows, one = self._encoded(pictures), _is_one(picture)
        scores = [self._score(ids, row) for row in rows]
        return scores[0] if one else scores

    def _score(self, ids: np.ndarray, row: np.ndarray) -> Score:
        s = ffi.new("limn_score *")
        a, z = _pictures.pointer(ids, "int32_t[]"), _pictures.pointer(row, "int32_t[]")
        self._call(lambda m, e: lib.limn_score_codes(m, a, len(ids), z, ffi.NULL, s, e))
        return Score(s.image_log_likelihood, s.text_log_likelihood, s.image_tokens, s.text_tokens)

    def rank(self, text: str, pictures: Any) -> np.ndarray:
        """How well pictures go with a text, by the model's CLIP: float32 [n], cosines from -1 to 1; ``(-scores).argsort()``
        has the best first.  Scores of different texts can't be compared.  pictures: as encode's."""
        data = text_of(text, "text")
        several = [_pictures.over_white(a) for a in _pictures.list_of(pictures, "pictures")]
        scores = np.empty(len(several), np.float32)
        for i, a in enumerate(several):
            h, w, _ = a.shape
            p, s = _pictures.pointer(a, "uint8_t[]"), _pictures.pointer(scores[i : i + 1], "float[]")
            self._call(lambda m, e: lib.limn_rank_pixels(m, data, lib.LIMN_U8, p, 1, w, h, s, ffi.NULL, e))
        return scores


# What a request says of how its pictures are drawn: generate's arguments are the one list of it.
_SETTINGS = frozenset(inspect.signature(Model.generate).parameters) - {"self", "prompt", "n", "progress", "as_array"}


def _info(c: Any) -> ModelInfo:
    return record(ModelInfo, c, sizes=tuple((c.sizes[2 * i], c.sizes[2 * i + 1]) for i in range(c.n_sizes)))


def _are_codes(picture: Any) -> bool:
    """Whether numbers are codes: pixels are u8 alone, and of 3 or more dimensions."""
    a = picture if hasattr(picture, "__array__") and hasattr(picture, "dtype") else None
    if isinstance(picture, (list, tuple)) and picture and not hasattr(picture[0], "__array__"):
        a = np.asarray(picture) if isinstance(picture[0], (int, list, tuple)) else None
    return a is not None and np.asarray(a).dtype.kind in "iu" and (np.asarray(a).dtype != np.uint8 or np.ndim(a) < 2)


def _is_one(picture: Any) -> bool:
    return not isinstance(picture, (list, tuple)) and not (hasattr(picture, "shape") and len(picture.shape) == 4)
