"""A base model by its name or place: found, told which family reads it, or refused with what to do."""

import contextlib
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from studio import registry
from studio.errors import StudioError, one_line
from studio.families import assembly, configured, flow, schedules
from studio.families.folder import check_folder, check_named, check_whole, component, read_config, refuse_pickle
from studio.families.header import read_header
from studio.families.search import hub_models, hub_snapshot, look_through, own_models, place_name
from studio.families.signatures import HAS_FAMILY, identify, refuse_other
from studio.families.signs import CHECKPOINT, WRAPPED
from studio.families.timesteps import Timesteps
from studio.models import facts
from studio.models.places import model_places
from studio.store import ASSETS, Workspace

STARTER = ASSETS / "starter"
EMBEDDED_BASES = {"starter": STARTER, "starter-pixel": STARTER / "pixel"}  # by the short names they are chosen by
NO_WEIGHTS = {
    ".gguf": "GGUF files are quantised for drawing and cannot be trained on: fetch the model's .safetensors",
    ".sft": "a safetensors file of another name: rename it so that it ends in .safetensors",
}
CONDITIONED = re.compile(r"Inpaint|Fill|Control|InstructPix2Pix|Depth|Upscale|Img2Vid|ImageVariation")  # in a pipeline's name
OTHER_BASE = "choose another base model"


@dataclass(frozen=True)
class Base:
    """A usable base model: where it is and which family reads it."""

    source: str
    path: Path
    family: str

    @property
    def name(self) -> str:
        """What it is called in a sentence: its short name, or that of its file or folder."""
        return place_name(self.path) if self.path.parent.name == "snapshots" else Path(self.source).name

    @property
    def preset_key(self) -> str:
        """Which presets fit: an embedded model has its own, others those of their family."""
        return _short_name(self.path) or self.family

    @property
    def shape_px(self) -> tuple[int, int]:
        """(picture size, what the sides of training pictures divide by), told without loading the model."""
        card = registry.family(self.family).card
        if not self.folder.is_dir():
            size_px, multiple = card.file_shape_px
            return read_header(self.folder).told_px(card.file_px_by_tensor) or size_px, multiple
        return configured.size_px(self.folder, card.denoiser), configured.pixel_multiple(self.folder, card.denoiser, card.patch)

    @property
    def folder(self) -> Path:
        """Where its configurations are: the model's own folder, or those that complete a file with its transformer; else the file."""
        return assembly.folder_of(self.path)

    def noise_levels(self, size_px: int | None, how: Timesteps) -> dict[str, Any]:
        """Which noise levels training draws, as `facts.noise_levels` tells them; None = the model's own size."""
        return facts.noise_levels(self.folder, registry.family(self.family).card, size_px or self.shape_px[0], how)


def _short_name(path: Path) -> str | None:
    """The name by which an embedded model is chosen."""
    return next((name for name, place in EMBEDDED_BASES.items() if place == path), None)


def find_base(source: str, workspace: Workspace | None = None) -> Base:
    """The base model named by its short name, a path, or a name in the models folder or an added place; StudioError if unusable."""
    path = EMBEDDED_BASES.get(source) or Path(os.path.expanduser(source))
    if workspace and not path.exists():
        path = _by_name(workspace, source) or path
    if not path.exists():
        embedded = ", ".join(EMBEDDED_BASES)
        raise StudioError(f"--base {source}: nothing there; give {embedded}, a diffusers model folder or a .safetensors file")
    path = hub_snapshot(path) or path
    refuse_pickle(path)
    if not path.is_dir() and not (path.is_file() and path.suffix.lower() == ".safetensors"):
        raise StudioError(f"--base {source}: {NO_WEIGHTS.get(path.suffix.lower(), 'not a .safetensors file or a model folder')}")
    path = path.resolve()
    if path.is_file():
        _refuse_component(path)
        refuse_other(path)
    for key in registry.FAMILIES:
        if registry.family(key).recognise(path):
            return Base(_short_name(path) or str(path), path, key)
    raise StudioError(f"--base {source}: {_unknown(path)}")


def _refuse_component(path: Path) -> None:
    """StudioError for a file of weights inside a model folder, which is wanted whole."""
    folder = path.parent.parent
    if (folder / "model_index.json").is_file() and path.parent.name in read_config(folder / "model_index.json"):
        raise StudioError(f"{path}: this is the {path.parent.name} of the model folder {folder}: give that folder")


def _unknown(path: Path) -> str:
    """Why a whole model is none of the known families."""
    if path.is_dir():
        kind = str(check_folder(path).get("_class_name", ""))[:80]
        if CONDITIONED.search(kind):
            return f"this is a {kind}, which reads more than text and noise: use its plain version"
        return f"{kind + ' is' if kind else 'this is'} a kind of model that is not known here{known_families()}: {OTHER_BASE}"
    kind = identify(path)
    if not HAS_FAMILY.match(kind.title) and not assembly.family_of(kind.title):
        return f"this is {kind.words()}, which is not known here{known_families()}: {OTHER_BASE}"
    if left := re.match(WRAPPED, read_header(path).text):
        named = f"the names of whose tensors begin with {left[0]} as training programs leave them"
        return f"this is {kind.words()}, {named}: fetch it as it is published, or save it without that"
    alone = ", its denoiser alone" if kind.what == CHECKPOINT and not kind.parts else ""
    return f"this is {kind.words()}{alone}, which is not read as one file: give the whole model as a diffusers folder"


def known_families() -> str:
    """The titles of all families, as an aside in a sentence."""
    return f" (known are: {', '.join(registry.family(k).card.title for k in registry.FAMILIES)})"


def check(base: Base) -> None:
    """StudioError, naming the file, unless a base's folder is whole; told by its headers. A single file is looked at when it is loaded."""
    if base.path.is_dir():
        check_whole(base.path)
        card = registry.family(base.family).card
        if component(base.path, "scheduler") != base.path or (base.path / "scheduler_config.json").is_file():
            schedules.check(base.path, is_flow=card.timesteps == flow.KIND)
        if card.text:  # models of pixels may have their parts side by side
            optional = frozenset(need.component for need in (card.file.needs if card.file else ()) if need.optional)
            check_named(base.path, ("vae", card.denoiser, *card.text_encoders), optional)


def _by_name(workspace: Workspace, name: str) -> Path | None:
    """The model of this name in the workspace's models folder, else in an added place; StudioError where several have it."""
    if (workspace.models / name).exists():
        return workspace.models / name
    here = [*own_models(workspace.models), *look_through(model_places(workspace))[0], *hub_models()]
    found = sorted({f.path for f in here if f.name == name})
    if len(found) > 1:
        raise StudioError(f"--base {name}: several added models have this name; give the whole path: {', '.join(map(str, found[:5]))}")
    return found[0] if found else None


def reads_text(source: str, workspace: Workspace) -> bool:
    """Whether a base draws by prompts; one that is gone counts as one that does, for its error is told elsewhere."""
    with contextlib.suppress(StudioError, OSError):
        return registry.family(find_base(source, workspace).family).card.text
    return True


def examine(path: Path) -> tuple[str | None, str | None]:
    """(key of its family, None), or (None, why the model cannot be used); of a whole file that has not changed, as found the last time."""
    try:
        stat, is_whole = path.stat(), assembly.is_whole(path)
        return _examine_file(path, stat.st_size, stat.st_mtime_ns) if is_whole else _examine(path)
    except OSError as error:
        return None, one_line(error)


@lru_cache(maxsize=1000)
def _examine_file(path: Path, size: int, time_ns: int) -> tuple[str | None, str | None]:
    return _examine(path)


def _examine(path: Path) -> tuple[str | None, str | None]:
    try:
        base = find_base(str(path))
        check(base)
        return base.family, None
    except Exception as error:  # whatever lies in a folder of models, the list comes, with one line about it
        return None, one_line(error)[:500]


def told(path: Path) -> dict[str, str]:
    """What a model's README.md says in its front matter, as on model hubs: license, license_name, model_name …"""
    try:
        lines = (path / "README.md").read_text("utf-8").splitlines() if (path / "README.md").is_file() else []
    except (OSError, UnicodeDecodeError):
        return {}
    if not lines or lines[0] != "---" or "---" not in lines[1:]:
        return {}
    pairs = (line.partition(":") for line in lines[1 : lines.index("---", 1)])
    return {key.strip(): value.strip().strip("\"'") for key, colon, value in pairs if colon and value.strip()}
