"""A model by its hub id, only when asked: licence and gating told first, the file list checked, JSON before weights, nothing that is code.

`python -m studio.jobs.hub ROOT` is the one process that goes online: it reads one JSON line ({"id", "token", "fetch"}) from its standard
input, so that a token is in no list of processes and in no file, and writes JSON lines: what it learned, progress, the end.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from studio import quiet, registry
from studio.errors import StudioError, one_line, printable
from studio.families.folder import ACTIVE_KEYS, PICKLES, check_folder, check_whole, read_config
from studio.store import Workspace, require_free, sync_folder

ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
TEXTS = {".json", ".txt", ".model", ".md"}  # configurations, vocabularies, the card
MAX_FILES, MAX_TEXT_BYTES = 5000, 64 << 20
VARIANT = re.compile(r"\.(fp16|bf16)(?=[.-])")
OFFLINE = "the hub cannot be reached: check the network, or copy the model's folder here by other means"


class Stopped(Exception):
    """Nobody wants this download any more."""


@dataclass
class Listing:
    """What the hub says of a model, before anything of it is fetched."""

    id: str
    licence: str
    gated: str  # "", or what a person must do
    revision: str
    files: list[str] = field(default_factory=list)
    size_bytes: int = 0

    def words(self) -> str:
        """What a person decides by."""
        gate = f"; {self.gated}" if self.gated else ""
        return f"{self.id}: licence {self.licence}{gate}; {len(self.files)} files, {self.size_bytes / 2**30:.2f} GiB"


def look(model_id: str, token: str = "") -> Listing:
    """Licence, gating and the files that would be fetched; StudioError where it is no model for us, or the hub says no."""
    if not ID.fullmatch(model_id):
        raise StudioError(f"{printable(model_id)[:100]}: this is no hub id: write it as AUTHOR/NAME")
    info = _asking(model_id, lambda: _api(token).model_info(model_id, files_metadata=True))
    said = info.card_data.to_dict() if info.card_data else {}
    licence = said.get("license_name") or said.get("license") or "not said on its page"
    gated = f"access must be granted on its page first ({info.gated} approval), and HF_TOKEN be set" if info.gated else ""
    sizes = {s.rfilename: s.size or 0 for s in info.siblings or []}
    files = choose(model_id, sizes)
    return Listing(model_id, printable(str(licence))[:200], gated, str(info.sha), files, sum(sizes[f] for f in files))


def choose(model_id: str, sizes: dict[str, int]) -> list[str]:
    """The files of a diffusers folder that are fetched: configurations, vocabularies, safetensors of one precision."""
    if len(sizes) > MAX_FILES:
        raise StudioError(f"{model_id}: {len(sizes)} files are more than a model has")
    code = sorted(f for f in sizes if f.lower().endswith((".py", ".so", ".dll", ".sh", ".ipynb")))
    if code:
        raise StudioError(f"{model_id}: {code[0][:100]} is a program; models with code are never fetched: use another copy")
    if "model_index.json" not in sizes:
        raise StudioError(f"{model_id}: no model_index.json is among its files: only diffusers folders are fetched by id")
    parts = {str(PurePosixPath(f).parent) for f in sizes if PurePosixPath(f).suffix == ".safetensors"} - {"."}
    chosen = [f for f in sizes if _is_text(f, sizes[f])]
    for part in sorted(parts):
        own = [f for f in sizes if str(PurePosixPath(f).parent) == part and f.endswith(".safetensors")]
        small = [f for f in own if VARIANT.search(PurePosixPath(f).name)]
        chosen += small or own
    bare = {str(PurePosixPath(f).parent) for f in sizes if PurePosixPath(f).suffix in PICKLES} - parts - {"."}
    if bare - {"safety_checker", "image_encoder"}:
        raise StudioError(f"{model_id}: {min(bare)} has no safetensors, only weights that can run code: use another copy")
    return sorted(f for f in chosen if _is_plain(f))


def _is_text(name: str, size: int) -> bool:
    return PurePosixPath(name).suffix in TEXTS and size <= MAX_TEXT_BYTES


def _is_plain(name: str) -> bool:
    """Whether a name leads into the model's own folder, and not deep."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and len(path.parts) <= 3 and "\\" not in name and printable(name) == name


def fetch(
    workspace: Workspace, model_id: str, token: str = "", tell: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Path, str]:
    """(the model's folder in the workspace, what it is): JSON first and looked over, then weights; a stopped download goes on later."""
    listing = look(model_id, token)
    target = workspace.models / model_id.replace("/", "--")
    if target.exists():
        raise StudioError(f"{model_id}: it is here already: {target}")
    partial = workspace.models / f".fetching-{target.name}"
    partial.mkdir(parents=True, exist_ok=True)
    require_free(workspace.models, listing.size_bytes + 2**20, "this model")
    done = 0

    def download(names: list[str]) -> None:
        nonlocal done
        for name in names:
            _download(listing, name, token, partial, lambda n, before=done: tell(min(before + n, listing.size_bytes), listing.size_bytes))
            done += (partial / name).stat().st_size

    download([f for f in listing.files if f.endswith(".json")])
    _check_configs(model_id, partial)
    download([f for f in listing.files if not f.endswith(".json")])
    check_whole(partial)
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    os.replace(partial, target)
    sync_folder(workspace.models)
    return target, listing.words()


def _check_configs(model_id: str, folder: Path) -> None:
    """StudioError unless the configurations ask for no code and name a pipeline that a family here reads: the class is chosen by us."""
    for file in folder.rglob("*.json"):
        if ".cache" not in file.parts and file.name.endswith(("config.json", "model_index.json")):
            active = sorted(ACTIVE_KEYS & read_config(file).keys())
            if active:
                raise StudioError(f"{model_id}: {file.relative_to(folder)} asks for code ({active[0]}); such models are never fetched")
    index = check_folder(folder)
    if not any(registry.family(key).recognise(folder) for key in registry.FAMILIES):
        known = ", ".join(registry.family(k).card.title for k in registry.FAMILIES)
        raise StudioError(f"{model_id}: {str(index.get('_class_name'))[:80]} is a kind of model that is not known here; known are: {known}")


def _download(listing: Listing, name: str, token: str, folder: Path, tell: Callable[[int], None]) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import tqdm

    class Told(tqdm):
        """Progress of one file."""

        seen = 0

        def update(self, n: float | None = 1) -> bool | None:
            Told.seen += int(n or 0)
            return tell(Told.seen)

    options = {"revision": listing.revision, "local_dir": folder, "token": token or False, "tqdm_class": Told}
    _asking(listing.id, lambda: hf_hub_download(listing.id, name, **options))


def _api(token: str) -> Any:
    from huggingface_hub import HfApi

    return HfApi(token=token or False)


def _asking(model_id: str, ask: Callable[[], Any]) -> Any:
    """What `ask` returns; the hub's refusals in one line that says what to do, without the token."""
    from huggingface_hub import errors

    try:
        return ask()
    except errors.GatedRepoError:
        raise StudioError(f"{model_id}: it is gated: accept its terms on its page, then give a token of that account (HF_TOKEN)") from None
    except errors.RepositoryNotFoundError:
        raise StudioError(f"{model_id}: the hub has no such model, or not for this token: check the spelling") from None
    except errors.OfflineModeIsEnabled:
        raise StudioError(f"{model_id}: {OFFLINE}") from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "?")
        raise StudioError(f"{model_id}: the hub answered with {status}: try again later") from None
    except (Stopped, StudioError):
        raise
    except Exception as error:  # the libraries below raise many kinds where there is no network
        if isinstance(error, OSError) and error.errno in {28, 122, 13, 30}:
            raise
        raise StudioError(f"{model_id}: {OFFLINE} ({type(error).__name__})") from None


def online() -> None:
    """Let the hub's library use the network in this process; must come before it is imported."""
    os.environ["HF_HUB_OFFLINE"] = "0"
    os.environ["HF_HUB_DISABLE_XET"] = "1"  # plain requests, whose progress is told


def main(root: Path) -> int:
    """Carry out the one request on standard input."""
    quiet.silence()
    online()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**told: Any) -> None:
        out.write(json.dumps(told) + "\n")
        out.flush()

    try:
        request = json.loads(sys.stdin.readline())
        model_id, token = str(request["id"]), str(request.get("token") or os.environ.get("HF_TOKEN") or "")
        if request.get("fetch"):
            path, words = fetch(Workspace.at(root), model_id, token, lambda done, total: say(done=done, total=total))
            say(state="finished", path=str(path), text=words)
        else:
            say(state="told", **asdict(look(model_id, token)))
        return 0
    except Exception as error:
        say(state="failed", error=one_line(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
