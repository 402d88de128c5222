"""Captioner folders from outside: told by their `config.json`, looked over before anything in them is loaded."""

from pathlib import Path
from types import ModuleType
from typing import Any

from studio import registry
from studio.errors import StudioError, printable
from studio.families.folder import check_no_code, read_config, refuse_pickle

MAX_NAME = 80


def kind_of(folder: Path) -> str | None:
    """The key of the captioner whose weights lie in `folder`; None where it is none that is known. Nothing is checked yet."""
    names = _architectures(folder)
    for key in registry.CAPTIONERS:
        facts = registry.captioner(key).FACTS
        if names & set(facts.architectures) or (facts.files and all((folder / name).is_file() for name in facts.files)):
            return key
    return None


def _architectures(folder: Path) -> set[str]:
    file = folder / "config.json"
    if not file.is_file():
        return set()
    found = read_config(file).get("architectures")
    return {name for name in found if isinstance(name, str)} if isinstance(found, list) else set()


def read_architecture(folder: Path, known: tuple[str, ...]) -> str:
    """The one of the `known` classes that the folder's config.json names."""
    return next(name for name in known if name in _architectures(folder))


def open_folder(folder: Path) -> tuple[str, ModuleType]:
    """(key, module) of the captioner in `folder`; StudioError in one line where it is none, is not whole, or carries code."""
    known = ", ".join(registry.captioner(key).FACTS.title for key in registry.CAPTIONERS if registry.captioner(key).FACTS.needs_folder)
    refuse_pickle(folder)
    if not folder.is_dir():
        raise StudioError(f"{folder}: no captioner is there: give a folder with config.json and .safetensors weights of {known}")
    if (folder / "model_index.json").is_file():
        raise StudioError(f"{folder}: this is a model that draws, not one that captions: give a folder with one of {known}")
    key = kind_of(folder)
    if key is None:
        named = ", ".join(sorted(_architectures(folder)))
        what = f"{printable(named)[:MAX_NAME]} is no captioner" if named else "no captioner's config.json is here; what can be used is one"
        raise StudioError(f"{folder}: {what} that is known here; known are: {known}")
    module = registry.captioner(key)
    try:
        check_no_code(folder)
    except StudioError as error:
        raise StudioError(f"{error}; one without it: {module.FACTS.hub_id}" if module.FACTS.hub_id else str(error)) from None
    if module.FACTS.architectures:
        _check_weights(folder)
    return key, module


def _check_weights(folder: Path) -> None:
    weights = [file for file in folder.iterdir() if file.suffix == ".safetensors"]
    if not weights:
        refused = sorted(folder.glob("*.bin")) or sorted(folder.glob("*.pt*"))
        if refused:
            refuse_pickle(refused[0])
        raise StudioError(f"{folder}: no .safetensors weights are here: fetch the captioner again, whole")


def facts_of(folder: Path, key: str) -> dict[str, Any]:
    """What pages and lists show of a captioner's folder: {"captioner", "kind", "bytes"}; nothing is opened."""
    size = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in (".safetensors", ".onnx") and file.is_file())
    return {"captioner": str(folder), "kind": key, "bytes": size}
