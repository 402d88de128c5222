"""Settings out of what a person drops on the Compare screen: one of our pictures, or an adapter file. Nothing is decoded. No torch here."""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.errors import StudioError, printable
from studio.families.signatures import Kind, identify
from studio.families.signs import ADAPTER, EMBEDDING, UNKNOWN
from studio.jobs.draw.drawings import AdapterUse, DrawRequest, dropped_folder, parse_request
from studio.jobs.runs.folders import Run, find_run, list_runs
from studio.jobs.runs.identity import base_identity
from studio.jobs.runs.snapshots import snapshot_steps
from studio.models.bases import EMBEDDED_BASES
from studio.store import Workspace, sha256_file, sync_folder

PNG = b"\x89PNG\r\n\x1a\n"
MAX_CHUNK, MAX_CHUNKS, MAX_TEXT, MAX_HEADER = 1 << 20, 10_000, 1 << 20, 32 << 20
MAX_PNG_BYTES, MAX_ADAPTER_BYTES = 64 << 20, 2 << 30
NOT_OURS = "this picture does not say how it was made: only pictures of this studio do"
SAMPLED = ("prompt", "negative", "seed", "steps", "guidance", "sampler", "width", "height")


def kind_of(first: bytes) -> str:
    """ "png" or "adapter" by a file's first nine bytes; StudioError for anything else."""
    if first.startswith(PNG):
        return "png"
    if len(first) > 8 and first[8:9] == b"{":
        return "adapter"
    raise StudioError("this file is neither a PNG picture nor a .safetensors adapter: drop one of those")


def restore_from_png(workspace: Workspace, path: Path) -> dict[str, Any]:
    """{"request", "kind", "notes"} from the `studio` text inside a PNG; StudioError where it has none. No pixel is read."""
    said = read_png_settings(path)
    sha = said.get("base_sha256")
    if isinstance(said.get("request"), dict):
        request = parse_request(said["request"], "this picture's settings are damaged: ")
    elif "prompt" in said and "sampler" in said:
        request = _from_sample(workspace, said)
    else:
        raise StudioError(NOT_OURS)
    request, notes = _with_what_is_here(workspace, request)
    if not any(use.run for use in request.adapters):
        request.base = _find_base(workspace, sha) or ""
        if isinstance(sha, str) and not request.base:
            notes.append("The base model of this picture is not on this machine: the one chosen here stays.")
    return {"request": request.model_dump(), "kind": "picture", "notes": notes}


def read_png_settings(path: Path) -> dict[str, Any]:
    """The JSON object under the keyword `studio` of a PNG's international text; StudioError where there is none, or it is damaged."""
    with open(path, "rb") as file:
        for kind, data in _chunks(file):
            if kind != b"iTXt" or not data.startswith(b"studio\0"):
                continue
            try:
                value = json.loads(_text(data))
            except (ValueError, RecursionError, zlib.error, struct.error, IndexError):
                raise StudioError("this picture's settings are damaged: use another copy of it") from None
            if isinstance(value, dict):
                return value
    raise StudioError(NOT_OURS)


def _chunks(file: Any) -> Iterator[tuple[bytes, bytes]]:
    """(type, data) of a PNG's small whole chunks; large ones, such as pixels, are stepped over unread."""
    size = os.fstat(file.fileno()).st_size
    if file.read(8) != PNG:
        raise StudioError(NOT_OURS)
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND" or file.tell() + length + 4 > size:
            return
        if kind != b"iTXt" or length > MAX_CHUNK:
            file.seek(length + 4, os.SEEK_CUR)
            continue
        data, told = file.read(length), file.read(4)
        if struct.pack(">I", zlib.crc32(kind + data)) == told:
            yield kind, data


def _text(data: bytes) -> str:
    """The text of an iTXt chunk: keyword, compression flag and method, language, translated keyword, text."""
    keyword, rest = data.split(b"\0", 1)
    is_compressed, rest = rest[0], rest[2:]
    text = rest.split(b"\0", 2)[2]
    if is_compressed:
        inflate = zlib.decompressobj()
        text = inflate.decompress(text, MAX_TEXT)
        if inflate.unconsumed_tail:
            raise ValueError("too long")
    return text.decode("utf-8")


def _from_sample(workspace: Workspace, said: dict[str, Any]) -> DrawRequest:
    """The request that draws a picture of the command line, or a preview, again."""
    values = {name: said[name] for name in SAMPLED if name in said}
    name, strength = said.get("run"), said.get("strength", 1.0)
    if isinstance(name, str) and name:
        values["adapters"] = [{"run": name[:300], "snapshot": _snapshot_of(workspace, name, said.get("step")), "strength": strength or 1.0}]
    return parse_request(values, "this picture's settings are damaged: ")


def _snapshot_of(workspace: Workspace, name: str, step: Any) -> int | None:
    """The snapshot that a step means; None where it is the run's chosen adapter, or the run is not here."""
    try:
        run = find_run(workspace, name)
        chosen = run.read("scores.json", "chosen", "step") if run.adapter.is_file() else None
    except StudioError:
        return None
    return step if isinstance(step, int) and step != chosen and step in snapshot_steps(run) else None


def _with_what_is_here(workspace: Workspace, request: DrawRequest) -> tuple[DrawRequest, list[str]]:
    """The request with the adapters that this workspace has, and a sentence for each that it has not."""
    here, notes = [], []
    names = {run.id: run for run in list_runs(workspace)}
    for use in request.adapters:
        name = use.label or use.run or "a dropped adapter"
        if use.file and not (dropped_folder(workspace) / use.file).is_file():
            notes.append(f"The adapter {name} of this picture is not here: drop its file too.")
        elif not use.file and use.run not in names:
            notes.append(f"The run {name} of this picture is not in this workspace: its adapter was left out.")
        elif not use.file and use.snapshot is not None and use.snapshot not in snapshot_steps(names[use.run]):
            notes.append(f"The run {name} has no snapshot of step {use.snapshot} any more: its chosen adapter is used.")
            here.append(use.model_copy(update={"snapshot": None}))
        else:
            here.append(use)
    return request.model_copy(update={"adapters": here, "base": ""}), notes


def restore_from_adapter(workspace: Workspace, path: Path, name: str) -> dict[str, Any]:
    """Keep the adapter file at `path` under its content's name; {"request": what it settles, "kind", "notes"}. `path` is moved."""
    metadata, kind = _adapter_header(path)
    file = f"{sha256_file(path)}.safetensors"
    folder = dropped_folder(workspace)
    folder.mkdir(parents=True, exist_ok=True)
    os.replace(path, folder / file)
    sync_folder(folder)
    sha, notes = metadata.get("studio.base_sha256"), []
    base = _find_base(workspace, sha)
    if sha and not base:
        notes.append("This adapter was trained on a base model that is not on this machine: it is tried on the one chosen here.")
    if not sha:
        notes.append("This adapter does not say which base model it belongs to: it is tried on the one chosen here.")
        notes.append(f"This is {kind.words()}.")
        if kind.adapter and kind.adapter.layout == "PEFT":
            notes.append("PEFT keeps its alpha beside the file, in adapter_config.json: here it counts as the rank.")
    use = AdapterUse(file=file, label=Path(printable(name.replace("\\", "/"))).name or "dropped adapter")
    settled = {"adapters": [use.model_dump()]} | ({"base": base} if base else {})
    return {"request": settled, "kind": "adapter", "notes": notes}


def _adapter_header(path: Path) -> tuple[dict[str, Any], Kind]:
    """(metadata, what it is) of an adapter file, from its header alone; StudioError where the file is damaged or no adapter."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if length > min(size - 8, MAX_HEADER):
            raise StudioError("this is not a whole .safetensors file: fetch or export it again")
        data = file.read(length)
    try:
        header = json.loads(data)
        tensors = {k: v["data_offsets"] for k, v in header.items() if k != "__metadata__"}
        end = max((offsets[1] for offsets in tensors.values()), default=0)
        metadata = header.get("__metadata__") or {}
        whole = end == size - 8 - length and isinstance(metadata, dict)
    except (ValueError, RecursionError, KeyError, TypeError, IndexError, AttributeError):
        raise StudioError("this is not a whole .safetensors file: fetch or export it again") from None
    if not whole:
        raise StudioError("this .safetensors file is cut off or damaged: fetch or export it again")
    kind = identify(path)
    if kind.what not in {ADAPTER, EMBEDDING} or not tensors:
        what = kind.words() if kind.what != UNKNOWN else "holds no adapter"
        raise StudioError(f"this .safetensors file holds no adapter ({what}): a base model belongs into Models, an adapter is dropped here")
    return metadata, kind


def _find_base(workspace: Workspace, sha: Any) -> str | None:
    """The source of the base model with this identity, where it is on this machine."""
    if not isinstance(sha, str) or not sha:
        return None
    for name, path in EMBEDDED_BASES.items():
        if base_identity(path, workspace) == sha:
            return name
    for run in list_runs(workspace)[::-1]:
        if _base_sha(run) == sha:
            return run.spec().base.source
    if workspace.models.is_dir():
        for path in sorted(workspace.models.iterdir()):
            try:
                if not path.name.startswith(".") and base_identity(path, workspace) == sha:
                    return str(path)
            except (StudioError, OSError, AttributeError):
                continue  # no whole model; the Models screen says why
    return None


def _base_sha(run: Run) -> str | None:
    try:
        return run.read("origin.json", "base")
    except StudioError:
        return None
