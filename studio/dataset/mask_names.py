"""Which files of an import are masks of others, told by their names."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from studio.dataset.sources import Found, Picture

FOLDERS = {"mask", "masks"}
ENDINGS = (".mask", "_mask", "-mask", "_masklabel", "-masklabel")


def pair(found: Found) -> tuple[list[Picture], dict[Path, Picture]]:
    """(pictures that are no masks, masks by the path of their picture), told by names, for pictures that are there alone.

    A mask is called like its picture with one of ENDINGS, or as it is in a folder called mask or masks, below or beside its picture's.
    Of several for one picture the first is taken, and the others are told.
    """
    pictures = found.pictures
    by_name: dict[tuple[Path, str], Picture] = {}
    for picture in pictures:
        by_name.setdefault((picture.path.parent, picture.path.stem), picture)
    masks: dict[Path, Picture] = {}
    named: set[Path] = set()
    for picture in pictures:
        owner = next((by_name[key] for key in _owners(picture.path, by_name) if key in by_name), None)
        if owner and owner.path in masks:
            found.skip(picture.label, f"is a further mask of {owner.label}: one for each picture is taken")
        elif owner:
            masks[owner.path] = picture
        if owner:
            named.add(picture.path)
    return [picture for picture in pictures if picture.path not in named], {own: mask for own, mask in masks.items() if own not in named}


def leave_masks_of_many(found: Found, masks: dict[Path, Picture]) -> None:
    """Take out of `masks` those beside a file out of which several pictures are taken: they belong to none of them, and that is told."""
    for path, num in Counter(picture.path for picture in found.pictures).items():
        if num > 1 and path in masks:
            found.skip(masks.pop(path).label, f"is the mask of a file out of which {num} pictures are taken: paint theirs after the import")


def _owners(path: Path, by_name: Iterable[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Where the picture of a mask at `path` may be: its folder and stem."""
    folder, stem = path.parent, path.stem
    keys = [(folder, stem.removesuffix(ending)) for ending in ENDINGS if stem.endswith(ending) and stem != ending]
    if folder.name.casefold() in FOLDERS:
        names = [stem, *(name for _, name in keys)]
        around = {place for place, _ in by_name if place.parent == folder.parent and place != folder}
        keys += [(place, name) for place in (folder.parent, *sorted(around)) for name in names]
    return keys
