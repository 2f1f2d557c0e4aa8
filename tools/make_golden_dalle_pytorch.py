#!/usr/bin/env python3
"""Makes the small DALLE-pytorch checkpoints of tests/convert/dallepy_import_test.c and what their authors' code makes of them.

usage: tools/make_golden_dalle_pytorch.py [DIR] [SEED]     (default: tests/data/dallepy, 1)

Needs torch, numpy, safetensors and, without their dependencies, dalle-pytorch 1.6.6, axial-positional-embedding,
rotary-embedding-torch, dall-e, taming-transformers-rom1504, with einops, attrs, omegaconf.  Other instances: give another
folder and seed, then `dallepy_import_test DIR mix absolute shared openai vqgan clip`.
"""
import sys
from pathlib import Path
from unittest.mock import MagicMock

import torch
from safetensors.torch import save_file

# What the package imports and these models don't use.
for name in ("youtokentome torchvision transformers pkg_resources requests yaml ftfy tokenizers tokenizers.processors "
             "pytorch_lightning taming.main").split():
    sys.modules[name] = MagicMock()
sys.modules["pytorch_lightning"].LightningModule = torch.nn.Module
sys.modules["taming.main"].instantiate_from_config = lambda config: torch.nn.Identity()
from dalle_pytorch.dalle_pytorch import CLIP, DALLE, DiscreteVAE  # noqa: E402
from dalle_pytorch.vae import OpenAIDiscreteVAE, VQGanVAE  # noqa: E402
from taming.models.vqgan import VQModel  # noqa: E402

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"

INSTANCES = {
    "mix": (dict(image_size=32, num_layers=2, num_tokens=40, codebook_dim=8, hidden_dim=8, num_resnet_blocks=1),
            dict(dim=32, num_text_tokens=50, text_seq_len=7, depth=5, heads=2, dim_head=20, sandwich_norm=True,
                 attn_types=["conv_like", "axial_row", "axial_col", "full"])),
    "absolute": (dict(image_size=16, num_layers=2, num_tokens=33, codebook_dim=8, hidden_dim=8, num_resnet_blocks=0),
                 dict(dim=24, num_text_tokens=20, text_seq_len=6, depth=2, heads=3, dim_head=8, rotary_emb=False,
                      stable=True, share_input_output_emb=True)),
    "shared": (dict(image_size=16, num_layers=2, num_tokens=33, codebook_dim=8, hidden_dim=8, num_resnet_blocks=0),
               dict(dim=32, num_text_tokens=30, text_seq_len=5, depth=4, heads=2, dim_head=12, reversible=True,
                    attn_types=["full", "axial_col"], shared_attn_ids=[3, 7], shared_ff_ids=[1, 1, 2])),
    "openai": (None, dict(dim=16, num_text_tokens=20, text_seq_len=4, depth=1, heads=2, dim_head=8, rotary_emb=False,
                          share_input_output_emb=True)),
    "vqgan": (None, dict(dim=16, num_text_tokens=20, text_seq_len=4, depth=1, heads=2, dim_head=9,
                         share_input_output_emb=True)),
}


def openai_codec():
    """Its files are those of tools/make_golden_codecs.py: this one stays beside the DALLE."""
    vae = OpenAIDiscreteVAE.__new__(OpenAIDiscreteVAE)
    torch.nn.Module.__init__(vae)
    vae.enc, vae.dec = (torch.load(DATA / f"codecs_{side}.pkl", weights_only=False) for side in ("encoder", "decoder"))
    vae.num_layers, vae.image_size, vae.num_tokens = 3, 24, 40
    return vae


def vqgan_codec():
    vae = VQGanVAE.__new__(VQGanVAE)
    torch.nn.Module.__init__(vae)
    network = dict(double_z=False, z_channels=4, resolution=8, in_channels=3, out_ch=3, ch=32, ch_mult=(1, 1),
                   num_res_blocks=1, attn_resolutions=[4], dropout=0.0)
    vae.model = VQModel(network, {"target": "torch.nn.Identity"}, 12, 4)
    vae.model.loss = torch.nn.Linear(2, 2)  # as its discriminator, which is in these files too
    vae.num_layers, vae.image_size, vae.num_tokens, vae.is_gumbel = 1, 8, 12, False
    return vae


def logits_of(model, text, codes, null=0.0):
    with torch.no_grad():  # the class zeroes the text in place
        return model(text.clone(), codes, null_cond_prob=null)


def greedy_codes(model, text, cells, guidance=1.0):
    codes = torch.zeros(len(text), 0, dtype=torch.long)
    for _ in range(cells):
        best = logits_of(model, text, codes)[:, -1, model.num_text_tokens:]
        if guidance != 1:
            null = logits_of(model, text, codes, 1.0)[:, -1, model.num_text_tokens:]
            best = null + guidance * (best - null)
        codes = torch.cat([codes, best.argmax(-1)[:, None]], 1)
    return codes


def picture_of(vae, codes):
    with torch.no_grad():
        pixels = vae.decode(codes)
    return (pixels * 0.5 + 0.5 if isinstance(vae, DiscreteVAE) else pixels).clamp(0, 1)


def make(folder, name, seed):
    torch.manual_seed(seed)
    vae_params, hparams = INSTANCES[name]
    vae = DiscreteVAE(**vae_params) if vae_params else openai_codec() if name == "openai" else vqgan_codec()
    model = DALLE(vae=vae, **hparams).eval()
    for key, p in model.named_parameters():  # norms and scales that matter; values that F16 holds
        if name == "openai" and key.startswith("vae."):
            continue
        if p.ndim == 1 or key.endswith("scale"):
            p.data += 0.3 * torch.randn_like(p)
        p.data = p.data.half().float()
    cells = model.image_seq_len
    text = torch.randint(1, hparams["num_text_tokens"], (2, hparams["text_seq_len"]))
    text[0, -3:] = 0  # padding
    codes = torch.randint(0, vae.num_tokens, (2, cells))
    greedy = greedy_codes(model, text, cells)
    reference = {"text": text, "codes": codes, "greedy": greedy, "logits": logits_of(model, text, codes).clamp(min=-1e30),
                 "logits_null": logits_of(model, text, codes, 1.0)[:1].clamp(min=-1e30),
                 "greedy_guided": greedy_codes(model, text[:1], cells, 3.0), "picture": picture_of(model.vae, greedy[:1])}
    save_file({k: v.float().contiguous() for k, v in reference.items()}, folder / f"{name}.safetensors")
    weights = {k: v if k == "transformer.pos_emb" else v.half() for k, v in model.state_dict().items()}
    if name == "openai":
        weights = {k: v for k, v in weights.items() if not k.startswith("vae.")}
    if name == "absolute":  # as older versions of axial-positional-embedding name them
        weights = {k.replace("image_pos_emb.weights.", "image_pos_emb.weights_"): v for k, v in weights.items()}
    torch.save({"hparams": hparams, "vae_params": vae_params, "epoch": 1, "version": "1.6.6",
                "vae_class_name": type(vae).__name__, "weights": weights, "opt_state": None, "scheduler_state": None},
               folder / f"{name}.pt")


def make_clip(folder, seed):
    torch.manual_seed(seed)
    model = CLIP(dim_text=20, dim_image=24, dim_latent=12, num_text_tokens=520, text_enc_depth=2, text_seq_len=6,
                 text_heads=1, visual_enc_depth=1, visual_heads=2, visual_image_size=16, visual_patch_size=4).eval()
    for p in model.parameters():
        p.data = (p.data + 0.3 * torch.randn_like(p) * (p.ndim == 1 or p.shape[:2] == (1, 1))).half().float()
    text = torch.randint(1, 520, (3, 6))
    text[0, -2:] = 0
    pixels = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8)
    with torch.no_grad():
        scores = model(text, pixels.permute(0, 3, 1, 2) / 255.0)
    save_file({"text": text.float(), "pixels": pixels.float(), "scores": scores}, folder / "clip.safetensors")
    torch.save({k: v.half() for k, v in model.state_dict().items()}, folder / "clip.pt")


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "tests/data/dallepy")
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    seed = 10 * int(sys.argv[2] if len(sys.argv) > 2 else 1)
    for i, name in enumerate(INSTANCES):
        make(folder, name, seed + i)
    make_clip(folder, seed)


if __name__ == "__main__":
    main()
