"""limn's models, random numbers, data order and training in PyTorch: the twin that golden files and comparisons need.

Written from the documentation, not from limn's code: src/base/rng.h, src/ops/ops.h, src/models, src/train/data/dataset.h and
the order of draws in src/train/data/item.c.  Needs torch and numpy; reading data sets also pillow and tokenizers.
"""
import io
import math
import struct
import tarfile

import numpy as np
import torch
from torch.nn import functional as F

ACTIVATIONS = {  # in the order of src/ops/ops.h
    "none": lambda x: x, "relu": F.relu, "gelu_erf": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu, "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "sigmoid": torch.sigmoid, "tanh": torch.tanh,
}
MASKS = ["full", "row", "column", "conv", "window"]


# ---- random numbers: base/rng.h ----

def philox(seed, stream, position, index):
    """Philox 4x32-10 (Salmon et al., SC'11): uint32 [..., 4] for integers or arrays that broadcast."""
    c = [np.asarray(v, dtype=np.uint64) for v in (index, position, stream, 0)]
    c = [a.copy() for a in np.broadcast_arrays(*c)]
    key = [seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF]
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(b >> np.uint64(32)) ^ c[1] ^ np.uint64(key[0]), b & low,
             (a >> np.uint64(32)) ^ c[3] ^ np.uint64(key[1]), a & low]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c, -1).astype(np.uint32)


def uniform(seed, streams, position, count):
    """Elements 0 to count - 1 of each stream: float32 [len(streams), count]."""
    words = philox(seed, np.asarray(streams)[:, None], position, np.arange((count + 3) // 4)[None])
    words = words.reshape(len(streams), -1)[:, :count]
    u = (words >> 8).astype(np.float32) * np.float32(2 ** -24) + np.float32(2 ** -25)
    return np.minimum(u, np.float32(1 - 2 ** -24))


def gumbel_noise(seed, stream, step, shape):
    """Picture i (of the first dimension) has the noise of stream + i."""
    u = uniform(seed, range(stream, stream + shape[0]), step, math.prod(shape[1:])).astype(np.float64)
    return torch.from_numpy(-np.log(-np.log(u))).reshape(shape)


# ---- model files: GGUF version 3 (github.com/ggml-org/ggml/blob/master/docs/gguf.md) ----

class Gguf:
    """keys: name -> value; tensors: name -> float32 array, outermost dimension first."""
    SCALARS = "BbHhIif?sQqd"  # by GGUF's number of a type; 8 is a string, 9 an array

    def __init__(self, path):
        self.file = open(path, "rb").read()
        self.at = 4
        version, n_tensors, n_keys = (self.value(t) for t in (4, 10, 10))
        if self.file[:4] != b"GGUF" or version != 3:
            raise ValueError(f"{path}: not a GGUF file of version 3")
        self.keys = {self.value(8): self.value(self.value(4)) for _ in range(n_keys)}
        places = [self.tensor_place() for _ in range(n_tensors)]
        alignment = self.keys.get("general.alignment", 32)
        start = (self.at + alignment - 1) // alignment * alignment
        self.tensors = {}
        for name, shape, kind, offset in places:
            if kind > 1:
                raise ValueError(f"{path}: {name} is neither F32 nor F16")
            values = np.frombuffer(self.file, ["<f4", "<f2"][kind], math.prod(shape), start + offset)
            self.tensors[name] = values.astype(np.float32).reshape(shape)

    def value(self, kind):
        if kind == 8:
            n = self.value(10)
            self.at += n
            return self.file[self.at - n:self.at].decode()
        if kind == 9:
            kind, n = self.value(4), self.value(10)
            return [self.value(kind) for _ in range(n)]
        code = "<" + {10: "Q", 11: "q", 12: "d"}.get(kind, self.SCALARS[kind])
        self.at += struct.calcsize(code)
        return struct.unpack_from(code, self.file, self.at - struct.calcsize(code))[0]

    def tensor_place(self):
        name, n = self.value(8), self.value(4)
        shape = [self.value(10) for _ in range(n)][::-1]
        return name, shape, self.value(4), self.value(10)


# ---- parameters: limn's layout and PyTorch's ----

def _order(name, w):
    """limn's convolutions are [out, ky, kx, in]; PyTorch's [out, in, ky, kx], transposed ones [in, out, ky, kx]."""
    return range(w.ndim) if w.ndim != 4 else (3, 0, 1, 2) if ".up." in name else (0, 3, 1, 2)


def to_torch(values, dtype=torch.float32):
    """name -> array in limn's layout becomes name -> leaf tensor in PyTorch's."""
    out = {}
    for name, w in values.items():
        w = torch.as_tensor(np.array(w), dtype=dtype).permute(*_order(name, w))
        channels_last = w.ndim == 4 and ".up." not in name
        out[name] = w.clone(memory_format=torch.channels_last if channels_last
                            else torch.contiguous_format).requires_grad_()
    return out


def to_limn(name, w):
    order = list(_order(name, w))
    return w.detach().permute(*[order.index(i) for i in range(w.ndim)]).contiguous().numpy()


# ---- the discrete VAE: models/codecs/dvae.c, train/codec.c ----

class Codec:
    def __init__(self, parameters, stages, blocks, act, encoder_blocks=None):
        self.p, self.stages, self.act = parameters, stages, ACTIVATIONS[act]
        self.blocks = {"codec.decoder": blocks, "codec.encoder": blocks if encoder_blocks is None else encoder_blocks}

    def conv(self, x, name, residual=None, **more):
        y = F.conv2d(x, self.p[name + ".weight"], self.p[name + ".bias"], **more)
        return y if residual is None else y + residual

    def residuals(self, x, name):
        for i in range(self.blocks[name]):
            h = self.act(self.conv(self.act(x), f"{name}.res.{i}.conv3", padding=1))
            x = self.conv(h, f"{name}.res.{i}.conv1", x)
        return x

    def encode(self, x):
        """x[b,h,w,3] in -1..1 -> logits[b,h,w,codes]"""
        x = x.permute(0, 3, 1, 2)
        for i in range(self.stages):
            x = self.act(self.conv(x, f"codec.encoder.down.{i}", stride=2, padding=1))
        x = self.act(self.residuals(x, "codec.encoder"))
        return self.conv(x, "codec.encoder.logits").permute(0, 2, 3, 1)

    def decode(self, q):
        """q[b,h,w,codes] -> y[b,h,w,3]"""
        x = (q @ self.p["codec.codebook.weight"]).permute(0, 3, 1, 2)
        x = self.act(self.residuals(self.conv(x, "codec.decoder.in"), "codec.decoder"))
        for i in range(self.stages):
            name = f"codec.decoder.up.{i}"
            x = self.act(F.conv_transpose2d(x, self.p[name + ".weight"], self.p[name + ".bias"], stride=2, padding=1))
        return self.conv(x, "codec.decoder.out").permute(0, 2, 3, 1)

    def loss(self, x, noise, tau, hard, l1, l2, usage, kl):
        """What train/codec.c minimises, and its parts."""
        logits = self.encode(x)
        y = self.decode(gumbel_softmax(logits, noise, tau, hard))
        parts = {"l1": F.l1_loss(y, x), "l2": F.mse_loss(y, x), "usage_entropy": usage_entropy(logits)}
        loss = l1 * parts["l1"] + l2 * parts["l2"] - usage * parts["usage_entropy"]
        if kl:
            loss = loss + kl * kl_uniform(logits)
        return loss, parts


def gumbel_softmax(logits, noise, tau, hard):
    soft = torch.softmax((logits + noise) / tau, -1)
    if not hard:
        return soft
    return F.one_hot((logits + noise).argmax(-1), logits.shape[-1]).to(soft) + soft - soft.detach()


def usage_entropy(logits):
    use = torch.softmax(logits, -1).reshape(-1, logits.shape[-1]).mean(0)
    return -torch.xlogy(use, use).sum()


def kl_uniform(logits):
    log_p = torch.log_softmax(logits, -1)
    return (log_p.exp() * log_p).sum(-1).mean() + math.log(logits.shape[-1])


# ---- the transformer: models/transformers/gpt.c, train/dalle.c ----

def attention_mask(kind, text, grid_width, length, kernel=3):
    """bool [length, length]: whether the query (row) sees the key (column)."""
    q, k = torch.arange(length)[:, None], torch.arange(length)[None]
    a, b = q - text, k - text
    dy, dx = a // grid_width - b // grid_width, a % grid_width - b % grid_width
    among = {"full": dy == dy, "row": dy == 0, "column": dx == 0, "window": a - b <= grid_width,
             "conv": (dy.abs() <= kernel // 2) & (dx.abs() <= kernel // 2)}[kind]
    return (k <= q) & ((k < text) | among)


def attention(qkv, heads, mask=None):
    """qkv[b,t,3d] -> y[b,t,d].  Without a mask: every earlier position."""
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    return y.transpose(1, 2).flatten(2)


class Dalle:
    def __init__(self, parameters, layers, heads, act, eps, text_length, grid_width, masks=None):
        self.p, self.layers, self.heads, self.act, self.eps = parameters, layers, heads, ACTIVATIONS[act], eps
        self.text_length, self.grid_width, self.masks = text_length, grid_width, masks or [None] * layers

    def linear(self, x, name):
        return F.linear(x, self.p[f"transformer.{name}.weight"], self.p[f"transformer.{name}.bias"])

    def norm(self, x, name):
        w = self.p[f"transformer.{name}.weight"]
        return F.layer_norm(x, w.shape, w, self.p[f"transformer.{name}.bias"], self.eps)

    def forward(self, ids, codes):
        """ids[b,text_length], codes[b,cells] -> x[b, text_length + cells - 1, dim] after the final norm."""
        table = {k: self.p[f"transformer.{k}.weight"] for k in
                 ("text_embedding", "text_position", "image_embedding", "row_position", "column_position")}
        cells = torch.arange(codes.shape[1] - 1)
        text = F.embedding(ids, table["text_embedding"]) + table["text_position"]
        image = (F.embedding(codes[:, :-1], table["image_embedding"])
                 + table["row_position"][cells // self.grid_width] + table["column_position"][cells % self.grid_width])
        x = torch.cat([text, image], 1)
        for i in range(self.layers):
            a = attention(self.linear(self.norm(x, f"block.{i}.norm1"), f"block.{i}.qkv"), self.heads, self.masks[i])
            x = x + self.linear(a, f"block.{i}.out")
            x = x + self.linear(self.act(self.linear(self.norm(x, f"block.{i}.norm2"), f"block.{i}.up")),
                                f"block.{i}.down")
        return self.norm(x, "norm")

    def loss(self, ids, codes, targets, text_weight, image_weight):
        """What train/dalle.c minimises, and its parts.  targets[b,text_length-1]: -1 where nothing is asked."""
        x, n = self.forward(ids, codes), self.text_length
        text, image = self.linear(x[:, :n - 1], "text_head"), self.linear(x[:, n - 1:], "image_head")
        asked = (targets >= 0).any()
        parts = {"text": F.cross_entropy(text.flatten(0, 1), targets.flatten(), ignore_index=-1) if asked
                 else text.sum() * 0, "image": F.cross_entropy(image.flatten(0, 1), codes.flatten())}
        return text_weight * parts["text"] + image_weight * parts["image"], parts


# ---- training: train/trainer.c ----

def cosine(start, end, progress):
    return end if progress >= 1 else end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


class Trainer:
    """AdamW with clipping and a schedule; what has one dimension doesn't decay."""

    def __init__(self, parameters, steps, lr, lr_end, warm_up, betas, decay, clip):
        self.all, self.step, self.clip = list(parameters.values()), 0, clip
        self.steps, self.lr, self.lr_end, self.warm_up = steps, lr, lr_end, warm_up
        groups = [{"params": [w for w in self.all if w.ndim > 1], "weight_decay": decay},
                  {"params": [w for w in self.all if w.ndim == 1], "weight_decay": 0}]
        self.adamw = torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8, fused=True)

    def rate(self):
        if self.step < self.warm_up:
            return self.lr * (self.step + 1) / self.warm_up
        rest = self.steps - self.warm_up
        return cosine(self.lr, self.lr_end, (self.step - self.warm_up) / rest if rest > 0 else 1)

    def minimise(self, loss):
        self.adamw.zero_grad()
        loss.backward()
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.all, self.clip)
        for group in self.adamw.param_groups:
            group["lr"] = self.rate()
        self.adamw.step()
        self.step += 1


# ---- data: train/data/dataset.h, WebDataset files whose pictures have the wanted size ----

STREAM_ORDER, STREAM_CAPTION = 0x64610000, 0x64610001
STREAM_NO_CONDITION = 0x7E47


def _word64(words, i):
    return int(words[i + 1]) << 32 | int(words[i])


class Scenes:
    """pictures: u8 [n,h,w,3]; captions: a list for each."""

    def __init__(self, paths):
        from PIL import Image
        pictures, self.captions = [], []
        for path in paths:
            with tarfile.open(path) as tar:
                for member in tar:
                    data = tar.extractfile(member).read()
                    if member.name.endswith(".png"):
                        pictures.append(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
                    elif member.name.endswith(".txt"):
                        lines = [line.strip() for line in data.decode().split("\n")]
                        self.captions.append([line for line in lines if line])
        self.pictures = np.stack(pictures)
        if len(self.captions) != len(pictures):
            raise ValueError(f"{paths}: pictures without captions")

    def order(self, seed, epoch):
        """The epoch's order: Fisher-Yates from the end, its draws two to a Philox block."""
        n = len(self.pictures)
        order, words = list(range(n)), philox(seed, STREAM_ORDER, epoch, np.arange(n // 2 + 1))
        for i in range(n, 1, -1):
            j = _word64(words[(i - 1) // 2], 2 * (i % 2)) % i
            order[i - 1], order[j] = order[j], order[i - 1]
        return order

    def batches(self, seed, batch):
        """Lists of (epoch, item), without end."""
        epoch, waiting = 0, []
        while True:
            while len(waiting) < batch:
                waiting += [(epoch, i) for i in self.order(seed, epoch)]
                epoch += 1
            yield waiting[:batch]
            waiting = waiting[batch:]

    def caption(self, seed, epoch, item):
        some = self.captions[item]
        return some[_word64(philox(seed, STREAM_CAPTION, epoch, item), 0) % len(some)]


def pixels(pictures):
    """u8 -> what the encoder reads"""
    return torch.from_numpy(pictures.astype(np.float32) / np.float32(255) * 2 - 1)


class Text:
    """Captions as the transformer reads them, with the tokenizer of a model file."""

    def __init__(self, gguf, text_length):
        from tokenizers.implementations import ByteLevelBPETokenizer
        tokens, merges = gguf.keys["tokenizer.ggml.tokens"], gguf.keys["tokenizer.ggml.merges"]
        vocabulary = {t: i for i, t in enumerate(tokens)}
        lowercase = next(v for k, v in gguf.keys.items() if k.endswith("lowercase"))
        self.bpe = ByteLevelBPETokenizer(vocabulary, [tuple(m.split(" ")) for m in merges], lowercase=lowercase)
        self.pad, self.image, self.n, self.size = vocabulary["<pad>"], vocabulary["<img>"], text_length, len(tokens)

    def row(self, caption):
        """ids[text_length] and targets[text_length - 1] of a caption; None: no condition."""
        used = [] if caption is None else self.bpe.encode(caption).ids[:self.n - 1]
        ids = used + [self.pad] * (self.n - 1 - len(used)) + [self.image]
        return ids, [ids[i + 1] if i + 1 < len(used) else -1 for i in range(self.n - 1)]
