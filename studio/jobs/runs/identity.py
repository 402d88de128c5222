"""Which base model a result was made with: a hash of its files, remembered until they change."""

import contextlib
import json
import os
from pathlib import Path

from studio.errors import StudioError
from studio.families.assembly import assemble, other_files
from studio.store import Workspace, read_json, sha256, sha256_file, write_json

SHA256_DIGITS = 64


def base_identity(path: Path, workspace: Workspace) -> str:
    """The SHA-256 over the weights and configurations of a model folder's components, or of a file; OSError where unreadable."""
    found = assemble(path)
    files = [path] if path.is_file() else _component_files(path)
    files += [*other_files(path), *(_component_files(found.rest) if found and found.rest else [])]
    memo_file = workspace.cache / "hashes.json"
    try:
        memo = read_json(memo_file)
    except StudioError:
        memo = {}
    known = {k: v for k, v in memo.items() if isinstance(v, str) and len(v) == SHA256_DIGITS} if isinstance(memo, dict) else {}
    hashes = {}
    for file in files:
        stat = file.stat()
        key = f"{file}|{stat.st_size}|{stat.st_mtime_ns}"
        known[key] = known.get(key) or sha256_file(file)
        hashes[Path(os.path.relpath(file, path.parent if path.is_file() else path)).as_posix()] = known[key]
    if known != memo:
        with contextlib.suppress(OSError):  # only a memory; a read-only workspace can do without
            write_json(memo_file, known)
    return sha256(json.dumps(hashes, sort_keys=True).encode())


def _component_files(folder: Path) -> list[Path]:
    """The index and the files of every component that it names; reports and cards beside them do not count."""
    index = folder / "model_index.json"
    named = [name for name, value in read_json(index).items() if isinstance(value, list) and any(value)]
    files = (f for name in named for f in (folder / name).rglob("*") if f.suffix in {".safetensors", ".json", ".txt"})
    return [index, *sorted(files)]
