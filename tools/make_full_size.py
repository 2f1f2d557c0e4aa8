#!/usr/bin/env python3
"""Writes random-weight checkpoints of published models at their full size, in the containers that their authors use.

usage: tools/make_full_size.py MODEL OUT_DIR        --list names the models
       tools/make_full_size.py MODEL --layout       prints the tensors instead: name, shape

For trying conversion and memory; the pictures are noise.  Needs PyTorch; those of STREAMED need numpy alone, and tokenizers
from elsewhere (tests/data/golden).  A model is a function that yields {file name: {tensor name: shape}}; LAYOUTS is the
table of them.
"""
import argparse
import json
import math
import sys
from pathlib import Path


def conv(t, name, out, inner, kernel, weight="weight", bias="bias"):
    t[f"{name}.{weight}"] = (out, inner, kernel, kernel)
    t[f"{name}.{bias}"] = (out,)


def linear(t, name, out, inner):
    t[f"{name}.weight"] = (out, inner)
    t[f"{name}.bias"] = (out,)


def norm(t, name, channels):
    t[f"{name}.weight"] = t[f"{name}.bias"] = (channels,)


# ---- OpenAI's discrete VAE ----

def openai_dvae():
    files = {}
    for file, first, width, ups in (("encoder.pkl", 3, [256, 512, 1024, 2048], False),
                                    ("decoder.pkl", 8192, [2048, 1024, 512, 256], True)):
        t = files[file] = {}
        inner = 128 if ups else 256
        conv(t, "blocks.input", inner, first, 1 if ups else 7, "w", "b")
        for g, out in enumerate(width):
            for b in range(2):
                name = f"blocks.group_{g + 1}.block_{b + 1}"
                if inner != out:
                    conv(t, f"{name}.id_path", out, inner, 1, "w", "b")
                kernels = (1, 3, 3, 3) if ups else (3, 3, 3, 1)
                for k, side in enumerate(kernels):
                    conv(t, f"{name}.res_path.conv_{k + 1}", out if k == 3 else out // 4, inner if k == 0 else out // 4,
                         side, "w", "b")
                inner = out
        conv(t, "blocks.output.conv", 6 if ups else 8192, inner, 1, "w", "b")
    return files


# ---- VQGAN's autoencoder ----

def residual(t, name, inner, out):
    norm(t, f"{name}.norm1", inner)
    conv(t, f"{name}.conv1", out, inner, 3)
    norm(t, f"{name}.norm2", out)
    conv(t, f"{name}.conv2", out, out, 3)
    if inner != out:
        conv(t, f"{name}.nin_shortcut", out, inner, 1)


def attention(t, name, channels):
    norm(t, f"{name}.norm", channels)
    for part in ("q", "k", "v", "proj_out"):
        conv(t, f"{name}.{part}", channels, channels, 1)


def middle(t, name, channels, llamagen):
    residual(t, f"{name}.mid.0" if llamagen else f"{name}.mid.block_1", channels, channels)
    attention(t, f"{name}.mid.1" if llamagen else f"{name}.mid.attn_1", channels)
    residual(t, f"{name}.mid.2" if llamagen else f"{name}.mid.block_2", channels, channels)


def encoder(t, mult, latent, blocks=2, llamagen=False):
    inner = 128
    conv(t, "encoder.conv_in", inner, 3, 3)
    for i, m in enumerate(mult):
        stage, block = (f"encoder.conv_blocks.{i}", "res") if llamagen else (f"encoder.down.{i}", "block")
        for b in range(blocks):
            residual(t, f"{stage}.{block}.{b}", inner, 128 * m)
            inner = 128 * m
            if i == len(mult) - 1:
                attention(t, f"{stage}.attn.{b}", inner)
        if i < len(mult) - 1:
            conv(t, f"{stage}.downsample.conv", inner, inner, 3)
    middle(t, "encoder", inner, llamagen)
    norm(t, "encoder.norm_out", inner)
    conv(t, "encoder.conv_out", latent, inner, 3)


def decoder(t, mult, latent, blocks=3, llamagen=False, name="decoder", channels=3):
    inner = 128 * mult[-1]
    conv(t, f"{name}.conv_in", inner, latent, 3)
    middle(t, name, inner, llamagen)
    for i, m in reversed(list(enumerate(mult))):
        stage, block = (f"{name}.conv_blocks.{len(mult) - 1 - i}", "res") if llamagen else (f"{name}.up.{i}", "block")
        for b in range(blocks):
            residual(t, f"{stage}.{block}.{b}", inner, 128 * m)
            inner = 128 * m
            if i == len(mult) - 1:
                attention(t, f"{stage}.attn.{b}", inner)
        if i > 0:
            conv(t, f"{stage}.upsample.conv", inner, inner, 3)
    norm(t, f"{name}.norm_out", inner)
    conv(t, f"{name}.conv_out", channels, inner, 3)


def vqgan(mult, codes, dim=256, latent=256, gumbel=False, llamagen=False, wavelet=False):
    t = {}
    encoder(t, mult, latent, llamagen=llamagen)
    decoder(t, mult, latent, llamagen=llamagen, name="decoder.decoder" if wavelet else "decoder",
            channels=12 if wavelet else 3)
    conv(t, "quant_conv", dim, latent, 1)
    conv(t, "post_quant_conv", latent, dim, 1)
    if gumbel:
        conv(t, "quantize.proj", codes, latent, 1)
    t["quantize.embed.weight" if gumbel else "quantize.embedding.weight"] = (codes, dim)
    if llamagen:
        t["quantize.codebook_used"] = (65536,)
    if wavelet:
        conv(t, "decoder.post_quant_conv", latent, dim, 1)
        for part in ("g0_col", "g1_col"):
            t[f"decoder.idwt.{part}"] = (1, 1, 2, 1)
            t[f"decoder.idwt.{part[:2]}_row"] = (1, 1, 1, 2)
        t = {f"model.{name}": shape for name, shape in t.items()}
    return t


def detokenizer():
    t = {"embedding.weight": (16384, 256)}
    conv(t, "post_quant_conv", 256, 256, 1)
    decoder(t, (1, 1, 2, 2, 4), 256)
    return t


# ---- DALLE-pytorch's DiscreteVAE, as its README makes it ----

def dalle_pytorch_vae(codes=8192, dim=512, hidden=64, stages=3, blocks=1):
    t = {"codebook.weight": (codes, dim)}
    first = blocks > 0  # the decoder's blocks are behind a convolution
    for i in range(stages):
        conv(t, f"encoder.{i}.0", hidden, 3 if i == 0 else hidden, 4)
        inner = dim if i == 0 and not blocks else hidden  # transposed: inner channels come first
        t[f"decoder.{i + blocks + first}.0.weight"] = (inner, hidden, 4, 4)
        t[f"decoder.{i + blocks + first}.0.bias"] = (hidden,)
    for side, at in (("encoder", stages), ("decoder", first)):
        for b in range(blocks):
            for k, kernel in ((0, 3), (2, 3), (4, 1)):
                conv(t, f"{side}.{at + b}.net.{k}", hidden, hidden, kernel)
    conv(t, f"encoder.{stages + blocks}", codes, hidden, 1)
    if blocks:
        conv(t, "decoder.0", hidden, dim, 1)
    conv(t, f"decoder.{stages + blocks + first}", 3, hidden, 1)
    return t


# ---- its DALLE, as its README makes it ----

DALLE_PYTORCH = {"dim": 1024, "num_text_tokens": 10000, "text_seq_len": 256, "depth": 12, "heads": 16, "dim_head": 64}


def dalle_pytorch_layers(t, root, depth, dim, wrappers, sandwich=False):
    for i in range(depth):
        for k, inner in enumerate(wrappers):
            name = f"{root}.layers.layers.{i}.{k}"
            t[f"{name}.scale"] = (1, 1, dim)
            norm(t, f"{name}.fn.norm", dim)
            if sandwich:
                norm(t, f"{name}.fn.norm_out", dim)
            if k == 0:
                t[f"{name}.{inner}.to_qkv.weight"] = (3 * dim, dim)
                linear(t, f"{name}.{inner}.to_out.0", dim, dim)
            else:
                linear(t, f"{name}.{inner}.net.0", 8 * dim, dim)
                linear(t, f"{name}.{inner}.net.3", dim, 4 * dim)


def dalle_pytorch():
    dim, text, depth = DALLE_PYTORCH["dim"], DALLE_PYTORCH["text_seq_len"], DALLE_PYTORCH["depth"]
    ids, codes = DALLE_PYTORCH["num_text_tokens"] + text, 8192
    t = {f"vae.{name}": shape for name, shape in dalle_pytorch_vae().items()}
    t["transformer.pos_emb"] = (1, text + 1 + 32 * 32, 60)
    dalle_pytorch_layers(t, "transformer", depth, dim, ("fn.fn.fn.fn.fn", "fn.fn.fn.fn"))
    norm(t, "to_logits.0", dim)
    linear(t, "to_logits.1", ids + codes, dim)
    t["text_emb.weight"] = (ids, dim)
    t["image_emb.weight"] = (codes, dim)
    return t


def dalle_pytorch_variant(dim=64, text=16, side=8, ids=100 + 16, codes=64):
    """Small: learned positions, sandwich norms, embeddings shared with the head."""
    t = {f"vae.{name}": shape for name, shape in dalle_pytorch_vae(codes, 32, 16, 2, 0).items()}
    t |= {"text_pos_emb.weight": (text + 1, dim), "image_pos_emb.weights.0": (1, side, 1, dim),
          "image_pos_emb.weights.1": (1, 1, side, dim)}
    dalle_pytorch_layers(t, "transformer", 4, dim, ("fn.fn.fn.fn.fn", "fn.fn.fn.fn"), sandwich=True)
    norm(t, "to_logits.0", dim)
    for name in ("to_logits.1", "text_emb.linear", "image_emb.linear"):
        linear(t, name, ids + codes, dim)
    return t


def dalle_pytorch_clip(dim=512, text=256, vocabulary=10000, patches=8, patch=32):
    t = {"temperature": (), "text_emb.weight": (vocabulary, dim), "text_pos_emb.weight": (text, dim),
         "visual_pos_emb.weight": (patches * patches, dim), "to_text_latent.weight": (dim, dim),
         "to_visual_latent.weight": (dim, dim)}
    linear(t, "to_visual_embedding", dim, 3 * patch * patch)
    for side in ("text", "visual"):
        dalle_pytorch_layers(t, f"{side}_transformer", 6, dim, ("fn.fn.fn", "fn.fn"))
    return t


def rotary_angles(text, side, n):
    """transformer.pos_emb of n = 3 x 20 angles: of the place in the text (8192 for cells), of the row, of the column."""
    import torch
    each = n // 3
    lang = 10000.0 ** (-torch.arange(0, each, 2) / (each + 1)).repeat_interleave(2)
    pixel = (torch.linspace(1, 5, each // 2) * math.pi).repeat_interleave(2)
    place = torch.cat([torch.arange(text), torch.full((side * side,), 8192)])
    line = torch.linspace(-1, 1, side)
    outside = torch.full((text,), -10.0)
    row = torch.cat([outside, line.repeat_interleave(side)])
    column = torch.cat([outside, line.repeat(side)])
    return torch.cat([place[:, None] * lang, row[:, None] * pixel, column[:, None] * pixel], 1)[None]


# ---- transformers ----

def product(t, name, out, inner, bias=True):
    t[f"{name}.weight"] = (out, inner)
    if bias:
        t[f"{name}.bias"] = (out,)


def mindalle(dim=1536, layers=42, text=64, cells=256, vocabulary=16384, codes=16384):
    t = {"tok_emb_img.weight": (codes, dim), "tok_emb_txt.weight": (vocabulary, dim),
         "pos_emb_img.weight": (cells, dim), "pos_emb_txt.weight": (text, dim)}
    for i in range(layers):
        for part in ("ln1", "ln2"):
            norm(t, f"blocks.{i}.{part}", dim)
        for part in ("key", "query", "value", "proj"):
            product(t, f"blocks.{i}.attn.{part}", dim, dim)
        product(t, f"blocks.{i}.mlp.0", 4 * dim, dim)
        product(t, f"blocks.{i}.mlp.2", dim, 4 * dim)
    norm(t, "ln_f", dim)
    product(t, "head_img", codes, dim, bias=False)
    product(t, "head_txt", vocabulary, dim, bias=False)
    return t
# ---- DALL-E Mini and Mega, as min-dalle has them ----

def dalle_mini(layers, dim, glu, vocabulary, codes):
    files = {}
    for side, embeddings, positions in (("encoder", vocabulary, 64), ("decoder", codes + 1, 256)):
        t = files[f"{side}.pt"] = {"embed_tokens.weight": (embeddings, dim), "embed_positions.weight": (positions, dim)}
        for i in range(layers):
            for part in ("self", "encoder")[:1 if side == "encoder" else 2]:
                norm(t, f"layers.{i}.pre_{part}_attn_layer_norm", dim)
                norm(t, f"layers.{i}.{part}_attn_layer_norm", dim)
                for product in ("k", "v", "q", "out"):
                    t[f"layers.{i}.{part}_attn.{product}_proj.weight"] = (dim, dim)
            norm(t, f"layers.{i}.glu.ln0", dim)
            norm(t, f"layers.{i}.glu.ln1", glu)
            t[f"layers.{i}.glu.fc0.weight"] = t[f"layers.{i}.glu.fc1.weight"] = (glu, dim)
            t[f"layers.{i}.glu.fc2.weight"] = (dim, glu)
        norm(t, "layernorm_embedding", dim)
        norm(t, "final_ln", dim)
    files["decoder.pt"]["lm_head.weight"] = (codes + 1, dim)
    return files | {"detoker.pt": detokenizer()}


def stacked(tensors):
    """Random tensors; those of layers are transposed views into one storage for all layers, as min-dalle's are."""
    data = {}
    for name, shape in tensors.items():
        if not name.startswith("layers.0."):
            continue
        own = name.removeprefix("layers.0.")
        names = [n for n in tensors if n.startswith("layers.") and n.split(".", 2)[2] == own]
        turned = shape[::-1]
        flat = values(own, (len(names) * turned[0], *turned[1:])) if len(shape) == 2 else \
            values(own.replace("ln", "norm"), (len(names) * shape[0],))
        for i, n in enumerate(names):
            part = flat[i * turned[0]:(i + 1) * turned[0]]
            data[n] = part.T if len(shape) == 2 else part
    return {n: data[n] if n in data else values(n.replace("ln", "norm"), tensors[n]) for n in tensors}


def plain(tensors):
    return {name: values(name, shape) for name, shape in tensors.items()}


def rudalle(dim=2048, layers=24, text=128, side=32, vocabulary=16384 + 128, codes=8192):
    t = {"text_embeddings.weight": (vocabulary, dim), "image_embeddings.weight": (codes, dim),
         "text_pos_embeddings.weight": (text + 1, dim), "image_row_embeddings.weight": (side, dim),
         "image_col_embeddings.weight": (side, dim)}
    norm(t, "to_logits.0", dim)
    product(t, "to_logits.1", vocabulary + codes, dim)
    for part in ("row", "col", "conv"):
        t[f"transformer.{part}_mask"] = (text + side * side, text + side * side)
    for i in range(layers):
        p = f"transformer.layers.{i}"
        for part in ("input_layernorm", "before_first_addition_layernorm", "before_second_addition_layernorm",
                     "post_attention_layernorm"):
            norm(t, f"{p}.{part}", dim)
        product(t, f"{p}.attention.query_key_value", 3 * dim, dim)
        product(t, f"{p}.attention.dense", dim, dim)
        product(t, f"{p}.mlp.dense_h_to_4h", 4 * dim, dim)
        product(t, f"{p}.mlp.dense_4h_to_h", dim, 4 * dim)
    norm(t, "transformer.final_layernorm", dim)
    return t


def llamagen_gpt(dim=1280, layers=36, hidden=3584, classes=1000, codes=16384):
    t = {"cls_embedding.embedding_table.weight": (classes + 1, dim), "tok_embeddings.weight": (codes, dim),
         "norm.weight": (dim,), "output.weight": (codes, dim)}
    for i in range(layers):
        p = f"layers.{i}"
        t[f"{p}.attention_norm.weight"] = t[f"{p}.ffn_norm.weight"] = (dim,)
        product(t, f"{p}.attention.wqkv", 3 * dim, dim, bias=False)
        product(t, f"{p}.attention.wo", dim, dim, bias=False)
        for part in ("w1", "w3"):
            product(t, f"{p}.feed_forward.{part}", hidden, dim, bias=False)
        product(t, f"{p}.feed_forward.w2", dim, hidden, bias=False)
    return t


# ---- LLaMA's blocks: Janus and SimpleAR, with their codecs ----

def llama(t, root, layers, dim, mlp, vocabulary, keys, bias=False):
    t[f"{root}embed_tokens.weight"] = (vocabulary, dim)
    for i in range(layers):
        p = f"{root}layers.{i}"
        for part, out in (("q", dim), ("k", keys), ("v", keys)):
            product(t, f"{p}.self_attn.{part}_proj", out, dim, bias=bias)
        product(t, f"{p}.self_attn.o_proj", dim, dim, bias=False)
        for part in ("gate", "up"):
            product(t, f"{p}.mlp.{part}_proj", mlp, dim, bias=False)
        product(t, f"{p}.mlp.down_proj", dim, mlp, bias=False)
        t[f"{p}.input_layernorm.weight"] = t[f"{p}.post_attention_layernorm.weight"] = (dim,)
    t[f"{root}norm.weight"] = (dim,)


def vision_tower(t, dim=1024, layers=24):
    """SigLIP's, which limn leaves out."""
    root = "vision_model.vision_tower"
    t[f"{root}.pos_embed"] = (1, 576, dim)
    conv(t, f"{root}.patch_embed.proj", dim, 3, 16)
    for i in range(layers):
        p = f"{root}.blocks.{i}"
        norm(t, f"{p}.norm1", dim)
        linear(t, f"{p}.attn.qkv", 3 * dim, dim)
        linear(t, f"{p}.attn.proj", dim, dim)
        norm(t, f"{p}.norm2", dim)
        linear(t, f"{p}.mlp.fc1", 4 * dim, dim)
        linear(t, f"{p}.mlp.fc2", dim, 4 * dim)
    norm(t, f"{root}.norm", dim)


def janus(dim=2048, layers=24, mlp=5632, codes=16384):
    t = {}
    vision_tower(t)
    for name, inner in (("aligner", 1024), ("gen_aligner", 8)):
        linear(t, f"{name}.layers.0", dim, inner)
        linear(t, f"{name}.layers.2", dim, dim)
    linear(t, "gen_head.output_mlp_projector", dim, dim)
    linear(t, "gen_head.vision_head", codes, dim)
    t["gen_embed.weight"] = (codes, 8)
    llama(t, "language_model.model.", layers, dim, mlp, 102400, dim)
    t["language_model.lm_head.weight"] = (102400, dim)
    return t | {f"gen_vision_model.{name}": shape for name, shape in vqgan(F16, codes, dim=8, llamagen=True).items()}


def simplear(dim=896, layers=24, mlp=4864, keys=128):
    t = {}
    llama(t, "model.", layers, dim, mlp, 151672 + 64000, keys, bias=True)
    return t


def conv3d(t, name, out, inner, time=1, side=1):
    t[f"{name}.conv3d.weight"] = (out, inner, time, side, side)
    t[f"{name}.conv3d.bias"] = (out,)


def cosmos_decoder(channels=(256, 512, 512), latent=16, blocks=3):
    def pair(name, out, inner):
        conv3d(t, f"{name}.0", out, inner, side=3)
        conv3d(t, f"{name}.1", out, out, time=3)

    def block(name, out, inner):
        for i, width in ((1, inner), (2, out)):
            norm(t, f"{name}.norm{i}.norm", width)
            pair(f"{name}.conv{i}", out, width)
        if inner != out:
            conv3d(t, f"{name}.nin_shortcut", out, inner)
    t, inner = {"inv_quant.quantizer.implicit_codebook": (64000, 6)}, channels[-1]
    conv3d(t, "post_quant_conv", latent, 6)
    pair("decoder.conv_in", inner, latent)
    for i in (1, 2):
        block(f"decoder.mid.block_{i}", inner, inner)
        norm(t, f"decoder.mid.attn_1.{i - 1}.norm.norm", inner)
        for part in ("q", "k", "v", "proj_out"):
            conv3d(t, f"decoder.mid.attn_1.{i - 1}.{part}", inner, inner)
    for i in reversed(range(len(channels))):
        for b in range(blocks):
            block(f"decoder.up.{i}.block.{b}", channels[i], inner)
            inner = channels[i]
        if i > 0:
            conv3d(t, f"decoder.up.{i}.upsample.conv1", inner, inner, time=3)
            conv3d(t, f"decoder.up.{i}.upsample.conv2", inner, inner, side=3)
            conv3d(t, f"decoder.up.{i}.upsample.conv3", inner, inner)
    norm(t, "decoder.norm_out.norm", inner)
    pair("decoder.conv_out", 192, inner)
    return t


F16 = (1, 1, 2, 2, 4)
STREAMED = {
    "janus-pro-1b": lambda: {"pytorch_model.bin": janus()},
    "simplear-0.5b": lambda: {"model.safetensors": simplear(), "decoder.jit": cosmos_decoder()},
    "simplear-1.5b": lambda: {"model.safetensors": simplear(1536, 28, 8960, 256), "decoder.jit": cosmos_decoder()},
}
# config.json of STREAMED, where sizes don't tell.
CONFIGS = {
    "janus-pro-1b": {"model_type": "multi_modality", "language_config": {"model_type": "llama", "num_attention_heads": 16}},
    "simplear-0.5b": {"model_type": "qwen2", "num_attention_heads": 14, "num_key_value_heads": 2, "rope_theta": 1000000.0},
    "simplear-1.5b": {"model_type": "qwen2", "num_attention_heads": 12, "num_key_value_heads": 2, "rope_theta": 1000000.0},
}
LAYOUTS = {
    "openai-dvae": openai_dvae,
    "vqgan-f16-16384": lambda: {"last.ckpt": vqgan(F16, 16384)},
    "vqgan-gumbel-f8": lambda: {"last.ckpt": vqgan((1, 1, 2, 4), 8192, gumbel=True)},
    "mindalle-1.3B": lambda: {"stage2_last.ckpt": mindalle(), "stage1_last.ckpt": vqgan(F16, 16384)},
    "rudalle-malevich": lambda: {"pytorch_model.bin": rudalle(),
                                 "vqgan.gumbelf8-sber.model.ckpt": vqgan((1, 1, 2, 4), 8192, gumbel=True)},
    "rudalle-kandinsky": lambda: {"pytorch_model.bin": rudalle(3840, 64),
                                  "vqgan.gumbelf8-sber.model.ckpt": vqgan((1, 1, 2, 4), 8192, gumbel=True)},
    "llamagen-xl": lambda: {"c2i_XL_384.pt": llamagen_gpt(),
                            "vq_ds16_c2i.pt": vqgan(F16, 16384, dim=8, llamagen=True)},
    "mindalle-stage1": lambda: {"stage1_last.ckpt": vqgan(F16, 16384)},
    "rudalle-vqgan": lambda: {"vqgan.gumbelf8-sber.model.ckpt": vqgan((1, 1, 2, 4), 8192, gumbel=True)},
    "rudalle-vqgan-dwt": lambda: {"vqgan.gumbelf8-sber-dwt.model.ckpt":
                                  vqgan((1, 1, 2, 4), 8192, gumbel=True, wavelet=True)},
    "min-dalle-detokenizer": lambda: {"detoker.pt": detokenizer()},
    "dalle-mini": lambda: dalle_mini(12, 1024, 2730, 50264, 16384),
    "dalle-mega": lambda: dalle_mini(24, 2048, 4096, 50272, 16415),
    "dalle-pytorch-vae": lambda: {"vae.pt": dalle_pytorch_vae()},
    "dalle-pytorch": lambda: {"dalle.pt": dalle_pytorch()},
    "dalle-pytorch-variant": lambda: {"dalle_variant.pt": dalle_pytorch_variant()},
    "dalle-pytorch-clip": lambda: {"clip.pt": dalle_pytorch_clip()},
    "llamagen-vq16": lambda: {"vq_ds16_c2i.pt": vqgan(F16, 16384, dim=8, llamagen=True)},
    "llamagen-vq8": lambda: {"vq_ds8_c2i.pt": vqgan((1, 2, 2, 4), 16384, dim=8, llamagen=True)},
}
# What is around the tensors in a file; the tensors alone where nothing is said.
WRAPPERS = {
    ".ckpt": lambda tensors: {"epoch": 0, "global_step": 0, "state_dict": tensors},
    "vae.pt": lambda tensors: {"hparams": {"image_size": 256, "num_layers": 3, "num_tokens": 8192, "codebook_dim": 512,
                                           "hidden_dim": 64, "num_resnet_blocks": 1}, "weights": tensors},
    "dalle.pt": lambda tensors: {"hparams": DALLE_PYTORCH, "vae_params": {}, "epoch": 0, "version": "1.6.6",
                                 "vae_class_name": "DiscreteVAE", "weights": tensors},
    "dalle_variant.pt": lambda tensors: {"hparams": {"dim": 64, "heads": 4, "dim_head": 16, "rotary_emb": False,
                                                     "stable": True, "sandwich_norm": True,
                                                     "share_input_output_emb": True}, "weights": tensors},
    "vq_ds16_c2i.pt": lambda tensors: {"model": tensors},
    "vq_ds8_c2i.pt": lambda tensors: {"model": tensors},
    "c2i_XL_384.pt": lambda tensors: {"model": tensors},
}


def values(name, shape):
    """Normal numbers as small as keeps activations in range; norms of ones."""
    import torch
    if name == "transformer.pos_emb":
        text = DALLE_PYTORCH["text_seq_len"] + 1
        return rotary_angles(text, math.isqrt(shape[1] - text), shape[2])
    if name.endswith(".scale"):  # layer scale's first value, of less than 18 layers
        return torch.full(shape, 0.1)
    if name.endswith("_mask"):
        return torch.ones(shape, dtype=torch.bool).tril()
    if len(shape) == 1:
        named = "norm" in name or "ln" in name or name == "to_logits.0.weight"
        return torch.ones(shape) if named and name.endswith("weight") else torch.zeros(shape)
    fan_in = math.prod(shape[1:])
    return torch.randn(shape) / math.sqrt(1 if "embed" in name or "codebook" in name else fan_in)


def write_streamed(model, files, out):
    import full_size_files
    for file, tensors in files.items():
        full_size_files.write(out / file, tensors)
        print(out / file, sum(math.prod(shape) for shape in tensors.values()), "numbers")
    (out / "config.json").write_text(json.dumps(CONFIGS[model]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", choices=sorted(LAYOUTS | STREAMED), metavar="MODEL")
    parser.add_argument("out", nargs="?", type=Path, metavar="OUT_DIR")
    parser.add_argument("--layout", action="store_true")
    parser.add_argument("--list", action="store_true")
    a = parser.parse_args()
    if a.list:
        print("\n".join(sorted(LAYOUTS | STREAMED)))
        return 0
    if not a.model or not (a.out or a.layout):
        parser.error("MODEL and OUT_DIR are needed")
    files = (LAYOUTS | STREAMED)[a.model]()
    if a.layout:
        for tensors in files.values():
            for name, shape in tensors.items():
                print(name, list(shape))
        return 0
    if a.model in STREAMED:
        a.out.mkdir(parents=True, exist_ok=True)
        write_streamed(a.model, files, a.out)
        return 0
    import torch
    torch.manual_seed(1)
    torch.set_num_threads(1)
    a.out.mkdir(parents=True, exist_ok=True)
    for file, tensors in files.items():
        data = (stacked if "embed_tokens.weight" in tensors else plain)(tensors)
        wrap = WRAPPERS.get(file) or WRAPPERS.get(Path(file).suffix, lambda tensors: tensors)
        torch.save(wrap(data), a.out / file)
        print(a.out / file, sum(v.numel() for v in data.values()), "numbers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
