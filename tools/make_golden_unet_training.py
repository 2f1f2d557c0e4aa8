#!/usr/bin/env python3
"""Writes tests/data/unet_training.json: how the golden instances of Stable Diffusion (tests/data/golden/diffusion) learn, for
tests/train/unet_training_test.c: the losses of some steps of AdamW, of the whole U-Net and of adapters of its attention,
and the first gradient of each parameter: by limn's name of it, its length and its product with hashed numbers.

Needs numpy, torch, diffusers and transformers, whose classes make latents, states of texts and gradients, in double precision;
limn's random numbers and the order of its data are torch_twin.py's.
"""
import json
import math
import re
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.func import functional_call
from transformers import CLIPTextModel, CLIPTokenizer

import torch_twin as twin
from make_golden_codecs import numbers

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
FOLDER = DATA / "golden" / "diffusion"
STEPS, WARM_UP, LR, LR_END, BETAS, EPS, DECAY, CLIP, SEED = 6, 4, 2e-3, 1e-5, (0.9, 0.96), 1e-8, 0.02, 1.0, 1
DRAW_TIME, DRAW_NOISE, RANK = 0xD1FF, 0xD1FF0000, 2
CAPTIONS = ["a photograph of an astronaut riding a horse", "an oil painting of a lighthouse in a storm"]
ATTENTION = re.compile(r"transformer\.\d+\.(qkv|self_out|q|kv|cross_out)\.weight$")


def normal(seed, stream, step, n):
    u = twin.uniform(seed, [stream], step, 2 * n)[0].astype(np.float64)
    return np.sqrt(-2 * np.log(u[0::2])) * np.cos(2 * math.pi * u[1::2])


def limn_name(name, levels):
    """limn's name of diffusers' parameter, and which part of it that is."""
    name = re.sub(r"^up_blocks\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}", name)
    for theirs, ours in ((r"^down_blocks\.", "down."), (r"^mid_block\.", "mid."), (r"\.(down|up)samplers\.0\.conv\.", ".sample."),
                         (r"\.resnets\.", ".resnet."), (r"\.attentions\.", ".transformer."), (r"\.time_emb_proj\.", ".time."),
                         (r"\.conv_shortcut\.", ".skip."), (r"^time_embedding\.linear_1\.", "time.0."),
                         (r"^time_embedding\.linear_2\.", "time.1."), (r"^conv_in\.", "in."), (r"^conv_norm_out\.", "norm_out."),
                         (r"^conv_out\.", "out."), (r"\.proj_in\.", ".in."), (r"\.proj_out\.", ".out."),
                         (r"\.transformer_blocks\.0\.", "."), (r"\.attn1\.to_out\.0\.", ".self_out."),
                         (r"\.attn2\.to_out\.0\.", ".cross_out."), (r"\.attn2\.to_q\.", ".q."), (r"\.ff\.net\.0\.proj\.", ".up."),
                         (r"\.ff\.net\.2\.", ".down.")):
        name = re.sub(theirs, ours, name)
    part = 0
    for theirs, ours, parts in ((r"\.attn1\.to_([qkv])\.", ".qkv.", "qkv"), (r"\.attn2\.to_([kv])\.", ".kv.", "kv")):
        m = re.search(theirs, name)
        if m:
            part, name = parts.index(m[1]), re.sub(theirs, ours, name)
    return "unet." + name, part


def in_limn_order(name, w):
    """A convolution is [out, ky, kx, in], one of 1 x 1 a matrix."""
    if w.ndim == 4 and (name.endswith((".in.weight", ".out.weight", ".skip.weight")) and w.shape[2] == 1):
        return w[:, :, 0, 0]
    return w.permute(0, 2, 3, 1) if w.ndim == 4 else w


def gather(values, levels):
    """{diffusers' name: tensor} as {limn's name: tensor}."""
    parts = {}
    for name, w in values.items():
        ours, part = limn_name(name, levels)
        parts.setdefault(ours, {})[part] = in_limn_order(ours, w)
    return {name: torch.cat([of[i] for i in sorted(of)]) for name, of in parts.items()}


class Instance:
    def __init__(self, name, width, height):
        folder = FOLDER / name
        f64 = torch.float64
        self.net = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").to(f64)
        vae = AutoencoderKL.from_pretrained(folder, subfolder="vae").to(f64)
        text = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder").to(f64)
        tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
        c = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        self.v = c.get("prediction_type") == "v_prediction"
        roots = np.sqrt(np.float32([c["beta_start"], c["beta_end"]]).astype(np.float64))
        self.kept = np.cumprod(1 - np.linspace(*roots, c["num_train_timesteps"]) ** 2)
        self.levels = len(self.net.config.block_out_channels)
        k = np.arange(width * height * 3)
        pictures = np.stack([(k * (7 + 4 * i) + 60 * i) & 255 for i in (0, 1)]).reshape(2, height, width, 3).astype(np.uint8)
        with torch.no_grad():
            x = twin.pixels(pictures).to(f64).permute(0, 3, 1, 2)
            self.latents = vae.encode(x).latent_dist.mean * getattr(vae.config, "scaling_factor", 0.18215)
            ids = tokenizer(CAPTIONS, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
            self.states = text(ids)[0]
        scenes = twin.Scenes.__new__(twin.Scenes)
        scenes.pictures, self.items = pictures, []
        batches = scenes.batches(SEED, 2)
        for _ in range(STEPS):
            self.items.append([item for _, item in next(batches)])

    def loss(self, values, step):
        """Of diffusers' parameters."""
        items = self.items[step]
        z, (_, c, h, w) = self.latents[items], self.latents.shape
        times = [int(twin.uniform(SEED, [DRAW_TIME], step, 2)[0][i] * np.float32(len(self.kept))) for i in (0, 1)]
        e = np.stack([normal(SEED, DRAW_NOISE + i, step, c * h * w).reshape(h, w, c) for i in (0, 1)])
        e = torch.from_numpy(e).permute(0, 3, 1, 2)
        kept = torch.from_numpy(self.kept[times])[:, None, None, None]
        x, v = kept.sqrt() * z + (1 - kept).sqrt() * e, kept.sqrt() * e - (1 - kept).sqrt() * z
        said = functional_call(self.net, values, (x, torch.tensor(times), self.states[items])).sample
        return ((said - (v if self.v else e)) ** 2).mean()


def measures(gradients):
    return {name: [g.norm().item(), float((g.reshape(-1).numpy() * numbers(name, g.numel())).sum())]
            for name, g in gradients.items()}


def learn(parameters, loss_of):
    """Losses of all steps; parameters have the gradient of the first."""
    groups = [{"params": [w for w in parameters if w.ndim > 1], "weight_decay": DECAY},
              {"params": [w for w in parameters if w.ndim == 1], "weight_decay": 0}]
    adamw, losses, first = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS), [], None
    for step in range(STEPS):
        adamw.zero_grad()
        loss = loss_of(step)
        loss.backward()
        losses.append({"loss": loss.item()})
        first = [w.grad.clone() for w in parameters] if first is None else first
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        rate = LR * (step + 1) / WARM_UP if step < WARM_UP else twin.cosine(LR, LR_END, (step - WARM_UP) / (STEPS - WARM_UP))
        for group in adamw.param_groups:
            group["lr"] = rate
        adamw.step()
    return losses, first


def whole(t):
    values = {k: w.detach().clone().requires_grad_() for k, w in t.net.named_parameters()}
    losses, first = learn(list(values.values()), lambda step: t.loss(values, step))
    return {"losses": losses, "gradients": measures(gather(dict(zip(values, first)), t.levels))}


def adapted(t, order):
    """order: limn's names of its parameters."""
    fixed = {k: w.detach().clone() for k, w in t.net.named_parameters()}
    ours = gather(fixed, t.levels)
    theirs = {}
    for name in fixed:
        theirs.setdefault(limn_name(name, t.levels)[0], []).append(name)
    adapters = {}
    for name in filter(ATTENTION.search, order):
        n, (out, width) = len(theirs[name]), ours[name].shape
        a = normal(SEED, len(adapters), 0, n * RANK * width).reshape(n * RANK, width) / RANK
        adapters[name + ".lora_a"] = torch.from_numpy(a).requires_grad_()
        adapters[name + ".lora_b"] = torch.zeros(out, RANK, dtype=torch.float64, requires_grad=True)

    def values():
        out = dict(fixed)
        for name in filter(ATTENTION.search, order):
            a, b = (adapters[name + end].chunk(len(theirs[name])) for end in (".lora_a", ".lora_b"))
            whole_of = sorted(theirs[name], key=lambda k: limn_name(k, t.levels)[1])
            for i, key in enumerate(whole_of):
                out[key] = fixed[key] + b[i] @ a[i]
        return out

    losses, first = learn(list(adapters.values()), lambda step: t.loss(values(), step))
    return {"losses": losses, "gradients": measures(dict(zip(adapters, first)))}


def in_order(t):
    """limn's names of the U-Net's weights in the order in which they are declared."""
    names, k = set(gather(dict(t.net.named_parameters()), t.levels)), t.net.config
    down = [f"unet.down.{i}.transformer.{j}." for i in range(t.levels) for j in range(k.layers_per_block)]
    up = [f"unet.up.{i}.transformer.{j}." for i in reversed(range(t.levels)) for j in range(k.layers_per_block + 1)]
    layers = ("qkv", "self_out", "q", "kv", "cross_out")
    return [n for path in down + ["unet.mid.transformer.0."] + up for n in (f"{path}{layer}.weight" for layer in layers)
            if n in names]


def main():
    torch.set_grad_enabled(True)  # make_golden_codecs.py turns it off
    out = []
    for name, width, height in (("sd15", 56, 40), ("sd21", 48, 32)):
        t = Instance(name, width, height)
        entry = {"name": name, "width": width, "height": height, "captions": CAPTIONS, "rank": RANK, "whole": whole(t),
                 "adapters": adapted(t, in_order(t))}
        for kind in ("whole", "adapters"):
            print(name, kind, [round(x["loss"], 5) for x in entry[kind]["losses"]], len(entry[kind]["gradients"]), "gradients")
        out.append(entry)
    rounded = json.loads(json.dumps(out), parse_float=lambda x: float(f"{float(x):.9g}"))
    text = json.dumps(rounded, ensure_ascii=False, separators=(",", ":")).replace("},{", "},\n{")
    (DATA / "unet_training.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
