"""Adapter files and folders on disk, in the layouts other programs read."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from studio.errors import StudioError
from studio.store import sync_folder, write_json, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

CARD_SUFFIX = ".card.md"
LAYOUTS = {  # layout -> (programs that read it, what it is)
    "kohya": (
        "ComfyUI, A1111/Forge, InvokeAI, diffusers",
        "One .safetensors file. In doubt, this one.",
    ),
    "diffusers": ("diffusers, and programs built on it", "One .safetensors file, with its names."),
    "embedding": (
        "ComfyUI, A1111/Forge, InvokeAI, diffusers",
        "One .safetensors file with the new word; its name is the word.",
    ),
    "lycoris": (
        "ComfyUI, InvokeAI",
        "One .safetensors file with LyCORIS' names; diffusers cannot read it.",
    ),
    "peft": ("PEFT, in your own Python", "A folder as PEFT saves it, packed as .zip."),
    "model": ("diffusers, InvokeAI, and this studio as a base", "The whole tuned model as a diffusers folder, packed as .zip."),
    "checkpoint": ("ComfyUI, A1111/Forge, InvokeAI, diffusers", "The whole tuned model as one .safetensors file."),
    "extracted": (
        "ComfyUI, A1111/Forge, InvokeAI, diffusers",
        "A LoRA taken out of the tuned model: small, and as near to it as its rank allows.",
    ),
}
FOLDERS = ("peft", "model")  # layouts that are no single file


def check_target(out: Path, layout: str) -> Path:
    """`out` as an absolute path that can be written without losing anything; StudioError otherwise."""
    out = out.expanduser().resolve()
    if layout not in FOLDERS and out.suffix != ".safetensors":
        raise StudioError(f"--out {out}: give a file name that ends in .safetensors")
    if layout in FOLDERS and out.suffix == ".safetensors":
        raise StudioError(f"--out {out}: {layout} writes a folder: give a name without .safetensors")
    for path in (out, card_path(out)):
        if path.exists():
            raise StudioError(f"--out {path} exists already and is not overwritten: choose another name, or move it away")
    return out


def file_name(stem: str, layout: str) -> str:
    """What an export of this layout is called: a file, or a folder."""
    return stem if layout in FOLDERS else f"{stem}.safetensors"


def card_path(out: Path) -> Path:
    """Where the model card of an export goes: beside a file, inside a folder."""
    return out / "README.md" if out.suffix != ".safetensors" else out.with_name(out.stem + CARD_SUFFIX)


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A temporary place beside `out`, moved there when the block succeeds, removed when it does not. StudioError where `out` exists."""
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out.parent)
    folder = Path(tempfile.mkdtemp(prefix=f".tmp-{os.getpid()}-", dir=out.parent))
    try:
        yield folder / out.name
        if out.exists():
            raise StudioError(f"--out {out} exists already and is not overwritten: choose another name, or move it away")
        os.replace(folder / out.name, out)
        sync_folder(out.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Take away what processes that were killed here have left unfinished."""
    for place in folder.glob(".tmp-*-*"):
        found = re.match(r"\.tmp-(\d{1,9})-", place.name)
        if found and place.is_dir() and not psutil.pid_exists(int(found[1])):
            shutil.rmtree(place, ignore_errors=True)


def write_adapter(target: Path, tensors: "dict[str, Tensor]", metadata: dict[str, str], layout: str, config: dict[str, Any]) -> None:
    """Write an adapter: one file, or for PEFT a folder with one sub-folder per further component."""
    if layout != "peft":
        write_tensors(target, tensors, metadata)
        return
    components = list(dict.fromkeys(name.partition("/")[0] for name in tensors))
    for number, component in enumerate(sorted(components, reverse=True)):  # the denoiser's files lie in the folder itself
        folder = target if number == 0 else target / component
        own = {n.partition("/")[2]: t for n, t in tensors.items() if n.startswith(component + "/")}
        write_tensors(folder / "adapter_model.safetensors", own, {"format": "pt"})
        write_json(folder / "adapter_config.json", config[component])
