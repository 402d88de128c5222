"""The slow imports of a run and of the resident, made at once: no device is touched, and nothing is looked at twice for what to free."""

import gc
import sys
from importlib import import_module

NEEDED = {  # down to the classes that the libraries import on first use
    "torch": (),
    "accelerate": ("Accelerator",),
    "diffusers": (
        "AutoencoderKL", "DDIMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler", "StableDiffusionPipeline",
        "UNet2DConditionModel", "UniPCMultistepScheduler",
    ),
    "peft": ("LoraConfig", "inject_adapter_in_model"),
    "transformers": ("CLIPTextModel", "CLIPTokenizer"),
    "PIL.Image": (),
    "PIL.PngImagePlugin": (),
}  # fmt: skip


def load() -> None:
    """Import what is needed, once; half a million objects that stay for good are then left out of every later round of the collector."""
    if all(name in sys.modules for name in NEEDED):
        return
    was_on = gc.isenabled()
    gc.disable()
    try:
        for name, classes in NEEDED.items():
            module = import_module(name)
            for wanted in classes:
                getattr(module, wanted)
        gc.freeze()
    finally:
        if was_on:
            gc.enable()
