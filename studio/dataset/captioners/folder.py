"""Captioner folders from outside: told by their `config.json`, looked over before anything in them is loaded."""

from pathlib import Path
from types import ModuleType
from typing import Any

from studio import registry
from studio.dataset.captioners.base import Facts
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
    refuse_pickle(folder)
    key = kind_of(folder) if folder.is_dir() and not (folder / "model_index.json").is_file() else None
    if key is None:
        known = ", ".join(facts.title for facts in map(_facts, registry.CAPTIONERS) if facts.needs_folder)
        raise StudioError(f"{folder}: {_what_instead(folder)}; known are: {known}")
    module = registry.captioner(key)
    try:
        check_no_code(folder)
    except StudioError as error:
        raise StudioError(f"{error}; one without it: {module.FACTS.hub_id}" if module.FACTS.hub_id else str(error)) from None
    if module.FACTS.architectures:
        _check_weights(folder)
    return key, module


def _facts(key: str) -> Facts:
    return registry.captioner(key).FACTS


def _what_instead(folder: Path) -> str:
    """What lies at `folder`, where it is no captioner, and the way out."""
    if folder.is_file():
        return "this is a file: give the folder of a captioner, with config.json and .safetensors weights"
    if not folder.is_dir():
        return "no captioner is there: give a folder with config.json and .safetensors weights"
    if (folder / "model_index.json").is_file():
        return "this is a model that draws, not one that captions"
    named = ", ".join(sorted(_architectures(folder))) or _class_name(folder)
    if named:
        return f"{printable(named)[:MAX_NAME]} is no captioner that is known here"
    if (folder / "adapter_config.json").is_file():
        return "this is an adapter, not a whole captioner: merge it into its model first"
    if any(folder.glob("*.gguf")):
        return "GGUF files are for other programs: take the same captioner as .safetensors, with its config.json"
    return "no captioner's config.json is here"


def _class_name(folder: Path) -> str:
    """What a part of a model that draws is called; "" where none is here."""
    file = folder / "config.json"
    name = read_config(file).get("_class_name") if file.is_file() else None
    return name if isinstance(name, str) else ""


def _check_weights(folder: Path) -> None:
    names = {file.name for file in folder.glob("*.safetensors")}
    if not names:
        refused = sorted(folder.glob("*.bin")) or sorted(folder.glob("*.pt*"))
        if refused:
            refuse_pickle(refused[0])
        raise StudioError(f"{folder}: no .safetensors weights are here: fetch the captioner again, whole")
    index = folder / "model.safetensors.index.json"
    if index.is_file() and "model.safetensors" not in names:
        files = read_config(index).get("weight_map")
        missing = sorted({str(name) for name in files.values()} - names) if isinstance(files, dict) else [index.name]
        if missing:
            raise StudioError(f"{folder}: {printable(missing[0])[:MAX_NAME]} is missing or damaged: fetch the captioner again, whole")
    how = read_config(folder / "config.json").get("quantization_config")
    if how is not None:
        method = printable(str(how.get("quant_method") if isinstance(how, dict) else how))[:40]
        raise StudioError(f"{folder}: its weights are quantised ({method}): use a copy in 16 or 32 bits")


def facts_of(folder: Path, key: str) -> dict[str, Any]:
    """What pages and lists show of a captioner's folder: {"captioner", "kind", "bytes"}; nothing is opened."""
    size = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in (".safetensors", ".onnx") and file.is_file())
    return {"captioner": str(folder), "kind": key, "bytes": size}
