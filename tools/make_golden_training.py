#!/usr/bin/env python3
"""Writes tests/data/training.json: how instances of published GPTs (those of make_golden_gpt.py) learn in PyTorch from
the pictures of make_golden_codecs.py, for tests/train/fine_tune_test.c: the losses of 20 steps of AdamW in double
precision, and of the first step's gradient of each parameter of those, by limn's name of it, its length and its product
with hashed numbers.  Of DALLE-pytorch, whose instances are made here of the authors' class, the losses alone.

Needs what make_golden_gpt.py and make_golden_dalle_pytorch.py need.  A step is of the two pictures with their captions,
so the order doesn't matter.
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


def train(name, forward, weights, said, codes, named=None, decays=lambda key: True):
    """forward() gives the logits of text, or None, and of codes; said: what those of text are to say, -1: nothing."""
    losses, first, parts, moments = [], {}, {}, {}
    cross_entropy = torch.nn.functional.cross_entropy
    for step in range(STEPS):
        of_text, of_image = forward()
        parts["image"] = cross_entropy(of_image.flatten(0, 1), codes.flatten())
        loss = parts["image"]
        if of_text is not None:
            parts["text"] = cross_entropy(of_text.flatten(0, 1), said.flatten(), ignore_index=-1)
            loss = TEXT_WEIGHT * parts["text"] + (1 - TEXT_WEIGHT) * parts["image"]
        for p in weights.values():
            p.grad = None
        loss.backward()
        losses.append({"loss": loss.item(), **{key: value.item() for key, value in parts.items()}})
        learned = {key: p for key, p in weights.items() if p.grad is not None}
        if step == 0 and named:
            for ours, g in named().items():
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
                if p.dim() > 1 and decays(key):
                    p -= lr * DECAY * p
                p -= lr * (m / (1 - BETA1 ** (step + 1))) / ((v / (1 - BETA2 ** (step + 1))).sqrt() + EPS)
    print(f"{name}: {losses[0]['loss']:.5f} to {losses[-1]['loss']:.5f}, {len(first)} gradients, the last of {size:.4f}")
    return {"name": name, "losses": losses, **({"gradients": first} if first else {})}


def train_gpt(name, network, codec, k, captions, pad, names, layers, golden):
    w, said = Weights(name + "."), None
    codes = torch.from_numpy(golden[f"{codec}/codes"]).long()
    if pad is None:
        text = torch.tensor(captions)[:, None]
    else:
        rows = [row_of(c["ids"], pad) for c in captions]
        text, said = torch.tensor([r for r, _ in rows]), torch.tensor([t for _, t in rows])
        if name == "rudalle_v2":  # an id that isn't in text begins it: the first one is said too
            said = torch.cat([text[:, :1], said], 1)
    case = train(name, lambda: network(w, text, codes[:, :-1], k, whole=True), w, said, codes,
                 lambda: gradients(w, layers, *names))
    return {**case, "captions": [str(c) if pad is None else c["text"] for c in captions]}


def train_dalle_pytorch(name, golden, **more):
    """The authors' class with its DiscreteVAE, that of make_golden_codecs.py."""
    import make_golden_dalle_pytorch as dp
    from make_golden_codecs import scale_of
    vae = dp.DiscreteVAE(image_size=16, num_layers=2, num_tokens=30, codebook_dim=12, hidden_dim=10, num_resnet_blocks=2)
    words = len(json.loads((DATA / "dallepy" / "tokenizer.json").read_text("utf-8"))["model"]["vocab"])
    model = dp.DALLE(vae=vae, dim=32, num_text_tokens=words, text_seq_len=7, depth=3, heads=2, dim_head=12,
                     attn_types=["conv_like", "axial_row", "full"], **more).double()
    how = {}
    for key, t in model.state_dict().items():
        if key.startswith("vae."):
            how[key] = [list(t.shape), *scale_of(key[4:], t.shape), "dalle_pytorch." + key[4:]]
            continue
        if key == "transformer.pos_emb":  # the angles, which are what they are
            continue
        scale, shift = (0.25, 1.0) if key.endswith("scale") or ("norm" in key and key.endswith("weight")) else (0.125, 0.0)
        if t.dim() == 2:
            scale = 2.0 if "emb" in key else 2.0 ** round(math.log2(3 / math.sqrt(t.shape[1])))
        how[key] = [list(t.shape), scale, shift, f"{name}.{key}"]
        t.copy_(torch.from_numpy(numbers(how[key][3], t.numel()) * scale + shift).double().view(t.shape))
    all_captions = json.loads((DATA / "dallepy" / "tokenizer_cases.json").read_text("utf-8"))
    captions = [c for c in all_captions if c["text"] in ("a", "a red bear on a blue background")]
    ids = [c["ids"][:7] for c in captions]
    text = torch.tensor([row + [0] * (7 - len(row)) for row in ids])
    said = torch.tensor([row + [-1] * (7 - len(row)) for row in ids])
    codes = torch.from_numpy(golden["dalle_pytorch/codes"]).long()

    def forward():
        logits = model(text.clone(), codes)
        return logits[:, :7, :model.num_text_tokens], logits[:, 7:, model.num_text_tokens:]
    weights = {key: p for key, p in model.named_parameters() if not key.startswith("vae.")}
    case = train(name, forward, weights, said, codes, decays=lambda key: not key.endswith("scale"))
    angles = dict(model.named_buffers()).get("transformer.pos_emb")
    return {**case, "captions": [c["text"] for c in captions], "codec": "dalle_pytorch", "tensors": how,
            "set": ["heads=2", "attn_types=conv_like,axial_row,full"],
            **({} if angles is None else {"angles": [list(angles.shape), angles.flatten().tolist()]})}


def main():
    torch.set_num_threads(1)
    torch.set_grad_enabled(True)  # make_golden_codecs turns it off
    golden = load_file(DATA / "codecs.safetensors")
    out = [train_gpt(*case, golden) for case in cases()]
    out.append(train_dalle_pytorch("dalle_pytorch", golden, sandwich_norm=True))
    out.append(train_dalle_pytorch("dalle_pytorch_reversible", golden, reversible=True, rotary_emb=False,
                                   shift_tokens=False))
    rounded = json.loads(json.dumps(out), parse_float=lambda x: float(f"{float(x):.9g}"))
    text = json.dumps(rounded, ensure_ascii=False, separators=(",", ":")).replace("},{", "},\n{")
    (DATA / "training.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
