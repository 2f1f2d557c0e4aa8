"""Random weights as BF16 in the containers of published models, without PyTorch and in little memory: what
make_full_size.py writes of models that are too large for it.

A file is {tensor name: shape}; the numbers stream into it in pieces.
"""
import io
import json
import math
import pickle
import struct
import sys
import types
import zipfile
import zlib

import numpy as np

PIECE = 1 << 22


def is_ones(name, shape):
    return len(shape) == 1 and name.endswith("weight")


NORMAL = np.random.default_rng(1).standard_normal(PIECE, np.float32)


def pieces(name, shape):
    """The bytes of a tensor: norms of ones, biases of zeros, else normal numbers that keep activations in range: the same
    ones from another place on, as drawing each takes most of the time."""
    count = math.prod(shape)
    scale = 1 if "embed" in name or "codebook" in name else 1 / math.sqrt(max(1, math.prod(shape[1:])))
    for at in range(0, count, PIECE):
        n = min(PIECE, count - at)
        values = np.full(n, float(is_ones(name, shape)), np.float32) if len(shape) == 1 else \
            np.roll(NORMAL, zlib.crc32(name.encode()) % PIECE)[:n] * np.float32(scale)
        yield (values.view(np.uint32) >> 16).astype("<u2").tobytes()


def write_safetensors(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors.items():
            for piece in pieces(name, shape):
                f.write(piece)


# ---- PyTorch's zip files ----

class Storage:
    def __init__(self, key, count):
        self.key, self.count = key, count


class Tensor:
    def __init__(self, key, shape):
        self.key, self.shape = key, tuple(shape)


def made(module, name, kind=type):
    """A class or function that pickles name as MODULE.NAME."""
    parts = module.split(".")
    for i in range(len(parts)):
        sys.modules.setdefault(".".join(parts[:i + 1]), types.ModuleType(".".join(parts[:i + 1])))
    own = sys.modules[module]
    if not hasattr(own, name):
        thing = type(name, (), {}) if kind is type else (lambda *a: None)
        thing.__module__, thing.__qualname__, thing.__name__ = module, name, name
        setattr(own, name, thing)
    return getattr(own, name)


class Pickler(pickle.Pickler):
    def persistent_id(self, thing):
        if isinstance(thing, Storage):
            return ("storage", made("torch", "BFloat16Storage"), thing.key, "cpu", thing.count)
        return None

    def reducer_override(self, thing):
        if not isinstance(thing, Tensor):
            return NotImplemented
        strides = [math.prod(thing.shape[i + 1:]) for i in range(len(thing.shape))]
        rebuild = made("torch._utils", "_rebuild_tensor_v2", None)
        return rebuild, (Storage(thing.key, math.prod(thing.shape)), 0, thing.shape, tuple(strides), False, {})


def modules_of(tensors, keys):
    """TorchScript's: an object for each part of a name."""
    root = {}
    for name, shape in tensors.items():
        at = root
        *parts, last = name.split(".")
        for part in parts:
            at = at.setdefault(part, {})
        at[last] = Tensor(keys[name], shape)

    def module(attributes, path):
        thing = made("__torch__" + path, "Module")()
        thing.__dict__.update({"training": False})
        for name, value in attributes.items():
            thing.__dict__[name] = module(value, f"{path}.{name}") if isinstance(value, dict) else value
        return thing
    return module(root, "")


def write_torch(path, tensors, script=False):
    keys = {name: str(i) for i, name in enumerate(tensors)}
    text = io.BytesIO()
    Pickler(text, protocol=2).dump(modules_of(tensors, keys) if script else
                                   {name: Tensor(keys[name], shape) for name, shape in tensors.items()})
    root = path.stem
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        z.writestr(f"{root}/data.pkl", text.getvalue())
        for name, shape in tensors.items():
            info = zipfile.ZipInfo(f"{root}/data/{keys[name]}")
            info.file_size = 2 * math.prod(shape)
            start = z.fp.tell() + 30 + len(info.filename) + 4  # the data begin at a multiple of 64, as PyTorch's do
            info.extra = struct.pack("<2sH", b"FB", -start % 64) + bytes(-start % 64)
            with z.open(info, "w") as f:
                for piece in pieces(name, shape):
                    f.write(piece)
        z.writestr(f"{root}/version", "3\n")


def write(path, tensors):
    if path.suffix == ".safetensors":
        write_safetensors(path, tensors)
    else:
        write_torch(path, tensors, script=path.suffix == ".jit")
