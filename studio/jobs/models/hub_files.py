"""The files of a hub's model: each fetched from where an earlier try stopped, and whole only when it has the hash that the hub gives."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from studio.errors import StudioError, printable
from studio.store import read_json, sha256_file, write_json

OFFLINE = "the hub cannot be reached: check the network, or copy the model's folder here by other means"
KEPT = "what has been fetched is kept, and the next try goes on from there"
STATE = "fetched.json"  # which files are there and whole, by the hash that the hub gave for each
REFUSALS = {
    401: "the token is not accepted: make a new one on the hub's page, or try without",
    403: "the token may not read this: check what it is allowed to on the hub's page",
    429: "too much was asked of it: try again in some minutes",
}


@dataclass
class Listing:
    """What the hub says of a model, before anything of it is fetched."""

    id: str
    licence: str
    gated: str  # "", or what a person must do
    revision: str
    files: list[str] = field(default_factory=list)
    size_bytes: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)  # SHA-256 of large files, git's SHA-1 of small ones; "" where the hub tells none

    def words(self) -> str:
        """What a person decides by."""
        gate = f"; {self.gated}" if self.gated else ""
        return f"{self.id}: licence {self.licence}{gate}; {len(self.files)} files, {self.size_bytes / 2**30:.2f} GiB"

    def told(self) -> dict[str, Any]:
        """As programs and pages get it."""
        return {key: value for key, value in asdict(self).items() if key not in {"sizes", "hashes"}}

    def key(self, name: str) -> str:
        """What tells this version of a file from others."""
        return self.hashes.get(name) or self.revision


class Download:
    """The files of a listing in a folder; what lies there of another version, or of nothing, is taken away first."""

    def __init__(self, listing: Listing, token: str, folder: Path, tell: Callable[[int, int], None]) -> None:
        self._listing, self._token, self._folder, self._tell = listing, token, folder, tell
        self._whole = self._read()
        parts = {self._part(name) for name in listing.files if name not in self._whole}
        kept = {folder / name for name in self._whole} | parts | {folder / STATE}
        for file in [f for f in folder.rglob("*") if not f.is_dir() and f not in kept]:
            file.unlink()
        self._done = sum((folder / name).stat().st_size for name in self._whole)
        self.missing = listing.size_bytes - self._done - sum(part.stat().st_size for part in parts if part.is_file())

    def _read(self) -> dict[str, str]:
        """The whole files of this version, each with its key."""
        try:
            said = read_json(self._folder / STATE)
        except (StudioError, OSError):
            return {}
        known = said if isinstance(said, dict) else {}
        return {n: k for n, k in known.items() if n in self._listing.files and k == self._listing.key(n) and (self._folder / n).is_file()}

    def _part(self, name: str) -> Path:
        return self._folder / f"{name}.{self._listing.key(name)[:12]}.part"

    def take(self, names: list[str]) -> None:
        """Fetch these files, each checked by its hash before it counts as whole."""
        for name in names:
            if name not in self._whole:
                self._take(name)

    def _take(self, name: str) -> None:
        part, total, before = self._part(name), self._listing.size_bytes, self._done
        part.parent.mkdir(parents=True, exist_ok=True)
        _continue(self._listing, name, self._token, part, lambda n: self._tell(min(before + n, total), total))
        if not _is_what_was_said(part, self._listing.hashes.get(name, "")):
            part.unlink()
            raise StudioError(f"{self._listing.id}: {name} came damaged (its hash is not the hub's): try again; the other files are kept")
        os.replace(part, self._folder / name)
        self._whole[name] = self._listing.key(name)
        write_json(self._folder / STATE, self._whole)
        self._done += (self._folder / name).stat().st_size


def _is_what_was_said(file: Path, said: str) -> bool:
    """Whether a file has the hash that the hub gives: SHA-256, or git's SHA-1 of a blob; true where it gives none."""
    if len(said) == 64:
        return sha256_file(file) == said
    if len(said) == 40:
        data = file.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == said
    return True


def _continue(listing: Listing, name: str, token: str, part: Path, tell: Callable[[int], None]) -> None:
    """Fetch what is missing of a file into `part`; the library's own download would begin anew each time."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers, tqdm

    url = hf_hub_url(listing.id, name, revision=listing.revision)
    headers = build_hf_headers(token=token or False)
    there = asking(listing.id, lambda: get_hf_file_metadata(url, token=token or False, retry_on_errors=True))
    if urlsplit(there.location).netloc != urlsplit(url).netloc:
        headers.pop("authorization", None)  # the token is for the hub alone
    size = listing.sizes[name] or there.size
    if part.is_file() and size and part.stat().st_size > size:
        part.unlink()
    with open(part, "ab", buffering=0) as file:  # so that what has come outlives the process
        begun = file.tell()

        class Told(tqdm):
            """Progress of one file."""

            seen = begun

            def update(self, n: float | None = 1) -> bool | None:
                Told.seen += int(n or 0)
                return tell(Told.seen)

        options = {"resume_size": begun, "headers": headers, "expected_size": size or None, "tqdm_class": Told}
        asking(listing.id, lambda: http_get(there.location, file, **options))


def asking(model_id: str, ask: Callable[[], Any]) -> Any:
    """What `ask` returns; StudioError with the hub's refusal in one line that says what to do, without the token."""
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
        raise StudioError(f"{model_id}: the hub answered with {status}: {REFUSALS.get(status, 'try again later')}; {KEPT}") from None
    except StudioError:
        raise
    except ValueError as error:
        raise StudioError(f"{model_id}: {printable(str(error)).strip()[:200]}: fetch it by other means") from None
    except Exception as error:  # the libraries below raise many kinds where there is no network
        if isinstance(error, OSError) and error.errno in {28, 122, 13, 30}:
            raise
        raise StudioError(f"{model_id}: {OFFLINE} ({type(error).__name__}); {KEPT}") from None
