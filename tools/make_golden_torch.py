#!/usr/bin/env python3
"""Writes tests/data/torch: small files of torch.save and torch.jit.save, whose values tests/io/torch_test.c knows.

usage: tools/make_golden_torch.py OUTPUT_FOLDER      (needs torch and numpy)
"""
import pathlib
import sys
import zipfile
from collections import OrderedDict

import numpy
import torch

TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "f64": torch.float64, "i64": torch.int64,
         "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8, "bool": torch.bool}


def types():
    """Every type: 0 to 5 as [2, 3], truth of 0 to 5 for bool; a scalar; an empty tensor."""
    tensors = OrderedDict((name, torch.arange(6).to(t).reshape(2, 3)) for name, t in TYPES.items())
    tensors["scalar"] = torch.tensor(7.0)
    tensors["empty"] = torch.zeros(0, 3)
    return tensors


def views():
    """Views of one storage of 0 to 23."""
    base = torch.arange(24.0)
    return {"base": base, "transposed": base.view(4, 6).t(), "offset": base[5:11],
            "sliced": base.view(2, 3, 4)[:, 1:, ::2], "expanded": base[3:4].expand(2, 3),
            "permuted": base.view(2, 3, 4).permute(2, 0, 1)}


def nested():
    """What a training script saves: hyper-parameters, weights, the optimiser's state."""
    return {"hparams": {"dim": 48, "big": 1 << 40, "negative": -5, "rate": 0.25, "name": "an \u00e9", "on": True,
                        "nothing": None, "list": [1, 2, 3], "tuple": ("full", "axial"), "set": {4},
                        "np_float": numpy.float64(0.5), "np_single": numpy.float32(0.75), "np_int": numpy.int64(-7),
                        "np_bool": numpy.bool_(True)},
            "weights": OrderedDict(a=torch.arange(3.0), b=torch.nn.Parameter(torch.arange(4.0).reshape(2, 2))),
            "opt_state": {"state": {0: {"exp_avg": torch.zeros(3)}}}}


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.arange(4.0).reshape(2, 2))
        self.register_buffer("kept", torch.arange(2.0))
        self.register_buffer("dropped", torch.arange(2.0), persistent=False)

    def forward(self, x):
        return x @ self.w + self.kept


def module():
    """A module pickled whole: its class is known only to who made it."""
    torch.manual_seed(1)
    m = torch.nn.Sequential(OrderedDict(first=Block(), relu=torch.nn.ReLU(), last=torch.nn.Linear(2, 3)))
    with torch.no_grad():
        m.last.weight.copy_(torch.arange(6.0).reshape(3, 2))
        m.last.bias.copy_(torch.arange(3.0))
    return m


def repack(source, target, method):
    """The same archive by another program, without what tells the machine's paths."""
    with zipfile.ZipFile(source) as old:
        entries = [(e.filename, old.read(e)) for e in old.infolist() if not e.filename.endswith(".debug_pkl")]
    with zipfile.ZipFile(target, "w") as new:
        for name, data in entries:
            new.writestr(zipfile.ZipInfo(name), data, method)


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    Block.__module__ = "published"
    sys.modules["published"] = sys.modules["__main__"]
    torch.save(types(), out / "types.pt")
    torch.save(types(), out / "types_protocol4.pt", pickle_protocol=4)
    torch.save(types(), out / "types_legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(views(), out / "views.pt")
    torch.save(views(), out / "views_legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(nested(), out / "nested.pt")
    torch.save(module(), out / "module.pt")
    repack(out / "nested.pt", out / "nested_deflated.pt", zipfile.ZIP_DEFLATED)
    Block.__module__ = "__main__"
    torch.jit.script(module()).save(str(out / "script.pt"))
    repack(out / "script.pt", out / "script.pt", zipfile.ZIP_STORED)


main()
