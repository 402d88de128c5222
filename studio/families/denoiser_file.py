"""A transformer alone in one .safetensors file, as FLUX.1, Chroma, Z-Image and SD3 are shared: the rest is of a model folder beside it."""

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.folder import check_folder, read_config
from studio.families.header import read_header
from studio.families.import_names import RULES
from studio.families.signatures import CHECKPOINT, identify

if TYPE_CHECKING:
    from torch import Tensor, nn

KINDS = {  # what such a file is -> the pipelines of the folders that its other parts may come from
    "FLUX.1 dev": ("FluxPipeline",), "FLUX.1 schnell": ("FluxPipeline",), "FLUX.1": ("FluxPipeline",),
    "Chroma": ("ChromaPipeline",), "Z-Image": ("ZImagePipeline",), "Stable Diffusion 3": ("StableDiffusion3Pipeline",),
}  # fmt: skip
PREFIX = "model.diffusion_model."
MORE = (  # beside the layers that adapters know: (their name with {} for a number, ours)
    ("double_blocks.{}.img_attn.norm.query_norm", "transformer_blocks.{}.attn.norm_q"),
    ("double_blocks.{}.img_attn.norm.key_norm", "transformer_blocks.{}.attn.norm_k"),
    ("double_blocks.{}.txt_attn.norm.query_norm", "transformer_blocks.{}.attn.norm_added_q"),
    ("double_blocks.{}.txt_attn.norm.key_norm", "transformer_blocks.{}.attn.norm_added_k"),
    ("single_blocks.{}.norm.query_norm", "single_transformer_blocks.{}.attn.norm_q"),
    ("single_blocks.{}.norm.key_norm", "single_transformer_blocks.{}.attn.norm_k"),
    ("distilled_guidance_layer.layers.{}.in_layer", "distilled_guidance_layer.layers.{}.linear_1"),
    ("distilled_guidance_layer.layers.{}.out_layer", "distilled_guidance_layer.layers.{}.linear_2"),
)
PARTS_OF_Z_IMAGE = ("layers", "noise_refiner", "context_refiner")
MORE_OF_Z_IMAGE = (
    *((f"{p}.{{}}.attention.{n}_norm", f"{p}.{{}}.attention.norm_{n}") for p in PARTS_OF_Z_IMAGE for n in "qk"),
    ("x_embedder", "all_x_embedder.2-1"),
    ("final_layer.linear", "all_final_layer.2-1.linear"),
    ("final_layer.adaLN_modulation.{}", "all_final_layer.2-1.adaLN_modulation.{}"),
)  # fmt: skip


def is_one(path: Path, pipelines: set[str]) -> bool:
    """Whether the file is the transformer of one of these pipelines; StudioError where it is, and no folder for the rest lies beside it."""
    kind = identify(path)
    if kind.what != CHECKPOINT or not pipelines & set(KINDS.get(kind.title, ())):
        return False
    if find_rest(path) is None:
        raise StudioError(
            f"{path}: this is {kind.words()}, its transformer alone: put a diffusers folder of {kind.title} beside it, "
            "from which text encoders and autoencoder are taken"
        )
    return True


def find_rest(path: Path) -> Path | None:
    """The model folder beside such a file that has its other parts, the first by name; None for other files, or where there is none."""
    wanted: tuple[str, ...] = ()
    with contextlib.suppress(StudioError):  # of a damaged file others tell
        wanted = KINDS.get(identify(path).title, ()) if path.is_file() else ()
    for folder in sorted(path.parent.iterdir()) if wanted else ():
        with contextlib.suppress(StudioError, OSError):
            if (folder / "model_index.json").is_file() and check_folder(folder).get("_class_name") in wanted:
                return folder
    return None


def load(path: Path, config: Path, cls: Any) -> "nn.Module":
    """The transformer in the precision it is stored in, of the widths of this configuration; StudioError unless every tensor fits."""
    from accelerate import init_empty_weights

    from studio.families.single_file import fill, read_tensors

    values = read_config(config)
    header = read_header(path)
    if "guidance_embeds" in values:
        values["guidance_embeds"] = "guidance_in." in header.text or "guidance_embedder." in header.text
    prefix = PREFIX if header.has(PREFIX) else ""

    def make() -> "nn.Module":
        return cls.from_config(values)

    with init_empty_weights():
        shapes = {name: tuple(value.shape) for name, value in make().state_dict().items()}
    theirs = {name.removeprefix(prefix): value for name, value in read_tensors(path, prefix).items()}
    ours = _sd3_to_ours(path, theirs) if any(name.startswith("joint_blocks.") for name in theirs) else None
    return fill(path, "transformer", make, ours or _to_ours(theirs, shapes, cls.__name__))


def _sd3_to_ours(path: Path, state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Tensors of Stable Diffusion 3 by our names, as diffusers converts them; StudioError where one that it needs is missing."""
    from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers

    left = dict(state)
    try:
        ours = convert_sd3_transformer_checkpoint_to_diffusers(left)
    except LookupError as error:
        raise StudioError(f"{path}: tensor {str(error).strip(chr(39))[:200]} of its transformer is missing: fetch it again") from None
    return ours | left  # what it did not know is refused by name


def _to_ours(state: "dict[str, Tensor]", shapes: dict[str, tuple[int, ...]], kind: str) -> "dict[str, Tensor]":
    """Tensors by our names: renamed, fused ones taken apart by the rows that ours have, the last modulation's halves swapped."""
    import torch

    more = MORE_OF_Z_IMAGE if kind.startswith("ZImage") else MORE
    rules = [(re.compile(re.escape(a).replace(r"\{\}", r"(\d+)")), b) for a, b in (*RULES[kind], *((a, (b,)) for a, b in more))]
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        name, _, part = key.rpartition(".")
        part = "weight" if part == "scale" else part
        if name == "final_layer.adaLN_modulation.1" and "norm_out.linear.weight" in shapes:  # shift and scale; diffusers: scale and shift
            ours[f"norm_out.linear.{part}"] = torch.cat(value.chunk(2)[::-1])
            continue
        found = next(((match, told) for rule, told in rules if (match := rule.fullmatch(name))), None)
        names = [f"{n.format(*found[0].groups())}.{part}" for n in found[1]] if found else [f"{name}.{part}"]
        rows = [shapes[n][0] if n in shapes else 0 for n in names]
        if len(names) > 1 and sum(rows) == len(value):
            ours |= {n: piece.clone() for n, piece in zip(names, value.split(rows), strict=True)}
        elif key != "norm_final.weight":  # left over in Z-Image's files, and read by nothing
            ours[names[0] if name else key] = value
    return ours
