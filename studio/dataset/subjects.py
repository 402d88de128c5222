"""Which patients and scenes a dataset's pictures are of, told by salted hashes alone, so that later imports keep each on its side.

The hashes lie in the workspace's cache, not in the dataset: what could lead back to an identity never travels with pictures.
"""

import json
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from studio.dataset.rows import Dataset
from studio.store import Workspace, write_json

MAX_PICTURES = 8  # of each subject by which its group is found again, whatever it is called by then
_NAME = re.compile(r"([ps])(\d{1,9})(?:-part-\d+)?")
_PART = re.compile(r"(.+)-part-\d+")


@dataclass
class Subjects:
    """The subjects of a dataset: `groups` that are taken, `known` the group of each by its hash, `pictures` of each by pixel hash."""

    salt: str = field(default_factory=lambda: secrets.token_hex(16))
    groups: frozenset[str] = frozenset()
    known: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, workspace: Workspace, dataset: Dataset) -> "Subjects":
        """Those of a dataset that is there; none are known where what was kept of them is gone."""
        groups = frozenset(row.group for row in dataset.rows)
        try:
            kept = json.loads(_path(workspace, dataset.root.name).read_bytes())
            salt, pictures = bytes.fromhex(kept["salt"]).hex(), {key: list(each) for key, each in kept["pictures"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(groups=groups)
        at = {row.pixels: row.group for row in dataset.rows if row.group}
        known = {key: next((at[each] for each in shown if each in at), "") for key, shown in pictures.items()}
        return cls(salt, groups, {key: group for key, group in known.items() if group}, pictures)

    def note(self, subject: str, pixels: str) -> None:
        """Remember that the picture `pixels` is of `subject`."""
        shown = self.pictures.setdefault(subject, [])
        if subject and pixels not in shown and len(shown) < MAX_PICTURES:
            shown.append(pixels)

    def keep(self, workspace: Workspace, folder: str) -> None:
        """Write what was noted for the dataset in `folder`; a disk that refuses costs only that later imports do not know it."""
        with suppress(OSError):
            if any(self.pictures.values()):
                write_json(_path(workspace, folder), {"salt": self.salt, "pictures": self.pictures})
            else:
                _path(workspace, folder).unlink(missing_ok=True)

    def name(self, letters: dict[str, str]) -> dict[str, str]:
        """A group for each subject of `letters` (hash to letter): the one it has, else p1, p2, … or s1, … counted on; "" without letter."""
        last: dict[str, int] = {}
        for letter, digits in (pair for name in self.groups for pair in _NAME.findall(name)):
            last[letter] = max(last.get(letter, 0), int(digits))
        names = {}
        for subject, letter in letters.items():
            names[subject] = self.known.get(subject, "") if letter else ""
            if letter and not names[subject]:
                last[letter] = last.get(letter, 0) + 1
                names[subject] = f"{letter}{last[letter]}"
        return names

    def divided(self, names: Iterable[str], wanted: bool) -> dict[str, str]:
        """By group, the name before "-part-" of those that are divided: already, or, where `wanted`, the only one that is new."""
        names = {name for name in names if name}
        parts = {name: found[1] for name in names if (found := _PART.fullmatch(name)) and "+" not in name}
        new = names - self.groups
        return parts | ({name: name for name in new} if wanted and len(names) == 1 else {})


def _path(workspace: Workspace, folder: str) -> Path:
    return workspace.cache / "subjects" / f"{folder}.json"
