"""An export carried out: the adapter written in a layout that other programs read, read back, compared, and described."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studio.export.formats import LAYOUTS, card_path, file_name
from studio.export.metadata import Shared
from studio.jobs.export.exporting import Aid, export_run
from studio.jobs.export.exports import FILE, Export, file_stem, shared
from studio.jobs.processes.room import Wanted
from studio.jobs.processes.warm import Warm
from studio.jobs.runs.folders import Run, find_run
from studio.jobs.runs.snapshots import adapter_step
from studio.store import Workspace, read_metadata, sha256_file, sync_folder, write_bytes, write_json

Tick = Callable[[str, float], None]
TOTAL = 3  # stages: loading, writing, verifying


def describe(workspace: Workspace, export: Export) -> tuple[Wanted, int]:
    """What the export needs room for, and of how many parts its progress is told."""
    request = export.request()
    run = find_run(workspace, request.run)
    return Wanted(run.spec().base.source, None, None, 1, f"exporting {run.id}"), TOTAL


def carry_out(workspace: Workspace, export: Export, warm: Warm, tick: Tick) -> None:
    """Write, verify and describe; `result.json` comes last."""
    request = export.request()
    run = find_run(workspace, request.run)
    step = adapter_step(run, request.snapshot)
    folder = export.folder / FILE
    shutil.rmtree(folder, ignore_errors=True)
    out = folder / file_name(file_stem(run, step, request.layout), request.layout)
    stages = {"loading": 0.0, "writing": 1.0, "verifying": 2.0}
    aid = Aid(warm, _shared(workspace, run, set(request.share)), lambda stage: tick(stage, stages[stage]), request.rank)
    out, verified = export_run(workspace, run, request.layout, request.snapshot, out, aid)
    card = card_path(out).read_text("utf-8")
    write_bytes(export.folder / "card.md", card.encode())
    file = out if out.is_file() else _zip(out)
    values = asdict(verified) | {"file": file.name, "size_bytes": file.stat().st_size, "sha256": sha256_file(file)}
    values |= {"verified": str(verified), "metadata": _metadata(out), "card": card, "readers": LAYOUTS[request.layout][0], "step": step}
    write_json(export.folder / "result.json", values)


def _shared(workspace: Workspace, run: Run, ticks: set[str]) -> Shared:
    texts = {tick: text for tick, text in shared(workspace, run).items() if tick in ticks}
    prompts = tuple(run.spec().preview.prompts) if "prompts" in ticks else ()
    return Shared(texts.get("trigger", ""), texts.get("run_name", ""), texts.get("dataset_name", ""), prompts)


def _zip(folder: Path) -> Path:
    """The folder as one file beside it; equal folders give equal bytes."""
    target, temporary = folder.with_name(folder.name + ".zip"), folder.with_name(".tmp-" + folder.name)
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            info = zipfile.ZipInfo(f"{folder.name}/{file.relative_to(folder).as_posix()}")
            info.external_attr = 0o644 << 16
            archive.writestr(info, file.read_bytes())
    temporary.replace(target)
    sync_folder(target.parent)
    return target


def _metadata(out: Path) -> dict[str, Any]:
    """What the file says about itself: its metadata, or what a folder's main configuration says."""
    if out.is_file():
        return dict(sorted(read_metadata(out).items()))
    index = out / "model_index.json"
    config = json.loads((index if index.is_file() else out / "adapter_config.json").read_text("utf-8"))
    return {name: json.dumps(value) for name, value in sorted(config.items()) if value not in (None, {}, [], False)}
