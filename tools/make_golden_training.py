#!/usr/bin/env python3
"""Writes tests/data/training.json: how instances of published GPTs (those of make_golden_gpt.py) learn in PyTorch from
the pictures of make_golden_codecs.py, for tests/fine_tune_test.c: the losses of 20 steps of AdamW in double precision,
and of the first step's gradient of each parameter, by limn's name of it, its length and its product with hashed numbers.

Needs torch, numpy and safetensors.  A step is of the two pictures with their captions, so the order doesn't matter.
"""
import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

import make_golden_gpt as gpts
from make_golden_codecs import numbers

DATA = gpts.DATA
STEPS, WARM_UP, LR, LR_END, BETA1, BETA2, EPS, DECAY, CLIP = 20, 4, 2e-3, 1e-5, 0.9, 0.96, 1e-8, 0.02, 1.0
TEXT_WEIGHT = 0.125


class Weights(gpts.Weights):
    def get(self, name, *shape):
        w = super().get(name, *shape)
        return w if w.requires_grad else w.requires_grad_()


def row_of(ids, pad):
    """The text as the network reads it, and what each position says next: -1 where that is padding."""
    ids = ids[:gpts.TEXT]
    row = ids + [pad] * (gpts.TEXT - len(ids))
    return row, [row[i + 1] if i + 1 < len(ids) else -1 for i in range(gpts.TEXT - 1)]


MINGPT = {"norm1": ["ln1"], "qkv": ["attn.query", "attn.key", "attn.value"], "out": ["attn.proj"], "norm2": ["ln2"],
          "up": ["mlp.0"], "down": ["mlp.2"]}
RUDALLE = {"norm1": ["input_layernorm"], "qkv": ["attention.query_key_value"], "out": ["attention.dense"],
           "norm1_out": ["before_first_addition_layernorm"], "norm2": ["post_attention_layernorm"],
           "up": ["mlp.dense_h_to_4h"], "down": ["mlp.dense_4h_to_h"],
           "norm2_out": ["before_second_addition_layernorm"]}
LLAMAGEN = {"norm1": ["attention_norm"], "qkv": ["attention.wqkv"], "out": ["attention.wo"], "norm2": ["ffn_norm"],
            "gate": ["feed_forward.w1"], "up": ["feed_forward.w3"], "down": ["feed_forward.w2"]}


def gradients(w, layers, prefix, block, rest):
    """limn's names -> the gradients of what they are made of."""
    out = {}

    def add(name, sources):
        for end in ("weight", "bias"):
            parts = [w[f"{s}.{end}"] for s in sources if f"{s}.{end}" in w]
            if parts:
                out[f"transformer.{name}.{end}"] = torch.cat([p.grad for p in parts])
    for i in range(layers):
        for ours, theirs in block.items():
            add(f"block.{i}.{ours}", [f"{prefix}.{i}.{t}" for t in theirs])
    for ours, theirs in rest.items():
        if callable(theirs):
            out["transformer." + ours] = theirs(w)
        else:
            add(ours, [theirs])
    return out


def cases():
    """name, network, codec, its codes, captions, their ids (None: classes), the padding, names, layers."""
    char_bpe = json.loads((DATA / "gpt" / "char_bpe_cases.json").read_text("utf-8"))
    yttm = json.loads((DATA / "gpt" / "yttm_cases.json").read_text("utf-8"))
    words, k = gpts.WORDS, 33
    heads = {"text_head.weight": lambda w: w["to_logits.1.weight"].grad[:words],
             "text_head.bias": lambda w: w["to_logits.1.bias"].grad[:words],
             "image_head.weight": lambda w: w["to_logits.1.weight"].grad[words:],
             "image_head.bias": lambda w: w["to_logits.1.bias"].grad[words:]}
    rudalle = {"text_embedding": "text_embeddings", "image_embedding": "image_embeddings",
               "row_position": "image_row_embeddings", "column_position": "image_col_embeddings",
               "norm": "transformer.final_layernorm", "head_norm": "to_logits.0", **heads}
    mindalle = {"text_embedding": "tok_emb_txt", "image_embedding": "tok_emb_img", "text_position": "pos_emb_txt",
                "cell_position.weight": lambda w: w["pos_emb_img.weight"].grad[:gpts.CELLS - 1], "norm": "ln_f",
                "text_head": "head_txt", "image_head": "head_img"}
    taming = {"image_embedding": "transformer.tok_emb", "norm": "transformer.ln_f", "image_head": "transformer.head",
              "text_position.weight": lambda w: w["transformer.pos_emb"].grad[0, :1],
              "cell_position.weight": lambda w: w["transformer.pos_emb"].grad[0, 1:]}
    llamagen = {"text_embedding": "cls_embedding.embedding_table", "image_embedding": "tok_embeddings", "norm": "norm",
                "image_head": "output"}
    yield "mindalle", gpts.mindalle, "taming", 50, [char_bpe[0], char_bpe[1]], 1, ("blocks", MINGPT, mindalle), 3
    yield "taming", gpts.taming, "taming", 50, [3, 41], None, ("transformer.blocks", MINGPT, taming), 3
    for version in ("v2", "v3"):
        positions = {"text_position.weight": lambda w, n=gpts.TEXT + (version == "v2"):
                     w["text_pos_embeddings.weight"].grad[:n]}
        yield (f"rudalle_{version}", gpts.rudalle(version == "v2"), "gumbel" if version == "v2" else "wavelet", k,
               [yttm[0], yttm[1]], 0, ("transformer.layers", RUDALLE, {**rudalle, **positions}), 4)
    yield "llamagen", gpts.llamagen, "llamagen", 60, [7, 2], None, ("layers", LLAMAGEN, llamagen), 3


def learning_rate(step):
    if step < WARM_UP:
        return LR * (step + 1) / WARM_UP
    return LR_END + (LR - LR_END) * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP)))


def train(name, network, codes, k, captions, pad, names, layers):
    w, losses, first = Weights(name + "."), [], None
    cross_entropy = torch.nn.functional.cross_entropy
    if pad is None:
        text, targets = torch.tensor(captions)[:, None], None
    else:
        rows = [row_of(c["ids"], pad) for c in captions]
        text, targets = torch.tensor([r for r, _ in rows]), torch.tensor([t for _, t in rows])
    parts, moments = {}, {}
    for step in range(STEPS):
        of_text, of_image = network(w, text, codes[:, :-1], k, whole=True)
        parts["image"] = cross_entropy(of_image.flatten(0, 1), codes.flatten())
        if of_text is not None:
            begins = of_text.shape[1] > targets.shape[1]  # with an id that isn't in text: its first one is said too
            said = torch.cat([text[:, :1], targets], 1) if begins else targets
            parts["text"] = cross_entropy(of_text.flatten(0, 1), said.flatten(), ignore_index=-1)
        loss = parts["image"] if of_text is None else TEXT_WEIGHT * parts["text"] + (1 - TEXT_WEIGHT) * parts["image"]
        for p in w.values():
            p.grad = None
        loss.backward()
        losses.append({"loss": loss.item(), **{key: value.item() for key, value in parts.items()}})
        learned = {key: p for key, p in w.items() if p.grad is not None}
        if first is None:
            first = {}
            for ours, g in gradients(w, layers, names[0], names[1], names[2]).items():
                g = g.flatten().numpy()
                first[ours] = [float(np.sqrt((g * g).sum())), float((g * numbers(ours, g.size)).sum())]
        size = math.sqrt(sum(float(p.grad.square().sum()) for p in learned.values()))
        with torch.no_grad():
            for key, p in learned.items():
                g = p.grad * min(1, CLIP / size)
                m, v = moments.get(key, (torch.zeros_like(p), torch.zeros_like(p)))
                m, v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g * g
                moments[key] = m, v
                lr = learning_rate(step)
                if p.dim() > 1:
                    p -= lr * DECAY * p
                p -= lr * (m / (1 - BETA1 ** (step + 1))) / ((v / (1 - BETA2 ** (step + 1))).sqrt() + EPS)
    print(f"{name}: {losses[0]['loss']:.5f} to {losses[-1]['loss']:.5f}, {len(first)} gradients, the last of {size:.4f}")
    texts = [str(c) if pad is None else c["text"] for c in captions]
    return {"name": name, "captions": texts, "losses": losses, "gradients": first}


def main():
    torch.set_num_threads(1)
    torch.set_grad_enabled(True)  # make_golden_codecs turns it off
    golden = load_file(DATA / "codecs.safetensors")
    out = []
    for name, network, codec, k, captions, pad, names, layers in cases():
        codes = torch.from_numpy(golden[f"{codec}/codes"]).long()
        out.append(train(name, network, codes, k, captions, pad, names, layers))
    rounded = json.loads(json.dumps(out), parse_float=lambda x: float(f"{float(x):.9g}"))
    text = json.dumps(rounded, ensure_ascii=False, separators=(",", ":")).replace("},{", "},\n{")
    (DATA / "training.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
