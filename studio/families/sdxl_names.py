"""What other programs' files call the tensors of Stable Diffusion XL: checkpoints and adapters, both with Stability's own names."""

from typing import TYPE_CHECKING

from studio.families.sd_names import flat_text, kohya_text_name, open_clip, unet_and_vae, unet_name

if TYPE_CHECKING:
    from studio.families.base import Parts
    from studio.families.sd_names import State

PER_LEVEL, ATTENDED = 3, [True, True, False]  # of the published UNet: blocks per level, and which up blocks have attention
CLIP, OPEN_CLIP = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
KOHYA_TEXT = {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}


def kohya_name(layer: str, stability: bool = True) -> str:
    """What kohya's adapter files call a layer, `unet.…` (as Stability counts, or diffusers), `text_encoder.…` or `text_encoder_2.…`."""
    component, _, path = layer.partition(".")
    if component in KOHYA_TEXT:
        return kohya_text_name(KOHYA_TEXT[component], path)
    if not stability:
        return f"lora_unet_{path}".replace(".", "_")
    return f"lora_unet_{unet_name(path + '.weight', PER_LEVEL, ATTENDED).removesuffix('.weight')}".replace(".", "_")


def checkpoint(parts: "Parts") -> "State":
    """All tensors of the base, as they are now, under the names of a single checkpoint file."""
    second = flat_text(parts.modules["text_encoder_2"])
    projection = second.pop("text_projection.weight")
    tensors = unet_and_vae(parts.modules["unet"], parts.modules["vae"]) | open_clip(second, OPEN_CLIP)
    tensors[OPEN_CLIP + "text_projection"] = projection.T.contiguous()  # OpenCLIP multiplies from the other side
    return tensors | {CLIP + name: value for name, value in flat_text(parts.modules["text_encoder"]).items()}
