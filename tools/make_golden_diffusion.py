#!/usr/bin/env python3
"""Writes tests/data/golden/diffusion/deep and small: tiny instances of kinds of Stable Diffusion that the folders beside
them lack, with random weights, and what diffusers makes of them.  What they don't have is sd15's.

  deep   transformers of two blocks, three in the middle; an offset of the times that diffusers' pipelines correct
  small  no middle, attention in the last level too (as Kim et al. 2023 have it); noise up to the last bit of a picture
         (rescale_betas_zero_snr), and clip_sample, which diffusers' pipelines correct; tokenizer and text encoder as transformers from 5 on writes them: tokenizer.json
         alone, names without text_model

Needs `pip install torch diffusers transformers pillow`; written by 0.42.1 and 5.24.0.
"""
import json
import shutil
from pathlib import Path

import diffusers
import diffusers.schedulers.scheduling_euler_ancestral_discrete as euler_a
import numpy as np
import torch
from diffusers import (AutoencoderKL, DDIMScheduler, EulerAncestralDiscreteScheduler, StableDiffusionPipeline,
                       UNet2DConditionModel)
from transformers import CLIPTextModel, CLIPTokenizer

DATA = Path(__file__).resolve().parent.parent / "tests" / "data" / "golden" / "diffusion"
PROMPT = "a photograph of an astronaut riding a horse"
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=0)
SHARED = dict(sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, norm_num_groups=4,
              cross_attention_dim=32)
torch.set_num_threads(1)
torch.set_grad_enabled(False)


def random_unet(seed, **config):
    torch.manual_seed(seed)
    net = UNet2DConditionModel(**SHARED, **config)
    for name, p in net.named_parameters():
        p.mul_(1.5) if p.ndim > 1 else p.add_(torch.randn_like(p) * 0.1)
    return net.half().float()


def reference(out, pipe, cases):
    g = torch.Generator().manual_seed(7)
    arrays = {"initial_noise": torch.randn(1, 4, 8, 8, generator=g), "unet_timestep": torch.tensor([981, 17])}
    context = torch.randn(2, 77, 32, generator=g)
    arrays["unet_context"] = context
    for name, shape, times in (("unet", (2, 4, 8, 8), [981, 17]), ("unet_wide", (1, 4, 7, 11), [333])):
        x = torch.randn(*shape, generator=g)
        arrays[name + "_sample"], arrays[name + "_timestep"] = x, torch.tensor(times)
        arrays[name + "_out"] = pipe.unet(x, torch.tensor(times), context[:shape[0]]).sample
    for case in cases:
        noise, after = [], []

        def draw(shape, **_):
            noise.append(torch.randn(*shape, generator=g))
            return noise[-1]

        euler_a.randn_tensor = draw
        settings = {k: v for k, v in case.items() if k != "name"}
        picture = pipe(**settings, latents=arrays["initial_noise"], output_type="np",
                       callback_on_step_end=lambda p, i, t, kw: after.append(kw["latents"].clone()) or kw).images
        arrays[case["name"] + "_latents"] = torch.cat(after)
        arrays[case["name"] + "_pixels_u8"] = torch.from_numpy(np.round(picture * 255).astype(np.uint8))
        if noise:
            arrays[case["name"] + "_noise"] = torch.cat(noise)
    plain = {k: v.int() if v.dtype == torch.int64 else v for k, v in arrays.items()}
    np.savez_compressed(out / "reference.npz", **{k: v.numpy() for k, v in plain.items()})
    (out / "cases.json").write_text(json.dumps(cases, indent=1))


def write(name, unet, scheduler, cases):
    out, base = DATA / name, DATA / "sd15"
    shutil.rmtree(out, ignore_errors=True)
    scheduler.save_pretrained(out / "scheduler")  # before the pipeline corrects it
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(base / "vae").float(),
        text_encoder=CLIPTextModel.from_pretrained(base / "text_encoder").float(),
        tokenizer=CLIPTokenizer.from_pretrained(base / "tokenizer"), unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    reference(out, pipe, cases)
    unet.half().save_pretrained(out / "unet")
    if name == "small":
        pipe.tokenizer.save_pretrained(out / "tokenizer")
        fresh = CLIPTextModel(pipe.text_encoder.config)  # one that was read keeps its older names
        fresh.load_state_dict(pipe.text_encoder.state_dict())
        fresh.half().save_pretrained(out / "text_encoder")
    for path in out.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def case(name, steps, guidance):
    return dict(num_inference_steps=steps, prompt=PROMPT, height=64, width=64, guidance_scale=guidance, name=name)


write("deep",
      random_unet(1, block_out_channels=(8, 16), attention_head_dim=(2, 4), transformer_layers_per_block=(2, 3),
                  down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                  up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")),
      EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="leading"), [case("euler_a_own", 2, 5.0)])
write("small",
      random_unet(2, block_out_channels=(8, 8, 16), attention_head_dim=4, mid_block_type=None,
                  use_linear_projection=True, down_block_types=("CrossAttnDownBlock2D",) * 3,
                  up_block_types=("CrossAttnUpBlock2D",) * 3),
      DDIMScheduler(**BETAS, clip_sample=True, set_alpha_to_one=False, prediction_type="v_prediction",
                    timestep_spacing="trailing", rescale_betas_zero_snr=True), [case("ddim_own", 3, 1.0)])
