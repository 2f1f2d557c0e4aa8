"""The nodes.  ComfyUI's IMAGE is float [n, H, W, 3] in 0..1, its MASK float [n, H, W] with 1 where a picture is to change."""

import os

import limn
import numpy as np
import torch

try:
    import comfy.model_management
    import comfy.utils
    import folder_paths
except ImportError:  # outside of ComfyUI
    comfy = folder_paths = None

BUILT_IN = "the small model that is built in"
OWN = -1.0  # of a number: the model's own
SAMPLERS = [
    "the model's own", "ddim", "pndm", "euler", "euler_karras", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "dpmpp_2m_sde",
    "dpmpp_2m_sde_karras", "lcm",
]  # fmt: skip

if folder_paths is not None and "limn" not in folder_paths.folder_names_and_paths:
    _folder = os.path.join(folder_paths.models_dir, "limn")
    os.makedirs(_folder, exist_ok=True)
    folder_paths.folder_names_and_paths["limn"] = ([_folder], {".gguf"})


class LimnModel:
    """Opens a model: one of models/limn, or the one that is built in."""

    CATEGORY = "limn"
    FUNCTION = "open"
    RETURN_TYPES = ("LIMN_MODEL",)
    RETURN_NAMES = ("model",)

    @classmethod
    def INPUT_TYPES(cls):
        files = folder_paths.get_filename_list("limn") if folder_paths is not None else []
        return {
            "required": {"model": ([BUILT_IN, *files],)},
            "optional": {
                "device": ("STRING", {"default": "", "tooltip": "auto, cpu, gpu, igpu, a number, or a part of its name"})
            },
        }

    def open(self, model, device=""):
        path = None if model == BUILT_IN else folder_paths.get_full_path("limn", model)
        return (limn.Model(path, device or None),)


class LimnGenerate:
    """Draws pictures, those of `limn generate` with the same settings."""

    CATEGORY = "limn"
    FUNCTION = "generate"
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("pictures", "settings")

    @classmethod
    def INPUT_TYPES(cls):
        number = {"default": OWN, "min": OWN, "step": 0.05, "tooltip": "-1: the model's own"}
        return {
            "required": {
                "model": ("LIMN_MODEL",),
                "prompt": ("STRING", {"multiline": True, "default": "a panda"}),
                "seed": ("INT", {"default": 1, "min": 0, "max": 2**64 - 1, "control_after_generate": True}),
                "count": ("INT", {"default": 1, "min": 1, "max": 1000}),
                "temperature": ("FLOAT", {**number, "max": 100.0}),
                "guidance": ("FLOAT", {**number, "max": 1000.0}),
                "top_k": ("INT", {"default": -1, "min": -1, "max": 10**9, "tooltip": "-1: the model's own; 0: all"}),
                "top_p": ("FLOAT", {**number, "max": 1.0}),
            },
            "optional": {
                "negative": ("STRING", {"multiline": True, "default": ""}),
                "image_prompt": ("IMAGE",),
                "mask": (
                    "MASK",
                    {"tooltip": "what is drawn anew of the image prompt; without one its lower half, or by diffusion all"},
                ),
                "strength": (
                    "FLOAT",
                    {**number, "max": 1.0, "tooltip": "of models that draw in steps: how much of the image prompt changes"},
                ),
                "steps": ("INT", {"default": 0, "min": 0, "max": 1000, "tooltip": "0: the model's own"}),
                "sampler": (SAMPLERS, {"default": SAMPLERS[0], "tooltip": "of diffusion models"}),
            },
        }

    def generate(
        self,
        model,
        prompt,
        seed,
        count=1,
        temperature=OWN,
        guidance=OWN,
        top_k=-1,
        top_p=OWN,
        negative="",
        image_prompt=None,
        mask=None,
        strength=OWN,
        steps=0,
        sampler=SAMPLERS[0],
    ):
        settings = {"temperature": temperature, "guidance": guidance, "top_k": top_k, "top_p": top_p}
        settings = {name: value for name, value in settings.items() if value >= 0}
        if steps > 0:
            settings["steps"] = steps
        if sampler != SAMPLERS[0]:
            settings["sampler"] = sampler
        if negative:
            settings["negative"] = negative
        if image_prompt is not None:
            settings["image_prompt"] = _bytes(image_prompt[0])
        if image_prompt is not None and strength > 0:
            settings["strength"] = strength
        if image_prompt is not None and mask is not None:
            anew = _bytes(mask[0] if mask.ndim == 3 else mask)
            settings.update({"mask": anew} if model.info.latent_channels else {"keep": 255 - anew})
        pictures = model.generate(prompt, n=count, seed=seed, progress=_progress(), **settings)
        pixels = np.stack([np.asarray(p) for p in pictures]).astype(np.float32) / 255
        return (torch.from_numpy(pixels), pictures[0].info["parameters"])


def _bytes(a):
    """u8 of ComfyUI's floats."""
    return np.rint(255 * np.clip(np.asarray(a, np.float32), 0, 1)).astype(np.uint8)


def _progress():
    """ComfyUI's bar, and its button that ends a run."""
    if comfy is None:
        return None
    bar = comfy.utils.ProgressBar(100)

    def progress(done, total):
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return progress


NODE_CLASS_MAPPINGS = {"LimnModel": LimnModel, "LimnGenerate": LimnGenerate}
NODE_DISPLAY_NAME_MAPPINGS = {"LimnModel": "Open a limn model", "LimnGenerate": "Draw with limn"}
