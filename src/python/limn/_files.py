"""Model files: what is in them, and models made of those of other programs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from ._device import record
from ._native import ffi, lib, path_of, string, text_of
from ._work import Progress, call, checked, control

Path = Union[str, bytes, "os.PathLike[str]"]


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a file: ``type`` as "f32", "f16", "q8_0"; ``shape`` with the outermost dimension first."""

    name: str
    type: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class Inspection:
    """What a file holds.

    ``format``: "gguf", "safetensors", "pytorch" or "folder"; ``family``: by which convert knows it, or None; ``note``:
    why convert wouldn't make a model of it, or None; ``shards``: whether it is an index of several files; ``keys``: GGUF
    keys, or what the file has beside tensors (long lists as text, cut).
    """

    format: str
    shards: bool
    family: str | None
    note: str | None
    keys: dict[str, Any]
    tensors: list[TensorInfo]


def inspect(path: Path | None = None) -> Inspection:
    """What a file holds: a model of limn's, or what convert may make one of.  None: the model that is built in.

    Tensors' values aren't read, nothing in the file is run, and no device is needed.
    """
    name = ffi.NULL if path is None else path_of(path, "path")
    handle = call(lambda job: checked(lambda e: lib.limn_inspection_open(name, e)))
    try:
        info = lib.limn_inspection_get_info(handle)
        keys = [lib.limn_inspection_key(handle, i) for i in range(info.keys)]
        return record(
            Inspection,
            info,
            shards=bool(info.shards),
            keys={string(k.name) or "": _value(k) for k in keys},
            tensors=[_tensor(lib.limn_inspection_tensor(handle, i)) for i in range(info.tensors)],
        )
    finally:
        lib.limn_inspection_free(ffi.new("limn_inspection **", handle))


def _value(k: Any) -> Any:
    if k.kind == lib.LIMN_VALUE_BOOL:
        return bool(k.truth)
    if k.kind == lib.LIMN_VALUE_INTEGER:
        return k.integer
    if k.kind == lib.LIMN_VALUE_NUMBER:
        return k.number
    return None if k.kind == lib.LIMN_VALUE_NONE else string(k.text)


def _tensor(t: Any) -> TensorInfo:
    return record(TensorInfo, t, shape=tuple(t.shape[0 : t.dims]))


def convert(
    inputs: Path | Sequence[Path],
    output: Path,
    *,
    type: str | None = None,
    family: str | None = None,
    tokenizer: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """Makes a model file of limn's from files of other programs, or of its own with another type of weights.

    inputs     a file or folder, or those that are one model together
    output     the GGUF file; what is there is replaced once the new one is whole
    type       of the weights: "f32", "f16", "q8_0" or "q4_0"; None: the one that they have
    family     as inspect has it; None: told by the tensors
    tokenizer  a tokenizer's file or folder; None: beside the inputs
    settings   as `limn convert --set` has them: {"image_size": 384}
    progress   called with how many bytes of the inputs are done; returning False leaves the output as it was

    What was chosen or left out is logged ("limn").  No device is needed.
    """
    alive: list[Any] = []

    def kept(data: bytes) -> Any:
        alive.append(ffi.new("char[]", data))
        return alive[-1]

    paths = [inputs] if isinstance(inputs, (str, bytes, os.PathLike)) else list(inputs)
    names = ffi.new("char *[]", [kept(path_of(p, "inputs")) for p in paths])
    sets = ffi.new("char *[]", [kept(_setting(k, v)) for k, v in (settings or {}).items()])
    options = ffi.new(
        "limn_convert_options *",
        {
            "size": ffi.sizeof("limn_convert_options"),
            "inputs": names,
            "n_inputs": len(paths),
            "output": kept(path_of(output, "output")),
            "settings": sets,
            "n_settings": len(sets),
        },
    )
    for name, value in (("type", type), ("family", family)):
        if value is not None:
            setattr(options, name, kept(text_of(value, name)))
    if tokenizer is not None:
        options.tokenizer = kept(path_of(tokenizer, "tokenizer"))

    def work(job: Any, alive: Any = (alive, names, sets)) -> Any:  # the call's, too: nobody may wait for it
        c = control(job)
        return checked(lambda e: lib.limn_convert(options, c, e))

    call(work, progress)


def _setting(name: Any, value: Any) -> bytes:
    if isinstance(value, bool):
        value = int(value)
    text = os.fsdecode(value) if isinstance(value, (bytes, os.PathLike)) else str(value)
    return text_of(name, "settings") + b"=" + text_of(text, "settings")
