"""Where the components of a model come from whose denoiser is one file: the file itself, a model folder beside it, files near it."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from studio import registry
from studio.errors import StudioError
from studio.families.file_layout import FileLayout, Need
from studio.families.folder import check_folder
from studio.families.header import read_header
from studio.families.pieces import HEIGHT, Piece, find_pieces, find_vae, say_missing
from studio.families.search import hub_models
from studio.families.signatures import identify
from studio.families.signs import CHECKPOINT
from studio.families.unet_file import open_unet


@dataclass(frozen=True)
class Assembly:
    """A denoiser's file and what belongs to it."""

    path: Path
    title: str
    family: str
    layout: FileLayout | None
    rest: Path | None  # the model folder beside it
    pieces: dict[str, Piece]
    missing: tuple[Need, ...]

    @property
    def folder(self) -> Path:
        """Where the configurations are: in the model folder beside it, else the bundled ones."""
        return self.rest if self.rest or not self.layout else self.layout.folder(read_header(self.path))

    @property
    def files(self) -> list[Path]:
        """The other files that pieces are in."""
        return sorted({piece.path for piece in self.pieces.values()} - {self.path})


def family_of(title: str) -> str:
    """The key of the family whose denoisers' files are called so; empty where there is none."""
    return next((key for key in registry.FAMILIES if title in registry.family(key).card.titles), "")


def title_of(path: Path) -> str:
    """What a file is that is not whole by itself alone, a denoiser of one of these kinds; empty for all others."""
    with contextlib.suppress(StudioError):  # of a damaged file others tell
        kind = identify(path) if path.is_file() else None
        if kind and kind.what == CHECKPOINT and not kind.shard and family_of(kind.title):
            return kind.title
    return ""


def assemble(path: Path) -> Assembly | None:
    """What belongs to this file; None for folders, and for files that are no denoiser of these kinds."""
    title = title_of(path)
    if not title:
        return None
    key = family_of(title)
    family = registry.family(key)
    layout, rest = family.card.file, _find_rest(path, family.PIPELINES, far=family.card.file is None)
    there = {name for name, value in check_folder(rest).items() if isinstance(value, list) and any(value)} if rest else set()
    pieces, missing = find_pieces(path, layout, there) if layout else ({}, [])
    return Assembly(path, title, key, layout, rest, pieces, tuple(missing))


def _find_rest(path: Path, pipelines: set[str], far: bool) -> Path | None:
    """The first model folder of one of these pipelines, by name: beside a file; `far` = else in a folder `diffusers` near it, or in the
    hub's cache."""
    near = [path.parent, *(above / "diffusers" for above in path.parents[: HEIGHT + 1] if far)]
    places = (folder for place in near if place.is_dir() for folder in sorted(place.iterdir()))
    for folder in (*places, *(found.path for found in (hub_models() if far else ()))):
        with contextlib.suppress(StudioError, OSError):
            if (folder / "model_index.json").is_file() and check_folder(folder).get("_class_name") in pipelines:
                return folder
    return None


def recognise(path: Path, family: str, pipelines: set[str]) -> bool:
    """Whether this is a diffusers folder of these pipelines, or a file with a denoiser of this family.

    StudioError where it is such a file, and something that belongs to it is nowhere near.
    """
    if path.is_dir():
        return check_folder(path).get("_class_name") in pipelines
    found = assemble(path)
    if found is None or found.family != family:
        return False
    alone = "" if any(piece.path == path for piece in found.pieces.values()) else ", its transformer alone"
    beside = f"put a diffusers folder of {found.title} beside it, from which text encoders and autoencoder are taken"
    if found.layout is None and found.rest is None:
        there = f"{beside}, or into a folder diffusers next to {path.parent.name}; one in the hub's cache is found by itself"
        source = registry.family(family).card.completed_by
        raise StudioError(f"{path}: this is {identify(path).words()}{alone}: {there}{f' (models get {source} --yes)' if source else ''}")
    if found.layout and found.missing:
        raise StudioError(f"{path}: this is {identify(path).words()}{alone}: {say_missing(path, found.layout, found.missing)}; or {beside}")
    return True


def is_whole(path: Path) -> bool:
    """Whether all that a model needs is in this file, as far as its header says."""
    if not path.is_file() or title_of(path):
        return False
    with contextlib.suppress(StudioError):
        kind = identify(path)
        return kind.what != CHECKPOINT or {"VAE", "text encoder"} <= set(kind.parts)
    return True


def other_files(path: Path) -> list[Path]:
    """What belongs to a model's file beside itself, without what is in a model folder beside it."""
    return sorted({piece.path for piece in pieces_of(path).values()} - {path})


def pieces_of(path: Path) -> dict[str, Piece]:
    """What completes a model's file, by its component: found in it by diffusers' names, or near it."""
    if found := assemble(path):
        return found.pieces
    if path.is_dir() or is_whole(path):
        return {}
    unet, vae = open_unet(path), find_vae(path)
    return (unet.texts if unet else {}) | ({"vae": vae} if vae else {})


def folder_of(path: Path) -> Path:
    """Where a model's configurations are: its own folder, or those that complete its file; else the file itself."""
    found = assemble(path)
    return found.folder if found and found.folder else path
