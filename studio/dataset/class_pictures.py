"""Class pictures beside a dataset: what a base draws for a class noun, kept in `prior/<key>/`, so that DreamBooth draws them once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.dataset.rows import Dataset, Row
from studio.errors import StudioError
from studio.store import inside, read_json, sha256, sha256_file, write_json

FOLDER, ABOUT = "prior", "class.json"


@dataclass(frozen=True)
class ClassPictures:
    """One set of class pictures: all that it depends on is in `about`; the picture with seed n is `{n:05d}.png`."""

    folder: Path
    about: dict[str, Any]

    def file(self, number: int) -> Path:
        """Where the picture with this number (and seed) is, or will be."""
        return self.folder / f"{number:05d}.png"

    def files(self) -> list[Path]:
        """The pictures that there are, in order."""
        return sorted(self.folder.glob("[0-9]*.png"))

    def dataset(self, count: int) -> Dataset:
        """The first `count` pictures as a dataset to train on."""
        from PIL import Image

        rows = []
        for number in range(count):
            path = self.file(number)
            with Image.open(path, formats=["PNG"]) as image:
                width, height = image.size
            digest = sha256_file(path)
            rows.append(Row(file=path.name, sha256=digest, pixels=digest, width=width, height=height, split="train"))
        return Dataset(root=self.folder, name="class pictures", rows=rows)


def class_pictures(dataset: Dataset, about: dict[str, Any]) -> ClassPictures:
    """The set of pictures that depend on exactly `about`: prompt, base, how they are drawn; its folder is made."""
    found = ClassPictures(dataset.root / FOLDER / sha256(repr(sorted(about.items())).encode())[:12], about)
    if not (found.folder / ABOUT).is_file():
        write_json(found.folder / ABOUT, about)
    return found


def list_class_pictures(dataset: Dataset) -> list[ClassPictures]:
    """All sets beside a dataset; damaged ones are left out."""
    sets = []
    for about in sorted(dataset.root.glob(f"{FOLDER}/*/{ABOUT}")):
        try:
            value = read_json(about)
        except (StudioError, OSError):
            continue
        if isinstance(value, dict):
            sets.append(ClassPictures(about.parent, value))
    return sets


def find_class_pictures(dataset: Dataset, key: str) -> ClassPictures:
    """The set with this key; StudioError where there is none."""
    found = next((s for s in list_class_pictures(dataset) if s.folder.name == key), None)
    if found is None:
        raise StudioError(f"class pictures {key[:40]!r}: they are not here (any more)")
    return found


def picture_of(pictures: ClassPictures, name: str) -> Path:
    """The picture file with this name; StudioError where there is none."""
    path = inside(pictures.folder, name)
    if path not in pictures.files():
        raise StudioError(f"class picture {name[:40]!r}: it is not here (any more)")
    return path
