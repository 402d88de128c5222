"""Stable Diffusion 1.x and 2.x as one .safetensors file with the original (CompVis) tensor names: recognised and loaded offline.

Sizes are read from the tensors' shapes. What shapes cannot tell (activations, norms, noise schedule, tokenizer) is in assets/configs.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from studio.errors import StudioError, first_line
from studio.families.bundled import CONFIGS
from studio.families.bundled import read as bundled
from studio.families.editions import says
from studio.families.folder import INPAINTING
from studio.families.header import Header, read_header
from studio.families.kl_file import kl_config, kl_state
from studio.families.pieces import Piece, find_vae
from studio.families.signatures import kind_of
from studio.families.signs import ADAPTER, EMBEDDING
from studio.families.tensors import fill, read_tensors
from studio.families.unet_shapes import HEAD_WIDTH, UNET, unet_config

if TYPE_CHECKING:
    from diffusers import DDIMScheduler
    from torch import Tensor, nn
    from transformers import CLIPTokenizer

    State = dict[str, Tensor]

VAE = "first_stage_model."
CLIP = "cond_stage_model.transformer."  # text encoder of 1.x
OPEN_CLIP = "cond_stage_model.model."  # text encoder of 2.x
VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
TEXT_PARTS = ("embeddings.", "encoder.", "final_layer_norm.")
OPEN_CLIP_NAMES = (
    ("transformer.resblocks.", "encoder.layers."), (".ln_", ".layer_norm"), (".attn.", ".self_attn."), (".c_fc.", ".fc1."),
    (".c_proj.", ".fc2."), ("ln_final.", "final_layer_norm."), ("token_embedding.", "embeddings.token_embedding."),
    ("positional_embedding", "embeddings.position_embedding.weight"),
)  # fmt: skip
V_PREDICTION = r"(?i)(?<![a-z])v[-_ ]?pred"  # in names of files made before marks for it were
PREDICTION_TYPES = {"epsilon": "epsilon", "eps": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction"}


def is_sd(path: Path) -> bool:
    """Whether this is a Stable Diffusion 1.x or 2.x checkpoint, by its header; StudioError if damaged or an adapter."""
    header = read_header(path)
    if not header.has(UNET + "input_blocks."):
        _refuse_adapter(header)
        return False
    if header.has(UNET + "label_emb."):  # SDXL, upscaler, unCLIP
        return False
    if not (header.has(CLIP) or header.has(OPEN_CLIP)):
        if not (header.has(VAE) and re.match(r"Stable Diffusion [12]", kind_of(header).title)):
            return False
        raise StudioError(f"{path}: this file has no text encoder: use a copy of the model that has one, or its diffusers folder")
    vae_of(header)
    return True


def _refuse_adapter(header: Header) -> None:
    kind = {ADAPTER: "an adapter (LoRA)", EMBEDDING: "an embedding (textual inversion)"}.get(kind_of(header).what)
    if kind:
        raise StudioError(f"{header.path}: this is {kind}, not a base model: give the base model that it was made for")


def load_sd(path: Path) -> "tuple[dict[str, nn.Module], dict[str, CLIPTokenizer], DDIMScheduler]":
    """The modules unet, vae and text_encoder in the precision they are stored in, the tokenizer by its name, and the noise schedule.

    StudioError if a tensor is missing or does not fit: no weight is ever left at random.
    """
    try:
        return _load(read_header(path))
    except StudioError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError) as error:  # shapes that no model of this kind has
        raise no_model(path, error) from error


def no_model(path: Path, error: Exception) -> StudioError:
    """What is said where a library cannot make a model of a file's tensors."""
    return StudioError(f"{path}: its tensors make no Stable Diffusion model ({type(error).__name__}: {first_line(error)}): fetch it again")


def _load(header: Header) -> "tuple[dict[str, nn.Module], dict[str, CLIPTokenizer], DDIMScheduler]":
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder = CONFIGS / ("sd21" if is_second(header) else "sd15")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    unet, vae, text = unet_config(header, folder), vae_config(header, folder), _text_config(header, folder)
    check_text(header.path, text, len(tokenizer))
    if text["hidden_size"] != unet["cross_attention_dim"]:
        widths = f"its text encoder is {text['hidden_size']} wide, but its UNet reads {unet['cross_attention_dim']}"
        raise StudioError(f"{header.path}: {widths}: use another copy of the model")
    modules = unet_and_vae(header, unet, vae)
    state = _text_state(header, text["num_hidden_layers"])
    modules["text_encoder"] = fill(header.path, "text encoder", lambda: CLIPTextModel(CLIPTextConfig(**text)), state)
    return modules, {"tokenizer": tokenizer}, schedule(header, folder, modules, 512)


def unet_and_vae(header: Header, unet: dict, vae: dict, state: "State | None" = None) -> "dict[str, nn.Module]":
    """Both modules, of these configurations; `state` = the UNet's tensors, where they are not in the file by the original names.

    StudioError if a tensor is missing or does not fit.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    state = read_tensors(header.path, UNET) if state is None else state
    if any(name.startswith(UNET) for name in state):
        state = convert_ldm_unet_checkpoint(state, unet)
    modules = {"unet": fill(header.path, "UNet", lambda: UNet2DConditionModel.from_config(unet), state)}
    piece = vae_of(header)
    state = {name.removeprefix(piece.root): value for name, value in read_tensors(piece.path, piece.root).items()}
    state = {name: value for name, value in kl_state(state, vae).items() if name.startswith(VAE_PARTS)}
    return modules | {"vae": fill(piece.path, "VAE", lambda: AutoencoderKL.from_config(vae), state)}


def is_second(header: Header) -> bool:
    """Whether this is Stable Diffusion 2.x, by its text encoder, or where it lies elsewhere by its linear layers around attention."""
    if header.has(OPEN_CLIP) or header.has(CLIP) or header.has(UNET + "label_emb."):
        return header.has(OPEN_CLIP)
    return any(name.endswith(".1.proj_in.weight") and len(shape) == 2 for name, shape in header.shapes.items())


def check_text(path: Path, text: dict, num_tokens: int) -> None:
    """StudioError unless a text encoder of this configuration knows just the tokens of CLIP's tokenizer."""
    if text["vocab_size"] != num_tokens:
        known = f"its text encoder knows {text['vocab_size']} tokens, CLIP's tokenizer {num_tokens}"
        raise StudioError(f"{path}: {known}: give this model as a diffusers folder, which brings its own tokenizer")


def vae_config(header: Header, folder: Path) -> dict:
    """The bundled VAE configuration with the file's own widths and levels."""
    piece = vae_of(header)
    return kl_config(piece.header, piece.root, bundled(folder, "vae/config.json"))


def vae_of(header: Header) -> Piece:
    """The file's autoencoder, or one near it; StudioError where there is none."""
    if header.has(VAE):
        _check_latents(header)
        return Piece("kl", header.path, VAE, 0)
    if (piece := find_vae(header.path)) is None:
        usual = "sdxl_vae.safetensors" if header.has(UNET + "label_emb.") else "vae-ft-mse-840000-ema-pruned.safetensors"
        raise StudioError(
            f"{header.path}: this file has no VAE: use a copy of the model that has one, or put its VAE (usually {usual}) beside it, "
            f"or into vae next to the folder {header.path.parent.name}"
        )
    return piece


def _check_latents(header: Header) -> None:
    """StudioError where the file's autoencoder makes other latents than its UNet reads."""
    makes, reads = header.shapes.get(VAE + "decoder.conv_in.weight", ()), header.shapes.get(UNET + "input_blocks.0.0.weight", ())
    if len(makes) == len(reads) == 4 and makes[1] != reads[1]:
        if reads[1] in INPAINTING:
            raise StudioError(f"{header.path}: this is an inpainting or depth model ({reads[1]} input channels): use its plain version")
        told = f"its VAE has {makes[1]} latent channels, its UNet reads {reads[1]}"
        raise StudioError(f"{header.path}: {told}: use the plain model with the VAE that belongs to it")


def _text_config(header: Header, folder: Path) -> dict:
    """The bundled text encoder configuration with the file's own sizes; 2.x uses all blocks of OpenCLIP but the last."""
    config = bundled(folder, "text_encoder/config.json")
    if header.has(OPEN_CLIP):
        return config | open_clip_sizes(header, OPEN_CLIP)
    return config | clip_sizes(header, CLIP, config)


def clip_sizes(header: Header, root: str, config: dict) -> dict:
    """The sizes of a CLIP text encoder under `root`; the depth too where it is not as wide as the published one."""
    prefix = root + ("text_model." if header.has(root + "text_model.") else "")
    layers = prefix + "encoder.layers."
    tokens, places = header.shape(prefix + "embeddings.token_embedding.weight"), prefix + "embeddings.position_embedding.weight"
    own = {} if tokens[1] == config["hidden_size"] else {"num_hidden_layers": header.count(layers)}
    return own | _sizes(tokens, header.shape(places)[0], header.shape(layers + "0.mlp.fc1.weight")[0])


def open_clip_sizes(header: Header, root: str) -> dict:
    """The sizes of an OpenCLIP text encoder under `root`."""
    hidden = header.shape(root + "transformer.resblocks.0.mlp.c_fc.weight")[0]
    return _sizes(header.shape(root + "token_embedding.weight"), header.shape(root + "positional_embedding")[0], hidden)


def _sizes(tokens: tuple[int, ...], places: int, hidden: int) -> dict:
    heads = max(1, tokens[1] // HEAD_WIDTH)
    told = {"vocab_size": tokens[0], "hidden_size": tokens[1], "num_attention_heads": heads}
    return told | {"max_position_embeddings": places, "intermediate_size": hidden}


def _text_state(header: Header, num_layers: int) -> "State":
    """A text encoder's tensors by CLIPTextModel's names, which have no leading `text_model.` since transformers 5.6."""
    return open_clip_state(header, OPEN_CLIP, num_layers) if header.has(OPEN_CLIP) else clip_state(header, CLIP)


def clip_state(header: Header, root: str) -> "State":
    """The tensors of a CLIP text encoder under `root`."""
    state = {key.removeprefix(root).removeprefix("text_model."): value for key, value in read_tensors(header.path, root).items()}
    return {key: value for key, value in state.items() if key.startswith(TEXT_PARTS) and not key.endswith("position_ids")}


def open_clip_state(header: Header, root: str, num_layers: int) -> "State":
    """The tensors of the first `num_layers` blocks of an OpenCLIP text encoder under `root`, and of what stands around them."""
    state = {}
    for key, value in read_tensors(header.path, root).items():
        name = key.removeprefix(root)
        for old, new in OPEN_CLIP_NAMES:
            name = name.replace(old, new)
        if name.startswith(f"encoder.layers.{num_layers}."):
            continue
        if ".in_proj_" in name:  # q, k and v above each other
            parts = value.chunk(3)
            state |= {name.replace(".in_proj_", f".{letter}_proj."): parts[i].clone() for i, letter in enumerate("qkv")}
        elif name.startswith(TEXT_PARTS):
            state[name] = value
    return state


def schedule(header: Header, folder: Path, modules: "dict[str, nn.Module]", size_px: int) -> "DDIMScheduler":
    """The noise schedule; notes in the UNet's configuration the picture size: what the file says, else `size_px`, or 768 for 2.x with v."""
    from diffusers import DDIMScheduler

    values, unet = bundled(folder, "scheduler/scheduler_config.json"), modules["unet"]
    vae_scale = 2 ** (len(modules["vae"].config.block_out_channels) - 1)
    values["prediction_type"] = prediction_type(header, unet)
    if "ztsnr" in header.shapes:  # marks training with zero terminal signal-to-noise ratio (Lin 2024)
        values |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if is_second(header) and values["prediction_type"] == "v_prediction":
        size_px = 768
    size_px = header.declared_px or size_px
    unet.register_to_config(sample_size=max(1, size_px // vae_scale))
    return DDIMScheduler.from_config(values)


def prediction_type(header: Header, unet: "nn.Module") -> str:
    """What the UNet predicts: as declared by `modelspec.prediction_type`, a tensor `v_pred` or the name; else 1.x epsilon, 2.x by trial.

    2.x's epsilon and v checkpoints have equal names and shapes; only what they compute differs.
    """
    declared = PREDICTION_TYPES.get(header.metadata.get("modelspec.prediction_type", "").lower())
    if declared:
        return declared
    if "v_pred" in header.shapes or says(header, V_PREDICTION) or (is_second(header) and not returns_noise(unet)):
        return "v_prediction"
    return "epsilon"


def returns_noise(unet: "nn.Module") -> bool:
    """Whether a UNet at its last timestep, where the input is nearly all noise, returns its input, as epsilon models do.

    v models return about minus the picture there, which hardly correlates with the noise.
    """
    import torch

    rng = torch.Generator().manual_seed(0)
    z = torch.randn(2, unet.config.in_channels, 16, 16, generator=rng)
    embeds = torch.randn(2, 77, unet.config.cross_attention_dim, generator=rng)
    with torch.no_grad():
        output = unet(z.to(unet.dtype), torch.tensor(999), embeds.to(unet.dtype)).sample.float()
    pairs = torch.stack([output.flatten(), z[:, : output.shape[1]].flatten()])
    return bool(torch.corrcoef(pairs)[0, 1] > 0.5)
