#!/usr/bin/env python3
"""Writes tests/data/gradients.safetensors: PyTorch's results and gradients of every differentiable op and of two models.

Needs `pip install torch numpy safetensors`.  A case is a set of tensors "OP.VARIANT/NAME":
    the inputs by the names of src/ops/ops.h, i (int32) and f: the op's parameters in the order that
    tests/ops/gradient_test.c reads them, y: the result, dy: the gradient that goes into it, d.INPUT: those that come out.
Models are "model.KIND/...": the parameters by their names in model files, y the loss.
PyTorch computes in double precision; the file holds floats.
"""
import pathlib
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from torch.nn import functional as F

sys.dont_write_bytecode = True
import torch_twin as twin  # noqa: E402

PATH = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "gradients.safetensors"
ACTS = list(twin.ACTIVATIONS)
random = np.random.default_rng(2021)
tensors = {}


def numbers(*shape, scale=1.0, shift=0.0):
    return (random.standard_normal(shape) * scale + shift).astype(np.float32)


def integers(*shape, below):
    return random.integers(0, below, shape).astype(np.int32)


def case(name, op, inputs, i=(), f=(), constant=()):
    """op is called with tensors of the inputs; those of floats that are not `constant` get gradients."""
    leaves = {k: torch.from_numpy(v).double().requires_grad_(k not in constant) if v.dtype.kind == "f"
              else torch.from_numpy(v).long() for k, v in inputs.items()}
    y = op(**leaves)
    dy = np.asarray(numbers(*y.shape))
    wanted = {k: v for k, v in leaves.items() if v.requires_grad}
    gradients = dict(zip(wanted, torch.autograd.grad(y, wanted.values(), torch.from_numpy(dy).double()))) if wanted else {}
    everything = {**inputs, "y": y, "dy": dy, **{f"d.{k}": v for k, v in gradients.items()}}
    if len(i):
        everything["i"] = np.array(i, np.int32)
    if len(f):
        everything["f"] = np.array(f, np.float32)
    for k, v in everything.items():
        v = v.detach().numpy() if isinstance(v, torch.Tensor) else v
        tensors[f"{name}/{k}"] = np.ascontiguousarray(v if v.dtype in (np.float16, np.int32) else v.astype(np.float32))


def last(x):  # channels-last to PyTorch's order
    return x.permute(0, 3, 1, 2)


def products():
    for act in ACTS:
        case(f"linear.{act}", lambda x, w, b, act=act: twin.ACTIVATIONS[act](F.linear(x, w, b)),
             {"x": numbers(7, 13), "w": numbers(37, 13, scale=0.3), "b": numbers(37)}, [ACTS.index(act)])
    case("linear.f16", lambda x, w: F.linear(x, w), {"x": numbers(2, 3, 21), "w": numbers(35, 21, scale=0.2).astype(np.float16)}, [0],
         constant=["w"])
    case("linear.one_row", lambda x, w, b: F.linear(x, w, b), {"x": numbers(1, 67), "w": numbers(5, 67, scale=0.1), "b": numbers(5)}, [0])
    case("linear_add.plain", lambda x, w, b, residual: residual + F.linear(x, w, b),
         {"x": numbers(5, 11), "w": numbers(33, 11, scale=0.3), "b": numbers(33), "residual": numbers(5, 33)})

    def conv(x, w, b=None, residual=None, *, stride, pad, act):
        y = F.conv2d(last(x), w.permute(0, 3, 1, 2), b, stride, pad).permute(0, 2, 3, 1)
        y = twin.ACTIVATIONS[act](y)
        return y if residual is None else y + residual

    def conv_transpose(x, w, b=None, *, stride, pad, act):
        y = F.conv_transpose2d(last(x), w.permute(3, 0, 1, 2), b, stride, pad).permute(0, 2, 3, 1)
        return twin.ACTIVATIONS[act](y)

    for name, op, (b, h, w, c), out, kernel, stride, pad, act, bias, residual in (
            ("conv2d.strided", conv, (2, 8, 6, 3), 35, 4, 2, 1, "gelu_erf", True, None),
            ("conv2d.padded", conv, (1, 5, 7, 5), 6, 3, 1, 1, "none", False, None),
            ("conv2d.residual", conv, (2, 4, 5, 9), 7, 3, 1, 1, "silu", True, (2, 4, 5, 7)),
            ("conv2d.1x1", conv, (2, 3, 5, 17), 40, 1, 1, 0, "none", True, (2, 3, 5, 40)),
            ("conv2d.ragged", conv, (1, 12, 9, 4), 3, 5, 3, 0, "relu", True, None),
            ("conv_transpose2d.doubling", conv_transpose, (2, 3, 4, 7), 5, 4, 2, 1, "gelu_erf", True, None),
            ("conv_transpose2d.odd", conv_transpose, (1, 4, 3, 5), 34, 3, 2, 1, "tanh", True, None),
            ("conv_transpose2d.same", conv_transpose, (1, 5, 4, 3), 4, 3, 1, 1, "none", False, None)):
        inputs = {"x": numbers(b, h, w, c), "w": numbers(out, kernel, kernel, c, scale=(kernel * kernel * c) ** -0.5)}
        if bias:
            inputs["b"] = numbers(out)
        if residual:
            inputs["residual"] = numbers(*residual)
        case(name, lambda op=op, stride=stride, pad=pad, act=act, **t: op(**t, stride=stride, pad=pad, act=act), inputs,
             [stride, pad, ACTS.index(act)])
    case("matmul_table.plain", lambda x, table: x @ table, {"x": numbers(2, 5, 37), "table": numbers(37, 19)})


def norms():
    for name, shape, shift in (("wide", (3, 131), 10), ("narrow", (2, 5, 7), 0)):
        case(f"layer_norm.{name}", lambda x, w, b: F.layer_norm(x, w.shape, w, b, 1e-5),
             {"x": numbers(*shape, shift=shift), "w": numbers(shape[-1]), "b": numbers(shape[-1])}, f=[1e-5])
    for groups, act, shape in ((3, "silu", (2, 3, 5, 12)), (1, "none", (1, 7, 5, 9)), (10, "gelu_tanh", (2, 4, 3, 20))):
        case(f"group_norm.{groups}",
             lambda x, w, b, groups=groups, act=act: twin.ACTIVATIONS[act](F.group_norm(last(x), groups, w, b, 1e-6))
             .permute(0, 2, 3, 1),
             {"x": numbers(*shape, shift=1), "w": numbers(shape[-1]), "b": numbers(shape[-1])}, [groups, ACTS.index(act)],
             [1e-6])
    case("softmax.plain", lambda x: torch.softmax(x, -1), {"x": numbers(3, 2, 45, scale=3)})


def attentions():
    text, grid = 5, (4, 5)
    for kind in twin.MASKS:
        for heads, head_dim, t, kernel in ((3, 7, text + grid[0] * grid[1] - 1, 3), (2, 16, text + 13, 5)):
            mask = twin.attention_mask(kind, text, grid[1], t, kernel)
            case(f"attention.{kind}_{heads}", lambda qkv, heads=heads, mask=mask: twin.attention(qkv, heads, mask),
                 {"qkv": numbers(2, t, 3 * heads * head_dim)}, [heads, twin.MASKS.index(kind), text, grid[1], kernel])


def elements():
    for act in ACTS:
        case(f"activate.{act}", lambda x, act=act: twin.ACTIVATIONS[act](x), {"x": numbers(211, scale=2)}, [ACTS.index(act)])
    case("add.plain", lambda a, b: a + b, {"a": numbers(3, 37), "b": numbers(3, 37)})
    case("scale_add.two", lambda a, b: 3.5 * a - 0.5 * b, {"a": numbers(5, 7), "b": numbers(5, 7)}, f=[3.5, -0.5])
    case("scale_add.one", lambda a: -1.25 * a, {"a": numbers(67)}, f=[-1.25, 0])
    case("slice.middle", lambda x: x[:, 2:6], {"x": numbers(3, 9, 5)}, [2, 4])
    case("slice.end", lambda x: x[:, 4:], {"x": numbers(2, 5, 33)}, [4, 1])
    for factor in (2, 3):
        case(f"upsample.{factor}", lambda x, n=factor: F.interpolate(last(x), scale_factor=n).permute(0, 2, 3, 1),
             {"x": numbers(2, 3, 4, 5)}, [factor])
    case("embed.repeated", lambda ids, table: table[ids], {"ids": integers(3, 7, below=5), "table": numbers(11, 13)})

    def sequence(ids, codes, text, text_position, image, row_position, column_position):
        n, width = ids.shape[1], column_position.shape[0]
        cells = torch.arange(codes.shape[1])[:t - n]
        return torch.cat([text[ids] + text_position, image[codes[:, :t - n]] + row_position[cells // width]
                          + column_position[cells % width]], 1)
    t = 5 + 3 * 4 - 1
    case("embed_sequence.whole", sequence,
         {"ids": integers(3, 5, below=6), "codes": integers(3, 12, below=9), "text": numbers(6, 7),
          "text_position": numbers(5, 7), "image": numbers(9, 7), "row_position": numbers(3, 7),
          "column_position": numbers(4, 7)}, [t])


def losses():
    for name, smoothing, ignored in (("plain", 0, 0), ("ignored", 0, 4), ("smoothed", 0.1, 0), ("both", 0.25, 3)):
        targets = integers(2, 5, below=37)
        targets.reshape(-1)[:ignored] = -1
        case(f"cross_entropy.{name}",
             lambda logits, targets, s=smoothing: F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                                                                  ignore_index=-1, label_smoothing=s),
             {"logits": numbers(2, 5, 37, scale=2), "targets": targets}, f=[smoothing])
    for name, op in (("l1", F.l1_loss), ("l2", F.mse_loss)):
        case(f"{name}.plain", lambda x, target, op=op: op(x, target),
             {"x": numbers(3, 5, 7), "target": numbers(3, 5, 7)},
             constant=["target"])

    def logit_laplace(x, target):  # Ramesh et al. 2021, appendix A.3
        mu, ln_b = x.chunk(2, -1)
        return ((torch.logit(target) - mu).abs() / ln_b.exp() + ln_b + torch.log(2 * target * (1 - target))).mean()
    case("logit_laplace.plain", logit_laplace,
         {"x": numbers(2, 3, 5, 6), "target": random.uniform(0.1, 0.9, (2, 3, 5, 3)).astype(np.float32)},
         constant=["target"])
    case("kl_uniform.plain", twin.kl_uniform, {"logits": numbers(2, 3, 2, 19, scale=2)})
    case("usage_entropy.plain", twin.usage_entropy, {"logits": numbers(2, 3, 2, 19, scale=2)})
    seed, stream, step, shape = 0x1234_5678_9ABC_DEF1, 5, 77, (3, 2, 3, 23)
    noise = twin.gumbel_noise(seed, stream, step, shape)
    where = [*np.array([seed], np.uint64).view(np.int32), stream, step]
    case("gumbel_noise.plain", lambda: noise, {}, [*where, *shape])
    for name, tau, hard in (("soft", 0.7, 0), ("hard", 0.4, 1)):
        case(f"gumbel_softmax.{name}", lambda logits, tau=tau, hard=hard: twin.gumbel_softmax(logits, noise, tau, hard),
             {"logits": numbers(*shape)}, [*where, hard], [tau])


def parameters(shapes):
    """Like a model that has learned a little: no zeros, no ones."""
    out = {}
    for name, shape in shapes.items():
        inner = np.prod(shape[1:]) if len(shape) == 4 else shape[-1]
        scale = 0.1 if len(shape) == 1 else 1 if "codebook" in name else 1.2 * inner ** -0.5
        if "logits.weight" in name:  # the encoder's gradients are to be seen beside the noise
            scale *= 4
        out[name] = numbers(*shape, scale=scale, shift=1 if len(shape) == 1 and "norm" in name and "weight" in name else 0)
    return out


def model(name, values, loss, more):
    leaves = twin.to_torch(values, torch.float64)
    y = loss(leaves)
    gradients = torch.autograd.grad(y, leaves.values())
    everything = {**values, **more, "y": y.detach().numpy(),
                  **{f"d.{k}": twin.to_limn(k, g) for k, g in zip(leaves, gradients)}}
    for k, v in everything.items():
        tensors[f"model.{name}/{k}"] = np.ascontiguousarray(v if v.dtype == np.int32 else v.astype(np.float32))


def dvae():
    """The sizes are those of tests/models/gradient_model_test.c."""
    codes, dim, down, up, inner, side, batch = 21, 10, (9, 14), (12, 7), 11, 12, 2
    shapes = {}

    def conv(name, n_in, n_out, kernel):
        shapes[f"codec.{name}.weight"], shapes[f"codec.{name}.bias"] = (n_out, kernel, kernel, n_in), (n_out,)

    def block(name, channels):
        conv(f"{name}.res.0.conv3", channels, inner, 3)
        conv(f"{name}.res.0.conv1", inner, channels, 1)
    conv("encoder.down.0", 3, down[0], 4)
    conv("encoder.down.1", down[0], down[1], 4)
    block("encoder", down[1])
    conv("encoder.logits", down[1], codes, 1)
    shapes["codec.codebook.weight"] = (codes, dim)
    conv("decoder.in", dim, up[0], 1)
    block("decoder", up[0])
    conv("decoder.up.0", up[0], up[0], 4)
    conv("decoder.up.1", up[0], up[1], 4)
    conv("decoder.out", up[1], 3, 1)
    x = random.uniform(-1, 1, (batch, side, side, 3)).astype(np.float32)
    noise = twin.gumbel_noise(9, 0, 4, (batch, side // 4, side // 4, codes))
    model("dvae", parameters(shapes),
          lambda p: twin.Codec(p, 2, 1, "gelu_erf").loss(torch.from_numpy(x).double(), noise, 0.8, False, 1, 1, 0.05, 0.01)[0],
          {"x": x})


def dalle():
    text, vocabulary, codes, grid, dim, heads, mlp, batch = 5, 13, 17, (3, 4), 12, 3, 21, 2
    masks = [twin.attention_mask(kind, text, grid[1], text + grid[0] * grid[1] - 1) for kind in twin.MASKS]
    shapes = {"text_embedding.weight": (vocabulary, dim), "image_embedding.weight": (codes, dim),
              "text_position.weight": (text, dim), "row_position.weight": (grid[0], dim),
              "column_position.weight": (grid[1], dim)}

    def linear(name, n_in, n_out):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (n_out, n_in), (n_out,)

    def norm(name):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (dim,), (dim,)
    for i in range(len(masks)):
        norm(f"block.{i}.norm1")
        linear(f"block.{i}.qkv", dim, 3 * dim)
        linear(f"block.{i}.out", dim, dim)
        norm(f"block.{i}.norm2")
        linear(f"block.{i}.up", dim, mlp)
        linear(f"block.{i}.down", mlp, dim)
    norm("norm")
    linear("text_head", dim, vocabulary)
    linear("image_head", dim, codes)
    ids, some = integers(batch, text, below=vocabulary), integers(batch, grid[0] * grid[1], below=codes)
    targets = ids[:, 1:].copy()
    targets[0, 2:] = -1
    model("dalle", parameters({f"transformer.{k}": v for k, v in shapes.items()}),
          lambda p: twin.Dalle(p, len(masks), heads, "gelu_tanh", 1e-5, text, grid[1], masks)
          .loss(*(torch.from_numpy(v).long() for v in (ids, some, targets)), 0.125, 0.875)[0],
          {"ids": ids, "codes": some, "targets": targets})


def turned(x, angles):
    """The pairs (2i, 2i + 1) of x's last dimension, turned (Su et al. 2021)."""
    other = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
    return x * angles.cos() + other * angles.sin()


def blocks():
    """What published transformers have between their products."""
    case("rms_norm.plain", lambda x, w: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * w,
         {"x": numbers(3, 2, 131), "w": numbers(131)}, f=[1e-5])
    case("multiply.rows", lambda a, b: a * b, {"a": numbers(2, 5, 7), "b": numbers(7)})
    case("multiply.same", lambda a, b: a * b, {"a": numbers(2, 5, 33), "b": numbers(2, 5, 33)})
    for act in ("gelu_erf", "silu"):
        case(f"glu.{act}", lambda x, act=act: x.chunk(2, -1)[0] * twin.ACTIVATIONS[act](x.chunk(2, -1)[1]),
             {"x": numbers(2, 3, 74)}, [ACTS.index(act)])
    case("divide_max.plain", lambda x: x / x.amax(-1, keepdim=True).detach(), {"x": numbers(3, 2, 37)})

    def rotate(x, angles):  # of 4 heads, 6 of 10 numbers each; two angles more than positions
        b, t, _ = x.shape
        x, angles = x.unflatten(-1, (4, 10)), angles[:t, None, :]
        return torch.cat([turned(x[..., :6], angles), x[..., 6:]], -1).reshape(b, t, 40)
    case("rotate.some", rotate, {"x": numbers(2, 9, 40), "angles": numbers(11, 6)}, [10])

    def rotate_grid(qkv, text=2, width=3, heads=2):  # LlamaGen's, by rows and columns
        b, t, d = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
        size = d // heads
        cells, powers = torch.arange(t - text), 10000.0 ** (-torch.arange(0, size // 2, 2).double() * 2 / size)
        angles = torch.cat([(cells // width)[:, None] * powers, (cells % width)[:, None] * powers], 1)
        angles = torch.cat([torch.zeros(text, size // 2), angles]).repeat_interleave(2, 1)[:, None, :]
        seen = (torch.arange(t) >= text)[:, None, None].double()
        parts = [p.unflatten(-1, (heads, size)) for p in qkv.chunk(3, -1)]
        return torch.cat([(turned(p, angles) * seen).flatten(-2) for p in parts[:2]] + [parts[2].flatten(-2)], -1)
    case("rotate_grid.plain", rotate_grid, {"qkv": numbers(2, 11, 3 * 2 * 8)}, [2, 2, 3])

    def shift_tokens(x, text=5, width=3):
        words, cells = x[:, :text], x[:, text:]
        half, quarter, n = (x.shape[-1] + 1) // 2, (x.shape[-1] + 3) // 4, cells.shape[1]
        words = torch.cat([F.pad(words[..., :half], (0, 0, 1, -1)), words[..., half:]], -1)
        left = F.pad(cells, (0, 0, 1, -1)) * (torch.arange(n) % width > 0)[:, None].double()
        above = F.pad(cells, (0, 0, width, -width))
        cells = torch.cat([above[..., :quarter], left[..., quarter:2 * quarter], cells[..., 2 * quarter:]], -1)
        return torch.cat([words, cells], 1)
    for d in (12, 10):
        case(f"shift_tokens.{d}", shift_tokens, {"x": numbers(2, 13, d)}, [5, 3])
    case("add_table.plain", lambda x, table: x + table[:x.shape[1]], {"x": numbers(3, 5, 7), "table": numbers(8, 7)})
    case("distances.plain", lambda x, table: -(x[..., None, :] - table).pow(2).sum(-1),
         {"x": numbers(2, 5, 19), "table": numbers(23, 19)})

    def cross_attention(q, kv, ids, heads=3, pad=1):
        q, (k, v) = q.unflatten(-1, (heads, -1)), (p.unflatten(-1, (heads, -1)) for p in kv.chunk(2, -1))
        scores = torch.einsum("bthd,bnhd->bhtn", q, k) / q.shape[-1] ** 0.5
        scores = scores.masked_fill((ids == pad)[:, None, None, :], -torch.inf)
        return torch.einsum("bhtn,bnhd->bthd", scores.softmax(-1), v).flatten(-2)
    ids = integers(2, 9, below=4)
    ids[:, 0] = 0
    case("cross_attention.padded", cross_attention, {"q": numbers(2, 5, 21), "kv": numbers(2, 9, 42), "ids": ids}, [3, 1])


def main():
    torch.set_num_threads(1)
    for part in (products, norms, attentions, elements, losses, dvae, dalle, blocks):
        part()
    save_file(tensors, PATH)
    print(f"{PATH}: {len({name.split('/')[0] for name in tensors})} cases, {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
