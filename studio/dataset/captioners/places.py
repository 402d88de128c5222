"""Where captioners are: in the workspace's `captioners` folder, in added places, and in the hub's cache."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from studio import registry
from studio.dataset.captioners.base import Facts
from studio.dataset.captioners.folder import facts_of, kind_of, open_folder
from studio.errors import StudioError, printable
from studio.families.search import HUB, hub_cache, hub_snapshot, place_name
from studio.models.places import model_places, remember, remove_model_place, typed_path
from studio.store import Workspace

KIND = "captioners"  # of remembered places
MAX_FOLDERS = 300  # looked at in one place


@dataclass(frozen=True)
class Chosen:
    """A captioner that can be loaded."""

    key: str
    module: ModuleType
    folder: Path | None = None  # None = it needs none

    @property
    def facts(self) -> Facts:
        """What is known of it before it is loaded."""
        return self.module.FACTS

    @property
    def name(self) -> str:
        """Which of the captioners of its kind: its folder, or author/name in the hub's cache."""
        return place_name(self.folder) if self.folder else ""


def captioners_folder(workspace: Workspace) -> Path:
    """The workspace's own folder of captioners."""
    return workspace.root / "captioners"


def captioner_places(workspace: Workspace) -> list[Path]:
    """The folders a person has added; none where the list is missing or damaged."""
    return model_places(workspace, KIND)


def add_captioner_place(workspace: Workspace, text: str) -> list[dict[str, Any]]:
    """Remember a captioner's folder, or a folder of such; the captioners in it. StudioError where there is none."""
    path = typed_path(text)
    found = list(_in_place(path)) if path.is_dir() else []
    if not found:
        open_folder(path)  # says what is wrong with it
    remember(workspace, path, KIND)
    return [told(*each) for each in found]


def remove_captioner_place(workspace: Workspace, text: str) -> None:
    """Forget a place; what lies there stays as it is."""
    remove_model_place(workspace, text, KIND)


def list_captioners(workspace: Workspace) -> list[dict[str, Any]]:
    """All captioners on this machine, those without a folder first, then by name: as `told` has them, with "place"."""
    own = [told(key, None) | {"place": ""} for key in registry.CAPTIONERS if not registry.captioner(key).FACTS.needs_folder]
    found, seen = [], set()
    for place, label in _places(workspace):
        for key, folder in _in_place(place):
            if folder not in seen:
                seen.add(folder)
                found.append(told(key, folder) | {"place": label})
    return own + sorted(found, key=lambda each: each["name"].casefold())


def list_kinds() -> list[dict[str, str]]:
    """The kinds of captioners that are read from folders: {"kind", "title", "hub_id"}, of which the last is one on the hub, or ""."""
    known = {key: registry.captioner(key).FACTS for key in registry.CAPTIONERS}
    return [{"kind": key, "title": facts.title, "hub_id": facts.hub_id} for key, facts in known.items() if facts.needs_folder]


def _places(workspace: Workspace) -> list[tuple[Path, str]]:
    added = [(path, str(path)) for path in captioner_places(workspace)]
    return [(captioners_folder(workspace), "captioners folder"), *added, (hub_cache(), HUB)]


def _in_place(place: Path) -> Iterator[tuple[str, Path]]:
    """(key, folder) of the captioners in `place`, itself or one folder below; damaged ones are told when they are chosen."""
    folders = [place]
    with contextlib.suppress(OSError):
        folders += sorted(Path(entry.path) for entry in os.scandir(place) if entry.is_dir() and not entry.name.startswith("."))
    for folder in folders[:MAX_FOLDERS]:
        inner = hub_snapshot(folder) or folder
        with contextlib.suppress(StudioError, OSError):
            if key := kind_of(inner):
                yield key, inner


def told(key: str, folder: Path | None) -> dict[str, Any]:
    """A captioner for pages and lists: what `facts_of` has, with its name, title, licence, and what it can be asked."""
    facts = registry.captioner(key).FACTS
    name = place_name(folder) if folder else ""
    known = facts_of(folder, key) if folder else {"captioner": key, "kind": key, "bytes": 0}
    title = f"{facts.title} · {name}" if name else facts.title
    details = {
        "details": list(facts.details),
        "detail": facts.detail,
        "prompt": facts.prompt,
        "asked": facts.asked,
        "thresholds": list(facts.thresholds),
        "switches": list(facts.switches),
    }
    return {**known, "name": name, "title": title, "licence": facts.licence, **details}


def find_captioner(workspace: Workspace, name: str) -> Chosen:
    """The captioner called so: by its key, its folder, or the name of a folder that is found; StudioError in one line where it is none."""
    if name in registry.CAPTIONERS and not registry.captioner(name).FACTS.needs_folder:
        return Chosen(name, registry.captioner(name))
    is_path = bool(name) and "\0" not in name and len(name) < 4096
    path = Path(os.path.expanduser(name)) if is_path else None
    if path is not None and _exists(path):
        return _chosen(path.resolve())
    found = [each for each in list_captioners(workspace) if each["name"] and name in (each["name"], each["kind"], each["captioner"])]
    if len(found) == 1:
        return _chosen(Path(found[0]["captioner"]))
    if found:
        names = ", ".join(each["captioner"] for each in found[:5])
        raise StudioError(f"captioner {name!r}: several are called so; give the whole path: {names}")
    own = captioners_folder(workspace) / name if is_path and name == Path(name).name else None
    if own is not None and own.is_dir():
        return _chosen(own)
    raise StudioError(_unknown(workspace, name))


def _exists(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.exists()
    return False


def _chosen(folder: Path) -> Chosen:
    key, module = open_folder(folder)
    return Chosen(key, module, folder)


def _unknown(workspace: Workspace, name: str) -> str:
    shown = printable(name)[:120]
    if name in registry.CAPTIONERS:
        facts = registry.captioner(name).FACTS
        fetched = f", or fetch one by: captioners get {facts.hub_id}" if facts.hub_id else ""
        return f"captioner {shown!r}: no folder of {facts.title} is here: give its path{fetched}"
    there = ", ".join([*dict.fromkeys(each["name"] or each["kind"] for each in list_captioners(workspace))][:12])
    kinds = ", ".join(each["title"] for each in list_kinds())
    return f"{shown!r} is no captioner; there are: {there}; or give a folder of {kinds}; from the hub: captioners get AUTHOR/NAME"
