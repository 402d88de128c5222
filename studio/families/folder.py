"""Model folders and files from outside: looked over before anything in them is loaded."""

import json
from pathlib import Path

from studio.errors import StudioError

PICKLES = {".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"}
ACTIVE_KEYS = {"auto_map", "trust_remote_code", "auto_mapping", "custom_pipeline"}


def refuse_pickle(path: Path) -> None:
    """StudioError for a file format that can run code when it is opened."""
    if path.suffix.lower() in PICKLES:
        raise StudioError(
            f"{path}: {path.suffix} files can run code when opened and are never loaded: fetch or convert the model as .safetensors"
        )


def check_folder(folder: Path) -> dict:
    """The model_index.json of a diffusers folder that carries no code; StudioError, naming the file, otherwise."""
    index_file = folder / "model_index.json"
    if not index_file.is_file():
        raise StudioError(f"{folder}: no model_index.json here: point to a diffusers model folder or to one .safetensors file")
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() == ".py":
            raise StudioError(
                f"{folder}: {file.relative_to(folder)} is a program; folders with code are never loaded: remove it, or use another copy"
            )
        if file.suffix == ".json" and file.name.endswith(("config.json", "model_index.json")):
            _check_config(folder, file)
    return read_config(index_file)


def _check_config(folder: Path, file: Path) -> None:
    values = read_config(file)
    active = sorted(ACTIVE_KEYS & values.keys())
    if active:
        raise StudioError(
            f"{folder}: {file.relative_to(folder)} asks for code ({active[0]}); such models are never loaded: use another copy"
        )
    if not isinstance(values.get("_class_name", ""), str):
        raise StudioError(f"{folder}: {file.relative_to(folder)} names a custom class; such models are never loaded: use another copy")


def read_config(file: Path) -> dict:
    """A configuration file's values; StudioError naming it where it is damaged."""
    try:
        values = json.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise StudioError(f"{file} cannot be read as JSON ({error}): fetch the model again") from None
    if not isinstance(values, dict):
        raise StudioError(f"{file} is not a configuration: fetch the model again")
    return values


def component(folder: Path, name: str) -> Path:
    """The folder of a component; of old models whose parts lie side by side, the model's own."""
    return folder / name if (folder / name).is_dir() else folder


def weight_variant(folder: Path, stem: str) -> str | None:
    """Which variant of `stem`.safetensors (single or sharded) a component folder holds: None = plain, or e.g. "fp16"."""
    names = [f.name for f in folder.glob("*.safetensors")]
    if any(n == f"{stem}.safetensors" or n.startswith(f"{stem}-0") for n in names):
        return None
    variants = sorted(n[len(stem) + 1 :].split(".")[0].split("-")[0] for n in names if n.startswith(f"{stem}."))
    if variants:
        return variants[0]
    others = sorted(f.name for f in folder.glob("*") if f.suffix in PICKLES)
    if others:
        refuse_pickle(folder / others[0])
    raise StudioError(f"{folder}: no {stem}.safetensors here: fetch the model again, with its safetensors weights")
