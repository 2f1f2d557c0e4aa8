#!/usr/bin/env python3
"""Writes tests/data/descendants_training.json: how the golden instances of Janus, LlamaGen and SimpleAR (tests/data/golden) learn,
for tests/train/descendants_training_test.c: the losses of some steps of AdamW in double precision, on two captions of
different lengths in one batch, and the first gradient of each parameter: by limn's name of it, its length and its
product with hashed numbers.

Needs numpy and autograd (HIPS), which derives the gradients of the forward pass below: LLaMA's blocks as transformers
has them, each sequence by itself, so without padding or masks but the causal one.  LlamaGen's reads states of T5's encoder,
which stays as it is.
"""
import io as files
import json
import math
import pickle
import struct
import zipfile
from pathlib import Path

import autograd.numpy as np
import numpy
from autograd import value_and_grad
from autograd.extend import defvjp, primitive

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
STEPS, WARM_UP, LR, LR_END, BETA1, BETA2, EPS, DECAY, CLIP = 6, 4, 2e-3, 1e-5, 0.9, 0.96, 1e-8, 0.02, 1.0


def numbers(name, n):
    """As tools/make_golden_codecs.py has them."""
    h = 2166136261
    for byte in name.encode():
        h = (h ^ byte) * 16777619 & 0xFFFFFFFF
    x = (np.arange(n, dtype=np.uint64) * 2654435761 + h & 0xFFFFFFFF).astype(np.uint32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ x >> np.uint32(shift)) * np.uint32(factor)
    x ^= x >> np.uint32(16)
    return ((x >> np.uint32(16)).astype(np.float32) - 32768) / 32768


def load(folder):
    """Tensors of a folder's safetensors files, in double precision."""
    out = {}
    for path in sorted((DATA / "golden" / folder).glob("*.safetensors")):
        raw = path.read_bytes()
        size, = struct.unpack("<Q", raw[:8])
        for name, t in json.loads(raw[8:8 + size]).items():
            if name == "__metadata__":
                continue
            begin, end = t["data_offsets"]
            piece = raw[8 + size + begin:8 + size + end]
            if t["dtype"] == "BF16":
                x = (np.frombuffer(piece, np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                x = np.frombuffer(piece, {"F16": np.float16, "F32": np.float32}[t["dtype"]])
            out[name] = x.astype(np.float64).reshape(t["shape"])
    return out


@primitive
def erf(x):
    return numpy.vectorize(math.erf)(x)


defvjp(erf, lambda y, x: lambda g: g * 2 / math.sqrt(math.pi) * np.exp(-x * x))


def logsumexp(x, axis, keepdims=False):
    most = np.max(x, axis=axis, keepdims=True)
    sums = most + np.log(np.sum(np.exp(x - most), axis=axis, keepdims=True))
    return sums if keepdims else sums[..., 0]


def gelu(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def rms(x, w, eps):
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps) * w


def rotate(x, theta):
    """x[heads, t, d]: numbers i and i + d/2 turn together."""
    t, half = x.shape[1], x.shape[2] // 2
    angle = np.arange(t)[:, None] * (1 / theta ** (2 * np.arange(half) / (2 * half)))
    a, b, c, s = x[..., :half], x[..., half:], np.cos(angle), np.sin(angle)
    return np.concatenate([a * c - b * s, b * c + a * s], -1)


def rotate_grid(x, text, side):
    """x[heads, t, d]: pairs of neighbours turn, the first half of them by the cell's row, the others by its column;
    what belongs to text becomes 0."""
    t, d = x.shape[1:]
    cell = np.arange(t - text)
    frequencies = 1 / 10000 ** (np.arange(d // 4) / (d // 4))
    angle = np.concatenate([cell[:, None] // side * frequencies, cell[:, None] % side * frequencies], -1)
    a, b, c, s = x[:, text:, 0::2], x[:, text:, 1::2], np.cos(angle), np.sin(angle)
    turned = np.stack([a * c - b * s, b * c + a * s], -1).reshape(x.shape[0], t - text, d)
    return np.concatenate([np.zeros((x.shape[0], text, d)), turned], 1)


def block(w, name, x, m, text):
    t, d = x.shape
    head = d // m["heads"]
    qkv = rms(x, w[name + "norm1.weight"], m["eps"]) @ w[name + "qkv.weight"].T + w.get(name + "qkv.bias", 0)
    keys = (qkv.shape[1] - d) // 2
    q, k, v = (p.reshape(t, -1, head).transpose((1, 0, 2)) for p in (qkv[:, :d], qkv[:, d:d + keys], qkv[:, d + keys:]))
    q, k = (rotate_grid(p, text, m["side"]) if "side" in m else rotate(p, m["theta"]) for p in (q, k))
    groups = q.reshape(k.shape[0], -1, t, head)
    scores = np.einsum("ghtd,gsd->ghts", groups, k) / math.sqrt(head) + np.triu(np.full((t, t), -1e30), 1)
    p = np.exp(scores - logsumexp(scores, -1, keepdims=True))
    y = np.einsum("ghts,gsd->ghtd", p, v).reshape(-1, t, head).transpose((1, 0, 2)).reshape(t, d)
    x = x + y @ w[name + "out.weight"].T
    h = rms(x, w[name + "norm2.weight"], m["eps"])
    gate = h @ w[name + "gate.weight"].T
    return x + (gate / (1 + np.exp(-gate)) * (h @ w[name + "up.weight"].T)) @ w[name + "down.weight"].T


def loss_of(w, m, rows, codes):
    """The mean of -log p over all codes: each from the text and those before it."""
    losses = []
    table = w.get("image_embedding.weight", w["image_head.weight"])
    for ids, z in zip(rows, codes):
        if "states" in m:
            text = gelu_tanh(m["states"][tuple(ids)] @ w["encoder.project_up.weight"].T) @ w["encoder.project_down.weight"].T
        else:
            text = w["text_embedding.weight"][ids]
        x = np.concatenate([text, table[z[:-1]]])
        for i in range(m["layers"]):
            x = block(w, f"block.{i}.", x, m, len(ids))
        x = rms(x, w["norm.weight"], m["eps"])[len(ids) - 1:]
        if "head_up.weight" in w:
            x = gelu(x @ w["head_up.weight"].T + w["head_up.bias"])
        logits = x @ w["image_head.weight"].T + w.get("image_head.bias", 0)
        losses.append(np.mean(logsumexp(logits, -1) - logits[np.arange(len(z)), z]))
    return sum(losses) / len(losses)


def of_limn(t, prefix, layers):
    """The blocks under limn's names."""
    out = {"norm.weight": t[prefix + "norm.weight"]}
    for i in range(layers):
        theirs, ours = f"{prefix}layers.{i}.", f"block.{i}."
        out[ours + "norm1.weight"] = t[theirs + "input_layernorm.weight"]
        out[ours + "norm2.weight"] = t[theirs + "post_attention_layernorm.weight"]
        for end in ("weight", "bias"):
            parts = [t.get(f"{theirs}self_attn.{p}_proj.{end}") for p in "qkv"]
            if parts[0] is not None:
                out[ours + "qkv." + end] = np.concatenate(parts)
        out[ours + "out.weight"] = t[theirs + "self_attn.o_proj.weight"]
        for part in ("gate", "up", "down"):
            out[ours + part + ".weight"] = t[f"{theirs}mlp.{part}_proj.weight"]
    return out


def janus(folder, prefix, names, m):
    t = load(folder)
    embed, fc1, fc2, up, head = names
    w = of_limn(t, prefix, m["layers"])
    w["text_embedding.weight"] = t[prefix + "embed_tokens.weight"]
    table = gelu(t[embed + ".weight"] @ t[fc1 + ".weight"].T + t[fc1 + ".bias"]) @ t[fc2 + ".weight"].T + t[fc2 + ".bias"]
    w["image_embedding.weight"] = table
    for ours, theirs in (("head_up", up), ("image_head", head)):
        for end in (".weight", ".bias"):
            w[ours + end] = t[theirs + end]
    return w


def simplear(m):
    t = load("simplear")
    w = of_limn(t, "model.", m["layers"])
    table = t["model.embed_tokens.weight"]
    text = len(table) - m["codes"]
    w["text_embedding.weight"] = table[:text]
    w["image_head.weight"] = table[text:]  # and what stands for codes
    return w


def load_torch(path):
    """Tensors of PyTorch's zip, F32, in double precision."""
    z = zipfile.ZipFile(path)
    root = z.namelist()[0].split("/")[0]

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            if name == "_rebuild_tensor_v2":
                return lambda x, at, size, stride, *rest: numpy.lib.stride_tricks.as_strided(
                    x[at:], size, [4 * n for n in stride]).astype(np.float64)
            if name == "OrderedDict":
                return dict
            return name if name.endswith("Storage") else type(name, (), {"__init__": lambda s, *a: None,
                                                                         "__setstate__": lambda s, x: None})

        def persistent_load(self, what):
            return np.frombuffer(z.read(f"{root}/data/{what[2]}"), np.float32)

    return Reader(files.BytesIO(z.read(f"{root}/data.pkl"))).load()


def bucket(r):
    """Of T5's 32 for the distance of a key from its query, up to 128."""
    a = np.abs(r)
    far = 8 + np.floor(np.log(np.maximum(a, 1) / 8) / math.log(16) * 8).astype(int)
    return np.where(r > 0, 16, 0) + np.where(a < 8, a, np.minimum(15, far))


def t5_states(t, ids, m):
    """Of its encoder."""
    n, x, place = len(ids), t["shared.weight"][ids], np.arange(len(ids))
    table = t["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    bias = table[bucket(place[None] - place[:, None])].transpose((2, 0, 1))
    for i in range(m["layers"]):
        attention, dense = (f"encoder.block.{i}.layer.{k}." for k in (0, 1))
        h = rms(x, t[attention + "layer_norm.weight"], m["eps"])
        q, k, v = ((h @ t[f"{attention}SelfAttention.{p}.weight"].T).reshape(n, m["heads"], -1) for p in "qkv")
        scores = np.einsum("qhd,khd->hqk", q, k) + bias
        p = np.exp(scores - logsumexp(scores, -1, keepdims=True))
        x = x + np.einsum("hqk,khd->qhd", p, v).reshape(n, -1) @ t[attention + "SelfAttention.o.weight"].T
        h = rms(x, t[dense + "layer_norm.weight"], m["eps"])
        dense += "DenseReluDense."
        x = x + (gelu_tanh(h @ t[dense + "wi_0.weight"].T) * (h @ t[dense + "wi_1.weight"].T)) @ t[dense + "wo.weight"].T
    return rms(x, t["encoder.final_layer_norm.weight"], m["eps"])


def llamagen(m):
    t = load_torch(DATA / "golden" / "llamagen_t2i" / "t2i_XL_stage1_256.pt")["model"]
    names = {"norm1": "attention_norm", "qkv": "attention.wqkv", "out": "attention.wo", "norm2": "ffn_norm",
             "gate": "feed_forward.w1", "up": "feed_forward.w3", "down": "feed_forward.w2"}
    w = {f"block.{i}.{ours}.weight": t[f"layers.{i}.{theirs}.weight"] for i in range(m["layers"])
         for ours, theirs in names.items()}
    for ours, theirs in (("norm", "norm"), ("image_embedding", "tok_embeddings"), ("image_head", "output"),
                         ("encoder.project_up", "cls_embedding.cap_proj.fc1"),
                         ("encoder.project_down", "cls_embedding.cap_proj.fc2")):
        w[ours + ".weight"] = t[theirs + ".weight"]
    return w


def learning_rate(step):
    if step < WARM_UP:
        return LR * (step + 1) / WARM_UP
    return LR_END + (LR - LR_END) * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP)))


def data_of(name, m):
    """Rows of ids, of two lengths, codes and captions."""
    io = np.load(DATA / "golden" / name / "io.npz")
    cases = json.loads((DATA / "golden" / name / "tokenizer_cases.json").read_text("utf-8"))
    if "captions" in m:
        rows = [ids[mask > 0] for ids, mask in zip(io["ids"], io["mask"])]
        return rows, list(io["forced"]), m["captions"]
    rows = [io[f"p{p}_ids"] for p in (0, 1)]
    codes = [io[f"p{p}_forced"] for p in (0, 1)]
    captions = [c["text"].split(m["before"], 1)[1].split(m["after"], 1)[0] for c in cases[:2]]
    assert [c["ids"] for c in cases[:2]] == [r.tolist() for r in rows] and len(rows[0]) != len(rows[1])
    return rows, codes, captions


def train(name, w, m):
    rows, codes, captions = data_of(name, m)
    if "t5" in m:
        tensors = load(name + "/flan-t5-xl")
        m = {**m, "states": {tuple(ids): t5_states(tensors, ids, m["t5"]) for ids in rows}}
    step_of, losses, first, moments = value_and_grad(lambda x: loss_of(x, m, rows, codes)), [], {}, {}
    for step in range(STEPS):
        loss, g = step_of(w)
        losses.append({"loss": loss, "image": loss})
        if step == 0:
            for key, x in g.items():
                full = "transformer." + key
                first[full] = [math.sqrt((x * x).sum()), (x.ravel() * numbers(full, x.size)).sum()]
        size = math.sqrt(sum((x * x).sum() for x in g.values()))
        lr = learning_rate(step)
        for key, x in g.items():
            x = x * min(1, CLIP / size)
            a, b = moments.get(key, (0, 0))
            a, b = BETA1 * a + (1 - BETA1) * x, BETA2 * b + (1 - BETA2) * x * x
            moments[key] = a, b
            if x.ndim > 1:
                w[key] = w[key] - lr * DECAY * w[key]
            w[key] = w[key] - lr * (a / (1 - BETA1 ** (step + 1))) / (np.sqrt(b / (1 - BETA2 ** (step + 1))) + EPS)
    if "states" in m:
        first["transformer.encoder.no_text.weight"] = [0, 0]  # no caption is left out
    print(f"{name}: {losses[0]['loss']:.5f} to {losses[-1]['loss']:.5f}, {len(first)} gradients, the last of {size:.4f}")
    out = {"name": name, "qkv": len(w["block.0.qkv.weight"]), "captions": captions,
           "codes": [z.tolist() for z in codes], "losses": losses, "gradients": first}
    if "states" in m:  # the loss without text, of the authors' own logits
        x = np.load(DATA / "golden" / name / "io.npz")["forced_logits"][2:].astype(np.float64)
        out["without"] = np.mean([logsumexp(a, -1) - a[np.arange(len(z)), z] for a, z in zip(x, codes)])
    return out


def main():
    m = {"layers": 2, "heads": 3, "theta": 10000, "eps": 1e-6, "before": ": ", "after": "\n\n"}
    out = [train("janus_1_3b", janus("janus_1_3b", "language_model.model.",
                                     ("gen_embed", "gen_aligner.layers.0", "gen_aligner.layers.2",
                                      "gen_head.output_mlp_projector", "gen_head.vision_head"), m), m)]
    m = {**m, "heads": 4, "theta": 50000, "eps": 1e-5}
    out.append(train("janus_hf", janus("janus_hf", "model.language_model.",
                                       ("model.generation_embeddings", "model.generation_aligner.fc1",
                                        "model.generation_aligner.hidden_layers.0", "model.generation_head.proj_out",
                                        "model.generation_head.vision_head"), m), m))
    m = {"layers": 3, "heads": 4, "theta": 1e6, "eps": 1e-6, "codes": 1728, "before": "image of ", "after": "<|soi|>"}
    out.append(train("simplear", simplear(m), m))
    m = {"layers": 2, "heads": 4, "eps": 1e-5, "side": 4, "t5": {"layers": 3, "heads": 4, "eps": 1e-6},
         "captions": ["A blue Porsche 356 parked in front of a yellow brick wall.", "two red cats"]}
    out.append(train("llamagen_t2i", llamagen(m), m))
    rounded = json.loads(json.dumps(out), parse_float=lambda x: float(f"{float(x):.9g}"))
    text = json.dumps(rounded, ensure_ascii=False, separators=(",", ":")).replace("},{", "},\n{")
    (DATA / "descendants_training.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
