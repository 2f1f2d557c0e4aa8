"""Arguments as callers bring them: numbers of any type that is one, token ids, adapters."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Union

import numpy as np

from ._native import ffi, path_of, text_of

Prompt = Union[str, Sequence[int], np.ndarray]
"""A text, or the model's own token ids in its place (of a model that draws classes: one, the class)."""

Path = Union[str, bytes, "os.PathLike[str]"]
Embeddings = Union[Path, Sequence[Path], Mapping[str, Path]]
Adapter = Union[str, bytes, "os.PathLike[str]", tuple[Union[str, bytes, "os.PathLike[str]"], float]]


def integer(value: Any, name: str, low: int, high: int) -> int:
    """A whole number of any type that is one (NumPy's too).  TypeError, ValueError."""
    if isinstance(value, bool):
        raise TypeError(f"{name}: a whole number is wanted, not a bool")
    try:
        v = value.__index__()
    except AttributeError:
        raise TypeError(f"{name}: a whole number is wanted, not {type(value).__name__}") from None
    if not low <= v <= high:
        raise ValueError(f"{name}: {v} is outside of {low} to {high}")
    return v


def number(value: Any, name: str, most: float) -> float:
    if isinstance(value, (bool, str, bytes)):
        raise TypeError(f"{name}: a number is wanted, not {type(value).__name__}")
    try:
        v = float(value)
    except (TypeError, OverflowError):
        raise TypeError(f"{name}: a number is wanted, not {type(value).__name__}") from None
    if not 0 <= v <= most:
        raise ValueError(f"{name}: {v:g} is outside of 0 to {most}")
    return v


def token_ids(value: Any) -> np.ndarray:
    """int32 [n] of token ids."""
    if isinstance(value, (bytes, bytearray)) or not (hasattr(value, "__array__") or hasattr(value, "__iter__")):
        raise TypeError(f"prompt: a str or token ids are wanted, not {type(value).__name__}")
    a = np.asarray(value)
    if a.dtype.kind not in "iu" or a.ndim != 1:
        raise TypeError(f"prompt: a str or a row of whole numbers is wanted, not {a.dtype} {a.shape}")
    if len(a) and not -(2**31) <= int(a.min()) <= int(a.max()) < 2**31:
        raise ValueError("prompt: token ids are outside of 32 bits")
    return np.ascontiguousarray(a, np.int32)


def put_adapters(lora: Any, options: Any) -> tuple[bytes | None, list[Any]]:
    """Puts adapters into options; as text for the settings, and what must live until the model is open."""
    if lora is None:
        return None, []
    one = isinstance(lora, (str, bytes, os.PathLike)) or (
        isinstance(lora, tuple) and len(lora) == 2 and isinstance(lora[1], (int, float))
    )
    names, several, alive = [], [lora] if one else list(lora), []
    array = ffi.new("limn_adapter[]", max(1, len(several)))
    for a, adapter in zip(array, several):
        path, scale = adapter if isinstance(adapter, tuple) else (adapter, 1.0)
        data = path_of(path, "lora")
        alive.append(ffi.new("char[]", data))
        a.path, a.scale = alive[-1], float(scale)
        names.append(data if not isinstance(adapter, tuple) else data + b":%s" % format(float(scale), "g").encode())
    options.adapters, options.n_adapters = array, len(several)
    return b", ".join(names) or None, alive + [array]


def put_embeddings(embeddings: Embeddings | None, options: Any) -> list[Any]:
    """Puts textual inversions into options; what must live until the model is open."""
    if embeddings is None:
        return []
    if isinstance(embeddings, Mapping):
        several = [(path, word) for word, path in embeddings.items()]
    elif isinstance(embeddings, (str, bytes, os.PathLike)):
        several = [(embeddings, None)]
    else:
        several = [(path, None) for path in embeddings]
    array, alive = ffi.new("limn_embedding[]", max(1, len(several))), []
    for a, (path, word) in zip(array, several):
        alive.append(ffi.new("char[]", path_of(path, "embeddings")))
        a.path = alive[-1]
        if word is not None:
            alive.append(ffi.new("char[]", text_of(word, "embeddings")))
            a.name = alive[-1]
    options.embeddings, options.n_embeddings = array, len(several)
    return alive + [array]
