"""Snapshots and resume points: folders that are whole or not there at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.store import read_tensors, sha256, sync_folder, tensors_to_bytes, write_bytes

if TYPE_CHECKING:
    from torch import Tensor

MARKER = "done"
RESUME_POINTS_KEPT = 2
SNAPSHOTS_OF_WHOLE = 3  # of whole models: the best, the last, and the next one while it is written


def step_folder(root: Path, step: int) -> Path:
    """The folder of a step below `root`, named so that names sort as numbers."""
    return root / f"{step:06d}"


def write_folder(folder: Path, files: "Mapping[str, bytes | Mapping[str, Tensor]]") -> None:
    """Write `files`, bytes or tensors, as a folder that appears at once: temporary name, fsync, hash list last, rename."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
    try:
        hashes = {}
        for name, content in files.items():  # one at a time: of a whole model, each is gigabytes
            data = content if isinstance(content, bytes) else tensors_to_bytes(content)
            write_bytes(temporary / name, data)
            hashes[name] = sha256(data)
        write_bytes(temporary / MARKER, json.dumps(hashes, indent=1).encode())
        os.chmod(temporary, 0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder.parent)


def is_whole(folder: Path) -> bool:
    """Whether every file of the folder is as its hash list says."""
    try:
        hashes = json.loads((folder / MARKER).read_text())
        return bool(hashes) and all(sha256((folder / name).read_bytes()) == digest for name, digest in hashes.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _steps(root: Path) -> list[int]:
    """The steps below `root` that have a folder with a marker, oldest first."""
    names = [p.name for p in root.iterdir() if p.name.isascii() and p.name.isdigit()] if root.is_dir() else []
    return sorted(int(n) for n in names if n == f"{int(n):06d}" and (root / n / MARKER).is_file())


def whole_steps(root: Path) -> list[int]:
    """The steps below `root` that have a whole folder, oldest first."""
    return [s for s in _steps(root) if is_whole(step_folder(root, s))]


def remove_partial(root: Path) -> None:
    """Delete what an interrupted write left behind."""
    for folder in root.glob(".tmp-*"):
        shutil.rmtree(folder, ignore_errors=True)


def write_snapshot(root: Path, step: int, raw: "Mapping[str, Tensor]", ema: "Mapping[str, Tensor]") -> None:
    """Keep the adapter of a step, raw and averaged."""
    write_folder(step_folder(root, step), {"raw.safetensors": raw, "ema.safetensors": ema})


def keep_only(root: Path, steps: set[int | None]) -> None:
    """Delete the snapshots of all other steps."""
    for old in _steps(root):
        if old not in steps:
            shutil.rmtree(step_folder(root, old), ignore_errors=True)


def copies_on_disk(num_snapshots: int, keeps_every_snapshot: bool) -> int:
    """How many times the trained weights lie on the disk at most: resume points with average and moments, snapshots, the adapter."""
    snapshots = num_snapshots if keeps_every_snapshot else min(num_snapshots, SNAPSHOTS_OF_WHOLE)
    return 4 * (RESUME_POINTS_KEPT + 1) + 2 * snapshots + 1


def read_snapshot(root: Path, step: int, average: str) -> "dict[str, Tensor]":
    """One adapter ("raw" or "ema") of a whole snapshot; StudioError where there is none at this step."""
    folder = step_folder(root, step)
    if not is_whole(folder):
        known = ", ".join(map(str, whole_steps(root))) or "none yet"
        raise StudioError(f"no snapshot of step {step}; there are: {known}")
    return read_tensors(folder / f"{average}.safetensors")


def write_resume_point(root: Path, step: int, tensors: "Mapping[str, Mapping[str, Tensor]]", state: dict[str, Any]) -> None:
    """Keep everything that continuing from `step` needs; older points go only after this one is whole."""
    files = {f"{name}.safetensors": group for name, group in tensors.items()}
    write_folder(step_folder(root, step), {**files, "state.json": json.dumps({"step": step, **state}, indent=1).encode()})
    for old in _steps(root)[:-RESUME_POINTS_KEPT]:
        shutil.rmtree(step_folder(root, old), ignore_errors=True)


def read_resume_point(root: Path) -> "tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None":
    """The newest whole resume point as (tensor groups, state); None where there is none."""
    steps = whole_steps(root)
    if not steps:
        return None
    folder = step_folder(root, steps[-1])
    tensors = {f.stem: read_tensors(f) for f in sorted(folder.glob("*.safetensors"))}
    return tensors, json.loads((folder / "state.json").read_text())
