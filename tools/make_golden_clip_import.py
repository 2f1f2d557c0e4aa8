#!/usr/bin/env python3
"""Makes the small published CLIPs of tests/convert/clip_import_test.c, in tests/data/clip, and what PyTorch makes of them:
"openai", a TorchScript archive of F16 weights; "huggingface", safetensors with config.json and merges.txt; "ru", ruCLIP's
pytorch_model.bin with config.json, for the bpe.model of tests/data/gpt/yttm.

usage: tools/make_golden_clip_import.py [DIR] [SEED]     (default: tests/data/clip, 1)

Needs torch, numpy, pillow and safetensors.  The networks are made of PyTorch's own layers.  DIR/NAME.safetensors: pixels
U8 [3, side, side, 3], scores [texts, 3], the cosines of each text and each picture, log_scale [1]; of huggingface also a
picture U8 [37, 29, 3] and what Pillow's filters make of its centre.  Other instances: give another folder and seed, then
`clip_import_test DIR`.
"""
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
MERGES = ["a t</w>", "c at</w>", "o n</w>", "m at</w>"]
WORDS = len(MERGES) + 514


def letters(text):
    """Ids of the printable ASCII: their place from '!' on, and 256 more at the end of a word."""
    return [ord(c) - 33 for c in text[:-1]] + [ord(text[-1]) - 33 + 256]


# Texts of the test with CLIP's ids, by hand: at = 512, cat = 513, on = 514, mat = 515.
TEXTS = [("a cat", [letters("a"), [513]]),
         ("  A CAT on\ta mat, 42", [letters("a"), [513], [514], letters("a"), [515], letters(","), letters("4"),
                                     letters("2")]),
         ("cats &amp; on", [letters("cats"), letters("&"), [514]])]
RUSSIAN = ["кот", "Красивая тян из аниме"]  # the ids: tests/data/gpt/yttm_cases.json


class Block(nn.Module):
    def __init__(self, width, heads, mlp, act, mask):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, mlp))
        self.mlp.add_module("gelu", act)
        self.mlp.add_module("c_proj", nn.Linear(mlp, width))
        self.ln_2 = nn.LayerNorm(width)
        self.attn_mask = mask

    def forward(self, x):
        n = self.ln_1(x)
        x = x + self.attn(n, n, n, need_weights=False, attn_mask=self.attn_mask)[0]
        return x + self.mlp(self.ln_2(x))


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Transformer(nn.Module):
    def __init__(self, width, heads, layers, mlp, act, mask=None):
        super().__init__()
        self.resblocks = nn.Sequential(*[Block(width, heads, mlp, act, mask) for _ in range(layers)])

    def forward(self, x):
        return self.resblocks(x.transpose(0, 1)).transpose(0, 1)


class Visual(nn.Module):
    def __init__(self, side, patch, width, heads, layers, mlp, act, dim):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty((side // patch) ** 2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, heads, layers, mlp, act)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, dim))

    def forward(self, x):
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1), x], dim=1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class CLIP(nn.Module):
    def __init__(self, dim, side, patch, image, text, length, vocabulary, act, end):
        super().__init__()
        self.end = end
        self.visual = Visual(side, patch, *image, act, dim)
        self.transformer = Transformer(*text, act, torch.full((length, length), -torch.inf).triu(1))
        self.token_embedding = nn.Embedding(vocabulary, text[0])
        self.positional_embedding = nn.Parameter(torch.empty(length, text[0]))
        self.ln_final = nn.LayerNorm(text[0])
        self.text_projection = nn.Parameter(torch.empty(text[0], dim))
        self.logit_scale = nn.Parameter(torch.empty([]))
        for name, p in self.named_parameters():
            norm = "ln_" in name and name.endswith("weight")
            std = 1.5 / p.shape[-1] ** 0.5 if p.dim() == 2 and "embedding" not in name else 0.3
            p.data.normal_(1 if norm else 0, std)
        self.logit_scale.data.fill_(2.5)
        for p in self.parameters():
            p.data = (p.data * 32).round() / 32  # as F16 has them, and few different ones: the archive is deflated
        self.eval()

    def forward(self, image, text):
        x = self.token_embedding(text) + self.positional_embedding
        x = self.ln_final(self.transformer(x))
        x = x[torch.arange(x.shape[0]), (text == self.end).int().argmax(dim=-1)] @ self.text_projection
        y = self.visual(image)
        return (x / x.norm(dim=-1, keepdim=True)) @ (y / y.norm(dim=-1, keepdim=True)).t()


def rows(lists, length, start, end):
    out = torch.zeros(len(lists), length, dtype=torch.long)
    for row, ids in zip(out, lists):
        ids = [start] + ids[:length - 2] + [end]
        row[:len(ids)] = torch.tensor(ids)
    return out


def reference(model, ids, side):
    pixels = torch.randint(0, 256, (3, side, side, 3), dtype=torch.uint8)
    x = ((pixels / 255.0 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)
    with torch.no_grad():
        scores = model.double()(x.double(), ids).float()
    model.float()
    return x, {"pixels": pixels, "scores": scores, "log_scale": model.logit_scale.detach().reshape(1)}


def halves(model):
    return {k: v.half() if v.dim() > 1 else v for k, v in model.state_dict().items()}


def words(length):
    return rows([[i for piece in pieces for i in piece] for _, pieces in TEXTS], length, WORDS - 2, WORDS - 1)


def openai(folder):
    model = CLIP(12, 8, 4, (64, 1, 1, 16), (64, 1, 1, 16), 9, WORDS, QuickGELU(), WORDS - 1)
    for name, value in (("input_resolution", 8), ("context_length", 9), ("vocab_size", WORDS)):
        model.register_buffer(name, torch.tensor(value))
    ids = words(9)
    x, golden = reference(model, ids, 8)
    traced = torch.jit.trace(model, (x, ids))
    for p in traced.parameters():
        p.data = p.data.half() if p.dim() > 1 else p.data
    traced.save(folder / "whole.pt")
    with zipfile.ZipFile(folder / "whole.pt") as whole, zipfile.ZipFile(folder / "openai.pt", "w") as to:
        for entry in whole.infolist():
            if not entry.filename.endswith(".debug_pkl"):  # as large as the rest
                to.writestr(entry.filename, whole.read(entry), zipfile.ZIP_DEFLATED)
    (folder / "whole.pt").unlink()
    save_file(golden, folder / "openai.safetensors")


def renamed(state):
    """HuggingFace's names, and its own matrices for queries, keys and values."""
    plain = {"token_embedding.weight": "text_model.embeddings.token_embedding.weight",
             "positional_embedding": "text_model.embeddings.position_embedding.weight",
             "visual.class_embedding": "vision_model.embeddings.class_embedding",
             "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
             "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
             "logit_scale": "logit_scale"}
    parts = [("visual.transformer.resblocks", "vision_model.encoder.layers"),
             ("transformer.resblocks", "text_model.encoder.layers"), ("visual.ln_pre", "vision_model.pre_layrnorm"),
             ("visual.ln_post", "vision_model.post_layernorm"), ("ln_final", "text_model.final_layer_norm"),
             ("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"), ("attn", "self_attn"), ("mlp.c_fc", "mlp.fc1"),
             ("mlp.c_proj", "mlp.fc2")]
    out = {"text_model.embeddings.position_ids": torch.arange(8)[None], "vision_model.embeddings.position_ids":
           torch.arange(5)[None], "visual_projection.weight": state.pop("visual.proj").t().contiguous(),
           "text_projection.weight": state.pop("text_projection").t().contiguous()}
    for name, value in state.items():
        to = plain.get(name, name)
        for a, b in parts if to == name else ():
            to = to.replace(a, b)
        if ".in_proj_" in to:
            for c, third in zip("qkv", value.chunk(3)):
                out[to.replace("in_proj_", f"{c}_proj.")] = third.contiguous()
        else:
            out[to] = value
    return out


def resized():
    picture = torch.randint(0, 256, (37, 29, 3), dtype=torch.uint8)
    centre = Image.fromarray(picture.numpy()[4:33])
    out = {"picture": picture}
    for name, how in (("bicubic", Image.BICUBIC), ("bilinear", Image.BILINEAR)):
        for side in (16, 37):
            out[f"{name}{side}"] = torch.from_numpy(np.array(centre.resize((side, side), how)))
    return out


def huggingface(folder):
    model = CLIP(12, 16, 8, (24, 3, 1, 32), (16, 2, 2, 32), 8, WORDS, nn.GELU(), WORDS - 1)
    _, golden = reference(model, words(8), 16)
    to = folder / "huggingface"
    to.mkdir(exist_ok=True)
    save_file(renamed(halves(model)), to / "model.safetensors")
    (to / "merges.txt").write_text("\n".join(["#version: 0.2"] + MERGES) + "\n")
    sides = {side: {"num_attention_heads": heads, "hidden_act": "gelu", "layer_norm_eps": 1e-05}
             for side, heads in (("text_config", 2), ("vision_config", 3))}
    (to / "config.json").write_text(json.dumps({"model_type": "clip", "projection_dim": 12, **sides}) + "\n")
    save_file({**golden, **resized()}, folder / "huggingface.safetensors")


def ru(folder):
    model = CLIP(12, 12, 4, (64, 1, 1, 16), (16, 4, 2, 32), 10, 70, QuickGELU(), 3)
    cases = {c["text"]: c["ids"][1:-1] for c in json.loads((DATA / "gpt" / "yttm_cases.json").read_text("utf-8"))}
    _, golden = reference(model, rows([cases[t] for t in RUSSIAN], 10, 2, 3), 12)
    to = folder / "ru"
    to.mkdir(exist_ok=True)
    torch.save(halves(model), to / "pytorch_model.bin")
    config = dict(embed_dim=12, image_resolution=12, vision_layers=1, vision_width=64, vision_patch_size=4,
                  context_length=10, vocab_size=70, transformer_width=16, transformer_heads=4, transformer_layers=2,
                  mean=MEAN, std=STD)
    (to / "config.json").write_text(json.dumps(config) + "\n")
    save_file(golden, folder / "ru.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA / "clip"
    directory.mkdir(parents=True, exist_ok=True)
    openai(directory)
    huggingface(directory)
    ru(directory)
