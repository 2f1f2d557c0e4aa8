#!/usr/bin/env python3
"""Writes tests/data/clip_reference.safetensors: two tiny CLIPs with random weights, and what they make of pictures and
texts.

Needs `pip install torch transformers safetensors`.  "a." is shaped like OpenAI's: HuggingFace's CLIPModel computes its
embeddings.  "b." is shaped like DALLE-pytorch's, means over all positions and no causal mask, computed by PyTorch's own
encoder layers.  Tensors have limn's names and layouts; beside them: pixels U8 [n,h,w,3], ids I32 [n,length], and the
embeddings image and text [n,dim], of length 1.
"""
import pathlib

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPConfig, CLIPModel

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "clip_reference.safetensors"
SIZE, PATCH, WIDTH, HEADS, MLP, DIM, LENGTH, VOCABULARY, PAD, END = 16, 8, 16, 2, 32, 12, 8, 258, 0, 1
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def randomise(module):
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.normal_(1 if "norm" in name and name.endswith("weight") else 0, 0.3)


def texts():
    ids = torch.full((3, LENGTH), PAD, dtype=torch.int32)
    for row, n in enumerate((3, 7, 0)):
        ids[row, :n] = torch.randint(2, VOCABULARY, (n,), dtype=torch.int32)
        ids[row, n] = END
    return ids


def pixels():
    return torch.randint(0, 256, (3, SIZE, SIZE, 3), dtype=torch.uint8)


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


def like_openai():
    common = {"hidden_size": WIDTH, "intermediate_size": MLP, "num_hidden_layers": 2, "num_attention_heads": HEADS,
              "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "projection_dim": DIM}
    text = {**common, "vocab_size": VOCABULARY, "max_position_embeddings": LENGTH, "eos_token_id": END,
            "pad_token_id": PAD, "bos_token_id": 2}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config={**common, "image_size": SIZE, "patch_size": PATCH},
                                 projection_dim=DIM)).double().eval()
    randomise(model)
    ids, rgb = texts(), pixels()
    x = ((rgb / 255.0 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2).double()
    with torch.no_grad():
        done = model(input_ids=ids.long(), pixel_values=x)
    w, out = model.state_dict(), {}

    def norm(to, name):
        out[f"{to}.weight"], out[f"{to}.bias"] = w[f"{name}.weight"], w[f"{name}.bias"]

    for side, name in (("image", "vision_model"), ("text", "text_model")):
        out[f"clip.{side}.position.weight"] = w[f"{name}.embeddings.position_embedding.weight"]
        for i in range(2):
            to, layer = f"clip.{side}.block.{i}", f"{name}.encoder.layers.{i}"
            for part in ("weight", "bias"):
                out[f"{to}.qkv.{part}"] = torch.cat([w[f"{layer}.self_attn.{x}_proj.{part}"] for x in "qkv"])
                out[f"{to}.out.{part}"] = w[f"{layer}.self_attn.out_proj.{part}"]
                out[f"{to}.up.{part}"] = w[f"{layer}.mlp.fc1.{part}"]
                out[f"{to}.down.{part}"] = w[f"{layer}.mlp.fc2.{part}"]
            norm(f"{to}.norm1", f"{layer}.layer_norm1")
            norm(f"{to}.norm2", f"{layer}.layer_norm2")
    norm("clip.image.norm_before", "vision_model.pre_layrnorm")
    norm("clip.image.norm_after", "vision_model.post_layernorm")
    norm("clip.text.norm_after", "text_model.final_layer_norm")
    out["clip.image.patches.weight"] = w["vision_model.embeddings.patch_embedding.weight"].permute(0, 2, 3, 1)
    out["clip.image.class_token"] = w["vision_model.embeddings.class_embedding"]
    out["clip.text.embedding.weight"] = w["text_model.embeddings.token_embedding.weight"]
    out["clip.image.projection.weight"] = w["visual_projection.weight"]
    out["clip.text.projection.weight"] = w["text_projection.weight"]
    out["clip.log_scale"] = w["logit_scale"].reshape(1)
    return {**out, "pixels": rgb, "ids": ids, "image": unit(done.image_embeds), "text": unit(done.text_embeds)}


class Tower(nn.Module):
    def __init__(self, positions):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(positions, WIDTH))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, HEADS, MLP, 0, "gelu", batch_first=True, norm_first=True) for _ in range(2))
        self.out = nn.Linear(WIDTH, DIM, bias=False)

    def forward(self, x):
        x = x + self.position
        for block in self.blocks:
            x = block(x)
        return unit(self.out(x.mean(1)))


def like_dalle_pytorch():
    patch, embedding = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False), nn.Embedding(VOCABULARY, WIDTH)
    image, text = Tower((SIZE // PATCH) ** 2), Tower(LENGTH)
    for m in (patch, embedding, image, text):
        m.double().eval()
        randomise(m)
    ids, rgb = texts(), pixels()
    with torch.no_grad():
        cells = patch((rgb / 255.0).permute(0, 3, 1, 2).double()).flatten(2).transpose(1, 2)
        done = {"image": image(cells), "text": text(embedding(ids.long()))}
    out = {"clip.image.patches.weight": patch.weight.permute(0, 2, 3, 1), "clip.text.embedding.weight": embedding.weight,
           "clip.log_scale": torch.zeros(1)}
    for side, tower in (("image", image), ("text", text)):
        out[f"clip.{side}.position.weight"] = tower.position
        out[f"clip.{side}.projection.weight"] = tower.out.weight
        for i, b in enumerate(tower.blocks):
            to = f"clip.{side}.block.{i}"
            out[f"{to}.qkv.weight"], out[f"{to}.qkv.bias"] = b.self_attn.in_proj_weight, b.self_attn.in_proj_bias
            for name, m in (("out", b.self_attn.out_proj), ("up", b.linear1), ("down", b.linear2), ("norm1", b.norm1),
                            ("norm2", b.norm2)):
                out[f"{to}.{name}.weight"], out[f"{to}.{name}.bias"] = m.weight, m.bias
    return {**out, **done, "pixels": rgb, "ids": ids}


def main():
    torch.set_num_threads(1)
    torch.manual_seed(2021)
    tensors = {}
    for mark, made in (("a", like_openai()), ("b", like_dalle_pytorch())):
        for name, t in made.items():
            t = t.detach().float() if t.is_floating_point() else t
            tensors[f"{mark}.{name}"] = t.contiguous()
    save_file(tensors, OUT)


if __name__ == "__main__":
    main()
