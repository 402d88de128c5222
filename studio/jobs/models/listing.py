"""The models on this machine as rows of a list: what each is, by its headers, whether it fits, and what to do with it."""

import contextlib
import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from studio import extras, registry
from studio.errors import StudioError, printable
from studio.families import assembly, editions
from studio.families.folder import check_folder
from studio.families.header import read_header
from studio.families.search import OWN, SECONDS, Found, hub_models, look_through, own_models
from studio.families.signatures import identify
from studio.families.signs import ADAPTER, CHECKPOINT, EMBEDDING
from studio.methods import lora
from studio.methods.describing import is_foreign
from studio.methods.lora_files import is_dora
from studio.models import facts, memory_plan
from studio.models.bases import EMBEDDED_BASES, examine, known_families, told
from studio.models.facts import size_mib
from studio.models.places import model_places
from studio.models.sizes import read_sizes
from studio.store import Workspace, sha256

READ = {"LoRA", "DoRA", "LoHa", "LoKr", "full difference", "biases"}  # kinds of adapters that are drawn and merged
ODD_NAME = "has characters that cannot be shown: rename it, then it can be used"
EMBEDDED = "embedded"  # the place of what comes with the studio


def list_models(workspace: Workspace, places: list[Path] | None = None) -> list[dict]:
    """One row per model, with the reason where unusable: of `places`, else embedded ones, the models folder and added places."""
    found = look_through(places)[0] if places is not None else _find_all(workspace, look_through(model_places(workspace))[0])
    here = facts.memory(workspace)
    return [_describe(one, here) for one in found]


def detail_models(
    workspace: Workspace, tell: Callable[[int, int, str], None] = lambda *_: None, seconds: float = SECONDS, only: str = ""
) -> dict[str, Any]:
    """{"models", "places", "memory"} for a screen; a row also has "id", "source", "title", "place" and "card". `only` = of this place."""
    added, places = ([], []) if only else look_through(model_places(workspace), seconds)
    here = facts.memory(workspace)
    found, rows = [f for f in _find_all(workspace, added) if not only or f.place == only], []
    for number, one in enumerate(found):
        tell(number, len(found), one.name)
        rows.append(_detail(one, _describe(one, here)))
    return {"models": rows, "places": places, "memory": {"free_gib": here.free_gib, "total_gib": here.total_gib, "where": here.where}}


def _find_all(workspace: Workspace, added: list[Found]) -> Iterator[Found]:
    """Every model once, the embedded ones first; added ones whose name says too little go by their whole path."""
    embedded = (Found(name, path, EMBEDDED) for name, path in EMBEDDED_BASES.items())
    all_found = [*embedded, *own_models(workspace.models), *added, *hub_models()]
    unique = {found.path: found for found in reversed(all_found)}
    names = Counter(found.name for found in unique.values())
    for found in dict.fromkeys(unique[f.path] for f in all_found):
        is_clear = names[found.name] == 1 or found.place in {EMBEDDED, OWN}
        yield found if is_clear else replace(found, name=str(found.path))


def _describe(found: Found, here: facts.Memory) -> dict[str, Any]:
    """What a model is, by its headers: "kind" in one word, "what" in words; its memory where it can be trained on; what to do with it."""
    path = found.path
    row = {"model": found.name, "path": str(path), "family": None, "kind": "unknown", "what": "", "size_mib": round(size_mib(path), 1)}
    row |= {"licence": None, "usable": False, "reason": None, "needs_gib": None, "fits": None, "fit": "", "do": ""}
    if printable(str(path)).encode() != os.fsencode(path):
        return row | {"path": printable(str(path)), "reason": f"its name {ODD_NAME}", "do": "rename it"}
    if path.is_symlink() and not os.path.lexists(os.path.realpath(path)):  # those that lead in a circle are there
        return row | {"reason": "this is a link, and what it led to is not there (any more)", "do": "bring that back, or remove the link"}
    row |= _kind(path)
    family, reason = examine(path)
    said = told(path)
    licence = said.get("license_name") or said.get("license") or _metadata(path).get("modelspec.license")
    row["licence"] = printable(licence)[:200] if licence else None
    if family is None:
        return row | {"reason": _without_name(reason, path), "do": _way_out(row["kind"], reason, path)}
    card = registry.family(family).card
    plan = training_plan(path, card, here, here.where != "this machine" and extras.installed("quant"))
    needed = plan.peak_gib if plan else None
    fits, fit = facts.say_fit(needed, here)
    row |= {"family": card.title, "kind": CHECKPOINT, "usable": True, "licence": row["licence"] or card.licence}
    fit += f" ({plan.words()})" if plan and fits is not False and here.where != "this machine" else ""
    do = f"train on it: --base {shlex.quote(found.name)}" if fits is not False else _too_large(path, card, here)
    row["what"] += f" ({said})" if (said := editions.note(path, assembly.title_of(path))) else ""
    return row | {"needs_gib": round(needed, 1) if needed else None, "fits": fits, "fit": fit, "do": do}


def training_plan(path: Path, card: Any, here: facts.Memory, can_quantise: bool = False) -> memory_plan.Plan | None:
    """The plan of training a LoRA of the usual rank on this model, one picture at a time; None where its size cannot be told."""
    sizes = read_sizes(path, card)
    if sizes is None:
        return None
    ask = memory_plan.Ask(lora.trained(lora.Spec(), sizes), bytes_per_number=here.bytes_per_number, can_quantise=can_quantise)
    return memory_plan.plan(sizes, ask, here)


def _too_large(path: Path, card: Any, here: facts.Memory) -> str:
    """What to do with a base that does not fit: keep it in fewer bits, where that helps and is not there yet."""
    few = training_plan(path, card, here, can_quantise=here.where != "this machine")
    if few and few.fits and not extras.installed("quant"):
        return f"keep it in {few.bits} bits, as which it needs about {few.peak_gib:.1f} GiB: {extras.advice('quant')}"
    return "choose a smaller base, or a machine with more memory"


def _kind(path: Path) -> dict[str, str]:
    """{"kind", "what"} of a file or folder, as far as its headers say."""
    with contextlib.suppress(StudioError, OSError):
        if path.is_dir() and (path / "model_index.json").is_file():
            name = check_folder(path).get("_class_name")
            return {"kind": CHECKPOINT, "what": str(name or "a model folder")[:80]}
        if path.is_dir():  # one component: told by its weights
            path = min(path.glob("*.safetensors"), default=path)
        if path.suffix.lower() == ".safetensors":
            kind = identify(path)
            others = _others(path) if kind.what == CHECKPOINT and not kind.parts else ""
            return {"kind": kind.what, "what": kind.words() + others}
    return {}


def _others(path: Path) -> str:
    """What completes a denoiser's file, as far as it is there."""
    names: list[str] = []
    with contextlib.suppress(StudioError, OSError):  # why it cannot be used is told elsewhere
        found = assembly.assemble(path)
        names = [place.name for place in (*assembly.other_files(path), *([found.rest] if found and found.rest else []))]
    return f", with {', '.join(names)}" if names else ", its denoiser alone"


def _without_name(reason: str, path: Path) -> str:
    """A reason without the path it begins with, which stands beside it."""
    for place in (path, os.path.realpath(path)):
        reason = reason.removeprefix(f"--base {place}: ").removeprefix(f"{place}: ")
    return reason.replace(f"{path}{os.sep}", "").replace(known_families(), "")


def _way_out(kind: str, reason: str, path: Path) -> str:
    """What to do with what cannot be trained on."""
    if kind == ADAPTER and not _is_read(path):
        return "use a LoRA, DoRA, LoHa or LoKr in plain numbers: files of this kind are not read here"
    if kind == ADAPTER and is_foreign(path) and not is_dora(path):
        return f"drop it on Compare, or put it into its base: models merge {shlex.quote(str(path))}"
    if kind in {ADAPTER, EMBEDDING}:
        return f"drop it on Compare, or continue it: train{_recipe(path)} --from {shlex.quote(str(path))}"
    return reason.rpartition(": ")[2]


def _is_read(path: Path) -> bool:
    """Whether an adapter file is of a kind whose formula is known here, in numbers that can be read."""
    kind = identify(path)
    return kind.is_readable and kind.adapter is not None and set(kind.adapter.kind.split("/")) <= READ


def _recipe(path: Path) -> str:
    """The option that chooses an adapter file's own recipe, where that is not the one that is chosen by itself."""
    kind = identify(path).adapter
    own = kind.kind.lower() if kind else "textual-inversion"
    return f" --recipe {own}" if kind is None or own in registry.METHODS.keys() - {"lora"} else ""


def _detail(found: Found, row: dict[str, Any]) -> dict[str, Any]:
    path = found.path
    title = told(path).get("model_name") or _metadata(path).get("modelspec.title") or found.name
    more = {
        "id": model_id(path),
        "source": found.name,
        "title": printable(title)[:200],
        "place": found.place,
        "card": (path / "README.md").is_file(),
    }
    return row | more | {"size_bytes": round(size_mib(path) * 2**20)}


def model_id(path: Path) -> str:
    """A short name for a place on the disk, for addresses."""
    return sha256(os.fsencode(path))[:16]


def read_card(workspace: Workspace, wanted: str) -> str:
    """The model card of the listed model with this id, as plain text; StudioError where there is none."""
    for found in _find_all(workspace, look_through(model_places(workspace))[0]):
        if model_id(found.path) == wanted:
            return facts.card_text(found.path)
    raise StudioError("this model is not listed (any more): open the list again")


def _metadata(path: Path) -> dict[str, str]:
    """What a single file's header says of itself; empty for folders."""
    with contextlib.suppress(StudioError, OSError):
        return read_header(path).metadata if path.is_file() else {}
    return {}
