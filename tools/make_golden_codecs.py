#!/usr/bin/env python3
"""Writes tests/data/codecs.json, codecs.safetensors and codecs_*.p*: tiny instances of published image codecs, and what
their authors' own classes make of them.

Needs `pip install --no-deps dall-e dalle-pytorch rudalle taming-transformers-rom1504` and what those import: torch,
numpy, safetensors, attrs, einops, omegaconf, axial-positional-embedding, PyWavelets.

Weights aren't stored: element i of a tensor is hash(name, i) times a power of two, plus 0 or 1, which
tests/convert/codecs_import_test.c makes too.  codecs.json has the names, shapes, scales and shifts; codecs.safetensors pictures,
codes, logits and pixels.  The .pkl and .pt files are in the form in which their authors publish them.
"""
import importlib.util
import json
import math
import sys
import types
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
torch.set_num_threads(1)
torch.set_grad_enabled(False)


def bare_package(name):
    """The package without what its __init__ imports."""
    spec = importlib.util.find_spec(name)
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = list(spec.submodule_search_locations)


def fnv(text):
    h = 2166136261
    for byte in text.encode():
        h = (h ^ byte) * 16777619 & 0xFFFFFFFF
    return h


def numbers(name, n):
    """n numbers from -1 to 1 in steps of 1/32768."""
    x = (np.arange(n, dtype=np.uint64) * 2654435761 + fnv(name) & 0xFFFFFFFF).astype(np.uint32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ x >> np.uint32(shift)) * np.uint32(factor)
    x ^= x >> np.uint32(16)
    return ((x >> np.uint32(16)).astype(np.float32) - 32768) / 32768


def scale_of(name, shape):
    """A power of two that keeps activations in range, and the shift."""
    if len(shape) == 1:
        return (0.25, 1.0) if "norm" in name and name.endswith("weight") else (0.125, 0.0)
    if "embed" in name or "codebook" in name:
        return 1.0, 0.0
    return 2.0 ** round(math.log2(math.sqrt(3 / math.prod(shape[1:])))), 0.0


def fill(module, salt, gain=1.0):
    """Weights of a module by the names of its state_dict; those are the keys of the result, with scale and shift.

    gain: more for layers of ReLU, which lose half of what there is, in powers of two."""
    how = {}
    for name, t in module.state_dict().items():
        scale, shift = scale_of(name, t.shape)
        scale *= gain if t.dim() == 4 else 1
        t.copy_(torch.from_numpy(numbers(salt + name, t.numel()) * np.float32(scale) + np.float32(shift)).view(t.shape))
        how[name] = [list(t.shape), scale, shift, salt + name]
    return how


def pictures(n, side, seed):
    rng = np.random.default_rng(seed)
    smooth = rng.integers(0, 256, (n, side // 4, side // 4, 3)).repeat(4, 1).repeat(4, 2)
    return np.clip(smooth + rng.integers(-40, 40, (n, side, side, 3)), 0, 255).astype(np.uint8)


class Golden:
    def __init__(self):
        self.cases, self.arrays = [], {}

    def add(self, name, family, files, images, encode, decode, grid, codes, set=(), tensors=None):
        """encode: pictures [n,3,h,w] in 0..1 -> logits [n,k,h,w], or None; decode: codes [n,h,w] -> pixels in 0..1."""
        case = {"name": name, "family": family, "set": list(set)}
        case.update({"files": files} if files else {"tensors": tensors})
        rng = np.random.default_rng(len(self.cases))
        z = rng.integers(0, codes, (2, grid, grid)).astype(np.int32)
        self.arrays[f"{name}/decode"] = z.reshape(2, -1)
        self.arrays[f"{name}/pixels"] = decode(torch.from_numpy(z).long()).clamp(0, 1).numpy().astype(np.float32)
        if encode:
            logits = encode(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
            best = logits.topk(2, dim=1).values
            margin = float((best[:, 0] - best[:, 1]).min() / (logits.max() - logits.min()))
            assert margin > 1e-5, (name, margin)
            self.arrays[f"{name}/image"] = images
            self.arrays[f"{name}/codes"] = logits.argmax(1).flatten(1).numpy().astype(np.int32)
            self.arrays[f"{name}/logits"] = logits.numpy()
            print(name, "margin", margin, "different codes", len(np.unique(self.arrays[f"{name}/codes"])))
        self.cases.append(case)


def openai_dvae(golden):
    bare_package("dall_e")
    import dall_e.decoder
    import dall_e.encoder
    from dall_e.utils import unmap_pixels
    sys.modules["attr"].validators.set_disabled(True)  # they refuse small sizes
    enc = dall_e.encoder.Encoder(n_hid=8, n_blk_per_group=1, vocab_size=40)
    dec = dall_e.decoder.Decoder(n_init=12, n_hid=4, n_blk_per_group=2, vocab_size=40)
    fill(enc, "encoder.", 2.0)
    fill(dec, "decoder.", 2.0)
    torch.save(enc, DATA / "codecs_encoder.pkl")
    torch.save(dec, DATA / "codecs_decoder.pkl")
    golden.add("openai", "openai-dvae", ["codecs_decoder.pkl", "codecs_encoder.pkl"], pictures(2, 16, 1),
               lambda x: enc(0.8 * x + 0.1),
               lambda z: unmap_pixels(torch.sigmoid(dec(F.one_hot(z, 40).permute(0, 3, 1, 2).float())[:, :3])),
               2, 40, ["image_size=16"])


def dalle_pytorch(golden):
    bare_package("dalle_pytorch")
    sys.modules["dalle_pytorch.distributed_utils"] = types.SimpleNamespace(is_distributed=False)
    sys.modules["dalle_pytorch"].distributed_utils = sys.modules["dalle_pytorch.distributed_utils"]
    sys.modules["dalle_pytorch.vae"] = types.SimpleNamespace(OpenAIDiscreteVAE=None, VQGanVAE=None)
    sys.modules["dalle_pytorch.transformer"] = types.SimpleNamespace(Transformer=None, DivideMax=None)
    from dalle_pytorch.dalle_pytorch import DiscreteVAE
    for name, blocks, layers in (("dalle_pytorch", 2, 2), ("dalle_pytorch_plain", 0, 3)):
        hyper = dict(image_size=16, num_layers=layers, num_tokens=30, codebook_dim=12, hidden_dim=10,
                     num_resnet_blocks=blocks)
        vae = DiscreteVAE(**hyper).eval()
        how = fill(vae, name + ".")
        if blocks:
            torch.save({"hparams": hyper, "weights": vae.state_dict()}, DATA / "codecs_vae.pt")
        golden.add(name, "dalle-pytorch", ["codecs_vae.pt"] if blocks else None, pictures(2, 16, 2),
                   lambda x, vae=vae: vae(x, return_logits=True),
                   lambda z, vae=vae: vae.decode(z.flatten(1)) * 0.5 + 0.5,
                   16 >> layers, 30, [] if blocks else ["image_size=16"], how)


class Vqgan(torch.nn.Module):
    """The parts of taming.models.vqgan, which itself needs PyTorch Lightning."""

    def __init__(self, mult, blocks, codes, dim, gumbel=False, channels=3, latent=None):
        super().__init__()
        from taming.modules.diffusionmodules.model import Decoder, Encoder
        from taming.modules.vqvae.quantize import GumbelQuantize, VectorQuantizer2
        latent = latent or dim
        config = dict(ch=32, out_ch=channels, ch_mult=mult, num_res_blocks=blocks, attn_resolutions=[4], in_channels=3,
                      resolution=4 << len(mult) - 1, z_channels=latent, double_z=False)
        self.encoder, self.decoder = Encoder(**config), Decoder(**config)
        self.quantize = GumbelQuantize(latent, dim, codes) if gumbel else VectorQuantizer2(codes, dim, 0.25)
        self.quant_conv = torch.nn.Conv2d(latent, dim, 1)
        self.post_quant_conv = torch.nn.Conv2d(dim, latent, 1)

    @property
    def table(self):
        return (self.quantize.embed if hasattr(self.quantize, "embed") else self.quantize.embedding).weight

    def latent(self, x):
        return self.quant_conv(self.encoder(2 * x - 1))

    def decode(self, z, table=None):
        entries = (self.table if table is None else table)[z].permute(0, 3, 1, 2)
        return self.decoder(self.post_quant_conv(entries))

    def nearest(self, x, table=None):
        """Minus the squared distances, whose largest is the code."""
        v, table = self.latent(x), self.table if table is None else table
        return -(v[:, None] - table[None, :, :, None, None]).square().sum(2)


def renamed(how, rules):
    """By the first rule that fits: (begin, new begin); no new begin drops the tensor."""
    out = {}
    for name, value in how.items():
        for begin, new in rules:
            if name.startswith(begin):
                name = None if new is None else new + name[len(begin):]
                break
        if name:
            out[name] = value
    return out


def vqgans(golden):
    half = lambda x: x * 0.5 + 0.5
    m = Vqgan((1, 2), 1, 50, 20, latent=12).eval()
    how = fill(m, "taming.")
    how["loss.discriminator.main.0.weight"] = [[2, 3], 1.0, 0.0, "a"]
    how["model_ema.decay"] = [[], 1.0, 0.0, "b"]
    golden.add("taming", "taming", None, pictures(2, 8, 3), m.nearest, lambda z: half(m.decode(z)), 4, 50,
               ["image_size=8"], how)

    g = Vqgan((1, 1), 2, 33, 16, gumbel=True).eval()
    how = fill(g, "gumbel.")
    golden.add("gumbel", "taming", None, pictures(2, 8, 4), lambda x: g.quantize.proj(g.latent(x)),
               lambda z: half(g.decode(z)), 4, 33, ["image_size=8"], {f"model.{k}": v for k, v in how.items()})

    bare_package("rudalle")
    bare_package("rudalle.vae")
    from rudalle.vae.decoder_dwt import DWTInverse
    w = Vqgan((1, 1), 1, 33, 16, gumbel=True, channels=12).eval()
    how = renamed(fill(w, "wavelet."), [("decoder.", "decoder.decoder."),
                                        ("post_quant_conv.", "decoder.post_quant_conv.")])
    how["post_quant_conv.weight"] = [[16, 16, 1, 1], 1.0, 0.0, "c"]
    how["post_quant_conv.bias"] = [[16], 1.0, 0.0, "d"]
    for name, shape in (("g0_col", [1, 1, 2, 1]), ("g1_row", [1, 1, 1, 2])):
        how[f"decoder.idwt.{name}"] = [shape, 1.0, 0.0, name]

    def inverse(x):
        b, _, h, width = x.shape
        return DWTInverse(mode="zero", wave="db1")((x[:, :3], [x[:, 3:].reshape(b, 3, 3, h, width)]))
    golden.add("wavelet", "taming", None, pictures(2, 8, 5), lambda x: w.quantize.proj(w.latent(x)),
               lambda z: half(inverse(w.decode(z))), 4, 33, ["image_size=8"], {f"model.{k}": v for k, v in how.items()})

    d = Vqgan((1, 2), 1, 40, 16).eval()
    for part in d.modules():
        if isinstance(part, torch.nn.GroupNorm):
            part.eps = 1e-5
    how = renamed(fill(d, "detokenizer."), [("encoder.", None), ("quant_conv.", None),
                                            ("quantize.embedding.", "embedding.")])
    golden.add("detokenizer", "taming", None, None, None, d.decode, 4, 40, ["image_size=8"], how)

    n = Vqgan((1, 2, 1), 1, 60, 8, latent=16).eval()
    how = fill(n, "llamagen.")
    rules = [(f"{side}.mid.{a}.", f"{side}.mid.{b}.") for side in ("encoder", "decoder")
             for a, b in (("block_1", 0), ("attn_1", 1), ("block_2", 2))]
    for i in range(3):
        for side, ours, theirs in (("encoder", f"down.{i}", i), ("decoder", f"up.{i}", 2 - i)):
            rules.append((f"{side}.{ours}.block.", f"{side}.conv_blocks.{theirs}.res."))
            rules.append((f"{side}.{ours}.", f"{side}.conv_blocks.{theirs}."))
    how = renamed(how, rules)
    how["quantize.codebook_used"] = [[64], 0.0, 0.0, "e"]
    unit = F.normalize(n.table, dim=-1)
    golden.add("llamagen", "llamagen", None, pictures(2, 16, 6), lambda x: n.nearest(x, unit),
               lambda z: half(n.decode(z, unit)), 4, 60, ["image_size=16"], how)


def main():
    golden = Golden()
    openai_dvae(golden)
    dalle_pytorch(golden)
    vqgans(golden)
    for case in golden.cases:  # one line for each tensor
        print(case["name"], case.get("files") or f"{len(case['tensors'])} tensors")
    text = json.dumps(golden.cases, separators=(",", ":")).replace('":[[', '":[\n[').replace('],"', '],\n"')
    (DATA / "codecs.json").write_text(text + "\n")
    save_file({k: np.ascontiguousarray(v) for k, v in golden.arrays.items()}, DATA / "codecs.safetensors")


if __name__ == "__main__":
    main()
