"""Views: the re-encoded, reduced pictures that pages show, made by the decoding process, found again by pixel hash; training samples."""

import re
import threading
import uuid
from pathlib import Path
from typing import Any

from studio.dataset.framing import Frame
from studio.dataset.kinds import VIEW_SIZES, view_name
from studio.dataset.shelf import Shelf
from studio.dataset.worker import Worker
from studio.errors import StudioError
from studio.store import Workspace

IDLE_S = 30.0  # after which the decoding process is ended
SMALL_PX = 192  # longer side of a reduced sample
_SAMPLE = re.compile(r"([0-9a-f]{64})-([0-9._]{1,120})\.(png|webp)")
_NAME = re.compile(rf"([0-9a-f]{{64}})-({'|'.join(map(str, VIEW_SIZES))})\.webp")


class Views:
    """The views of one workspace; any thread may ask."""

    def __init__(self, workspace: Workspace, shelf: Shelf | None = None) -> None:
        self.shelf = shelf or Shelf(workspace)
        self._folder = workspace.cache / "views"
        self._worker, self._lock = Worker(), threading.Lock()
        self._timer: threading.Timer | None = None

    def path(self, name: str) -> Path:
        """The WebP file called `name`, made if it is missing; StudioError unless it shows a picture of a dataset that can be read."""
        found = _NAME.fullmatch(name)
        if not found:
            raise StudioError("this is not the name of a picture: use the address as it is listed")
        pixels, size_px = found[1], int(found[2])
        source = self.shelf.picture(pixels)
        if source is None:
            raise StudioError("this picture is in no dataset (any more): it may have been removed in another window")
        path = self._folder / view_name(pixels, size_px)
        if not path.exists():
            self._make(source, pixels, size_px)
        return path

    def close(self) -> None:
        """End the decoding process."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
            self._worker.stop()

    def sample(self, name: str) -> bytes:
        """One training sample, as `sample_name` names it: the pixels that are trained (.png), or reduced ones (.webp).

        StudioError where its picture is gone.
        """
        found = _SAMPLE.fullmatch(name)
        source = self.shelf.picture(found[1]) if found else None
        if source is None:
            raise StudioError("this picture is in no dataset (any more): it may have been removed in another window")
        request = {"source": str(source), "frame": found[2], "reduce": 0 if found[3] == "png" else SMALL_PX}
        return self._rendered(request, source, found[1])

    def mask_sample(self, source: Path, token: str) -> bytes:
        """What a frame (by its token) shows of the mask at `source`: PNG, grey."""
        return self._rendered({"source": str(source), "frame": token, "reduce": 0, "is_mask": True}, source, None)

    def read_mask(self, source: Path, target: Path, size: tuple[int, int]) -> dict[str, Any]:
        """Have `source` written to `target` as a mask, as `Worker.read_mask` does."""
        with self._lock:
            return self._ask({"source": str(source), "mask": str(target), "width": size[0], "height": size[1]})

    def _rendered(self, request: dict[str, Any], source: Path, pixels: str | None) -> bytes:
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f".tmp-{uuid.uuid4().hex}"
        try:
            with self._lock:
                answer = self._ask(request | {"sample": str(target)})
            self._check(answer, source, pixels)
            return target.read_bytes()
        finally:
            target.unlink(missing_ok=True)

    def _make(self, source: Path, pixels: str, size_px: int) -> None:
        with self._lock:
            if (self._folder / view_name(pixels, size_px)).exists():
                return
            self._check(self._ask({"source": str(source), "views": str(self._folder), "size": size_px}), source, pixels)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The decoding process's answer; call it with the lock held."""
        if self._timer:
            self._timer.cancel()
        answer = self._worker.ask(request, lambda: None)
        self._timer = threading.Timer(IDLE_S, self.close)
        self._timer.daemon = True
        self._timer.start()
        return answer

    def _check(self, answer: dict[str, Any], source: Path, pixels: str | None) -> None:
        if "errno" in answer:
            raise OSError(answer["errno"], None, str(self._folder))
        if "reason" in answer:
            raise StudioError(f"{source.name}: {answer['reason']}")
        if pixels and answer["pixels"] != pixels:
            raise StudioError(f"{source.name} was replaced by another picture: import it again")


def sample_name(pixels: str, frame: Frame, is_small: bool = False) -> str:
    """What `Views.sample` finds the sample of a picture (by pixel hash) by."""
    return f"{pixels}-{frame.token()}.{'webp' if is_small else 'png'}"
