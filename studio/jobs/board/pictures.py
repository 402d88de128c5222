"""Pictures side by side: a row per prompt, a column per run, the base before the runs on it. No torch here."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.jobs.board.facts import base_title, read_dict
from studio.jobs.runs.folders import Run
from studio.jobs.runs.manage import run_by_id
from studio.methods import several
from studio.spec import RunSpec
from studio.store import Workspace


@dataclass(frozen=True)
class Member:
    """A run on the board and its settings."""

    run: Run
    spec: RunSpec


def group_by_base(workspace: Workspace, ids: list[str]) -> list[list[Member]]:
    """The runs that are whole, those of one base model together, in the order given."""
    groups: dict[str, list[Member]] = {}
    for run_id in dict.fromkeys(ids):
        with contextlib.suppress(StudioError, OSError):
            run = run_by_id(workspace, run_id)
            spec = run.spec()
            identity = read_dict(run.folder / "origin.json").get("base")
            groups.setdefault(str(identity or spec.base.source), []).append(Member(run, spec))
    return list(groups.values())


def columns_of(groups: list[list[Member]]) -> list[dict[str, Any]]:
    """{"kind", "run", "title"} of every column; a base stands under the first run on it."""
    columns = []
    for group in groups:
        name = "base" if len(groups) == 1 else f"base: {base_title(group[0].spec)}"
        columns.append({"kind": "base", "run": group[0].run.id, "title": name})
        columns += [{"kind": "adapted", "run": m.run.id, "title": m.spec.name} for m in group]
    return columns


def preview_rows(groups: list[list[Member]]) -> list[dict[str, Any]]:
    """{"prompt", "seed", "files"} per preview prompt: files below each column's run folder, None where there is none (yet)."""
    found = [[preview_files(m) for m in group] for group in groups]
    count = max((len(files) for group in found for both in group for files in both), default=0)
    rows = []
    for i in range(count):
        files: list[str | None] = []
        for group in found:
            files.append(next((base[i] for base, _ in group if i < len(base)), None))
            files += [adapted[i] if i < len(adapted) else None for _, adapted in group]
        rows.append({"prompt": next(iter(plain_prompts(groups)[i:]), ""), "seed": groups[0][0].spec.preview.seed, "files": files})
    return rows


def plain_prompts(groups: list[list[Member]]) -> list[str]:
    """The preview prompts of the runs, as those have them that taught no word of their own."""
    members = sorted((m for group in groups for m in group), key=lambda m: bool(several.word(m.spec.methods)))
    return next((m.spec.preview.prompts for m in members if m.spec.preview.prompts), [])


def preview_files(member: Member) -> tuple[list[str], list[str]]:
    """The files of a run's base previews and of its newest ones, in the order of its prompts."""
    folder = member.run.folder / "previews"
    with contextlib.suppress(OSError):
        steps = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name.isdigit())
        return _pictures(folder, "base"), _pictures(folder, steps[-1]) if steps else []
    return [], []


def _pictures(folder: Path, name: str) -> list[str]:
    return [f"previews/{name}/{p.name}" for p in sorted((folder / name).glob("[0-9][0-9].png"))]


def same_previews(groups: list[list[Member]]) -> bool:
    """Whether the runs' previews come from the same noise under the same settings, so that they may be compared."""
    told = {m.spec.preview.model_dump_json(include={"seed", "steps", "guidance", "sampler", "negative"}) for group in groups for m in group}
    return len(told) < 2
