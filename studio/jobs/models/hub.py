"""A model by its hub id, only when asked: licence and gating told first, the file list checked, JSON before weights, nothing that is code.

`python -m studio.jobs.models.hub ROOT` is the one process that goes online: it reads one JSON line ({"id", "token", "fetch", "kind"}) from
its standard input, so that a token is in no list of processes and in no file, and writes JSON lines: what it learned, progress, the end.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from studio import quiet
from studio.errors import StudioError, printable
from studio.jobs.models.hub_files import STATE, Download, Listing, asking
from studio.jobs.models.hub_kinds import KINDS
from studio.jobs.processes.talking import Say, carry_out
from studio.store import Workspace, require_free, sync_folder

ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
PAGE = re.compile(r"^https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(?:models/)?|/(?:tree|blob|resolve|discussions)(?:/.*)?$|[?#].*$|/+$")
TOKEN = re.compile(r"[\x21-\x7e]{0,400}")


def look(model_id: str, token: str = "", kind: str = "model") -> Listing:
    """Licence, gating and the files that would be fetched; StudioError where it is none of this kind for us, or the hub says no."""
    model_id = plain_id(model_id)
    if not ID.fullmatch(model_id):
        raise StudioError(f"{printable(model_id)[:100]}: this is no hub id: write it as AUTHOR/NAME")
    if not TOKEN.fullmatch(token):
        raise StudioError("token: this is no token: copy it again, without blanks (it begins with hf_)")
    info = asking(model_id, lambda: _api(token).model_info(model_id, files_metadata=True))
    siblings = info.siblings or []
    sizes = {s.rfilename: s.size or 0 for s in siblings}
    files = KINDS[kind].choose(model_id, sizes)
    chosen = [s for s in siblings if s.rfilename in files]
    hashes = {s.rfilename: str(s.lfs.sha256 if s.lfs else s.blob_id or "") for s in chosen}
    taken = {name: sizes[name] for name in files}
    return Listing(model_id, _licence(info), _gate(info), str(info.sha), files, sum(taken.values()), taken, hashes)


def plain_id(text: str) -> str:
    """The id in what was pasted: also of a model's page, with its address."""
    text = text.strip()
    while (shorter := PAGE.sub("", text)) != text:
        text = shorter
    return text


def _licence(info: Any) -> str:
    said = info.card_data.to_dict() if info.card_data else {}
    names = said.get("license_name") or said.get("license") or "not said on its page"
    return printable(", ".join(map(str, names)) if isinstance(names, list) else str(names))[:200]


def _gate(info: Any) -> str:
    return (
        f"access must be granted on its page first ({info.gated} approval), and a token of that account be given (HF_TOKEN)"
        if info.gated
        else ""
    )


def fetch(
    workspace: Workspace,
    model_id: str,
    token: str = "",
    tell: Callable[[int, int], None] = lambda done, total: None,
    kind: str = "model",
) -> tuple[Path, str]:
    """(the folder in the workspace, what it is): JSON first and looked over, then weights; one that was stopped goes on where it was.

    StudioError where it is here already, or cannot be fetched.
    """
    wanted, model_id = KINDS[kind], plain_id(model_id)
    listing = look(model_id, token, kind)
    place = wanted.place(workspace)
    target = place / model_id.replace("/", "--")
    if target.exists():
        raise StudioError(f"{model_id}: it is here already: {target}")
    partial = place / f".fetching-{target.name}"
    for folder in (partial, workspace.cache):
        folder.mkdir(parents=True, exist_ok=True)
    with _alone(workspace.cache / f"{partial.name[1:]}.lock", model_id):
        download = Download(listing, token, partial, tell)
        require_free(place, download.missing + 2**20, f"this {wanted.noun}")
        download.take([f for f in listing.files if f.endswith(".json")])
        wanted.check_configs(model_id, partial)
        download.take([f for f in listing.files if not f.endswith(".json")])
        wanted.check_whole(partial)
        (partial / STATE).unlink(missing_ok=True)
        os.replace(partial, target)
        sync_folder(place)
    return target, listing.words()


@contextlib.contextmanager
def _alone(lock: Path, model_id: str) -> Iterator[None]:
    """Within: nobody else fetches this model into this workspace."""
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise StudioError(f"{model_id}: it is being fetched already, by another window or program: wait for it, or stop it there") from None


def _api(token: str) -> Any:
    from huggingface_hub import HfApi

    return HfApi(token=token or False)


def online() -> None:
    """Let the hub's library use the network in this process; must come before it is imported."""
    os.environ["HF_HUB_OFFLINE"] = "0"
    os.environ["HF_HUB_DISABLE_XET"] = "1"  # plain requests, whose progress is told


def main(root: Path) -> int:
    """Carry out the one request on standard input."""
    quiet.silence()
    online()
    return carry_out(partial(_answer, Workspace.at(root)))


def _answer(workspace: Workspace, request: dict[str, Any], say: Say) -> dict[str, Any]:
    """Fetch what was asked for, or tell about it."""
    kind = str(request.get("kind") or "model")
    model_id, token = str(request["id"]), str(request.get("token") or os.environ.get("HF_TOKEN") or "")
    if not request.get("fetch"):
        return {"state": "told", **look(model_id, token, kind).told()}
    path, words = fetch(workspace, model_id, token, lambda done, total: say(done=done, total=total), kind)
    return {"state": "finished", "path": str(path), "text": words}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
