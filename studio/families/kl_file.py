"""A KL autoencoder among the tensors of a file, in the original names or in diffusers': its configuration and its state."""

from typing import TYPE_CHECKING

from studio.families.header import Header

if TYPE_CHECKING:
    from studio.families.tensors import State


def kl_config(header: Header, root: str, config: dict) -> dict:
    """The bundled configuration with the widths and levels of the autoencoder under `root`."""
    is_ours = header.has(root + "encoder.down_blocks.")
    first, block = ("encoder.down_blocks.", "resnets") if is_ours else ("encoder.down.", "block")
    levels = range(header.count(root + first))
    told = {
        "in_channels": header.shape(root + "encoder.conv_in.weight")[1],
        "out_channels": header.shape(root + "decoder.conv_out.weight")[0],
        "latent_channels": header.shape(root + "decoder.conv_in.weight")[1],
        "block_out_channels": [header.shape(f"{root}{first}{level}.{block}.0.conv1.weight")[0] for level in levels],
        "layers_per_block": header.count(f"{root}{first}0.{block}."),
        "down_block_types": ["DownEncoderBlock2D" for _ in levels],
        "up_block_types": ["UpDecoderBlock2D" for _ in levels],
    }
    if "use_quant_conv" in config:  # elsewhere every model has it
        has_quant = header.has(root + "quant_conv.") or header.has(root + "encoder.quant_conv.")
        told |= {"use_quant_conv": has_quant, "use_post_quant_conv": has_quant}
    return config | told


def kl_state(state: "State", config: dict) -> "State":
    """The tensors, without what stood before their names, by diffusers' names."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    if any(name.startswith("encoder.down_blocks.") for name in state):
        return state
    for side, name in (("encoder", "quant_conv"), ("decoder", "post_quant_conv")):  # which FLUX.2's makers put inside
        state = {n.replace(f"{side}.{name}.", f"{name}."): value for n, value in state.items()}
    return convert_ldm_vae_checkpoint(state, config)
