"""The worker process that reads pictures: `python -m studio.dataset.decode`, one JSON line per request and per answer.

A request names a file, a place for what is stored, and the background colour:
`{"source": …, "target": …, "background": "#ffffff"}`. The answer holds facts, a `reason` why the file cannot be taken,
or the `errno` of a disk that could not be written. JSON escapes keep any file name whole, even one that is not UTF-8.
With `"views": folder`, a small view of the picture is left there as well. A request without a target looks at a picture
that is stored already: `{"source": …, "views": …, "size": 1024}`; size 0 makes no view, `"measure": true` has it measured.
With a frame, one training sample of it is written, exactly, or reduced to a longer side: `{"source": …, "sample": file,
"frame": token, "reduce": 0}`. With a mask, the source becomes one, in grey and at a size: `{"source": …, "mask": file, "width": …,
"height": …}`. With `"alpha": file`, what is transparent is left there as a mask. With a `"reader"`, a scan or scene is looked into
(`"survey"`) or a picture is taken out of it (`"ask"`).
"""

import base64
import hashlib
import json
import signal
import sys
from functools import reduce
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from studio import extras, registry
from studio.dataset.bare import Strange, bare
from studio.dataset.captions import read_regular
from studio.dataset.doctor.measures import measure
from studio.dataset.kinds import HEAD_BYTES, MAX_FILE_BYTES, VIEW_SIZES, refusal, suffix_of
from studio.dataset.pixels import Grey, Seen, Unreadable, see, transparency
from studio.dataset.readers.base import Scan
from studio.dataset.scaled import Scaled
from studio.dataset.stored import hash_pixels, look, thumbnail, to_png, write_sample, write_view
from studio.errors import StudioError, printable

MAX_MEMORY_BYTES = 3 * 2**30  # address space of the worker: a picture of MAX_PIXELS fits, a bomb does not
LAST_RESORT_S = 120  # the worker ends itself then, in case nobody is left to end it
MASK_TOLERANCE = 0.03  # of the aspect: rounding, when a mask was made at another size
_EXACT = {"PNG", "BMP", "GIF", "TIFF"}  # others may have noise where a mask is black
_MOST_LABELS, _NEARLY_BLACK, _COLOURED = 64, 32, 32  # how many; levels
_USUAL_SUFFIXES = {
    "PNG": {".png", ".apng"},
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "MPO": {".mpo", ".jpg", ".jpeg"},
    "WEBP": {".webp"},
    "BMP": {".bmp", ".dib"},
    "GIF": {".gif"},
    "TIFF": {".tif", ".tiff"},
    "AVIF": {".avif", ".avifs"},
}


def read(
    source: Path, target: Path, background: str, views: Path | None = None, alpha: Path | None = None, grey: Grey | None = None
) -> dict[str, Any]:
    """Read the picture `source`, store what is seen in it at `target` and return its facts; Unreadable, or OSError of the disk.

    Where it has transparent parts, a mask of them is left at `alpha`.
    """
    data = _read_file(source)
    seen = see(data, background, grey)
    stored, suffix = _stored(data, seen)
    target.write_bytes(stored)
    notes = list(seen.notes)
    if suffix_of(source.name) not in _USUAL_SUFFIXES.get(seen.format, ()):
        notes.insert(0, f"it is a {seen.format} file, whatever its name says")
    if alpha is not None and (mask := transparency(data)) is not None:
        alpha.write_bytes(to_png(mask))
    return {"suffix": suffix, **_about(seen.image, stored, notes, views)}


def _stored(data: bytes, seen: Seen) -> tuple[bytes, str]:
    """What is kept of a file, and its suffix: its own pixels without what was written beside them, else the picture as PNG."""
    try:
        return (bare(data, seen.suffix), seen.suffix) if seen.suffix else (to_png(seen.image), ".png")
    except Strange:
        return to_png(seen.image), ".png"


def _store(scan: Scan, request: dict[str, Any], views: Path | None) -> dict[str, Any]:
    """What a reader took out of a scan or scene: stored as PNG; or the values it measured; or {"empty"} where it shows nothing."""
    if scan.image is None:
        return {"ranges": scan.ranges}
    if scan.is_empty:
        return {"empty": True}
    stored = to_png(scan.image)
    Path(request["target"]).write_bytes(stored)
    if scan.mask and "alpha" in request:
        Path(request["alpha"]).write_bytes(scan.mask)
    told = {"suffix": ".png", "facts": scan.facts, "caption": scan.caption, "columns": scan.columns}
    return {**told, **_about(scan.image, stored, scan.notes, views)}


def _about(image: Image.Image, stored: bytes, notes: list[str], views: Path | None) -> dict[str, Any]:
    """The facts of a stored picture; its small view is left in `views`."""
    pixels, scaled = hash_pixels(image), Scaled(image)
    if views is not None:
        write_view(scaled, views, pixels, VIEW_SIZES[0])
    return {
        "sha256": hashlib.sha256(stored).hexdigest(),
        "pixels": pixels,
        "width": image.width,
        "height": image.height,
        "note": "; ".join(notes),
        "thumb": base64.b64encode(thumbnail(scaled).tobytes()).decode(),
        "measures": measure(scaled),
    }


def write_mask(source: Path, target: Path, width: int, height: int) -> dict[str, Any]:
    """Leave the picture `source` at `target` as a mask for a picture of this size, with a note; Unreadable where its shape is another.

    Numbers or colours of classes, as programs for segmentation write them, count as white: all but what is black.
    """
    seen = see(_read_file(source), "#000000")
    is_labels = _holds_labels(seen)
    mask = reduce(ImageChops.lighter, seen.image.split()).point([0] + 255 * [255]) if is_labels else seen.image.convert("L")
    if abs(mask.width / mask.height / (width / height) - 1) > MASK_TOLERANCE:
        raise Unreadable(f"is {mask.width}x{mask.height} px, its picture {width}x{height}: a mask has the shape of its picture")
    if mask.size != (width, height):
        mask = mask.resize((width, height), Image.Resampling.BILINEAR)
    target.write_bytes(to_png(mask))
    if mask.getextrema()[1] == 0:
        return {"note": "its mask leaves out all of it: paint some of it white, or remove the mask"}
    return {"note": "its mask holds labels: all but black is trained"} if is_labels else {}


def _holds_labels(seen: Seen) -> bool:
    """Whether a mask has, beside black, a few values that are all nearly black, or a few colours: numbers of classes, no weights."""
    colours = {colour for _, colour in (seen.format in _EXACT and seen.image.getcolors(_MOST_LABELS)) or ()}
    values = colours - {(0, 0, 0)}
    if not values or values == colours:
        return False
    return max(map(max, values)) < _NEARLY_BLACK or any(max(colour) - min(colour) > _COLOURED for colour in values)


def _read_file(source: Path) -> bytes:
    try:
        data = read_regular(source, MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Unreadable(f"cannot be opened ({error.strerror or error})") from None
    if len(data) > MAX_FILE_BYTES:
        raise Unreadable(f"is larger than {MAX_FILE_BYTES >> 20} MiB: export it smaller")
    reason = refusal(printable(source.name), data[:HEAD_BYTES])
    if reason:
        raise Unreadable(reason)
    return data


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    views = Path(request["views"]) if "views" in request else None
    try:
        if "reader" in request:
            return _answer_reader(request, views)
        source = Path(request["source"])
        if "target" in request:
            alpha = Path(request["alpha"]) if request.get("alpha") else None
            return read(source, Path(request["target"]), request["background"], views, alpha, request.get("grey"))
        if "mask" in request:
            return write_mask(source, Path(request["mask"]), request["width"], request["height"])
        if "frame" in request:
            return write_sample(source, Path(request["sample"]), request["frame"], request["reduce"], request.get("is_mask", False))
        return look(source, views, request["size"], request.get("measure", False))
    except (Unreadable, StudioError) as error:
        return {"reason": " ".join(printable(str(error)).split())}
    except MemoryError:
        return {"reason": "needs too much memory to decode: export it smaller"}
    except OSError as error:
        return {"errno": error.errno}


def _answer_reader(request: dict[str, Any], views: Path | None) -> dict[str, Any]:
    """What a reader says of a file, or what it takes out of it."""
    reader = registry.reader(request["reader"])
    try:
        if "survey" in request:
            return {"head": reader.survey(Path(request["survey"]), request["salt"])}
        scan = reader.read(Path(request["source"]), request["ask"])
    except (Unreadable, MemoryError):
        raise
    except StudioError:
        raise Unreadable(f"is {reader.TITLE}, which needs an extra: {extras.advice(reader.EXTRA)}") from None
    except Exception as error:  # the parsers raise nearly everything on damaged files
        raise Unreadable(f"is {reader.TITLE} that is damaged or unusual ({type(error).__name__}): export it again") from None
    return _store(scan, request, views)


def _limit() -> None:
    """Bound memory and leave no core dump, where the system can; ignore Ctrl-C, which is meant for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    except (ImportError, AttributeError, ValueError, OSError):
        pass  # Windows has no such limits and macOS refuses this one


def main() -> None:
    """Answer requests until the input ends; the first line says that the worker is ready."""
    _limit()
    lines, answers = sys.stdin.buffer, sys.stdout.buffer
    answer: dict[str, Any] = {"ready": True}
    while True:
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
        line = lines.readline()
        if not line:
            return
        if hasattr(signal, "alarm"):
            signal.alarm(LAST_RESORT_S)
        answer = _answer(json.loads(line))
        if hasattr(signal, "alarm"):
            signal.alarm(0)


if __name__ == "__main__":
    main()
